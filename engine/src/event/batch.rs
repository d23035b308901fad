//! Rows into Arrow: events to a `RecordBatch` of [`super::schema::events`].

use super::schema::{self, Column, DECIMAL_PRECISION, DECIMAL_SCALE, Kind};
use super::{Event, Rejected, ValueRef};
use crate::error::{Error, Result};
use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

enum Builder {
    Text(StringBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Bool(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
}

impl Builder {
    fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Text => Builder::Text(StringBuilder::with_capacity(rows, 0)),
            Kind::Int32 => Builder::Int32(Int32Builder::with_capacity(rows)),
            Kind::Int64 => Builder::Int64(Int64Builder::with_capacity(rows)),
            Kind::Float64 => Builder::Float64(Float64Builder::with_capacity(rows)),
            Kind::Bool => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Timestamp => {
                Builder::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"))
            }
            Kind::Decimal => Builder::Decimal(
                Decimal128Builder::with_capacity(rows)
                    .with_data_type(arrow::datatypes::DataType::Decimal128(DECIMAL_PRECISION, DECIMAL_SCALE)),
            ),
        }
    }

    /// Appends a value; `false` when its type is not the column's.
    fn push(&mut self, value: ValueRef<'_>) -> bool {
        match (self, value) {
            (Builder::Text(b), ValueRef::Text(v)) => b.append_value(v),
            (Builder::Int64(b), ValueRef::Int(v)) => b.append_value(v),
            (Builder::Float64(b), ValueRef::Float(v)) => b.append_value(v),
            (Builder::Bool(b), ValueRef::Bool(v)) => b.append_value(v),
            (Builder::Timestamp(b), ValueRef::Timestamp(v)) => b.append_value(v),
            (Builder::Decimal(b), ValueRef::Decimal(v)) => b.append_value(v),
            (Builder::Int32(b), ValueRef::Int(v)) => match i32::try_from(v) {
                Ok(v) => b.append_value(v),
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }

    fn len(&self) -> usize {
        match self {
            Builder::Text(b) => b.len(),
            Builder::Int32(b) => b.len(),
            Builder::Int64(b) => b.len(),
            Builder::Float64(b) => b.len(),
            Builder::Bool(b) => b.len(),
            Builder::Timestamp(b) => b.len(),
            Builder::Decimal(b) => b.len(),
        }
    }

    /// Fills with nulls up to `rows`.
    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        if missing == 0 {
            return;
        }
        match self {
            Builder::Text(b) => b.append_nulls(missing),
            Builder::Int32(b) => b.append_nulls(missing),
            Builder::Int64(b) => b.append_nulls(missing),
            Builder::Float64(b) => b.append_nulls(missing),
            Builder::Bool(b) => b.append_nulls(missing),
            Builder::Timestamp(b) => b.append_nulls(missing),
            Builder::Decimal(b) => b.append_nulls(missing),
        }
    }

    fn finish(mut self) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match &mut self {
            Builder::Text(b) => b,
            Builder::Int32(b) => b,
            Builder::Int64(b) => b,
            Builder::Float64(b) => b,
            Builder::Bool(b) => b,
            Builder::Timestamp(b) => b,
            Builder::Decimal(b) => b,
        };
        builder.finish()
    }
}

/// Collects events into a batch of [`schema::events`], value by value.
pub struct EventsBuilder {
    rows: usize,
    /// By the column's id.
    builders: Vec<Option<Builder>>,
}

impl std::fmt::Debug for EventsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventsBuilder")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl EventsBuilder {
    /// A batch of `rows` events without values yet.
    pub fn new(rows: usize) -> Self {
        let slots = usize::from(u8::MAX) + 1;
        Self {
            rows,
            builders: (0..slots).map(|_| None).collect(),
        }
    }

    /// Sets a value. Rows of a column come in ascending order, each at most once.
    ///
    /// # Errors
    /// `Internal` when the value is not of the column's type, or its row is not after the column's last one.
    pub fn set(&mut self, row: usize, column: Column, value: ValueRef<'_>) -> Result<()> {
        let rows = self.rows;
        let slot = &mut self.builders[usize::from(column as u8)];
        let builder = slot.get_or_insert_with(|| Builder::new(column.kind(), rows));
        builder.pad(row);
        if builder.len() == row && builder.push(value) {
            return Ok(());
        }
        Err(Error::internal(format!(
            "{value:?} of row {row} does not fit column `{}`",
            column.name()
        )))
    }

    /// The batch.
    ///
    /// # Errors
    /// `Internal` when an event lacks a required column ([`Event::defect`] tells before).
    pub fn finish(mut self) -> Result<RecordBatch> {
        // Most columns have no value at all: they share one array for each type.
        let mut empty: Vec<(Kind, ArrayRef)> = Vec::new();
        let mut null = |kind: Kind| match empty.iter().find(|(of, _)| *of == kind) {
            Some((_, array)) => Arc::clone(array),
            None => {
                let array = new_null_array(&kind.data_type(), self.rows);
                empty.push((kind, Arc::clone(&array)));
                array
            }
        };
        let arrays = Column::ALL.iter().map(|column| {
            let Some(mut builder) = self.builders[usize::from(*column as u8)].take() else {
                return null(column.kind());
            };
            builder.pad(self.rows);
            builder.finish()
        });
        let arrays: Vec<ArrayRef> = arrays.collect();
        RecordBatch::try_new(schema::events(), arrays)
            .map_err(|error| Error::internal(format!("events do not make a batch: {error}")))
    }
}

/// One batch of all `events`, in their order.
///
/// # Errors
/// `Internal` when an event has a value of the wrong type or lacks a required column ([`Event::defect`] tells before).
pub fn from_events<'a>(events: impl ExactSizeIterator<Item = &'a Event>) -> Result<RecordBatch> {
    let mut builder = EventsBuilder::new(events.len());
    for (row, event) in events.enumerate() {
        for (column, value) in event.values() {
            builder.set(row, *column, value.into())?;
        }
    }
    builder.finish()
}

/// One batch of all `rejected`, in their order, with the schema [`schema::rejected`].
///
/// # Errors
/// `Internal` when the rows do not make a batch, which is a defect.
pub fn from_rejected<'a>(rejected: impl Iterator<Item = &'a Rejected>) -> Result<RecordBatch> {
    let mut received_at = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut texts: [StringBuilder; 4] = std::array::from_fn(|_| StringBuilder::new());
    for row in rejected {
        received_at.append_value(row.received_at);
        let [protocol, reason, detail, raw] = &mut texts;
        protocol.append_value(&row.protocol);
        reason.append_value(row.reason.code());
        detail.append_value(&row.detail);
        raw.append_value(String::from_utf8_lossy(&row.raw));
    }
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(received_at.finish())];
    arrays.extend(texts.iter_mut().map(|text| Arc::new(text.finish()) as ArrayRef));
    RecordBatch::try_new(schema::rejected(), arrays)
        .map_err(|error| Error::internal(format!("rejected events do not make a batch: {error}")))
}
