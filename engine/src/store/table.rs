//! One project's table: its log opened, read into a [`Snapshot`], and committed to.
//!
//! The log is in the Delta Lake format, read and written through `deltalake-core`; everything that knows the library is
//! in this file and its parts, in `log.rs` and in `schema.rs`. A commit carries a mark (writer, last WAL number), in the same atomic
//! step as the files: whoever wonders whether rows are in the table compares numbers.

mod past;
mod refresh;
mod tries;

pub use past::Past;

use super::checksum::Checksums;
use super::fence::{EPOCH_MARK, Fence};
use super::log::TableLogStore;
use super::log::seal;
use super::snapshot::{ColumnStats, DataFile, Snapshot};
use super::{TableKind, paths, schema, stats};
use crate::error::{Error, Result, StoreFailure};
use crate::event::Column;
use crate::event::schema::PARTITION_COLUMN;
use crate::limits;
use crate::project::ProjectId;
use deltalake_core::checkpoints;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Action, Add, EagerSnapshot, LogicalFileView, Remove, Transaction};
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tries::Tries;

/// Name under which commits that take files out carry a mark in a table's log.
const EXCHANGE_MARK: &str = "tally-exchange";

/// A data file that is written and not yet in the table.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFile {
    /// Name from the table's folder.
    pub log_path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// UTC day as `YYYY-MM-DD`.
    pub date: String,
    /// Milliseconds since the epoch.
    pub modified_millis: i64,
    /// Statistics of the columns worth it.
    pub stats: BTreeMap<Column, ColumnStats>,
    /// Proof of its bytes.
    pub checksums: Checksums,
}

/// A table, opened. Reading is cheap; commits go one after another.
pub struct Table {
    kind: TableKind,
    root: Path,
    log: LogStoreRef,
    state: Option<EagerSnapshot>,
    /// What [`Table::mark`] has read of `state`. The library reads every entry since the last checkpoint for it.
    marks: Mutex<HashMap<String, u64>>,
    snapshot: Arc<Snapshot>,
    fence: Option<Arc<Fence>>,
    /// Looks for commits of others that found none.
    quiet_looks: u32,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("root", &self.root)
            .field("version", &self.snapshot.version)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Opens a project's table. A table that does not exist yet is empty, and made by the first commit.
    ///
    /// # Errors
    /// `Storage` when the log cannot be read, or uses a feature that Tally does not know.
    pub async fn open(store: &Arc<dyn ObjectStore>, project: &ProjectId, kind: TableKind) -> Result<Self> {
        let root = paths::table(project, kind);
        let log = TableLogStore::open(store, &root).map_err(|error| failed(&root, "be opened", error))?;
        let mut table = Self {
            kind,
            root,
            log,
            state: None,
            marks: Mutex::default(),
            snapshot: Arc::new(Snapshot::default()),
            fence: None,
            quiet_looks: 0,
        };
        table.reload().await?;
        Ok(table)
    }

    /// The same table, which commits only while `fence` holds and marks its commits with its epoch.
    #[must_use]
    pub fn fenced_by(mut self, fence: Option<Arc<Fence>>) -> Self {
        self.fence = fence;
        self
    }

    /// The table as of the last commit seen.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The last WAL number of `writer` whose rows are in the table; 0 when there is none.
    ///
    /// # Errors
    /// `Storage` when the log cannot be read.
    pub async fn mark(&self, writer: &str) -> Result<u64> {
        let Some(state) = &self.state else { return Ok(0) };
        if let Some(mark) = self.marks.lock().get(writer) {
            return Ok(*mark);
        }
        let version = state
            .transaction_version(self.log.as_ref(), writer)
            .await
            .map_err(|error| failed(&self.root, "be read", error))?;
        let mark = version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
        self.marks.lock().insert(writer.to_owned(), mark);
        Ok(mark)
    }

    /// Takes over what a commit or another look at the log has found. `moved` is the only mark that is not as before; without
    /// it all are read again.
    fn take(&mut self, state: Option<EagerSnapshot>, snapshot: Snapshot, moved: Option<(&str, u64)>) {
        self.snapshot = Arc::new(snapshot);
        self.state = state;
        let mut marks = self.marks.lock();
        match moved {
            Some((writer, seq)) => drop(marks.insert(writer.to_owned(), seq)),
            None => marks.clear(),
        }
    }

