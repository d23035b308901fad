//! Erasing a visitor or a stretch of time from everything that is kept: the tables' files, those that are no table's any
//! more, the tables' logs, and the write-ahead log.
//!
//! Whatever was acknowledged before the call is erased. Events that come meanwhile or later are events like any other: an
//! id is not banned. The steps are in such an order that a crash leaves tables that are whole, and that another run
//! finishes the work: what is left of an unfinished run is found again, because every data file in a table's folder is
//! looked through, whether the table holds it or not, and so is every object of its log.

use super::Shared;
use super::buffer::Project;
use super::flusher::Which;
use crate::blocking::blocking;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::project::ProjectId;
use crate::store::erase::{Found, Search, Subject};
use crate::store::object::forget_staged;
use crate::store::row_group::{Thinned, thin};
use crate::store::{DataFile, NewFile, TableKind, paths};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Files that are looked through or rewritten at the same time. Each holds a row group.
const FILES_AT_ONCE: usize = 2;
/// Files that are rewritten before they are committed: what a crash can cost.
const FILES_A_COMMIT: usize = 16;

/// What to erase, and where.
#[derive(Debug, Clone)]
pub struct EraseRequest {
    /// Whose data; `None`: all projects.
    pub projects: Option<Vec<ProjectId>>,
    /// What.
    pub subject: Subject,
    /// Whether texts of other visitors are searched for the id, to tell how many mention it. Costs a look at every column.
    pub count_mentions: bool,
    /// Rows received later are told apart. `None`: now.
    pub received_until: Option<Micros>,
    /// Only tells what there is.
    pub dry_run: bool,
}

impl EraseRequest {
    /// Everything of a visitor in all projects, received until now; mentions elsewhere are counted.
    pub fn visitor(id: &str) -> Self {
        Self {
            projects: None,
            subject: Subject::Visitor {
                id: id.to_owned(),
                mentions: false,
            },
            count_mentions: true,
            received_until: None,
            dry_run: false,
        }
    }
}

/// What was found, or erased, in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ErasedTable {
    /// The project.
    pub project: String,
    /// The table's folder.
    pub table: &'static str,
    /// Data files looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows found in files that the table holds.
    pub rows: u64,
    /// Rows found in files that the table does not hold any more.
    pub old_rows: u64,
    /// How many of both were received later than the instant asked for.
    pub later: u64,
    /// Rows of others that mention the id in a text and stay.
    pub mentions: u64,
    /// Objects of the table's log that name the id.
    pub log_objects: u64,
    /// Files written anew.
    pub files_rewritten: u64,
    /// Files that were taken out whole.
    pub files_removed: u64,
    /// Data files deleted from the store.
    pub files_deleted: u64,
    /// Objects of the table's log deleted.
    pub log_objects_deleted: u64,
    /// The table's version afterwards.
    pub version: Option<u64>,
}

impl ErasedTable {
    /// Whether there is, or was, anything to erase.
    pub fn is_concerned(&self) -> bool {
        self.rows + self.old_rows + self.log_objects + self.mentions > 0
    }

    /// What is left of what had come by the instant asked for. While rows are there that came later, the log names the
    /// visitor because of them.
    pub fn remaining(&self) -> u64 {
        let log_objects = if self.later == 0 { self.log_objects } else { 0 };
        self.rows + self.old_rows - self.later + log_objects
    }
}

/// What an erasure did.
#[derive(Debug, Clone, Serialize)]
pub struct Erased {
    /// When it began: what was acknowledged before is erased.
    pub started_at: Micros,
    /// When it was done.
    pub ended_at: Micros,
    /// The tables that held something.
    pub tables: Vec<ErasedTable>,
    /// What a second look found in them and in all others. Empty for a dry run.
    pub verified: Vec<ErasedTable>,
    /// Data files that the second look went through.
    pub verified_files: u64,
}

/// Where an erasure tells how far it is.
pub type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// One file with what was found in it.
struct Looked {
    path: Path,
    size_bytes: u64,
    /// `None` for a file that the table does not hold.
    held: Option<Arc<DataFile>>,
    /// `None` for a file that is no whole Parquet file: an unfinished one.
    found: Option<Found>,
    is_whole_day: bool,
}

const KINDS: [TableKind; 2] = [TableKind::Events, TableKind::Rejected];

