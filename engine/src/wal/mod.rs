//! The write-ahead log: what is acknowledged is here first, on disk, until the tables have it.
//!
//! [`Wal`] is the promise, [`local`] keeps it with a folder and `store::wal` with objects in the store, [`record`] is the
//! format of one record. A log also remembers the ids of the events of the last days ([`index`]), because an id and its
//! event must become durable in one step.

pub mod index;
pub mod local;
pub mod none;
pub mod record;

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::project::ProjectId;
use std::time::Duration;

pub use index::{Hour, ScratchIndex};
pub use local::LocalWal;
pub use record::{EncodedEvents, EncodedRecord, Record};

/// Position of a record in the log; grows by one per record, starts at 1, is never used twice.
pub type Seq = u64;

/// What the index of known events is keyed by: the first 16 bytes of a hash of project and event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey([u8; 16]);

impl EventKey {
    /// The key of an event of a project. With 128 bits, a false match among a trillion events has odds below 1 in 10^14.
    pub fn new(project: &ProjectId, event_id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(project.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(event_id.as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }

    /// The key with these bytes, as [`EventKey::as_bytes`] gave them.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A durable log of records with an index of event ids. One writer at a time.
pub trait Wal: Send + Sync + std::fmt::Debug {
    /// Name of this log in the tables: a record with a higher number than the table's mark for this name is not in the
    /// table yet.
    fn writer_id(&self) -> &str;

    /// Whether an event with this key was written within the last [`crate::limits::DEDUP_DAYS`] days.
    ///
    /// # Errors
    /// `Storage` when the index cannot be read.
    fn contains(&self, key: &EventKey) -> Result<bool>;

    /// Writes all records and keys, or none of them, and returns when they are on stable storage. The records get
    /// consecutive numbers from the one returned.
    ///
    /// # Errors
    /// `Overloaded` or `Storage` when they could not be made durable. None of them is then taken for written, and none of
    /// the keys is found; the log heals by itself, so the same write may succeed later.
    fn write(&self, records: Vec<Vec<u8>>, keys: &[EventKey]) -> Result<Seq>;

    /// Starts a new segment when the one in use has at least `bytes_min` of records, so that they can be dropped as a
    /// whole. An empty segment stays.
    ///
    /// # Errors
    /// `Storage` when the segment cannot be made.
    fn rotate(&self, bytes_min: u64) -> Result<()>;

    /// Drops whole segments all of whose records are below `seq`. The segment in use stays.
    ///
    /// # Errors
    /// `Storage` when a segment cannot be dropped; its records are then dropped later.
    fn trim(&self, seq: Seq) -> Result<()>;

    /// Makes the bytes of records that were dropped leave the disk now, where they would otherwise stay for a while.
    /// Takes seconds; writes go on.
    ///
    /// # Errors
    /// `Storage` when they cannot be made to go.
    fn purge(&self) -> Result<()> {
        Ok(())
    }

    /// Shows every record to `each`, oldest first, before it is checked.
    ///
    /// # Errors
    /// `Storage` when a record cannot be read, or the error of `each`.
    fn replay_encoded(&self, each: &mut dyn FnMut(Seq, EncodedRecord) -> Result<()>) -> Result<()>;

    /// Shows every record to `each`, oldest first.
    ///
    /// # Errors
    /// `Storage` when a record cannot be read or is damaged, or the error of `each`.
    fn replay(&self, each: &mut dyn FnMut(Seq, Record) -> Result<()>) -> Result<()> {
        self.replay_encoded(&mut |seq, record| each(seq, record.decode()?))
    }

    /// Bytes of records that are not yet dropped, approximately.
    fn size_bytes(&self) -> u64;

    /// What a restart has to read, in bytes that take as long.
    fn replay_bytes(&self) -> u64 {
        self.size_bytes()
    }

    /// Bytes of the index of event ids at rest, approximately.
    fn index_bytes(&self) -> u64 {
        0
    }

    /// Least time between the beginnings of two writes: requests that come meanwhile are one group. Zero where a write
    /// costs nothing but its own time.
    fn group_interval(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether a commit of an earlier process with rows of this log may still be on its way to a table: the tables must be
    /// claimed before their marks are trusted.
    fn leaves_late_commits(&self) -> bool {
        false
    }

    /// Ends a write that waits for a store which does not answer. The log takes nothing more.
    fn stop(&self) {}
}
