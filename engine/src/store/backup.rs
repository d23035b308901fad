//! Copies of a store: complete, verified, taken while a server writes, and stores themselves.
//!
//! ```text
//! projects/…                   the tables, as in the store they come from: any Delta reader can read them
//! backup/<time>.json           what one backup holds: versions, files, checksums
//! backup/files/<hash>          projects, keys and models, by their hash
//! ```
//! A backup copies the data files before the log's entries that name them, and its manifest last. So a copy that was
//! broken off is a whole older copy with some files more, and the next run takes what is there. Nothing is deleted: every
//! manifest stays restorable.

mod copy;
pub mod manifest;
pub mod restore;

#[cfg(test)]
mod tests;

use super::log::history::{History, Removed};
use super::progress::Progress;
use super::{Table, TableKind, paths};
use crate::clock::Micros;
use crate::error::{ErrorKind, Result};
use crate::project::ProjectId;
use blake3::Hash;
use copy::{Copied, Other, copy};
use futures::{StreamExt, TryStreamExt};
use manifest::{FileEntry, Manifest, TableEntry};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Commits of each table that can be restored, as long as their files are there.
pub const COMMITS: u64 = 24;
/// Files copied at once.
const AT_ONCE: usize = 4;

/// What belongs to a backup besides the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Its name in the data folder: `projects.json`, `models/cubes/orders.yml`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a backup did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Name of the backup, by which it can be restored.
    pub name: String,
    /// Tables in it.
    pub tables: u64,
    /// Rows in it.
    pub rows: u64,
    /// Objects copied by this run, and their bytes.
    pub copied: (u64, u64),
    /// Objects that were there already, and their bytes.
    pub kept: (u64, u64),
}

impl Done {
    fn count(&mut self, copied: Copied, bytes: u64) {
        let slot = match copied {
            Copied::Now => &mut self.copied,
            Copied::Before => &mut self.kept,
        };
        slot.0 += 1;
        slot.1 += bytes;
    }
}

/// Copies the tables of `projects` and the `extras` from one store into another.
///
/// # Errors
/// `Storage` when a store cannot be read or written, or a file of the source is damaged; the message names it. `Invalid`
/// when `to` holds tables of another origin.
pub async fn backup(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    projects: &[ProjectId],
    extras: &[Extra],
    now: Micros,
    progress: &Progress,
) -> Result<Done> {
    let before = manifest::newest(to).await?;
    let known = before.as_ref().map(Manifest::objects).unwrap_or_default();
    let source = Source {
        from,
        to,
        known: &known,
        progress,
    };
    let mut done = Done::default();
    let mut tables = Vec::new();
    for project in projects {
        for kind in TableKind::ALL {
            progress.begin(format!("{project}/{}", kind.folder()));
            let before = before.as_ref().and_then(|manifest| manifest.table(project, *kind));
            if let Some(table) = source.table(project, *kind, before, &mut done).await? {
                done.tables += 1;
                done.rows += table.rows;
                tables.push(table);
            }
        }
    }
    let mut files = BTreeMap::new();
    for extra in extras {
        let hash = blake3::hash(&extra.bytes).to_hex();
        to.put(&paths::backup_file(&hash), extra.bytes.clone().into()).await?;
        files.insert(extra.name.clone(), hash.to_string());
    }
    let manifest = Manifest::new(now, tables, files);
    manifest.put(to).await?;
    done.name = manifest.name();
    Ok(done)
}

/// A data file to be copied.
struct Wanted {
    path: Path,
    size_bytes: u64,
    hash: Option<Hash>,
}

impl From<Removed> for Wanted {
    fn from(file: Removed) -> Self {
        Self {
            path: file.path,
            size_bytes: file.size_bytes.unwrap_or(0),
            hash: file.checksums.map(|checksums| checksums.whole),
        }
    }
}

/// Where one backup copies from and to.
struct Source<'a> {
    from: &'a Arc<dyn ObjectStore>,
    to: &'a Arc<dyn ObjectStore>,
    /// What the last backup has.
    known: &'a HashMap<Path, FileEntry>,
    progress: &'a Progress,
}

