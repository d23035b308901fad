//! The `data` of an answer in its three shapes, written straight from the engine's cells.

use super::normalize::{Normalized, ResponseFormat, range_texts};
use engine::query::{Answer, Cell};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

#[cfg(test)]
mod tests;

/// A column of the rows on the wire.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// A column of the answer.
    Column(usize),
    /// The same text in every row.
    Text(String),
}

/// What a request adds to each row besides the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// `compareDateRange`: the range this row belongs to.
    CompareDateRange,
    /// `time.<granularity>`: the common time of blended queries.
    BlendedTime,
}

/// The rows of an answer, serialisable.
#[derive(Debug)]
pub struct Rows<'a> {
    answer: &'a Answer,
    columns: Vec<(String, Source)>,
    format: ResponseFormat,
}

impl<'a> Rows<'a> {
    /// The rows of `answer` to `query`. Each bucketed time dimension also stands under its bare name, in its finest
    /// granularity, unless it was selected under that name: clients look for either.
    pub fn new(answer: &'a Answer, query: &Normalized, extra: Extra) -> Self {
        let mut columns: Vec<(String, Source)> = Vec::with_capacity(answer.columns.len() + 2);
        let known = |columns: &[(String, Source)], key: &str| columns.iter().any(|(k, _)| k == key);
        for (index, key) in answer.columns.iter().enumerate() {
            if !known(&columns, key) {
                columns.push((key.clone(), Source::Column(index)));
            }
        }
        for time in &query.time_dimensions {
            if !known(&columns, &time.dimension)
                && let Some(column) = finest(answer, query, &time.dimension)
            {
                columns.push((time.dimension.clone(), Source::Column(column)));
            }
        }
        match extra {
            Extra::None => {}
            Extra::CompareDateRange => {
                let range = query.time_dimensions.iter().find_map(|t| t.date_range.as_ref());
                let text = range.map(|r| range_texts(r).join(" - ")).unwrap_or_default();
                columns.push(("compareDateRange".to_owned(), Source::Text(text)));
            }
            Extra::BlendedTime => {
                if let Some(time) = query.time_dimensions.first()
                    && let Some(granularity) = &time.granularity
                    && let Some(column) = column_of(answer, &format!("{}.{granularity}", time.dimension))
                {
                    columns.push((format!("time.{granularity}"), Source::Column(column)));
                }
            }
        }
        Self {
            answer,
            columns,
            format: query.response_format.unwrap_or_default(),
        }
    }

    fn cell(&'a self, row: &'a [Cell], source: &'a Source) -> CellRef<'a> {
        match source {
            Source::Column(index) => row.get(*index).map_or(CellRef::Null, CellRef::Cell),
            Source::Text(text) => CellRef::Text(text),
        }
    }
}

fn column_of(answer: &Answer, key: &str) -> Option<usize> {
    answer.columns.iter().position(|column| column == key)
}

/// The column of the finest granularity of `dimension` in the query; granularities of the author's own count as finer
/// than none of the predefined ones.
fn finest(answer: &Answer, query: &Normalized, dimension: &str) -> Option<usize> {
    use engine::model::TimeUnit;
    let granularities = query.time_dimensions.iter().filter(|t| t.dimension == dimension);
    let granularities = granularities.filter_map(|t| t.granularity.as_deref());
    let rank = |name: &&str| {
        let unit = TimeUnit::from_name(name);
        TimeUnit::ALL
            .iter()
            .position(|u| Some(*u) == unit)
            .unwrap_or(TimeUnit::ALL.len())
    };
    let granularity = granularities.min_by_key(rank)?;
    column_of(answer, &format!("{dimension}.{granularity}"))
}

enum CellRef<'a> {
    Null,
    Text(&'a str),
    Cell(&'a Cell),
}

impl Serialize for CellRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            CellRef::Null | CellRef::Cell(Cell::Null) => serializer.serialize_unit(),
            CellRef::Text(text) => serializer.serialize_str(text),
            CellRef::Cell(Cell::Bool(value)) => serializer.serialize_bool(*value),
            CellRef::Cell(Cell::Number(text) | Cell::Text(text) | Cell::Time(text)) => serializer.serialize_str(text),
        }
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.format {
            ResponseFormat::Default => {
                let mut rows = serializer.serialize_seq(Some(self.answer.rows.len()))?;
                for row in &self.answer.rows {
                    rows.serialize_element(&ObjectRow(self, row))?;
                }
                rows.end()
            }
            ResponseFormat::Compact => {
                let mut table = serializer.serialize_map(Some(2))?;
                table.serialize_entry("members", &MemberNames(self))?;
                table.serialize_entry("dataset", &Dataset(self))?;
                table.end()
            }
            ResponseFormat::Columnar => {
                let mut table = serializer.serialize_map(Some(2))?;
                table.serialize_entry("members", &MemberNames(self))?;
                table.serialize_entry("columns", &Columns(self))?;
                table.end()
            }
        }
    }
}

struct ObjectRow<'a>(&'a Rows<'a>, &'a [Cell]);

impl Serialize for ObjectRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, row) = self;
        serializer.collect_map(rows.columns.iter().map(|(key, source)| (key, rows.cell(row, source))))
    }
}

/// Without rows there are no member names either, as Cube.
struct MemberNames<'a>(&'a Rows<'a>);

impl Serialize for MemberNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let some = !self.0.answer.rows.is_empty();
        serializer.collect_seq(self.0.columns.iter().filter(|_| some).map(|(key, _)| key))
    }
}

struct Dataset<'a>(&'a Rows<'a>);

impl Serialize for Dataset<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.0;
        serializer.collect_seq(rows.answer.rows.iter().map(|row| ArrayRow(rows, row)))
    }
}

struct ArrayRow<'a>(&'a Rows<'a>, &'a [Cell]);

impl Serialize for ArrayRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, row) = self;
        serializer.collect_seq(rows.columns.iter().map(|(_, source)| rows.cell(row, source)))
    }
}

struct Columns<'a>(&'a Rows<'a>);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let some = !self.0.answer.rows.is_empty();
        let columns = self.0.columns.iter().filter(|_| some);
        serializer.collect_seq(columns.map(|(_, source)| Column(self.0, source)))
    }
}

struct Column<'a>(&'a Rows<'a>, &'a Source);

impl Serialize for Column<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, source) = self;
        serializer.collect_seq(rows.answer.rows.iter().map(|row| rows.cell(row, source)))
    }
}
