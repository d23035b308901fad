//! Rows out of files that other programs wrote: Parquet, NDJSON, CSV, TSV and Arrow streams, one row at a time.
//!
//! What the columns mean is for the caller to know. Here a file only becomes names and values, whatever types it had.

mod arrow_rows;
mod text_rows;

#[cfg(test)]
mod tests;

use crate::clock::Micros;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A file format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// Apache Parquet.
    Parquet,
    /// A JSON object a line, as ClickHouse's `JSONEachRow`.
    Ndjson,
    /// Comma-separated with a header, as ClickHouse's `CSVWithNames`.
    Csv,
    /// ClickHouse's `TabSeparatedWithNames`: tabs, a header, backslashes before special characters.
    Tsv,
    /// A stream of Arrow's record batches.
    Arrow,
}

impl InputFormat {
    const NAMES: &'static [(&'static str, InputFormat)] = &[
        ("parquet", InputFormat::Parquet),
        ("ndjson", InputFormat::Ndjson),
        ("jsonl", InputFormat::Ndjson),
        ("json", InputFormat::Ndjson),
        ("csv", InputFormat::Csv),
        ("tsv", InputFormat::Tsv),
        ("arrow", InputFormat::Arrow),
        ("arrows", InputFormat::Arrow),
    ];

    /// The format that a file's ending names.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        ending.parse().ok()
    }
}

impl FromStr for InputFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| {
            Error::invalid(format!(
                "`{name}` is no format that can be read: write parquet, ndjson, csv, tsv or arrow"
            ))
        })
    }
}

/// A value of a row, in whatever type the file has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// Text; also numbers of formats that have only text.
    Text(String),
    /// A number as JSON writes it.
    Number(String),
    /// True or false.
    Bool(bool),
    /// An instant.
    Instant(Micros),
    /// An object or an array of JSON, as it stood.
    Json(String),
}

/// A row: the columns that have a value, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Names and values in the order of the file.
    pub fields: Vec<(Arc<str>, Field)>,
}

/// A row that could be read, or what stands there instead and why it is none.
pub type Read1 = std::result::Result<Row, BadRow>;

/// Something in the place of a row that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Why, for people.
    pub detail: String,
    /// Its beginning.
    pub raw: String,
}

/// The rows of a file, one after another.
pub struct Rows {
    inner: Box<dyn Iterator<Item = Result<Read1>> + Send>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Iterator for Rows {
    type Item = Result<Read1>;

    fn next(&mut self) -> Option<Self::Item> {
        self.inner.next()
    }
}

impl Rows {
    /// Opens a file.
    ///
    /// # Errors
    /// `Invalid` when it cannot be opened or is not of the format; the message names it.
    pub fn open(path: &Path, format: InputFormat) -> Result<Self> {
        let at = |what: String| Error::invalid(format!("{}: {what}", path.display()));
        let file = File::open(path).map_err(|error| at(error.to_string()))?;
        let text = |file| -> Box<dyn Read + Send> { Box::new(BufReader::with_capacity(256 * 1024, file)) };
        let opened: Result<Box<dyn Iterator<Item = Result<Read1>> + Send>> = match format {
            InputFormat::Parquet => arrow_rows::parquet(file).map(|rows| Box::new(rows) as _),
            InputFormat::Arrow => arrow_rows::stream(text(file)).map(|rows| Box::new(rows) as _),
            InputFormat::Ndjson => Ok(Box::new(text_rows::json_lines(text(file)))),
            InputFormat::Csv => text_rows::separated(text(file), b',').map(|rows| Box::new(rows) as _),
            InputFormat::Tsv => text_rows::separated(text(file), b'\t').map(|rows| Box::new(rows) as _),
        };
        let inner = opened.map_err(|error| at(error.message().to_owned()))?;
        Ok(Self { inner })
    }
}
