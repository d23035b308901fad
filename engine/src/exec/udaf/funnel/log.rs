//! The state of the funnel aggregate: the events of each visitor as bytes, in blocks of one arena for all visitors of a
//! partition.
//!
//! An event takes as many bytes as its distance in time from the visitor's event before it, five where events are seconds
//! apart. A visitor's blocks are chained and grow with the number of events, so nothing is moved when more come and nothing is
//! sorted to hand visitors out; the bytes of a visitor are the partial state as they are.

use crate::clock::Micros;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::EmitTo;

/// Bytes of one event in a partial state, at the most.
pub(super) const ENCODED_BYTES_MAX: usize = 10 + 5;
/// Addresses count in units of this many bytes.
const UNIT_BYTES: usize = 16;
/// Bytes that are allocated at once.
const CHUNK_BYTES: usize = 4 * 1024;
/// Bytes at the beginning of a block: the address of the next one of the same visitor.
const LINK_BYTES: usize = 4;
/// A visitor's first block. Each one after it is twice as large, up to [`LAST_BLOCK_BYTES`].
const FIRST_BLOCK_BYTES: usize = 16;
const LAST_BLOCK_BYTES: usize = 256;
/// The address of no block.
const NOWHERE: u32 = u32::MAX;

/// One event of one visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) ts: Micros,
    /// Bit *k − 1*: the event matches step *k*.
    pub(super) mask: u32,
}

/// The events of one visitor.
#[derive(Debug, Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
    /// Size of the last block, link included.
    last_bytes: u16,
    /// Bytes that are free at the end of the last block.
    room: u16,
    /// The instant of the newest arrival.
    ts: Micros,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            first: NOWHERE,
            last: NOWHERE,
            last_bytes: 0,
            room: 0,
            ts: 0,
        }
    }
}

/// Chunks of memory from which blocks are taken one after the other.
#[derive(Debug, Default)]
struct Arena {
    chunks: Vec<Box<[u8; CHUNK_BYTES]>>,
    /// Bytes of the last chunk that are taken.
    taken: usize,
}

impl Arena {
    /// A block of `bytes`, a multiple of [`UNIT_BYTES`]; `None` when no address is left.
    fn block(&mut self, bytes: usize) -> Option<u32> {
        if self.chunks.is_empty() || self.taken + bytes > CHUNK_BYTES {
            self.chunks.push(Box::new([0; CHUNK_BYTES]));
            self.taken = 0;
        }
        let at = (self.chunks.len() - 1) * CHUNK_BYTES + self.taken;
        let address = u32::try_from(at / UNIT_BYTES).ok().filter(|at| *at != NOWHERE)?;
        self.taken += bytes;
        self.bytes_mut(address, 0, LINK_BYTES)
            .copy_from_slice(&NOWHERE.to_le_bytes());
        Some(address)
    }

    fn place(address: u32, offset: usize) -> (usize, usize) {
        let at = address as usize * UNIT_BYTES + offset;
        (at / CHUNK_BYTES, at % CHUNK_BYTES)
    }

    fn bytes(&self, address: u32, offset: usize, len: usize) -> &[u8] {
        let (chunk, at) = Self::place(address, offset);
        &self.chunks[chunk][at..at + len]
    }

    fn bytes_mut(&mut self, address: u32, offset: usize, len: usize) -> &mut [u8] {
        let (chunk, at) = Self::place(address, offset);
        &mut self.chunks[chunk][at..at + len]
    }

    fn next(&self, address: u32) -> u32 {
        let link = self.bytes(address, 0, LINK_BYTES).as_array();
        link.map_or(NOWHERE, |link| u32::from_le_bytes(*link))
    }

    fn memory_bytes(&self) -> usize {
        self.chunks.len() * (CHUNK_BYTES + size_of::<Box<()>>())
    }
}

/// The events of all visitors that have not been handed out yet.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    arena: Arena,
    /// By group; those before `head` were handed out.
    chains: Vec<Chain>,
    head: usize,
    /// Bytes of events that have not been handed out.
    held: usize,
    /// Bytes of events that have been, and still are in the arena.
    dead: usize,
    /// Whether an event found no address.
    is_full: bool,
}

impl EventLog {
    /// Announces that groups `0..groups` exist, with or without events.
    pub(super) fn grow_to(&mut self, groups: usize) {
        let groups = self.head + groups;
        if groups > self.chains.len() {
            self.chains.resize(groups, Chain::default());
        }
    }

