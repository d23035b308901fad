//! Whose rows go to the tables now. A choice without effects, so that a day of thousands of projects is a test.
//!
//! A file costs a commit, some fsyncs and a footer whatever is in it. So a project with enough rows is flushed when its time
//! has come, and a quiet one when the budget for small flushes allows it, the oldest rows first. With some dozen projects
//! that is the same; with thousands the quiet ones wait longer. Their rows are on disk in the log and in answers all the
//! while. What bounds the wait is its length, the memory, and the log, which a restart has to read.

use super::FlushPolicy;
use crate::clock::Micros;
use crate::limits;
use crate::wal::Seq;

/// The rows of one project that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Waiting {
    /// When the oldest came.
    pub(super) since: Micros,
    /// How many there are.
    pub(super) rows: usize,
    /// Their memory.
    pub(super) bytes: usize,
    /// The lowest WAL number among them.
    pub(super) first_seq: Seq,
    /// Whether an earlier flush left some of them.
    pub(super) is_retry: bool,
    /// When they may be tried again, after a failure.
    pub(super) retry_at: Micros,
}

impl Waiting {
    fn is_small(&self) -> bool {
        self.rows < limits::FLUSH_ROWS_WORTHWHILE && self.bytes < limits::FLUSH_BYTES_WORTHWHILE
    }
}

/// Bytes that ingest holds, and may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Rows, and requests on their way.
    pub(super) held: usize,
    /// Of these the rows: what flushes give back.
    pub(super) rows: usize,
    pub(super) max: usize,
}

impl Memory {
    /// Whether flushes are needed for want of memory, and help. Where requests hold it, whose clients are slow for instance,
    /// they would give little back, and each event that comes would be made a file.
    pub(super) fn is_short(self) -> bool {
        self.held > self.max / 2 && self.rows > self.max / 8
    }

    /// Whether enough of it is free, or what is left is not worth the files.
    fn is_eased(self) -> bool {
        self.held <= self.max / 4 || self.rows <= self.max / 16
    }

    fn without(self, rows: usize) -> Self {
        Self {
            held: self.held.saturating_sub(rows),
            rows: self.rows.saturating_sub(rows),
            max: self.max,
        }
    }
}

/// What holds for all projects at the moment of the choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) now: Micros,
    pub(super) policy: FlushPolicy,
    pub(super) memory: Memory,
    /// What a restart would have to read of the write-ahead log, in bytes.
    pub(super) log_bytes: u64,
    /// The last WAL number in use.
    pub(super) last_seq: Seq,
}

impl Situation {
    fn interval(&self) -> Micros {
        i64::try_from(self.policy.interval_ms.saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    /// Due whatever the budget says: full, old, or left by a failure.
    fn is_due(&self, waiting: &Waiting) -> bool {
        let age = self.now.saturating_sub(waiting.since);
        let age_max = self.interval().saturating_mul(limits::FLUSH_INTERVALS_MAX);
        waiting.is_retry
            || waiting.rows >= self.policy.rows_max
            || waiting.bytes >= self.policy.bytes_max
            || (age >= self.interval() && !waiting.is_small())
            || age >= age_max
    }
}

/// How many small flushes were made in the interval that runs.
#[derive(Debug, Default)]
pub(super) struct SmallFlushes {
    began: Micros,
    made: usize,
}

impl SmallFlushes {
    /// How many are left; a new interval begins when the last one is over, or the clock was set back by more than one.
    fn left(&mut self, now: Micros, interval: Micros) -> usize {
        let is_over = now.saturating_sub(self.began) >= interval;
        let was_set_back = self.began.saturating_sub(now) > interval;
        if is_over || was_set_back {
            *self = Self { began: now, made: 0 };
        }
        limits::FLUSH_SMALL_PER_INTERVAL.saturating_sub(self.made)
    }
}

/// The places of those that are flushed now, the oldest first, and after them what failed before.
pub(super) fn choose(waiting: &[Waiting], situation: &Situation, small: &mut SmallFlushes) -> Vec<usize> {
    let mut ready: Vec<(usize, &Waiting)> = waiting
        .iter()
        .enumerate()
        .filter(|(_, one)| situation.now >= one.retry_at)
        .collect();
    ready.sort_by_key(|(_, one)| (one.is_retry, one.since, one.first_seq));
    let mut chosen: Vec<bool> = ready.iter().map(|(_, one)| situation.is_due(one)).collect();
    if situation.memory.is_short() {
        choose_largest(&ready, situation.memory, &mut chosen);
    }
    if situation.log_bytes > limits::WAL_BYTES_MAX {
        // Of the log's records, at least the older half can be dropped after this.
        let first = ready.iter().map(|(_, one)| one.first_seq).min().unwrap_or_default();
        let middle = first + situation.last_seq.saturating_sub(first) / 2;
        let holds_old = |(_, one): &(usize, &Waiting)| one.first_seq <= middle;
        chosen
            .iter_mut()
            .zip(&ready)
            .for_each(|(chosen, one)| *chosen |= holds_old(one));
    }
    let left = small.left(situation.now, situation.interval());
    let is_old = |one: &Waiting| situation.now.saturating_sub(one.since) >= situation.interval();
    let quiet = chosen
        .iter_mut()
        .zip(&ready)
        .filter(|(chosen, (_, one))| !**chosen && is_old(one));
    small.made += quiet.take(left).map(|(chosen, _)| *chosen = true).count();
    let pairs = ready.iter().zip(chosen);
    pairs.filter(|(_, chosen)| *chosen).map(|((at, _), _)| *at).collect()
}

/// The largest, until there is memory enough.
fn choose_largest(ready: &[(usize, &Waiting)], mut memory: Memory, chosen: &mut [bool]) {
    let mut by_size: Vec<usize> = (0..ready.len()).collect();
    let bytes = |at: &usize| ready.get(*at).map_or(0, |(_, one)| one.bytes);
    by_size.sort_by_key(|at| std::cmp::Reverse(bytes(at)));
    for at in by_size {
        if memory.is_eased() {
            break;
        }
        memory = memory.without(bytes(&at));
        if let Some(chosen) = chosen.get_mut(at) {
            *chosen = true;
        }
    }
}

/// The wait before the next try, with chance in it, so that what failed together does not come back together.
///
/// `chance` is any number. Milliseconds.
pub(super) fn retry_wait_ms(failures: u32, chance: u64) -> u64 {
    let whole = (limits::FLUSH_RETRY_MS << failures.min(16)).min(limits::FLUSH_RETRY_MS_MAX);
    whole / 2 + chance % (whole / 2 + 1)
}

#[cfg(test)]
mod tests;
