//! The rows of a flush in the order of their file.

use super::{instants, texts};
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};
use crate::event::batch::EventsBuilder;
use crate::event::schema::REJECTED_TS_COLUMN;
use crate::event::{Column, ColumnSet, ValueRef};
use crate::limits;
use crate::store::{TableKind, encoding, schema};
use crate::wal::EncodedEvents;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::ops::Range;
use std::sync::Arc;

/// Rows in any order.
#[derive(Debug)]
pub enum Unsorted {
    /// Events as they were acknowledged. They become Arrow in the order of the file, a batch at a time: in any other they
    /// would be moved once more, and all of them held twice.
    Encoded(Vec<Arc<EncodedEvents>>),
    /// Rows of either table in Arrow.
    Batches(Vec<RecordBatch>),
}

impl Unsorted {
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        match self {
            Unsorted::Encoded(events) => events.iter().all(|events| events.is_empty()),
            Unsorted::Batches(batches) => batches.iter().all(|batch| batch.num_rows() == 0),
        }
    }
}

impl From<Vec<RecordBatch>> for Unsorted {
    fn from(batches: Vec<RecordBatch>) -> Self {
        Unsorted::Batches(batches)
    }
}

/// Where a row is: (record or batch, row).
pub(super) type Place = (usize, usize);

/// The rows of one day, as a range of the sorted places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Day {
    pub(super) number: i64,
    rows: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Sorted {
    kind: TableKind,
    rows: Unsorted,
    /// The columns of the files.
    schema: SchemaRef,
    /// Their places among all columns; of encoded events only.
    columns: Vec<usize>,
    places: Vec<Place>,
    days: Vec<Day>,
}

/// What a row is sorted by. The first bytes of the visitor as a number decide most comparisons without a memory access.
struct Key<'a> {
    day: i64,
    prefix: u64,
    visitor: &'a str,
    ts: Micros,
    event_id: &'a str,
    place: Place,
}

impl<'a> Key<'a> {
    fn new(visitor: &'a str, ts: Micros, event_id: &'a str, place: Place) -> Self {
        Self {
            day: ts.div_euclid(DAY_MICROS),
            prefix: prefix(visitor),
            visitor,
            ts,
            event_id,
            place,
        }
    }

    fn order(&self) -> (i64, u64, &str, Micros, &str) {
        (self.day, self.prefix, self.visitor, self.ts, self.event_id)
    }
}

fn prefix(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes
        .iter_mut()
        .zip(text.as_bytes())
        .for_each(|(slot, byte)| *slot = *byte);
    u64::from_be_bytes(bytes)
}

