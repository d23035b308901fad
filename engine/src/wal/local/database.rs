//! The embedded store of a log, opened: its keyspaces, and the segments of records.

use super::journal::{self, sync_folder};
use super::{LAST_SEQ_KEY, purge, seq_of};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::wal::index::{ExpiryFactory, events_options};
use crate::wal::{EventKey, Seq};
use fjall::{AbstractTree, Keyspace, KeyspaceCreateOptions, PersistMode, UserValue};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const META: &str = "meta";
const EVENTS: &str = "events";
const SEGMENT_PREFIX: &str = "wal-";
const WRITER_KEY: &str = "writer";
/// Where the store keeps its keyspaces, a folder each.
pub(super) const KEYSPACES: &str = "keyspaces";
/// The file of a keyspace that names its version in use.
pub(super) const POINTER: &str = "current";

/// Memtables that wait to be written to files, and files of the first level, at which a write waits. The store waits too,
/// at a few more, but for ever when the thread that should write them has failed.
const MEMTABLES_WAITING_MAX: usize = 2;
const FIRST_LEVEL_FILES_MAX: usize = 24;
/// Bytes of a journal after which the store begins another, as soon as it writes something to a file.
const JOURNAL_BYTES: u64 = 64_000_000;
/// How often a waiting write looks again.
const WAIT: Duration = Duration::from_millis(5);

/// The records and keys that one write makes durable.
pub(super) struct Group {
    pub(super) first: Seq,
    pub(super) records: Vec<UserValue>,
    pub(super) keys: Vec<EventKey>,
    pub(super) bytes: u64,
}

impl Group {
    pub(super) fn last(&self) -> Seq {
        self.first - 1 + self.records.len() as u64
    }
}

/// When the store should be opened anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct WornAt {
    /// Segments begun, however soon.
    pub(super) segments_max: u64,
    /// Segments begun, once it has been open for `age`.
    pub(super) segments: u64,
    pub(super) age: Duration,
}

impl Default for WornAt {
    fn default() -> Self {
        Self {
            segments_max: limits::WAL_SEGMENTS_BEGUN_MAX,
            segments: limits::WAL_SEGMENTS_BEGUN,
            age: Duration::from_millis(limits::WAL_RENEW_MS),
        }
    }
}

/// How much a store has kept of what was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wear {
    Little,
    /// It should be opened anew as soon as there is little to read.
    Should,
    /// It should be opened anew whatever there is to read.
    Must,
}

pub(super) struct Database {
    folder: PathBuf,
    pub(super) opened: Instant,
    meta: Keyspace,
    events: Keyspace,
    segments: Mutex<Segments>,
    // Declared last: the store waits for its threads when it is dropped.
    store: fjall::Database,
}

struct Segments {
    sealed: Vec<Segment>,
    active: Segment,
    number_next: u64,
    /// Segments that were begun since the store was opened.
    begun: u64,
}

#[derive(Clone)]
struct Segment {
    keyspace: Keyspace,
    /// Number of its last record; `None` while it is empty.
    last: Option<Seq>,
    bytes: u64,
}

pub(super) fn failed(folder: &Path, what: &str, error: fjall::Error) -> Error {
    Error::storage(format!(
        "the write-ahead log in {} cannot {what}: {error}",
        folder.display()
    ))
    .with_source(error)
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    Error::storage(format!("cannot {what} {}: {error}", path.display())).with_source(error)
}

fn open_store(path: &Path, clock: &Arc<dyn Clock>) -> Result<fjall::Database, fjall::Error> {
    let expiry = ExpiryFactory::shared(Arc::clone(clock));
    fjall::Database::builder(path)
        .cache_size(limits::WAL_CACHE_BYTES)
        .max_cached_files(Some(limits::WAL_OPEN_FILES_MAX))
        .max_journaling_size(limits::WAL_JOURNAL_BYTES_MAX)
        .manual_journal_persist(true)
        .worker_threads(2)
        .with_compaction_filter_factories(Arc::new(move |name| (name == EVENTS).then(|| Arc::clone(&expiry))))
        .open()
}

