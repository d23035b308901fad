//! One project's table as the query engine sees it: the files of a snapshot and the rows of the buffer.

use super::prune;
use crate::event::Column;
use crate::project::ProjectId;
use crate::query::tables;
use crate::store::verified;
use crate::store::{Bound, DataFile, Snapshot};
use arrow::array::{ArrayRef, AsArray, Date32Array};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use chrono::{Datelike, NaiveDate};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result as PlanResult, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use std::collections::HashSet;
use std::sync::Arc;

/// Days from 0001-01-01 to 1970-01-01, as chrono counts.
const EPOCH_DAY: i32 = 719_163;
const DAY_MICROS: i64 = crate::clock::DAY_MICROS;

/// The name under which sessions know the object store of the tables.
pub fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("tally://tables").unwrap_or_else(|_| ObjectStoreUrl::local_filesystem())
}

/// A table of one project at one moment. There is no way to make one without a project.
#[derive(Debug)]
pub struct ProjectTable {
    project: ProjectId,
    name: &'static str,
    schema: SchemaRef,
    files: Arc<Snapshot>,
    buffered: Vec<RecordBatch>,
    reader: Arc<dyn ParquetFileReaderFactory>,
}

impl ProjectTable {
    /// The table `name` (one of [`tables::ALL`]) of `project`: every row is in exactly one of `files` and `buffered`.
    pub fn new(
        project: ProjectId,
        name: &'static str,
        files: Arc<Snapshot>,
        buffered: Vec<RecordBatch>,
        reader: Arc<dyn ParquetFileReaderFactory>,
    ) -> Option<Self> {
        let schema = tables::schema_of(name)?;
        Some(Self {
            project,
            name,
            schema,
            files,
            buffered,
            reader,
        })
    }

    /// The project whose rows these are.
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// The instant column, whose UTC day is the partition.
    fn instant_column(&self) -> &'static str {
        match self.name {
            tables::EVENTS => Column::Ts.name(),
            _ => crate::event::schema::REJECTED_TS_COLUMN,
        }
    }

    fn scan_files(
        &self,
        state: &dyn Session,
        scan: &Scan,
        filters: &[Expr],
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        let files = prune::remaining(state, &self.files.files, &scan.read, self.instant_column(), filters)?;
        if files.is_empty() {
            return Ok(None);
        }
        let partition: Vec<FieldRef> = scan
            .read
            .field_with_name(PARTITION)
            .ok()
            .map(|f| Arc::new(f.clone()))
            .into_iter()
            .collect();
        let has_date = !partition.is_empty();
        let table_schema = TableSchema::builder(Arc::clone(&scan.stored))
            .with_table_partition_cols(partition)
            .build();
        let statistics = |file: &DataFile| Arc::new(file_statistics(file, &scan.stored));
        let mut total: Option<Statistics> = None;
        let mut partitioned = Vec::with_capacity(files.len());
        for file in &files {
            let date = if has_date {
                vec![ScalarValue::Date32(day_number(&file.date))]
            } else {
                Vec::new()
            };
            let one = verified::partitioned(file)
                .with_partition_values(date)
                .with_statistics(statistics(file));
            total = match (total, one.statistics.as_deref()) {
                (None, Some(one)) => Some(one.clone()),
                (Some(total), Some(one)) => Some(merged(total, one)),
                (total, None) => total,
            };
            partitioned.push(one);
        }
        let parquet = state.config_options().execution.parquet.clone();
        let options = datafusion::config::TableParquetOptions {
            global: parquet,
            ..Default::default()
        };
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::clone(&self.reader));
        let groups = grouped(partitioned, state.config().target_partitions());
        let mut config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(Some(scan.projection.clone()))?;
        if let Some(total) = total {
            config = config.with_statistics(total);
        }
        Ok(Some(DataSourceExec::from_data_source(config.build())))
    }

    fn scan_buffer(&self, state: &dyn Session, scan: &Scan) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        let rows = self.buffered.iter().filter(|batch| batch.num_rows() > 0);
        let batches: PlanResult<Vec<RecordBatch>> = rows.map(|batch| self.readable(batch, &scan.read)).collect();
        let batches = batches?;
        if batches.is_empty() {
            return Ok(None);
        }
        let partitions = state.config().target_partitions().max(1).min(batches.len());
        let mut dealt: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions];
        for (at, batch) in batches.into_iter().enumerate() {
            if let Some(partition) = dealt.get_mut(at % partitions) {
                partition.push(batch);
            }
        }
        let source = MemorySourceConfig::try_new(&dealt, Arc::clone(&scan.read), Some(scan.projection.clone()))?;
        Ok(Some(DataSourceExec::from_data_source(source)))
    }

    /// The columns `wanted` of a buffered batch, in the types that queries see.
    fn readable(&self, batch: &RecordBatch, wanted: &SchemaRef) -> PlanResult<RecordBatch> {
        let column = |field: &FieldRef| -> PlanResult<ArrayRef> {
            if field.name() == PARTITION {
                return days(batch.column_by_name(self.instant_column()));
            }
            match batch.column_by_name(field.name()) {
                Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
                Some(array) => Ok(arrow::compute::cast(array, field.data_type())?),
                None => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
            }
        };
        let columns: PlanResult<Vec<ArrayRef>> = wanted.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(wanted),
            columns?,
            &options,
        )?)
    }
}

