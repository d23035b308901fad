//! Rows of text: JSON lines, and lines with separators.

use super::{BadRow, Field, Read1, Row};
use crate::error::{Error, Result};
use crate::limits;
use indexmap::IndexMap;
use serde_json::value::RawValue;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

/// What ClickHouse writes for no value, in both of its separated formats.
const NULL: &str = "\\N";

/// The rows of JSON lines. Empty lines are passed over.
pub fn json_lines(input: Box<dyn Read + Send>) -> impl Iterator<Item = Result<Read1>> + Send {
    let mut input = BufReader::with_capacity(256 * 1024, input);
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        loop {
            line.clear();
            let mut limited = (&mut input).take(limits::IMPORT_ROW_BYTES_MAX as u64);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(read) if read == limits::IMPORT_ROW_BYTES_MAX && line.last() != Some(&b'\n') => {
                    if let Err(error) = skip_line(&mut input) {
                        return Some(Err(error.into()));
                    }
                    let detail = format!("the row has more than {} bytes", limits::IMPORT_ROW_BYTES_MAX);
                    return Some(Ok(Err(bad(&line, detail))));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Some(Ok(json_row(text)));
            }
        }
    })
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                input.consume(end + 1);
                return Ok(());
            }
            None => {
                let length = buffer.len();
                input.consume(length);
            }
        }
    }
}

fn bad(raw: &[u8], detail: String) -> BadRow {
    let mut raw = String::from_utf8_lossy(raw).into_owned();
    raw.truncate(raw.floor_char_boundary(limits::REJECTED_RAW_BYTES_MAX));
    BadRow { detail, raw }
}

fn json_row(line: &[u8]) -> Read1 {
    let object: IndexMap<String, Box<RawValue>> =
        serde_json::from_slice(line).map_err(|error| bad(line, format!("the line is no JSON object: {error}")))?;
    let mut row = Row::default();
    for (name, value) in object {
        let text = value.get();
        let field = match text.as_bytes().first() {
            Some(b'n') => continue,
            Some(b't') => Field::Bool(true),
            Some(b'f') => Field::Bool(false),
            Some(b'"') => match serde_json::from_str::<String>(text) {
                Ok(text) => Field::Text(text),
                Err(error) => return Err(bad(line, format!("`{name}` is no text: {error}"))),
            },
            Some(b'{' | b'[') => Field::Json(text.to_owned()),
            _ => Field::Number(text.to_owned()),
        };
        row.fields.push((name.into(), field));
    }
    Ok(row)
}

/// The rows of lines whose fields stand between `separator`s, the first line being the names. Between tabs, backslashes
/// stand before special characters; between commas, fields may be quoted.
///
/// # Errors
/// `Invalid` when there is no header.
pub fn separated(input: Box<dyn Read + Send>, separator: u8) -> Result<impl Iterator<Item = Result<Read1>> + Send> {
    let has_backslashes = separator == b'\t';
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .quoting(!has_backslashes)
        .flexible(true)
        .from_reader(input);
    let header = reader
        .byte_headers()
        .map_err(|error| Error::invalid(format!("it has no line of names: {error}")))?;
    let names: Vec<Arc<str>> = header
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').into())
        .collect();
    if names.iter().all(|name| name.is_empty()) {
        return Err(Error::invalid("it is empty, or its first line has no names"));
    }
    let mut record = csv::ByteRecord::new();
    Ok(std::iter::from_fn(move || {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => return Some(Err(Error::invalid(format!("it cannot be read further: {error}")))),
        }
        if record.len() != names.len() {
            let detail = format!(
                "the row has {} fields, and the first line names {}",
                record.len(),
                names.len()
            );
            return Some(Ok(Err(bad(record.as_slice(), detail))));
        }
        let mut row = Row::default();
        for (name, value) in names.iter().zip(record.iter()) {
            if value.is_empty() || value == NULL.as_bytes() {
                continue;
            }
            let text = String::from_utf8_lossy(value);
            let text = if has_backslashes {
                unescaped(&text)
            } else {
                text.into_owned()
            };
            row.fields.push((Arc::clone(name), Field::Text(text)));
        }
        Some(Ok(Ok(row)))
    }))
}

/// Text with its backslashes resolved, as ClickHouse writes them.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('0') => out.push('\0'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
