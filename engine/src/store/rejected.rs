//! Reading rejected events one by one, and leaving some of them out.

use super::row_group::Opened;
use super::{DataFile, Snapshot};
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};
use crate::event::schema::REJECTED_TS_COLUMN;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use object_store::ObjectStore;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Which rejected events are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectedFilter {
    /// Received at this instant or later.
    pub from: Option<Micros>,
    /// Received before this instant.
    pub to: Option<Micros>,
    /// With one of these reason codes; empty: any.
    pub reasons: Vec<String>,
}

/// What tells one rejected event from another: a hash of all it holds. Two that are the same have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RejectedKey([u8; 16]);

/// A rejected event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// When it was received.
    pub received_at: Micros,
    /// The SDK dialect it came in.
    pub protocol: String,
    /// The code of the reason.
    pub reason: String,
    /// What exactly.
    pub detail: String,
    /// What was sent, perhaps cut.
    pub raw: String,
}

impl RejectedRow {
    /// Its key.
    pub fn key(&self) -> RejectedKey {
        key(
            self.received_at,
            [&self.protocol, &self.reason, &self.detail, &self.raw],
        )
    }
}

fn key(received_at: Micros, texts: [&str; 4]) -> RejectedKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&received_at.to_le_bytes());
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut short = [0; 16];
    hasher.finalize_xof().fill(&mut short);
    RejectedKey(short)
}

impl RejectedFilter {
    fn may_be_in(&self, file: &DataFile) -> bool {
        let Some(day) = super::erase::day_of(&file.date) else {
            return true;
        };
        self.from.is_none_or(|from| from < day + DAY_MICROS) && self.to.is_none_or(|to| day < to)
    }

    fn lets_through(&self, row: &RejectedRow) -> bool {
        self.from.is_none_or(|from| from <= row.received_at)
            && self.to.is_none_or(|to| row.received_at < to)
            && (self.reasons.is_empty() || self.reasons.contains(&row.reason))
    }
}

/// Reads the rejected events of a snapshot, a row group at a time, day by day.
#[derive(Debug)]
pub struct RejectedScan {
    store: Arc<dyn ObjectStore>,
    files: VecDeque<Arc<DataFile>>,
    current: Option<(Opened, usize)>,
    filter: RejectedFilter,
}

impl RejectedScan {
    /// A scan of what `filter` lets through.
    pub fn new(store: Arc<dyn ObjectStore>, snapshot: &Snapshot, filter: RejectedFilter) -> Self {
        let mut files: Vec<_> = snapshot
            .files
            .iter()
            .filter(|file| filter.may_be_in(file))
            .cloned()
            .collect();
        files.sort_by(|a, b| (&a.date, &a.log_path).cmp(&(&b.date, &b.log_path)));
        Self {
            store,
            files: files.into(),
            current: None,
            filter,
        }
    }

    /// The next rows, perhaps none of a row group; `None` at the end.
    ///
    /// # Errors
    /// `Storage` when a file cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<RejectedRow>>> {
        let (opened, at) = loop {
            match self.current.take() {
                Some((opened, at)) if at < opened.groups().len() => break (opened, at),
                _ => {}
            }
            let Some(file) = self.files.pop_front() else {
                return Ok(None);
            };
            let opened = Opened::read(&self.store, &file.path, file.size_bytes).await?;
            self.current = Some((opened, 0));
        };
        let group = opened.fetch(&self.store, at).await?;
        let mut rows = Vec::new();
        for batch in opened.rows(&group, at, None)? {
            each_row(&batch?, |row| {
                if self.filter.lets_through(&row) {
                    rows.push(row);
                }
            })?;
        }
        self.current = Some((opened, at + 1));
        Ok(Some(rows))
    }
}

fn each_row(batch: &RecordBatch, mut each: impl FnMut(RejectedRow)) -> Result<()> {
    let missing = |name: &str| Error::storage(format!("a file of rejected events lacks the column `{name}`"));
    let text = |name: &'static str| {
        let column = batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>());
        column.ok_or_else(|| missing(name))
    };
    let received = batch
        .column_by_name(REJECTED_TS_COLUMN)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let received = received.ok_or_else(|| missing(REJECTED_TS_COLUMN))?;
    let (protocol, reason) = (text("protocol")?, text("reason")?);
    let (detail, raw) = (text("detail")?, text("raw")?);
    for (at, received_at) in received.values().iter().enumerate() {
        each(RejectedRow {
            received_at: *received_at,
            protocol: protocol.value(at).to_owned(),
            reason: reason.value(at).to_owned(),
            detail: detail.value(at).to_owned(),
            raw: raw.value(at).to_owned(),
        });
    }
    Ok(())
}

/// Which rows of `batch` have one of `keys`.
///
/// # Errors
/// `Storage` when a column is missing.
pub fn are_among(batch: &RecordBatch, keys: &HashSet<RejectedKey>) -> Result<BooleanArray> {
    let mut among = Vec::with_capacity(batch.num_rows());
    each_row(batch, |row| among.push(Some(keys.contains(&row.key()))))?;
    Ok(BooleanArray::from(among))
}
