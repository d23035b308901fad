//! Earlier versions of a table: which there are, what they held, and reading one again.
//!
//! A version can be read as long as the table's log tells its files and the files are there. Files that a merge, the
//! retention or an erasure took out of the table stay for a while ([`super::sweep`]), so versions reach back as long as
//! that. A version is of the instant of its commit: what was acknowledged before and flushed after is in a later one.

use super::{Snapshot, Table, TableKind, paths};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::project::ProjectId;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Requests to the store at the same time.
const AT_ONCE: usize = 16;

/// Which version of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The last one of this instant or before.
    Instant(Micros),
    /// The one of this number.
    Version(u64),
}

/// What the log says about one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it was committed.
    pub at: Micros,
    /// What made it: `WRITE` for events, `OPTIMIZE` for a merge, `DELETE` for retention and erasures.
    pub operation: String,
    /// Rows, as far as the log tells them.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Whether all of its files are still there.
    pub is_readable: bool,
}

/// One entry of the log, as far as history needs it.
#[derive(Debug, Default)]
struct Entry {
    at: Micros,
    operation: String,
    added: Vec<(String, u64, u64)>,
    removed: Vec<String>,
}

/// A table's past.
pub struct History<'a> {
    store: &'a Arc<dyn ObjectStore>,
    root: Path,
    table: Table,
    /// Entries of the log by version, up to the last one; without a gap.
    entries: BTreeMap<u64, Path>,
}

impl std::fmt::Debug for History<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl<'a> History<'a> {
    /// Lists a table's log.
    ///
    /// # Errors
    /// `Storage` when it cannot be read.
    pub async fn open(store: &'a Arc<dyn ObjectStore>, project: &ProjectId, kind: TableKind) -> Result<Self> {
        let table = Table::open(store, project, kind).await?;
        let root = paths::table(project, kind);
        let listed: Vec<_> = store.list(Some(&paths::log_folder(&root))).try_collect().await?;
        let mut entries = BTreeMap::new();
        for object in listed {
            if let Some(version) = paths::log_version(&root, &object.location)
                && paths::is_log_entry(&object.location)
            {
                entries.insert(version, object.location);
            }
        }
        // Entries before a gap belong to nothing that can be read.
        let last = entries.keys().next_back().copied();
        let mut first = last;
        while let Some(before) = first.and_then(|first| first.checked_sub(1)) {
            if !entries.contains_key(&before) {
                break;
            }
            first = Some(before);
        }
        if let Some(first) = first {
            entries = entries.split_off(&first);
        }
        Ok(Self {
            store,
            root,
            table,
            entries,
        })
    }

    /// The last `count` versions, the newest first.
    ///
    /// # Errors
    /// `Storage` when the log cannot be read.
    pub async fn versions(&self, count: usize) -> Result<Vec<Version>> {
        let wanted: Vec<u64> = self.entries.keys().rev().take(count).copied().collect();
        let Some(oldest) = wanted.last().copied() else {
            return Ok(Vec::new());
        };
        let there = self.files_there().await?;
        let mut files: HashMap<String, (u64, u64)> = HashMap::new();
        if let Some(before) = oldest.checked_sub(1)
            && let Ok(snapshot) = self.table.at_version(before).await
        {
            let known = snapshot.files.iter();
            files.extend(known.map(|file| (file.log_path.clone(), (file.rows.unwrap_or(0), file.size_bytes))));
        } else if oldest > 0 {
            // The log begins with a checkpoint at its oldest entry.
            let snapshot = self.table.at_version(oldest).await?;
            let known = snapshot.files.iter();
            files.extend(known.map(|file| (file.log_path.clone(), (file.rows.unwrap_or(0), file.size_bytes))));
        }
        let entries: Vec<(u64, Entry)> = futures::stream::iter(wanted.into_iter().rev())
            .map(|version| async move { Ok::<_, Error>((version, self.entry(version).await?)) })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut versions = Vec::with_capacity(entries.len());
        for (version, entry) in entries {
            for path in &entry.removed {
                files.remove(path);
            }
            files.extend(entry.added.into_iter().map(|(path, rows, bytes)| (path, (rows, bytes))));
            versions.push(Version {
                version,
                at: entry.at,
                operation: entry.operation,
                rows: files.values().map(|(rows, _)| rows).sum(),
                files: files.len() as u64,
                bytes: files.values().map(|(_, bytes)| bytes).sum(),
                is_readable: files.keys().all(|path| there.contains(path)),
            });
        }
        versions.reverse();
        Ok(versions)
    }