/// Makes the store in `path`, unless it is there. It is built under another name, because a store whose making was
/// interrupted cannot be opened.
///
/// # Errors
/// `Storage` when it cannot be written.
pub(super) fn create(path: &Path, clock: &Arc<dyn Clock>) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    let at = |error| cannot("make the write-ahead log in", parent, error);
    if path.try_exists().map_err(at)? {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let fail = |error| failed(parent, "be made", error);
    let store = open_store(&fresh, clock).map_err(fail)?;
    let meta = store.keyspace(META, meta_options).map_err(fail)?;
    store.keyspace(EVENTS, events_options).map_err(fail)?;
    // The writer's name lives and dies with the log: a log that starts again from number 1 must not meet the marks of its
    // predecessor.
    let name = format!("tally-{}", uuid::Uuid::new_v4());
    meta.insert(WRITER_KEY, name.as_bytes()).map_err(fail)?;
    store.persist(PersistMode::SyncAll).map_err(fail)?;
    drop((meta, store));
    sync_folder(&fresh.join(KEYSPACES)).map_err(at)?;
    sync_folder(&fresh).map_err(at)?;
    std::fs::rename(&fresh, path).map_err(at)?;
    sync_folder(parent).map_err(at)
}

/// Writes the files anew that name the version in use of each keyspace of the store in `path`. For after a failed write:
/// when the sync of such a name failed, it may be read now and be gone after a power cut.
///
/// # Errors
/// `Storage` when one cannot be read or written.
pub(super) fn renew_pointers(path: &Path) -> Result<()> {
    let keyspaces = path.join(KEYSPACES);
    let at = |error| cannot("renew the names in", &keyspaces, error);
    for entry in std::fs::read_dir(&keyspaces).map_err(at)? {
        let folder = entry.map_err(at)?.path();
        let pointer = folder.join(POINTER);
        let content = match std::fs::read(&pointer) {
            // A keyspace that was being made or dropped; the store clears it away.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            content => content.map_err(at)?,
        };
        let fresh = folder.join("current.new");
        let mut file = File::create(&fresh).map_err(at)?;
        file.write_all(&content).and_then(|()| file.sync_all()).map_err(at)?;
        std::fs::rename(&fresh, &pointer).map_err(at)?;
        sync_folder(&folder).map_err(at)?;
    }
    sync_folder(&keyspaces).map_err(at)
}

/// Makes the names in the folders of the keyspaces durable. A process that was killed in between leaves names that can be
/// read and are not on the disk, and what they replaced is deleted next.
///
/// # Errors
/// `Storage` when a folder cannot be read or synced.
pub(super) fn sync_folders(path: &Path) -> Result<()> {
    let keyspaces = path.join(KEYSPACES);
    let at = |error| cannot("sync the folders in", &keyspaces, error);
    for entry in std::fs::read_dir(&keyspaces).map_err(at)? {
        let folder = entry.map_err(at)?.path();
        if folder.is_dir() {
            sync_folder(&folder).map_err(at)?;
        }
    }
    sync_folder(&keyspaces).map_err(at)?;
    sync_folder(path).map_err(at)
}

/// Gets a closed store ready to be opened: its names are durable, and its journals whole and without what is not needed.
///
/// # Errors
/// `Storage` when it cannot be read or written, or a journal is damaged.
pub(super) fn prepare(path: &Path) -> Result<()> {
    // First: what is in a file leaves the journals.
    sync_folders(path)?;
    journal::settle(path, &journal::Persisted::look(path)?)
}

impl Database {
    /// Opens the store in `path`, which [`create`] has made and which is prepared. All segments found become
    /// sealed ones, and a fresh one is in use.
    ///
    /// # Errors
    /// `Storage` when it cannot be read or written.
    pub(super) fn open(path: &Path, clock: &Arc<dyn Clock>) -> Result<Self> {
        let fail = |error| failed(path, "be opened", error);
        let store = open_store(path, clock).map_err(fail)?;
        purge::forget(&store, path)?;
        let meta = store.keyspace(META, meta_options).map_err(fail)?;
        let events = store.keyspace(EVENTS, events_options).map_err(fail)?;
        let segments = open_segments(&store, path)?;
        let database = Self {
            folder: path.to_owned(),
            opened: Instant::now(),
            meta,
            events,
            segments: Mutex::new(segments),
            store,
        };
        database.sync_keyspaces()?;
        Ok(database)
    }

    /// The store makes a keyspace's content durable, but not its folder's name: without it the records were gone.
    fn sync_keyspaces(&self) -> Result<()> {
        let keyspaces = self.folder.join(KEYSPACES);
        sync_folder(&keyspaces).map_err(|error| cannot("sync", &keyspaces, error))
    }

    /// The name of the log.
    pub(super) fn writer_id(&self) -> Result<String> {
        let fail = |error| failed(&self.folder, "be read", error);
        let stored = self.meta.get(WRITER_KEY).map_err(fail)?;
        let name = stored.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        name.ok_or_else(|| {
            Error::storage(format!(
                "the write-ahead log in {} has lost its name: its folder is damaged; bring it back from a backup",
                self.folder.display()
            ))
        })
    }

