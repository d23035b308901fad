//! From Arrow to the cells of an answer: numbers as JavaScript prints them, instants without a zone.

use super::Cell;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::DateTime;

/// The rows of `batches`, each cell in the order of their columns.
///
/// # Errors
/// `Internal` when a value has no text.
pub fn rows(batches: &[RecordBatch]) -> Result<Vec<Vec<Cell>>> {
    let count = batches.iter().map(RecordBatch::num_rows).sum();
    let mut rows: Vec<Vec<Cell>> = Vec::with_capacity(count);
    for batch in batches {
        let columns: Result<Vec<Vec<Cell>>> = batch.columns().iter().map(cells).collect();
        let mut columns: Vec<_> = columns?.into_iter().map(Vec::into_iter).collect();
        for _ in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter_mut()
                    .map(|column| column.next().unwrap_or(Cell::Null))
                    .collect(),
            );
        }
    }
    Ok(rows)
}

macro_rules! primitives {
    ($array:expr, $type:ty, $cell:expr) => {
        $array
            .as_primitive::<$type>()
            .iter()
            .map(|value| value.map_or(Cell::Null, $cell))
            .collect()
    };
}

/// All cells of a column.
fn cells(array: &ArrayRef) -> Result<Vec<Cell>> {
    fn whole(value: impl std::fmt::Display) -> Cell {
        Cell::Number(value.to_string())
    }
    let text = |value: Option<&str>| value.map_or(Cell::Null, |value| Cell::Text(value.to_owned()));
    Ok(match array.data_type() {
        DataType::Null => vec![Cell::Null; array.len()],
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .map(|value| value.map_or(Cell::Null, Cell::Bool))
            .collect(),
        DataType::Int8 => primitives!(array, Int8Type, whole),
        DataType::Int16 => primitives!(array, Int16Type, whole),
        DataType::Int32 => primitives!(array, Int32Type, whole),
        DataType::Int64 => primitives!(array, Int64Type, whole),
        DataType::UInt8 => primitives!(array, UInt8Type, whole),
        DataType::UInt16 => primitives!(array, UInt16Type, whole),
        DataType::UInt32 => primitives!(array, UInt32Type, whole),
        DataType::UInt64 => primitives!(array, UInt64Type, whole),
        DataType::Float16 => primitives!(array, Float16Type, |value| float(f64::from(value))),
        // A float's own shortest digits, not those of the double it widens to.
        DataType::Float32 => {
            primitives!(array, Float32Type, |value| float(
                value.to_string().parse().unwrap_or(f64::from(value))
            ))
        }
        DataType::Float64 => primitives!(array, Float64Type, float),
        DataType::Decimal128(precision, scale) => primitives!(array, Decimal128Type, |value| decimal(
            &Decimal128Type::format_decimal(value, *precision, *scale)
        )),
        DataType::Decimal256(precision, scale) => primitives!(array, Decimal256Type, |value| decimal(
            &Decimal256Type::format_decimal(value, *precision, *scale)
        )),
        DataType::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(text).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(text).collect(),
        DataType::Date32 => primitives!(array, Date32Type, |day| time(i64::from(day).checked_mul(86_400_000))),
        DataType::Date64 => primitives!(array, Date64Type, |at| time(Some(at))),
        DataType::Timestamp(unit, _) => instants(array, *unit)?,
        DataType::Dictionary(_, values) => cells(&arrow::compute::cast(array, values)?)?,
        _ => formatted(array)?,
    })
}

/// A number as JavaScript prints it; what is no number is null.
pub fn float(value: f64) -> Cell {
    if !value.is_finite() {
        return Cell::Null;
    }
    if value == 0.0 {
        return Cell::Number("0".to_owned());
    }
    let size = value.abs();
    if (1e-6..1e21).contains(&size) {
        return Cell::Number(value.to_string());
    }
    let text = format!("{value:e}");
    Cell::Number(match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    })
}

/// A decimal without the zeros at its end.
fn decimal(text: &str) -> Cell {
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    };
    Cell::Number(if short == "-0" {
        "0".to_owned()
    } else {
        short.to_owned()
    })
}

/// Milliseconds since the epoch as `YYYY-MM-DDTHH:mm:ss.SSS`.
fn time(millis: Option<i64>) -> Cell {
    match millis.and_then(DateTime::from_timestamp_millis) {
        Some(at) => Cell::Time(at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()),
        None => Cell::Null,
    }
}

/// Instants of any unit, in UTC; wall clocks as they are.
fn instants(array: &ArrayRef, unit: TimeUnit) -> Result<Vec<Cell>> {
    let raw = arrow::compute::cast(array, &DataType::Int64)?;
    let millis = |value: i64| match unit {
        TimeUnit::Second => value.checked_mul(1_000),
        TimeUnit::Millisecond => Some(value),
        TimeUnit::Microsecond => Some(value.div_euclid(1_000)),
        TimeUnit::Nanosecond => Some(value.div_euclid(1_000_000)),
    };
    Ok(primitives!(raw, Int64Type, |value| time(millis(value))))
}

/// Lists, intervals and the like as text.
fn formatted(array: &ArrayRef) -> Result<Vec<Cell>> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let cell = |row: usize| match array.is_null(row) {
        true => Ok(Cell::Null),
        false => match formatter.value(row).try_to_string() {
            Ok(text) => Ok(Cell::Text(text)),
            Err(error) => Err(Error::internal(format!(
                "a value of type {} has no text: {error}",
                array.data_type()
            ))),
        },
    };
    (0..array.len()).map(cell).collect()
}

#[cfg(test)]
mod tests;
