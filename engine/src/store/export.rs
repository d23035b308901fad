//! Rows of a table into files that anybody can read: day by day, in bounded memory, of one version of the table.
//!
//! Files of the snapshot stay for an hour after the table let go of them, so a day's rows can be read although a server
//! writes, merges and deletes meanwhile.

mod text;

#[cfg(test)]
mod tests;

use super::progress::Progress;
use super::{DataFile, Snapshot, Table, TableKind, compact, paths, schema};
use crate::blocking::blocking;
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};
use crate::event::Column;
use crate::event::schema::REJECTED_TS_COLUMN;
use crate::limits;
use crate::project::ProjectId;
use crate::store::flush::instants;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::ipc::writer::StreamWriter;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet, zstd.
    Parquet,
    /// A JSON object a line. Columns that hold JSON are JSON. The import takes it back without loss.
    Ndjson,
    /// Comma-separated, with a header. Texts that a spreadsheet would run as a formula begin with an apostrophe.
    Csv,
    /// A stream of Arrow's record batches.
    Arrow,
}

impl Format {
    /// All formats.
    pub const ALL: &'static [Format] = &[Format::Parquet, Format::Ndjson, Format::Csv, Format::Arrow];

    /// Its name, which is also the ending of its files.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Format::ALL.iter().find(|format| format.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            Error::invalid(format!("`{name}` is no format: write {}", names.join(", ")))
        })
    }
}

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Of which table.
    pub kind: TableKind,
    /// From this instant on.
    pub from: Option<Micros>,
    /// Before this instant.
    pub to: Option<Micros>,
}

/// An export of one version of one table.
#[derive(Debug)]
pub struct Export {
    store: Arc<dyn ObjectStore>,
    selection: Selection,
    snapshot: Arc<Snapshot>,
    days: BTreeMap<String, Vec<Arc<DataFile>>>,
}

impl Export {
    /// Takes the newest version of a project's table.
    ///
    /// # Errors
    /// `Storage` when its log cannot be read.
    pub async fn open(store: &Arc<dyn ObjectStore>, project: &ProjectId, selection: Selection) -> Result<Self> {
        let table = Table::open(store, project, selection.kind).await?;
        let snapshot = Arc::clone(table.snapshot());
        let mut days: BTreeMap<String, Vec<Arc<DataFile>>> = BTreeMap::new();
        for file in &snapshot.files {
            if selection.may_have(&file.date) {
                days.entry(file.date.clone()).or_default().push(Arc::clone(file));
            }
        }
        for files in days.values_mut() {
            files.sort_by(|a, b| (a.modified_millis, &a.log_path).cmp(&(b.modified_millis, &b.log_path)));
        }
        Ok(Self {
            store: Arc::clone(store),
            selection,
            snapshot,
            days,
        })
    }

    /// The version of the table; `None` when it has no commit.
    pub fn version(&self) -> Option<u64> {
        self.snapshot.version
    }

    /// The UTC days with rows, in order, each with its rows (days at the edges may have fewer that are wanted).
    pub fn days(&self) -> impl Iterator<Item = (&str, u64)> {
        let rows = |files: &[Arc<DataFile>]| files.iter().filter_map(|file| file.rows).sum::<u64>();
        self.days.iter().map(move |(date, files)| (date.as_str(), rows(files)))
    }

    /// Writes the rows of `days` to `sink`, which is given back with the number of rows.
    ///
    /// # Errors
    /// `Storage` when a file cannot be read, is damaged, or the sink does not take more.
    pub async fn write<W: Write + Send + 'static>(
        &self,
        days: &[String],
        format: Format,
        sink: W,
        progress: &Arc<Progress>,
    ) -> Result<(W, u64)> {
        let files: Vec<Arc<DataFile>> = days
            .iter()
            .filter_map(|day| self.days.get(day))
            .flatten()
            .cloned()
            .collect();
        let (store, selection, progress) = (Arc::clone(&self.store), self.selection, Arc::clone(progress));
        let runtime = tokio::runtime::Handle::current();
        blocking("exporting rows", move || {
            runtime.block_on(write(&store, selection, &files, format, sink, &progress))
        })
        .await
    }
}

