//! Files at rest: where objects live, how a table's log is read and committed, and how rows become Parquet.

pub mod snapshot;

pub use snapshot::{Bound, ColumnStats, DataFile, Snapshot};
