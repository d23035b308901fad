//! `simpleJSON…` and `visitParam…`: a search for `"name":` in the text, without reading it as JSON.

use crate::functions::scalar::Args;
use arrow::array::ArrayRef;
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use datafusion::common::Result as PlanResult;

/// What follows `"name":`.
fn value<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let pattern = format!("\"{name}\":");
    json.find(&pattern).map(|at| &json[at + pattern.len()..])
}

/// The value's own text: up to a comma or bracket that is not inside of it.
fn raw(text: &str) -> &str {
    let mut depth = 0_usize;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        if quoted {
            match (escaped, c) {
                (true, _) => escaped = false,
                (false, '\\') => escaped = true,
                (false, '"') => quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => quoted = true,
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 0 => return &text[..at],
            '}' | ']' => {
                depth -= 1;
                if depth == 0 {
                    return &text[..=at];
                }
            }
            ',' if depth == 0 => return &text[..at],
            _ => {}
        }
    }
    // What does not end is no value.
    ""
}

/// The beginning of `text` that is a number, with or without quotes before it.
fn number(text: &str) -> &str {
    let text = text.strip_prefix('"').unwrap_or(text);
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
        .unwrap_or(text.len());
    &text[..end]
}

fn whole(text: &str) -> i128 {
    let digits = number(text);
    let end = digits.find(['.', 'e', 'E']).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// `simpleJSONHas`.
pub fn simple_has(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.booleans(|row| Ok(value(json.get(row), name.get(row)).is_some()))
}

/// `simpleJSONExtractInt`.
pub fn simple_int(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.numbers::<Int64Type>(|row| Ok(Some(value(json.get(row), name.get(row)).map_or(0, whole) as i64)))
}

/// `simpleJSONExtractUInt`.
pub fn simple_uint(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.numbers::<UInt64Type>(|row| Ok(Some(value(json.get(row), name.get(row)).map_or(0, whole).max(0) as u64)))
}

/// `simpleJSONExtractFloat`.
pub fn simple_float(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.numbers::<Float64Type>(|row| {
        Ok(Some(
            value(json.get(row), name.get(row)).map_or(0.0, |text| number(text).parse().unwrap_or(0.0)),
        ))
    })
}

/// `simpleJSONExtractBool`.
pub fn simple_bool(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.booleans(|row| Ok(value(json.get(row), name.get(row)).is_some_and(|text| text.starts_with("true"))))
}

/// `simpleJSONExtractRaw`.
pub fn simple_raw(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.pieces(|row| value(json.get(row), name.get(row)).map_or("", raw))
}

/// `simpleJSONExtractString`: nothing unless it is a text.
pub fn simple_string(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, name) = (args.text(0)?, args.text(1)?);
    args.texts(|row, out| {
        let found = value(json.get(row), name.get(row))
            .map(raw)
            .filter(|text| text.starts_with('"'));
        let text = found.and_then(|text| serde_json::from_str::<String>(text).ok());
        out.push_str(&text.unwrap_or_default());
        Ok(())
    })
}
