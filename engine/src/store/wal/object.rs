//! The format of the log's objects: a group of records, or the seal that ends a writer's log.
//!
//! ```text
//! object = "TALLYWAL" version(1) kind(1) epoch(8) number(8) body hash(32)
//! group  = first_seq(8) hour(4) keys(4) records(4) { key(16) } { length(4) bytes }
//! seal   = by_epoch(8)
//! ids    = "TALLYIDS" version(1) hour(4) keys(8) { key(16) } hash(32)
//! ```
//! Numbers are little-endian; the hash is BLAKE3 of everything before it. A seal is shorter than any group, so that a
//! list tells them apart.

use crate::error::{Error, Result};
use crate::wal::{EventKey, Hour, Seq};
use bytes::Bytes;
use object_store::path::Path;

const GROUP_MAGIC: &[u8; 8] = b"TALLYWAL";
const IDS_MAGIC: &[u8; 8] = b"TALLYIDS";
const VERSION: u8 = 1;
const KIND_GROUP: u8 = 1;
const KIND_SEAL: u8 = 2;
const HASH_BYTES: usize = 32;
const KEY_BYTES: usize = 16;

/// Bytes of a seal, and of nothing else.
pub(super) const SEAL_BYTES: u64 = 8 + 1 + 1 + 8 + 8 + 8 + HASH_BYTES as u64;

/// A group that was read.
#[derive(Debug)]
pub(super) struct Group {
    /// Number of its first record.
    pub(super) first_seq: Seq,
    /// When it was written.
    pub(super) hour: Hour,
    /// The ids of its events.
    pub(super) keys: Vec<EventKey>,
    /// Its records, encoded.
    pub(super) records: Vec<Bytes>,
}

/// What an object of the log is.
#[derive(Debug)]
pub(super) enum Object {
    Group(Group),
    /// The end of a log, and the epoch of the writer that ended it.
    Seal(u64),
}

fn header(kind: u8, epoch: u64, number: u64, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(room + 26 + HASH_BYTES);
    out.extend_from_slice(GROUP_MAGIC);
    out.push(VERSION);
    out.push(kind);
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out
}

fn hashed(mut out: Vec<u8>) -> Bytes {
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out.into()
}

fn count(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::internal(format!("{length} is too much for one group of the log")))
}

/// A group of records.
///
/// # Errors
/// `Internal` when a length does not fit into 32 bits, which the bounds of ingest exclude.
pub(super) fn encode_group(
    (epoch, number): (u64, u64),
    first_seq: Seq,
    hour: Hour,
    keys: &[EventKey],
    records: &[Vec<u8>],
) -> Result<Bytes> {
    let bytes: usize = records.iter().map(|record| record.len() + 4).sum();
    let mut out = header(KIND_GROUP, epoch, number, 20 + keys.len() * KEY_BYTES + bytes);
    out.extend_from_slice(&first_seq.to_le_bytes());
    out.extend_from_slice(&hour.to_le_bytes());
    out.extend_from_slice(&count(keys.len())?.to_le_bytes());
    out.extend_from_slice(&count(records.len())?.to_le_bytes());
    keys.iter().for_each(|key| out.extend_from_slice(key.as_bytes()));
    for record in records {
        out.extend_from_slice(&count(record.len())?.to_le_bytes());
        out.extend_from_slice(record);
    }
    Ok(hashed(out))
}

/// The seal that the writer of epoch `by` puts after the last group of `epoch`.
pub(super) fn encode_seal((epoch, number): (u64, u64), by: u64) -> Bytes {
    let mut out = header(KIND_SEAL, epoch, number, 8);
    out.extend_from_slice(&by.to_le_bytes());
    hashed(out)
}

/// Ids of one hour; they must be in order and without a repeat.
pub(super) fn encode_ids(hour: Hour, keys: &[EventKey]) -> Bytes {
    let mut out = Vec::with_capacity(21 + keys.len() * KEY_BYTES + HASH_BYTES);
    out.extend_from_slice(IDS_MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&hour.to_le_bytes());
    out.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    keys.iter().for_each(|key| out.extend_from_slice(key.as_bytes()));
    hashed(out)
}

