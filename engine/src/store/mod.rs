//! Files at rest: where objects live, how a table's log is read and committed, and how rows become Parquet.

pub mod compact;
pub mod flush;
mod log;
pub mod object;
pub mod paths;
mod schema;
pub mod snapshot;
mod stats;
pub mod sweep;
pub mod table;

#[cfg(test)]
mod tests;

pub use paths::TableKind;
pub use snapshot::{Bound, ColumnStats, DataFile, Snapshot};
pub use table::{NewFile, Table};
