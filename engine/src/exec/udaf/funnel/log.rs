//! The state of the funnel aggregate: one flat log of (visitor, instant, matched steps) for all visitors of a partition.
//!
//! There is no allocation per event or per visitor. The log is brought into visitor order only when something has to be
//! handed out, by one counting sort, and not at all when the events came in that order.

use crate::clock::Micros;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::EmitTo;

/// Bytes of one event in a partial state: the instant (8) and the step mask (4), little endian.
pub(super) const ENCODED_BYTES: usize = 12;

/// One event of one visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) ts: Micros,
    /// Bit *k − 1*: the event matches step *k*.
    pub(super) mask: u32,
    /// The visitor's group, counted from the first group ever seen, modulo 2^32: groups that were handed out keep the
    /// numbers of the others unchanged.
    group: u32,
}

impl Row {
    #[cfg(test)]
    pub(super) fn new(ts: Micros, mask: u32) -> Self {
        Self { ts, mask, group: 0 }
    }
}

/// The events of all visitors that have not been handed out yet.
#[derive(Debug)]
pub(super) struct EventLog {
    rows: Vec<Row>,
    /// Rows before this one were handed out.
    head: usize,
    /// The number (see [`Row::group`]) of group 0.
    base: u32,
    /// Groups not yet handed out.
    groups: usize,
    /// Whether the rows are in the order of their groups.
    grouped: bool,
    /// The group of the last row.
    last_group: usize,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            head: 0,
            base: 0,
            groups: 0,
            grouped: true,
            last_group: 0,
        }
    }
}

impl EventLog {
    /// Announces that groups `0..groups` exist, with or without events.
    pub(super) fn grow_to(&mut self, groups: usize) -> Result<()> {
        if u32::try_from(groups).is_err() {
            return Err(exec_datafusion_err!(
                "a funnel over {groups} visitors in one partition: at most 2^32 are possible"
            ));
        }
        self.groups = self.groups.max(groups);
        Ok(())
    }

    /// Adds an event of `group`, which must have been announced.
    #[inline]
    pub(super) fn push(&mut self, group: usize, ts: Micros, mask: u32) {
        self.grouped &= group >= self.last_group;
        self.last_group = group;
        #[allow(clippy::cast_possible_truncation, reason = "`grow_to` keeps groups below 2^32")]
        let group = self.base.wrapping_add(group as u32);
        self.rows.push(Row { ts, mask, group });
    }

    /// How many groups `emit_to` hands out.
    pub(super) fn groups_of(&self, emit_to: EmitTo) -> usize {
        match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(n) => n.min(self.groups),
        }
    }

    /// Hands out the first groups in order, calling `visit` with the events of each, and forgets them. Events of a group
    /// are in the order they were added.
    pub(super) fn take(&mut self, emit_to: EmitTo, mut visit: impl FnMut(&mut [Row])) {
        let groups = self.groups_of(emit_to);
        if !self.grouped {
            self.regroup();
        }
        let mut rest = self.rows.get_mut(self.head..).unwrap_or_default();
        #[allow(clippy::cast_possible_truncation, reason = "`grow_to` keeps groups below 2^32")]
        for group in 0..groups as u32 {
            let number = self.base.wrapping_add(group);
            let len = rest.iter().position(|row| row.group != number).unwrap_or(rest.len());
            let (rows, after) = rest.split_at_mut(len);
            visit(rows);
            rest = after;
        }
        let left = rest.len();
        self.forget(groups, left);
    }

    /// Drops `groups` groups, after which `left` rows remain.
    fn forget(&mut self, groups: usize, left: usize) {
        self.groups -= groups;
        if self.groups == 0 {
            *self = Self::default();
            return;
        }
        self.head = self.rows.len() - left;
        #[allow(clippy::cast_possible_truncation, reason = "`grow_to` keeps groups below 2^32")]
        let taken = groups as u32;
        self.base = self.base.wrapping_add(taken);
        self.last_group = self.last_group.saturating_sub(groups);
        // Moving the rest only when it is the smaller part makes the moves cheaper than the rows that were handed out.
        if self.head >= left {
            self.rows.copy_within(self.head.., 0);
            self.rows.truncate(left);
            self.head = 0;
        }
    }

    /// Brings the rows into the order of their groups by a stable counting sort.
    fn regroup(&mut self) {
        let rows = self.rows.get(self.head..).unwrap_or_default();
        let index = |row: &Row| row.group.wrapping_sub(self.base) as usize;
        let mut ends = vec![0_usize; self.groups + 1];
        for row in rows {
            ends[index(row) + 1] += 1;
        }
        for group in 0..self.groups {
            ends[group + 1] += ends[group];
        }
        let filler = Row {
            ts: 0,
            mask: 0,
            group: 0,
        };
        let mut sorted = vec![filler; rows.len()];
        for row in rows {
            let place = &mut ends[index(row)];
            sorted[*place] = *row;
            *place += 1;
        }
        self.last_group = sorted.last().map_or(0, index);
        self.rows = sorted;
        self.head = 0;
        self.grouped = true;
    }

    /// Memory held, and what bringing the log into order will need on top.
    pub(super) fn memory_bytes(&self) -> usize {
        let held = self.rows.capacity() * size_of::<Row>();
        if self.grouped {
            held
        } else {
            held + self.rows.len() * size_of::<Row>() + self.groups * size_of::<usize>()
        }
    }
}

/// Appends one event to a partial state.
pub(super) fn encode(ts: Micros, mask: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&ts.to_le_bytes());
    out.extend_from_slice(&mask.to_le_bytes());
}

/// Calls `push` for every event of a partial state.
pub(super) fn decode(state: &[u8], mut push: impl FnMut(Micros, u32)) -> Result<()> {
    let (events, rest) = state.as_chunks::<ENCODED_BYTES>();
    if !rest.is_empty() {
        return Err(exec_datafusion_err!(
            "a funnel state of {} bytes is damaged: events have {ENCODED_BYTES} bytes",
            state.len()
        ));
    }
    for event in events {
        let [a, b, c, d, e, f, g, h, mask @ ..] = *event;
        push(
            Micros::from_le_bytes([a, b, c, d, e, f, g, h]),
            u32::from_le_bytes(mask),
        );
    }
    Ok(())
}