/// Reads an object of the log that was put as `place`.
///
/// # Errors
/// `Storage`, naming the object, when it is damaged or of a newer version.
pub(super) fn decode(name: &Path, place: (u64, u64), bytes: &Bytes) -> Result<Object> {
    let mut reader = Reader::new(name, bytes)?;
    reader.begins(GROUP_MAGIC)?;
    let kind = reader.u8()?;
    if (reader.u64()?, reader.u64()?) != place {
        return Err(damaged(name, "it is another object's copy"));
    }
    let object = match kind {
        KIND_SEAL => Object::Seal(reader.u64()?),
        KIND_GROUP => Object::Group(group(&mut reader)?),
        _ => return Err(damaged(name, "it is of an unknown kind")),
    };
    reader.ends()?;
    Ok(object)
}

fn group(reader: &mut Reader<'_>) -> Result<Group> {
    let first_seq = reader.u64()?;
    let hour = reader.u32()?;
    let (keys, records) = (reader.u32()?, reader.u32()?);
    let keys = (0..keys).map(|_| reader.key()).collect::<Result<_>>()?;
    let records = (0..records)
        .map(|_| {
            let length = reader.u32()?;
            reader.take(length as usize)
        })
        .collect::<Result<_>>()?;
    Ok(Group {
        first_seq,
        hour,
        keys,
        records,
    })
}

/// Reads an object of ids of `hour`.
///
/// # Errors
/// `Storage`, naming the object, when it is damaged or of a newer version.
pub(super) fn decode_ids(name: &Path, hour: Hour, bytes: &Bytes) -> Result<Vec<EventKey>> {
    let mut reader = Reader::new(name, bytes)?;
    reader.begins(IDS_MAGIC)?;
    if reader.u32()? != hour {
        return Err(damaged(name, "it is another object's copy"));
    }
    let keys = (0..reader.u64()?).map(|_| reader.key()).collect::<Result<Vec<_>>>()?;
    reader.ends()?;
    if !keys.is_sorted_by(|a, b| a < b) {
        return Err(damaged(name, "its ids are not in order"));
    }
    Ok(keys)
}

fn damaged(name: &Path, what: &str) -> Error {
    Error::storage(format!("the object {name} is damaged: {what}"))
}

/// Reads from the front of an object; every length is checked against what is left.
struct Reader<'a> {
    name: &'a Path,
    rest: Bytes,
}

impl<'a> Reader<'a> {
    /// Checks the hash first: nothing else of a damaged object is believed.
    fn new(name: &'a Path, bytes: &Bytes) -> Result<Self> {
        let end = bytes
            .len()
            .checked_sub(HASH_BYTES)
            .ok_or_else(|| damaged(name, "it ends too early"))?;
        let body = bytes.slice(..end);
        if blake3::hash(&body).as_bytes().as_slice() != bytes.slice(end..).as_ref() {
            return Err(damaged(name, "its checksum does not match"));
        }
        Ok(Self { name, rest: body })
    }

    fn begins(&mut self, magic: &[u8; 8]) -> Result<()> {
        if self.take(8)?.as_ref() != magic {
            return Err(damaged(self.name, "it is no object of this kind"));
        }
        match self.u8()? {
            VERSION => Ok(()),
            version => Err(Error::storage(format!(
                "the object {} has version {version}, this Tally reads version {VERSION}: start the version that wrote \
                 it, or a newer one",
                self.name
            ))),
        }
    }

    fn ends(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(damaged(self.name, "bytes follow its end"))
    }

    fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.rest.len() {
            return Err(damaged(self.name, "it ends too early"));
        }
        Ok(self.rest.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(taken.as_ref()).map_err(|_| damaged(self.name, "it ends too early"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn key(&mut self) -> Result<EventKey> {
        Ok(EventKey::from_bytes(self.array()?))
    }
}
