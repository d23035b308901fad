//! The log in a folder, on an embedded key-value store whose batches are atomic over several keyspaces.
//!
//! Keyspaces: `wal-<n>` hold records by number, one keyspace per segment, so that a flushed segment is dropped as a
//! whole and leaves no tombstones; `events` maps an event's key to the hour it was received; `meta` holds the writer's
//! name and the last number given out.
//!
//! When the disk fails the log heals itself: it closes the store, writes into new files what was acknowledged, opens the
//! store again, and goes on. A file whose sync has failed is not used any more, because the kernel may have dropped its
//! pages and still show them.

mod database;
mod journal;
mod purge;

use super::index::{Hour, hour_of, is_expired};
use super::record::EncodedRecord;
use super::{EventKey, Seq, Wal};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::metrics::Metrics;
use database::{Database, Group, Wear, WornAt};
use parking_lot::{Mutex, RwLock};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LAST_SEQ_KEY: &str = "last_seq";
/// Bytes that the disk must take before the log is opened again: some groups.
const PROBE_BYTES: usize = 256 * 1024;
/// An opening of the store that takes longer is told.
const SLOW_RENEWAL: Duration = Duration::from_secs(1);
/// How long healing waits for others to let go of the store.
const HEAL_PATIENCE: Duration = Duration::from_millis(500);
/// The folder of the store, in the data folder.
const STORE: &str = "wal";
/// A file that is there from a failed write until the log is healed, so that a process that dies in between leaves word.
const SUSPECT: &str = "wal.suspect";

/// A log in a folder of its own, locked against a second process.
pub struct LocalWal {
    folder: PathBuf,
    writer_id: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    is_store_remote: bool,
    worn_at: WornAt,
    /// `None` from a failure until it can be opened again.
    database: RwLock<Option<Database>>,
    /// The last acknowledged number. Held for the whole of a group, and while the log is being healed.
    last_seq: Mutex<Seq>,
    health: Mutex<Health>,
    // Declared last: the lock is given up after the store is closed.
    _lock: File,
}

/// How it goes with the disk.
#[derive(Debug, Default)]
struct Health {
    /// Set while writes are refused.
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    tries: u32,
    try_at: Instant,
}

