//! Rows into files: sorted, split by UTC day, written as Parquet, and then committed to the table in one step.

mod sorted;

pub use sorted::Unsorted;

use super::checksum::{Checksums, Summer};
use super::encoding::{self, Purpose};
use super::snapshot::{Bound, ColumnStats, Snapshot};
use super::table::{NewFile, Table};
use super::{TableKind, paths, stats};
use crate::blocking::blocking;
use crate::clock::{Clock, DAY_MICROS, Micros};
use crate::error::{Error, Result};
use crate::event::Column;
use crate::limits;
use crate::project::ProjectId;
use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::errors::ParquetError;
use object_store::{ObjectStore, ObjectStoreExt};
use sorted::{Day, Place, Sorted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What goes to one table in one commit.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The rows, in any order.
    pub rows: Unsorted,
    /// The writer whose mark is moved.
    pub writer: &'a str,
    /// The last WAL number among the rows.
    pub seq: u64,
}

/// Writes `rows` as one file per day and commits them. Nothing is written when the table's mark shows that the rows are
/// there already, so a repeat after a crash or a lost answer does not double them.
///
/// # Errors
/// `Storage` when a file cannot be written or the commit fails; the table is then as before, and files without a commit
/// are invisible.
pub async fn flush(
    store: &Arc<dyn ObjectStore>,
    table: &mut Table,
    project: &ProjectId,
    kind: TableKind,
    rows: Rows<'_>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Snapshot>> {
    if table.mark(rows.writer).await? >= rows.seq {
        return Ok(Arc::clone(table.snapshot()));
    }
    let root = paths::table(project, kind);
    let unsorted = rows.rows;
    let work = move || Sorted::new(kind, unsorted);
    let sorted = Arc::new(blocking("sorting rows", work).await?);
    let mut files = Vec::with_capacity(sorted.days().len());
    for day in sorted.days().to_vec() {
        let sorted = Arc::clone(&sorted);
        let encoded = blocking("writing a file", move || encode(&sorted, &day)).await?;
        let log_path = paths::new_data_file(kind, &encoded.date);
        let size_bytes = encoded.bytes.len() as u64;
        let path = paths::data_file(&root, &log_path);
        store.put(&path, encoded.bytes.into()).await?;
        files.push(NewFile {
            log_path,
            size_bytes,
            rows: encoded.rows,
            date: encoded.date,
            modified_millis: clock.now_micros().div_euclid(1000),
            stats: encoded.stats,
            checksums: encoded.checksums,
        });
    }
    table.commit(&files, rows.writer, rows.seq).await
}

/// One day's file.
struct Encoded {
    date: String,
    bytes: Bytes,
    rows: u64,
    stats: BTreeMap<Column, ColumnStats>,
    checksums: Checksums,
}

fn missing(name: &str) -> Error {
    Error::internal(format!("a buffered batch lacks the column `{name}`"))
}

pub(crate) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    batch
        .column_by_name(name)
        .and_then(|array| array.as_string_opt::<i32>())
        .ok_or_else(|| missing(name))
}

pub(crate) fn instants<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [Micros]> {
    batch
        .column_by_name(name)
        .and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>())
        .map(|array| array.values().as_ref())
        .ok_or_else(|| missing(name))
}

fn encode(sorted: &Sorted, day: &Day) -> Result<Encoded> {
    let places = sorted.places(day)?;
    let mut stats = StatsCollector::default();
    let schema = Arc::clone(sorted.schema());
    let options = encoding::options(sorted.kind(), &schema, Purpose::Fresh)?;
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(not_encoded)?;
    let mut pending: Vec<&[Place]> = places.chunks(limits::BUFFER_BATCH_ROWS).rev().collect();
    while let Some(chunk) = pending.pop() {
        let Some(batch) = sorted.batch(chunk)? else {
            // Very long texts: half as many rows fit.
            let (first, second) = chunk.split_at(chunk.len() / 2);
            pending.extend([second, first]);
            continue;
        };
        if sorted.kind() == TableKind::Events {
            stats.add(&batch)?;
        }
        writer.write(&batch).map_err(not_encoded)?;
    }
    let (bytes, checksums) = summed(writer)?;
    Ok(Encoded {
        date: date(day.number)?,
        bytes: bytes.into(),
        rows: places.len() as u64,
        stats: stats.finish(),
        checksums,
    })
}

/// The finished file with its checksums.
fn summed(mut writer: ArrowWriter<Vec<u8>>) -> Result<(Vec<u8>, Checksums)> {
    writer.flush().map_err(not_encoded)?;
    writer.sync()?;
    let mut summer = Summer::default();
    let rows = writer.inner().len();
    summer.update(writer.inner());
    writer.append_key_value_metadata(summer.end_rows());
    let bytes = writer.into_inner().map_err(not_encoded)?;
    summer.update(bytes.get(rows..).unwrap_or_default());
    Ok((bytes, summer.finish().0))
}

fn not_encoded(error: ParquetError) -> Error {
    Error::internal(format!("rows do not make a Parquet file: {error}")).with_source(error)
}

/// The UTC day of an instant as `YYYY-MM-DD`.
pub(super) fn day_of(ts: Micros) -> Result<String> {
    date(ts.div_euclid(DAY_MICROS))
}

/// A day number since 1970-01-01 as `YYYY-MM-DD`.
fn date(day: i64) -> Result<String> {
    let micros = day.checked_mul(DAY_MICROS);
    let time = micros.and_then(chrono::DateTime::from_timestamp_micros);
    let time = time.ok_or_else(|| Error::internal(format!("day {day} is no date")))?;
    Ok(time.format("%Y-%m-%d").to_string())
}

/// Bounds and null counts of [`stats::COLUMNS`] over the batches of a file.
#[derive(Debug, Default)]
pub(super) struct StatsCollector {
    columns: BTreeMap<Column, ColumnStats>,
}

impl StatsCollector {
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for column in stats::COLUMNS {
            let entry = self.columns.entry(*column).or_default();
            let Some(array) = batch.column_by_name(column.name()) else {
                // A column without a value in the whole file.
                entry.null_count = Some(entry.null_count.unwrap_or(0) + batch.num_rows() as u64);
                continue;
            };
            let (min, max) = if array.as_string_opt::<i32>().is_some() {
                let values = texts(batch, column.name())?;
                let text = |text: &str| Bound::Text(text.to_owned());
                (
                    values.iter().flatten().min().map(text),
                    values.iter().flatten().max().map(text),
                )
            } else {
                let values = instants(batch, column.name())?;
                let instant = |micros: &Micros| Bound::Timestamp(*micros);
                (values.iter().min().map(instant), values.iter().max().map(instant))
            };
            merge(&mut entry.min, min, less);
            merge(&mut entry.max, max, |new, old| less(old, new));
            entry.null_count = Some(entry.null_count.unwrap_or(0) + array.null_count() as u64);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> BTreeMap<Column, ColumnStats> {
        self.columns
    }
}

fn less(a: &Bound, b: &Bound) -> bool {
    match (a, b) {
        (Bound::Text(a), Bound::Text(b)) => a < b,
        (Bound::Timestamp(a), Bound::Timestamp(b)) => a < b,
        _ => false,
    }
}

fn merge(slot: &mut Option<Bound>, new: Option<Bound>, is_better: impl Fn(&Bound, &Bound) -> bool) {
    if let Some(new) = new
        && slot.as_ref().is_none_or(|old| is_better(&new, old))
    {
        *slot = Some(new);
    }
}
