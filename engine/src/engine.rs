//! The engine as its users see it: open it, append events, ask for a view, flush, close.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::exec::{QuerySession, SessionOptions};
use crate::ingest::admission::Admission;
use crate::ingest::{Batch, Permit, ProjectView, Receipt};
use crate::model::{Builtin, Catalog, CatalogOptions, Model, Problem};
use crate::project::ProjectId;
use crate::query::{Answer, Query};
use crate::store::Snapshot;
use object_store::memory::InMemory;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to open an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where the tables live: `file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`
    /// or `memory:`.
    pub store_url: String,
    /// Options of the store by their object_store names, for instance credentials.
    pub store_options: Vec<(String, String)>,
    /// Folder of the write-ahead log and the lock; one process at a time.
    pub data_dir: PathBuf,
    /// Folder of the users' models and funnels.
    pub models_dir: Option<PathBuf>,
    /// The one memory budget in bytes; a quarter bounds ingest, half the queries.
    pub memory_bytes: usize,
    /// Milliseconds after which buffered rows go to the tables.
    pub flush_interval_ms: u64,
    /// Buffered rows after which they go to the tables at once.
    pub flush_rows_max: usize,
    /// Buffered bytes after which they go to the tables at once.
    pub flush_bytes_max: usize,
    /// Whether a session lasts 30 minutes longer than its last event, as in Cube's recipe.
    pub sessions_padding: bool,
    /// Partitions a query runs in.
    pub query_threads: usize,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
}

/// Counts of one project since the engine was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectStats {
    /// Events stored.
    pub stored: u64,
    /// Events that were there already.
    pub duplicate: u64,
    /// Events kept as rejected.
    pub rejected: u64,
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
    admission: Arc<Admission>,
    catalog: Catalog,
    queries: QuerySession,
}

impl Engine {
    /// Opens or creates the data folder and the store, and replays what a crash left.
    ///
    /// # Errors
    /// `Storage` when a folder or the store cannot be used, `Fenced` when another process holds the data folder, `Model`
    /// when the model folder does not exist.
    #[allow(clippy::unused_async, reason = "opening reads the store")]
    pub async fn open(options: EngineOptions) -> Result<Arc<Engine>> {
        let admission = Admission::new(options.memory_bytes / 4);
        let catalog = Catalog::open(CatalogOptions {
            builtin: Builtin::All {
                sessions_padding: options.sessions_padding,
            },
            models_dir: options.models_dir.clone(),
            clock: Arc::clone(&options.clock),
            check_sql: Some(Arc::new(sql_problems)),
        })?;
        let queries = QuerySession::new(SessionOptions {
            memory_bytes: options.memory_bytes / 2,
            threads: options.query_threads,
        })?;
        Ok(Arc::new(Self {
            options,
            admission,
            catalog,
            queries,
        }))
    }

    /// Reserves room for a request of `bytes`, before its body is read. Hold the permit until [`Engine::append`] returns.
    ///
    /// # Errors
    /// `Overloaded` when the bound on buffered bytes is reached; the client should come back in a few seconds.
    pub fn admit(&self, bytes: usize) -> Result<Permit> {
        self.admission.admit(bytes)
    }

    /// Makes a batch durable and visible to queries. Returns after the fsync; duplicates by event id are left out.
    ///
    /// # Errors
    /// `Storage` when the batch could not be made durable: it may or may not be stored, so the client must send it again.
    /// `Overloaded` when the queue is full.
    #[allow(clippy::unused_async, reason = "waits for the group commit")]
    pub async fn append(&self, _project: &ProjectId, _batch: Batch) -> Result<Receipt> {
        Err(Error::storage("the write-ahead log is not open"))
    }

    /// A consistent view of a project for a query. A project never seen gives an empty view.
    ///
    /// # Errors
    /// `Storage` when the project's table log cannot be read.
    #[allow(clippy::unused_async, reason = "reads the table log on first use")]
    pub async fn view(&self, _project: &ProjectId) -> Result<ProjectView> {
        Ok(ProjectView {
            store: Arc::new(InMemory::new()),
            events: Arc::new(Snapshot::default()),
            buffered_events: Vec::new(),
            rejected: Arc::new(Snapshot::default()),
            buffered_rejected: Vec::new(),
            as_of: self.options.clock.now_micros(),
        })
    }

    /// Answers a query of a project from everything that was acknowledged before the call. Dropping the future stops it.
    ///
    /// # Errors
    /// `Invalid` for a wrong query, `Model` for a wrong model, `Overloaded` when too many queries wait, `Timeout`,
    /// `Execution` when a value does not fit, `Storage` when files cannot be read, `Internal` for defects.
    pub async fn query(&self, project: &ProjectId, query: &Query) -> Result<Answer> {
        let view = self.view(project).await?;
        let now = self.options.clock.now_micros();
        self.queries.query(project, view, self.model(project), query, now).await
    }

    /// The plan of a query as SQL where it can be written so, else as an outline. For people, not for running.
    ///
    /// # Errors
    /// `Invalid` for a wrong query, `Model` for a wrong model.
    pub async fn explain(&self, project: &ProjectId, query: &Query) -> Result<String> {
        self.queries.explain(self.model(project), query).await
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
    pub fn stats(&self, _project: &ProjectId) -> ProjectStats {
        ProjectStats::default()
    }

    /// Puts everything buffered into the tables.
    ///
    /// # Errors
    /// `Storage` when a table cannot be written; nothing is lost, the rows stay buffered and logged.
    #[allow(clippy::unused_async, reason = "writes to the store")]
    pub async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Flushes, and stops the background work. Calls after it fail.
    ///
    /// # Errors
    /// As [`Engine::flush`].
    pub async fn close(&self) -> Result<()> {
        self.flush().await
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

#[cfg(test)]
mod model_tests;