const PARTITION: &str = crate::event::schema::PARTITION_COLUMN;

/// The columns of one scan. Only what is read is described, so that wide tables plan as fast as narrow ones.
struct Scan {
    /// Columns that are read, for output or for conditions, the partition column last.
    read: SchemaRef,
    /// The same without the partition column, which is not in the files.
    stored: SchemaRef,
    /// Positions in `read` of the columns that are wanted, in their order.
    projection: Vec<usize>,
    /// The columns that are wanted.
    output: SchemaRef,
}

impl Scan {
    fn new(schema: &SchemaRef, projection: Option<&Vec<usize>>, filters: &[Expr]) -> PlanResult<Self> {
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let in_filters: HashSet<&str> = filters
            .iter()
            .flat_map(Expr::column_refs)
            .map(|column| column.name.as_str())
            .collect();
        let is_read = |at: &usize, name: &str| wanted.contains(at) || in_filters.contains(name);
        let indexed = schema.fields().iter().enumerate();
        let read: Vec<usize> = indexed
            .filter(|(at, field)| is_read(at, field.name()))
            .map(|(at, _)| at)
            .collect();
        let position = |at: &usize| {
            let found = read.iter().position(|read| read == at);
            found.ok_or_else(|| DataFusionError::Internal("a wanted column is not read".to_owned()))
        };
        let projection: PlanResult<Vec<usize>> = wanted.iter().map(position).collect();
        let read = Arc::new(schema.project(&read)?);
        let stored = read.fields().iter().filter(|field| field.name() != PARTITION).cloned();
        let stored = Arc::new(Schema::new(stored.collect::<Vec<_>>()));
        let output = Arc::new(schema.project(wanted)?);
        Ok(Self {
            read,
            stored,
            projection: projection?,
            output,
        })
    }
}

#[async_trait]
impl TableProvider for ProjectTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Conditions choose files here; whether a row passes is decided by the filter above, which the query engine pushes
    /// into the Parquet reader.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let scan = Scan::new(&self.schema, projection, filters)?;
        let files = self.scan_files(state, &scan, filters)?;
        let buffer = self.scan_buffer(state, &scan)?;
        match (files, buffer) {
            (None, None) => Ok(Arc::new(EmptyExec::new(scan.output))),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (Some(files), Some(buffer)) => UnionExec::try_new(vec![files, buffer]),
        }
    }
}