    /// Adds an event of `group`, which must have been announced.
    #[inline]
    pub(super) fn push(&mut self, group: usize, ts: Micros, mask: u32) {
        let mut bytes = [0; ENCODED_BYTES_MAX];
        let chain = &mut self.chains[self.head + group];
        let len = encode(ts.wrapping_sub(chain.ts), mask, &mut bytes);
        chain.ts = ts;
        self.held += len;
        self.is_full |= !append(&mut self.arena, chain, &bytes[..len]);
    }

    /// # Errors
    /// When events found no room since the last time.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_full {
            return Err(exec_datafusion_err!(
                "the events of a funnel take more than 64 GiB in one partition"
            ));
        }
        Ok(())
    }

    /// How many groups `emit_to` hands out.
    pub(super) fn groups_of(&self, emit_to: EmitTo) -> usize {
        let groups = self.chains.len() - self.head;
        match emit_to {
            EmitTo::All => groups,
            EmitTo::First(n) => n.min(groups),
        }
    }

    /// Bytes of the partial states of all groups together.
    pub(super) fn state_bytes(&self) -> usize {
        self.held
    }

    /// Hands out the first groups in order, calling `visit` with the partial state of each, and forgets them.
    pub(super) fn take(&mut self, emit_to: EmitTo, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let groups = self.groups_of(emit_to);
        let mut state = Vec::new();
        for chain in &self.chains[self.head..self.head + groups] {
            state.clear();
            gather(&self.arena, chain, &mut state);
            self.held -= state.len();
            self.dead += state.len();
            visit(&state)?;
        }
        self.head += groups;
        self.forget();
        Ok(())
    }

    /// Gives back the memory of what was handed out, when it is the greater part: moving the rest costs less then than handing
    /// out did.
    fn forget(&mut self) {
        let left = self.chains.len() - self.head;
        if left == 0 {
            *self = Self::default();
            return;
        }
        if self.head < left || self.dead < self.held {
            return;
        }
        let (mut arena, mut state) = (Arena::default(), Vec::new());
        let mut chains = Vec::with_capacity(left);
        for chain in &self.chains[self.head..] {
            state.clear();
            gather(&self.arena, chain, &mut state);
            let mut moved = Chain {
                ts: chain.ts,
                ..Chain::default()
            };
            self.is_full |= !append(&mut arena, &mut moved, &state);
            chains.push(moved);
        }
        (self.arena, self.chains) = (arena, chains);
        (self.head, self.dead) = (0, 0);
    }

    /// Memory held, and what handing it out as partial states needs on top.
    pub(super) fn memory_bytes(&self) -> usize {
        self.arena.memory_bytes() + self.chains.capacity() * size_of::<Chain>() + self.held
    }
}

/// Adds bytes to the end of a chain; false when there was no room for all.
fn append(arena: &mut Arena, chain: &mut Chain, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if chain.room == 0 {
            let size = match usize::from(chain.last_bytes) {
                0 => FIRST_BLOCK_BYTES,
                last => (2 * last).min(LAST_BLOCK_BYTES),
            };
            let Some(block) = arena.block(size) else {
                return false;
            };
            if chain.first == NOWHERE {
                chain.first = block;
            } else {
                let link = arena.bytes_mut(chain.last, 0, LINK_BYTES);
                link.copy_from_slice(&block.to_le_bytes());
            }
            chain.last = block;
            (chain.last_bytes, chain.room) = (small(size), small(size - LINK_BYTES));
        }
        let room = usize::from(chain.room);
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        let offset = usize::from(chain.last_bytes) - room;
        arena.bytes_mut(chain.last, offset, now.len()).copy_from_slice(now);
        chain.room = small(room - now.len());
        bytes = later;
    }
    true
}