    /// Takes the table for this process's epoch: from then on a commit of an earlier writer that is still on its way meets
    /// ours and is refused. To be called before a mark is trusted that such a commit could move.
    ///
    /// # Errors
    /// `Storage` when the log cannot be read or written, `Fenced` when a later writer was here.
    pub async fn claim(&mut self, now_millis: i64) -> Result<()> {
        let Some(fence) = self.fence.clone() else { return Ok(()) };
        for _ in 0..limits::CLAIM_TRIES_MAX {
            if self.mark(EPOCH_MARK).await? >= fence.epoch() {
                return Ok(());
            }
            let operation = DeltaOperation::Write {
                mode: SaveMode::Append,
                partition_by: Some(vec![PARTITION_COLUMN.to_owned()]),
                predicate: None,
            };
            let actions = self.schema_actions(now_millis)?;
            match self.put(actions, operation, None).await {
                Ok((state, _)) => {
                    let snapshot = self.read_snapshot(&state)?;
                    self.take(Some(state), snapshot, None);
                }
                // Whoever was first, the log says what is so now.
                Err(error) => {
                    tracing::debug!(%error, table = %self.root, "a table is taken over at another try");
                    fence.check().await?;
                    self.reload().await?;
                }
            }
        }
        Err(Error::storage(format!(
            "the table {} could not be taken over from an earlier writer in {} tries",
            self.root,
            limits::CLAIM_TRIES_MAX
        )))
    }

    /// Reads the log again from the store.
    async fn reload(&mut self) -> Result<()> {
        let exists = self.log.is_delta_table_location().await;
        if !exists.map_err(|error| failed(&self.root, "be read", error))? {
            self.take(None, Snapshot::default(), None);
            return Ok(());
        }
        let state = self.state_at(None).await?;
        let snapshot = self.read_snapshot(&state)?;
        self.take(Some(state), snapshot, None);
        Ok(())
    }

    /// What the log says of `version`, the newest one without.
    async fn state_at(&self, version: Option<u64>) -> Result<EagerSnapshot> {
        EagerSnapshot::try_new(self.log.as_ref(), version)
            .await
            .map_err(|error| failed(&self.root, "be read", error))
    }

    /// Adds `files` to the table and moves the mark of `writer` to `seq`, in one atomic step.
    ///
    /// After an error the outcome may be unknown (a commit whose answer was lost). So the log is read again, and when
    /// the mark is there the commit counts as done; hence a caller may repeat a failed commit with the same `seq`.
    ///
    /// # Errors
    /// `Storage` when the commit did not happen, `Fenced` when another process has taken over.
    pub async fn commit(&mut self, files: &[NewFile], writer: &str, seq: u64) -> Result<Arc<Snapshot>> {
        let mut tries = Tries::default();
        let before = self.mark(writer).await?;
        loop {
            let Err(error) = self.try_commit(files, writer, seq).await else {
                return Ok(Arc::clone(&self.snapshot));
            };
            self.check_fence().await?;
            self.reload().await?;
            let mark = self.mark(writer).await?;
            if mark >= seq {
                return Ok(Arc::clone(&self.snapshot));
            }
            // A mark that has moved says that some of these rows are there: the caller has to look which.
            tries.again(error, mark == before)?;
        }
    }

