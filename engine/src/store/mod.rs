//! Files at rest: where objects live, how a table's log is read and committed, and how rows become Parquet.

pub mod backup;
pub mod checksum;
pub mod compact;
mod create;
pub mod documents;
mod encoding;
pub mod erase;
pub mod export;
pub mod fence;
pub mod flush;
pub mod history;
pub mod import;
pub mod log;
pub mod object;
pub mod paths;
pub mod progress;
pub mod rejected;
mod remembered;
pub mod retention;
pub mod row_group;
mod schema;
pub mod snapshot;
mod stats;
pub mod sweep;
pub mod table;
pub mod verified;
pub mod verify;
pub mod wal;

#[cfg(test)]
mod tests;

pub use documents::Documents;
pub use fence::Fence;
pub use paths::TableKind;
pub use snapshot::{Bound, ColumnStats, DataFile, Snapshot};
pub use table::{NewFile, Table};
