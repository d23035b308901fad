//! A data file row group by row group: read one, leave out rows, and copy those that keep all of theirs as they are.
//!
//! Who takes a few rows out of a large file reads and encodes only the row groups that hold them. In the order of the
//! events a visitor's rows are in one or two; the others are copied byte by byte, statistics included.

use super::checksum::{Checksums, Summer, without_blocks};
use super::encoding::{self, Purpose};
use super::snapshot::{Bound, ColumnStats, DataFile};
use super::verify::hash_of;
use super::{NewFile, TableKind, paths, stats};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::{Column, Kind};
use crate::project::ProjectId;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use datafusion::parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use datafusion::parquet::arrow::async_reader::MetadataFetch;
use datafusion::parquet::column::writer::ColumnCloseResult;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::reader::{ChunkReader, Length};
use datafusion::parquet::file::statistics::Statistics;
use datafusion::parquet::file::writer::SerializedFileWriter;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Rows of one batch.
const BATCH_ROWS: usize = 8 * 1024;

/// A file whose footer has been read.
#[derive(Debug, Clone)]
pub struct Opened {
    path: Path,
    metadata: Arc<ParquetMetaData>,
    arrow: ArrowReaderMetadata,
}

/// The bytes of one row group, at the places they have in the file.
#[derive(Debug, Clone)]
pub struct Group {
    start: u64,
    bytes: Bytes,
}

struct Ranges<'a> {
    store: &'a Arc<dyn ObjectStore>,
    path: &'a Path,
}

impl MetadataFetch for Ranges<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let get = self.store.get_range(self.path, range);
        get.map(|got| got.map_err(|error| ParquetError::External(Box::new(error))))
            .boxed()
    }
}

impl Length for Group {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Group {
    fn slice(&self, start: u64, length: Option<usize>) -> ParquetResult<Bytes> {
        let outside = || ParquetError::EOF(format!("byte {start} is outside of the row group"));
        let from = start
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok());
        let from = from.filter(|from| *from <= self.bytes.len()).ok_or_else(outside)?;
        let to = length.map_or(Some(self.bytes.len()), |length| from.checked_add(length));
        let to = to.filter(|to| *to <= self.bytes.len()).ok_or_else(outside)?;
        Ok(self.bytes.slice(from..to))
    }
}

impl ChunkReader for Group {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.slice(start, Some(length))
    }
}

fn unreadable(path: &Path) -> impl Fn(ParquetError) -> Error + '_ {
    move |error| Error::storage(format!("the file {path} cannot be read: {error}")).with_source(error)
}

impl Opened {
    /// Reads the footer of a file of `size_bytes`.
    ///
    /// # Errors
    /// `Storage` when it cannot be read or is no Parquet, `NotFound` when it is gone.
    pub async fn read(store: &Arc<dyn ObjectStore>, path: &Path, size_bytes: u64) -> Result<Self> {
        let fetch = Ranges { store, path };
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = match reader.load_and_finish(fetch, size_bytes).await {
            Ok(metadata) => Arc::new(metadata),
            // Whether it is gone or damaged makes a difference to the caller.
            Err(error) => {
                store.head(path).await?;
                return Err(unreadable(path)(error));
            }
        };
        let arrow = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::default());
        Ok(Self {
            path: path.clone(),
            arrow: arrow.map_err(unreadable(path))?,
            metadata,
        })
    }

    /// What the footer says about each row group.
    pub fn groups(&self) -> &[RowGroupMetaData] {
        self.metadata.row_groups()
    }

    /// The columns of the file.
    pub fn schema(&self) -> &SchemaRef {
        self.arrow.schema()
    }

    /// The bytes of a row group.
    ///
    /// # Errors
    /// `Storage` when they cannot be read.
    pub async fn fetch(&self, store: &Arc<dyn ObjectStore>, at: usize) -> Result<Group> {
        let columns = self.groups().get(at).map(RowGroupMetaData::columns).unwrap_or_default();
        let ranges = columns.iter().map(|column| column.byte_range());
        let bounds = ranges.fold(None, |bounds: Option<(u64, u64)>, (start, length)| {
            let end = start + length;
            Some(bounds.map_or((start, end), |(first, last)| (first.min(start), last.max(end))))
        });
        let (start, end) =
            bounds.ok_or_else(|| Error::storage(format!("the file {} has an empty row group", self.path)))?;
        let bytes = store.get_range(&self.path, start..end).await?;
        Ok(Group { start, bytes })
    }

    /// The rows of a row group that was fetched: all columns, or those of these names that the file has.
    ///
    /// # Errors
    /// `Storage` when they do not decode.
    pub fn rows(
        &self,
        group: &Group,
        at: usize,
        columns: Option<&[&str]>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
        let path = self.path.clone();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(group.clone(), self.arrow.clone());
        let mask = match columns {
            Some(names) => ProjectionMask::columns(builder.parquet_schema(), names.iter().copied()),
            None => ProjectionMask::all(),
        };
        let reader = builder
            .with_row_groups(vec![at])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(unreadable(&path))?;
        Ok(reader.map(move |batch| {
            batch.map_err(|error| Error::storage(format!("the file {path} cannot be read: {error}")).with_source(error))
        }))
    }
}

