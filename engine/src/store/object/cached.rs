//! Blocks of remote data files, kept on this machine: in memory, and on a local disk when there is a folder for it.
//!
//! A data file never changes and its name is never used again, so a block of it is right for ever: nothing is asked,
//! nothing expires. The table's log and everything else goes through untouched. Reads are cut at the borders of blocks;
//! neighbouring blocks that are missing are fetched with one request, and whoever needs a block that is on its way waits
//! for it instead of asking too. When nobody waits any more the request is given up.

mod disk;
#[cfg(test)]
mod tests;

pub use disk::DiskOptions;

use crate::limits::{CACHE_BLOCK_BYTES, CACHE_RUN_BLOCKS_MAX};
use crate::metrics::Metrics;
use crate::store::paths;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use disk::DiskTier;
use futures::future::{BoxFuture, Shared, WeakShared};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Memory of an entry beside its bytes.
const ENTRY_BYTES: u64 = 128;
/// Files whose length is remembered.
const FILES_MAX: usize = 16 * 1024;
/// Blocks on their way before those that were given up are looked for.
const IN_FLIGHT_TIDY: usize = 4 * 1024;

/// Which block of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct BlockId {
    /// Hash of the file's name.
    file: u128,
    number: u64,
}

impl BlockId {
    fn of(location: &Path, number: u64) -> Self {
        let hash = blake3::hash(location.as_ref().as_bytes());
        let mut file = [0; 16];
        file.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Self {
            file: u128::from_be_bytes(file),
            number,
        }
    }
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<BlockId, Bytes> for Bytewise {
    fn weight(&self, _: &BlockId, block: &Bytes) -> u64 {
        block.len() as u64 + ENTRY_BYTES
    }
}

/// Blocks by their numbers, or why they could not be fetched.
type Fetched = std::result::Result<Arc<Vec<(u64, Bytes)>>, Arc<Error>>;
type Fetch = Shared<BoxFuture<'static, Fetched>>;

/// A store whose data files are read through a cache. Cheap to clone.
#[derive(Clone)]
pub struct CachedStore {
    inner: Arc<dyn ObjectStore>,
    cache: Arc<BlockCache>,
}

/// The blocks.
struct BlockCache {
    blocks: Cache<BlockId, Bytes, Bytewise>,
    files: Cache<u128, ObjectMeta>,
    in_flight: Mutex<HashMap<BlockId, WeakShared<BoxFuture<'static, Fetched>>>>,
    disk: Option<DiskTier>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl CachedStore {
    /// A cache of `memory_bytes` before `inner`, and of a folder when `disk` names one.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be made.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        memory_bytes: usize,
        disk: Option<DiskOptions>,
        metrics: Arc<Metrics>,
    ) -> crate::Result<Self> {
        let disk = disk
            .map(|options| DiskTier::open(options, Arc::clone(&metrics)))
            .transpose()?;
        let items = memory_bytes / usize::try_from(CACHE_BLOCK_BYTES).unwrap_or(usize::MAX);
        let cache = BlockCache {
            blocks: Cache::with_weighter(items.max(32), memory_bytes as u64, Bytewise),
            files: Cache::new(FILES_MAX),
            in_flight: Mutex::default(),
            disk,
            metrics,
        };
        Ok(Self {
            inner,
            cache: Arc::new(cache),
        })
    }

    /// Bytes of blocks in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.cache.blocks.weight()
    }

