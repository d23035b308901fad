//! Proof of a data file's bytes, written with the file and looked at whenever it is read.
//!
//! ```text
//! file     = rows footer
//! rows     = blocks of 64 KiB, the last one shorter; the footer's key `tally.blocks` holds the hash of each
//! footer   = everything behind the rows; its hash and its place stand in the table log
//! ```
//! The log also holds the hash of the whole file, for whoever reads all of it: the check, a backup, a copy. A query reads
//! a few columns of a large file: it verifies the footer once, and of the rows the blocks that it touches.

use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use blake3::Hash;
use datafusion::parquet::file::metadata::{KeyValue, ParquetMetaData};
use object_store::path::Path;
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of one block. A column of a row group has some tens of kilobytes.
pub const BLOCK_BYTES: u64 = 64 * 1024;
/// Bytes kept of a block's hash: enough to tell damage from chance, few enough for a footer.
const BLOCK_HASH_BYTES: usize = 8;
/// The footer's key of the blocks' hashes.
const BLOCKS_KEY: &str = "tally.blocks";
/// The log's tag of the whole file's hash.
const WHOLE_TAG: &str = "tally.blake3";
/// The log's tag of the footer: where it begins, a colon, its hash.
const FOOTER_TAG: &str = "tally.footer";

/// What the table log knows of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    /// Of all bytes.
    pub whole: Hash,
    /// Where the footer begins.
    pub footer_start: u64,
    /// Of the bytes from there to the end.
    pub footer: Hash,
}

impl Checksums {
    /// As tags of the table log. Other readers pass over them.
    pub fn to_tags(&self) -> HashMap<String, Option<String>> {
        HashMap::from([
            (WHOLE_TAG.to_owned(), Some(self.whole.to_hex().to_string())),
            (
                FOOTER_TAG.to_owned(),
                Some(format!("{}:{}", self.footer_start, self.footer.to_hex())),
            ),
        ])
    }

    /// From tags of the table log; `None` for a file that another program wrote.
    ///
    /// # Errors
    /// `Storage` when there are tags of ours that are none.
    pub fn from_tags(tags: Option<&HashMap<String, Option<String>>>) -> Result<Option<Self>> {
        let tag = |name: &str| tags.and_then(|tags| tags.get(name)).and_then(Option::as_deref);
        let (whole, footer) = match (tag(WHOLE_TAG), tag(FOOTER_TAG)) {
            (None, None) => return Ok(None),
            (whole, footer) => (whole.unwrap_or_default(), footer.unwrap_or_default()),
        };
        let unusable = || Error::storage(format!("`{whole}` and `{footer}` are no checksums of a file"));
        let (start, footer) = footer.split_once(':').ok_or_else(unusable)?;
        Ok(Some(Self {
            whole: Hash::from_hex(whole).map_err(|_| unusable())?,
            footer_start: start.parse().map_err(|_| unusable())?,
            footer: Hash::from_hex(footer).map_err(|_| unusable())?,
        }))
    }

    /// Compares a whole file with what the log says of it.
    ///
    /// # Errors
    /// `Storage` when they differ; the message names the file.
    pub fn check_whole(&self, path: &Path, hash: &Hash) -> Result<()> {
        if self.whole == *hash {
            return Ok(());
        }
        Err(damaged(path, "it has other bytes than were written"))
    }
}

/// The properties of a footer without the hashes of its file's blocks, for a file that takes over the others.
pub fn without_blocks(entries: Vec<KeyValue>) -> Vec<KeyValue> {
    entries.into_iter().filter(|entry| entry.key != BLOCKS_KEY).collect()
}

/// The error of a file whose bytes are not those that were written.
pub fn damaged(path: &Path, what: &str) -> Error {
    Error::storage(format!(
        "the file {path} is damaged: {what}. Put it back from a backup (`tally restore`); `tally check --data` lists all \
         damaged files"
    ))
}