    async fn try_commit(&mut self, files: &[NewFile], writer: &str, seq: u64) -> Result<()> {
        let version = i64::try_from(seq).map_err(|_| Error::internal("a WAL number beyond 63 bits"))?;
        let created_millis = files.iter().map(|file| file.modified_millis).max().unwrap_or(0);
        let mut actions = self.schema_actions(created_millis)?;
        actions.extend(files.iter().map(add_action));
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![PARTITION_COLUMN.to_owned()]),
            predicate: None,
        };
        let expected = self.next_version();
        let mark = Some(Transaction::new(writer, version));
        let (state, committed) = self.put(actions, operation, mark).await?;
        // Else somebody else's entries are between, with marks of their own.
        let is_next = committed == expected;
        let snapshot = match is_next {
            true => self.extended(files, expected),
            false => self.read_snapshot(&state)?,
        };
        self.take(Some(state), snapshot, is_next.then_some((writer, seq)));
        Ok(())
    }

    fn next_version(&self) -> u64 {
        self.snapshot.version.map_or(0, |version| version + 1)
    }

    /// Writes one entry of the log. Returns the table after it, and the entry's version.
    async fn put(
        &self,
        actions: Vec<Action>,
        operation: DeltaOperation,
        mark: Option<Transaction>,
    ) -> Result<(EagerSnapshot, u64)> {
        self.check_fence().await?;
        let epoch = self.fence.as_ref().map(|fence| fence.epoch());
        let epoch = epoch.and_then(|epoch| i64::try_from(epoch).ok());
        // Two entries with the same mark exclude each other, so a fenced writer's entry cannot follow its successor's.
        let epoch = epoch.map(|epoch| Transaction::new(EPOCH_MARK, epoch));
        let properties = CommitProperties::default()
            .with_application_transactions(mark.into_iter().chain(epoch).collect())
            // Makes the entry's bytes unlike any rival's.
            .with_metadata([(seal::MARK.to_owned(), json!(uuid::Uuid::new_v4().to_string()))])
            // By the library's default after thirty days; see [`Past`].
            .with_cleanup_expired_logs(Some(false));
        let reference = self.state.as_ref().map(|state| state as &dyn TableReference);
        let done = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(reference, Arc::clone(&self.log), operation)
            .await
            .map_err(|error| failed(&self.root, "be committed to", error))?;
        let state = done.snapshot().snapshot().clone();
        let state = match done.metrics.new_checkpoint_created {
            true => self.read_anew(state).await,
            false => state,
        };
        Ok((state, done.version()))
    }

    /// The same version, read anew. The library goes through what it has read of the log at each commit, and has that in
    /// as many pieces as there were commits; from a checkpoint it reads one.
    async fn read_anew(&self, state: EagerSnapshot) -> EagerSnapshot {
        self.state_at(Some(state.version())).await.unwrap_or_else(|error| {
            tracing::debug!(%error, table = %self.root, "a new checkpoint is not read; the commit holds all the same");
            state
        })
    }

    async fn check_fence(&self) -> Result<()> {
        match &self.fence {
            None => Ok(()),
            Some(fence) => fence.check().await,
        }
    }

    /// Puts `added` in the place of `removed`, which hold the same rows, in one atomic step. The marks stay.
    ///
    /// As with [`Table::commit`] the log decides after an error.
    ///
    /// # Errors
    /// `Storage` when one of `removed` is in the table no more or the commit did not happen, `Fenced` when another process
    /// has taken over.
    pub async fn replace(
        &mut self,
        removed: &[Arc<DataFile>],
        added: &[NewFile],
        now_millis: i64,
    ) -> Result<Arc<Snapshot>> {
        self.exchange(removed, added, now_millis, false).await
    }

    /// Puts `added` in the place of `removed`, of whose rows some are no more, or takes `removed` out when there is
    /// nothing to put in their place; in one atomic step. The marks stay, so that the rows do not come back from the
    /// write-ahead log.
    ///
    /// # Errors
    /// As [`Table::replace`].
    pub async fn take_out(
        &mut self,
        removed: &[Arc<DataFile>],
        added: &[NewFile],
        now_millis: i64,
    ) -> Result<Arc<Snapshot>> {
        self.exchange(removed, added, now_millis, true).await
    }

    async fn exchange(
        &mut self,
        removed: &[Arc<DataFile>],
        added: &[NewFile],
        now_millis: i64,
        is_change: bool,
    ) -> Result<Arc<Snapshot>> {
        let mut tries = Tries::default();
        self.holds_all(removed)?;
        loop {
            let Err(error) = self.try_exchange(removed, added, now_millis, is_change).await else {
                return Ok(Arc::clone(&self.snapshot));
            };
            self.check_fence().await?;
            self.reload().await?;
            let held: HashSet<&str> = self.snapshot.files.iter().map(|file| file.log_path.as_str()).collect();
            let has_added = added.iter().all(|file| held.contains(file.log_path.as_str()));
            let lacks_removed = removed.iter().all(|file| !held.contains(file.log_path.as_str()));
            if has_added && lacks_removed {
                return Ok(Arc::clone(&self.snapshot));
            }
            if let Err(gone) = self.holds_all(removed) {
                return Err(gone.with_source(error));
            }
            tries.again(error, true)?;
        }
    }

    /// Whether `files` are in the table as of the last commit seen.
    ///
    /// # Errors
    /// `Storage` when one is not. That is no rival's doing while the fence holds: a commit of this process whose answer was
    /// lost took it out.
    pub fn holds_all(&self, files: &[Arc<DataFile>]) -> Result<()> {
        let held: HashSet<&str> = self.snapshot.files.iter().map(|file| file.log_path.as_str()).collect();
        match files.iter().find(|file| !held.contains(file.log_path.as_str())) {
            None => Ok(()),
            Some(gone) => Err(Error::storage(format!(
                "the table {} does not hold {} any more: an earlier commit, whose answer was lost, took it out; try again",
                self.root, gone.log_path
            ))),
        }
    }

    async fn try_exchange(
        &mut self,
        removed: &[Arc<DataFile>],
        added: &[NewFile],
        now_millis: i64,
        is_change: bool,
    ) -> Result<()> {
        let data_change = |action| match action {
            Action::Add(add) => Action::Add(Add {
                data_change: is_change,
                ..add
            }),
            Action::Remove(remove) => Action::Remove(Remove {
                data_change: is_change,
                ..remove
            }),
            other => other,
        };
        let removed = removed.iter().map(|file| remove_action(file, now_millis));
        let actions: Vec<Action> = removed.chain(added.iter().map(add_action)).map(data_change).collect();
        let operation = match is_change {
            true => DeltaOperation::Delete { predicate: None },
            false => DeltaOperation::Optimize {
                predicate: None,
                target_size: i64::try_from(limits::COMPACTED_FILE_BYTES).unwrap_or(i64::MAX),
            },
        };
        // Two exchanges exclude each other: the library lets one through that removes what is removed already, and its rows would
        // be there twice. So it was after a merge whose answer was lost.
        let expected = self.next_version();
        let mark = Transaction::new(EXCHANGE_MARK, i64::try_from(expected).unwrap_or(i64::MAX));
        let (state, committed) = self.put(actions, operation, Some(mark)).await?;
        let snapshot = self.read_snapshot(&state)?;
        let moved = (committed == expected).then_some((EXCHANGE_MARK, expected));
        self.take(Some(state), snapshot, moved);
        Ok(())
    }

    /// The table as it was at `version`. Whether the files of that version are still there is another question.
    ///
    /// # Errors
    /// `Storage` when the log does not reach back so far or cannot be read.
    pub async fn at_version(&self, version: u64) -> Result<Arc<Snapshot>> {
        let state = self.state_at(Some(version)).await?;
        Ok(Arc::new(self.read_snapshot(&state)?))
    }

    /// Makes the log begin at the version now: what earlier entries and checkpoints say, bounds of columns among it, is
    /// deleted. Earlier versions can be read no more. Returns the number of deleted objects.
    ///
    /// A crash on the way leaves a log that is whole, and some of what was to be deleted.
    ///
    /// # Errors
    /// `Storage` when the checkpoint cannot be written or an object not be deleted.
    pub async fn forget_past(&mut self, store: &Arc<dyn ObjectStore>) -> Result<u64> {
        let Some(version) = self.snapshot.version else {
            return Ok(0);
        };
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        let at = |error| failed(&self.root, "make a checkpoint", error);
        table.load_version(version).await.map_err(at)?;
        checkpoints::create_checkpoint(&table, None).await.map_err(at)?;
        let folder = paths::log_folder(&self.root);
        let listed: Vec<_> = store.list(Some(&folder)).try_collect().await?;
        let mut deleted = 0;
        for object in listed {
            let about = paths::log_version(&self.root, &object.location);
            if about.is_some_and(|about| about < version) {
                match store.delete(&object.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // The state in memory knows the table by the objects that are gone.
        self.reload().await?;
        Ok(deleted)
    }

    /// The actions that make the table, or give it columns it lacks.
    fn schema_actions(&self, created_millis: i64) -> Result<Vec<Action>> {
        let defect =
            |error: serde_json::Error| Error::internal("a table's metadata does not convert").with_source(error);
        let Some(state) = &self.state else {
            let protocol = json!({"minReaderVersion": 1, "minWriterVersion": 2});
            let metadata = schema::new_metadata(self.kind, created_millis)?;
            return Ok(vec![
                Action::Protocol(serde_json::from_value(protocol).map_err(defect)?),
                Action::Metadata(serde_json::from_value(metadata).map_err(defect)?),
            ]);
        };
        let metadata = serde_json::to_value(state.metadata()).map_err(defect)?;
        match schema::evolve(self.kind, &metadata)? {
            None => Ok(Vec::new()),
            Some(evolved) => Ok(vec![Action::Metadata(serde_json::from_value(evolved).map_err(defect)?)]),
        }
    }

    /// The snapshot after our own commit, without reading the log.
    fn extended(&self, files: &[NewFile], version: u64) -> Snapshot {
        let mut all = self.snapshot.files.clone();
        all.extend(files.iter().map(|file| {
            Arc::new(DataFile {
                path: paths::data_file(&self.root, &file.log_path),
                log_path: file.log_path.clone(),
                size_bytes: file.size_bytes,
                rows: Some(file.rows),
                date: file.date.clone(),
                modified_millis: file.modified_millis,
                is_sorted: paths::is_sorted(&file.log_path),
                stats: file.stats.clone(),
                checksums: Some(file.checksums.clone()),
            })
        }));
        Snapshot {
            version: Some(version),
            files: all,
        }
    }

    fn read_snapshot(&self, state: &EagerSnapshot) -> Result<Snapshot> {
        let log_data = state
            .try_log_data()
            .map_err(|error| failed(&self.root, "be read", error))?;
        let files = log_data
            .iter()
            .map(|view| self.read_file(&view))
            .collect::<Result<Vec<_>>>()?;
        Ok(Snapshot {
            version: Some(state.version()),
            files,
        })
    }

    fn read_file(&self, view: &LogicalFileView) -> Result<Arc<DataFile>> {
        #[expect(deprecated, reason = "nothing else gives a file's tags")]
        let add = view.add_action();
        let log_path = add.path;
        if add.deletion_vector.is_some() {
            return Err(Error::storage(format!(
                "the file {log_path} of the table {} has rows deleted by another program (a deletion vector), which \
                 Tally does not read: run that program's purge or vacuum of deletion vectors",
                self.root
            )));
        }
        let date = add.partition_values.get(PARTITION_COLUMN).cloned().flatten();
        let date = date
            .or_else(|| paths::date_of(&log_path).map(str::to_owned))
            .ok_or_else(|| {
                Error::storage(format!(
                    "the file {log_path} of the table {} has no value of the partition column `{PARTITION_COLUMN}`",
                    self.root
                ))
            })?;
        let stats_json: Value = add
            .stats
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null);
        Ok(Arc::new(DataFile {
            path: paths::data_file(&self.root, &log_path),
            size_bytes: u64::try_from(add.size).unwrap_or(0),
            rows: stats::rows(&stats_json),
            date,
            modified_millis: add.modification_time,
            is_sorted: paths::is_sorted(&log_path),
            stats: stats::from_json(&stats_json),
            checksums: Checksums::from_tags(add.tags.as_ref())?,
            log_path,
        }))
    }
}

fn add_action(file: &NewFile) -> Action {
    Action::Add(Add {
        path: file.log_path.clone(),
        partition_values: HashMap::from([(PARTITION_COLUMN.to_owned(), Some(file.date.clone()))]),
        size: i64::try_from(file.size_bytes).unwrap_or(i64::MAX),
        modification_time: file.modified_millis,
        data_change: true,
        stats: Some(stats::to_json(file.rows, &file.stats)),
        tags: Some(file.checksums.to_tags()),
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    })
}

fn remove_action(file: &DataFile, now_millis: i64) -> Action {
    Action::Remove(Remove {
        path: file.log_path.clone(),
        data_change: false,
        deletion_timestamp: Some(now_millis),
        extended_file_metadata: Some(true),
        partition_values: Some(HashMap::from([(PARTITION_COLUMN.to_owned(), Some(file.date.clone()))])),
        size: i64::try_from(file.size_bytes).ok(),
        tags: file.checksums.as_ref().map(Checksums::to_tags),
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
    })
}

fn failed(root: &Path, what: &str, error: DeltaTableError) -> Error {
    let text = format!("the table {root} cannot {what}: {error}");
    if StoreFailure::is_behind(&error) {
        return StoreFailure::told(Error::storage(text).with_source(error));
    }
    // The library names the feature or version that it does not know, and not what to do.
    let is_newer = ["protocol", "eature", "nsupported"]
        .iter()
        .any(|word| text.contains(word));
    let advice = match is_newer {
        true => concat!(
            ". This is Tally ",
            env!("CARGO_PKG_VERSION"),
            ", which reads and writes Delta tables of reader version 1 to 3 with the features it knows: use the version of \
             Tally that wrote the table or a newer one, or take out the feature with the program that put it in"
        ),
        false => "",
    };
    Error::storage(format!("{text}{advice}")).with_source(error)
}