    /// Bytes of blocks on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.cache.disk.as_ref().map_or(0, DiskTier::bytes)
    }

    /// The bytes of `ranges` of a data file.
    async fn read(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let needed: BTreeSet<u64> = ranges.iter().flat_map(numbers).collect();
        let blocks = self.blocks(location, needed).await?;
        let read: Result<Vec<Bytes>> = ranges.iter().map(|range| cut(location, range, &blocks)).collect();
        let read = read?;
        let bytes: usize = read.iter().map(Bytes::len).sum();
        self.cache.metrics.cache_read_bytes.add(bytes as u64);
        Ok(read)
    }

    /// Blocks by number: from memory, else from disk, else from the store.
    async fn blocks(&self, location: &Path, needed: BTreeSet<u64>) -> Result<BTreeMap<u64, Bytes>> {
        let cache = &self.cache;
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for number in needed {
            match cache.blocks.get(&BlockId::of(location, number)) {
                Some(block) => {
                    found.insert(number, block);
                }
                None => missing.push(number),
            }
        }
        cache.metrics.cache_hits.add(found.len() as u64);
        if missing.is_empty() {
            return Ok(found);
        }
        if let Some(disk) = &cache.disk {
            let ids: Vec<BlockId> = missing.iter().map(|number| BlockId::of(location, *number)).collect();
            for (id, block) in disk.read(ids).await {
                cache.blocks.insert(id, block.clone());
                found.insert(id.number, block);
                cache.metrics.cache_disk_hits.add(1);
            }
            missing.retain(|number| !found.contains_key(number));
        }
        cache.metrics.cache_misses.add(missing.len() as u64);
        let fetches = self.fetches(location, &missing);
        for fetched in futures::future::join_all(fetches).await {
            let blocks = fetched.map_err(|error| told(location, error))?;
            found.extend(blocks.iter().map(|(number, block)| (*number, block.clone())));
        }
        Ok(found)
    }

    /// The requests that bring `missing`: those on their way already, and new ones for the rest.
    fn fetches(&self, location: &Path, missing: &[u64]) -> Vec<Fetch> {
        let mut in_flight = self.cache.in_flight.lock();
        if in_flight.len() > IN_FLIGHT_TIDY {
            in_flight.retain(|_, fetch| fetch.upgrade().is_some());
        }
        let mut fetches: Vec<Fetch> = Vec::new();
        let mut left = Vec::new();
        for number in missing {
            let known = in_flight
                .get(&BlockId::of(location, *number))
                .and_then(WeakShared::upgrade);
            match known {
                Some(fetch) if fetches.iter().any(|other| other.ptr_eq(&fetch)) => {}
                Some(fetch) => fetches.push(fetch),
                None => left.push(*number),
            }
        }
        for run in runs(&left) {
            let fetch = fetch(self.clone(), location.clone(), run.clone()).boxed().shared();
            if let Some(weak) = fetch.downgrade() {
                in_flight.extend(run.map(|number| (BlockId::of(location, number), weak.clone())));
            }
            fetches.push(fetch);
        }
        fetches
    }

    /// Fetches neighbouring blocks with one request.
    async fn fetch_run(&self, location: &Path, run: &Range<u64>) -> Result<Vec<(u64, Bytes)>> {
        let cache = &self.cache;
        let range = run.start * CACHE_BLOCK_BYTES..run.end * CACHE_BLOCK_BYTES;
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range)));
        let found = self.inner.get_opts(location, options).await?;
        let (meta, got) = (found.meta.clone(), found.range.clone());
        let bytes = found.bytes().await?;
        if got.start != run.start * CACHE_BLOCK_BYTES || bytes.len() as u64 != got.end - got.start {
            return Err(odd(location, "the store answered with other bytes than were asked for"));
        }
        cache.metrics.cache_requests.add(1);
        cache.metrics.cache_fetched_bytes.add(bytes.len() as u64);
        let block_bytes = usize::try_from(CACHE_BLOCK_BYTES).unwrap_or(usize::MAX);
        // Copies, so that a block does not keep the whole answer in memory.
        let pieces = bytes.chunks(block_bytes).map(Bytes::copy_from_slice);
        let blocks: Vec<(u64, Bytes)> = run.clone().zip(pieces).collect();
        for (number, block) in &blocks {
            let id = BlockId::of(location, *number);
            cache.files.insert(id.file, meta.clone());
            cache.blocks.insert(id, block.clone());
            if let Some(disk) = &cache.disk {
                disk.keep(id, block.clone());
            }
        }
        Ok(blocks)
    }
}