    /// The version that `as_of` means, with its files. A table without versions, and an instant before the first one,
    /// give an empty snapshot.
    ///
    /// # Errors
    /// `Invalid` when there is no such version or it can be read no more; the message names the oldest that can.
    pub async fn snapshot(&self, as_of: AsOf) -> Result<Arc<Snapshot>> {
        let latest = self.table.snapshot();
        let version = match as_of {
            AsOf::Version(version) => match latest.version {
                Some(newest) if version <= newest => version,
                Some(newest) => {
                    return Err(Error::invalid(format!(
                        "there is no version {version} of the table: the newest is {newest}"
                    )));
                }
                None => {
                    return Err(Error::invalid(format!(
                        "there is no version {version}: the table is empty"
                    )));
                }
            },
            AsOf::Instant(at) => match self.version_at(at).await? {
                Some(version) => version,
                None if self.entries.keys().next().is_none_or(|first| *first == 0) => return Ok(Arc::default()),
                None => return Err(self.gone(as_of).await),
            },
        };
        if Some(version) == latest.version {
            return Ok(Arc::clone(latest));
        }
        let Ok(snapshot) = self.table.at_version(version).await else {
            return Err(self.gone(as_of).await);
        };
        let held: HashSet<&str> = latest.files.iter().map(|file| file.log_path.as_str()).collect();
        let old = snapshot
            .files
            .iter()
            .filter(|file| !held.contains(file.log_path.as_str()));
        let old: Vec<Path> = old.map(|file| file.path.clone()).collect();
        let mut looks = futures::stream::iter(old)
            .map(|path| async move { self.store.head(&path).await })
            .buffer_unordered(AT_ONCE);
        while let Some(look) = looks.next().await {
            match look {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => return Err(self.gone(as_of).await),
                Err(error) => return Err(error.into()),
            }
        }
        drop(looks);
        Ok(snapshot)
    }

    /// When a version was committed; `None` when the log does not tell any more.
    ///
    /// # Errors
    /// `Storage` when the entry cannot be read.
    pub async fn instant_of(&self, version: u64) -> Result<Option<Micros>> {
        match self.entries.contains_key(&version) {
            true => Ok(Some(self.entry(version).await?.at)),
            false => Ok(None),
        }
    }

    /// The last version that was committed at `at` or before.
    async fn version_at(&self, at: Micros) -> Result<Option<u64>> {
        let versions: Vec<u64> = self.entries.keys().copied().collect();
        // The number of versions that are surely not later.
        let (mut low, mut high) = (0, versions.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(version) = versions.get(middle) else { break };
            if self.entry(*version).await?.at <= at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1).and_then(|place| versions.get(place)).copied())
    }

    async fn gone(&self, as_of: AsOf) -> Error {
        let asked = match as_of {
            AsOf::Version(version) => format!("version {version}"),
            AsOf::Instant(at) => format!("the state of {}", written(at)),
        };
        let oldest = match self.versions(usize::MAX).await {
            Ok(versions) => {
                // Compactions between leave holes; what counts is from where on all can be read.
                let readable = versions.into_iter().take_while(|version| version.is_readable);
                readable.last().map(|oldest| (oldest.version, oldest.at))
            }
            Err(error) => return error,
        };
        let oldest = oldest.map_or_else(
            || "nothing but the present is".to_owned(),
            |(version, at)| format!("the oldest that is: version {version} of {}", written(at)),
        );
        Error::invalid(format!(
            "{asked} is not kept any more (the setting history_hours says how long files of earlier states stay); {oldest}"
        ))
    }

    /// Names of all data files in the table's folder.
    async fn files_there(&self) -> Result<HashSet<String>> {
        let mut listed = self.store.list(Some(&self.root));
        let mut there = HashSet::new();
        while let Some(object) = listed.try_next().await? {
            if paths::is_data_file(&self.root, &object.location)
                && let Some(parts) = object.location.prefix_match(&self.root)
            {
                there.insert(parts.collect::<Path>().to_string());
            }
        }
        Ok(there)
    }

    async fn entry(&self, version: u64) -> Result<Entry> {
        let path = self
            .entries
            .get(&version)
            .ok_or_else(|| Error::internal("an entry that is not listed"))?;
        let bytes = self.store.get(path).await?.bytes().await?;
        Ok(parse(&bytes))
    }
}

/// An instant for people.
fn written(at: Micros) -> String {
    let time = chrono::DateTime::from_timestamp_micros(at).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Reads an entry. Our own clock stands in the files' times; the library's is taken where there are none.
fn parse(bytes: &[u8]) -> Entry {
    let mut entry = Entry::default();
    let mut millis: Option<i64> = None;
    let mut library_millis = 0;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Names are written as in an address.
    let name = |value: &Value| {
        let written = value.as_str().unwrap_or_default();
        Path::from_url_path(written).map_or_else(|_| written.to_owned(), |path| path.to_string())
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(action) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        if let Some(add) = action.get("add") {
            let stats: Value = add["stats"]
                .as_str()
                .and_then(|stats| serde_json::from_str(stats).ok())
                .unwrap_or_default();
            let rows = stats["numRecords"].as_u64().unwrap_or(0);
            entry
                .added
                .push((name(&add["path"]), rows, add["size"].as_u64().unwrap_or(0)));
            millis = millis.max(add["modificationTime"].as_i64());
        }
        if let Some(remove) = action.get("remove") {
            entry.removed.push(name(&remove["path"]));
            millis = millis.max(remove["deletionTimestamp"].as_i64());
        }
        if let Some(info) = action.get("commitInfo") {
            entry.operation = text(&info["operation"]);
            library_millis = info["timestamp"].as_i64().unwrap_or(0);
        }
    }
    entry.at = millis.unwrap_or(library_millis).saturating_mul(1000);
    entry
}