/// A number of bytes within a block.
fn small(bytes: usize) -> u16 {
    debug_assert!(bytes <= LAST_BLOCK_BYTES, "no block is larger");
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Appends the bytes of a chain to `out`.
fn gather(arena: &Arena, chain: &Chain, out: &mut Vec<u8>) {
    let (mut block, mut size) = (chain.first, FIRST_BLOCK_BYTES);
    while block != NOWHERE {
        let free = if block == chain.last {
            usize::from(chain.room)
        } else {
            0
        };
        out.extend_from_slice(arena.bytes(block, LINK_BYTES, size - LINK_BYTES - free));
        block = arena.next(block);
        size = (2 * size).min(LAST_BLOCK_BYTES);
    }
}

/// Writes one event, at the distance `ahead` from the one before it, to the beginning of `out`; the number of bytes.
///
/// Two numbers of seven bits a byte, the low ones first: the distance with its sign in the lowest bit, and the mask turned so
/// that its top bit, [`NO_ENTRY`](crate::query::funnel::NO_ENTRY), costs no more than the others.
pub(super) fn encode(ahead: Micros, mask: u32, out: &mut [u8; ENCODED_BYTES_MAX]) -> usize {
    let signed = ((ahead << 1) ^ (ahead >> 63)).cast_unsigned();
    let mut len = 0;
    for mut number in [signed, u64::from(mask.rotate_left(1))] {
        loop {
            let low = number.to_le_bytes()[0] & 0x7f;
            number >>= 7;
            out[len] = if number == 0 { low } else { low | 0x80 };
            len += 1;
            if number == 0 {
                break;
            }
        }
    }
    len
}

/// Calls `push` for every event of a partial state, in the order of arrival.
pub(super) fn decode(state: &[u8], mut push: impl FnMut(Micros, u32)) -> Result<()> {
    let (mut rest, mut ts): (&[u8], Micros) = (state, 0);
    let damaged = || exec_datafusion_err!("a funnel state of {} bytes is damaged", state.len());
    while !rest.is_empty() {
        let ahead = number(&mut rest).ok_or_else(damaged)?;
        let mask = number(&mut rest).and_then(|mask| u32::try_from(mask).ok());
        let mask = mask.ok_or_else(damaged)?.rotate_right(1);
        ts = ts.wrapping_add((ahead >> 1).cast_signed() ^ -(ahead & 1).cast_signed());
        push(ts, mask);
    }
    Ok(())
}

/// Takes one number from the beginning of `rest`.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(log: &mut EventLog, emit_to: EmitTo) -> Vec<Vec<(Micros, u32)>> {
        let mut all = Vec::new();
        let visit = |state: &[u8]| {
            let mut rows = Vec::new();
            decode(state, |ts, mask| rows.push((ts, mask)))?;
            all.push(rows);
            Ok(())
        };
        log.take(emit_to, visit).unwrap();
        all
    }

    #[test]
    fn any_instant_and_mask_comes_back_as_it_was() {
        let extremes = [
            i64::MIN,
            i64::MIN + 1,
            -1,
            0,
            1,
            127,
            128,
            1 << 40,
            i64::MAX - 1,
            i64::MAX,
        ];
        let masks = [0, 1, 1 << 30, 1 << 31, u32::MAX, 0x5555_5555];
        let events = extremes.iter().flat_map(|ts| masks.map(|mask| (*ts, mask)));
        let events: Vec<(Micros, u32)> = events.clone().chain(events.rev()).collect();
        let mut log = EventLog::default();
        log.grow_to(3);
        events.iter().for_each(|(ts, mask)| log.push(1, *ts, *mask));
        log.check().unwrap();
        assert_eq!(rows(&mut log, EmitTo::All), [vec![], events, vec![]]);
        assert_eq!(log.memory_bytes(), 0);
    }

    #[test]
    fn an_event_of_a_busy_visitor_takes_six_bytes() {
        let (visitors, events) = (1_000, 1_000);
        let mut log = EventLog::default();
        log.grow_to(visitors);
        for event in 0..events {
            let ts = 1_767_225_600_000_000 + event * 30_000_000;
            (0..visitors).for_each(|visitor| log.push(visitor, ts, 1 << 31));
        }
        let all = visitors * usize::try_from(events).unwrap();
        let each = (log.memory_bytes() - log.state_bytes()) as f64 / all as f64;
        assert!(each < 6.0, "{each} bytes an event");
    }

    #[test]
    fn memory_of_what_was_handed_out_is_given_back() {
        let mut log = EventLog::default();
        log.grow_to(1_000);
        (0..100_000).for_each(|n| log.push(usize::try_from(n).unwrap() % 1_000, n * 1_000_000, 1));
        let before = log.memory_bytes();
        let first = rows(&mut log, EmitTo::First(900));
        assert!(log.memory_bytes() < before / 5, "{} of {before}", log.memory_bytes());
        let rest = rows(&mut log, EmitTo::All);
        for (group, rows) in first.iter().chain(&rest).enumerate() {
            let expected = (0..100).map(|n| ((n * 1_000 + group as i64) * 1_000_000, 1));
            assert!(rows.iter().copied().eq(expected), "group {group}");
        }
        assert_eq!(first.len() + rest.len(), 1_000);
    }
}
