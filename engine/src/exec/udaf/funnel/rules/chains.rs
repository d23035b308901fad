//! Chains of distinct events in non-decreasing time, for [`crate::model::FunnelRule::Ordered`].

use super::super::log::Row;
use super::MASK_BITS;
use crate::clock::Micros;
use crate::limits::FUNNEL_STEPS_MAX;

/// The newest chain of every length over the events seen so far.
#[derive(Debug)]
pub(super) struct Chains {
    window: Micros,
    steps: usize,
    /// `starts[k]`: when the newest chain of length `k` began. Lengths up to [`Self::longest`] have one, and a shorter
    /// chain never began before a longer one, because every chain of length `k` holds one of length `k − 1`.
    starts: [Micros; FUNNEL_STEPS_MAX + 1],
    /// The greatest length reached.
    longest: usize,
    /// Events of one instant, reused.
    ties: Vec<Tie>,
}

/// An event of an instant that has several different ones.
#[derive(Debug)]
struct Tie {
    mask: u32,
    /// The step it serves at present, 0 for none.
    step: usize,
}

impl Chains {
    pub(super) fn new(window: Micros) -> Self {
        Self {
            window,
            steps: 0,
            starts: [0; FUNNEL_STEPS_MAX + 1],
            longest: 0,
            ties: Vec::new(),
        }
    }

    /// Forgets all chains; from now on the funnel has `steps` steps.
    pub(super) fn reset(&mut self, steps: usize) {
        self.steps = steps;
        self.longest = 0;
    }

    /// Heap memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.ties.capacity() * size_of::<Tie>()
    }

    /// Takes all events of the instant `now`, which is later than all before, equal masks next to each other. Returns
    /// the greatest length of a chain that ends in one of them, 0 for none. `steps_of` makes a row's mask.
    pub(super) fn advance(&mut self, now: Micros, tied: &[Row], steps_of: impl Fn(u32) -> u32) -> usize {
        self.starts[0] = now;
        match tied {
            [first, .., last] if first.mask != last.mask => self.take_different(now, tied, steps_of),
            // More equal events than steps cannot all be in one chain.
            _ => {
                let equal = tied.iter().take(self.steps);
                equal
                    .map(|row| self.take_one(now, steps_of(row.mask)))
                    .max()
                    .unwrap_or(0)
            }
        }
    }

    /// Takes one event. Greater lengths first, so that it never follows itself.
    fn take_one(&mut self, now: Micros, mask: u32) -> usize {
        let reachable = u32::MAX >> (MASK_BITS - self.steps.min(self.longest + 1));
        let mut mask = mask & reachable;
        let mut reached = 0;
        while mask != 0 {
            let step = mask.ilog2() as usize + 1;
            mask ^= 1 << (step - 1);
            let start = self.starts[step - 1];
            if now.saturating_sub(start) <= self.window {
                self.starts[step] = start;
                reached = reached.max(step);
            }
        }
        self.longest = self.longest.max(reached);
        reached
    }

    /// Takes different events of one instant, which may follow each other in any order.
    ///
    /// A chain of length `base` from before can grow to `step` when the steps between can be given to distinct events:
    /// a matching. The shortest such `base` has the newest start. It never falls as `step` grows, so one matching that
    /// slides over the steps finds all of them.
    fn take_different(&mut self, now: Micros, tied: &[Row], steps_of: impl Fn(u32) -> u32) -> usize {
        self.ties.clear();
        for equal in tied.chunk_by(|a, b| a.mask == b.mask) {
            let copies = equal.iter().take(self.steps);
            self.ties.extend(copies.map(|row| Tie {
                mask: steps_of(row.mask),
                step: 0,
            }));
        }
        let before = self.starts;
        let known = self.longest;
        let (mut base, mut reached) = (0, 0);
        for step in 1..=self.steps {
            while base < step && !serve(&mut self.ties, step, &mut 0) {
                base += 1;
                self.ties
                    .iter_mut()
                    .filter(|tie| tie.step == base)
                    .for_each(|tie| tie.step = 0);
            }
            if base > known {
                break;
            }
            if base < step && now.saturating_sub(before[base]) <= self.window {
                self.starts[step] = before[base];
                reached = step;
            }
        }
        self.longest = self.longest.max(reached);
        reached
    }
}

/// Finds an event for `step`, moving other steps to other events where that helps. `tried` holds the steps already
/// looked at, which bounds the depth by the number of steps.
fn serve(ties: &mut [Tie], step: usize, tried: &mut u64) -> bool {
    *tried |= 1 << step;
    for i in 0..ties.len() {
        if ties[i].mask & (1 << (step - 1)) == 0 {
            continue;
        }
        let owner = ties[i].step;
        if owner == 0 || (*tried & (1 << owner) == 0 && serve(ties, owner, tried)) {
            ties[i].step = step;
            return true;
        }
    }
    false
}
