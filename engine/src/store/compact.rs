//! Many files of a day into one: merged in the order of the rows, each event once.
//!
//! The merge streams. It holds a batch of every file and one row group of the new one, never all rows. An event that was
//! delivered again after its id was forgotten is left out here: in the order of the rows all events of a visitor come
//! together, so only one visitor's ids have to be remembered at a time.

pub mod plan;
#[cfg(test)]
mod tests;

pub use plan::{Job, next};

use super::checksum::{Checksums, Summer};
use super::encoding::{self, Purpose};
use super::flush::{StatsCollector, texts};
use super::verified::{ProvedFooters, VerifyingReaderFactory, partitioned};
use super::{DataFile, NewFile, TableKind, paths, schema};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Column;
use crate::event::schema::{REJECTED_TS_COLUMN, SORT_COLUMNS};
use crate::limits;
use crate::project::ProjectId;
use arrow::array::{Array, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{SortOptions, cast, filter_record_batch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::async_writer::{AsyncArrowWriter, AsyncFileWriter};
use datafusion::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::sorts::streaming_merge::StreamingMergeBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Rows of one batch of a merge: small, because there is one for every file.
const MERGE_BATCH_ROWS: usize = 2 * 1024;

/// What a merge made.
#[derive(Debug)]
pub struct Merged {
    /// The new file, written and not yet in the table.
    pub file: NewFile,
    /// Events left out because the same event came before.
    pub duplicates: u64,
}

/// Merges the files of `job` into one new file. The caller commits it in their place.
///
/// # Errors
/// `Storage` when a file cannot be read or written, or holds fewer rows than the table says; nothing is changed then, and
/// what was written of the new file is removed.
pub async fn merge(
    store: &Arc<dyn ObjectStore>,
    pool: &Arc<dyn MemoryPool>,
    project: &ProjectId,
    kind: TableKind,
    job: &Job,
    clock: &Arc<dyn Clock>,
) -> Result<Merged> {
    let root = paths::table(project, kind);
    let log_path = paths::new_data_file(kind, &job.date);
    let path = paths::data_file(&root, &log_path);
    let written = write(store, pool, kind, job, &path).await;
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            // It is not in the table, so a failure leaves only an invisible file, which is swept later.
            if let Err(left) = store.delete(&path).await {
                tracing::debug!(%path, error = %left, "an unfinished file could not be removed");
            }
            return Err(error);
        }
    };
    let (checksums, size_bytes) = written.sums;
    Ok(Merged {
        file: NewFile {
            log_path,
            size_bytes,
            rows: written.counted.rows,
            date: job.date.clone(),
            modified_millis: clock.now_micros().div_euclid(1000),
            stats: written.counted.stats.finish(),
            checksums,
        },
        duplicates: written.counted.duplicates,
    })
}

/// A finished file.
struct Written {
    counted: Counted,
    sums: (Checksums, u64),
}

/// What is known of the rows that were written.
#[derive(Default)]
struct Counted {
    rows: u64,
    duplicates: u64,
    stats: StatsCollector,
}

