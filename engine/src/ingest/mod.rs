//! Taking events in: [`admission`] bounds the memory, [`group_commit`] makes them durable, [`buffer`] shows them to
//! queries until [`flusher`] has put them into the tables.

pub mod admission;
pub mod buffer;
mod changes;
pub mod compactor;
pub mod disk;
mod due;
pub mod erase;
pub mod flusher;
pub mod follower;
pub mod group_commit;
pub mod life;
mod observe;
mod part;
pub mod replay;

#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::event::{Event, Rejected};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::store::Fence;
use crate::wal::Wal;
use admission::Admission;
use buffer::Projects;
use compactor::CompactionBudget;
use life::Life;
use object_store::ObjectStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use tokio::sync::Notify;

pub use admission::Permit;
pub use buffer::ProjectView;
pub use changes::{Changes, DataVersion};
pub use disk::DiskReserve;
pub use erase::{EraseRequest, Erased, ErasedTable};
pub use life::{Expired, LifeOptions};

/// What one request brings for one project.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Events to store.
    pub events: Vec<Event>,
    /// Events that cannot be stored, with the reason.
    pub rejected: Vec<Rejected>,
}

/// What became of a batch. The sum is the number of events and rejected events in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Stored by this request, on disk.
    pub stored: u64,
    /// Already stored before, by their id. A success for the client.
    pub duplicate: u64,
    /// Kept as rejected events, on disk.
    pub rejected: u64,
}

/// Counts of one project since the engine was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectStats {
    /// Events stored.
    pub stored: u64,
    /// Events that were there already.
    pub duplicate: u64,
    /// Events kept as rejected.
    pub rejected: u64,
}

/// The budget of small flushes, as it is used up.
#[derive(Debug, Default)]
pub struct SmallFlushes(parking_lot::Mutex<due::SmallFlushes>);

/// When buffered rows go to the tables.
#[derive(Debug, Clone, Copy)]
pub struct FlushPolicy {
    /// Age of a project's oldest row, milliseconds. Quiet projects wait longer when there are many of them.
    pub interval_ms: u64,
    /// Rows of a project.
    pub rows_max: usize,
    /// Bytes of a project.
    pub bytes_max: usize,
}

/// What the parts of ingest share.
#[derive(Debug)]
pub struct Shared {
    /// The write-ahead log.
    pub wal: Arc<dyn Wal>,
    /// The right to write to the store; `None` for a process that only reads.
    pub fence: Option<Arc<Fence>>,
    /// Where the tables are.
    pub store: Arc<dyn ObjectStore>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// The memory bound.
    pub admission: Arc<Admission>,
    /// All projects in memory.
    pub projects: Projects,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What is wrong now.
    pub health: Arc<Health>,
    /// What merging files may use.
    pub compaction: CompactionBudget,
    /// How long data lives.
    pub life: Life,
    /// When to flush.
    pub policy: FlushPolicy,
    /// The last WAL number whose rows are in the buffer or in the tables.
    pub applied_seq: AtomicU64,
    /// When a process that only reads last saw the store, microseconds.
    pub followed_at: AtomicI64,
    /// What is left of the budget for small flushes.
    pub small_flushes: SmallFlushes,
    /// Wakes the flusher before its time.
    pub flush_soon: Notify,
}
