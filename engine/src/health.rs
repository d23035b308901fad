//! What is wrong with the engine now: told by the part that knows it, read by whoever asks whether the server is ready.
//!
//! A part reports its trouble when it meets it and takes it back when it is over; nobody is asked. Reasons are read by
//! strangers, so they name neither paths nor causes: those are in the log.

use crate::clock::{Clock, Micros};
use crate::limits;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A part of the engine that can be in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Opening: the write-ahead log is replayed.
    Start,
    /// The write-ahead log.
    Wal,
    /// The right to write: lost to another process, or never asked for.
    Writer,
    /// The object store.
    Store,
    /// The space on the disk of the data folder.
    Disk,
    /// The users' model files.
    Models,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 6] = [
        Part::Start,
        Part::Wal,
        Part::Writer,
        Part::Store,
        Part::Disk,
        Part::Models,
    ];

    /// Its name for machines.
    pub fn name(self) -> &'static str {
        match self {
            Part::Start => "start",
            Part::Wal => "wal",
            Part::Writer => "writer",
            Part::Store => "store",
            Part::Disk => "disk",
            Part::Models => "models",
        }
    }

    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look. Everything is still served.
    Warning,
    /// Something that clients ask for cannot be done: the server is not ready.
    NotReady,
}

impl Severity {
    /// Its name for machines.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::NotReady => "not_ready",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Who tells it.
    pub part: Part,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do, for operators; safe to show to anybody.
    pub reason: String,
    /// When it began.
    pub since: Micros,
    /// When it was last met.
    pub last: Micros,
}

impl Trouble {
    /// A store that fails for a minute is an incident; one failed request is not.
    fn grown(mut self) -> Self {
        let limit = i64::try_from(limits::STORE_DOWN_MS * 1000).unwrap_or(i64::MAX);
        if self.part == Part::Store && self.last.saturating_sub(self.since) >= limit {
            self.severity = Severity::NotReady;
        }
        self
    }

    /// Whether nobody has met it for so long that it is likely over: the store is only asked when there is work.
    fn is_stale(&self, now: Micros) -> bool {
        let limit = i64::try_from(limits::STORE_TROUBLE_KEEP_MS * 1000).unwrap_or(i64::MAX);
        self.part == Part::Store && now.saturating_sub(self.last) > limit
    }
}

/// The troubles of one engine. Cheap to tell and to take back from any thread.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    /// A bit for each part in trouble, so that "all is well" costs one load.
    parts: AtomicU32,
    troubles: Mutex<Vec<Trouble>>,
}

impl Health {
    /// No trouble yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            parts: AtomicU32::new(0),
            troubles: Mutex::new(Vec::new()),
        }
    }

    /// `part` is in trouble. Told again, it keeps the instant it began. Returns whether this is news: the part was well,
    /// or its trouble was less severe.
    pub fn report(&self, part: Part, severity: Severity, reason: impl Into<String>) -> bool {
        let now = self.clock.now_micros();
        let mut troubles = self.troubles.lock();
        self.parts.fetch_or(part.bit(), Ordering::AcqRel);
        let reason = reason.into();
        match troubles.iter_mut().find(|trouble| trouble.part == part) {
            Some(known) => {
                let is_news = severity > known.severity || known.is_stale(now);
                if known.is_stale(now) {
                    known.since = now;
                }
                (known.severity, known.reason, known.last) = (severity, reason, now);
                is_news
            }
            None => {
                troubles.push(Trouble {
                    part,
                    severity,
                    reason,
                    since: now,
                    last: now,
                });
                true
            }
        }
    }

    /// `part` is well. Returns whether it was in trouble.
    pub fn clear(&self, part: Part) -> bool {
        if self.parts.load(Ordering::Acquire) & part.bit() == 0 {
            return false;
        }
        let mut troubles = self.troubles.lock();
        self.parts.fetch_and(!part.bit(), Ordering::AcqRel);
        let before = troubles.len();
        troubles.retain(|trouble| trouble.part != part);
        troubles.len() < before
    }

    /// Everything that is wrong now, the worst first.
    pub fn troubles(&self) -> Vec<Trouble> {
        let now = self.clock.now_micros();
        let known = self.troubles.lock().clone();
        let mut troubles: Vec<Trouble> = known
            .into_iter()
            .filter(|trouble| !trouble.is_stale(now))
            .map(Trouble::grown)
            .collect();
        troubles.sort_by_key(|trouble| (std::cmp::Reverse(trouble.severity), trouble.part));
        troubles
    }

    /// Whether everything that clients ask for can be done.
    pub fn is_ready(&self) -> bool {
        self.troubles()
            .iter()
            .all(|trouble| trouble.severity < Severity::NotReady)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{FixedClock, SECOND_MICROS};

    #[test]
    fn troubles_come_stay_and_go() {
        let clock = FixedClock::new(0);
        let health = Health::new(Arc::<FixedClock>::clone(&clock));
        assert!(health.is_ready() && health.troubles().is_empty() && !health.clear(Part::Wal));
        assert!(health.report(Part::Models, Severity::Warning, "a file has an error"));
        assert!(health.is_ready());
        clock.set(5 * SECOND_MICROS);
        assert!(health.report(Part::Wal, Severity::NotReady, "it cannot write"));
        clock.set(9 * SECOND_MICROS);
        assert!(!health.report(Part::Wal, Severity::NotReady, "it cannot write at all"));
        assert!(!health.is_ready());
        let troubles = health.troubles();
        assert_eq!(
            troubles.iter().map(|trouble| trouble.part).collect::<Vec<_>>(),
            [Part::Wal, Part::Models]
        );
        assert_eq!(
            (troubles[0].since, troubles[0].last),
            (5 * SECOND_MICROS, 9 * SECOND_MICROS)
        );
        assert_eq!(troubles[0].reason, "it cannot write at all");
        assert!(health.clear(Part::Wal) && health.is_ready());
        assert!(!health.clear(Part::Wal));
    }

    #[test]
    fn a_store_is_down_when_it_fails_for_a_while_and_forgotten_when_nobody_asks_it() {
        let clock = FixedClock::new(0);
        let health = Health::new(Arc::<FixedClock>::clone(&clock));
        health.report(Part::Store, Severity::Warning, "no answer");
        clock.set(limits::STORE_DOWN_MS as i64 * 1000 * 2);
        assert!(health.is_ready(), "one failed request is no incident, however long ago");
        health.report(Part::Store, Severity::Warning, "no answer");
        assert!(!health.is_ready());
        clock.set(clock.now_micros() + limits::STORE_TROUBLE_KEEP_MS as i64 * 1000 + 1);
        assert!(health.is_ready() && health.troubles().is_empty());
        assert!(
            health.report(Part::Store, Severity::Warning, "no answer"),
            "it begins anew"
        );
        assert!(health.is_ready());
    }
}
