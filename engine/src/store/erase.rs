//! Finding the rows that are to be erased: those of a visitor, or those of a stretch of time.
//!
//! A visitor's events are found by every column that holds an id of a person, exactly. A rejected event has no columns: it
//! is found when its text mentions the id as a word of its own, also inside base64, as some SDKs send. What other
//! visitors' events say *about* the id (in their properties, in an address) is counted, and erased when asked for.

mod mention;
#[cfg(test)]
mod tests;

use super::TableKind;
use super::row_group::{Group, Opened};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::event::schema::REJECTED_TS_COLUMN;
use crate::event::{Column, Kind};
use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::or;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::parquet::file::metadata::RowGroupMetaData;
use mention::Needle;
use object_store::ObjectStore;
use object_store::path::Path;
use std::sync::{Arc, LazyLock};

/// The columns that hold an id of a person.
pub const ID_COLUMNS: &[Column] = &[
    Column::VisitorId,
    Column::UserId,
    Column::AnonymousId,
    Column::PreviousId,
    Column::DeviceId,
    Column::NetworkUserId,
    Column::HashedAnonymousId,
];

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Everything of a person.
    Visitor {
        /// The id, in whichever column it stands.
        id: String,
        /// Whether events of others that mention the id in a text go too.
        mentions: bool,
    },
    /// Everything that happened in a stretch of time.
    Range {
        /// First instant, microseconds.
        from: Micros,
        /// The instant after the last.
        to: Micros,
    },
}

/// What to look for, prepared.
#[derive(Debug)]
pub struct Search {
    subject: Subject,
    needle: Option<Needle>,
    /// Rows received later than this are told apart: they came while or after it was erased.
    received_until: Micros,
    /// Whether texts of others are searched, to count or to erase.
    in_texts: bool,
}

/// What was found in one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows to be erased, by row group; only row groups that have some.
    pub groups: Vec<(usize, u64)>,
    /// How many of these were received after the instant that the search was given.
    pub later: u64,
    /// Rows that stay and mention the id in a text.
    pub mentions: u64,
}

impl Found {
    /// Rows to be erased.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|(_, rows)| rows).sum()
    }
}

/// Names of the events' text columns that hold no id of a person.
static TEXTS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let texts = Column::ALL.iter().filter(|column| column.kind() == Kind::Text);
    texts
        .filter(|column| !ID_COLUMNS.contains(column))
        .map(|column| column.name())
        .collect()
});

impl Search {
    /// A search for `subject`. `in_texts` says whether texts of other visitors are searched; it is implied when they are
    /// to be erased.
    ///
    /// # Errors
    /// `Invalid` for an empty id or a range without an instant.
    pub fn new(subject: Subject, received_until: Micros, in_texts: bool) -> Result<Self> {
        let (needle, in_texts) = match &subject {
            Subject::Visitor { id, .. } if id.is_empty() => {
                return Err(Error::invalid("the id of the visitor to erase is empty"));
            }
            Subject::Visitor { id, mentions } => (Some(Needle::new(id)), in_texts || *mentions),
            Subject::Range { from, to } if from >= to => {
                return Err(Error::invalid("the range to erase ends before it begins"));
            }
            Subject::Range { .. } => (None, false),
        };
        Ok(Self {
            subject,
            needle,
            received_until,
            in_texts,
        })
    }

    /// What is searched for.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether `text`, an object of a table's log, names the visitor as a bound of the visitors in a file; where mentions
    /// are erased, anywhere.
    pub fn is_named_in(&self, text: &[u8]) -> bool {
        let (Some(needle), Subject::Visitor { id, mentions }) = (&self.needle, &self.subject) else {
            return false;
        };
        let text = String::from_utf8_lossy(text);
        if *mentions {
            return needle.is_word_in(&text);
        }
        let field = format!(
            "\"{}\":{}",
            Column::VisitorId.name(),
            serde_json::Value::from(id.as_str())
        );
        // Statistics are JSON in a text of JSON.
        let inside = serde_json::Value::from(field.as_str()).to_string();
        let inside = inside.get(1..inside.len() - 1).unwrap_or_default();
        text.contains(&field) || text.contains(inside)
    }

