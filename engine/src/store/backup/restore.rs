//! From a backup into an empty store.

use super::manifest::{self, Manifest, TableEntry};
use super::{AT_ONCE, Extra, Other, copy::copy};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::project::ProjectId;
use crate::store::log::seal::LogFile;
use crate::store::progress::Progress;
use crate::store::{Table, TableKind, paths};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// Which state to restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the backup; the newest one without it.
    pub backup: Option<String>,
    /// Every table as it was at this instant, instead of when the backup was taken.
    pub as_of: Option<Micros>,
    /// The events of one project as of this version of its log, and its rejected events as of that moment.
    pub version: Option<(ProjectId, u64)>,
}

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Tables made.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Objects copied or found, and their bytes.
    pub objects: (u64, u64),
    /// Files of the data folder.
    pub files: Vec<Extra>,
}

/// Reads the manifest of the backup that is wanted.
///
/// # Errors
/// `NotFound` when there is none, `Storage` when it cannot be read.
pub async fn choose(from: &Arc<dyn ObjectStore>, wanted: &Wanted) -> Result<Manifest> {
    let names = manifest::names(from).await?;
    let name = match &wanted.backup {
        Some(name) => names.iter().find(|known| *known == name),
        None => names.last(),
    };
    let name = name.ok_or_else(|| {
        let what = match &wanted.backup {
            Some(name) => format!("no backup `{name}`"),
            None => "no backup".to_owned(),
        };
        let known = match names.as_slice() {
            [] => "it holds none".to_owned(),
            names => format!("it holds {}", names.join(", ")),
        };
        Error::new(ErrorKind::NotFound, format!("there is {what} here: {known}"))
    })?;
    manifest::read(from, name).await
}

/// Whether the store holds no table, and no projects and secret of a server.
///
/// # Errors
/// `Storage` when it cannot be listed.
pub async fn is_empty(store: &Arc<dyn ObjectStore>) -> Result<bool> {
    for folder in [paths::projects(), paths::documents()] {
        if store.list(Some(&folder)).try_next().await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies a backup into `to`: the log up to the wanted version, then the files that the table has there, each compared with
/// its checksum. May be repeated after it was broken off.
///
/// # Errors
/// `Invalid` for a version that the backup cannot restore, `Storage` when something cannot be copied or is damaged.
pub async fn restore(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<Restored> {
    let mut restored = Restored::default();
    for table in &manifest.tables {
        let kind = kind_of(table)?;
        let Some(version) = version_of(manifest, table, wanted)? else {
            continue;
        };
        progress.begin(format!("{}/{}", table.project, table.table));
        copy_log(from, to, table, version, &mut restored).await?;
        let opened = Table::open(to, &table.project, kind).await?;
        let snapshot = Arc::clone(opened.snapshot());
        if snapshot.version != Some(version) {
            return Err(Error::storage(format!(
                "the log of {}/{} ends at {:?} and not at {version}: the backup is incomplete, use another one",
                table.project, table.table, snapshot.version
            )));
        }
        snapshot.files.iter().for_each(|file| progress.expect(file.size_bytes));
        let copies = futures::stream::iter(snapshot.files.clone()).map(|file| async move {
            let hash = file.checksums.as_ref().map(|checksums| checksums.whole);
            let copied = copy(from, to, &file.path, hash, None, Other::Replace).await;
            progress.advance(file.size_bytes);
            copied
        });
        let copied: Vec<_> = copies.buffer_unordered(AT_ONCE).try_collect().await?;
        for (_, entry) in copied {
            restored.objects.0 += 1;
            restored.objects.1 += entry.size;
        }
        restored.tables += 1;
        restored.rows += snapshot.rows();
    }
    for (name, hash) in &manifest.files {
        let path = paths::backup_file(hash);
        let bytes = from.get(&path).await?.bytes().await?;
        if blake3::hash(&bytes).to_hex().as_str() != hash {
            return Err(Error::storage(format!(
                "the file {path} of the backup ({name}) is damaged: use another backup"
            )));
        }
        restored.files.push(Extra {
            name: name.clone(),
            bytes: bytes.to_vec(),
        });
    }
    Ok(restored)
}

fn kind_of(table: &TableEntry) -> Result<TableKind> {
    let kind = TableKind::ALL.iter().find(|kind| kind.folder() == table.table);
    kind.copied().ok_or_else(|| {
        Error::storage(format!(
            "the manifest names a table `{}`, which Tally does not know",
            table.table
        ))
    })
}

/// The version of a table that is wanted; `None` when the table did not exist at that time.
fn version_of(manifest: &Manifest, table: &TableEntry, wanted: &Wanted) -> Result<Option<u64>> {
    let mut as_of = wanted.as_of.map(|micros| micros.div_euclid(1000));
    if let Some((project, version)) = wanted.version.as_ref().filter(|(project, _)| *project == table.project) {
        let events = manifest.table(project, TableKind::Events);
        let restorable = events.map(|table| table.restorable.as_slice()).unwrap_or_default();
        let found = restorable.iter().find(|(known, _)| known == version);
        let (version, millis) = found.ok_or_else(|| {
            let known: Vec<String> = restorable.iter().map(|(version, _)| version.to_string()).collect();
            Error::invalid(format!(
                "the backup cannot restore version {version} of `{project}`: it holds {}",
                known.join(", ")
            ))
        })?;
        if table.table == TableKind::Events.folder() {
            return Ok(Some(*version));
        }
        as_of = Some(*millis);
    }
    let Some(millis) = as_of else {
        return Ok(Some(table.version));
    };
    if let Some((version, _)) = table.restorable.iter().find(|(_, at)| *at <= millis) {
        return Ok(Some(*version));
    }
    // Before the first commit there was no table.
    match table.restorable.last() {
        Some((0, _)) => Ok(None),
        _ => Err(Error::invalid(format!(
            "the backup does not reach back so far for {}/{}: its oldest version is of {}",
            table.project,
            table.table,
            table
                .restorable
                .last()
                .map_or_else(|| "never".to_owned(), |(_, at)| rfc3339(*at)),
        ))),
    }
}

fn rfc3339(millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

async fn copy_log(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    table: &TableEntry,
    version: u64,
    restored: &mut Restored,
) -> Result<()> {
    for entry in &table.log {
        let path = Path::from(entry.path.as_str());
        let of = match LogFile::of(&path) {
            Some(LogFile::Entry(of) | LogFile::Checkpoint(of) | LogFile::Sidecar(of)) => of,
            _ => continue,
        };
        if of > version {
            continue;
        }
        let hash = blake3::Hash::from_hex(&entry.blake3)
            .map_err(|_| Error::storage(format!("the manifest has no hash of {path}: use another backup")))?;
        copy(from, to, &path, Some(hash), None, Other::Replace).await?;
        restored.objects.0 += 1;
        restored.objects.1 += entry.size;
    }
    Ok(())
}
