//! The files of a table's log, and what its last commits did.

use super::seal::LogFile;
use crate::error::{Error, Result};
use crate::store::checksum::Checksums;
use crate::store::paths;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The files of a table's log, by version.
#[derive(Debug, Clone, Default)]
pub struct LogFiles {
    /// Entries.
    pub entries: BTreeMap<u64, Path>,
    /// Checkpoints.
    pub checkpoints: BTreeMap<u64, Path>,
    /// Hashes of checkpoints.
    pub sidecars: BTreeMap<u64, Path>,
    /// The pointer to the last checkpoint.
    pub pointer: Option<Path>,
}

impl LogFiles {
    /// Lists the log of the table at `root`.
    ///
    /// # Errors
    /// `Storage` when it cannot be listed.
    pub async fn list(store: &Arc<dyn ObjectStore>, root: &Path) -> Result<Self> {
        let folder = paths::log_folder(root);
        let mut files = Self::default();
        let mut listed = store.list(Some(&folder));
        while let Some(object) = listed.try_next().await? {
            let path = object.location;
            match LogFile::of(&path) {
                Some(LogFile::Entry(version)) => drop(files.entries.insert(version, path)),
                Some(LogFile::Checkpoint(version)) => drop(files.checkpoints.insert(version, path)),
                Some(LogFile::Sidecar(version)) => drop(files.sidecars.insert(version, path)),
                Some(LogFile::Pointer) => files.pointer = Some(path),
                None => {}
            }
        }
        Ok(files)
    }
}

/// A file that a commit took out of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Removed {
    /// Name from the store's root.
    pub path: Path,
    /// Length in bytes, where the log says it.
    pub size_bytes: Option<u64>,
    /// Proof of its bytes.
    pub checksums: Option<Checksums>,
}

/// What one commit did.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// When, milliseconds since the epoch.
    pub millis: i64,
    /// Files that it put into the table.
    pub added: Vec<Path>,
    /// Files that it took out.
    pub removed: Vec<Removed>,
}

/// A table's last commits.
#[derive(Debug)]
pub struct History {
    /// The newest version.
    pub version: u64,
    /// The checkpoint from which the oldest of the commits can be read; `None` for the beginning of the log.
    pub base: Option<u64>,
    /// The log, up to the version.
    pub files: LogFiles,
    /// The last commits whose entries are there, by version.
    pub commits: BTreeMap<u64, Commit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    add: Option<FileAction>,
    remove: Option<FileAction>,
    commit_info: Option<CommitInfo>,
}

#[derive(Deserialize)]
struct FileAction {
    path: String,
    size: Option<u64>,
    tags: Option<HashMap<String, Option<String>>>,
}

#[derive(Deserialize)]
struct CommitInfo {
    timestamp: Option<i64>,
}

impl History {
    /// Reads the last `commits` commits of the table at `root` up to `version`.
    ///
    /// # Errors
    /// `Storage` when the log cannot be read.
    pub async fn read(store: &Arc<dyn ObjectStore>, root: &Path, version: u64, commits: u64) -> Result<Self> {
        let mut files = LogFiles::list(store, root).await?;
        for newer in [&mut files.entries, &mut files.checkpoints, &mut files.sidecars] {
            drop(newer.split_off(&(version + 1)));
        }
        let oldest = (version + 1).saturating_sub(commits);
        let mut history = Self {
            version,
            base: files.checkpoints.range(..=oldest).next_back().map(|(base, _)| *base),
            commits: BTreeMap::new(),
            files,
        };
        for (version, path) in history.files.entries.range(oldest..) {
            let bytes = store.get(path).await?.bytes().await?;
            history.commits.insert(*version, commit(root, path, &bytes)?);
        }
        Ok(history)
    }

    /// Files that were in the table at one of the commits and are not at the newest.
    pub fn removed(&self) -> Vec<Removed> {
        let oldest = self.commits.keys().next().copied();
        let later = self.commits.iter().filter(|(version, _)| Some(**version) != oldest);
        later.flat_map(|(_, commit)| commit.removed.iter().cloned()).collect()
    }

    /// The versions, newest first, with their times, all of whose files are among `there`. `newest` are the files of the
    /// newest.
    pub fn readable(&self, newest: impl Iterator<Item = Path>, there: &HashSet<Path>) -> Vec<(u64, i64)> {
        let mut files: HashSet<Path> = newest.collect();
        let mut readable = Vec::new();
        for (version, commit) in self.commits.iter().rev() {
            if files.is_subset(there) {
                readable.push((*version, commit.millis));
            }
            commit.added.iter().for_each(|path| {
                files.remove(path);
            });
            files.extend(commit.removed.iter().map(|file| file.path.clone()));
        }
        readable
    }
}

fn commit(root: &Path, path: &Path, entry: &[u8]) -> Result<Commit> {
    let unusable = |error: serde_json::Error| {
        super::seal::damaged(path, &format!("a line of it is no action ({error})")).with_source(error)
    };
    let named = |name: &str| -> Result<Path> {
        let inside = Path::from_url_path(name)
            .map_err(|error| Error::storage(format!("{path} names the file `{name}`: {error}")))?;
        Ok(root.parts().chain(inside.parts()).collect())
    };
    let mut commit = Commit::default();
    for line in entry
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
    {
        let action: Action = serde_json::from_slice(line).map_err(unusable)?;
        if let Some(add) = action.add {
            commit.added.push(named(&add.path)?);
        }
        if let Some(remove) = action.remove {
            commit.removed.push(Removed {
                path: named(&remove.path)?,
                size_bytes: remove.size,
                checksums: Checksums::from_tags(remove.tags.as_ref())?,
            });
        }
        if let Some(timestamp) = action.commit_info.and_then(|info| info.timestamp) {
            commit.millis = timestamp;
        }
    }
    Ok(commit)
}
