//! Making the bytes of dropped records leave the disk.
//!
//! A dropped segment's records stay in the store's journals until these are full, because a journal is deleted as a whole
//! and only when everything in it is in files of its keyspaces. So the journal in use is filled up with noise, which makes
//! the store begin another, and every keyspace is written to its files.

use super::database::{failed, segment_options};
use super::{STORE, journal};
use crate::error::{Error, Result};
use fjall::{Database, Keyspace, PersistMode};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Keyspace of the noise; it is dropped again.
const NOISE: &str = "purge";
/// Bytes of one piece of noise.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces that are written before they go to a file: what is in memory at once.
const PIECES_AT_ONCE: u64 = 8;
/// Rounds after which something must be wrong: the store changes its journal after 64 MB.
const ROUNDS_MAX: u64 = 24;
/// Time for a keyspace to be written to a file.
const FILE_WAIT: Duration = Duration::from_secs(60);
/// Time for the store to delete journals that hold nothing any more.
const JOURNAL_WAIT: Duration = Duration::from_secs(2);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Drops what an unfinished purge left.
pub(super) fn forget(db: &Database, folder: &Path) -> Result<()> {
    let fail = |error| failed(folder, "drop what an unfinished purge left", error);
    if db.keyspace_exists(NOISE) {
        let noise = db.keyspace(NOISE, segment_options).map_err(fail)?;
        db.delete_keyspace(noise).map_err(fail)?;
    }
    Ok(())
}

/// Deletes the journals there are now. `keyspaces` are all that are in use.
///
/// # Errors
/// `Storage` when the store fails, or keeps a journal.
pub(super) fn purge(db: &Database, folder: &Path, keyspaces: &[Keyspace]) -> Result<()> {
    let fail = |error| failed(folder, "be purged", error);
    let before = journals(folder)?;
    let noise = db.keyspace(NOISE, segment_options).map_err(fail)?;
    let filled = fill(db, folder, &noise, keyspaces, &before);
    db.delete_keyspace(noise).map_err(fail)?;
    filled
}

fn fill(
    db: &Database,
    folder: &Path,
    noise: &Keyspace,
    keyspaces: &[Keyspace],
    before: &HashSet<PathBuf>,
) -> Result<()> {
    let fail = |error| failed(folder, "be purged", error);
    // Noise does not compress, so that it takes the room it is meant to. Pieces are compressed one by one, if at all.
    let mut bytes = vec![0; PIECE_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    for round in 0..ROUNDS_MAX {
        for piece in 0..PIECES_AT_ONCE {
            let number = round * PIECES_AT_ONCE + piece;
            // Synced by itself: a journal has one batch at the most that a power cut can tear.
            let mut batch = db.batch().durability(Some(PersistMode::SyncData));
            batch.insert(noise, number.to_be_bytes(), bytes.as_slice());
            batch.commit().map_err(fail)?;
        }
        to_file(noise, folder)?;
        if journals(folder)?.is_subset(before) {
            // The store has not begun another journal yet.
            continue;
        }
        for keyspace in keyspaces {
            to_file(keyspace, folder)?;
        }
        // The store deletes them a moment later.
        let is_done = || Ok(journals(folder)?.is_disjoint(before));
        if until(JOURNAL_WAIT, is_done)? {
            db.persist(PersistMode::SyncAll).map_err(fail)?;
            return Ok(());
        }
    }
    Err(Error::storage(format!(
        "the write-ahead log in {} keeps a journal that holds nothing any more: restart Tally and purge again",
        folder.display()
    )))
}

/// Writes what a keyspace has in memory to a file.
fn to_file(keyspace: &Keyspace, folder: &Path) -> Result<()> {
    let is_rotated = keyspace.rotate_memtable();
    is_rotated.map_err(|error| failed(folder, "be purged", error))?;
    match until(FILE_WAIT, || Ok(keyspace.sealed_memtable_count() == 0))? {
        true => Ok(()),
        false => Err(Error::storage(format!(
            "the write-ahead log in {} does not get what it holds in memory into a file: look for a full disk",
            folder.display()
        ))),
    }
}

/// Whether `condition` came true within `limit`.
fn until(limit: Duration, condition: impl Fn() -> Result<bool>) -> Result<bool> {
    let started = Instant::now();
    while !condition()? {
        if started.elapsed() > limit {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

fn journals(folder: &Path) -> Result<HashSet<PathBuf>> {
    Ok(journal::journals(&folder.join(STORE))?.into_iter().collect())
}
