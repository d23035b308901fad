//! What a table holds at one version: an immutable list of data files with what the log says about each.

use super::checksum::Checksums;
use crate::clock::Micros;
use crate::event::Column;
use object_store::ObjectMeta;
use object_store::path::Path;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A bound in a file's statistics.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Of a text column.
    Text(String),
    /// Of a timestamp column, microseconds.
    Timestamp(Micros),
}

/// What the log says about one column of one file. An absent bound means "unknown", never "no values".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnStats {
    /// No value in the file is smaller.
    pub min: Option<Bound>,
    /// No value in the file is larger.
    pub max: Option<Bound>,
    /// Rows without a value, if known.
    pub null_count: Option<u64>,
}

/// One Parquet file of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// Name from the store's root, ready for [`ObjectMeta`].
    pub path: Path,
    /// The name the table log knows the file by, from the table's root.
    pub log_path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Rows, when the log says so (files written by Tally always do).
    pub rows: Option<u64>,
    /// UTC day as `YYYY-MM-DD`: the partition.
    pub date: String,
    /// When it was written, milliseconds since the epoch.
    pub modified_millis: i64,
    /// Whether the rows are sorted by (visitor_id, ts, event_id), nulls first.
    pub is_sorted: bool,
    /// Statistics of some columns.
    pub stats: BTreeMap<Column, ColumnStats>,
    /// Proof of its bytes; `None` for a file that another program wrote.
    pub checksums: Option<Checksums>,
}

impl DataFile {
    /// The file as object_store and DataFusion name it.
    pub fn object_meta(&self) -> ObjectMeta {
        ObjectMeta {
            location: self.path.clone(),
            last_modified: chrono::DateTime::from_timestamp_millis(self.modified_millis).unwrap_or_default(),
            size: self.size_bytes,
            e_tag: None,
            version: None,
        }
    }
}

/// A table at one version.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Version of the table log; `None` for a table that does not exist yet.
    pub version: Option<u64>,
    /// All files, in no particular order.
    pub files: Vec<Arc<DataFile>>,
}

impl Snapshot {
    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().filter_map(|file| file.rows).sum()
    }
}
