//! The index of the ids of known events: which keys were written in the last days, each with the hour it was written in.
//!
//! [`super::local`] keeps it in the same database as its records, so that both become durable in one step. A log that is
//! kept elsewhere has a [`ScratchIndex`], which is made anew at every start and need not be durable.

use super::EventKey;
use crate::clock::{Clock, Micros, SECOND_MICROS};
use crate::error::{Error, Result};
use crate::limits;
use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict};
use fjall::config::{CompressionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hours since 1970.
pub type Hour = u32;

const EVENTS: &str = "events";
const HOUR_MICROS: Micros = 3_600 * SECOND_MICROS;

/// The hour of an instant.
pub fn hour_of(micros: Micros) -> Hour {
    u32::try_from(micros.div_euclid(HOUR_MICROS)).unwrap_or(0)
}

/// Whether ids of `hour` may be forgotten at `now`.
pub fn is_old(hour: Hour, now: Hour) -> bool {
    now.saturating_sub(hour) > limits::DEDUP_DAYS * 24
}

/// Whether an index entry may be forgotten at `now`. A damaged entry is kept: a duplicate is the lesser harm.
pub(super) fn is_expired(hour: &[u8], now: Hour) -> bool {
    let Ok(bytes) = <[u8; 4]>::try_from(hour) else {
        return false;
    };
    is_old(u32::from_be_bytes(bytes), now)
}

/// Most look-ups are of new ids, so every level has a filter that answers "never seen" without reading a block of keys.
///
/// Filters and indexes are cut into blocks of their own. Whole, the filter of a large file is megabytes, more than the cache
/// takes as one piece, and each look-up would read it anew. Those of the first level are small, and stay in memory.
pub(super) fn events_options() -> KeyspaceCreateOptions {
    let bits = FilterPolicyEntry::Bloom(fjall::config::BloomConstructionPolicy::BitsPerKey(12.0));
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(limits::WAL_EVENTS_MEMTABLE_BYTES)
        .filter_policy(FilterPolicy::all(bits))
        .filter_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .index_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .data_block_compression_policy(CompressionPolicy::disabled())
}

/// Forgets expired event ids whenever their files are compacted.
pub(super) struct ExpiryFactory(AssertUnwindSafe<Arc<dyn Clock>>);

impl ExpiryFactory {
    pub(super) fn shared(clock: Arc<dyn Clock>) -> Arc<dyn Factory> {
        Arc::new(Self(AssertUnwindSafe(clock)))
    }
}

struct Expiry {
    hour_now: Hour,
}

impl Factory for ExpiryFactory {
    fn name(&self) -> &str {
        "expired event ids"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Expiry {
            hour_now: hour_of(self.0.now_micros()),
        })
    }
}

impl CompactionFilter for Expiry {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let is_expired = is_expired(&item.value()?, self.hour_now);
        // Destroy leaves no tombstone. An older entry that would come back to light is expired as well.
        Ok(if is_expired { Verdict::Destroy } else { Verdict::Keep })
    }
}

/// An index in a folder of its own that is empty at every start. Its memory is bounded; what does not fit is on the disk.
pub struct ScratchIndex {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    db: Database,
    events: Keyspace,
}

impl std::fmt::Debug for ScratchIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScratchIndex")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl ScratchIndex {
    /// An empty index in `folder`; what is there is deleted.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be emptied or written.
    pub fn create(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::storage(format!("{}: {error}", folder.display())).with_source(error));
            }
            _ => {}
        }
        let fail = |error| failed(folder, error);
        let expiry = ExpiryFactory::shared(Arc::clone(&clock));
        let db = Database::builder(folder)
            .cache_size(limits::WAL_CACHE_BYTES)
            .max_journaling_size(limits::WAL_JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(2)
            .with_compaction_filter_factories(Arc::new(move |name| (name == EVENTS).then(|| Arc::clone(&expiry))))
            .open()
            .map_err(fail)?;
        let events = db.keyspace(EVENTS, events_options).map_err(fail)?;
        Ok(Self {
            folder: folder.to_owned(),
            clock,
            db,
            events,
        })
    }

    /// Whether `key` was put within the last [`limits::DEDUP_DAYS`] days.
    ///
    /// # Errors
    /// `Storage` when the index cannot be read.
    pub fn contains(&self, key: &EventKey) -> Result<bool> {
        let found = self.events.get(key.as_bytes()).map_err(|error| self.failed(error))?;
        let now = hour_of(self.clock.now_micros());
        Ok(found.is_some_and(|hour| !is_expired(&hour, now)))
    }

    /// Adds keys.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be written.
    pub fn insert(&self, keys: &[EventKey], hour: Hour) -> Result<()> {
        let mut batch = self.db.batch().durability(None);
        for key in keys {
            batch.insert(&self.events, *key.as_bytes(), hour.to_be_bytes());
        }
        batch.commit().map_err(|error| self.failed(error))
    }

    /// Adds keys that are in order and without a repeat, past the journal: for many.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be written.
    pub fn load(&self, keys: &[EventKey], hour: Hour) -> Result<()> {
        let fail = |error| self.failed(error);
        let mut ingestion = self.events.start_ingestion().map_err(fail)?;
        for key in keys {
            ingestion.write(*key.as_bytes(), hour.to_be_bytes()).map_err(fail)?;
        }
        ingestion.finish().map_err(fail)
    }

    fn failed(&self, error: fjall::Error) -> Error {
        failed(&self.folder, error)
    }
}

fn failed(folder: &Path, error: fjall::Error) -> Error {
    let text = format!("the index of event ids in {} fails: {error}", folder.display());
    Error::storage(text).with_source(error)
}

#[cfg(test)]
mod tests;