impl Shared {
    /// Erases. See the module's description. `folder` is a local store's.
    ///
    /// # Errors
    /// `Invalid` for a wrong request, `Storage` when something cannot be read or written: what was erased so far is, and
    /// another run goes on.
    pub(crate) async fn erase(
        self: &Arc<Self>,
        request: &EraseRequest,
        folder: Option<PathBuf>,
        tell: Tell<'_>,
    ) -> Result<Erased> {
        let started_at = self.clock.now_micros();
        let until = request.received_until.unwrap_or(started_at);
        let search = Arc::new(Search::new(request.subject.clone(), until, request.count_mentions)?);
        // Merges would carry rows from file to file.
        let _files = self.life.files.lock().await;
        tell("writing what is buffered".to_owned());
        self.flush_round(Which::All).await?;
        let projects = match &request.projects {
            Some(projects) => projects.clone(),
            None => self.known_projects().await?.into_iter().collect(),
        };
        let mut tables = Vec::new();
        for id in &projects {
            for kind in KINDS {
                let mut looked = self.look_through(id, kind, &search, tell).await?;
                let mut told = self.told(id, kind, &search, &looked).await?;
                if !request.dry_run {
                    self.forget_begun(id, kind, folder.as_deref()).await?;
                    self.erase_table(id, kind, &search, &mut looked, &mut told, tell)
                        .await?;
                }
                if told.is_concerned() {
                    tables.push(told);
                }
            }
        }
        let mut erased = Erased {
            started_at,
            ended_at: started_at,
            tables,
            verified: Vec::new(),
            verified_files: 0,
        };
        if !request.dry_run {
            tell("clearing the write-ahead log".to_owned());
            let wal = Arc::clone(&self.wal);
            blocking("purging the write-ahead log", move || wal.purge()).await?;
            self.verify(&projects, request, until, &mut erased, tell).await?;
        }
        erased.ended_at = self.clock.now_micros();
        Ok(erased)
    }

    /// Looks through everything once more.
    async fn verify(
        self: &Arc<Self>,
        projects: &[ProjectId],
        request: &EraseRequest,
        until: Micros,
        erased: &mut Erased,
        tell: Tell<'_>,
    ) -> Result<()> {
        let search = Arc::new(Search::new(request.subject.clone(), until, false)?);
        for id in projects {
            for kind in KINDS {
                let looked = self.look_through(id, kind, &search, tell).await?;
                let told = self.told(id, kind, &search, &looked).await?;
                erased.verified_files += told.files;
                if told.is_concerned() {
                    erased.verified.push(told);
                }
            }
        }
        Ok(())
    }

    /// Every data file in a table's folder, with what is in it.
    async fn look_through(
        self: &Arc<Self>,
        id: &ProjectId,
        kind: TableKind,
        search: &Arc<Search>,
        tell: Tell<'_>,
    ) -> Result<Vec<Looked>> {
        let project = self.projects.get(id);
        let root = paths::table(id, kind);
        let listed: Vec<_> = self.store.list(Some(&root)).try_collect().await?;
        // Read after the list: a file that is committed in between is known then.
        let held = self.held(&project, kind).await?;
        let files = listed
            .into_iter()
            .filter(|object| paths::is_data_file(&root, &object.location));
        let files: Vec<_> = files
            .filter(|object| paths::date_of(object.location.as_ref()).is_none_or(|date| search.may_be_on(date)))
            .collect();
        let total = files.len();
        let mut looks = futures::stream::iter(files)
            .map(|object| {
                let held = held.get(&object.location).cloned();
                async move { self.look_at(object.location, object.size, held, kind, search).await }
            })
            .buffer_unordered(FILES_AT_ONCE);
        let mut looked = Vec::new();
        while let Some(one) = looks.next().await {
            looked.extend(one?);
            tell(format!(
                "project {id}, {}: looked through {} of {total} files",
                kind.folder(),
                looked.len()
            ));
        }
        Ok(looked)
    }

