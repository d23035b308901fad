//! Time and randomness, passed in so that tests and simulations decide them. The only place that reads the system clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Microseconds since 1970-01-01T00:00:00Z. All instants in the engine have this unit.
pub type Micros = i64;

/// One second in [`Micros`].
pub const SECOND_MICROS: Micros = 1_000_000;
/// One day of 24 hours in [`Micros`].
pub const DAY_MICROS: Micros = 86_400 * SECOND_MICROS;

/// A source of the current instant.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current instant in microseconds since the epoch.
    fn now_micros(&self) -> Micros;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_micros(&self) -> Micros {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is set; for tests and replays.
#[derive(Debug, Default)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that shows `micros`.
    pub fn new(micros: Micros) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(micros)))
    }

    /// Sets the instant shown.
    pub fn set(&self, micros: Micros) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now_micros(&self) -> Micros {
        self.0.load(Ordering::SeqCst)
    }
}
