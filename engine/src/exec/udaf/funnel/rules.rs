//! The rules by which a visitor's events make a level. What each rule means stands at [`FunnelRule`].
//!
//! Every rule is a scan over the events in order of time that keeps, for every level, the start of the newest chain of
//! that level: of all chains that have come so far, the one that started last has the most of its window left, so no
//! other can do better. That is O(events × steps) and needs no memory per event.

mod chains;

use super::log::Row;
use crate::clock::{Micros, SECOND_MICROS};
use crate::limits::FUNNEL_STEPS_MAX;
use crate::model::FunnelRule;
use crate::query::funnel::NO_ENTRY;
use chains::Chains;

/// Bits of a step mask.
const MASK_BITS: usize = u32::BITS as usize;
const _: () = assert!(
    1 << FUNNEL_STEPS_MAX == NO_ENTRY,
    "a step mask has one bit for each step and one more"
);

/// What a visitor's events come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The furthest step, from 1; 0 for none.
    pub(super) level: u8,
    /// See [`super::ENTRY`].
    pub(super) entry: Option<Micros>,
}

/// Evaluates one funnel for one visitor after the other.
#[derive(Debug)]
pub(super) struct Evaluator {
    rule: FunnelRule,
    window: Micros,
    steps: usize,
    chains: Chains,
}

impl Evaluator {
    /// For `steps` steps, 1 to [`FUNNEL_STEPS_MAX`], and a window in seconds.
    pub(super) fn new(rule: FunnelRule, window_seconds: u32, steps: usize) -> Self {
        debug_assert!((1..=FUNNEL_STEPS_MAX).contains(&steps), "checked by `Constants::new`");
        let window = i64::from(window_seconds) * SECOND_MICROS;
        Self {
            rule,
            window,
            steps,
            chains: Chains::new(window),
        }
    }

    /// The outcome of one visitor's events, given in any order; they are left in order of time.
    pub(super) fn evaluate(&mut self, rows: &mut [Row]) -> Outcome {
        // Equal instants in order of mask, so that the outcome never depends on the order of arrival.
        let key = |row: &Row| (row.ts, row.mask);
        if !rows.is_sorted_by_key(key) {
            rows.sort_unstable_by_key(key);
        }
        match self.rule {
            FunnelRule::Ordered => self.ordered(rows),
            FunnelRule::Strict => strict(rows, self.window, self.steps),
            FunnelRule::Gitlab => window_funnel(rows, self.window / SECOND_MICROS, self.steps, true),
            FunnelRule::GitlabG2 => window_funnel(rows, self.window / SECOND_MICROS, self.steps, false),
        }
    }

    /// Heap memory held between visitors.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chains.memory_bytes()
    }

    /// The longest chain, then the earliest entry of a chain of that length.
    ///
    /// Any chain of the greatest length can be made to end at the first instant at which that length is reached: follow
    /// it up to where it falls behind the chain that ended there, then follow that one. So the entry is found by the
    /// same scan backwards from that instant, in which the newest start becomes the earliest end.
    fn ordered(&mut self, rows: &[Row]) -> Outcome {
        self.chains.reset(self.steps);
        let (mut level, mut entry, mut seen) = (0, None, 0);
        for tied in rows.chunk_by(|a, b| a.ts == b.ts) {
            seen += tied.len();
            let reached = self.chains.advance(tied[0].ts, tied, |mask| mask);
            if reached > level {
                (level, entry) = (reached, Some((tied[0].ts, seen)));
                if level == self.steps {
                    break;
                }
            }
        }
        let entry = entry.map(|(end, seen)| match level {
            1 => end,
            _ => self.earliest_entry(&rows[..seen], level, end),
        });
        outcome(level, entry)
    }

    fn earliest_entry(&mut self, rows: &[Row], level: usize, end: Micros) -> Micros {
        self.chains.reset(level);
        let mirror = |mask: u32| mask.reverse_bits() >> (MASK_BITS - level);
        let mut entry = end;
        let mut before = rows;
        while let Some(last) = before.last().filter(|last| end.saturating_sub(last.ts) <= self.window) {
            let first = before.iter().rposition(|row| row.ts != last.ts).map_or(0, |i| i + 1);
            let (earlier, tied) = before.split_at(first);
            // `!ts` turns time round as `-ts` does, and cannot overflow.
            if self.chains.advance(!last.ts, tied, mirror) == level {
                entry = last.ts;
            }
            before = earlier;
        }
        entry
    }
}

fn outcome(level: usize, entry: Option<Micros>) -> Outcome {
    Outcome {
        level: u8::try_from(level).unwrap_or(u8::MAX),
        entry,
    }
}

/// The steps of `mask`, from 1, in ascending order.
fn ascending(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let step = mask.trailing_zeros() as usize + 1;
        let any = mask != 0;
        mask &= mask.wrapping_sub(1);
        any.then_some(step)
    })
}

