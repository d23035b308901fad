//! What one row is: the canonical event that every SDK dialect is translated into, and its place in Arrow.
//!
//! [`schema`] holds the one table of columns; [`event`] the sparse row; [`batch`] turns rows into Arrow;
//! [`rejected`] is what happens to an event that cannot be accepted.

pub mod batch;
#[allow(clippy::module_inception, reason = "the canonical event is the heart of this module")]
pub mod event;
pub mod rejected;
pub mod schema;

pub use event::{ColumnSet, Event, Value, ValueRef};
pub use rejected::{RejectReason, Rejected};
pub use schema::{Column, Kind};