    /// Whether a file of this day can hold such rows at all.
    pub fn may_be_on(&self, date: &str) -> bool {
        let Subject::Range { from, to } = &self.subject else {
            return true;
        };
        let Some(day) = day_of(date) else { return true };
        day < *to && day + crate::clock::DAY_MICROS > *from
    }

    /// Whether all rows of this day are to be erased.
    pub fn is_whole_day(&self, date: &str) -> bool {
        let Subject::Range { from, to } = &self.subject else {
            return false;
        };
        day_of(date).is_some_and(|day| *from <= day && day + crate::clock::DAY_MICROS <= *to)
    }

    /// Looks through a file.
    ///
    /// # Errors
    /// `Storage` when it cannot be read, `NotFound` when it is gone.
    pub async fn look(
        &self,
        store: &Arc<dyn ObjectStore>,
        kind: TableKind,
        path: &Path,
        size_bytes: u64,
    ) -> Result<Found> {
        let opened = Opened::read(store, path, size_bytes).await?;
        let mut found = Found::default();
        for (at, group) in opened.groups().iter().enumerate() {
            if group.num_rows() == 0 || !self.may_hold(kind, group) {
                continue;
            }
            let bytes = opened.fetch(store, at).await?;
            self.look_in(kind, &opened, &bytes, at, &mut found)?;
        }
        Ok(found)
    }

    fn look_in(&self, kind: TableKind, opened: &Opened, bytes: &Group, at: usize, found: &mut Found) -> Result<()> {
        let columns = self.columns(kind);
        let mut rows = 0;
        for batch in opened.rows(bytes, at, Some(&columns))? {
            let batch = batch?;
            let out = self.is_out(kind, &batch)?;
            rows += out.true_count() as u64;
            found.later += self.later(kind, &batch, &out);
            if kind == TableKind::Events && self.in_texts {
                let mentioned = self.mentioned(&batch)?;
                let others = mentioned.iter().zip(out.iter());
                found.mentions += others.filter(|pair| *pair == (Some(true), Some(false))).count() as u64;
            }
        }
        if rows > 0 {
            found.groups.push((at, rows));
        }
        Ok(())
    }

