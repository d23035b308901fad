//! Taking events in: [`admission`] bounds the memory and [`buffer`] shows acknowledged events to
//! queries until they are in the tables.

pub mod admission;
pub mod buffer;

use crate::event::{Event, Rejected};

pub use admission::Permit;
pub use buffer::ProjectView;

/// What one request brings for one project.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Events to store.
    pub events: Vec<Event>,
    /// Events that cannot be stored, with the reason.
    pub rejected: Vec<Rejected>,
}

/// What became of a batch. The sum is the number of events and rejected events in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Stored by this request, on disk.
    pub stored: u64,
    /// Already stored before, by their id. A success for the client.
    pub duplicate: u64,
    /// Kept as rejected events, on disk.
    pub rejected: u64,
}
