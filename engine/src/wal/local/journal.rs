//! The journals of the embedded store, read before the store reads them.
//!
//! The store appends a batch to its journal and syncs it before the next one begins. So a power cut tears at most one
//! batch, the last, which nobody was told of. The store takes most torn ends for what they are; but it refuses to open
//! when a batch's end has arrived and its middle has not, and it silently forgets everything that follows a damaged byte.
//! Both are decided here: a torn end is cut off, damage in front of a whole batch is an error that names the place.
//!
//! And the store takes long over what it then skips: [`thin`] takes that out.
//!
//! ```text
//! batch = start { item | clear } end
//! start = 1 count(u32) number(u64)
//! item  = 2 kind(u8) compression(u8) keyspace(u64) key_length(u16) length(u32) stored_length(u32) key stored_value
//! clear = 4 keyspace(u64)
//! end   = 3 checksum(u64) "FJL\x03"
//! ```
//! Numbers are little-endian; the checksum is xxh3 of the items' and clears' bytes.

mod thin;

use super::LAST_SEQ_KEY;
use crate::error::{Error, Result};
use crate::wal::Seq;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
pub(super) use thin::Persisted;
use thin::Skipped;
use xxhash_rust::xxh3::Xxh3;

const EXTENSION: &str = "jnl";
/// Of a journal that is being written anew.
const FRESH: &str = "new";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";
/// Bytes of a start, behind which an item or a clear must follow.
const START_BYTES: usize = 13;
/// Bytes of an item in front of its key.
const ITEM_BYTES: usize = 21;
/// A multiple of the pages that kernels write.
const PAGE_BYTES: u64 = 64 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;
static ZEROS: [u8; BUFFER_BYTES] = [0; BUFFER_BYTES];

/// What a journal holds.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    /// Where its last whole batch ends.
    end: u64,
    /// Whether anything but zeros follows: the store makes the file larger than it needs.
    is_torn: bool,
    /// What of it the store would read and leave.
    skipped: Skipped,
}

/// One whole batch.
struct Batch {
    bytes: u64,
    number: u64,
    /// The last record number given out, which every group of the log writes.
    last_seq: Option<Seq>,
    /// Whether it clears a keyspace, which the log never asks for.
    has_clear: bool,
}

/// One item of a batch.
struct Item<'a> {
    keyspace: u64,
    /// The whole of it, as it stands in the journal.
    bytes: &'a [u8],
}

/// Cuts the torn ends off the journals in `folder`, and takes out what the store would skip where there is much of it.
///
/// # Errors
/// `Storage` when a journal cannot be read or cut, or is damaged in front of a whole batch.
pub(super) fn settle(folder: &Path, persisted: &Persisted) -> Result<()> {
    forget_fresh(folder)?;
    let mut is_any_thinned = false;
    for path in journals(folder)? {
        let content = read(&path, None, persisted)?;
        if content.is_torn {
            tracing::warn!(
                journal = %path.display(), at = content.end,
                "cut off a group that a crash left half written; nobody was told that it is stored"
            );
            cut(&path, content.end).map_err(|error| cannot("cut", &path, error))?;
        }
        is_any_thinned |=
            content.skipped.is_much_of(content.end, persisted) && thin::thin(&path, content.end, persisted);
    }
    if is_any_thinned {
        // The store appends to the new file: were its name lost, what is acknowledged from now on would be as well.
        sync_folder(folder).map_err(|error| cannot("sync", folder, error))?;
    }
    Ok(())
}

/// Writes every journal in `folder` into a new file, up to the last batch that was acknowledged. For after a failed
/// write: what the old file's pages hold beyond that, and whether they will ever be on disk, cannot be known.
///
/// # Errors
/// `Storage` when a journal cannot be read or written, or is damaged in front of a whole batch.
pub(super) fn rewrite(folder: &Path, acknowledged: Option<Seq>) -> Result<()> {
    forget_fresh(folder)?;
    for path in journals(folder)? {
        let content = read(&path, acknowledged, &Persisted::default())?;
        let copy_whole = |copy: &mut File| match io::copy(&mut File::open(&path)?.take(content.end), copy)? {
            copied if copied == content.end => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        };
        let replaced = match replace(&path, copy_whole) {
            // There is no room for a copy, and healing must not wait for room that only it can make.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                cut_in_place(&path, content.end)
            }
            replaced => replaced,
        };
        replaced.map_err(|error| cannot("write anew", &path, error))?;
    }
    sync_folder(folder).map_err(|error| cannot("sync", folder, error))
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    Error::storage(format!("cannot {what} {}: {error}", path.display())).with_source(error)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The journals in `folder`, oldest first.
///
/// # Errors
/// `Storage` when the folder cannot be listed.
pub(super) fn journals(folder: &Path) -> Result<Vec<PathBuf>> {
    list(folder, EXTENSION)
}

fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let at = |error| cannot("list", folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Deletes what a process that was killed meanwhile left of journals written anew. It may hold what is erased later.
fn forget_fresh(folder: &Path) -> Result<()> {
    for path in list(folder, FRESH)? {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "a copy that nobody needs could not be deleted");
        }
    }
    Ok(())
}

/// Bytes of the journals in `folder` that were written: the store makes each of them larger than it needs at first.
///
/// # Errors
/// `Storage` when one cannot be looked at.
pub(super) fn written_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in journals(folder)? {
        match std::fs::metadata(&path) {
            Ok(metadata) => bytes += taken_bytes(&metadata),
            // The store has deleted it in between.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("look at", &path, error)),
        }
    }
    Ok(bytes)
}

#[cfg(unix)]
fn taken_bytes(metadata: &std::fs::Metadata) -> u64 {
    // In blocks of 512 bytes whatever the file system's are.
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn taken_bytes(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}

fn cut(path: &Path, end: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(end)?;
    file.sync_all()
}

/// Cuts a journal that may have pages in doubt. Up to `end` everything was synced before, so these pages lie behind it, and
/// go with the cut, or hold `end`: that one is written again.
fn cut_in_place(path: &Path, end: u64) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let start = end - end % PAGE_BYTES;
    let mut page = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    Read::by_ref(&mut file).take(end - start).read_to_end(&mut page)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&page)?;
    file.sync_all()
}

/// Puts what `write` writes into the place of a journal; whoever calls makes its name durable.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let fresh = path.with_extension(FRESH);
    let written = (|| {
        let mut copy = File::create(&fresh)?;
        write(&mut copy)?;
        copy.sync_all()?;
        std::fs::rename(&fresh, path)
    })();
    if written.is_err() {
        // It may have taken the disk's last bytes.
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// Reads a journal up to the first batch that is not whole, or that holds records beyond `acknowledged`.
fn read(path: &Path, acknowledged: Option<Seq>, persisted: &Persisted) -> Result<Content> {
    let at = |error| cannot("read", path, error);
    let mut file = File::open(path).map_err(at)?;
    let length = file.metadata().map_err(at)?.len();
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, &file);
    let (mut end, mut number) = (0, 0);
    let mut is_acknowledged = true;
    let mut skipped = Skipped::default();
    while let Some(batch) = next(&mut reader, length - end, |number, item| {
        skipped.look(persisted, number, &item)
    })
    .map_err(at)?
    {
        let is_beyond = acknowledged.is_some_and(|last| batch.last_seq.is_some_and(|seq| seq > last));
        if is_beyond {
            is_acknowledged = false;
            break;
        }
        if batch.has_clear {
            skipped.forbid();
        }
        end += batch.bytes;
        number = batch.number;
    }
    drop(reader);
    if !is_acknowledged {
        let is_torn = true;
        return Ok(Content { end, is_torn, skipped });
    }
    let rest = rest(&mut file, end).map_err(at)?;
    match find(&rest, number) {
        None => Ok(Content {
            end,
            is_torn: !rest.is_empty(),
            skipped,
        }),
        Some(later) => Err(Error::storage(format!(
            "{} is damaged at byte {end}: whole groups follow at byte {}, so this is no crash but a failing disk or a \
             change from outside; bring the folder back from a backup, or cut the file to {end} bytes and lose what follows",
            path.display(),
            end + later as u64
        ))),
    }
}

/// What stands behind `end`, without the zeros at the end of it.
fn rest(file: &mut File, end: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(end))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut rest = Vec::new();
    let mut zeros = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(rest);
        };
        // Zeros are only counted until something else follows: the file is made with 64 MiB of them.
        if ZEROS.starts_with(chunk) {
            zeros += read;
            continue;
        }
        match chunk.iter().rposition(|byte| *byte != 0) {
            None => zeros += read,
            Some(last) => {
                rest.resize(rest.len() + zeros, 0);
                rest.extend(chunk.iter().take(last + 1));
                zeros = read - last - 1;
            }
        }
    }
}

