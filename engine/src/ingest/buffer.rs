//! The rows that are acknowledged and not yet in a table's files, and the view that joins both without a row twice.

use crate::clock::Micros;
use crate::store::Snapshot;
use arrow::record_batch::RecordBatch;
use object_store::ObjectStore;
use std::sync::Arc;

/// One consistent view of a project: every acknowledged row is in exactly one of the files and the batches.
#[derive(Debug, Clone)]
pub struct ProjectView {
    /// The object store the files' paths belong to.
    pub store: Arc<dyn ObjectStore>,
    /// Files of the events table.
    pub events: Arc<Snapshot>,
    /// Events not yet in files, with the schema [`crate::event::schema::events`], unsorted.
    pub buffered_events: Vec<RecordBatch>,
    /// Files of the table of rejected events.
    pub rejected: Arc<Snapshot>,
    /// Rejected events not yet in files, with the schema [`crate::event::schema::rejected`], unsorted.
    pub buffered_rejected: Vec<RecordBatch>,
    /// When the view was taken.
    pub as_of: Micros,
}