impl Source<'_> {
    async fn table(
        &self,
        project: &ProjectId,
        kind: TableKind,
        before: Option<&TableEntry>,
        done: &mut Done,
    ) -> Result<Option<TableEntry>> {
        let root = paths::table(project, kind);
        let table = Table::open(self.from, project, kind).await?;
        let snapshot = Arc::clone(table.snapshot());
        let Some(version) = snapshot.version else {
            return Ok(None);
        };
        let history = History::read(self.from, &root, version, COMMITS).await?;
        let wanted = snapshot.files.iter().map(|file| Wanted {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            hash: file.checksums.as_ref().map(|checksums| checksums.whole),
        });
        // The files of the version itself must be there; those of the commits before are, unless they were swept.
        let files = self.data_files(wanted.collect(), true, done).await?;
        let earlier = history.removed().into_iter().map(Wanted::from).collect();
        let earlier = self.data_files(earlier, false, done).await?;
        let there: HashSet<Path> = files
            .iter()
            .chain(&earlier)
            .map(|entry| Path::from(entry.path.as_str()))
            .collect();
        let newest = snapshot.files.iter().map(|file| file.path.clone());
        Ok(Some(TableEntry {
            project: project.clone(),
            table: kind.folder().to_owned(),
            version,
            rows: snapshot.rows(),
            restorable: history.readable(newest, &there),
            log: self.log_files(&history, before, done).await?,
            files,
            earlier,
        }))
    }

    /// Copies data files. With `must`, all of them have to be there.
    async fn data_files(&self, files: Vec<Wanted>, must: bool, done: &mut Done) -> Result<Vec<FileEntry>> {
        files.iter().for_each(|file| self.progress.expect(file.size_bytes));
        let copies = futures::stream::iter(files).map(|file| async move {
            let known = self.known.get(&file.path);
            let copied = copy(self.from, self.to, &file.path, file.hash, known, Other::Replace).await;
            self.progress.advance(file.size_bytes);
            match copied {
                Ok(copied) => Ok(Some(copied)),
                Err(error) if error.kind() == ErrorKind::NotFound && !must => Ok(None),
                Err(error) => Err(error),
            }
        });
        let copied: Vec<_> = copies.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut entries = Vec::with_capacity(copied.len());
        for (copied, entry) in copied.into_iter().flatten() {
            done.count(copied, entry.size);
            entries.push(entry);
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Copies the log from the checkpoint that the oldest commit needs. Entries last and in their order: what an entry
    /// names is there before it.
    async fn log_files(
        &self,
        history: &History,
        before: Option<&TableEntry>,
        done: &mut Done,
    ) -> Result<Vec<FileEntry>> {
        let base = history.base.unwrap_or(0);
        // No gap to what the last backup has.
        let first = before.map_or(base, |before| base.min(before.version + 1));
        let files = &history.files;
        let sidecars = files.sidecars.range(base..).map(|(_, path)| (path, Other::Replace));
        let checkpoints = files.checkpoints.range(base..).map(|(_, path)| (path, Other::Replace));
        let entries = files.entries.range(first..).map(|(_, path)| (path, Other::Refuse));
        // The newest entry of the last backup is compared byte for byte: it holds the hash of all before it, so it tells
        // whether this is still the same table.
        let proof = before.and_then(|before| files.entries.get(&before.version));
        let mut copied = Vec::new();
        for (path, other) in sidecars
            .chain(checkpoints)
            .chain(entries)
            .chain(proof.map(|path| (path, Other::Refuse)))
        {
            let known = self.known.get(path).filter(|_| Some(path) != proof);
            let one = copy(self.from, self.to, path, None, known, other).await?;
            done.count(one.0, one.1.size);
            copied.push(one.1);
        }
        copied.sort_by(|a, b| a.path.cmp(&b.path));
        copied.dedup();
        Ok(copied)
    }
}
