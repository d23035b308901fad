//! What the store would skip is taken out of its journals before it reads them.
//!
//! A journal is deleted as a whole, and goes on over restarts until it has 64 MB; so at a start most of it is of dropped
//! segments, or ids that are in files long since. The store knows that and skips such an item, but only after two system
//! calls and a look-up of its keyspace's name, 2 µs an item; to read it here takes 0.1.
//!
//! The rule is the store's own (fjall 3.1, `recovery.rs`): an item is left out when its keyspace is gone, or when a file of
//! its keyspace has its number or a later one.

use super::super::database::{KEYSPACES, POINTER};
use super::{BUFFER_BYTES, END, Item, START, TRAILER, cannot, next, replace};
use crate::error::Result;
use lsm_tree::{AbstractTree, AnyTree, SeqNo, SequenceNumberCounter};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The keyspace in which the store keeps the names of the others.
const OWN: &str = "0";
/// To write so many bytes takes as long as the store takes to skip an item: 2 µs.
const ITEM_WEIGHT: u64 = 512;
/// To write one byte takes as long as the store takes to read so many that it skips, beside what each item takes.
const BYTES_READ: u64 = 4;
/// In bytes written: what the store skips sooner than a new file is synced is left alone.
const WEIGHT_MIN: u64 = 1024 * 1024;

/// Up to which batch the keyspaces of a store are in files.
#[derive(Debug, Default)]
pub(in super::super) struct Persisted {
    /// By keyspace; `None` where no file is. What is not listed is gone. Without a map nothing is known.
    keyspaces: Option<HashMap<u64, Option<u64>>>,
    weight_min: u64,
}

impl Persisted {
    /// Looks into the files of the store in `folder`, which must be closed. Deletes what an interrupted change of a
    /// keyspace left, as the store does when it opens it, so the names in its folders must be durable before.
    ///
    /// Of what cannot be read nothing is known, and its items stay: the store says what is wrong with it.
    ///
    /// # Errors
    /// `Storage` when the folders cannot be listed.
    pub(in super::super) fn look(folder: &Path) -> Result<Self> {
        let path = folder.join(KEYSPACES);
        let at = |error| cannot("list", &path, error);
        let names = tree(&path.join(OWN));
        let mut keyspaces = HashMap::new();
        for entry in std::fs::read_dir(&path).map_err(at)? {
            let keyspace = entry.map_err(at)?.path();
            let name = keyspace.file_name().and_then(|name| name.to_str());
            let Some(number) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A keyspace without a name was being dropped, and of its files any may be gone.
            let is_named = names.as_ref().is_some_and(|names| has_name(names, number));
            let opened = if is_named { tree(&keyspace) } else { None };
            keyspaces.insert(number, opened.and_then(|tree| tree.get_highest_persisted_seqno()));
        }
        Ok(Self {
            keyspaces: Some(keyspaces),
            weight_min: WEIGHT_MIN,
        })
    }

    /// Whether the store skips an item of batch `number`.
    fn is_skipped(&self, number: u64, item: &Item<'_>) -> bool {
        let Some(keyspaces) = &self.keyspaces else {
            return false;
        };
        match keyspaces.get(&item.keyspace) {
            None => true,
            Some(persisted) => persisted.is_some_and(|persisted| number <= persisted),
        }
    }

    #[cfg(test)]
    pub(super) fn new(keyspaces: &[(u64, Option<u64>)]) -> Self {
        Self {
            keyspaces: Some(keyspaces.iter().copied().collect()),
            weight_min: WEIGHT_MIN,
        }
    }

    /// The same, for which nothing is too little.
    #[cfg(test)]
    pub(in super::super) fn eager(mut self) -> Self {
        self.weight_min = 1;
        self
    }
}

/// The tree of a keyspace, unless it cannot be read.
fn tree(keyspace: &Path) -> Option<AnyTree> {
    // One that is not there would be made.
    if !matches!(keyspace.join(POINTER).try_exists(), Ok(true)) {
        return None;
    }
    let counter = SequenceNumberCounter::default;
    let opened = lsm_tree::Config::new(keyspace, counter(), counter()).open();
    let told = |error: &lsm_tree::Error| tracing::debug!(keyspace = %keyspace.display(), %error, "cannot be read");
    opened.inspect_err(told).ok()
}

/// Whether the store knows a keyspace by name (fjall 3.1, `meta_keyspace.rs`).
fn has_name(names: &AnyTree, keyspace: u64) -> bool {
    let mut key = vec![b'n'];
    key.extend(keyspace.to_be_bytes());
    matches!(names.get(key, SeqNo::MAX), Ok(Some(_)))
}

/// How much of a journal the store would skip.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    items: u64,
    bytes: u64,
    is_forbidden: bool,
}

impl Skipped {
    pub(super) fn look(&mut self, persisted: &Persisted, number: u64, item: &Item<'_>) {
        if persisted.is_skipped(number, item) {
            self.items += 1;
            self.bytes += item.bytes.len() as u64;
        }
    }

    /// There is something in the journal that is not understood well enough to leave anything out.
    pub(super) fn forbid(&mut self) {
        self.is_forbidden = true;
    }

    /// Whether it pays to write a journal of `bytes` anew without.
    pub(super) fn is_much_of(&self, bytes: u64, persisted: &Persisted) -> bool {
        let weight = self.items * ITEM_WEIGHT + self.bytes / BYTES_READ;
        let is_any = self.items > 0 && !self.is_forbidden;
        is_any && weight >= persisted.weight_min.max(bytes.saturating_sub(self.bytes))
    }
}

/// Writes a journal anew without what the store would skip, and puts it in the place of the old one; whether it did. The
/// caller makes its name durable. Everything would work without, so a failure leaves the old one and is no error: a disk
/// that is full or fails shows itself soon enough, to those who know what to do.
pub(super) fn thin(path: &Path, end: u64, persisted: &Persisted) -> bool {
    let replaced = replace(path, |fresh| write(path, fresh, end, persisted));
    if let Err(error) = &replaced {
        tracing::warn!(
            journal = %path.display(), %error,
            "what is not needed any more could not be taken out of the write-ahead log; opening it takes longer"
        );
    }
    replaced.is_ok()
}

fn write(path: &Path, fresh: &mut File, end: u64, persisted: &Persisted) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?.take(end));
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, fresh);
    let mut left = end;
    let mut body = Vec::new();
    while left > 0 {
        let mut count = 0_u32;
        body.clear();
        let batch = next(&mut reader, left, |number, item| {
            if !persisted.is_skipped(number, &item) {
                count += 1;
                body.extend(item.bytes);
            }
        })?;
        // It was read a moment ago.
        let batch = batch.ok_or(ErrorKind::InvalidData)?;
        left -= batch.bytes;
        if count > 0 {
            writer.write_all(&[START])?;
            writer.write_all(&count.to_le_bytes())?;
            writer.write_all(&batch.number.to_le_bytes())?;
            writer.write_all(&body)?;
            writer.write_all(&[END])?;
            writer.write_all(&xxh3_64(&body).to_le_bytes())?;
            writer.write_all(TRAILER)?;
        }
    }
    writer.flush()
}
