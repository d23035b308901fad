//! The log in a folder, on an embedded key-value store whose batches are atomic over several keyspaces.
//!
//! Keyspaces: `wal-<n>` hold records by number, one keyspace per segment, so that a flushed segment is dropped as a
//! whole and leaves no tombstones; `events` maps an event's key to the hour it was received; `meta` holds the writer's
//! name and the last number given out.

mod purge;

use super::record::{self, Record};
use super::{EventKey, Seq, Wal};
use crate::clock::{Clock, Micros, SECOND_MICROS};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict};
use fjall::config::{CompressionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;
use std::fs::{File, TryLockError};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const META: &str = "meta";
const EVENTS: &str = "events";
const SEGMENT_PREFIX: &str = "wal-";
const WRITER_KEY: &str = "writer";
const LAST_SEQ_KEY: &str = "last_seq";
const HOUR_MICROS: Micros = 3_600 * SECOND_MICROS;

/// A log in a folder of its own, locked against a second process.
pub struct LocalWal {
    folder: PathBuf,
    writer_id: String,
    clock: Arc<dyn Clock>,
    db: Database,
    meta: Keyspace,
    events: Keyspace,
    segments: Mutex<Segments>,
    /// Only `write` holds it, for the whole of a group.
    last_seq: Mutex<Seq>,
    is_failed: AtomicBool,
    written_bytes: AtomicU64,
    // Declared last: the lock is given up after the database is closed.
    _lock: File,
}

struct Segments {
    sealed: Vec<Segment>,
    active: Segment,
    number_next: u64,
}

#[derive(Clone)]
struct Segment {
    keyspace: Keyspace,
    /// Number of its last record; `None` while it is empty.
    last: Option<Seq>,
    bytes: u64,
}

impl std::fmt::Debug for LocalWal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalWal")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn failed(folder: &Path, what: &str, error: fjall::Error) -> Error {
    Error::storage(format!(
        "the write-ahead log in {} cannot {what}: {error}",
        folder.display()
    ))
    .with_source(error)
}

impl LocalWal {
    /// Opens the log in `folder`, making both when they are absent.
    ///
    /// # Errors
    /// `Fenced` when another process holds the folder; `Storage` when it cannot be read or written.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let at = |error: std::io::Error, path: &Path| {
            Error::storage(format!("{}: {error}", path.display())).with_source(error)
        };
        std::fs::create_dir_all(folder).map_err(|error| at(error, folder))?;
        let lock = lock_folder(folder)?;
        let path = folder.join("wal");
        let expiry = Arc::new(ExpiryFactory(AssertUnwindSafe(Arc::clone(&clock))));
        let db = Database::builder(&path)
            .cache_size(limits::WAL_CACHE_BYTES)
            .max_journaling_size(limits::WAL_JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(2)
            .with_compaction_filter_factories(Arc::new(move |name| {
                (name == EVENTS).then(|| Arc::clone(&expiry) as Arc<dyn Factory>)
            }))
            .open()
            .map_err(|error| failed(folder, "be opened", error))?;
        let open = |name: &str, options: fn() -> KeyspaceCreateOptions| {
            db.keyspace(name, options)
                .map_err(|error| failed(folder, "be opened", error))
        };
        purge::forget(&db, folder)?;
        let meta = open(META, meta_options)?;
        let events = open(EVENTS, events_options)?;
        let segments = open_segments(&db, folder)?;
        let writer_id = writer_id(&db, &meta, folder)?;
        let stored = read_seq(&meta, folder)?;
        let in_segments = segments.sealed.iter().filter_map(|segment| segment.last).max();
        let last_seq = stored.max(in_segments.unwrap_or(0));
        Ok(Self {
            folder: folder.to_owned(),
            writer_id,
            clock,
            meta,
            events,
            segments: Mutex::new(segments),
            last_seq: Mutex::new(last_seq),
            is_failed: AtomicBool::new(false),
            written_bytes: AtomicU64::new(0),
            db,
            _lock: lock,
        })
    }

    fn hour_now(&self) -> u32 {
        hour_of(self.clock.now_micros())
    }

    fn refuse(&self) -> Error {
        Error::storage(format!(
            "the write-ahead log in {} failed to write and takes nothing more: see the log for the cause (a full or \
             failing disk), repair it, and restart Tally; everything acknowledged so far is kept",
            self.folder.display()
        ))
    }
}