async fn write(
    store: &Arc<dyn ObjectStore>,
    pool: &Arc<dyn MemoryPool>,
    kind: TableKind,
    job: &Job,
    path: &object_store::path::Path,
) -> Result<Written> {
    let expected: Option<u64> = job.files.iter().map(|file| file.rows).sum();
    let mut inputs = Vec::with_capacity(job.files.len());
    for file in &job.files {
        inputs.push((file, open(store, file).await?));
    }
    let footers: Vec<_> = inputs.iter().map(|(_, input)| Arc::clone(input.metadata())).collect();
    let schema = encoding::schema_of_merged(&schema::of_files(kind), &footers)?;
    let options = encoding::options(kind, &schema, Purpose::Compacted)?;
    let mut merged = merged_rows(pool, kind, inputs, &schema)?;
    let summer = Arc::new(Mutex::new(Summer::default()));
    let sink = Upload {
        inner: BufWriter::new(Arc::clone(store), path.clone()),
        summer: Arc::clone(&summer),
    };
    let mut writer = AsyncArrowWriter::try_new_with_options(sink, Arc::clone(&schema), options).map_err(unwritten)?;
    let mut counted = Counted::default();
    if let Err(error) = copy(&mut merged, &mut writer, kind, &mut counted).await {
        // Parts that were sent already would otherwise stay in the store for ever.
        if let Err(left) = writer.into_inner().inner.abort().await {
            tracing::debug!(%path, error = %left, "an unfinished upload could not be aborted");
        }
        return Err(error);
    }
    let read = counted.rows + counted.duplicates;
    if expected.is_some_and(|expected| expected != read) {
        return Err(Error::storage(format!(
            "the files of {} hold {read} rows, and the table's log says {}: they are not merged",
            job.date,
            expected.unwrap_or_default()
        )));
    }
    writer.flush().await.map_err(unwritten)?;
    let blocks = summer.lock().end_rows();
    writer.append_key_value_metadata(blocks);
    writer.close().await.map_err(unwritten)?;
    let sums = summer.lock().finish();
    Ok(Written { counted, sums })
}

/// A file on its way into the store, hashed as it goes.
struct Upload {
    inner: BufWriter,
    summer: Arc<Mutex<Summer>>,
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, ParquetResult<()>> {
        self.summer.lock().update(&bytes);
        AsyncFileWriter::write(&mut self.inner, bytes)
    }

    fn complete(&mut self) -> BoxFuture<'_, ParquetResult<()>> {
        AsyncFileWriter::complete(&mut self.inner)
    }
}

/// Writes all rows, each event once.
async fn copy(
    merged: &mut SendableRecordBatchStream,
    writer: &mut AsyncArrowWriter<Upload>,
    kind: TableKind,
    written: &mut Counted,
) -> Result<()> {
    let mut once = Once::default();
    while let Some(batch) = merged.next().await {
        let mut batch = batch?;
        if kind == TableKind::Events {
            let rows = batch.num_rows();
            batch = once.keep(&batch)?;
            written.duplicates += (rows - batch.num_rows()) as u64;
            written.stats.add(&batch)?;
        }
        written.rows += batch.num_rows() as u64;
        writer.write(&batch).await.map_err(unwritten)?;
        if writer.in_progress_size() > limits::COMPACTION_ROW_GROUP_BYTES_MAX {
            writer.flush().await.map_err(unwritten)?;
        }
    }
    Ok(())
}

fn unwritten(error: ParquetError) -> Error {
    Error::storage(format!("merged rows cannot be written: {error}")).with_source(error)
}

/// All rows of the job's files in the table's order.
fn merged_rows(
    pool: &Arc<dyn MemoryPool>,
    kind: TableKind,
    inputs: Vec<(&Arc<DataFile>, Input)>,
    schema: &SchemaRef,
) -> Result<SendableRecordBatchStream> {
    let streams = inputs.into_iter().map(|(file, input)| rows_from(file, input, schema));
    let streams = streams.collect::<Result<Vec<_>>>()?;
    let ascending = |name: &str| -> Result<PhysicalSortExpr> {
        let options = SortOptions {
            descending: false,
            nulls_first: true,
        };
        Ok(PhysicalSortExpr::new(col(name, schema)?, options))
    };
    let order: Result<Vec<PhysicalSortExpr>> = match kind {
        TableKind::Events => SORT_COLUMNS.iter().map(|column| ascending(column.name())).collect(),
        TableKind::Rejected => Ok(vec![ascending(REJECTED_TS_COLUMN)?]),
    };
    let order = LexOrdering::new(order?).ok_or_else(|| Error::internal("a table without an order"))?;
    let metrics = ExecutionPlanMetricsSet::new();
    let merged = StreamingMergeBuilder::new()
        .with_streams(streams)
        .with_schema(Arc::clone(schema))
        .with_expressions(&order)
        .with_metrics(BaselineMetrics::new(&metrics, 0))
        .with_batch_size(MERGE_BATCH_ROWS)
        .with_reservation(MemoryConsumer::new("compaction").register(pool))
        .with_round_robin_tie_breaker(false)
        .build()?;
    Ok(merged)
}

