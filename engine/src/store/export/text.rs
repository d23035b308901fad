//! Values as text: JSON that the import reads back as it was, and cells of CSV that no spreadsheet runs.

use crate::event::Column;
use crate::event::schema::DECIMAL_SCALE;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A value of a table's column.
#[derive(Debug, Clone, PartialEq)]
enum Cell<'a> {
    /// No value.
    Null,
    /// Text.
    Text(&'a str),
    /// A number, exactly as JSON writes it.
    Number(String),
    /// An instant, RFC 3339 with microseconds.
    Instant(String),
    /// True or false.
    Bool(bool),
}

/// The value at `row`. Types that no table has are no value.
fn cell(array: &ArrayRef, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row)),
        DataType::Int32 => Cell::Number(array.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Cell::Number(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float64 => match serde_json::Number::from_f64(array.as_primitive::<Float64Type>().value(row)) {
            Some(number) => Cell::Number(number.to_string()),
            // JSON has no word for it, and no event can have it.
            None => Cell::Null,
        },
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Timestamp(_, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
            Cell::Instant(time.to_rfc3339_opts(SecondsFormat::Micros, true))
        }
        DataType::Decimal128(_, _) => Cell::Number(decimal(array.as_primitive::<Decimal128Type>().value(row))),
        _ => Cell::Null,
    }
}

/// Millionths as a decimal number without idle zeros.
fn decimal(value: i128) -> String {
    let scale = usize::try_from(DECIMAL_SCALE).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let part = part.trim_end_matches('0');
    let sign = if value < 0 { "-" } else { "" };
    if part.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{part}")
    }
}

/// Whether a column's text is JSON.
fn holds_json(name: &str) -> bool {
    const COLUMNS: [Column; 7] = [
        Column::Properties,
        Column::UserTraits,
        Column::GroupTraits,
        Column::Contexts,
        Column::Extra,
        Column::Items,
        Column::UaHints,
    ];
    COLUMNS.iter().any(|column| column.name() == name)
}

/// Text that can stand in a line of JSON as it is: an object or an array without a line's end.
fn is_inline_json(text: &str) -> bool {
    text.starts_with(['{', '['])
        && !text.contains(['\n', '\r'])
        && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get().len() == text.len())
}

/// Appends a row as a line of JSON; columns without a value are left out.
pub(super) fn json_line(batch: &RecordBatch, row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut is_first = true;
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let value = match cell(array, row) {
            Cell::Null => continue,
            Cell::Text(text) if holds_json(field.name()) && is_inline_json(text) => Cow::Borrowed(text),
            Cell::Text(text) => Cow::Owned(quoted(text)),
            Cell::Number(number) => Cow::Owned(number),
            Cell::Instant(text) => Cow::Owned(format!("\"{text}\"")),
            Cell::Bool(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
        };
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.push(b'"');
        out.extend_from_slice(field.name().as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A value as a cell of CSV. What a visitor sent is hostile: a text that a spreadsheet would take for a formula gets an
/// apostrophe in front, and so does one that begins with an apostrophe, so that the import can take it off again.
pub(super) fn csv_cell(array: &ArrayRef, row: usize) -> String {
    match cell(array, row) {
        Cell::Null => String::new(),
        Cell::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']) => format!("'{text}"),
        Cell::Text(text) => text.to_owned(),
        Cell::Number(text) | Cell::Instant(text) => text,
        Cell::Bool(flag) => flag.to_string(),
    }
}
