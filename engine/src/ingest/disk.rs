//! The disk's reserve: events are refused while its free space is low, before the write-ahead log meets a full disk.
//!
//! What is left is for getting out again: flushes and merges write before they delete. Queries go on.

use crate::error::{Error, Result};
use crate::limits;
use crate::metrics::Metrics;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Free space below which events are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskReserve {
    /// Per cent of the disk, and never more than [`limits::DISK_RESERVE_BYTES_MAX`].
    Share(u8),
    /// Bytes; 0 refuses nothing.
    Bytes(u64),
}

impl DiskReserve {
    /// The reserve of a disk of `total` bytes.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            DiskReserve::Share(percent) => (total / 100 * u64::from(percent)).min(limits::DISK_RESERVE_BYTES_MAX),
            DiskReserve::Bytes(bytes) => bytes,
        }
    }
}

/// The disk of one folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    reserve: DiskReserve,
    metrics: Arc<Metrics>,
    last: Mutex<Option<Look>>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    free: u64,
    reserve: u64,
}

impl Disk {
    /// The disk of `folder`.
    pub fn new(folder: &Path, reserve: DiskReserve, metrics: Arc<Metrics>) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve,
            metrics,
            last: Mutex::new(None),
        }
    }

    /// Whether events may come. Looks at the disk some times a second at the most.
    ///
    /// # Errors
    /// `Overloaded` while the free space is below the reserve.
    pub fn check(&self) -> Result<()> {
        if self.reserve == DiskReserve::Bytes(0) {
            return Ok(());
        }
        let Some(look) = self.look() else { return Ok(()) };
        if look.free >= look.reserve {
            return Ok(());
        }
        self.metrics.disk_refused.add(1);
        Err(Error::overloaded(format!(
            "the disk is nearly full: {} MiB are free, and the last {} MiB are kept back (`disk_reserve`); events are taken \
             again as soon as there is more",
            look.free >> 20,
            look.reserve >> 20
        )))
    }

    /// `None` when the disk does not tell: then the disk itself will.
    fn look(&self) -> Option<Look> {
        let mut last = self.last.lock();
        let is_fresh = |look: &Look| look.at.elapsed() < Duration::from_millis(limits::DISK_LOOK_MS);
        if let Some(look) = last.filter(is_fresh) {
            return Some(look);
        }
        let found = match rustix::fs::statvfs(&self.folder) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(folder = %self.folder.display(), %error, "the free space cannot be told");
                return None;
            }
        };
        let look = Look {
            at: Instant::now(),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            reserve: self.reserve.bytes(found.f_blocks.saturating_mul(found.f_frsize)),
        };
        self.metrics.disk_free_bytes.set(look.free);
        if look.free < look.reserve && last.is_none_or(|last| last.free >= last.reserve) {
            tracing::warn!(
                folder = %self.folder.display(), free = look.free, reserve = look.reserve,
                "the disk is nearly full; events are refused until there is more space"
            );
        }
        *last = Some(look);
        Some(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn disk(reserve: DiskReserve) -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), reserve, Arc::default());
        (folder, disk)
    }

    #[test]
    fn a_share_is_capped_and_a_size_is_not() {
        const GIB: u64 = 1 << 30;
        assert_eq!(DiskReserve::Share(5).bytes(8 << 20), (8 << 20) / 100 * 5);
        assert_eq!(DiskReserve::Share(5).bytes(10 * GIB), 10 * GIB / 100 * 5);
        assert_eq!(DiskReserve::Share(5).bytes(1000 * GIB), GIB);
        assert_eq!(DiskReserve::Bytes(7 * GIB).bytes(8 << 20), 7 * GIB);
    }

    #[test]
    fn a_disk_below_its_reserve_refuses_with_the_figures_and_a_disk_above_does_not() {
        let (_folder, full) = disk(DiskReserve::Bytes(1 << 60));
        let error = full.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        let free = full.metrics.disk_free_bytes.get() >> 20;
        assert!(error.message().contains(&format!("{free} MiB are free")), "{error}");
        assert!(error.message().contains("1099511627776 MiB are kept back"), "{error}");
        assert_eq!(full.metrics.disk_refused.get(), 1);
        for reserve in [DiskReserve::Bytes(0), DiskReserve::Bytes(1), DiskReserve::Share(0)] {
            disk(reserve).1.check().unwrap();
        }
    }

    #[test]
    fn a_folder_that_is_gone_refuses_nothing() {
        let disk = Disk::new(Path::new("/nonesuch/folder"), DiskReserve::Share(5), Arc::default());
        disk.check().unwrap();
    }
}