/// Deals files out so that every group has about the same number of bytes; within a group they keep their order.
fn grouped(files: Vec<PartitionedFile>, groups: usize) -> Vec<FileGroup> {
    let groups = groups.max(1).min(files.len().max(1));
    let mut bytes = vec![0_u64; groups];
    let mut dealt: Vec<Vec<PartitionedFile>> = vec![Vec::new(); groups];
    for file in files {
        let least = bytes
            .iter()
            .enumerate()
            .min_by_key(|(_, bytes)| **bytes)
            .map_or(0, |(at, _)| at);
        if let (Some(group), Some(bytes)) = (dealt.get_mut(least), bytes.get_mut(least)) {
            *bytes += file.object_meta.size;
            group.push(file);
        }
    }
    dealt
        .into_iter()
        .filter(|group| !group.is_empty())
        .map(FileGroup::new)
        .collect()
}

/// Days since the epoch of a partition's name.
pub(super) fn day_number(date: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    Some(date.num_days_from_ce() - EPOCH_DAY)
}

/// The UTC days of instants.
fn days(instants: Option<&ArrayRef>) -> PlanResult<ArrayRef> {
    let instants = instants.ok_or_else(|| DataFusionError::Internal("a buffered batch has no instants".to_owned()))?;
    let instants = instants.as_primitive_opt::<TimestampMicrosecondType>();
    let instants = instants.ok_or_else(|| DataFusionError::Internal("instants have another type".to_owned()))?;
    let day = |at: i64| i32::try_from(at.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX);
    let days: Date32Array = instants.unary(day);
    Ok(Arc::new(days))
}

/// A bound as a value of the column's type; `None` when the types do not fit.
pub(super) fn bound_value(bound: &Bound, data_type: &DataType) -> Option<ScalarValue> {
    match (bound, data_type) {
        (Bound::Text(text), DataType::Utf8View) => Some(ScalarValue::Utf8View(Some(text.clone()))),
        (Bound::Timestamp(at), DataType::Timestamp(_, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*at), zone.clone()))
        }
        _ => None,
    }
}

/// What the log says about a file, as estimates: bounds in a log may be wider than the values. Rows are exact.
fn file_statistics(file: &DataFile, stored: &Schema) -> Statistics {
    let column = |field: &FieldRef| {
        let known = Column::from_name(field.name()).and_then(|column| file.stats.get(&column));
        let bound = |bound: Option<&Bound>| {
            let value = bound.and_then(|bound| bound_value(bound, field.data_type()));
            value.map_or(Precision::Absent, Precision::Inexact)
        };
        let Some(known) = known else {
            return ColumnStatistics::new_unknown();
        };
        let nulls = known.null_count.and_then(|count| usize::try_from(count).ok());
        ColumnStatistics {
            null_count: nulls.map_or(Precision::Absent, Precision::Inexact),
            min_value: bound(known.min.as_ref()),
            max_value: bound(known.max.as_ref()),
            ..ColumnStatistics::new_unknown()
        }
    };
    let rows = file.rows.and_then(|rows| usize::try_from(rows).ok());
    Statistics {
        num_rows: rows.map_or(Precision::Absent, Precision::Exact),
        total_byte_size: usize::try_from(file.size_bytes).map_or(Precision::Absent, Precision::Inexact),
        column_statistics: stored.fields().iter().map(column).collect(),
    }
}

/// The statistics of two disjoint sets of rows together.
fn merged(mut total: Statistics, one: &Statistics) -> Statistics {
    total.num_rows = total.num_rows.add(&one.num_rows);
    total.total_byte_size = total.total_byte_size.add(&one.total_byte_size);
    for (total, one) in total.column_statistics.iter_mut().zip(&one.column_statistics) {
        total.null_count = total.null_count.add(&one.null_count);
        total.min_value = total.min_value.min(&one.min_value);
        total.max_value = total.max_value.max(&one.max_value);
        total.distinct_count = Precision::Absent;
        total.byte_size = Precision::Absent;
    }
    total
}
