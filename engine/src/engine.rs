//! The engine as its users see it: open it, append events, ask for a view, flush, close.

use crate::budget::Budget;
use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{QuerySession, SessionOptions};
use crate::health::Health;
use crate::ingest::disk::{Disk, DiskReserve};
use crate::ingest::flusher::{self, Which};
use crate::ingest::group_commit::Committer;
use crate::ingest::{Batch, Changes, DataVersion, Permit, ProjectStats, ProjectView, Receipt, Shared};
use crate::ingest::{compactor, follower};
use crate::limits;
use crate::metrics::Metrics;
use crate::model::{Builtin, Catalog, CatalogOptions, Model, Problem};
use crate::project::ProjectId;
use crate::query::sql_api::{Asked, SqlAnswer, SqlPlan};
use crate::query::{Answer, Query};
pub use crate::store::object::DiskOptions;
use crate::store::object::{self, CachedStore, Watched};
use object_store::ObjectStore;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

mod open;

pub use open::Mode;

/// How to open an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where the tables live: `file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`
    /// or `memory:`.
    pub store_url: String,
    /// Options of the store by their object_store names, for instance credentials.
    pub store_options: Vec<(String, String)>,
    /// What this process does with the store.
    pub mode: Mode,
    /// What this process is called towards others that share the store, for people: host and process.
    pub instance: String,
    /// Folder of the write-ahead log, or of the index of event ids when the log is in the store; one process at a time.
    pub data_dir: PathBuf,
    /// Folder of the users' models and funnels.
    pub models_dir: Option<PathBuf>,
    /// The one memory budget in bytes; `budget.rs` divides it.
    pub memory_bytes: usize,
    /// Milliseconds after which buffered rows go to the tables.
    pub flush_interval_ms: u64,
    /// Buffered rows after which they go to the tables at once.
    pub flush_rows_max: usize,
    /// Buffered bytes after which they go to the tables at once.
    pub flush_bytes_max: usize,
    /// A folder for blocks of remote files, beside those in memory. Without use when the store is on this machine.
    pub cache: Option<DiskOptions>,
    /// Free space of the data folder's disk below which events are refused.
    pub disk_reserve: DiskReserve,
    /// Whether a session lasts 30 minutes longer than its last event, as in Cube's recipe.
    pub sessions_padding: bool,
    /// Partitions a query runs in.
    pub query_threads: usize,
    /// Time that a query has, its waiting for others included.
    pub query_timeout: Duration,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
}

/// What a process is to its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The one that writes.
    Writer {
        /// Its turn: every process that opens the store for writing has one more than the one before.
        epoch: u64,
    },
    /// It wrote, until another process took over. It answers queries from what it knew then.
    Fenced {
        /// What happened, for people.
        reason: String,
    },
    /// It only reads.
    Follower {
        /// When it last looked for commits of the writer and was answered.
        looked_at: Micros,
    },
}

/// Everything that is wrong with the files of a model folder, its SQL included, by file and line.
///
/// # Errors
/// `Model` when the folder does not exist.
pub fn check_models(models_dir: &Path) -> Result<Vec<Problem>> {
    crate::model::catalog::check(models_dir, Some(Arc::new(sql_problems)))
}

/// What does not plan in the SQL of `model`.
fn sql_problems(model: &Model) -> Vec<Problem> {
    let found = crate::query::compile::check_sql(model).into_iter();
    found
        .map(|(location, message)| Problem::error(location, message))
        .collect()
}

/// Storage and queries of all projects of one data folder and one store.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    shared: Arc<Shared>,
    disk: Disk,
    committer: Mutex<Option<(Committer, JoinHandle<()>)>>,
    background: Vec<AbortHandle>,
    catalog: Catalog,
    queries: QuerySession,
    budget: Budget,
    /// What queries read remote files through.
    cache: Option<CachedStore>,
}

impl Engine {
    /// Opens or creates the data folder and the store, and replays what a crash left.
    ///
    /// # Errors
    /// `Invalid` for a store URL that is not understood, `Storage` when a folder or the store cannot be used, `Fenced`
    /// when another process holds the data folder, `Model` when the model folder does not exist.
    pub async fn open(options: EngineOptions) -> Result<Arc<Engine>> {
        let store = match options.mode {
            Mode::ReadOnly { .. } => object::open_to_read(&options.store_url, &options.store_options)?,
            _ => object::open(&options.store_url, &options.store_options).await?,
        };
        Self::open_with_store(options, store).await
    }

