//! Lines that repeat: after some from the same place in the code the others are only counted, and the count is told. A
//! store that is away for a night, or a client that sends nonsense, must not fill a disk with one sentence.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one place that are written within [`WINDOW`].
const LINES_MAX: u32 = 20;
/// The time that counts together.
const WINDOW: Duration = Duration::from_secs(60);
/// How often the counts are told.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What one place in the code wrote of late.
#[derive(Debug)]
struct Place {
    name: String,
    since: Instant,
    lines: u32,
    left_out: u64,
}

/// The places. Their number is bounded by the code's.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Identifier, Place>>);

/// Lines of one place that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) place: String,
    pub(super) lines: u64,
}

impl Places {
    /// Whether a line of this place is written.
    fn takes(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let mut places = self.0.lock();
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            name: format!("{}:{}", metadata.target(), metadata.line().unwrap_or(0)),
            since: now,
            lines: 0,
            left_out: 0,
        });
        if now.duration_since(place.since) >= WINDOW {
            (place.since, place.lines) = (now, 0);
        }
        place.lines = place.lines.saturating_add(1);
        let is_written = place.lines <= LINES_MAX;
        place.left_out += u64::from(!is_written);
        is_written
    }

    /// What was left out since the last call.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let mut places = self.0.lock();
        let silent = places.values_mut().filter(|place| place.left_out > 0);
        let told = silent.map(|place| LeftOut {
            place: place.name.clone(),
            lines: std::mem::take(&mut place.left_out),
        });
        told.collect()
    }
}

/// The places of this process.
static PLACES: LazyLock<Arc<Places>> = LazyLock::new(Arc::default);

/// Lets through what is not too much. Lines below `info` are asked for by name, so they are never left out.
#[derive(Debug, Clone)]
pub(super) struct Limit(Arc<Places>);

impl Limit {
    /// The limit of this process; the first call starts what tells the counts.
    pub(super) fn start() -> Self {
        let places = Arc::clone(&PLACES);
        let told = Arc::clone(&places);
        let tell = move || {
            loop {
                std::thread::sleep(TELL_EVERY);
                for LeftOut { place, lines } in told.left_out() {
                    tracing::warn!(place, lines, "lines like those before were left out");
                }
            }
        };
        // Without the thread only the counts are missing.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(tell);
        Self(places)
    }

    #[cfg(test)]
    pub(super) fn of(places: &Arc<Places>) -> Self {
        Self(Arc::clone(places))
    }
}

/// For the whole subscriber and not a filter of one layer: such a filter may not refuse an event whose place it took for
/// good, which is asserted in debug builds.
impl<S: tracing::Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO || self.0.takes(metadata, Instant::now())
    }
}
