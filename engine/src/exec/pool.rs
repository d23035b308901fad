//! The memory of running queries, shared by need.
//!
//! The query engine's own fair pool divides by the operators that exist, most of which hold nothing: a plan has a dozen
//! (DataFusion 55.2, `FairSpillPool`). What a lone aggregation may hold is then a small part of a pool that is nearly empty; it
//! spills early, and what it cannot spill is refused.

use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;

/// The part of the pool, as a divisor, that is kept for operators that hold less than their share and cannot spill; and the part
/// by which they, and those that have little or nothing to spill, may go above it.
const RESERVED_PART: usize = 8;
/// What every reservation may hold whatever the others do, as a divisor of the pool: many operators say that they can spill and
/// cannot, or not at this moment, and a run of a few rows is not worth a file.
const LEAST_PART: usize = 8;

/// How the name of an operator begins that deals rows out to partitions. What it is refused it writes to files, and when two of
/// its inputs do so at once it may wait for itself for ever (DataFusion 55.2; mended in its pull request 24891).
const DEALS_ROWS: &str = "RepartitionExec[";
/// What such an operator may hold before that is the lesser evil, as a divisor of the pool.
const DEALING_PART: usize = 2;
/// Operators that a refusal names.
const NAMED_MAX: usize = 6;

/// A pool in which an operator that can spill may hold as much as the others leave, as long as one more of the same size fits
/// beside it: so one that comes later finds room, and who holds more than its share by then spills when it next asks.
#[derive(Debug)]
pub(super) struct NeedPool {
    bytes: usize,
    held: Mutex<Held>,
}

/// What is held.
#[derive(Debug, Default)]
struct Held {
    /// By operator, each by its id. Those that hold nothing are not in it.
    by: HashMap<usize, Holder>,
    /// Bytes of those that can spill together.
    spillable: usize,
    /// Bytes of those that cannot.
    fixed: usize,
}

#[derive(Debug)]
struct Holder {
    name: String,
    bytes: usize,
    can_spill: bool,
}

impl Held {
    fn sum(&self) -> usize {
        self.spillable + self.fixed
    }

    fn of(&self, consumer: &MemoryConsumer) -> usize {
        self.by.get(&consumer.id()).map_or(0, |holder| holder.bytes)
    }

    fn part(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        match consumer.can_spill() {
            true => &mut self.spillable,
            false => &mut self.fixed,
        }
    }

    fn add(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if bytes == 0 {
            return;
        }
        *self.part(consumer) += bytes;
        let holder = self.by.entry(consumer.id()).or_insert_with(|| Holder {
            name: consumer.name().to_owned(),
            bytes: 0,
            can_spill: consumer.can_spill(),
        });
        holder.bytes += bytes;
    }

    fn take(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        let Some(holder) = self.by.get_mut(&consumer.id()) else {
            return;
        };
        let taken = bytes.min(holder.bytes);
        holder.bytes -= taken;
        if holder.bytes == 0 {
            self.by.remove(&consumer.id());
        }
        *self.part(consumer) -= taken;
    }

    /// The operators that hold most, for a message.
    fn most(&self) -> String {
        let mut all: Vec<&Holder> = self.by.values().collect();
        all.sort_unstable_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name)));
        let shown = all.iter().take(NAMED_MAX);
        let shown: Vec<String> = shown
            .map(|holder| format!("{} {}", holder.name, human_readable_size(holder.bytes)))
            .collect();
        shown.join(", ")
    }

    /// The most that the operator `id` may hold of `room`, which it shares with those that `counts` is true of: with as much for
    /// one more, and what is held by each of the others, but not more than this.
    fn share(&self, id: usize, room: usize, counts: impl Fn(&Holder) -> bool) -> usize {
        let others = self.by.iter().filter(|(other, holder)| **other != id && counts(holder));
        let mut others: Vec<usize> = others.map(|(_, holder)| holder.bytes).collect();
        others.sort_unstable();
        let (mut left, mut sharing) = (room, others.len() + 2);
        for held in others {
            if held >= left / sharing {
                break;
            }
            left -= held;
            sharing -= 1;
        }
        left / sharing
    }
}

impl NeedPool {
    /// A pool of `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            held: Mutex::default(),
        }
    }

    /// Bytes that `reservation` may have beside what it holds.
    fn available(&self, held: &Held, reservation: &MemoryReservation) -> usize {
        let consumer = reservation.consumer();
        let (own, sum) = (held.of(consumer), held.sum());
        let reserved = self.bytes / RESERVED_PART;
        let above = (self.bytes + reserved).saturating_sub(sum);
        let within = |most: usize, left: usize| most.saturating_sub(own).min(left);
        if consumer.name().starts_with(DEALS_ROWS) {
            return (self.bytes / DEALING_PART).saturating_sub(own);
        }
        let least = self.bytes / LEAST_PART;
        let least = least.saturating_sub(reservation.size()).min(above);
        if consumer.can_spill() {
            let room = self.bytes.saturating_sub(held.fixed.max(reserved));
            let share = held.share(consumer.id(), room, |holder| holder.can_spill);
            // Who holds nothing has nothing to spill: what it is refused ends its query.
            let first = if reservation.size() == 0 { above } else { least };
            return within(share, room.saturating_sub(held.spillable)).max(first);
        }
        // A sort that merges what it has spilled takes all that it is given, and does with little.
        let share = held.share(consumer.id(), self.bytes, |_| true);
        let beyond = self.bytes.saturating_sub(reserved + sum);
        within(share, above).max(least).max(beyond)
    }
}

impl MemoryPool for NeedPool {
    fn name(&self) -> &str {
        "by need"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held.lock().add(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.held.lock().take(reservation.consumer(), shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        let mut held = self.held.lock();
        let available = self.available(&held, reservation);
        if additional <= available {
            held.add(consumer, additional);
            return Ok(());
        }
        Err(resources_datafusion_err!(
            "not enough memory: {} asked for {} beside its {}, and {} are left to it; all running queries hold {} of {} (most: {})",
            consumer.name(),
            human_readable_size(additional),
            human_readable_size(reservation.size()),
            human_readable_size(available),
            human_readable_size(held.sum()),
            human_readable_size(self.bytes),
            held.most()
        ))
    }

    fn reserved(&self) -> usize {
        self.held.lock().sum()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}

impl fmt::Display for NeedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name(), human_readable_size(self.bytes))
    }
}

#[cfg(test)]
mod tests;