/// The newest chain of every level: `starts[k]` is the instant of its step 1. Level 0 is the chain yet to begin.
struct Levels {
    starts: [Option<Micros>; FUNNEL_STEPS_MAX + 1],
    best: usize,
    entry: Option<Micros>,
}

impl Levels {
    /// `entry` is what is told of a visitor who reaches no step.
    fn new(entry: Option<Micros>) -> Self {
        Self {
            starts: [None; FUNNEL_STEPS_MAX + 1],
            best: 0,
            entry,
        }
    }

    fn set(&mut self, level: usize, start: Micros) {
        self.starts[level] = Some(start);
        if level > self.best {
            self.best = level;
            self.entry = Some(start);
        }
    }

    /// The start of the newest chain that lacks only `step`, if `now` is within its window.
    fn open(&self, step: usize, now: Micros, window: Micros) -> Option<Micros> {
        self.starts[step - 1].filter(|start| now.saturating_sub(*start) <= window)
    }
}

/// PostHog's strict order; see [`FunnelRule::Strict`].
fn strict(rows: &[Row], window: Micros, steps: usize) -> Outcome {
    let mut levels = Levels::new(rows.first().map(|row| row.ts));
    for tied in rows.chunk_by(|a, b| a.ts == b.ts) {
        let (first, last) = (tied[0], tied[tied.len() - 1]);
        levels.starts[0] = Some(first.ts);
        if first.mask == last.mask {
            tied.iter().for_each(|row| strict_one(&mut levels, *row, window, steps));
        } else {
            strict_tied(&mut levels, tied, window, steps);
        }
        if levels.starts[steps].is_some() {
            break;
        }
    }
    outcome(levels.best, levels.entry)
}

/// A page view extends every chain that lacks just a step it matches; all other progress is lost.
fn strict_one(levels: &mut Levels, row: Row, window: Micros, steps: usize) {
    // Greater steps first, so that a page view never follows itself.
    for step in (1..=steps).rev() {
        if row.mask & (1 << (step - 1)) == 0 {
            // A view of step 1 that may not begin a chain still is the same step again for one that has begun.
            if step > 1 || row.mask & NO_ENTRY == 0 {
                levels.starts[step] = None;
            }
        } else if let Some(start) = levels.open(step, row.ts, window) {
            levels.set(step, start);
        }
    }
}

/// Page views of one instant that match different steps have no order: they are taken in the order of the steps, none
/// twice in a chain, and no progress is lost.
fn strict_tied(levels: &mut Levels, tied: &[Row], window: Micros, steps: usize) {
    // The page view of this instant that ends the chain of each level, if one does.
    let mut last_view: [Option<usize>; FUNNEL_STEPS_MAX + 1] = [None; FUNNEL_STEPS_MAX + 1];
    for step in 1..=steps {
        let Some(start) = levels.open(step, tied[0].ts, window) else {
            continue;
        };
        if levels.starts[step] == Some(start) {
            continue;
        }
        let used = |view: usize| {
            let chain = last_view[..step].iter().rev();
            chain.map_while(|last| *last).any(|last| last == view)
        };
        let found = (0..tied.len()).find(|view| tied[*view].mask & (1 << (step - 1)) != 0 && !used(*view));
        if let Some(view) = found {
            last_view[step] = Some(view);
            levels.set(step, start);
        }
    }
}

/// ClickHouse's `windowFunnel` over whole seconds, with `strict_order` when `strict`.
///
/// ClickHouse files an event once for every step it matches, or as foreign when it matches none, and takes them in the
/// order of (second, step), foreign ones first. Filing the same step twice in a second changes nothing, so a second
/// comes down to the union of its masks.
fn window_funnel(rows: &[Row], window_seconds: i64, steps: usize, strict: bool) -> Outcome {
    let second = |row: &Row| row.ts.div_euclid(SECOND_MICROS);
    let entry = |levels: &Levels| levels.entry.map(|second| second.saturating_mul(SECOND_MICROS));
    let mut levels = Levels::new(rows.first().map(second));
    'rows: for tied in rows.chunk_by(|a, b| second(a) == second(b)) {
        let now = second(&tied[0]);
        let begun = levels.starts[1].is_some();
        if strict && begun && tied.iter().any(|row| row.mask == 0) {
            break;
        }
        levels.starts[0] = Some(now);
        for step in ascending(tied.iter().fold(0, |union, row| union | row.mask)) {
            if levels.starts[step - 1].is_none() {
                if strict && levels.starts[1].is_some() {
                    break 'rows;
                }
            } else if let Some(start) = levels.open(step, now, window_seconds) {
                levels.set(step, start);
                if step == steps {
                    break 'rows;
                }
            }
        }
    }
    outcome(levels.best, entry(&levels))
}
