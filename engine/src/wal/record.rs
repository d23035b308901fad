//! The format of one WAL record: the events and rejected events of one request for one project.
//!
//! ```text
//! record   = version(1 byte) project events rejected
//! project  = length bytes
//! events   = count { count { column(1 byte) value } }
//! rejected = count { received_at protocol reason detail raw }
//! value    = Text: length bytes | Int: zigzag | Float: 8 bytes | Bool: 1 byte | Timestamp: 8 bytes | Decimal: 16 bytes
//! ```
//! Counts, lengths and zigzag integers are LEB128; fixed-width numbers are little-endian. A column is named by its id in
//! [`crate::event::schema`], so a record stays readable when columns are added. A reader that meets a version or a
//! column it does not know refuses the record: it was written by a newer Tally, and skipping would lose data.

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::event::schema::SORT_COLUMNS;
use crate::event::{Column, ColumnSet, Event, Kind, RejectReason, Rejected, Value, ValueRef};
use crate::project::ProjectId;
use bytes::Bytes;
use std::sync::Arc;

/// The version this code writes.
const VERSION: u8 = 1;

/// A record as it was read from a log, not checked yet: that takes longer than the reading, and another thread can do it.
#[derive(Debug, Clone)]
pub struct EncodedRecord {
    bytes: Bytes,
    /// The file or object it was read from, where that is known.
    source: Option<Arc<str>>,
}

impl EncodedRecord {
    /// A record with these bytes, as [`encode`] gave them.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            source: None,
        }
    }

    /// The same record, whose errors name what it was read from.
    #[must_use]
    pub fn read_from(mut self, source: Arc<str>) -> Self {
        self.source = Some(source);
        self
    }

    /// Bytes of the record.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The record, checked.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(self) -> Result<Record> {
        decode(self.bytes).map_err(|error| match self.source {
            Some(source) => Error::storage(format!("{source}: {}", error.message())).with_source(error),
            None => error,
        })
    }
}

/// A decoded record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Whose events these are.
    pub project: ProjectId,
    /// The events, in the record's format and checked.
    pub events: EncodedEvents,
    /// The rejected events.
    pub rejected: Vec<Rejected>,
}

/// Events in the record's format, each at a known place: what is written to the log, kept in memory until the flush and
/// read by replay, a tenth of the allocations and a third of the memory of [`Event`]s. All of them are whole: they were
/// made from events, or checked when the record was read. Clones share the bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedEvents {
    bytes: Bytes,
    ends: Arc<[u32]>,
    columns: ColumnSet,
}

impl EncodedEvents {
    /// Encodes `events`, which must have no [`Event::defect`].
    pub fn new(events: &[Event]) -> Self {
        let mut bytes = Vec::with_capacity(events.len() * EVENT_BYTES_USUAL);
        let mut ends = Vec::with_capacity(events.len());
        let mut columns = ColumnSet::default();
        for event in events {
            put_event(&mut bytes, event);
            ends.push(place(bytes.len()));
            columns = columns.union(event.columns());
        }
        // The bytes stay until the flush, their spare room would too.
        bytes.shrink_to_fit();
        Self {
            bytes: bytes.into(),
            ends: ends.into(),
            columns,
        }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all events.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Memory that these events take, in bytes, when nothing else shares it.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>() + size_of::<Self>() + 2 * ALLOCATION_BYTES
    }

    /// The events at these places, in a copy.
    pub fn kept(&self, places: &[usize]) -> Self {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(places.len());
        let mut columns = ColumnSet::default();
        for at in places {
            let event = self.get(*at);
            bytes.extend_from_slice(event);
            ends.push(place(bytes.len()));
            // Bytes that are whole, as all of this type.
            columns = columns.union(Reader::new(event).skip_event().unwrap_or_default());
        }
        bytes.shrink_to_fit();
        Self {
            bytes: bytes.into(),
            ends: ends.into(),
            columns,
        }
    }

    /// The columns in which an event has a value.
    pub fn columns(&self) -> ColumnSet {
        self.columns
    }

    /// Bytes of one event.
    pub fn event_bytes(&self, at: usize) -> usize {
        self.get(at).len()
    }

