//! Files that no table holds: merged ones whose queries have ended, and what failed commits and crashes left.
//!
//! A file is deleted when it was seen outside of the table for a whole waiting time. The log is not asked when a file
//! was removed: what an earlier process saw does not count, so after a start everything waits anew, and a file that is
//! written and not yet committed has long been committed by then.

use super::{Snapshot, Table, TableKind, paths};
use crate::clock::Micros;
use crate::error::Result;
use crate::project::ProjectId;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was seen outside of one table, and since when.
#[derive(Debug, Default)]
pub struct Sweep {
    outside: HashMap<Path, Micros>,
}

/// What one look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sweep {
    /// Lists the table's folder and deletes the data files that were outside of the table for `keep` microseconds.
    /// `snapshot` may be old: another process may have committed since, so the log is read again before anything goes.
    ///
    /// # Errors
    /// `Storage` when the folder or the log cannot be read or a file not be deleted; the next look tries again.
    pub async fn look(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        project: &ProjectId,
        kind: TableKind,
        snapshot: &Snapshot,
        now: Micros,
        keep: Micros,
    ) -> Result<Swept> {
        let root = paths::table(project, kind);
        let held: HashSet<&Path> = snapshot.files.iter().map(|file| &file.path).collect();
        let mut outside = HashMap::new();
        let mut swept = Swept::default();
        let mut listed = store.list(Some(&root));
        let mut gone = Vec::new();
        while let Some(object) = listed.try_next().await? {
            if !paths::is_data_file(&root, &object.location) || held.contains(&object.location) {
                continue;
            }
            let since = self.outside.get(&object.location).copied().unwrap_or(now);
            if now.saturating_sub(since) >= keep {
                gone.push((object.location, object.size));
            } else {
                outside.insert(object.location, since);
            }
        }
        self.outside = outside;
        if gone.is_empty() {
            return Ok(swept);
        }
        let latest = Table::open(store, project, kind).await?;
        let held: HashSet<&Path> = latest.snapshot().files.iter().map(|file| &file.path).collect();
        gone.retain(|(path, _)| !held.contains(path));
        for (path, bytes) in gone {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    self.outside.insert(path, now.saturating_sub(keep));
                    return Err(error.into());
                }
            }
            swept.files += 1;
            swept.bytes += bytes;
        }
        Ok(swept)
    }
}
