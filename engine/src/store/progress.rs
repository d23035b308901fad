//! How far long work has come, for a bar that somebody else draws.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of work done and to do, in a unit that the work chooses (bytes, days). Read from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    at: Mutex<String>,
}

impl Progress {
    /// Units to do, as far as known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Units done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// What is worked on.
    pub fn at(&self) -> String {
        self.at.lock().clone()
    }

    /// More to do.
    pub fn expect(&self, units: u64) {
        self.total.fetch_add(units, Ordering::Relaxed);
    }

    /// So much more is done.
    pub fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    /// Names what is worked on now.
    pub fn begin(&self, what: impl Into<String>) {
        *self.at.lock() = what.into();
    }
}