    /// The values of one event, without a copy. Those that files are sorted by come first, unless an older Tally wrote it.
    ///
    /// # Errors
    /// As [`EncodedEvents::iter`].
    pub fn values(&self, at: usize) -> Result<impl Iterator<Item = Result<(Column, ValueRef<'_>)>>> {
        let mut reader = Reader::new(self.get(at));
        let count = reader.count()?;
        Ok((0..count).map(move |_| reader.column_value()))
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(at).copied().unwrap_or_default();
        self.bytes
            .get(start.unwrap_or_default() as usize..end as usize)
            .unwrap_or_default()
    }

    /// The events, decoded one after another.
    ///
    /// # Errors
    /// `Storage` for bytes that are no event, which cannot happen to what this type was made from.
    pub fn iter(&self) -> impl Iterator<Item = Result<Event>> {
        (0..self.len()).map(|at| {
            let bytes = self.get(at);
            Reader::new(bytes).event()
        })
    }

    /// Shows every value of every event to `each`, with the event's place, without a copy.
    ///
    /// # Errors
    /// As [`EncodedEvents::iter`], or the error of `each`.
    pub fn for_each_value<'a>(&'a self, mut each: impl FnMut(usize, Column, ValueRef<'a>) -> Result<()>) -> Result<()> {
        let mut reader = Reader::new(&self.bytes);
        for at in 0..self.len() {
            let count = reader.varint()?;
            for _ in 0..count {
                let (column, value) = reader.column_value()?;
                each(at, column, value)?;
            }
        }
        Ok(())
    }
}

/// Bytes of an encoded event, usually.
const EVENT_BYTES_USUAL: usize = 512;
/// What an allocation costs besides its bytes, about.
const ALLOCATION_BYTES: usize = 16;

/// A place in the bytes of one request, whose size is bounded far below 4 GiB at the edge and in the log.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A record of `events` and of `rejected`.
pub fn encode(project: &ProjectId, events: &EncodedEvents, rejected: &[Rejected]) -> Vec<u8> {
    let mut out = Vec::with_capacity(events.bytes.len() + 128);
    out.push(VERSION);
    put_bytes(&mut out, project.as_str().as_bytes());
    put_varint(&mut out, events.len() as u64);
    out.extend_from_slice(&events.bytes);
    put_varint(&mut out, rejected.len() as u64);
    for row in rejected {
        out.extend_from_slice(&row.received_at.to_le_bytes());
        put_bytes(&mut out, row.protocol.as_bytes());
        put_bytes(&mut out, row.reason.code().as_bytes());
        put_bytes(&mut out, row.detail.as_bytes());
        put_bytes(&mut out, &row.raw);
    }
    out
}

/// Reads a record. Its events share the record's bytes.
///
/// # Errors
/// `Storage` when the bytes are damaged or were written by a newer version.
pub fn decode(bytes: impl Into<Bytes>) -> Result<Record> {
    let bytes = bytes.into();
    let mut reader = Reader::new(&bytes);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(Error::storage(format!(
            "the write-ahead log has a record of version {version}, this Tally reads version {VERSION}: \
             start the version that wrote it, or a newer one"
        )));
    }
    let project = ProjectId::new(reader.text()?).map_err(|error| damaged(error.message()))?;
    let count = reader.count()?;
    let start = bytes.len() - reader.rest.len();
    // Every event takes a byte or more, so a damaged count cannot reserve more than the record's own length.
    let mut ends = Vec::with_capacity(count.min(reader.rest.len()));
    let mut columns = ColumnSet::default();
    for _ in 0..count {
        columns = columns.union(reader.skip_event()?);
        ends.push(u32::try_from(bytes.len() - reader.rest.len() - start).map_err(|_| damaged("it is too long"))?);
    }
    let end = bytes.len() - reader.rest.len();
    let rejected = reader.list(Reader::rejected)?;
    if !reader.rest.is_empty() {
        return Err(damaged("bytes follow its end"));
    }
    Ok(Record {
        project,
        events: EncodedEvents {
            bytes: bytes.slice(start..end),
            ends: ends.into(),
            columns,
        },
        rejected,
    })
}