    async fn look_at(
        self: &Arc<Self>,
        path: Path,
        size_bytes: u64,
        held: Option<Arc<DataFile>>,
        kind: TableKind,
        search: &Arc<Search>,
    ) -> Result<Option<Looked>> {
        let date = paths::date_of(path.as_ref()).unwrap_or_default().to_owned();
        let is_whole_day = search.is_whole_day(&date);
        let (shared, search, name) = (Arc::clone(self), Arc::clone(search), path.clone());
        let runtime = tokio::runtime::Handle::current();
        let look = blocking("looking through a file", move || {
            runtime.block_on(search.look(&shared.store, kind, &name, size_bytes))
        });
        let found = match look.await {
            Ok(found) => Some(found),
            // Deleted since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if held.is_some() => return Err(error),
            Err(_) => None,
        };
        Ok(Some(Looked {
            path,
            size_bytes,
            held,
            found,
            is_whole_day,
        }))
    }

    async fn held(&self, project: &Arc<Project>, kind: TableKind) -> Result<HashMap<Path, Arc<DataFile>>> {
        let mut guard = project.tables.lock().await;
        let tables = project.open_tables(&mut guard, &self.store).await?;
        let files = &tables.of(kind).snapshot().files;
        Ok(files.iter().map(|file| (file.path.clone(), Arc::clone(file))).collect())
    }

    /// What was found, as it is told.
    async fn told(&self, id: &ProjectId, kind: TableKind, search: &Search, looked: &[Looked]) -> Result<ErasedTable> {
        let mut told = ErasedTable {
            project: id.to_string(),
            table: kind.folder(),
            files: looked.len() as u64,
            bytes: looked.iter().map(|file| file.size_bytes).sum(),
            log_objects: self.named_in_log(id, kind, search).await?,
            ..ErasedTable::default()
        };
        for file in looked {
            let Some(found) = &file.found else { continue };
            match file.held {
                Some(_) => told.rows += found.rows(),
                None => told.old_rows += found.rows(),
            }
            told.later += found.later;
            told.mentions += found.mentions;
        }
        Ok(told)
    }

    /// How many objects of the table's log name the visitor. Bounds of columns stand in the log in clear.
    async fn named_in_log(&self, id: &ProjectId, kind: TableKind, search: &Search) -> Result<u64> {
        let Subject::Visitor { .. } = search.subject() else {
            return Ok(0);
        };
        let folder = paths::log_folder(&paths::table(id, kind));
        let listed: Vec<_> = self.store.list(Some(&folder)).try_collect().await?;
        let mut looks = futures::stream::iter(listed)
            .map(|object| async move {
                let bytes = match self.store.get(&object.location).await {
                    Ok(got) => got.bytes().await?,
                    Err(object_store::Error::NotFound { .. }) => return Ok::<_, Error>(0),
                    Err(error) => return Err(error.into()),
                };
                let is_checkpoint = object.location.as_ref().ends_with(".parquet");
                let text = if is_checkpoint { json_of(bytes)? } else { bytes.to_vec() };
                Ok(u64::from(search.is_named_in(&text)))
            })
            .buffer_unordered(FILES_AT_ONCE);
        let mut named = 0;
        while let Some(one) = looks.next().await {
            named += one?;
        }
        Ok(named)
    }

    /// Deletes files that a crash left half written, in a local store whose folder is known.
    async fn forget_begun(&self, id: &ProjectId, kind: TableKind, folder: Option<&std::path::Path>) -> Result<()> {
        let Some(folder) = folder else { return Ok(()) };
        let project = self.projects.get(id);
        // Flushes write to the table's folder while they hold the lock.
        let _tables = project.tables.lock().await;
        let folder = folder.join(paths::table(id, kind).as_ref());
        blocking("deleting begun files", move || forget_staged(&folder)).await?;
        Ok(())
    }

