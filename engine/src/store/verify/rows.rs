//! The check of a file's rows: their number, order, day and bounds, and the ids of the events.

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::event::Column;
use crate::event::schema::REJECTED_TS_COLUMN;
use crate::store::flush::{StatsCollector, day_of, instants, texts};
use crate::store::snapshot::{Bound, ColumnStats};
use crate::store::{DataFile, TableKind, compact, schema};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Problems told of one file at the most.
const PROBLEMS_MAX: usize = 5;

/// The ids of a day's events, as hashes of 64 bits.
#[derive(Debug, Default)]
pub struct Day {
    ids: Vec<u64>,
}

impl Day {
    fn add(&mut self, id: &str) {
        let hash = blake3::hash(id.as_bytes());
        let mut short = [0; 8];
        short.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        self.ids.push(u64::from_le_bytes(short));
    }

    /// How many ids stand more than once.
    pub fn repeated(mut self) -> usize {
        self.ids.sort_unstable();
        self.ids.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).count()
    }
}

/// The rows of one file, to be read.
pub struct Rows {
    kind: TableKind,
    file: Arc<DataFile>,
    day: Day,
    count: u64,
    stats: StatsCollector,
    last: Option<(String, Micros, String)>,
    problems: Vec<String>,
}

impl Rows {
    /// Of `file`; the ids go into `day`.
    pub fn new(kind: TableKind, file: Arc<DataFile>, day: Day) -> Self {
        Self {
            kind,
            file,
            day,
            count: 0,
            stats: StatsCollector::default(),
            last: None,
            problems: Vec::new(),
        }
    }

    /// Reads all rows. Gives what is wrong with them, the day with its ids, and the number of rows.
    pub async fn read(mut self, store: &Arc<dyn ObjectStore>) -> (Result<Vec<String>>, Day, u64) {
        let read = self.read_all(store).await;
        self.compare();
        let outcome = read.map(|()| self.problems);
        (outcome, self.day, self.count)
    }

    async fn read_all(&mut self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        let schema = schema::of_files(self.kind);
        let mut batches = compact::rows_of(store, &self.file, &schema).await?;
        while let Some(batch) = batches.try_next().await.map_err(Error::from)? {
            self.count += batch.num_rows() as u64;
            match self.kind {
                TableKind::Events => self.events(&batch)?,
                TableKind::Rejected => self.days(instants(&batch, REJECTED_TS_COLUMN)?),
            }
        }
        Ok(())
    }

    fn problem(&mut self, what: String) {
        if self.problems.len() < PROBLEMS_MAX && !self.problems.contains(&what) {
            self.problems.push(what);
        }
    }

    fn days(&mut self, instants: &[Micros]) {
        let wrong = instants
            .iter()
            .find(|ts| day_of(**ts).as_deref().ok() != Some(self.file.date.as_str()));
        if let Some(ts) = wrong {
            let day = day_of(*ts).unwrap_or_else(|_| ts.to_string());
            self.problem(format!("it has a row of {day} among those of {}", self.file.date));
        }
    }

    fn events(&mut self, batch: &RecordBatch) -> Result<()> {
        self.stats.add(batch)?;
        let visitors = texts(batch, Column::VisitorId.name())?;
        let ids = texts(batch, Column::EventId.name())?;
        let instants = instants(batch, Column::Ts.name())?;
        self.days(instants);
        let rows = visitors.iter().zip(ids.iter()).zip(instants);
        let keys = rows.map(|((visitor, id), ts)| (visitor.unwrap_or_default(), *ts, id.unwrap_or_default()));
        let mut before = self.last.take();
        let mut is_sorted = true;
        let mut last: Option<(&str, Micros, &str)> = None;
        for key in keys {
            if let Some((visitor, ts, id)) = before.take() {
                is_sorted &= (visitor.as_str(), ts, id.as_str()) <= key;
            }
            is_sorted &= last.is_none_or(|last| last <= key);
            last = Some(key);
            self.day.add(key.2);
        }
        self.last = last.map(|(visitor, ts, id)| (visitor.to_owned(), ts, id.to_owned()));
        if !is_sorted && self.file.is_sorted {
            self.problem("its rows are not in the order of visitor, time and event that its name promises".to_owned());
        }
        Ok(())
    }

    fn compare(&mut self) {
        if let Some(expected) = self.file.rows.filter(|rows| *rows != self.count) {
            self.problem(format!(
                "it has {} rows, and the table's log says {expected}",
                self.count
            ));
        }
        let found = std::mem::take(&mut self.stats).finish();
        let wrong = outside(&self.file.stats, &found);
        if let Some(column) = wrong {
            self.problem(format!(
                "values of its column `{}` lie outside of the bounds in the table's log",
                column.name()
            ));
        }
    }
}

/// A column with values outside of the bounds that the log names: queries would pass over them.
fn outside(named: &BTreeMap<Column, ColumnStats>, found: &BTreeMap<Column, ColumnStats>) -> Option<Column> {
    let is_below = |a: &Bound, b: &Bound| match (a, b) {
        (Bound::Text(a), Bound::Text(b)) => a < b,
        (Bound::Timestamp(a), Bound::Timestamp(b)) => a < b,
        _ => true,
    };
    let mut columns = found
        .iter()
        .filter_map(|(column, found)| Some((*column, named.get(column)?, found)));
    columns
        .find(|(_, named, found)| {
            let below = named.min.as_ref().zip(found.min.as_ref());
            let above = named.max.as_ref().zip(found.max.as_ref());
            let nulls = named.null_count.zip(found.null_count);
            below.is_some_and(|(named, found)| is_below(found, named))
                || above.is_some_and(|(named, found)| is_below(named, found))
                || nulls.is_some_and(|(named, found)| named != found)
        })
        .map(|(column, _, _)| column)
}