/// A file without the rows that were left out.
#[derive(Debug)]
pub struct Thinned {
    /// The new file, written and not yet in the table; `None` when no row is left.
    pub file: Option<NewFile>,
    /// Rows left out.
    pub left_out: u64,
}

/// Writes `file` anew without the rows for which `is_out` is true, in the order they are in. Row groups outside of
/// `affected` are copied unread.
///
/// # Errors
/// `Storage` when the file cannot be read or the new one not be written; what was written is removed then.
pub async fn thin(
    store: &Arc<dyn ObjectStore>,
    table: (&ProjectId, TableKind),
    file: &DataFile,
    affected: &[usize],
    is_out: &(dyn Fn(&RecordBatch) -> Result<BooleanArray> + Sync),
    clock: &Arc<dyn Clock>,
) -> Result<Thinned> {
    let (project, kind) = table;
    // Row groups are copied as they are: a damaged one must not become a right one of the new file.
    if let Some(checksums) = &file.checksums {
        checksums.check_whole(&file.path, &hash_of(store, &file.path).await?.0)?;
    }
    let opened = Opened::read(store, &file.path, file.size_bytes).await?;
    let log_path = paths::new_data_file_like(kind, &file.date, file.is_sorted);
    let path = paths::data_file(&paths::table(project, kind), &log_path);
    let written = write(store, kind, &opened, affected, is_out, &path).await;
    let (metadata, left_out, (checksums, size_bytes)) = match written {
        Ok(written) => written,
        Err(error) => {
            let _ = store.delete(&path).await;
            return Err(error);
        }
    };
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    if rows == 0 {
        store.delete(&path).await?;
        return Ok(Thinned { file: None, left_out });
    }
    let new = NewFile {
        size_bytes,
        log_path,
        rows,
        date: file.date.clone(),
        modified_millis: clock.now_micros().div_euclid(1000),
        stats: match kind {
            TableKind::Events => stats_of(&metadata),
            TableKind::Rejected => BTreeMap::new(),
        },
        checksums,
    };
    Ok(Thinned {
        file: Some(new),
        left_out,
    })
}

fn unwritten(error: ParquetError) -> Error {
    Error::storage(format!("rows cannot be written: {error}")).with_source(error)
}

async fn write(
    store: &Arc<dyn ObjectStore>,
    kind: TableKind,
    opened: &Opened,
    affected: &[usize],
    is_out: &(dyn Fn(&RecordBatch) -> Result<BooleanArray> + Sync),
    path: &Path,
) -> Result<(ParquetMetaData, u64, (Checksums, u64))> {
    let properties = Arc::new(properties_like(kind, opened)?);
    let root = opened.metadata.file_metadata().schema_descr().root_schema_ptr();
    let mut writer = SerializedFileWriter::new(Vec::new(), root, properties).map_err(unwritten)?;
    let mut sink = BufWriter::new(Arc::clone(store), path.clone());
    let mut left_out = 0;
    let mut summer = Summer::default();
    let done = async {
        for at in 0..opened.groups().len() {
            let group = opened.fetch(store, at).await?;
            if affected.contains(&at) {
                left_out += encode_kept(&mut writer, opened, &group, at, is_out)?;
            } else {
                copy(&mut writer, opened, &group, at).map_err(unwritten)?;
            }
            send(&mut sink, writer.inner_mut(), &mut summer).await?;
        }
        writer.flush()?;
        send(&mut sink, writer.inner_mut(), &mut summer).await?;
        writer.append_key_value_metadata(summer.end_rows());
        let metadata = writer.finish().map_err(unwritten)?;
        send(&mut sink, writer.inner_mut(), &mut summer).await?;
        sink.shutdown().await?;
        Ok(metadata)
    };
    let done: Result<ParquetMetaData> = done.await;
    match done {
        Ok(metadata) => Ok((metadata, left_out, summer.finish())),
        Err(error) => {
            // Parts that were sent already would otherwise stay in the store for ever.
            if let Err(left) = sink.abort().await {
                tracing::debug!(%path, error = %left, "an unfinished upload could not be aborted");
            }
            Err(error)
        }
    }
}

async fn send(sink: &mut BufWriter, buffered: &mut Vec<u8>, summer: &mut Summer) -> Result<()> {
    let bytes = std::mem::take(buffered);
    summer.update(&bytes);
    if !bytes.is_empty() {
        sink.put(Bytes::from(bytes)).await?;
    }
    Ok(())
}

/// Properties as the table's files have them, with what the old file says about itself, its Arrow schema for instance.
fn properties_like(kind: TableKind, opened: &Opened) -> Result<WriterProperties> {
    let known = opened.metadata.file_metadata().key_value_metadata().cloned();
    let known = known.map(without_blocks);
    let properties = encoding::properties(kind, opened.schema(), Purpose::Compacted)?;
    Ok(properties.into_builder().set_key_value_metadata(known).build())
}