    async fn erase_table(
        self: &Arc<Self>,
        id: &ProjectId,
        kind: TableKind,
        search: &Arc<Search>,
        looked: &mut Vec<Looked>,
        told: &mut ErasedTable,
        tell: Tell<'_>,
    ) -> Result<()> {
        let project = self.projects.get(id);
        let concerned = |file: &Looked| file.found.as_ref().is_none_or(|found| found.rows() > 0);
        let (doomed, rest): (Vec<_>, Vec<_>) = std::mem::take(looked).into_iter().partition(concerned);
        drop(rest);
        let (held, old): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|file| file.held.is_some());
        let total = held.len();
        for (done, files) in held.chunks(FILES_A_COMMIT).enumerate() {
            tell(format!(
                "project {id}, {}: rewriting {} of {total} files",
                kind.folder(),
                done * FILES_A_COMMIT + files.len()
            ));
            self.rewrite(&project, kind, search, files, told).await?;
        }
        let is_range = matches!(search.subject(), Subject::Range { .. });
        let has_past = !held.is_empty() || !old.is_empty() || told.log_objects > 0 || is_range;
        if !has_past {
            return Ok(());
        }
        let mut guard = project.tables.lock().await;
        let tables = project.open_tables(&mut guard, &self.store).await?;
        let table = tables.of(kind);
        // Nothing is written to the table while the lock is held, so what it does not hold now it never will.
        let kept: HashSet<&Path> = table.snapshot().files.iter().map(|file| &file.path).collect();
        let gone = held.iter().chain(&old).map(|file| &file.path);
        let gone: Vec<&Path> = gone.filter(|path| !kept.contains(path)).collect();
        for path in gone {
            match self.store.delete(path).await {
                Ok(()) => told.files_deleted += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        told.log_objects_deleted = table.forget_past(&self.store).await?;
        told.version = table.snapshot().version;
        project.adopt(tables, self.wal.writer_id()).await?;
        drop(guard);
        project.changed();
        self.metrics.erased_rows.add(told.rows + told.old_rows);
        tracing::info!(project = %id, table = kind.folder(), rows = told.rows, old_rows = told.old_rows, "rows were erased");
        Ok(())
    }

    /// Puts files without the rows in the place of `files`, in one commit.
    async fn rewrite(
        self: &Arc<Self>,
        project: &Arc<Project>,
        kind: TableKind,
        search: &Arc<Search>,
        files: &[Looked],
        told: &mut ErasedTable,
    ) -> Result<()> {
        let mut rewrites = Vec::with_capacity(files.len());
        for file in files {
            let groups = file
                .found
                .as_ref()
                .map(|found| found.groups.as_slice())
                .unwrap_or_default();
            let groups: Vec<usize> = groups.iter().map(|(at, _)| *at).collect();
            // A day that goes whole needs no new file.
            let groups = (!file.is_whole_day).then_some(groups);
            rewrites.extend(file.held.clone().map(|held| (held, groups)));
        }
        let thinned: Vec<(Arc<DataFile>, Option<NewFile>)> = futures::stream::iter(rewrites)
            .map(|(held, groups)| async move {
                let Some(groups) = groups else {
                    return Ok((held, None));
                };
                let thinned = self.thinned(project, kind, &held, groups, search).await?;
                Ok::<_, Error>((held, thinned.file))
            })
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let (removed, added): (Vec<_>, Vec<_>) = thinned.into_iter().unzip();
        let added: Vec<NewFile> = added.into_iter().flatten().collect();
        let mut guard = project.tables.lock().await;
        let tables = project.open_tables(&mut guard, &self.store).await?;
        let now_millis = self.clock.now_micros().div_euclid(1000);
        tables.of(kind).take_out(&removed, &added, now_millis).await?;
        project.adopt(tables, self.wal.writer_id()).await?;
        drop(guard);
        project.changed();
        told.files_rewritten += added.len() as u64;
        told.files_removed += (removed.len() - added.len()) as u64;
        Ok(())
    }

    async fn thinned(
        self: &Arc<Self>,
        project: &Arc<Project>,
        kind: TableKind,
        file: &Arc<DataFile>,
        groups: Vec<usize>,
        search: &Arc<Search>,
    ) -> Result<Thinned> {
        let (shared, project, file, search) = (
            Arc::clone(self),
            Arc::clone(project),
            Arc::clone(file),
            Arc::clone(search),
        );
        let runtime = tokio::runtime::Handle::current();
        blocking("rewriting a file", move || {
            let is_out = |batch: &_| search.is_out(kind, batch);
            let table = (&project.id, kind);
            runtime.block_on(thin(&shared.store, table, &file, &groups, &is_out, &shared.clock))
        })
        .await
    }
}

/// A checkpoint's rows as JSON: its texts are compressed in the file.
fn json_of(bytes: bytes::Bytes) -> Result<Vec<u8>> {
    let unreadable = |error: datafusion::parquet::errors::ParquetError| {
        Error::storage(format!("a checkpoint of a table's log cannot be read: {error}")).with_source(error)
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(unreadable)?;
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    for batch in reader.build().map_err(unreadable)? {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner())
}