impl std::fmt::Debug for LocalWal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalWal")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
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
        let path = folder.join(STORE);
        database::create(&path, &clock)?;
        for part in folder.ancestors() {
            // Above the data folder this is a courtesy: it may be another user's.
            if journal::sync_folder(part).is_err() {
                break;
            }
        }
        let suspect = folder.join(SUSPECT);
        if suspect.try_exists().map_err(|error| at(error, &suspect))? {
            tracing::warn!(folder = %folder.display(), "the last process ended while its disk failed; the log is written anew");
            journal::rewrite(&path, None)?;
            database::renew_pointers(&path)?;
        } else {
            database::prepare(&path)?;
        }
        let database = Database::open(&path, &clock)?;
        let _ = std::fs::remove_file(&suspect);
        Ok(Self {
            folder: folder.to_owned(),
            writer_id: database.writer_id()?,
            last_seq: Mutex::new(database.last_seq()?),
            database: RwLock::new(Some(database)),
            clock,
            metrics: Arc::default(),
            is_store_remote: false,
            worn_at: WornAt::default(),
            health: Mutex::default(),
            _lock: lock,
        })
    }

    /// The same log, which counts its failures in `metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// The same log, beside a store that is no folder: what a process sent before it died may be taken after the next start.
    #[must_use]
    pub fn beside_remote_store(mut self, is_remote: bool) -> Self {
        self.is_store_remote = is_remote;
        self
    }

    fn hour_now(&self) -> Hour {
        hour_of(self.clock.now_micros())
    }

    fn refuse(&self) -> Error {
        Error::overloaded(
            "the disk under the write-ahead log fails, and nothing of this request is kept; Tally tries again by itself, \
             so send it again in a few seconds; everything acknowledged so far is kept",
        )
    }

    /// Runs `work` on the store; a panic in it counts as a failure of the store.
    fn with_database<T>(&self, what: &str, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let guard = self.database.read();
        let database = guard.as_ref().ok_or_else(|| self.refuse())?;
        caught(what, || work(database))
    }

    fn try_write(&self, group: &Group) -> Result<()> {
        let hour = self.hour_now();
        self.with_database("writing a group", |database| {
            let written = database.write(group, hour);
            written.map_err(|error| database::failed(&self.folder, "be written", error))
        })
    }

    /// Takes note of a failure: nothing is written any more until [`Self::heal`] has succeeded.
    fn fail(&self, error: &Error) {
        let mut health = self.health.lock();
        if health.failing.is_some() {
            return;
        }
        let now = Instant::now();
        health.failing = Some(Failing {
            since: now,
            tries: 0,
            try_at: now,
        });
        // It need not reach the disk: a power cut takes the pages in doubt with it.
        let suspect = self.folder.join(SUSPECT);
        if let Err(error) = File::create(&suspect) {
            tracing::warn!(file = %suspect.display(), %error, "no word could be left of the failure below");
        }
        self.metrics.wal_failures.add(1);
        self.metrics.wal_failing.set(1);
        tracing::error!(
            folder = %self.folder.display(), %error, cause = error as &dyn std::error::Error,
            "the write-ahead log failed; it is written anew and opened again, and takes nothing until that succeeds"
        );
    }

    /// Heals the log when it has failed and it is time to try.
    fn heal(&self, last_seq: Seq) -> Result<()> {
        let mut health = self.health.lock();
        let Some(failing) = &mut health.failing else {
            return Ok(());
        };
        if Instant::now() < failing.try_at {
            return Err(self.refuse());
        }
        // The replay of a start holds on to the store, and may wait for whoever is here.
        let Some(mut database) = self.database.try_write_for(HEAL_PATIENCE) else {
            return Err(self.refuse());
        };
        let reopened = caught("opening the write-ahead log again", || {
            // The store's threads end, and what it still holds in memory is gone with it.
            drop(database.take());
            self.reopen(last_seq)
        });
        match reopened {
            Ok(opened) => {
                *database = Some(opened);
                let after_ms = failing.since.elapsed().as_millis();
                tracing::info!(folder = %self.folder.display(), after_ms, "the write-ahead log takes events again");
                health.failing = None;
                self.metrics.wal_failing.set(0);
                self.metrics.wal_heals.add(1);
                Ok(())
            }
            Err(error) => {
                let wait_ms = (limits::WAL_HEAL_MS << failing.tries.min(16)).min(limits::WAL_HEAL_MS_MAX);
                failing.tries = failing.tries.saturating_add(1);
                failing.try_at = Instant::now() + Duration::from_millis(wait_ms);
                // Told less and less often: a disk may stay full for days.
                if failing.tries.is_power_of_two() {
                    tracing::error!(
                        folder = %self.folder.display(), %error, cause = &error as &dyn std::error::Error,
                        tries = failing.tries, wait_ms,
                        "the write-ahead log cannot be opened again yet; free space on the disk or repair it"
                    );
                }
                Err(self.refuse())
            }
        }
    }

    fn reopen(&self, last_seq: Seq) -> Result<Database> {
        let path = self.folder.join(STORE);
        self.probe()?;
        journal::rewrite(&path, Some(last_seq))?;
        database::renew_pointers(&path)?;
        let database = self.open_up_to(&path, last_seq)?;
        let _ = std::fs::remove_file(self.folder.join(SUSPECT));
        Ok(database)
    }

    /// Opens the store again, which must end with what was acknowledged last.
    fn open_up_to(&self, path: &Path, last_seq: Seq) -> Result<Database> {
        let database = Database::open(path, &self.clock)?;
        let found = database.last_seq()?;
        if found != last_seq {
            return Err(Error::storage(format!(
                "the write-ahead log in {} ends with record {found} after it was opened again, and {last_seq} was \
                 acknowledged: stop Tally and bring the folder back from a backup",
                self.folder.display()
            )));
        }
        Ok(database)
    }

    /// Whether the store should be closed and opened now.
    fn is_due(&self) -> bool {
        let wear = self
            .database
            .read()
            .as_ref()
            .map(|database| database.wear(&self.worn_at));
        let mut is_due = wear == Some(Wear::Must);
        if wear == Some(Wear::Should) {
            self.maintain("getting the log ready to be opened anew", |database| {
                is_due = database.shorten_journals()?;
                Ok(())
            });
        }
        is_due
    }

    /// Closes the store and opens it when that is due. Groups wait meanwhile; when it fails the log heals itself.
    fn renew_when_worn(&self) {
        if !self.is_due() {
            return;
        }
        let last_seq = self.last_seq.lock();
        if self.health.lock().failing.is_some() {
            return;
        }
        // Somebody who reads the log holds on to the store; there will be another time.
        let Some(mut database) = self.database.try_write_for(HEAL_PATIENCE) else {
            return;
        };
        let path = self.folder.join(STORE);
        let started = Instant::now();
        let renewed = caught("opening the write-ahead log anew", || {
            drop(database.take());
            let closed = started.elapsed();
            database::prepare(&path)?;
            let settled = started.elapsed();
            Ok((self.open_up_to(&path, *last_seq)?, closed, settled))
        });
        match renewed {
            Ok((opened, closed, settled)) => {
                *database = Some(opened);
                let (settling, opening) = (settled - closed, started.elapsed() - settled);
                if started.elapsed() > SLOW_RENEWAL {
                    tracing::warn!(closing = ?closed, ?settling, ?opening, "events waited while the write-ahead log was opened anew");
                } else {
                    tracing::debug!(closing = ?closed, ?settling, ?opening, "the write-ahead log was opened anew");
                }
            }
            Err(error) => {
                drop(database);
                self.fail(&error);
            }
        }
    }

    /// Whether the disk takes anything at all. Without it, to read the whole log again for a try would be in vain.
    fn probe(&self) -> Result<()> {
        let path = self.folder.join("wal.probe");
        let tried = File::create(&path).and_then(|mut file| {
            file.write_all(&[0xa5; PROBE_BYTES])?;
            file.sync_all()
        });
        let _ = std::fs::remove_file(&path);
        tried.map_err(|error| {
            Error::storage(format!("{} takes no file: {error}", self.folder.display())).with_source(error)
        })
    }

    /// Work that may wait: a failure of it makes the log heal, and the work is done another time.
    fn maintain(&self, what: &str, work: impl FnOnce(&Database) -> Result<()>) {
        let done = self.with_database(what, |database| {
            let fail = |error| database::failed(&self.folder, "be written", error);
            database.check().map_err(fail)?;
            work(database)
        });
        if let Err(error) = done {
            if error.kind() != ErrorKind::Overloaded {
                self.fail(&error);
            }
            // A group on its way does the same.
            if let Some(last_seq) = self.last_seq.try_lock() {
                let _ = self.heal(*last_seq);
            }
        }
    }
}