/// A reader of unknown type as one of a known type, which the stream's builder asks for.
struct Whole(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for Whole {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.0.get_metadata(options)
    }
}

/// A file whose footer is read.
type Input = ParquetRecordBatchStreamBuilder<Whole>;

fn unreadable(file: &DataFile, error: ParquetError) -> Error {
    Error::storage(format!("the file {} cannot be read: {error}", file.path)).with_source(error)
}

async fn open(store: &Arc<dyn ObjectStore>, file: &Arc<DataFile>) -> Result<Input> {
    let metrics = ExecutionPlanMetricsSet::new();
    let plain = Arc::new(DefaultParquetFileReaderFactory::new(Arc::clone(store)));
    let factory = VerifyingReaderFactory::new(plain, Arc::new(ProvedFooters::default()));
    let reader = factory.create_reader(0, partitioned(file), None, &metrics)?;
    ParquetRecordBatchStreamBuilder::new(Whole(reader))
        .await
        .map_err(|error| unreadable(file, error))
}

/// The rows of one file with the columns of `schema`, those of today's table or some of them.
pub(crate) async fn rows_of(
    store: &Arc<dyn ObjectStore>,
    file: &Arc<DataFile>,
    schema: &SchemaRef,
) -> Result<SendableRecordBatchStream> {
    rows_from(file, open(store, file).await?, schema)
}

fn rows_from(file: &DataFile, input: Input, schema: &SchemaRef) -> Result<SendableRecordBatchStream> {
    let wanted = schema.fields().iter().map(|field| field.name().as_str());
    let columns = ProjectionMask::columns(input.parquet_schema(), wanted);
    let rows = input.with_projection(columns).with_batch_size(MERGE_BATCH_ROWS).build();
    let rows = rows.map_err(|error| unreadable(file, error))?;
    let (wanted, name) = (Arc::clone(schema), file.path.clone());
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(|error| DataFusionError::Context(name.to_string(), Box::new(error.into())))?;
        completed(&batch, &wanted).map_err(DataFusionError::from)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows)))
}

/// `batch` with the columns of `schema`: a file written before a column existed lacks it.
fn completed(batch: &RecordBatch, schema: &SchemaRef) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let column = |field: &arrow::datatypes::FieldRef| match batch.column_by_name(field.name()) {
        Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
        Some(array) => cast(array, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema
        .fields()
        .iter()
        .map(column)
        .collect::<std::result::Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// Lets each event of a visitor through once. Rows must come sorted by visitor.
#[derive(Debug, Default)]
struct Once {
    visitor: String,
    /// Hashes of 128 bits: two ids with the same one will not be met.
    seen: HashSet<[u8; 16]>,
}

impl Once {
    fn keep(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let visitors = texts(batch, Column::VisitorId.name())?;
        let ids = texts(batch, Column::EventId.name())?;
        let mut all = true;
        let first = visitors.iter().zip(ids.iter()).map(|(visitor, id)| {
            let visitor = visitor.unwrap_or_default();
            if self.visitor != visitor {
                self.visitor.clear();
                self.visitor.push_str(visitor);
                self.seen.clear();
            }
            // A row without an id is like no other.
            let is_first = id.is_none_or(|id| self.seen.insert(hash(id)));
            all &= is_first;
            is_first
        });
        let first: BooleanArray = first.map(Some).collect();
        if all {
            return Ok(batch.clone());
        }
        Ok(filter_record_batch(batch, &first)?)
    }
}

fn hash(id: &str) -> [u8; 16] {
    let whole = blake3::hash(id.as_bytes());
    let mut short = [0; 16];
    short
        .iter_mut()
        .zip(whole.as_bytes())
        .for_each(|(to, from)| *to = *from);
    short
}
