//! What one backup holds, as JSON in the backup itself.

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::project::ProjectId;
use crate::store::{TableKind, paths};
use chrono::{DateTime, SecondsFormat};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The format this version writes and reads.
const FORMAT: u32 = 1;

/// An object of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, from the root of the store and of the backup.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub blake3: String,
}

/// A table of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Whose it is.
    pub project: ProjectId,
    /// `events` or `rejected`.
    pub table: String,
    /// The version of its log.
    pub version: u64,
    /// Its rows.
    pub rows: u64,
    /// The versions that can be restored, newest first, with the time of each in milliseconds since the epoch.
    pub restorable: Vec<(u64, i64)>,
    /// The data files of the version.
    pub files: Vec<FileEntry>,
    /// Data files that only earlier versions have.
    pub earlier: Vec<FileEntry>,
    /// The files of the log.
    pub log: Vec<FileEntry>,
}

/// A whole backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The manifest's own format.
    pub format: u32,
    /// The version of Tally that took it.
    pub tally: String,
    /// When, RFC 3339.
    pub taken_at: String,
    /// Tables that had a commit.
    pub tables: Vec<TableEntry>,
    /// Files of the data folder, by name, with their hash.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    pub(super) fn new(now: Micros, tables: Vec<TableEntry>, files: BTreeMap<String, String>) -> Self {
        let taken_at = DateTime::from_timestamp_micros(now).unwrap_or_default();
        Self {
            format: FORMAT,
            tally: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at: taken_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            tables,
            files,
        }
    }

    /// The name by which the backup can be asked for: its time.
    pub fn name(&self) -> String {
        self.taken_at.replace(':', "-")
    }

    pub(super) async fn put(&self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::internal("a manifest does not convert").with_source(error))?;
        store.put(&paths::backup_manifest(&self.name()), text.into()).await?;
        Ok(())
    }

    /// The table of a project.
    pub fn table(&self, project: &ProjectId, kind: TableKind) -> Option<&TableEntry> {
        let is_it = |table: &&TableEntry| table.project == *project && table.table == kind.folder();
        self.tables.iter().find(is_it)
    }

    /// Everything that was copied, by its name.
    pub(super) fn objects(&self) -> HashMap<Path, FileEntry> {
        let of = |table: &TableEntry| {
            let all = table.files.iter().chain(&table.earlier).chain(&table.log);
            all.cloned().collect::<Vec<_>>()
        };
        let entries = self.tables.iter().flat_map(of);
        entries.map(|entry| (Path::from(entry.path.as_str()), entry)).collect()
    }
}

/// The names of the backups in `store`, the oldest first.
///
/// # Errors
/// `Storage` when the store cannot be listed.
pub async fn names(store: &Arc<dyn ObjectStore>) -> Result<Vec<String>> {
    let folder = paths::backups();
    let listed = store.list_with_delimiter(Some(&folder)).await?;
    let files = listed.objects.iter().filter_map(|object| object.location.filename());
    let mut names: Vec<String> = files
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Reads the manifest of this name.
///
/// # Errors
/// `NotFound` when there is none; `Storage` when it cannot be read, or was written by a newer version.
pub async fn read(store: &Arc<dyn ObjectStore>, name: &str) -> Result<Manifest> {
    let path = paths::backup_manifest(name);
    let mut stream = store.get(&path).await?.into_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    let unusable = |error: serde_json::Error| {
        Error::storage(format!("the manifest {path} is damaged: {error}; use another backup")).with_source(error)
    };
    #[derive(Deserialize)]
    struct Header {
        format: u32,
        tally: String,
    }
    let header: Header = serde_json::from_slice(&bytes).map_err(unusable)?;
    if header.format > FORMAT {
        return Err(Error::storage(format!(
            "the manifest {path} has format {}, written by Tally {}; this Tally {} reads format {FORMAT}: use that version \
             or a newer one",
            header.format,
            header.tally,
            env!("CARGO_PKG_VERSION"),
        )));
    }
    serde_json::from_slice(&bytes).map_err(unusable)
}

/// The newest manifest, if there is one.
///
/// # Errors
/// As [`read`].
pub async fn newest(store: &Arc<dyn ObjectStore>) -> Result<Option<Manifest>> {
    match names(store).await?.last() {
        Some(name) => read(store, name).await.map(Some),
        None => Ok(None),
    }
}
