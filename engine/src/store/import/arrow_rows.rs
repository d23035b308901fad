//! Rows of Arrow's record batches, from Parquet or a stream.

use super::{Field, Read1, Row};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// Rows of one batch: a wide row may have some kilobytes.
const BATCH_ROWS: usize = 1024;

type Batches = Box<dyn Iterator<Item = std::result::Result<RecordBatch, arrow::error::ArrowError>> + Send>;

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(format!("it cannot be read: {error}")).with_source(error)
}

/// The rows of a Parquet file.
pub fn parquet(file: File) -> Result<impl Iterator<Item = Result<Read1>> + Send> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
    Ok(rows(Box::new(reader)))
}

/// The rows of a stream of batches.
pub fn stream(input: Box<dyn Read + Send>) -> Result<impl Iterator<Item = Result<Read1>> + Send> {
    let reader = StreamReader::try_new(input, None).map_err(unreadable)?;
    Ok(rows(Box::new(reader)))
}

fn rows(batches: Batches) -> impl Iterator<Item = Result<Read1>> + Send {
    batches.flat_map(|batch| {
        let rows: Vec<Result<Read1>> = match batch.map_err(unreadable).and_then(|batch| rows_of(&batch)) {
            Ok(rows) => rows.into_iter().map(|row| Ok(Ok(row))).collect(),
            Err(error) => vec![Err(error)],
        };
        rows
    })
}

fn rows_of(batch: &RecordBatch) -> Result<Vec<Row>> {
    let mut rows = vec![Row::default(); batch.num_rows()];
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name: Arc<str> = field.name().as_str().into();
        let simple = simplified(array)?;
        let formatter = ArrayFormatter::try_new(&simple, &FormatOptions::default()).map_err(unreadable)?;
        for (at, row) in rows.iter_mut().enumerate() {
            if simple.is_valid(at) {
                row.fields.push((Arc::clone(&name), value(&simple, at, &formatter)));
            }
        }
    }
    Ok(rows)
}

/// A column in one of the few types that [`value`] knows. ClickHouse writes its strings as bytes.
fn simplified(array: &ArrayRef) -> Result<ArrayRef> {
    use DataType as T;
    let wanted = match array.data_type() {
        T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => return texts_of_bytes(array),
        T::Dictionary(_, value) if matches!(**value, T::Binary | T::LargeBinary) => {
            return texts_of_bytes(&cast(array, &T::Binary)?);
        }
        T::Dictionary(_, _) => T::Utf8,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => T::Int64,
        T::Float16 | T::Float32 | T::Float64 => T::Float64,
        T::Timestamp(_, _) | T::Date32 | T::Date64 => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return Ok(Arc::clone(array)),
    };
    Ok(cast(array, &wanted)?)
}

fn texts_of_bytes(array: &ArrayRef) -> Result<ArrayRef> {
    let bytes = cast(array, &DataType::Binary)?;
    let texts = bytes.as_binary::<i32>().iter();
    let texts: arrow::array::StringArray = texts
        .map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
        .collect();
    Ok(Arc::new(texts))
}

fn value(array: &ArrayRef, row: usize, formatter: &ArrayFormatter<'_>) -> Field {
    match array.data_type() {
        DataType::Utf8 => Field::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Int64 => Field::Number(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            match serde_json::Number::from_f64(number) {
                Some(number) => Field::Number(number.to_string()),
                None => Field::Text(number.to_string()),
            }
        }
        DataType::Boolean => Field::Bool(array.as_boolean().value(row)),
        DataType::Timestamp(_, _) => Field::Instant(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::UInt64 | DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => {
            Field::Number(formatter.value(row).to_string())
        }
        _ => Field::Text(formatter.value(row).to_string()),
    }
}