    /// The last number given out, which is 0 in a new log.
    pub(super) fn last_seq(&self) -> Result<Seq> {
        let fail = |error| failed(&self.folder, "be read", error);
        let stored = self.meta.get(LAST_SEQ_KEY).map_err(fail)?;
        let stored = stored.map_or(Ok(0), |bytes| seq_of(&bytes))?;
        let sealed = &self.segments.lock().sealed;
        let in_segments = sealed.iter().filter_map(|segment| segment.last).max();
        Ok(stored.max(in_segments.unwrap_or(0)))
    }

    /// The hour in which an event was received, as it was written.
    pub(super) fn hour(&self, key: &EventKey) -> Result<Option<UserValue>> {
        let found = self.events.get(key.as_bytes());
        found.map_err(|error| failed(&self.folder, "be read", error))
    }

    /// Whether the store takes writes: it refuses all after one of its threads has failed.
    pub(super) fn check(&self) -> Result<(), fjall::Error> {
        self.store.persist(PersistMode::Buffer)
    }

    /// Makes a group durable. The store applies it only after it is synced: what a failed sync leaves behind is in its
    /// journal at the most, and never in a file of its own.
    pub(super) fn write(&self, group: &Group, hour: u32) -> Result<(), fjall::Error> {
        // Held until the group is applied, so that a segment is never sealed with a record still on its way into it.
        let mut segments = self.segments.lock();
        self.wait_for_room(&segments.active.keyspace)?;
        self.wait_for_room(&self.events)?;
        let mut batch = self.store.batch().durability(Some(PersistMode::SyncData));
        for (seq, record) in (group.first..).zip(&group.records) {
            batch.insert(&segments.active.keyspace, seq.to_be_bytes(), record.clone());
        }
        let hour = hour.to_be_bytes();
        for key in &group.keys {
            batch.insert(&self.events, *key.as_bytes(), hour);
        }
        let last = group.last();
        batch.insert(&self.meta, LAST_SEQ_KEY, last.to_be_bytes());
        batch.commit()?;
        segments.active.last = Some(last);
        segments.active.bytes += group.bytes;
        Ok(())
    }

    fn wait_for_room(&self, keyspace: &Keyspace) -> Result<(), fjall::Error> {
        while keyspace.sealed_memtable_count() > MEMTABLES_WAITING_MAX
            || keyspace.l0_table_count() > FIRST_LEVEL_FILES_MAX
        {
            self.check()?;
            std::thread::sleep(WAIT);
        }
        Ok(())
    }

    /// Starts a new segment when the one in use has at least `bytes_min` of records.
    pub(super) fn rotate(&self, bytes_min: u64) -> Result<()> {
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
        let fail = |error| failed(&self.folder, "start a segment", error);
        let keyspace = self.store.keyspace(&segment_name(number), segment_options);
        let fresh = Segment {
            keyspace: keyspace.map_err(fail)?,
            last: None,
            bytes: 0,
        };
        self.sync_keyspaces()?;
        let mut segments = self.segments.lock();
        let full = std::mem::replace(&mut segments.active, fresh);
        segments.sealed.push(full);
        segments.begun += 1;
        Ok(())
    }

    /// How worn the store is: for each segment begun and dropped it keeps three small files and their tables in memory until
    /// it is closed.
    pub(super) fn wear(&self, worn_at: &WornAt) -> Wear {
        let is_old = self.opened.elapsed() >= worn_at.age;
        let max = if is_old { worn_at.segments } else { worn_at.segments_max };
        match self.segments.lock().begun {
            begun if begun >= 2 * max => Wear::Must,
            begun if begun >= max => Wear::Should,
            _ => Wear::Little,
        }
    }

    /// Gets the store ready to be opened anew with little to read: what keeps old journals from being deleted is written to
    /// files. Returns whether it is ready; if not, it will be some flushes later.
    ///
    /// # Errors
    /// `Storage` when the store cannot be written.
    pub(super) fn shorten_journals(&self) -> Result<bool> {
        let bytes = journal::written_bytes(&self.folder)?;
        if bytes <= limits::WAL_RENEW_JOURNAL_BYTES_MAX {
            // Closing waits for whatever the store's threads are at.
            let is_idle = self.store.active_compactions() == 0 && self.store.outstanding_flushes() == 0;
            return Ok(is_idle && self.segments.lock().sealed.is_empty());
        }
        if bytes > JOURNAL_BYTES {
            self.rotate(1)?;
            let fail = |error| failed(&self.folder, "be written", error);
            for keyspace in [&self.meta, &self.events] {
                keyspace.rotate_memtable().map_err(fail)?;
            }
        }
        Ok(false)
    }