/// Hashes a file while it is written.
#[derive(Debug, Default)]
pub struct Summer {
    whole: blake3::Hasher,
    block: blake3::Hasher,
    block_bytes: u64,
    blocks: Vec<u8>,
    /// Where the footer begins, and its hash so far.
    footer: Option<(u64, blake3::Hasher)>,
    length: u64,
}

impl Summer {
    /// The next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        self.length += bytes.len() as u64;
        if let Some((_, footer)) = &mut self.footer {
            footer.update(bytes);
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.block_bytes).unwrap_or(usize::MAX);
            let (part, after) = rest.split_at(room.min(rest.len()));
            self.block.update(part);
            self.block_bytes += part.len() as u64;
            rest = after;
            if self.block_bytes == BLOCK_BYTES {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        if self.block_bytes > 0 {
            let hash = self.block.finalize();
            self.blocks.extend(hash.as_bytes().iter().take(BLOCK_HASH_BYTES));
            self.block.reset();
            self.block_bytes = 0;
        }
    }

    /// Ends the rows: what follows is the footer. Returns what the footer has to say of the blocks.
    pub fn end_rows(&mut self) -> KeyValue {
        self.end_block();
        self.footer = Some((self.length, blake3::Hasher::new()));
        KeyValue::new(BLOCKS_KEY.to_owned(), STANDARD_NO_PAD.encode(&self.blocks))
    }

    /// The checksums of the file and its length in bytes.
    pub fn finish(&self) -> (Checksums, u64) {
        let (footer_start, footer) = match &self.footer {
            Some((start, hasher)) => (*start, hasher.finalize()),
            None => (self.length, blake3::Hasher::new().finalize()),
        };
        let checksums = Checksums {
            whole: self.whole.finalize(),
            footer_start,
            footer,
        };
        (checksums, self.length)
    }
}

/// The hashes of a file's blocks, out of its footer.
#[derive(Debug, Clone)]
pub struct Blocks {
    hashes: Vec<u8>,
    /// Where the last block ends.
    end: u64,
}

impl Blocks {
    /// The hashes in the footer of a file whose rows end at `end`; `None` when there are none or too few.
    pub fn read(metadata: &ParquetMetaData, end: u64) -> Option<Self> {
        let entries = metadata.file_metadata().key_value_metadata()?;
        let entry = entries.iter().find(|entry| entry.key == BLOCKS_KEY)?;
        let hashes = STANDARD_NO_PAD.decode(entry.value.as_deref()?).ok()?;
        let count = usize::try_from(end.div_ceil(BLOCK_BYTES)).ok()?;
        (hashes.len() == count * BLOCK_HASH_BYTES).then_some(Self { hashes, end })
    }

    /// The whole blocks around `range`.
    pub fn around(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
        let end = range
            .end
            .div_ceil(BLOCK_BYTES)
            .saturating_mul(BLOCK_BYTES)
            .min(self.end);
        start.min(range.start)..end.max(range.end)
    }

    /// The first block among `bytes`, which stand at `start` (the beginning of a block), that has another hash; `None`
    /// when all are right.
    pub fn first_damaged(&self, start: u64, bytes: &[u8]) -> Option<Range<u64>> {
        let rows = usize::try_from(self.end.saturating_sub(start)).unwrap_or(usize::MAX);
        let rows = bytes.get(..rows.min(bytes.len()))?;
        let size = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
        let first = usize::try_from(start / BLOCK_BYTES).ok()?;
        rows.chunks(size).enumerate().find_map(|(at, block)| {
            let from = (first + at) * BLOCK_HASH_BYTES;
            let expected = self.hashes.get(from..from + BLOCK_HASH_BYTES);
            let hash = blake3::hash(block);
            let found = hash.as_bytes().get(..BLOCK_HASH_BYTES);
            let begin = start + (at * size) as u64;
            (expected != found).then(|| begin..begin + block.len() as u64)
        })
    }
}
