//! How rows are written as Parquet: which columns, in which encoding, how compressed. Figures in `decisions/0016`.
//!
//! Only what any Parquet reader of the last years knows is used; the log's schema tells readers of columns that a file lacks.

use super::TableKind;
use crate::error::{Error, Result};
use crate::event::schema::SORT_COLUMNS;
use crate::event::{Column, Kind};
use crate::limits;
use arrow::array::Array;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::file::metadata::{ParquetMetaData, SortingColumn};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use datafusion::parquet::schema::types::ColumnPath;
use std::sync::Arc;

/// What a file is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// By a flush: quickly, it is rewritten soon.
    Fresh,
    /// By a merge: small, it stays.
    Compacted,
}

/// Text columns with a new value in nearly every row. A dictionary of them would be built, found to be too large and thrown
/// away; and what repeats in random hex digits does so by chance, so that a search for it costs bytes.
const UNIQUE: [Column; 3] = [Column::EventId, Column::PageViewId, Column::OrderId];

/// Columns of integers that are near the one before, in the order of the rows, or small and rarely the same. Instants of a
/// visitor are some seconds apart.
const NEAR: [Column; 8] = [
    Column::Ts,
    Column::ReceivedAt,
    Column::ClientTs,
    Column::SentAt,
    Column::ScrollXMin,
    Column::ScrollXMax,
    Column::ScrollYMin,
    Column::ScrollYMax,
];

/// How a file with the columns of `schema` is written. The Arrow schema beside Parquet's own would say nothing new and take
/// some kilobytes a file.
pub(super) fn options(kind: TableKind, schema: &Schema, purpose: Purpose) -> Result<ArrowWriterOptions> {
    Ok(ArrowWriterOptions::new()
        .with_properties(properties(kind, schema, purpose)?)
        .with_skip_arrow_metadata(true))
}

/// The properties of a file with the columns of `schema`.
pub(super) fn properties(kind: TableKind, schema: &Schema, purpose: Purpose) -> Result<WriterProperties> {
    let zstd = |level: i32| {
        let level = ZstdLevel::try_new(level);
        level
            .map(Compression::ZSTD)
            .map_err(|error| Error::internal(format!("a level of zstd: {error}")))
    };
    let (usual, unique) = match purpose {
        Purpose::Fresh => (Compression::LZ4_RAW, Compression::LZ4_RAW),
        Purpose::Compacted => (
            zstd(limits::COMPACTED_ZSTD_LEVEL)?,
            zstd(limits::COMPACTED_IDS_ZSTD_LEVEL)?,
        ),
    };
    let ascending = |column: &Column| {
        let at = schema.index_of(column.name()).ok()?;
        Some(SortingColumn {
            column_idx: i32::try_from(at).ok()?,
            descending: false,
            nulls_first: false,
        })
    };
    let sorting: Option<Vec<SortingColumn>> = SORT_COLUMNS.iter().map(ascending).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tally ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(usual)
        .set_dictionary_enabled(true)
        .set_max_row_group_row_count(Some(limits::ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(sorting.filter(|_| kind == TableKind::Events));
    let path = |column: Column| ColumnPath::from(column.name());
    for column in UNIQUE {
        builder = builder
            .set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_compression(path(column), unique);
    }
    for column in NEAR {
        debug_assert!(matches!(column.kind(), Kind::Int32 | Kind::Int64 | Kind::Timestamp));
        builder = builder
            .set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED);
    }
    // Page statistics let a scan skip within a row group; they pay only where the order makes pages distinct.
    for column in [Column::VisitorId, Column::Ts] {
        builder = builder.set_column_statistics_enabled(path(column), EnabledStatistics::Page);
    }
    Ok(builder.build())
}

/// The places of the columns of `schema` that a file has: those in which one of its rows has a value, and those in which each
/// must have one. Half of the columns are never used by a site; each would cost its place in the footer of every file, and its
/// nulls a little time at every step.
pub(super) fn columns_in_use(schema: &Schema, has_value: impl Fn(usize) -> bool) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    let used = fields.filter(|(at, field)| !field.is_nullable() || has_value(*at));
    used.map(|(at, _)| at).collect()
}

/// `batches` with the columns that their file has.
pub(super) fn without_empty(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let Some(first) = batches.first() else {
        return Ok(batches);
    };
    let is_full = |batch: &RecordBatch, at| batch.column(at).null_count() < batch.num_rows();
    let used = columns_in_use(&first.schema(), |at| batches.iter().any(|batch| is_full(batch, at)));
    let projected = batches.iter().map(|batch| batch.project(&used));
    Ok(projected.collect::<std::result::Result<_, _>>()?)
}

/// `schema` with the columns that a file with all rows of these files has.
pub(super) fn schema_of_merged(schema: &Schema, files: &[Arc<ParquetMetaData>]) -> Result<SchemaRef> {
    let holds = |at: usize| files.iter().any(|file| has_values(file, schema.field(at).name()));
    Ok(Arc::new(schema.project(&columns_in_use(schema, holds))?))
}

/// Whether a file may have a value in the column: it has the column, and does not say that all is null.
fn has_values(file: &ParquetMetaData, name: &str) -> bool {
    file.row_groups().iter().any(|group| {
        let column = group
            .columns()
            .iter()
            .find(|column| column.column_path().string() == name);
        column.is_some_and(|column| {
            let nulls = column.statistics().and_then(|statistics| statistics.null_count_opt());
            nulls.is_none_or(|nulls| i64::try_from(nulls) != Ok(group.num_rows()))
        })
    })
}