fn lock_folder(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let at = |error: std::io::Error| Error::storage(format!("{}: {error}", path.display())).with_source(error);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Fenced,
            format!(
                "another process holds {}: stop it, or give this one a data folder of its own",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(at(error)),
    }
}

fn meta_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(limits::WAL_META_MEMTABLE_BYTES)
}

/// Most look-ups are of new ids, so every level has a filter that answers "never seen" without reading a block.
fn events_options() -> KeyspaceCreateOptions {
    let bits = FilterPolicyEntry::Bloom(fjall::config::BloomConstructionPolicy::BitsPerKey(12.0));
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(limits::WAL_EVENTS_MEMTABLE_BYTES)
        .filter_policy(FilterPolicy::all(bits))
        .data_block_compression_policy(CompressionPolicy::disabled())
}

fn segment_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(limits::WAL_SEGMENT_MEMTABLE_BYTES)
}

fn segment_name(number: u64) -> String {
    format!("{SEGMENT_PREFIX}{number:020}")
}

/// All segments found become sealed ones, and a fresh one is in use.
fn open_segments(db: &Database, folder: &Path) -> Result<Segments> {
    let fail = |error| failed(folder, "be opened", error);
    let names = db.list_keyspace_names();
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_prefix(SEGMENT_PREFIX)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut sealed = Vec::with_capacity(numbers.len());
    for number in &numbers {
        let keyspace = db.keyspace(&segment_name(*number), segment_options).map_err(fail)?;
        let last = match keyspace.last_key_value() {
            Some(guard) => Some(seq_of(&guard.key().map_err(fail)?)?),
            None => None,
        };
        let bytes = keyspace.disk_space();
        sealed.push(Segment { keyspace, last, bytes });
    }
    let number_next = numbers.last().map_or(1, |last| last + 1);
    let active = Segment {
        keyspace: db.keyspace(&segment_name(number_next), segment_options).map_err(fail)?,
        last: None,
        bytes: 0,
    };
    Ok(Segments {
        sealed,
        active,
        number_next: number_next + 1,
    })
}

fn seq_of(key: &[u8]) -> Result<Seq> {
    let bytes = <[u8; 8]>::try_from(key).map_err(|_| {
        Error::storage(format!(
            "the write-ahead log has a record with a damaged number {key:?}"
        ))
    })?;
    Ok(Seq::from_be_bytes(bytes))
}

fn read_seq(meta: &Keyspace, folder: &Path) -> Result<Seq> {
    let stored = meta
        .get(LAST_SEQ_KEY)
        .map_err(|error| failed(folder, "be read", error))?;
    stored.map_or(Ok(0), |bytes| seq_of(&bytes))
}

/// The writer's name is made once and lives and dies with the log: a log that starts again from number 1 must not meet
/// the marks of its predecessor.
fn writer_id(db: &Database, meta: &Keyspace, folder: &Path) -> Result<String> {
    let fail = |error| failed(folder, "be opened", error);
    if let Some(stored) = meta.get(WRITER_KEY).map_err(fail)? {
        return String::from_utf8(stored.to_vec())
            .map_err(|_| Error::storage(format!("the writer's name in {} is damaged", folder.display())));
    }
    let name = format!("tally-{}", uuid::Uuid::new_v4());
    meta.insert(WRITER_KEY, name.as_bytes()).map_err(fail)?;
    db.persist(PersistMode::SyncAll).map_err(fail)?;
    Ok(name)
}

impl Wal for LocalWal {
    fn writer_id(&self) -> &str {
        &self.writer_id
    }

    fn contains(&self, key: &EventKey) -> Result<bool> {
        let found = self
            .events
            .get(key.as_bytes())
            .map_err(|error| failed(&self.folder, "be read", error))?;
        Ok(found.is_some_and(|hour| !is_expired(&hour, self.hour_now())))
    }