impl Selection {
    fn may_have(&self, date: &str) -> bool {
        let Ok(day) = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d") else {
            return true;
        };
        let start = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros();
        self.from.is_none_or(|from| start + DAY_MICROS > from) && self.to.is_none_or(|to| start < to)
    }

    fn keep(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.from.is_none() && self.to.is_none() {
            return Ok(batch);
        }
        let column = match self.kind {
            TableKind::Events => Column::Ts.name(),
            TableKind::Rejected => REJECTED_TS_COLUMN,
        };
        let is_wanted = |ts: &Micros| self.from.is_none_or(|from| *ts >= from) && self.to.is_none_or(|to| *ts < to);
        let wanted: BooleanArray = instants(&batch, column)?.iter().map(|ts| Some(is_wanted(ts))).collect();
        Ok(filter_record_batch(&batch, &wanted)?)
    }
}

async fn write<W: Write + Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    selection: Selection,
    files: &[Arc<DataFile>],
    format: Format,
    sink: W,
    progress: &Progress,
) -> Result<(W, u64)> {
    let schema = schema::of_files(selection.kind);
    let mut writer = Writer::new(format, sink, selection.kind)?;
    let mut rows = 0;
    for file in files {
        let mut batches = compact::rows_of(store, file, &schema).await?;
        while let Some(batch) = batches.try_next().await? {
            progress.advance(batch.num_rows() as u64);
            let batch = selection.keep(batch)?;
            rows += batch.num_rows() as u64;
            writer.write(&batch)?;
        }
    }
    Ok((writer.finish()?, rows))
}

enum Writer<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Arrow(Box<StreamWriter<W>>),
    Ndjson(W),
    Csv(Box<csv::Writer<W>>),
}

fn unwritten(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::storage(format!("the exported rows cannot be written: {error}")).with_source(error)
}

impl<W: Write + Send> Writer<W> {
    fn new(format: Format, sink: W, kind: TableKind) -> Result<Self> {
        let schema = schema::of_files(kind);
        Ok(match format {
            Format::Parquet => {
                let level = ZstdLevel::try_new(limits::COMPACTED_ZSTD_LEVEL).map_err(unwritten)?;
                let properties = WriterProperties::builder()
                    .set_created_by(concat!("tally ", env!("CARGO_PKG_VERSION")).to_owned())
                    .set_compression(Compression::ZSTD(level))
                    .set_max_row_group_row_count(Some(limits::ROW_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(sink, schema, Some(properties)).map_err(unwritten)?;
                Writer::Parquet(Box::new(writer))
            }
            Format::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(sink, &schema)?)),
            Format::Ndjson => Writer::Ndjson(sink),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(sink);
                let names = schema.fields().iter().map(|field| field.name());
                writer.write_record(names).map_err(unwritten)?;
                Writer::Csv(Box::new(writer))
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Writer::Parquet(writer) => {
                writer.write(batch).map_err(unwritten)?;
                if writer.in_progress_size() > limits::COMPACTION_ROW_GROUP_BYTES_MAX {
                    writer.flush().map_err(unwritten)?;
                }
            }
            Writer::Arrow(writer) => writer.write(batch).map_err(unwritten)?,
            Writer::Ndjson(sink) => {
                let mut lines = Vec::with_capacity(batch.num_rows() * 512);
                for row in 0..batch.num_rows() {
                    text::json_line(batch, row, &mut lines);
                }
                sink.write_all(&lines).map_err(unwritten)?;
            }
            Writer::Csv(writer) => {
                for row in 0..batch.num_rows() {
                    let cells = batch.columns().iter().map(|array| text::csv_cell(array, row));
                    writer.write_record(cells).map_err(unwritten)?;
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<W> {
        Ok(match self {
            Writer::Parquet(writer) => writer.into_inner().map_err(unwritten)?,
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(unwritten)?;
                writer.into_inner().map_err(unwritten)?
            }
            Writer::Ndjson(mut sink) => {
                sink.flush().map_err(unwritten)?;
                sink
            }
            Writer::Csv(writer) => writer
                .into_inner()
                .map_err(|error| Error::storage(format!("the exported rows cannot be written: {}", error.error())))?,
        })
    }
}

/// The name of the file that an export writes for one day.
pub fn file_name(kind: TableKind, date: &str, format: Format) -> String {
    paths::export_file(kind, date, format.name())
}
