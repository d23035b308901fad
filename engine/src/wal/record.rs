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
use crate::event::{Column, Event, Kind, RejectReason, Rejected, Value};
use crate::project::ProjectId;
use bytes::Bytes;

/// The version this code writes.
const VERSION: u8 = 1;

/// A decoded record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Whose events these are.
    pub project: ProjectId,
    /// The events.
    pub events: Vec<Event>,
    /// The rejected events.
    pub rejected: Vec<Rejected>,
}

/// Events in the record's format, each at a known place, so that duplicates can be left out by copying ranges.
#[derive(Debug, Default)]
pub struct EncodedEvents {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl EncodedEvents {
    /// Encodes `events`, which must have no [`Event::defect`].
    pub fn new(events: &[Event]) -> Self {
        let mut encoded = Self {
            bytes: Vec::with_capacity(events.len() * 512),
            ends: Vec::with_capacity(events.len()),
        };
        for event in events {
            put_event(&mut encoded.bytes, event);
            encoded.ends.push(encoded.bytes.len());
        }
        encoded
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

    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(at).copied();
        end.and_then(|end| self.bytes.get(start.unwrap_or(0)..end))
            .unwrap_or_default()
    }
}

/// A record of the events `kept` (places in `events`) and of `rejected`.
pub fn encode(project: &ProjectId, events: &EncodedEvents, kept: &[usize], rejected: &[Rejected]) -> Vec<u8> {
    let is_whole = kept.len() == events.len();
    let room = if is_whole { events.bytes.len() } else { kept.len() * 512 };
    let mut out = Vec::with_capacity(room + 128);
    out.push(VERSION);
    put_bytes(&mut out, project.as_str().as_bytes());
    put_varint(&mut out, kept.len() as u64);
    if is_whole {
        out.extend_from_slice(&events.bytes);
    } else {
        kept.iter().for_each(|at| out.extend_from_slice(events.get(*at)));
    }
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

/// Reads a record.
///
/// # Errors
/// `Storage` when the bytes are damaged or were written by a newer version.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    let mut reader = Reader { rest: bytes };
    let version = reader.byte()?;
    if version != VERSION {
        return Err(Error::storage(format!(
            "the write-ahead log has a record of version {version}, this Tally reads version {VERSION}: \
             start the version that wrote it, or a newer one"
        )));
    }
    let project = ProjectId::new(reader.text()?).map_err(|error| damaged(error.message()))?;
    let events = reader.list(Reader::event)?;
    let rejected = reader.list(Reader::rejected)?;
    if !reader.rest.is_empty() {
        return Err(damaged("bytes follow its end"));
    }
    Ok(Record {
        project,
        events,
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
    put_varint(out, event.values().len() as u64);
    for (column, value) in event.values() {
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
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(taken).map_err(|_| damaged("it ends too early"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

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

    fn zigzag(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| damaged("it ends too early"))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a text is not UTF-8"))
    }

    fn micros(&mut self) -> Result<Micros> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = usize::try_from(self.varint()?).map_err(|_| damaged("it ends too early"))?;
        // Every item takes a byte or more, so a damaged count cannot reserve more than the record's own length.
        let mut items = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn event(&mut self) -> Result<Event> {
        let count = usize::try_from(self.varint()?).map_err(|_| damaged("it ends too early"))?;
        let mut event = Event::with_capacity(count.min(Column::ALL.len()));
        for _ in 0..count {
            let id = self.byte()?;
            let column = Column::from_id(id).ok_or_else(|| {
                Error::storage(format!(
                    "the write-ahead log has a value of column {id}, which this Tally does not know: \
                     start the version that wrote it, or a newer one"
                ))
            })?;
            let value = self.value(column.kind())?;
            if !value.fits(column.kind()) {
                return Err(damaged("a number is out of its column's range"));
            }
            event.set(column, value);
        }
        Ok(event)
    }

    fn value(&mut self, kind: Kind) -> Result<Value> {
        Ok(match kind {
            Kind::Text => Value::Text(self.text()?.to_owned()),
            Kind::Int32 | Kind::Int64 => Value::Int(self.zigzag()?),
            Kind::Float64 => Value::Float(f64::from_le_bytes(self.array()?)),
            Kind::Bool => Value::Bool(self.byte()? != 0),
            Kind::Timestamp => Value::Timestamp(self.micros()?),
            Kind::Decimal => Value::Decimal(i128::from_le_bytes(self.array()?)),
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