    fn write(&self, records: Vec<Vec<u8>>, keys: &[EventKey]) -> Result<Seq> {
        if self.is_failed.load(Ordering::Acquire) {
            return Err(self.refuse());
        }
        let mut last_seq = self.last_seq.lock();
        let first = *last_seq + 1;
        let last = *last_seq + records.len() as u64;
        if records.is_empty() && keys.is_empty() {
            return Ok(first);
        }
        let bytes: u64 = records.iter().map(|record| record.len() as u64).sum();
        // Held until the group is applied, so that a segment is never sealed with a record still on its way into it.
        let mut segments = self.segments.lock();
        let mut batch = self.db.batch().durability(None);
        for (seq, record) in (first..).zip(records) {
            batch.insert(&segments.active.keyspace, seq.to_be_bytes(), record);
        }
        let hour = self.hour_now().to_be_bytes();
        for key in keys {
            batch.insert(&self.events, *key.as_bytes(), hour);
        }
        batch.insert(&self.meta, LAST_SEQ_KEY, last.to_be_bytes());
        let written = batch.commit().and_then(|()| self.db.persist(PersistMode::SyncData));
        if let Err(error) = written {
            self.is_failed.store(true, Ordering::Release);
            tracing::error!(folder = %self.folder.display(), %error, "the write-ahead log failed; nothing more is accepted until a restart");
            return Err(self.refuse().with_source(error));
        }
        segments.active.last = Some(last);
        segments.active.bytes += bytes;
        drop(segments);
        *last_seq = last;
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(first)
    }

    fn rotate(&self, bytes_min: u64) -> Result<()> {
        let number = {
            let mut segments = self.segments.lock();
            if segments.active.last.is_none() || segments.active.bytes < bytes_min {
                return Ok(());
            }
            let number = segments.number_next;
            segments.number_next += 1;
            number
        };
        // Made outside of the lock: it takes some fsyncs, and writes go on meanwhile.
        let keyspace = self
            .db
            .keyspace(&segment_name(number), segment_options)
            .map_err(|error| failed(&self.folder, "start a segment", error))?;
        let fresh = Segment {
            keyspace,
            last: None,
            bytes: 0,
        };
        let mut segments = self.segments.lock();
        let full = std::mem::replace(&mut segments.active, fresh);
        segments.sealed.push(full);
        Ok(())
    }

    fn trim(&self, seq: Seq) -> Result<()> {
        let dropped = {
            let mut segments = self.segments.lock();
            let is_done = |segment: &Segment| segment.last.is_none_or(|last| last < seq);
            let (dropped, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut segments.sealed).into_iter().partition(is_done);
            segments.sealed = kept;
            dropped
        };
        for segment in dropped {
            self.db
                .delete_keyspace(segment.keyspace)
                .map_err(|error| failed(&self.folder, "drop a segment", error))?;
        }
        Ok(())
    }

    fn purge(&self) -> Result<()> {
        let mut keyspaces = vec![self.meta.clone(), self.events.clone()];
        {
            let segments = self.segments.lock();
            keyspaces.extend(segments.sealed.iter().map(|segment| segment.keyspace.clone()));
            keyspaces.push(segments.active.keyspace.clone());
        }
        purge::purge(&self.db, &self.folder, &keyspaces)
    }

    fn replay(&self, each: &mut dyn FnMut(Seq, Record) -> Result<()>) -> Result<()> {
        let fail = |error| failed(&self.folder, "be read", error);
        let sealed: Vec<Segment> = self.segments.lock().sealed.clone();
        for segment in sealed {
            for guard in segment.keyspace.iter() {
                let (key, value) = guard.into_inner().map_err(fail)?;
                let seq = seq_of(&key)?;
                each(seq, record::decode(&value)?)?;
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let segments = self.segments.lock();
        segments.active.bytes + segments.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    fn index_bytes(&self) -> u64 {
        self.events.disk_space()
    }
}

fn hour_of(micros: Micros) -> u32 {
    u32::try_from(micros.div_euclid(HOUR_MICROS)).unwrap_or(0)
}

/// Whether an index entry of `hour` may be forgotten at `now`. A damaged entry is kept: a duplicate is the lesser harm.
fn is_expired(hour: &[u8], now: u32) -> bool {
    let Ok(bytes) = <[u8; 4]>::try_from(hour) else {
        return false;
    };
    now.saturating_sub(u32::from_be_bytes(bytes)) > limits::DEDUP_DAYS * 24
}

/// Forgets expired event ids whenever their files are compacted.
struct ExpiryFactory(AssertUnwindSafe<Arc<dyn Clock>>);

struct Expiry {
    hour_now: u32,
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
