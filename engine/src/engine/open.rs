//! The opening of an engine: whose turn it is to write, and where the write-ahead log is.

use super::EngineOptions;
use crate::blocking::blocking;
use crate::budget::Budget;
use crate::error::Result;
use crate::health::Health;
use crate::ingest::admission::Admission;
use crate::ingest::buffer::Projects;
use crate::ingest::compactor::CompactionBudget;
use crate::ingest::flusher::Which;
use crate::ingest::life::Life;
use crate::ingest::replay::replay;
use crate::ingest::{FlushPolicy, Shared, SmallFlushes};
use crate::metrics::Metrics;
use crate::store::fence::{Predecessor, WalPlace};
use crate::store::{Fence, object, wal};
use crate::wal::local::lock_folder;
use crate::wal::none::NoWal;
use crate::wal::{LocalWal, Wal};
use object_store::ObjectStore;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use tokio::sync::Notify;

/// What a process does with its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Writes, with the write-ahead log in the data folder.
    LocalWal,
    /// Writes, with the write-ahead log in the store: the data folder holds nothing that could be lost.
    StoreWal {
        /// Least time between two groups, in milliseconds: each is one request to the store.
        group_interval_ms: u64,
    },
    /// Only reads what a writer has committed. Writes nothing, neither to the store nor to the data folder.
    ReadOnly {
        /// Time between two looks for new commits, in milliseconds: each asks for two objects of every project in use.
        poll_interval_ms: u64,
    },
}

/// What the whole engine shares.
pub(super) struct Parts<'a> {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) budget: &'a Budget,
}

/// The parts of ingest around the log of `mode`, with everything replayed that earlier writers left.
pub(super) async fn open(options: &EngineOptions, parts: &Parts<'_>) -> Result<Arc<Shared>> {
    let store = &parts.store;
    match options.mode {
        Mode::ReadOnly { .. } => Ok(shared(options, parts, Arc::new(NoWal), None)),
        Mode::LocalWal => {
            // The folder first: whoever may not have it must not take the store from its owner either.
            let wal = open_local(options, parts).await?;
            let fence = take(options, store, WalPlace::Local).await?;
            if wal::holds_groups(store).await? {
                let left = wal::ObjectWal::open(store_wal(options, store, &fence, 0, None)).await?;
                drain(options, parts, Arc::new(left), &fence).await?;
            }
            let shared = shared(options, parts, Arc::new(wal), Some(fence));
            replay(&shared).await?;
            Ok(shared)
        }
        Mode::StoreWal { group_interval_ms } => {
            let fence = if options.data_dir.join("wal").exists() {
                let left = open_local(options, parts).await?;
                let fence = take(options, store, WalPlace::Store).await?;
                drain(options, parts, Arc::new(left), &fence).await?;
                fence
            } else {
                // Whoever may not have the folder must not take the store from its owner either.
                drop(lock(options)?);
                take(options, store, WalPlace::Store).await?
            };
            open_store(options, parts, fence, group_interval_ms).await
        }
    }
}

async fn open_store(
    options: &EngineOptions,
    parts: &Parts<'_>,
    fence: Arc<Fence>,
    group_interval_ms: u64,
) -> Result<Arc<Shared>> {
    let lock = lock(options)?;
    let wal = wal::ObjectWal::open(store_wal(options, &parts.store, &fence, group_interval_ms, Some(lock))).await?;
    let shared = shared(options, parts, Arc::new(wal), Some(fence));
    replay(&shared).await?;
    Ok(shared)
}

fn store_wal(
    options: &EngineOptions,
    store: &Arc<dyn ObjectStore>,
    fence: &Arc<Fence>,
    group_interval_ms: u64,
    lock: Option<File>,
) -> wal::Options {
    wal::Options {
        store: Arc::clone(store),
        fence: Arc::clone(fence),
        data_dir: options.data_dir.clone(),
        lock,
        clock: Arc::clone(&options.clock),
        group_interval_ms,
        read_ahead_bytes: options.memory_bytes / 16,
    }
}

fn lock(options: &EngineOptions) -> Result<File> {
    std::fs::create_dir_all(&options.data_dir)?;
    lock_folder(&options.data_dir)
}

async fn open_local(options: &EngineOptions, parts: &Parts<'_>) -> Result<LocalWal> {
    let (folder, clock) = (options.data_dir.clone(), Arc::clone(&options.clock));
    let metrics = Arc::clone(&parts.metrics);
    let is_remote = object::local_folder(&options.store_url).is_none();
    let open = move || {
        let wal = LocalWal::open(&folder, clock)?;
        Ok(wal.with_metrics(metrics).beside_remote_store(is_remote))
    };
    blocking("opening the write-ahead log", open).await
}

/// Takes the store over from whoever wrote to it before.
async fn take(options: &EngineOptions, store: &Arc<dyn ObjectStore>, place: WalPlace) -> Result<Arc<Fence>> {
    let now = options.clock.now_micros();
    let (fence, before) = Fence::take(store, &options.instance, place, now).await?;
    for Predecessor { epoch, wal: place } in &before {
        if *place == WalPlace::Store {
            wal::seal(store, *epoch, fence.epoch()).await?;
        }
    }
    fence.forget(&before).await;
    Ok(fence)
}

/// Moves what a log of the other kind still holds into the tables, after a change of the setting.
async fn drain(options: &EngineOptions, parts: &Parts<'_>, wal: Arc<dyn Wal>, fence: &Arc<Fence>) -> Result<()> {
    let shared = shared(options, parts, wal, Some(Arc::clone(fence)));
    replay(&shared).await?;
    shared.flush_round(Which::All).await
}

fn shared(options: &EngineOptions, parts: &Parts<'_>, wal: Arc<dyn Wal>, fence: Option<Arc<Fence>>) -> Arc<Shared> {
    Arc::new(Shared {
        wal,
        store: Arc::clone(&parts.store),
        health: Arc::clone(&parts.health),
        clock: Arc::clone(&options.clock),
        admission: Admission::new(parts.budget.ingest),
        projects: Projects::new(fence.clone()),
        fence,
        metrics: Arc::clone(&parts.metrics),
        compaction: CompactionBudget::new(parts.budget.compaction),
        life: Life::default(),
        policy: FlushPolicy {
            interval_ms: options.flush_interval_ms,
            rows_max: options.flush_rows_max,
            bytes_max: options.flush_bytes_max,
        },
        applied_seq: AtomicU64::new(0),
        followed_at: AtomicI64::new(options.clock.now_micros()),
        small_flushes: SmallFlushes::default(),
        flush_soon: Notify::new(),
    })
}
