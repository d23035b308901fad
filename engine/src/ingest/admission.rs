//! The memory bound of ingest: bytes that are queued or buffered, refused at the door when there are too many.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The gauge of bytes held by ingest, shared by the queue, the buffer and replay.
#[derive(Debug)]
pub struct Admission {
    bytes_max: usize,
    /// Requests and rows.
    held: AtomicUsize,
    /// Of that, rows.
    rows: AtomicUsize,
}

impl Admission {
    /// A gauge that refuses above `bytes_max`.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            held: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
        })
    }

    /// Reserves `bytes` until the permit is dropped. A single request is let in whenever nothing else is held, however
    /// large it is, so that a small bound cannot refuse for ever.
    ///
    /// # Errors
    /// `Overloaded` when the bound would be passed.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit> {
        self.reserve(bytes, 0)?;
        Ok(Permit {
            admission: Arc::clone(self),
            bytes,
        })
    }

    /// Whether `bytes` could be reserved now; nothing is.
    ///
    /// # Errors
    /// `Overloaded` when the bound would be passed.
    pub fn has_room(&self, bytes: usize) -> Result<()> {
        let held = self.held_bytes();
        match self.is_within(held, bytes, 0) {
            true => Ok(()),
            false => Err(self.full(held)),
        }
    }

    fn is_within(&self, held: usize, more: usize, own: usize) -> bool {
        held <= own || held.saturating_add(more) <= self.bytes_max
    }

    /// Adds `more` for somebody who holds `own` already.
    fn reserve(&self, more: usize, own: usize) -> Result<()> {
        let after = |held: usize| self.is_within(held, more, own).then(|| held.saturating_add(more));
        let reserved = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, after);
        reserved.map(drop).map_err(|held| self.full(held))
    }

    fn full(&self, held: usize) -> Error {
        Error::overloaded(format!(
            "the ingest buffer is full: {held} of {} bytes are waiting to be written; send again in a few seconds",
            self.bytes_max
        ))
    }

    /// Counts `bytes` of acknowledged rows, which are kept whatever the bound says.
    pub fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.rows.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives `bytes` of rows back.
    pub fn release(&self, bytes: usize) {
        give_back(&self.rows, bytes);
        give_back(&self.held, bytes);
    }

    /// Bytes of acknowledged rows: what a flush gives back.
    pub fn rows_bytes(&self) -> usize {
        self.rows.load(Ordering::Acquire)
    }

    /// Bytes held now.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// The bound.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

fn give_back(gauge: &AtomicUsize, bytes: usize) {
    let result = gauge.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
        Some(held.saturating_sub(bytes))
    });
    debug_assert!(result.is_ok(), "the update always gives a value");
}

/// Room for one request's bytes; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Permit {
    /// Bytes that are reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves up to `bytes` in all.
    ///
    /// # Errors
    /// `Overloaded` when the bound would be passed; what was reserved stays so.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        self.admission.reserve(more, self.bytes)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        give_back(&self.admission.held, self.bytes);
    }
}

#[cfg(test)]
mod tests;