impl Sorted {
    pub(super) fn new(kind: TableKind, rows: Unsorted) -> Result<Self> {
        let (rows, schema, columns) = match rows {
            Unsorted::Batches(batches) => {
                let batches = encoding::without_empty(batches)?;
                let schema = batches.first().map(RecordBatch::schema);
                let schema = schema.unwrap_or_else(|| schema::of_files(kind));
                (Unsorted::Batches(batches), schema, Vec::new())
            }
            Unsorted::Encoded(events) => {
                let used = events.iter().map(|events| events.columns());
                let used = used.fold(ColumnSet::default(), ColumnSet::union);
                let has_value = |at| Column::ALL.get(at).is_some_and(|column| used.contains(*column));
                let all = schema::of_files(kind);
                let columns = encoding::columns_in_use(&all, has_value);
                (Unsorted::Encoded(events), Arc::new(all.project(&columns)?), columns)
            }
        };
        let mut keys = match &rows {
            Unsorted::Encoded(events) => encoded_keys(events)?,
            Unsorted::Batches(batches) => batch_keys(kind, batches)?,
        };
        keys.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        let mut days: Vec<Day> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match days.last_mut() {
                Some(day) if day.number == key.day => day.rows.end = at + 1,
                _ => days.push(Day {
                    number: key.day,
                    rows: at..at + 1,
                }),
            }
        }
        let places = keys.iter().map(|key| key.place).collect();
        Ok(Self {
            kind,
            rows,
            schema,
            columns,
            places,
            days,
        })
    }

    pub(super) fn kind(&self) -> TableKind {
        self.kind
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn days(&self) -> &[Day] {
        &self.days
    }

    /// The rows of a day in order.
    pub(super) fn places(&self, day: &Day) -> Result<&[Place]> {
        self.places
            .get(day.rows.clone())
            .ok_or_else(|| Error::internal("a day outside of the sorted rows"))
    }

    /// These rows in this order; `None` when they have too much text for one batch.
    pub(super) fn batch(&self, places: &[Place]) -> Result<Option<RecordBatch>> {
        match &self.rows {
            Unsorted::Encoded(events) => self.decoded(events, places),
            Unsorted::Batches(batches) => {
                let sources: Vec<&RecordBatch> = batches.iter().collect();
                match interleave_record_batch(&sources, places) {
                    Ok(batch) => Ok(Some(batch)),
                    Err(_) if places.len() > 1 => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    fn decoded(&self, events: &[Arc<EncodedEvents>], places: &[Place]) -> Result<Option<RecordBatch>> {
        let of = |record: usize| {
            let events = events.get(record);
            events.ok_or_else(|| Error::internal("a sorted row of no record"))
        };
        let mut bytes = 0;
        for (record, row) in places {
            bytes += of(*record)?.event_bytes(*row);
        }
        if bytes > limits::BUFFER_BATCH_BYTES_MAX && places.len() > 1 {
            return Ok(None);
        }
        let mut builder = EventsBuilder::new(places.len());
        for (at, (record, row)) in places.iter().enumerate() {
            for value in of(*record)?.values(*row)? {
                let (column, value) = value?;
                builder.set(at, column, value)?;
            }
        }
        Ok(Some(builder.finish()?.project(&self.columns)?))
    }
}

fn encoded_keys(events: &[Arc<EncodedEvents>]) -> Result<Vec<Key<'_>>> {
    let mut keys = Vec::with_capacity(events.iter().map(|events| events.len()).sum());
    for (record, events) in events.iter().enumerate() {
        for row in 0..events.len() {
            let (mut visitor, mut ts, mut event_id) = (None, None, None);
            for value in events.values(row)? {
                match value? {
                    (Column::VisitorId, ValueRef::Text(text)) => visitor = Some(text),
                    (Column::EventId, ValueRef::Text(text)) => event_id = Some(text),
                    (Column::Ts, ValueRef::Timestamp(micros)) => ts = Some(micros),
                    _ => {}
                }
                if visitor.is_some() && ts.is_some() && event_id.is_some() {
                    break;
                }
            }
            let ts = ts.ok_or_else(|| Error::internal("a buffered event has no time"))?;
            let (visitor, event_id) = (visitor.unwrap_or_default(), event_id.unwrap_or_default());
            keys.push(Key::new(visitor, ts, event_id, (record, row)));
        }
    }
    Ok(keys)
}

fn batch_keys(kind: TableKind, batches: &[RecordBatch]) -> Result<Vec<Key<'_>>> {
    let mut keys = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (at, batch) in batches.iter().enumerate() {
        match kind {
            TableKind::Events => {
                let visitors = texts(batch, Column::VisitorId.name())?.iter();
                let event_ids = texts(batch, Column::EventId.name())?.iter();
                let instants = instants(batch, Column::Ts.name())?;
                let rows = visitors.zip(event_ids).zip(instants).enumerate();
                keys.extend(rows.map(|(row, ((visitor, event_id), ts))| {
                    Key::new(
                        visitor.unwrap_or_default(),
                        *ts,
                        event_id.unwrap_or_default(),
                        (at, row),
                    )
                }));
            }
            TableKind::Rejected => {
                let instants = instants(batch, REJECTED_TS_COLUMN)?.iter().enumerate();
                keys.extend(instants.map(|(row, ts)| Key::new("", *ts, "", (at, row))));
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