/// Where a whole batch with a number above `number` stands in `bytes`.
fn find(bytes: &[u8], number: u64) -> Option<usize> {
    (0..bytes.len()).find(|at| {
        let candidate = bytes.get(*at..).unwrap_or_default();
        let is_start = candidate.first() == Some(&START);
        let is_followed = matches!(candidate.get(START_BYTES), Some(&(ITEM | CLEAR)));
        let whole = || next(&mut &*candidate, candidate.len() as u64, |_, _| {}).ok().flatten();
        is_start && is_followed && whole().is_some_and(|batch| batch.number > number)
    })
}

/// The batch that begins here, unless it is not whole. `left` are the bytes to the end. `each` is shown the batch's number and
/// its items as they are read: before it is known whether the batch is whole.
fn next(input: &mut impl Read, left: u64, each: impl FnMut(u64, Item<'_>)) -> io::Result<Option<Batch>> {
    let mut input = Input {
        from: input,
        left,
        read: 0,
        hasher: Xxh3::new(),
        buffer: Vec::new(),
    };
    match input.batch(each) {
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(None),
        batch => batch.map(Some),
    }
}

struct Input<'a, R> {
    from: &'a mut R,
    left: u64,
    read: u64,
    hasher: Xxh3,
    /// The item that was read last.
    buffer: Vec<u8>,
}

impl<R: Read> Input<'_, R> {
    fn batch(&mut self, mut each: impl FnMut(u64, Item<'_>)) -> io::Result<Batch> {
        let no_batch = || io::Error::from(ErrorKind::InvalidData);
        if self.array()? != [START] {
            return Err(no_batch());
        }
        let count = u32::from_le_bytes(self.array()?);
        let number = u64::from_le_bytes(self.array()?);
        self.hasher.reset();
        let mut last_seq = None;
        let mut has_clear = false;
        for _ in 0..count {
            match self.array()? {
                [ITEM] => {
                    let (keyspace, seq) = self.item()?;
                    let bytes = &self.buffer;
                    each(number, Item { keyspace, bytes });
                    last_seq = seq.or(last_seq);
                }
                [CLEAR] => {
                    self.array::<8>()?;
                    has_clear = true;
                }
                _ => return Err(no_batch()),
            }
        }
        let checksum = self.hasher.digest();
        let is_end = self.array()? == [END] && u64::from_le_bytes(self.array()?) == checksum;
        if !is_end || self.array::<4>()? != *TRAILER {
            return Err(no_batch());
        }
        Ok(Batch {
            bytes: self.read,
            number,
            last_seq,
            has_clear,
        })
    }

    /// The keyspace of an item, and its value when it is the last record number. The item is in the buffer then.
    fn item(&mut self) -> io::Result<(u64, Option<Seq>)> {
        let header = self.array::<{ ITEM_BYTES - 1 }>()?;
        // Kind, compression and the length before compression are of no interest here.
        let [
            _,
            _,
            k0,
            k1,
            k2,
            k3,
            k4,
            k5,
            k6,
            k7,
            key0,
            key1,
            _,
            _,
            _,
            _,
            stored @ ..,
        ] = header;
        let keyspace = u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]);
        let key_length = usize::from(u16::from_le_bytes([key0, key1]));
        let stored_length = u64::from(u32::from_le_bytes(stored));
        self.buffer.clear();
        self.buffer.push(ITEM);
        self.buffer.extend(header);
        self.bytes(key_length as u64 + stored_length)?;
        let content = self.buffer.get(ITEM_BYTES..).unwrap_or_default();
        let (key, value) = content.split_at_checked(key_length).unwrap_or_default();
        let is_last_seq = key == LAST_SEQ_KEY.as_bytes();
        let seq = <[u8; 8]>::try_from(value).ok().map(Seq::from_be_bytes);
        Ok((keyspace, seq.filter(|_| is_last_seq)))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.read += N as u64;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// The next bytes, behind what is in the buffer.
    fn bytes(&mut self, length: u64) -> io::Result<()> {
        // A damaged length must not ask for more memory than the file has bytes.
        if length > self.left.saturating_sub(self.read) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(length).map_err(|_| ErrorKind::InvalidData)?;
        let start = self.buffer.len();
        self.buffer.resize(start + length, 0);
        let fresh = self.buffer.get_mut(start..).unwrap_or_default();
        self.from.read_exact(fresh)?;
        self.read += length as u64;
        self.hasher.update(fresh);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
