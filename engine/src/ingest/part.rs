//! A run of acknowledged rows of one project, turned into Arrow only when somebody asks.

use crate::clock::Micros;
use crate::error::Result;
use crate::event::Rejected;
use crate::event::batch::{self, EventsBuilder};
use crate::limits;
use crate::store::flush::Unsorted;
use crate::wal::{EncodedEvents, Seq};
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use std::sync::Arc;

/// Rows as they came, or as Arrow once asked for. The conversion happens once, outside of the project's lock.
#[derive(Debug)]
pub(super) struct Chunk(Mutex<ChunkState>);

#[derive(Debug)]
enum ChunkState {
    Rows(Vec<Arc<EncodedEvents>>),
    Batch(RecordBatch),
}

impl Chunk {
    fn new(rows: Vec<Arc<EncodedEvents>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ChunkState::Rows(rows))))
    }

    /// The rows as they came, unless they are in Arrow by now.
    fn encoded(&self) -> Option<Vec<Arc<EncodedEvents>>> {
        match &*self.0.lock() {
            ChunkState::Batch(_) => None,
            ChunkState::Rows(rows) => Some(rows.clone()),
        }
    }

    fn batch(&self) -> Result<RecordBatch> {
        let mut state = self.0.lock();
        let batch = match &*state {
            ChunkState::Batch(batch) => return Ok(batch.clone()),
            ChunkState::Rows(rows) => to_batch(rows)?,
        };
        *state = ChunkState::Batch(batch.clone());
        Ok(batch)
    }
}

fn to_batch(rows: &[Arc<EncodedEvents>]) -> Result<RecordBatch> {
    let mut builder = EventsBuilder::new(rows.iter().map(|events| events.len()).sum());
    let mut before = 0;
    for events in rows {
        events.for_each_value(|at, column, value| builder.set(before + at, column, value))?;
        before += events.len();
    }
    builder.finish()
}

/// Rows of consecutive appends. Appending needs the project's lock; reading works on a [`PartView`] without it.
#[derive(Debug, Default)]
pub(super) struct Part {
    chunks: Vec<Arc<Chunk>>,
    tail: Vec<Arc<EncodedEvents>>,
    tail_rows: usize,
    tail_bytes: usize,
    /// The tail as a chunk, so that two queries between two appends convert it once.
    tail_chunk: Option<Arc<Chunk>>,
    rejected: Vec<Arc<Vec<Rejected>>>,
    /// Events and rejected events.
    pub(super) rows: usize,
    /// Bytes counted against the memory bound.
    pub(super) bytes: usize,
    /// First and last WAL number.
    pub(super) seqs: Option<(Seq, Seq)>,
    /// When the first row came.
    pub(super) since: Micros,
    /// Whether the events are in files already, by a commit whose answer was lost or whose other half failed.
    pub(super) has_filed_events: bool,
    /// The same of the rejected events.
    pub(super) has_filed_rejected: bool,
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.seqs.is_none()
    }

    /// Adds the rows of one record. Returns the bytes they count for.
    pub(super) fn push(&mut self, seq: Seq, events: EncodedEvents, rejected: Vec<Rejected>, now: Micros) -> usize {
        let bytes = bytes_of(&events, &rejected);
        if self.is_empty() {
            self.since = now;
        }
        self.seqs = Some((self.seqs.map_or(seq, |(first, _)| first), seq));
        self.rows += events.len() + rejected.len();
        self.bytes += bytes;
        if !events.is_empty() {
            self.tail_rows += events.len();
            self.tail_bytes += bytes;
            self.tail.push(Arc::new(events));
            self.tail_chunk = None;
            if self.tail_rows >= limits::BUFFER_BATCH_ROWS || self.tail_bytes >= limits::BUFFER_BATCH_BYTES_MAX {
                self.chunks.push(Chunk::new(std::mem::take(&mut self.tail)));
                self.tail_rows = 0;
                self.tail_bytes = 0;
            }
        }
        if !rejected.is_empty() {
            self.rejected.push(Arc::new(rejected));
        }
        bytes
    }

    /// What there is now and in no file, for reading without the lock.
    pub(super) fn view(&mut self) -> PartView {
        let mut view = PartView::default();
        if !self.has_filed_events {
            view.chunks = self.chunks.clone();
            if !self.tail.is_empty() {
                let tail = &self.tail;
                let chunk = self.tail_chunk.get_or_insert_with(|| Chunk::new(tail.clone()));
                view.chunks.push(Arc::clone(chunk));
            }
        }
        if !self.has_filed_rejected {
            view.rejected = self.rejected.clone();
        }
        view
    }
}

/// The rows of a part at one moment.
#[derive(Debug, Default)]
pub(super) struct PartView {
    chunks: Vec<Arc<Chunk>>,
    rejected: Vec<Arc<Vec<Rejected>>>,
}

impl PartView {
    /// All events, for a flush: as they were acknowledged, unless a query has asked for some of them in Arrow already.
    pub(super) fn unsorted(&self) -> Result<Unsorted> {
        let encoded: Option<Vec<_>> = self.chunks.iter().map(|chunk| chunk.encoded()).collect();
        match encoded {
            Some(encoded) => Ok(Unsorted::Encoded(encoded.concat())),
            None => Ok(Unsorted::Batches(self.events()?)),
        }
    }

    pub(super) fn events(&self) -> Result<Vec<RecordBatch>> {
        self.chunks.iter().map(|chunk| chunk.batch()).collect()
    }

    pub(super) fn rejected(&self) -> Result<Option<RecordBatch>> {
        if self.rejected.is_empty() {
            return Ok(None);
        }
        let rows = self.rejected.iter().flat_map(|rows| rows.iter());
        batch::from_rejected(rows).map(Some)
    }
}

/// Memory of rows, in bytes.
pub(super) fn bytes_of(events: &EncodedEvents, rejected: &[Rejected]) -> usize {
    let rejected = rejected.iter().map(|row| {
        let heap = row.protocol.capacity() + row.detail.capacity() + row.raw.len();
        heap + size_of::<Rejected>()
    });
    events.memory_bytes() + rejected.sum::<usize>()
}