    /// The columns that have to be read.
    fn columns(&self, kind: TableKind) -> Vec<&'static str> {
        let mut names = vec![Column::ReceivedAt.name()];
        match (kind, &self.subject) {
            (TableKind::Rejected, Subject::Range { .. }) => {}
            (TableKind::Rejected, Subject::Visitor { .. }) => names.extend(["detail", "raw"]),
            (TableKind::Events, Subject::Range { .. }) => names.push(Column::Ts.name()),
            (TableKind::Events, Subject::Visitor { .. }) => {
                names.extend(ID_COLUMNS.iter().map(|column| column.name()));
                if self.in_texts {
                    names.extend(TEXTS.iter().copied());
                }
            }
        }
        names
    }

    /// Whether a row group can hold rows to erase or to count, by what the footer says.
    fn may_hold(&self, kind: TableKind, group: &RowGroupMetaData) -> bool {
        let Subject::Visitor { id, .. } = &self.subject else {
            return true;
        };
        if kind == TableKind::Rejected || self.in_texts {
            return true;
        }
        let id = id.as_bytes();
        let ids = group.columns().iter().filter(|column| {
            let name = column.column_descr().name();
            ID_COLUMNS.iter().any(|id| id.name() == name)
        });
        ids.map(|column| column.statistics()).any(|stats| match stats {
            None => true,
            Some(stats) => {
                let has_values = stats.null_count_opt() != u64::try_from(group.num_rows()).ok();
                let above = stats.min_bytes_opt().is_none_or(|min| min <= id);
                let below = stats.max_bytes_opt().is_none_or(|max| id <= max);
                has_values && above && below
            }
        })
    }

    /// Which rows are to be erased.
    ///
    /// # Errors
    /// `Internal` when the batch lacks a column.
    pub fn is_out(&self, kind: TableKind, batch: &RecordBatch) -> Result<BooleanArray> {
        match (&self.subject, kind) {
            (Subject::Range { from, to }, kind) => {
                let name = match kind {
                    TableKind::Events => Column::Ts.name(),
                    TableKind::Rejected => REJECTED_TS_COLUMN,
                };
                let instants = instants(batch, name)?;
                Ok(instants.iter().map(|ts| Some((*from..*to).contains(ts))).collect())
            }
            (Subject::Visitor { .. }, TableKind::Rejected) => {
                let detail = self.mentions_in(batch, "detail")?;
                Ok(or(&detail, &self.mentions_in(batch, "raw")?)?)
            }
            (Subject::Visitor { id, mentions }, TableKind::Events) => {
                let mut out = BooleanArray::from(vec![false; batch.num_rows()]);
                for column in ID_COLUMNS {
                    // A file written before the column existed lacks it.
                    if let Some(ids) = texts(batch, column.name()) {
                        let same: BooleanArray = ids.iter().map(|found| Some(found == Some(id.as_str()))).collect();
                        out = or(&out, &same)?;
                    }
                }
                if *mentions {
                    out = or(&out, &self.mentioned(batch)?)?;
                }
                Ok(out)
            }
        }
    }

    fn later(&self, kind: TableKind, batch: &RecordBatch, out: &BooleanArray) -> u64 {
        let name = match kind {
            TableKind::Events => Column::ReceivedAt.name(),
            TableKind::Rejected => REJECTED_TS_COLUMN,
        };
        let Ok(received) = instants(batch, name) else { return 0 };
        let rows = received.iter().zip(out.iter());
        rows.filter(|(received, out)| **received > self.received_until && *out == Some(true))
            .count() as u64
    }

    /// Which events mention the id in a text column.
    fn mentioned(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let mut mentioned = BooleanArray::from(vec![false; batch.num_rows()]);
        for name in TEXTS.iter() {
            if texts(batch, name).is_some_and(|texts| self.is_among(texts)) {
                mentioned = or(&mentioned, &self.mentions_in(batch, name)?)?;
            }
        }
        Ok(mentioned)
    }

    /// Whether any value of the column has the bytes of the id: one quick look over all of them.
    fn is_among(&self, texts: &StringArray) -> bool {
        let offsets = texts.value_offsets();
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return false;
        };
        let range = usize::try_from(*first).unwrap_or(0)..usize::try_from(*last).unwrap_or(0);
        let bytes = texts.value_data().get(range).unwrap_or_default();
        self.needle.as_ref().is_some_and(|needle| needle.is_in_bytes(bytes))
    }

    fn mentions_in(&self, batch: &RecordBatch, name: &str) -> Result<BooleanArray> {
        let texts = texts(batch, name).ok_or_else(|| missing(name))?;
        let mentions = |text: Option<&str>| {
            let text = text.unwrap_or_default();
            Some(self.needle.as_ref().is_some_and(|needle| needle.is_mentioned(text)))
        };
        Ok(texts.iter().map(mentions).collect())
    }
}

/// The first instant of a day `YYYY-MM-DD`.
pub(super) fn day_of(date: &str) -> Option<Micros> {
    let day = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

fn missing(name: &str) -> Error {
    Error::storage(format!("a file lacks the column `{name}`"))
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    batch.column_by_name(name)?.as_string_opt::<i32>()
}

fn instants<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [Micros]> {
    let column = batch.column_by_name(name).ok_or_else(|| missing(name))?;
    let instants = column.as_primitive_opt::<TimestampMicrosecondType>();
    instants
        .map(|array| array.values().as_ref())
        .ok_or_else(|| missing(name))
}
