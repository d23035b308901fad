//! The rows that are acknowledged and not yet in a table's files, and the view that joins both without a row twice.

use super::ProjectStats;
use super::changes::{Changes, DataVersion};
use super::part::{Part, PartView};
use crate::blocking::blocking;
use crate::clock::{Clock, Micros};
use crate::error::Result;
use crate::event::Rejected;
use crate::project::ProjectId;
use crate::store::{Fence, Snapshot, Table, TableKind};
use crate::wal::{EncodedEvents, Seq};
use arrow::record_batch::RecordBatch;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// One consistent view of a project: every acknowledged row is in exactly one of the files and the batches.
#[derive(Debug, Clone)]
pub struct ProjectView {
    /// The object store the files' paths belong to.
    pub store: Arc<dyn ObjectStore>,
    /// Files of the events table.
    pub events: Arc<Snapshot>,
    /// Events not yet in files, with the schema [`crate::event::schema::events`], unsorted.
    pub buffered_events: Vec<RecordBatch>,
    /// Files of the table of rejected events.
    pub rejected: Arc<Snapshot>,
    /// Rejected events not yet in files, with the schema [`crate::event::schema::rejected`], unsorted.
    pub buffered_rejected: Vec<RecordBatch>,
    /// When the view was taken.
    pub as_of: Micros,
}

/// A project's two tables, opened.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) events: Table,
    pub(super) rejected: Table,
}

impl Tables {
    /// The table of this kind.
    pub(super) fn of(&mut self, kind: TableKind) -> &mut Table {
        match kind {
            TableKind::Events => &mut self.events,
            TableKind::Rejected => &mut self.rejected,
        }
    }
}

/// The files of both tables, as of one moment.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) events: Arc<Snapshot>,
    pub(super) rejected: Arc<Snapshot>,
}

/// What one short lock guards: files and rows change places in one step.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// `None` until the tables are opened.
    pub(super) files: Option<Files>,
    /// Rows on their way into files.
    pub(super) sealed: Option<Part>,
    /// Rows that arrive.
    pub(super) active: Part,
    pub(super) stats: ProjectStats,
    pub(super) used_at: Micros,
    /// After failures: how many in a row, and when to try again.
    pub(super) failures: u32,
    pub(super) retry_at: Micros,
}

impl Rows {
    pub(super) fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        self.sealed.iter_mut().chain([&mut self.active])
    }
}

/// A project in memory.
#[derive(Debug)]
pub struct Project {
    pub(super) id: ProjectId,
    pub(super) rows: Mutex<Rows>,
    /// Held while tables are opened or committed to, so that there is one committer per project.
    pub(super) tables: tokio::sync::Mutex<Option<Tables>>,
    /// Counts the changes of the rows.
    version: watch::Sender<DataVersion>,
    /// Where the next version comes from; shared by all projects, so that one that was forgotten never repeats a number.
    versions: Arc<AtomicU64>,
    fence: Option<Arc<Fence>>,
}

impl Project {
    fn new(id: ProjectId, of: &Projects) -> Arc<Self> {
        Arc::new(Self {
            id,
            rows: Mutex::new(Rows::default()),
            tables: tokio::sync::Mutex::new(None),
            version: watch::Sender::default(),
            versions: Arc::clone(&of.versions),
            fence: of.fence.clone(),
        })
    }

    /// Shows acknowledged rows to queries. Returns the bytes they count for.
    pub(super) fn push(&self, seq: Seq, events: EncodedEvents, rejected: Vec<Rejected>, now: Micros) -> usize {
        let bytes = {
            let mut rows = self.rows.lock();
            rows.used_at = now;
            rows.active.push(seq, events, rejected, now)
        };
        self.changed();
        bytes
    }

    /// Tells that the rows are others now. To be called after they can be seen: whoever reads the new version must find
    /// them.
    pub(super) fn changed(&self) {
        let version = DataVersion(self.versions.fetch_add(1, Ordering::Relaxed) + 1);
        self.version.send_replace(version);
    }

    /// Opens the tables unless they are open.
    pub(super) async fn open_tables<'a>(
        &self,
        tables: &'a mut Option<Tables>,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<&'a mut Tables> {
        let opened = match tables.take() {
            Some(opened) => opened,
            None => {
                let open = async |kind| {
                    let table = Table::open(store, &self.id, kind).await?;
                    Ok::<_, crate::Error>(table.fenced_by(self.fence.clone()))
                };
                let opened = Tables {
                    events: open(TableKind::Events).await?,
                    rejected: open(TableKind::Rejected).await?,
                };
                let files = Files {
                    events: Arc::clone(opened.events.snapshot()),
                    rejected: Arc::clone(opened.rejected.snapshot()),
                };
                self.rows.lock().files = Some(files);
                opened
            }
        };
        Ok(tables.insert(opened))
    }

    /// Shows the tables' files as they are known now, whatever made them so. Rows of an unfinished flush that turn out to be
    /// in them are shown from there and no longer from the buffer: the commit may have happened without an answer, and one
    /// table may have its rows while the other has not.
    ///
    /// # Errors
    /// `Storage` when a table's marks cannot be read; what is shown is then as before.
    pub(super) async fn adopt(&self, tables: &Tables, writer: &str) -> Result<()> {
        let files = Files {
            events: Arc::clone(tables.events.snapshot()),
            rejected: Arc::clone(tables.rejected.snapshot()),
        };
        // Only who holds the tables seals rows, so this stays true until the end.
        let sealed = self.rows.lock().sealed.as_ref().and_then(|part| part.seqs);
        let marks = match sealed {
            Some(_) => (tables.events.mark(writer).await?, tables.rejected.mark(writer).await?),
            None => (0, 0),
        };
        let mut rows = self.rows.lock();
        rows.files = Some(files);
        if let (Some(part), Some((_, last))) = (&mut rows.sealed, sealed) {
            part.has_filed_events |= marks.0 >= last;
            part.has_filed_rejected |= marks.1 >= last;
        }
        Ok(())
    }

