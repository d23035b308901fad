//! Rows into Arrow: events to a `RecordBatch` of [`super::schema::events`].

use super::schema::{self, Column, DECIMAL_PRECISION, DECIMAL_SCALE, Kind};
use super::{Event, Rejected, Value};
use crate::error::{Error, Result};
use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
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
    fn push(&mut self, value: &Value) -> bool {
        match (self, value) {
            (Builder::Text(b), Value::Text(v)) => b.append_value(v),
            (Builder::Int64(b), Value::Int(v)) => b.append_value(*v),
            (Builder::Float64(b), Value::Float(v)) => b.append_value(*v),
            (Builder::Bool(b), Value::Bool(v)) => b.append_value(*v),
            (Builder::Timestamp(b), Value::Timestamp(v)) => b.append_value(*v),
            (Builder::Decimal(b), Value::Decimal(v)) => b.append_value(*v),
            (Builder::Int32(b), Value::Int(v)) => match i32::try_from(*v) {
                Ok(v) => b.append_value(v),
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }

    /// Fills with nulls up to `rows`.
    fn pad(&mut self, rows: usize) {
        match self {
            Builder::Text(b) => (b.len()..rows).for_each(|_| b.append_null()),
            Builder::Int32(b) => b.append_nulls(rows - b.len()),
            Builder::Int64(b) => b.append_nulls(rows - b.len()),
            Builder::Float64(b) => b.append_nulls(rows - b.len()),
            Builder::Bool(b) => b.append_nulls(rows - b.len()),
            Builder::Timestamp(b) => b.append_nulls(rows - b.len()),
            Builder::Decimal(b) => b.append_nulls(rows - b.len()),
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

/// One batch of all `events`, in their order.
///
/// # Errors
/// `Internal` when an event has a value of the wrong type or lacks a required column ([`Event::defect`] tells before).
pub fn from_events<'a>(events: impl ExactSizeIterator<Item = &'a Event>) -> Result<RecordBatch> {
    let rows = events.len();
    let slots = usize::from(u8::MAX) + 1;
    let mut builders: Vec<Option<Builder>> = (0..slots).map(|_| None).collect();
    for (row, event) in events.enumerate() {
        for (column, value) in event.values() {
            let builder = builders[usize::from(*column as u8)].get_or_insert_with(|| Builder::new(column.kind(), rows));
            builder.pad(row);
            if !builder.push(value) {
                return Err(Error::internal(format!(
                    "{value:?} does not fit column `{}`",
                    column.name()
                )));
            }
        }
    }
    let arrays = Column::ALL.iter().map(|column| {
        let mut builder = builders[usize::from(*column as u8)]
            .take()
            .unwrap_or_else(|| Builder::new(column.kind(), rows));
        builder.pad(rows);
        builder.finish()
    });
    let arrays: Vec<ArrayRef> = arrays.collect();
    RecordBatch::try_new(schema::events(), arrays)
        .map_err(|error| Error::internal(format!("events do not make a batch: {error}")))
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