/// Runs `work`; a panic of it becomes an error.
fn caught<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::storage(format!(
            "{what} ended with a panic: {}",
            text.unwrap_or_default()
        )))
    })
}

/// Takes a data folder for this process, until the file is closed.
///
/// # Errors
/// `Fenced` when another process holds it; `Storage` when it cannot be written.
pub fn lock_folder(folder: &Path) -> Result<File> {
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

fn seq_of(key: &[u8]) -> Result<Seq> {
    let bytes = <[u8; 8]>::try_from(key).map_err(|_| {
        Error::storage(format!(
            "the write-ahead log has a record with a damaged number {key:?}"
        ))
    })?;
    Ok(Seq::from_be_bytes(bytes))
}

impl Wal for LocalWal {
    fn writer_id(&self) -> &str {
        &self.writer_id
    }

    fn contains(&self, key: &EventKey) -> Result<bool> {
        let look = || self.with_database("looking up an id", |database| database.hour(key));
        let hour = match look() {
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                self.heal(*self.last_seq.lock())?;
                look()?
            }
            found => found?,
        };
        Ok(hour.is_some_and(|hour| !is_expired(&hour, self.hour_now())))
    }

    fn write(&self, records: Vec<Vec<u8>>, keys: &[EventKey]) -> Result<Seq> {
        let mut last_seq = self.last_seq.lock();
        let first = *last_seq + 1;
        if records.is_empty() && keys.is_empty() {
            return Ok(first);
        }
        let group = Group {
            first,
            bytes: records.iter().map(|record| record.len() as u64).sum(),
            records: records.into_iter().map(Into::into).collect(),
            keys: keys.to_vec(),
        };
        self.heal(*last_seq)?;
        if let Err(error) = self.try_write(&group) {
            self.fail(&error);
            self.heal(*last_seq)?;
            // Once more, into files that have not failed: a passing fault costs the client nothing but time.
            if let Err(error) = self.try_write(&group) {
                self.fail(&error);
                return Err(self.refuse().with_source(error));
            }
        }
        *last_seq = group.last();
        Ok(first)
    }

    fn rotate(&self, bytes_min: u64) -> Result<()> {
        // Without a new segment the one in use grows on, and what it holds can still be flushed.
        self.maintain("starting a segment", |database| database.rotate(bytes_min));
        Ok(())
    }

    fn trim(&self, seq: Seq) -> Result<()> {
        self.maintain("dropping segments", |database| database.trim(seq));
        self.renew_when_worn();
        Ok(())
    }

    fn purge(&self) -> Result<()> {
        self.with_database("purging", |database| database.purge(&self.folder))
    }

    fn replay_encoded(&self, each: &mut dyn FnMut(Seq, EncodedRecord) -> Result<()>) -> Result<()> {
        let guard = self.database.read();
        let database = guard.as_ref().ok_or_else(|| self.refuse())?;
        database.replay(&mut |seq, bytes| each(seq, EncodedRecord::new(bytes.to_vec())))
    }

    fn size_bytes(&self) -> u64 {
        self.database.read().as_ref().map_or(0, Database::size_bytes)
    }

    fn leaves_late_commits(&self) -> bool {
        self.is_store_remote
    }

    fn index_bytes(&self) -> u64 {
        self.database.read().as_ref().map_or(0, Database::index_bytes)
    }
}

#[cfg(test)]
mod tests;