async fn fetch(store: CachedStore, location: Path, run: Range<u64>) -> Fetched {
    let fetched = store.fetch_run(&location, &run).await;
    let mut in_flight = store.cache.in_flight.lock();
    for number in run {
        in_flight.remove(&BlockId::of(&location, number));
    }
    fetched.map(Arc::new).map_err(Arc::new)
}

/// The blocks that hold a range.
fn numbers(range: &Range<u64>) -> Range<u64> {
    if range.start >= range.end {
        return 0..0;
    }
    range.start / CACHE_BLOCK_BYTES..range.end.div_ceil(CACHE_BLOCK_BYTES)
}

/// Ascending numbers as runs. A single block between two runs is fetched with them: a request costs more than its bytes.
fn runs(numbers: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if *number <= run.end + 1 && *number + 1 - run.start <= CACHE_RUN_BLOCKS_MAX => {
                run.end = *number + 1
            }
            _ => runs.push(*number..*number + 1),
        }
    }
    runs
}

/// The bytes of a range out of blocks.
fn cut(location: &Path, range: &Range<u64>, blocks: &BTreeMap<u64, Bytes>) -> Result<Bytes> {
    let mut pieces: Vec<Bytes> = Vec::new();
    for number in numbers(range) {
        let short = || odd(location, &format!("it ends before byte {}", range.end));
        let block = blocks.get(&number).ok_or_else(short)?;
        let start = number * CACHE_BLOCK_BYTES;
        let from = usize::try_from(range.start.saturating_sub(start)).unwrap_or(usize::MAX);
        let to = usize::try_from((range.end - start).min(CACHE_BLOCK_BYTES)).unwrap_or(usize::MAX);
        if to > block.len() || from > to {
            return Err(short());
        }
        pieces.push(block.slice(from..to));
    }
    if pieces.len() == 1
        && let Some(piece) = pieces.pop()
    {
        return Ok(piece);
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    Ok(whole.freeze())
}

fn odd(location: &Path, what: &str) -> Error {
    Error::Generic {
        store: "block cache",
        source: format!("{location}: {what}").into(),
    }
}

/// An error that several readers share.
#[derive(Debug)]
struct SharedError(Arc<Error>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

fn told(location: &Path, error: Arc<Error>) -> Error {
    let is_absent = matches!(*error, Error::NotFound { .. });
    let source = Box::new(SharedError(error));
    match is_absent {
        true => Error::NotFound {
            path: location.to_string(),
            source,
        },
        false => Error::Generic {
            store: "block cache",
            source,
        },
    }
}

/// Whether a request is for some bytes of a data file and for nothing more.
fn cached_range(location: &Path, options: &GetOptions) -> Option<Range<u64>> {
    let is_plain = options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.version.is_none()
        && !options.head;
    match &options.range {
        Some(GetRange::Bounded(range)) if is_plain && range.start < range.end && paths::is_immutable(location) => {
            Some(range.clone())
        }
        _ => None,
    }
}

#[async_trait]
impl ObjectStore for CachedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(range) = cached_range(location, &options) else {
            return self.inner.get_opts(location, options).await;
        };
        let bytes = self
            .read(location, std::slice::from_ref(&range))
            .await?
            .pop()
            .unwrap_or_default();
        let file = BlockId::of(location, 0).file;
        let meta = match self.cache.files.get(&file) {
            Some(meta) => meta,
            // All blocks came from the disk, which does not know the file.
            None => {
                let head = self.inner.get_opts(location, GetOptions::new().with_head(true)).await?;
                self.cache.files.insert(file, head.meta.clone());
                head.meta
            }
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed()),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if !paths::is_immutable(location) {
            return self.inner.get_ranges(location, ranges).await;
        }
        self.read(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