/// Copies a row group as it is.
fn copy(writer: &mut SerializedFileWriter<Vec<u8>>, opened: &Opened, group: &Group, at: usize) -> ParquetResult<()> {
    let metadata = &opened.metadata;
    let Some(row_group) = metadata.row_groups().get(at) else {
        return Ok(());
    };
    let column_indexes = metadata.column_index().and_then(|all| all.get(at));
    let offset_indexes = metadata.offset_index().and_then(|all| all.get(at));
    let mut out = writer.next_row_group()?;
    for (place, column) in row_group.columns().iter().enumerate() {
        let closed = ColumnCloseResult {
            bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
            rows_written: u64::try_from(row_group.num_rows()).unwrap_or(0),
            metadata: column.clone(),
            bloom_filter: None,
            column_index: column_indexes.and_then(|all| all.get(place)).cloned(),
            offset_index: offset_indexes.and_then(|all| all.get(place)).cloned(),
        };
        out.append_column(group, closed)?;
    }
    out.close()?;
    Ok(())
}

/// Encodes the rows of a row group that stay. Returns how many do not.
fn encode_kept(
    writer: &mut SerializedFileWriter<Vec<u8>>,
    opened: &Opened,
    group: &Group,
    at: usize,
    is_out: &(dyn Fn(&RecordBatch) -> Result<BooleanArray> + Sync),
) -> Result<u64> {
    let schema = opened.schema();
    let next = writer.flushed_row_groups().len();
    let factory = ArrowRowGroupWriterFactory::new(writer, Arc::clone(schema));
    let mut columns: Vec<ArrowColumnWriter> = factory.create_column_writers(next).map_err(unwritten)?;
    let (mut kept, mut left_out) = (0, 0);
    for batch in opened.rows(group, at, None)? {
        let batch = batch?;
        let stays = arrow::compute::not(&is_out(&batch)?)?;
        let staying = filter_record_batch(&batch, &stays)?;
        left_out += (batch.num_rows() - staying.num_rows()) as u64;
        kept += staying.num_rows();
        if staying.num_rows() == 0 {
            continue;
        }
        let mut places = columns.iter_mut();
        for (field, array) in schema.fields().iter().zip(staying.columns()) {
            for leaf in compute_leaves(field, array).map_err(unwritten)? {
                let column = places
                    .next()
                    .ok_or_else(|| Error::internal("a row group with too few columns"))?;
                column.write(&leaf).map_err(unwritten)?;
            }
        }
    }
    if kept > 0 {
        let mut out = writer.next_row_group().map_err(unwritten)?;
        for column in columns {
            let chunk = column.close().map_err(unwritten)?;
            chunk.append_to_row_group(&mut out).map_err(unwritten)?;
        }
        out.close().map_err(unwritten)?;
    }
    Ok(left_out)
}

/// What a file's footer says about the columns that the table's log keeps bounds of. The bounds may be wider than the
/// values, never narrower.
pub(super) fn stats_of(metadata: &ParquetMetaData) -> BTreeMap<Column, ColumnStats> {
    let of_column = |column: &Column| {
        let descr = metadata.file_metadata().schema_descr();
        let place = (0..descr.num_columns()).find(|at| descr.column(*at).name() == column.name())?;
        let mut whole: Option<ColumnStats> = None;
        for group in metadata.row_groups() {
            let found = group.columns().get(place)?.statistics()?;
            let found = column_stats(*column, found);
            whole = Some(match whole {
                None => found,
                Some(whole) => joined(whole, found),
            });
        }
        Some((*column, whole?))
    };
    stats::COLUMNS.iter().filter_map(of_column).collect()
}

fn column_stats(column: Column, found: &Statistics) -> ColumnStats {
    let bound = |bytes: Option<&[u8]>| -> Option<Bound> {
        match column.kind() {
            Kind::Text => Some(Bound::Text(std::str::from_utf8(bytes?).ok()?.to_owned())),
            Kind::Timestamp => Some(Bound::Timestamp(i64::from_le_bytes(bytes?.try_into().ok()?))),
            _ => None,
        }
    };
    ColumnStats {
        min: bound(found.min_bytes_opt()),
        max: bound(found.max_bytes_opt()),
        null_count: found.null_count_opt(),
    }
}

/// The bounds of two parts together. A part whose bound is not known makes the whole's unknown.
fn joined(a: ColumnStats, b: ColumnStats) -> ColumnStats {
    let pick = |a: Option<Bound>, b: Option<Bound>, wants_less: bool| match (a?, b?) {
        (Bound::Text(a), Bound::Text(b)) => Some(Bound::Text(if (a < b) == wants_less { a } else { b })),
        (Bound::Timestamp(a), Bound::Timestamp(b)) => Some(Bound::Timestamp(if (a < b) == wants_less { a } else { b })),
        _ => None,
    };
    ColumnStats {
        min: pick(a.min, b.min, true),
        max: pick(a.max, b.max, false),
        null_count: a.null_count.zip(b.null_count).map(|(a, b)| a + b),
    }
}
