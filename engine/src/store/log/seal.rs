//! Seals of the table log's own files: a changed byte in an entry, a checkpoint or the pointer to it is found whenever it
//! is read.
//!
//! | File | Its seal |
//! |---|---|
//! | `<version>.json` | in its `commitInfo`: the hash of the entry, and the hash of the entry before it |
//! | `<version>.checkpoint.parquet` | in `<version>.checkpoint.parquet.blake3` beside it, written first |
//! | `_last_checkpoint` | in itself |
//!
//! Other programs pass over all of these. An entry of another program has no seal of its own; the next one of ours names
//! its hash.

use crate::error::{Error, Result};
use blake3::Hash;
use object_store::path::Path;

/// Ending of the file with a checkpoint's hash.
pub const SIDECAR_SUFFIX: &str = ".blake3";
/// Says in an entry that Tally wrote it, so that an entry whose seal is unreadable is not taken for another program's.
pub const MARK: &str = "tallyCommit";
/// The same in the pointer to the last checkpoint.
const POINTER_MARK: &str = r#","tally":1"#;
const SEAL: &str = r#","tallySeal":""#;
const PREVIOUS: &str = r#","tallyPrevious":""#;
/// Characters of a hash.
const HEX: usize = 64;

/// A file of a table's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFile {
    /// What one commit did.
    Entry(u64),
    /// The table at a version.
    Checkpoint(u64),
    /// A checkpoint's hash.
    Sidecar(u64),
    /// Which checkpoint is the last.
    Pointer,
}

impl LogFile {
    /// What the file at `path` is; `None` when it is no file of a log.
    pub fn of(path: &Path) -> Option<Self> {
        let mut parts = path.parts();
        let name = parts.next_back()?;
        if parts.next_back()?.as_ref() != "_delta_log" {
            return None;
        }
        let name = name.as_ref();
        if name == "_last_checkpoint" {
            return Some(Self::Pointer);
        }
        let (version, rest) = name.split_once('.')?;
        let version = (version.len() == 20).then(|| version.parse().ok()).flatten()?;
        match rest {
            "json" => Some(Self::Entry(version)),
            "checkpoint.parquet" => Some(Self::Checkpoint(version)),
            "checkpoint.parquet.blake3" => Some(Self::Sidecar(version)),
            _ => None,
        }
    }
}

/// What a seal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// The bytes are those that were written. An entry names the hash of the one before it.
    Right {
        /// Hash of the entry before, when there was one.
        previous: Option<Hash>,
    },
    /// Another program wrote the file.
    Absent,
}

/// Where a checkpoint's hash stands.
pub fn sidecar(checkpoint: &Path) -> Path {
    Path::from(format!("{checkpoint}{SIDECAR_SUFFIX}"))
}

/// An entry with its seal. `previous` is the hash of the whole entry before it.
pub fn seal_entry(entry: &[u8], previous: Option<Hash>) -> Vec<u8> {
    let is_info = |line: &&[u8]| line.starts_with(br#"{"commitInfo":{"#) && line.ends_with(b"}}");
    let mut start = 0;
    for line in entry.split(|byte| *byte == b'\n') {
        if is_info(&line) {
            let chained = match previous {
                Some(hash) => inserted(entry, start + line.len() - 2, &format!("{PREVIOUS}{}\"", hash.to_hex())),
                None => entry.to_vec(),
            };
            let end = start + line.len() - 2 + (chained.len() - entry.len());
            let hash = blake3::hash(&chained);
            return inserted(&chained, end, &format!("{SEAL}{}\"", hash.to_hex()));
        }
        start += line.len() + 1;
    }
    entry.to_vec()
}

/// The pointer to the last checkpoint with its seal.
pub fn seal_pointer(pointer: &[u8]) -> Vec<u8> {
    let Some(end) = pointer.iter().rposition(|byte| *byte == b'}').filter(|end| *end > 1) else {
        return pointer.to_vec();
    };
    let marked = inserted(pointer, end, POINTER_MARK);
    let hash = blake3::hash(&marked);
    inserted(&marked, end + POINTER_MARK.len(), &format!("{SEAL}{}\"", hash.to_hex()))
}

/// Reads the seal of an entry or of the pointer.
///
/// # Errors
/// `Storage` when the bytes are not those that were sealed; the message names the file.
pub fn check(path: &Path, bytes: &[u8]) -> Result<Seal> {
    let Some((at, hash)) = last_hash(bytes, SEAL) else {
        let marks = [format!("\"{MARK}\""), POINTER_MARK.to_owned()];
        if marks.iter().any(|mark| find(bytes, mark.as_bytes()).is_some()) {
            return Err(damaged(path, "its seal cannot be read"));
        }
        return Ok(Seal::Absent);
    };
    let mut unsealed = bytes.to_vec();
    unsealed.drain(at..at + SEAL.len() + HEX + 1);
    if hash != Some(blake3::hash(&unsealed)) {
        return Err(damaged(path, "it has other bytes than were written"));
    }
    let previous = last_hash(bytes, PREVIOUS).and_then(|(_, hash)| hash);
    Ok(Seal::Right { previous })
}

/// Compares a checkpoint's hash with the content of its sidecar.
///
/// # Errors
/// `Storage` when they differ; the message names both files.
pub fn check_checkpoint(path: &Path, hash: &Hash, sidecar_text: &[u8]) -> Result<()> {
    if sidecar_text == hash.to_hex().as_bytes() {
        return Ok(());
    }
    Err(Error::storage(format!(
        "the checkpoint {path} of a table's log is damaged, or {} is: their hashes differ. Delete both and the file \
         `_last_checkpoint` beside them while the entries before it are there, else put them back from a backup (`tally \
         restore`)",
        sidecar(path)
    )))
}

/// The error of a file of the log whose bytes are not those that were written.
pub fn damaged(path: &Path, what: &str) -> Error {
    Error::storage(format!(
        "the file {path} of a table's log is damaged: {what}. Put it back from a backup (`tally restore`)"
    ))
}

fn inserted(bytes: &[u8], at: usize, text: &str) -> Vec<u8> {
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    [before, text.as_bytes(), after].concat()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    match (std::str::from_utf8(bytes), std::str::from_utf8(wanted)) {
        (Ok(text), Ok(wanted)) => text.rfind(wanted),
        // Damaged, or another program's: slower.
        _ => bytes.windows(wanted.len()).rposition(|window| window == wanted),
    }
}

/// Where the last `key` stands, and the hash behind it if there is one.
fn last_hash(bytes: &[u8], key: &str) -> Option<(usize, Option<Hash>)> {
    let at = find(bytes, key.as_bytes())?;
    let from = at + key.len();
    let text = bytes.get(from..from + HEX)?;
    let is_closed = bytes.get(from + HEX) == Some(&b'"');
    // A changed letter's case would be the same hash and another byte.
    let is_ours = is_closed && !text.iter().any(u8::is_ascii_uppercase);
    let hash = Hash::from_hex(text).ok().filter(|_| is_ours);
    is_closed.then_some((at, hash))
}