    /// Drops the sealed segments all of whose records are below `seq`.
    pub(super) fn trim(&self, seq: Seq) -> Result<()> {
        let mut dropped = {
            let mut segments = self.segments.lock();
            let is_done = |segment: &Segment| segment.last.is_none_or(|last| last < seq);
            let (dropped, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut segments.sealed).into_iter().partition(is_done);
            segments.sealed = kept;
            dropped
        };
        while let Some(segment) = dropped.pop() {
            if let Err(error) = self.store.delete_keyspace(segment.keyspace.clone()) {
                // Dropped later: in another order, which nobody relies on.
                dropped.push(segment);
                self.segments.lock().sealed.append(&mut dropped);
                return Err(failed(&self.folder, "drop a segment", error));
            }
            // The store's list of journals keeps a handle of it until they are deleted, and with it all of its records in
            // memory: several times what waits to be flushed.
            segment.keyspace.tree.clear_active_memtable();
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn sealed(&self) -> Vec<Keyspace> {
        let segments = self.segments.lock();
        segments.sealed.iter().map(|segment| segment.keyspace.clone()).collect()
    }

    /// Shows the records of the sealed segments to `each`, oldest first.
    pub(super) fn replay(&self, each: &mut dyn FnMut(Seq, &[u8]) -> Result<()>) -> Result<()> {
        let fail = |error| failed(&self.folder, "be read", error);
        let mut sealed: Vec<Segment> = self.segments.lock().sealed.clone();
        sealed.sort_by_key(|segment| segment.last);
        for segment in sealed {
            for guard in segment.keyspace.iter() {
                let (key, value) = guard.into_inner().map_err(fail)?;
                each(seq_of(&key)?, &value)?;
            }
        }
        Ok(())
    }

    /// Makes the bytes of dropped records leave the disk. `folder` is the log's.
    pub(super) fn purge(&self, folder: &Path) -> Result<()> {
        let mut keyspaces = vec![self.meta.clone(), self.events.clone()];
        {
            let segments = self.segments.lock();
            keyspaces.extend(segments.sealed.iter().map(|segment| segment.keyspace.clone()));
            keyspaces.push(segments.active.keyspace.clone());
        }
        purge::purge(&self.store, folder, &keyspaces)
    }

    /// Puts the records of the segment in use into a file, as happens to those that stay long.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        let active = self.segments.lock().active.keyspace.clone();
        active.rotate_memtable_and_wait().unwrap();
    }

    /// Puts the index of ids, and what the log notes, into files.
    #[cfg(test)]
    pub(super) fn settle_index(&self) {
        for keyspace in [&self.events, &self.meta] {
            keyspace.rotate_memtable_and_wait().unwrap();
        }
    }

    /// Bytes of the index of event ids at rest.
    pub(super) fn index_bytes(&self) -> u64 {
        self.events.disk_space()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        let segments = self.segments.lock();
        segments.active.bytes + segments.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }
}

fn meta_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(limits::WAL_META_MEMTABLE_BYTES)
}

pub(super) fn segment_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(limits::WAL_SEGMENT_MEMTABLE_BYTES)
}

fn segment_name(number: u64) -> String {
    format!("{SEGMENT_PREFIX}{number:020}")
}

fn open_segments(store: &fjall::Database, path: &Path) -> Result<Segments> {
    let fail = |error| failed(path, "be opened", error);
    let names = store.list_keyspace_names();
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_prefix(SEGMENT_PREFIX)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut sealed = Vec::with_capacity(numbers.len());
    for number in &numbers {
        let keyspace = store.keyspace(&segment_name(*number), segment_options).map_err(fail)?;
        let last = match keyspace.last_key_value() {
            Some(guard) => Some(seq_of(&guard.key().map_err(fail)?)?),
            None => None,
        };
        let mut bytes = 0;
        for guard in keyspace.iter() {
            bytes += u64::from(guard.size().map_err(fail)?);
        }
        sealed.push(Segment { keyspace, last, bytes });
    }
    let number_next = numbers.last().map_or(1, |last| last + 1);
    let active = Segment {
        keyspace: store
            .keyspace(&segment_name(number_next), segment_options)
            .map_err(fail)?,
        last: None,
        bytes: 0,
    };
    Ok(Segments {
        sealed,
        active,
        number_next: number_next + 1,
        begun: 0,
    })
}