fn damaged(what: &str) -> Error {
    Error::storage(format!("a record of the write-ahead log is damaged: {what}"))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    let values = event.values();
    put_varint(out, values.len() as u64);
    // A flush reads these to sort, and the others later, in that order.
    let is_first = |column: &Column| SORT_COLUMNS.contains(column);
    let first = values.iter().filter(|(column, _)| is_first(column));
    for (column, value) in first.chain(values.iter().filter(|(column, _)| !is_first(column))) {
        out.push(*column as u8);
        match value {
            Value::Text(text) => put_bytes(out, text.as_bytes()),
            Value::Int(number) => put_zigzag(out, *number),
            Value::Float(number) => out.extend_from_slice(&number.to_le_bytes()),
            Value::Bool(flag) => out.push(u8::from(*flag)),
            Value::Timestamp(micros) => out.extend_from_slice(&micros.to_le_bytes()),
            Value::Decimal(number) => out.extend_from_slice(&number.to_le_bytes()),
        }
    }
}

/// Reads from the front of a slice; every length is checked against what is left.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(taken).map_err(|_| damaged("it ends too early"))
    }

    #[inline]
    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number has more than 64 bits"))
    }

    #[inline]
    fn zigzag(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| damaged("it ends too early"))?;
        self.take(length)
    }

    #[inline]
    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a text is not UTF-8"))
    }

    #[inline]
    fn micros(&mut self) -> Result<Micros> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn count(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| damaged("it ends too early"))
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.count()?;
        // Every item takes a byte or more, so a damaged count cannot reserve more than the record's own length.
        let mut items = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn event(&mut self) -> Result<Event> {
        let count = self.count()?;
        let mut event = Event::with_capacity(count.min(Column::ALL.len()));
        for _ in 0..count {
            let (column, value) = self.column_value()?;
            event.set(column, value);
        }
        Ok(event)
    }

    /// Checks an event and goes past it. Returns the columns that have a value.
    fn skip_event(&mut self) -> Result<ColumnSet> {
        let count = self.count()?;
        let mut seen = ColumnSet::default();
        for _ in 0..count {
            let (column, _) = self.column_value()?;
            if seen.contains(column) {
                return Err(damaged("an event has two values of one column"));
            }
            seen.insert(column);
        }
        Ok(seen)
    }

    /// One value that fits its column.
    #[inline]
    fn column_value(&mut self) -> Result<(Column, ValueRef<'a>)> {
        let id = self.byte()?;
        let column = Column::from_id(id).ok_or_else(|| {
            Error::storage(format!(
                "the write-ahead log has a value of column {id}, which this Tally does not know: \
                 start the version that wrote it, or a newer one"
            ))
        })?;
        let kind = column.kind();
        let value = self.value(kind)?;
        if value.fits(kind) {
            Ok((column, value))
        } else {
            Err(damaged("a number is out of its column's range"))
        }
    }

    #[inline]
    fn value(&mut self, kind: Kind) -> Result<ValueRef<'a>> {
        Ok(match kind {
            Kind::Text => ValueRef::Text(self.text()?),
            Kind::Int32 | Kind::Int64 => ValueRef::Int(self.zigzag()?),
            Kind::Float64 => ValueRef::Float(f64::from_le_bytes(self.array()?)),
            Kind::Bool => ValueRef::Bool(self.byte()? != 0),
            Kind::Timestamp => ValueRef::Timestamp(self.micros()?),
            Kind::Decimal => ValueRef::Decimal(i128::from_le_bytes(self.array()?)),
        })
    }

    fn rejected(&mut self) -> Result<Rejected> {
        let received_at = self.micros()?;
        let protocol = self.text()?.to_owned();
        let code = self.text()?;
        let reason = RejectReason::from_code(code).ok_or_else(|| {
            Error::storage(format!(
                "the write-ahead log has a rejected event with the reason `{code}`, which this Tally does not know: \
                 start the version that wrote it, or a newer one"
            ))
        })?;
        let detail = self.text()?.to_owned();
        let raw = Bytes::copy_from_slice(self.bytes()?);
        Ok(Rejected {
            received_at,
            protocol,
            reason,
            detail,
            raw,
        })
    }
}
