//! The tier on a local disk. Every block is a file with a checksum; the folder may be deleted at any time, and what is
//! found in it at the next start is used again.

use super::BlockId;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use xxhash_rust::xxh64::xxh64;

/// What every block's file begins with; the number is the format's version.
const MAGIC: &[u8; 8] = b"TALLYB01";
const HEADER_BYTES: usize = 16;
/// Blocks written at the same time. When more come they are not kept: reading does not wait for writing.
const WRITES_AT_ONCE: usize = 4;
/// The least room that is of any use, bytes.
const BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Where blocks are kept and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder; made when it is absent. Nothing else may be in it.
    pub folder: PathBuf,
    /// Bytes of all blocks.
    pub bytes_max: u64,
}

#[derive(Debug, Clone)]
struct BySize;

impl Weighter<BlockId, u32> for BySize {
    fn weight(&self, _: &BlockId, bytes: &u32) -> u64 {
        u64::from(*bytes)
    }
}

/// Deletes the files of blocks that make room for others.
#[derive(Debug, Clone)]
struct Evicting(Arc<Path>);

impl Lifecycle<BlockId, u32> for Evicting {
    type RequestState = Vec<BlockId>;

    fn begin_request(&self) -> Self::RequestState {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Self::RequestState, id: BlockId, _: u32) {
        evicted.push(id);
    }

    fn end_request(&self, evicted: Self::RequestState) {
        for id in evicted {
            // Gone already is as good.
            let _ = std::fs::remove_file(file_of(&self.0, id));
        }
    }
}

type Index = Cache<BlockId, u32, BySize, quick_cache::DefaultHashBuilder, Evicting>;

/// The tier.
pub(super) struct DiskTier {
    folder: Arc<Path>,
    index: Arc<Index>,
    writes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

fn file_of(folder: &Path, id: BlockId) -> PathBuf {
    let name = format!("{:032x}-{}", id.file, id.number);
    folder.join(name.get(..2).unwrap_or_default()).join(name)
}

fn id_of(name: &str) -> Option<BlockId> {
    let (file, number) = name.split_once('-')?;
    Some(BlockId {
        file: u128::from_str_radix(file, 16).ok()?,
        number: number.parse().ok()?,
    })
}

/// Of the block and of whose it is, so that a file under a wrong name is found out.
fn checksum(id: BlockId, block: &[u8]) -> u64 {
    let (high, low) = ((id.file >> 64) as u64, id.file as u64);
    xxh64(block, high ^ low.rotate_left(32) ^ id.number)
}

impl DiskTier {
    pub(super) fn open(options: DiskOptions, metrics: Arc<Metrics>) -> Result<Self> {
        let DiskOptions { folder, bytes_max } = options;
        std::fs::create_dir_all(&folder).map_err(|error| {
            let text = format!("the cache folder {} cannot be used: {error}", folder.display());
            Error::storage(text).with_source(error)
        })?;
        let folder: Arc<Path> = folder.into();
        let bytes_max = bytes_max.max(BYTES_MIN);
        let items = usize::try_from(bytes_max / crate::limits::CACHE_BLOCK_BYTES).unwrap_or(usize::MAX);
        let evicting = Evicting(Arc::clone(&folder));
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items.max(32))
            .weight_capacity(bytes_max)
            .shards(4)
            .build();
        let index = match options {
            Ok(options) => Index::with_options(options, BySize, Default::default(), evicting),
            // Both capacities are given above, which is all that the builder asks for.
            Err(_) => Index::with(items.max(32), bytes_max, BySize, Default::default(), evicting),
        };
        let tier = Self {
            folder,
            index: Arc::new(index),
            writes: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
            metrics,
        };
        tier.find();
        Ok(tier)
    }

    /// Looks for the blocks of an earlier process, in the background: a start does not wait for a cache.
    fn find(&self) {
        let (folder, index) = (Arc::clone(&self.folder), Arc::clone(&self.index));
        let look = move || {
            for shard in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                for entry in std::fs::read_dir(shard.path()).into_iter().flatten().flatten() {
                    let id = entry.file_name().to_str().and_then(id_of);
                    let bytes = entry.metadata().ok().and_then(|meta| u32::try_from(meta.len()).ok());
                    match (id, bytes) {
                        (Some(id), Some(bytes)) => index.insert(id, bytes),
                        // What was being written when the process ended.
                        _ => drop(std::fs::remove_file(entry.path())),
                    }
                }
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(look)),
            Err(_) => look(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.index.weight()
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    #[cfg(test)]
    pub(super) fn is_writing(&self) -> bool {
        self.writes.available_permits() < WRITES_AT_ONCE
    }

    /// Those of `ids` that are here and whole.
    pub(super) async fn read(&self, mut ids: Vec<BlockId>) -> Vec<(BlockId, Bytes)> {
        ids.retain(|id| self.index.get(id).is_some());
        if ids.is_empty() {
            return Vec::new();
        }
        let (folder, index, metrics) = (
            Arc::clone(&self.folder),
            Arc::clone(&self.index),
            Arc::clone(&self.metrics),
        );
        let work = move || {
            let read = |id: BlockId| match read_block(&folder, id) {
                Ok(block) => Some((id, block)),
                Err(error) => {
                    index.remove(&id);
                    if error.kind() != io::ErrorKind::NotFound {
                        metrics.cache_damaged.add(1);
                        let _ = std::fs::remove_file(file_of(&folder, id));
                        tracing::debug!(folder = %folder.display(), %error, "a kept block cannot be used");
                    }
                    None
                }
            };
            ids.into_iter().filter_map(read).collect()
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    /// Keeps a block, unless the disk is busy with others.
    pub(super) fn keep(&self, id: BlockId, block: Bytes) {
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else {
            return;
        };
        let (folder, index) = (Arc::clone(&self.folder), Arc::clone(&self.index));
        tokio::task::spawn_blocking(move || {
            match write_block(&folder, id, &block) {
                Ok(bytes) => index.insert(id, bytes),
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "a block cannot be kept"),
            }
            drop(permit);
        });
    }
}

fn read_block(folder: &Path, id: BlockId) -> io::Result<Bytes> {
    let bytes = Bytes::from(std::fs::read(file_of(folder, id))?);
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its checksum does not fit");
    let header = bytes.get(..HEADER_BYTES).ok_or_else(damaged)?;
    let block = bytes.slice(HEADER_BYTES..);
    let (magic, sum) = header.split_at(MAGIC.len());
    if magic != MAGIC || sum != checksum(id, &block).to_be_bytes() {
        return Err(damaged());
    }
    Ok(block)
}

/// Not synced: a block that a power cut damages fails its checksum and is fetched again.
fn write_block(folder: &Path, id: BlockId, block: &[u8]) -> io::Result<u32> {
    let target = file_of(folder, id);
    if let Some(shard) = target.parent() {
        std::fs::create_dir_all(shard)?;
    }
    let mut whole = Vec::with_capacity(HEADER_BYTES + block.len());
    whole.extend_from_slice(MAGIC);
    whole.extend_from_slice(&checksum(id, block).to_be_bytes());
    whole.extend_from_slice(block);
    let staged = target.with_extension("new");
    std::fs::write(&staged, &whole)?;
    std::fs::rename(&staged, &target)?;
    Ok(u32::try_from(whole.len()).unwrap_or(u32::MAX))
}