    /// A consistent view. Opens the tables on first use.
    ///
    /// # Errors
    /// `Storage` when the table log cannot be read.
    pub async fn view(&self, store: &Arc<dyn ObjectStore>, clock: &Arc<dyn Clock>) -> Result<ProjectView> {
        let (files, parts) = match self.take_view(clock) {
            Some(taken) => taken,
            None => loop {
                let mut tables = self.tables.lock().await;
                self.open_tables(&mut tables, store).await?;
                if let Some(taken) = self.take_view(clock) {
                    break taken;
                }
            },
        };
        let as_of = clock.now_micros();
        let convert = move || {
            let mut events = Vec::new();
            let mut rejected = Vec::new();
            for part in &parts {
                events.extend(part.events()?);
                rejected.extend(part.rejected()?);
            }
            Ok((events, rejected))
        };
        let (buffered_events, buffered_rejected) = blocking("reading the buffer", convert).await?;
        Ok(ProjectView {
            store: Arc::clone(store),
            events: files.events,
            buffered_events,
            rejected: files.rejected,
            buffered_rejected,
            as_of,
        })
    }

    fn take_view(&self, clock: &Arc<dyn Clock>) -> Option<(Files, Vec<PartView>)> {
        let mut rows = self.rows.lock();
        rows.used_at = clock.now_micros();
        let files = rows.files.clone()?;
        let parts = rows.parts().map(Part::view).collect();
        Some((files, parts))
    }

    /// The lowest WAL number among the buffered rows.
    fn first_seq(&self) -> Option<Seq> {
        let mut rows = self.rows.lock();
        rows.parts().filter_map(|part| part.seqs).map(|(first, _)| first).min()
    }
}

/// All projects in memory, made on first use.
#[derive(Debug, Default)]
pub struct Projects {
    all: RwLock<HashMap<ProjectId, Arc<Project>>>,
    versions: Arc<AtomicU64>,
    fence: Option<Arc<Fence>>,
}

impl Projects {
    /// No projects yet. Their tables are committed to while `fence` holds.
    pub fn new(fence: Option<Arc<Fence>>) -> Self {
        Self {
            fence,
            ..Self::default()
        }
    }

    /// The project, made when it is not in memory.
    pub fn get(&self, id: &ProjectId) -> Arc<Project> {
        if let Some(found) = self.all.read().get(id) {
            return Arc::clone(found);
        }
        let mut all = self.all.write();
        let entry = all.entry(id.clone());
        Arc::clone(entry.or_insert_with(|| Project::new(id.clone(), self)))
    }

    /// Counts of a project; zeros for one that is not in memory.
    pub fn stats(&self, id: &ProjectId) -> ProjectStats {
        self.all
            .read()
            .get(id)
            .map(|project| project.rows.lock().stats)
            .unwrap_or_default()
    }

    /// The version of a project's rows; the first one for a project that is not in memory.
    pub fn version(&self, id: &ProjectId) -> DataVersion {
        let all = self.all.read();
        all.get(id).map(|project| *project.version.borrow()).unwrap_or_default()
    }

    /// News of a project's rows from now on.
    pub fn changes(&self, id: &ProjectId) -> Changes {
        // Under the lock, so that the project is not forgotten before somebody listens to it.
        let mut all = self.all.write();
        let entry = all.entry(id.clone());
        let project = entry.or_insert_with(|| Project::new(id.clone(), self));
        Changes(project.version.subscribe())
    }

    /// All projects.
    pub(super) fn all(&self) -> Vec<Arc<Project>> {
        self.all.read().values().cloned().collect()
    }

    /// The data files of all tables, as far as they are known here.
    pub fn data_files(&self) -> HashSet<Path> {
        let known = self
            .all()
            .into_iter()
            .filter_map(|project| project.rows.lock().files.clone());
        let snapshots = known.flat_map(|files| [files.events, files.rejected]);
        let paths = |snapshot: Arc<Snapshot>| snapshot.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
        snapshots.flat_map(paths).collect()
    }

    /// The lowest WAL number that is in no table yet.
    pub(super) fn first_seq(&self) -> Option<Seq> {
        self.all().iter().filter_map(|project| project.first_seq()).min()
    }

    /// Gives up the table logs of projects that nobody used since `before` and that hold no rows, and forgets projects
    /// that never had a row: a token can name any number of projects.
    pub(super) fn forget_idle(&self, before: Micros) {
        let mut all = self.all.write();
        all.retain(|_, project| {
            // A clone elsewhere means that somebody is about to use it.
            if Arc::strong_count(project) > 1 {
                return true;
            }
            let Ok(mut tables) = project.tables.try_lock() else {
                return true;
            };
            let mut rows = project.rows.lock();
            let is_watched = project.version.receiver_count() > 0;
            let is_idle = rows.used_at < before && !is_watched && rows.parts().all(|part| part.is_empty());
            if is_idle {
                *tables = None;
                rows.files = None;
            }
            !is_idle || rows.stats != ProjectStats::default()
        });
    }
}