    /// As [`Engine::open`], with a store that is open already.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_with_store(options: EngineOptions, store: Arc<dyn ObjectStore>) -> Result<Arc<Engine>> {
        let catalog = Catalog::open(CatalogOptions {
            builtin: Builtin::All {
                sessions_padding: options.sessions_padding,
            },
            models_dir: options.models_dir.clone(),
            clock: Arc::clone(&options.clock),
            check_sql: Some(Arc::new(sql_problems)),
        })?;
        let is_remote = object::is_remote(&options.store_url);
        let budget = Budget::new(options.memory_bytes, is_remote);
        let metrics = Arc::new(Metrics::default());
        let disk = Disk::new(&options.data_dir, options.disk_reserve, Arc::clone(&metrics));
        let health = Arc::new(Health::new(Arc::clone(&options.clock)));
        let store: Arc<dyn ObjectStore> = Arc::new(Watched::new(store, Arc::clone(&metrics), Arc::clone(&health)));
        let cache = is_remote.then(|| {
            let disk = options.cache.clone();
            CachedStore::new(Arc::clone(&store), budget.blocks, disk, Arc::clone(&metrics))
        });
        let cache = cache.transpose()?;
        let parts = open::Parts {
            store,
            metrics,
            health,
            budget: &budget,
        };
        let shared = open::open(&options, &parts).await?;
        let (committer, mut background) = match options.mode {
            Mode::ReadOnly { poll_interval_ms } => {
                let interval = Duration::from_millis(poll_interval_ms);
                let follower = tokio::spawn(follower::run(Arc::downgrade(&shared), interval));
                (None, vec![follower.abort_handle()])
            }
            Mode::LocalWal | Mode::StoreWal { .. } => {
                let committer = Committer::start(Arc::clone(&shared))?;
                let flusher = tokio::spawn(flusher::run(Arc::downgrade(&shared)));
                let compactor = tokio::spawn(compactor::run(Arc::downgrade(&shared)));
                (Some(committer), vec![flusher.abort_handle(), compactor.abort_handle()])
            }
        };
        // After the log is locked: the folder for spilled data is this process's now. A follower may share the data folder
        // of a writer, and has no lock.
        let is_locked = !matches!(options.mode, Mode::ReadOnly { .. });
        let queries = QuerySession::new(SessionOptions {
            memory_bytes: budget.queries,
            footer_bytes: budget.footers,
            threads: options.query_threads,
            timeout: options.query_timeout,
            spill_dir: is_locked.then(|| options.data_dir.join("spill")),
        })?;
        let tidy = tokio::spawn(tidy::run(Arc::downgrade(&shared), queries.footers().clone()));
        background.push(tidy.abort_handle());
        Ok(Arc::new(Self {
            options,
            shared,
            disk,
            committer: Mutex::new(committer),
            background,
            catalog,
            queries,
            budget,
            cache,
        }))
    }

    /// As [`Engine::admit`], for a request that brings events: they also need room on the disk.
    ///
    /// There must be room for all of `bytes`, and [`limits::REQUEST_BYTES_FIRST`] of them are reserved: who announces much and
    /// sends little holds little. [`Engine::admit_more`] reserves the rest as it comes.
    ///
    /// # Errors
    /// `Overloaded` when the bound on buffered bytes is reached, or the disk's free space is below its reserve. `Fenced` when
    /// this process takes no events: it only reads, or another one has taken over.
    pub fn admit_events(&self, bytes: usize) -> Result<Permit> {
        self.may_write()?;
        self.disk.check()?;
        self.counting_refusals(self.shared.admission.has_room(bytes))?;
        self.admit(bytes.min(limits::REQUEST_BYTES_FIRST))
    }

    /// Reserves room for a request of `bytes`, before its body is read. Hold the permit until [`Engine::append`] returns.
    ///
    /// # Errors
    /// `Overloaded` when the bound on buffered bytes is reached; the client should come back in a few seconds.
    pub fn admit(&self, bytes: usize) -> Result<Permit> {
        self.counting_refusals(self.shared.admission.admit(bytes))
    }

    /// Reserves for a request of which `bytes` have come: twice as many if there is room, so that a long body does not ask
    /// for each piece.
    ///
    /// # Errors
    /// As [`Engine::admit`].
    pub fn admit_more(&self, permit: &mut Permit, bytes: usize) -> Result<()> {
        match bytes <= permit.bytes() {
            true => Ok(()),
            false => {
                let grown = permit.grow(bytes.saturating_mul(2));
                self.counting_refusals(grown.or_else(|_| permit.grow(bytes)))
            }
        }
    }

    /// A refusal is counted, and the flusher looks what it can do.
    fn counting_refusals<T>(&self, admitted: Result<T>) -> Result<T> {
        if admitted.is_err() {
            self.shared.metrics.overloaded.add(1);
            self.shared.flush_soon.notify_one();
        }
        admitted
    }

    /// Makes a batch durable and visible to queries. Returns after the fsync; duplicates by event id are left out.
    ///
    /// # Errors
    /// `Storage` when the batch could not be made durable: it may or may not be stored, so the client must send it again.
    /// `Fenced` as for [`Engine::admit_events`].
    pub async fn append(&self, project: &ProjectId, batch: Batch) -> Result<Receipt> {
        self.may_write()?;
        let committer = self.committer.lock().as_ref().map(|(committer, _)| committer.clone());
        let committer = committer.ok_or_else(|| Error::storage("the engine is closed; it takes no more events"))?;
        let started = Instant::now();
        let receipt = committer.append(&self.shared, project, batch).await?;
        self.shared.metrics.ack_seconds.observe(started.elapsed());
        Ok(receipt)
    }

    fn may_write(&self) -> Result<()> {
        match &self.shared.fence {
            Some(fence) => fence.holds(),
            None => Err(Error::new(
                ErrorKind::Fenced,
                "this server only reads: send events to the one that writes",
            )),
        }
    }

    /// What this process is to its store now.
    pub fn role(&self) -> Role {
        let Some(fence) = &self.shared.fence else {
            let looked_at = self.shared.followed_at.load(Ordering::Acquire);
            return Role::Follower { looked_at };
        };
        match fence.lost() {
            None => Role::Writer { epoch: fence.epoch() },
            Some(reason) => Role::Fenced {
                reason: reason.to_owned(),
            },
        }
    }

    /// A consistent view of a project for a query. A project never seen gives an empty view.
    ///
    /// # Errors
    /// `Storage` when the project's table log cannot be read.
    pub async fn view(&self, project: &ProjectId) -> Result<ProjectView> {
        let project = self.shared.projects.get(project);
        let view = project.view(&self.shared.store, &self.shared.clock);
        let view = tokio::time::timeout(self.options.query_timeout, view)
            .await
            .unwrap_or_else(|_| {
                let text =
                    "the project's tables could not be opened in time: the object store is slow to answer; try again";
                Err(Error::new(ErrorKind::Unavailable, text))
            })?;
        Ok(self.through_cache(view))
    }

    /// The same view with its data files read through the cache of blocks, where there is one.
    fn through_cache(&self, mut view: ProjectView) -> ProjectView {
        if let Some(cache) = &self.cache {
            view.store = Arc::new(cache.clone());
        }
        view
    }

    /// Answers a query of a project from everything that was acknowledged before the call. Dropping the future stops it.
    ///
    /// # Errors
    /// `Invalid` for a wrong query, `Model` for a wrong model, `Overloaded` when too many queries wait, `Timeout`,
    /// `Execution` when a value does not fit, `Storage` when files cannot be read, `Internal` for defects.
    pub async fn query(&self, project: &ProjectId, query: &Query) -> Result<Answer> {
        self.counted("load", async {
            let view = match query.as_of {
                None => self.view(project).await?,
                Some(as_of) => self.view_as_of(project, as_of).await?,
            };
            let now = self.options.clock.now_micros();
            self.queries.query(project, view, self.model(project), query, now).await
        })
        .await
    }

    /// The plan of a query as SQL where it can be written so, else as an outline. For people, not for running.
    ///
    /// # Errors
    /// `Invalid` for a wrong query, `Model` for a wrong model.
    pub async fn explain(&self, project: &ProjectId, query: &Query) -> Result<String> {
        self.queries.explain(self.model(project), query).await
    }

    /// Answers a client's SQL over the cubes and views of a project, from everything that was acknowledged before the call.
    /// Dropping the future stops it.
    ///
    /// # Errors
    /// As [`Engine::query`]; `Invalid` also for SQL that is wrong, too large, or does anything but read cubes.
    pub async fn sql(&self, project: &ProjectId, asked: &Asked) -> Result<SqlAnswer> {
        self.counted("sql", async {
            let view = self.view(project).await?;
            let now = self.options.clock.now_micros();
            self.queries.sql(project, view, self.model(project), asked, now).await
        })
        .await
    }

    /// How a client's SQL would be answered: of which kind it is, and the queries inside.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn sql_plan(&self, project: &ProjectId, asked: &Asked) -> Result<SqlPlan> {
        let now = self.options.clock.now_micros();
        self.queries.sql_plan(self.model(project), asked, now).await
    }

    /// The cubes and funnels of a project: the last good ones, at most a second behind the files.
    pub fn model(&self, project: &ProjectId) -> Arc<Model> {
        self.catalog.model(project)
    }

    /// What is wrong with the model files that a project sees, by file and line; empty when all is well.
    pub fn model_problems(&self, project: &ProjectId) -> Vec<Problem> {
        self.catalog.problems(project)
    }

    /// Counts of a project since the engine was opened.
    pub fn stats(&self, project: &ProjectId) -> ProjectStats {
        self.shared.projects.stats(project)
    }

    /// Which rows a query of the project would see now. Without IO: an answer computed after this was read may be used
    /// again for as long as it returns the same.
    pub fn data_version(&self, project: &ProjectId) -> DataVersion {
        self.shared.projects.version(project)
    }

    /// News of a project's rows: wakes when events have become visible to queries.
    pub fn changes(&self, project: &ProjectId) -> Changes {
        self.shared.projects.changes(project)
    }

    /// Puts everything buffered into the tables.
    ///
    /// # Errors
    /// `Storage` when a table cannot be written; nothing is lost, the rows stay buffered and logged.
    pub async fn flush(&self) -> Result<()> {
        self.shared.flush_round(Which::All).await
    }

    /// Puts into the tables what is due: old, large, or too much for the memory. The background does the same in time.
    ///
    /// # Errors
    /// As [`Engine::flush`].
    pub async fn flush_due(&self) -> Result<()> {
        self.shared.flush_round(Which::Due).await
    }

    /// Merges files of all projects in memory until nothing is worth merging; the background does the same in time.
    /// Returns the number of merges.
    ///
    /// # Errors
    /// `Storage` when files cannot be read or written; the tables are as before.
    pub async fn compact(&self) -> Result<u64> {
        self.shared.compact_all().await
    }

    /// Takes no more events, flushes, and stops the background work. A fenced process flushes nothing: what it
    /// acknowledged is in the log.
    ///
    /// # Errors
    /// As [`Engine::flush`]; what could not be flushed is replayed at the next start.
    pub async fn close(&self) -> Result<()> {
        let committer = self.committer.lock().take();
        if let Some((committer, thread)) = committer {
            drop(committer);
            let mut joined = tokio::task::spawn_blocking(move || thread.join());
            let patience = Duration::from_millis(limits::WAL_STOP_WAIT_MS);
            let joined = match tokio::time::timeout(patience, &mut joined).await {
                Ok(joined) => joined,
                Err(_) => {
                    tracing::error!("the store does not take the last events; they were not acknowledged");
                    self.shared.wal.stop();
                    joined.await
                }
            };
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the commit thread ended with a panic; its last batches were not acknowledged");
            }
        }
        self.background.iter().for_each(AbortHandle::abort);
        match self.role() {
            Role::Writer { .. } => {
                self.flush().await?;
                if let Some(fence) = &self.shared.fence {
                    fence.end().await;
                }
                Ok(())
            }
            Role::Fenced { .. } | Role::Follower { .. } => Ok(()),
        }
    }

    /// The engine's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.options.clock
    }

    /// The options the engine was opened with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.background.iter().for_each(AbortHandle::abort);
        let committer = self.committer.lock().take();
        if let Some((committer, thread)) = committer {
            drop(committer);
            self.shared.wal.stop();
            // The thread holds the log; when it has ended, the folder can be opened again.
            let _ = thread.join();
        }
    }
}

mod by_hand;
mod life;
mod remember;
mod tidy;
mod watch;

#[cfg(test)]
mod mode_tests;
#[cfg(test)]
mod model_tests;
