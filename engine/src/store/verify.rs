//! Proof that a store is whole: every file of every table and of its log is read and compared with what was written.
//!
//! The check reads; it changes nothing. It works beside a running server, because what it reads never changes: a table's
//! files at the version that it found.

mod beside;
mod log;
mod rows;

#[cfg(test)]
mod tests;

use super::checksum::damaged;
use super::progress::Progress;
use super::{DataFile, Snapshot, Table, TableKind, paths};
use crate::blocking::blocking;
use crate::error::{Error, ErrorKind, Result};
use crate::project::ProjectId;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rows::{Day, Rows};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong with the data; good to know.
    Note,
    /// Data is lost, wrong or unreadable.
    Damage,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, with the file's name and the remedy.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.severity {
            Severity::Note => write!(f, "note: {}", self.text),
            Severity::Damage => write!(f, "damage: {}", self.text),
        }
    }
}

/// What a check read, and what it found.
#[derive(Debug, Default)]
pub struct Report {
    /// Tables.
    pub tables: u64,
    /// Data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Files of the tables' logs.
    pub log_files: u64,
    /// Objects beside the tables: of the write-ahead log in the store, ids of events, writers, and the server's documents.
    pub objects: u64,
    /// Records of the write-ahead log in the store.
    pub pending: u64,
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether anything is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }

    fn note(&mut self, text: impl Into<String>) {
        self.findings.push(Finding {
            severity: Severity::Note,
            text: text.into(),
        });
    }

    fn damage(&mut self, text: impl Into<String>) {
        self.findings.push(Finding {
            severity: Severity::Damage,
            text: text.into(),
        });
    }
}

/// The projects that have a folder in the store, in the order of their names.
///
/// # Errors
/// `Storage` when the store cannot be listed.
pub async fn projects_in(store: &Arc<dyn ObjectStore>) -> Result<Vec<ProjectId>> {
    let root = paths::projects();
    let listed = store.list_with_delimiter(Some(&root)).await?;
    let names = listed.common_prefixes.iter().filter_map(|folder| folder.filename());
    let mut projects: Vec<ProjectId> = names.filter_map(|name| ProjectId::new(name).ok()).collect();
    projects.sort();
    Ok(projects)
}

/// Checks the tables of `projects`, and what the store holds beside tables.
///
/// # Errors
/// `Storage` when the store does not answer. Damage is no error: it is in the report.
pub async fn check(store: &Arc<dyn ObjectStore>, projects: &[ProjectId], progress: &Progress) -> Result<Report> {
    let mut report = Report::default();
    for project in projects {
        for kind in TableKind::ALL {
            progress.begin(format!("{project}/{}", kind.folder()));
            check_table(store, project, *kind, progress, &mut report).await?;
        }
    }
    beside::check(store, &mut report).await?;
    Ok(report)
}

async fn check_table(
    store: &Arc<dyn ObjectStore>,
    project: &ProjectId,
    kind: TableKind,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let root = paths::table(project, kind);
    // Before the log is listed: a server may commit meanwhile, and the list must have all that the table has.
    let table = match Table::open(store, project, kind).await {
        Ok(table) => Some(table),
        Err(error) => {
            report.damage(error.message());
            None
        }
    };
    log::check(
        store,
        &root,
        table.as_ref().and_then(|table| table.snapshot().version),
        report,
    )
    .await?;
    let Some(table) = table else { return Ok(()) };
    let snapshot = Arc::clone(table.snapshot());
    if snapshot.version.is_none() {
        return Ok(());
    }
    report.tables += 1;
    check_orphans(store, project, kind, &snapshot, report).await?;
    let mut days: BTreeMap<&str, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in &snapshot.files {
        progress.expect(file.size_bytes);
        days.entry(&file.date).or_default().push(file);
    }
    for (date, files) in days {
        let mut day = Day::default();
        for file in files {
            day = check_file(store, kind, file, day, report).await?;
            progress.advance(file.size_bytes);
        }
        let repeated = day.repeated();
        if repeated > 0 {
            report.note(format!(
                "{repeated} event ids of {root} stand more than once on {date}: they came again after the seven days that \
                 ids are remembered; the next merge of the day keeps each once"
            ));
        }
    }
    Ok(())
}

/// Checks one file: its bytes, then its rows. Gives `day` back with the file's ids in it.
async fn check_file(
    store: &Arc<dyn ObjectStore>,
    kind: TableKind,
    file: &Arc<DataFile>,
    day: Day,
    report: &mut Report,
) -> Result<Day> {
    report.files += 1;
    report.bytes += file.size_bytes;
    match hash_of(store, &file.path).await {
        Ok((hash, size)) => match &file.checksums {
            Some(checksums) => {
                if let Err(error) = checksums.check_whole(&file.path, &hash) {
                    report.damage(error.message());
                    return Ok(day);
                }
            }
            None if size != file.size_bytes => {
                let what = format!("it has {size} bytes, and the table's log says {}", file.size_bytes);
                report.damage(damaged(&file.path, &what).message());
                return Ok(day);
            }
            None => report.note(format!(
                "the file {} has no checksum: another program wrote it; its rows are read all the same",
                file.path
            )),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report.damage(damaged(&file.path, "it is not there").message());
            return Ok(day);
        }
        Err(error) => return Err(error),
    }
    let work = Rows::new(kind, Arc::clone(file), day);
    let (store, runtime) = (Arc::clone(store), tokio::runtime::Handle::current());
    // On a thread of its own: a reader that panics over a file must not end the check.
    let done = blocking("reading a file", move || Ok(runtime.block_on(work.read(&store)))).await;
    let (outcome, day, rows) = match done {
        Ok(done) => done,
        Err(error) => (Err(error), Day::default(), 0),
    };
    report.rows += rows;
    match outcome {
        Ok(problems) => problems
            .iter()
            .for_each(|what| report.damage(damaged(&file.path, what).message())),
        Err(error) => {
            let what = format!("its rows cannot be read: {error}");
            report.damage(damaged(&file.path, &what).message());
        }
    }
    Ok(day)
}

/// The hash and the length of an object, read as a stream.
///
/// # Errors
/// `NotFound` when it is not there, `Storage` when it cannot be read.
pub async fn hash_of(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<(blake3::Hash, u64)> {
    let mut bytes = store.get(path).await?.into_stream();
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    while let Some(bytes) = bytes.try_next().await? {
        hasher.update(&bytes);
        length += bytes.len() as u64;
    }
    Ok((hasher.finalize(), length))
}

/// Counts what lies in a table's folder and is not in the table.
async fn check_orphans(
    store: &Arc<dyn ObjectStore>,
    project: &ProjectId,
    kind: TableKind,
    snapshot: &Snapshot,
    report: &mut Report,
) -> Result<()> {
    let root = paths::table(project, kind);
    let held: HashSet<&Path> = snapshot.files.iter().map(|file| &file.path).collect();
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let mut listed = store.list(Some(&root));
    while let Some(object) = listed.try_next().await.map_err(Error::from)? {
        if paths::is_data_file(&root, &object.location) && !held.contains(&object.location) {
            count += 1;
            bytes += object.size;
        }
    }
    if count > 0 {
        report.note(format!(
            "{count} files with {bytes} bytes in {root} are not in the table: merged ones that queries may still read, new \
             ones that are not committed, or what a crash left; a running server deletes them after an hour"
        ));
    }
    Ok(())
}
