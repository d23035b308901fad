//! Where queries run: one bounded memory pool, one footer cache and one set of threads for all of them.

mod statement;

use super::admission::{Admission, Admitted};
use super::bucket;
use super::footers::{KeptFooters, Parsed};
use super::piece;
use super::pool::NeedPool;
use super::rules;
use super::table::{ProjectTable, store_url};
use super::udaf::funnel;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::ProjectView;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::project::ProjectId;
use crate::query::compile::CompiledModel;
use crate::query::plan::{self, Planned};
use crate::query::{Answer, Cell, Query, answer, check, policy, restrict, shown, sql, tables};
use crate::store::verified::VerifyingReaderFactory;
use chrono::DateTime;
use datafusion::catalog::default_table_source::{DefaultTableSource, provider_as_source};
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionConfig;
use futures::FutureExt;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Models kept compiled. A project with files of its own has its own model, so this is the number of such projects whose
/// queries need no compiling.
const COMPILED_MODELS_MAX: usize = 64;
/// Stack of a query thread in bytes. Planning recurses over expressions; debug builds need several times what release
/// builds need.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Memory for each of the queries that run at once.
const QUERY_BYTES_WORTHWHILE: usize = 48 * 1024 * 1024;
/// Columns of conditions that a scan keeps decoded, for each partition of a query; no pool counts them.
const PREDICATE_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// The part of the memory of queries, as a divisor, that a sort keeps for its merges, for each partition of it; all sorts that
/// run at once ask for theirs before they begin.
const SORT_RESERVE_PART: usize = 32;
/// Least memory that a sort keeps for its merges, bytes.
const SORT_RESERVE_BYTES_MIN: usize = 1024 * 1024;
/// Most of it, bytes: what the query engine takes by itself.
const SORT_RESERVE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Bytes of spilled data on disk.
const SPILL_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;

/// How queries are run.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Bytes that all running queries together may hold.
    pub memory_bytes: usize,
    /// Bytes of parsed Parquet footers that are kept.
    pub footer_bytes: usize,
    /// Threads that run queries, and partitions of each.
    pub threads: usize,
    /// Time that a query has, its waiting for others included.
    pub timeout: Duration,
    /// Folder for what queries spill, made and emptied at start; without it the system's folder for temporary files.
    pub spill_dir: Option<PathBuf>,
}

/// The folder, without what a killed process left there.
fn emptied(folder: PathBuf) -> Result<PathBuf> {
    let at = |error: std::io::Error| {
        Error::storage(format!(
            "the folder {} for spilled data cannot be used: {error}",
            folder.display()
        ))
        .with_source(error)
    };
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
        _ => std::fs::create_dir_all(&folder).map_err(at)?,
    }
    Ok(folder)
}

/// Runs queries. One for an engine.
#[derive(Debug)]
pub struct QuerySession {
    runtime: Option<tokio::runtime::Runtime>,
    admission: Admission,
    timeout: Duration,
    /// Queries that ran once more, alone.
    repeated: AtomicU64,
    shared: Arc<Shared>,
}

struct Shared {
    env: Arc<RuntimeEnv>,
    footers: KeptFooters,
    template: SessionState,
    compiled: Mutex<Vec<Arc<CompiledModel>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("env", &self.env).finish_non_exhaustive()
    }
}

/// What one query works on.
#[derive(Clone)]
struct Job {
    project: ProjectId,
    view: ProjectView,
    model: Arc<Model>,
    query: Query,
    now: Micros,
}

impl QuerySession {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Storage` when the threads or the place for spilled data cannot be made.
    pub fn new(options: SessionOptions) -> Result<Self> {
        let footers = KeptFooters::new(options.footer_bytes);
        let caches = CacheManagerConfig::default()
            .with_file_metadata_cache(Some(Arc::<Parsed>::clone(&footers.parsed)))
            .with_metadata_cache_limit(options.footer_bytes);
        let spill = DiskManagerBuilder::default().with_max_temp_directory_size(SPILL_BYTES_MAX);
        let spill = match options.spill_dir {
            Some(folder) => spill.with_mode(DiskManagerMode::Directories(vec![emptied(folder)?])),
            None => spill,
        };
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(NeedPool::new(options.memory_bytes)))
            .with_disk_manager_builder(spill)
            .with_cache_manager(caches)
            .build_arc()?;
        let threads = options.threads.max(1);
        let mut template = sql::base(config(threads, options.memory_bytes))
            .with_analyzer_rule(rules::analyzer())
            .with_physical_optimizer_rules(rules::physical())
            .with_runtime_env(Arc::clone(&env))
            .build();
        sql::register(&mut template);
        template.register_udf(bucket::udf())?;
        for function in piece::udfs() {
            template.register_udf(function)?;
        }
        template.register_udaf(Arc::new(funnel::function()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .thread_keep_alive(crate::limits::BLOCKING_THREAD_IDLE)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            admission: Admission::new(at_once(threads, options.memory_bytes)),
            timeout: options.timeout,
            repeated: AtomicU64::new(0),
            shared: Arc::new(Shared {
                env,
                footers,
                template,
                compiled: Mutex::new(Vec::new()),
            }),
        })
    }

    /// Answers `query` over `view`. Dropping the future stops the query.
    ///
    /// # Errors
    /// `Invalid` for a wrong query, `Model` for a wrong model, `Overloaded`, `Timeout`, `Execution`, `Storage`, and
    /// `Internal` for defects, a panic included.
    pub async fn query(
        &self,
        project: &ProjectId,
        view: ProjectView,
        model: Arc<Model>,
        query: &Query,
        now: Micros,
    ) -> Result<Answer> {
        let job = Job {
            project: project.clone(),
            view,
            model,
            query: Query { now, ..query.clone() },
            now,
        };
        let shared = Arc::clone(&self.shared);
        self.run(move || {
            let (shared, job) = (Arc::clone(&shared), job.clone());
            async move { shared.answer(job).await }
        })
        .await
    }

    /// The plan of `query` as SQL where it can be written so, else as an outline.
    ///
    /// # Errors
    /// As [`QuerySession::query`].
    pub async fn explain(&self, model: Arc<Model>, query: &Query) -> Result<String> {
        let (shared, query) = (&self.shared, query.clone());
        self.run(move || {
            let (shared, model, query) = (Arc::clone(shared), Arc::clone(&model), query.clone());
            async move {
                let compiled = shared.compiled(model);
                let planned = plan::plan(&query, &compiled, &shared.template)?;
                Ok(shown::text(&planned.plan))
            }
        })
        .await
    }

    /// The footers that are kept between queries.
    pub fn footers(&self) -> &KeptFooters {
        &self.shared.footers
    }

    /// Sets the gauges of what queries use now.
    pub fn observe(&self, metrics: &Metrics) {
        let env = &self.shared.env;
        let (running, waiting) = self.admission.counts();
        metrics.queries_running.set(running as u64);
        metrics.queries_waiting.set(waiting as u64);
        metrics.queries_alone.set(self.repeated.load(Ordering::Relaxed));
        metrics.memory_queries.set(env.memory_pool.reserved() as u64);
        metrics.spill_bytes.set(env.disk_manager.used_disk_space());
        metrics.memory_footers.set(self.shared.footers.memory_bytes() as u64);
    }

    /// Runs a query on the query threads, bounded in number and time. What had too little memory beside others is run once
    /// more, alone: nobody is refused because of who else asks.
    async fn run<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let timed = tokio::time::timeout(self.timeout, async {
            let admitted = self.admission.admit().await?;
            let since = admitted.since();
            match self.run_admitted(admitted, work()).await {
                Err(error) if error.is_out_of_memory() && self.admission.had_company(since) => {
                    let alone = self.admission.admit_alone().await?;
                    self.repeated.fetch_add(1, Ordering::Relaxed);
                    self.run_admitted(alone, work()).await
                }
                done => done,
            }
        });
        timed.await.unwrap_or_else(|_| {
            let message = format!("the query took longer than {} seconds", self.timeout.as_secs());
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    async fn run_admitted<T: Send + 'static>(
        &self,
        admitted: Admitted,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let Some(runtime) = &self.runtime else {
            return Err(Error::overloaded("the engine is closing"));
        };
        let work = AssertUnwindSafe(async move {
            let done = work.await;
            drop(admitted);
            done
        });
        let mut task = Stopped(runtime.spawn(work.catch_unwind()));
        match (&mut task.0).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(Error::internal(format!(
                "a query panicked: {}",
                panic_text(panic.as_ref())
            ))),
            Err(error) => Err(Error::internal(format!("a query was lost: {error}"))),
        }
    }
}

impl Drop for QuerySession {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed inside another runtime, and queries hold nothing that must be finished.
            runtime.shutdown_background();
        }
    }
}

/// A task that stops when nobody waits for it any more.
struct Stopped<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Stopped<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Queries that run at once: two for each thread, so that one works while another waits for files; fewer where each would get
/// little memory, because all would end with too little, and what no pool counts comes on top for each.
fn at_once(threads: usize, memory_bytes: usize) -> usize {
    (memory_bytes / QUERY_BYTES_WORTHWHILE).clamp(1, threads * 2)
}

/// Settings of every query.
fn config(threads: usize, memory_bytes: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_parquet_pruning(true)
        .with_collect_statistics(true)
        .with_prefer_existing_sort(true);
    let options = config.options_mut();
    options.execution.sort_spill_reservation_bytes =
        (memory_bytes / SORT_RESERVE_PART).clamp(SORT_RESERVE_BYTES_MIN, SORT_RESERVE_BYTES_MAX);
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.max_predicate_cache_size = Some(PREDICATE_CACHE_BYTES);
    // What a scan is told while a query runs. Least and greatest values forget whatever has no value yet and all that is no plain
    // column; joins mistake columns of one name for each other. Either way rows go missing (DataFusion 55.2: its issues 25147,
    // 24816, 25262, 25264). What `LIMIT` tells is right.
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    config
}

impl Shared {
    /// The compiled form of `model`, made once for each version.
    fn compiled(&self, model: Arc<Model>) -> Arc<CompiledModel> {
        let same = |compiled: &Arc<CompiledModel>| Arc::ptr_eq(compiled.model(), &model);
        if let Some(known) = self.compiled.lock().iter().find(|compiled| same(compiled)) {
            return Arc::clone(known);
        }
        let made = Arc::new(CompiledModel::new(Arc::clone(&model)));
        let mut all = self.compiled.lock();
        if let Some(known) = all.iter().find(|compiled| same(compiled)) {
            return Arc::clone(known);
        }
        if all.len() >= COMPILED_MODELS_MAX {
            all.remove(0);
        }
        all.push(Arc::clone(&made));
        made
    }

    /// A session for one query; functions and rules are shared.
    fn state(&self, now: Micros) -> SessionState {
        let mut state = self.template.clone();
        let config = Arc::clone(state.config_options());
        let props = state.execution_props_mut();
        props.mark_start_execution(config);
        if let Some(now) = DateTime::from_timestamp_micros(now) {
            props.query_execution_start_time = Some(now);
        }
        state
    }

    async fn answer(&self, job: Job) -> Result<Answer> {
        let as_of = job.view.as_of;
        let compiled = self.compiled(Arc::clone(&job.model));
        let state = self.state(job.now);
        let Planned { plan, total, columns } = plan::plan(&job.query, &compiled, &state)?;
        let reads_clock = check::reads_clock(&plan)? || policy::reads_clock(compiled.model(), &job.query)?;
        let bound = Bound::new(self, job.project, job.view)?;
        let (rows, total) = (bound.run(&state, plan), async {
            match total {
                Some(plan) => bound.run(&state, plan).await.map(Some),
                None => Ok(None),
            }
        });
        let (rows, total) = futures::try_join!(rows, total)?;
        let total = total.map(|rows| match rows.first().and_then(|row| row.first()) {
            Some(Cell::Number(count)) => count.parse().map_err(|_| Error::internal("the total is no count")),
            _ => Err(Error::internal("the total has no row")),
        });
        Ok(Answer {
            columns,
            rows,
            total: total.transpose()?,
            as_of,
            reads_clock,
        })
    }
}

/// The tables of one project at one moment.
struct Bound {
    project: ProjectId,
    sources: Vec<(&'static str, Arc<dyn TableSource>)>,
}

impl Bound {
    fn new(shared: &Shared, project: ProjectId, view: ProjectView) -> Result<Self> {
        let url = store_url();
        shared.env.register_object_store(url.as_ref(), Arc::clone(&view.store));
        let cache = shared.env.cache_manager.get_file_metadata_cache();
        let reader = Arc::new(CachedParquetFileReaderFactory::new(view.store, cache));
        let reader = Arc::new(VerifyingReaderFactory::new(reader, Arc::clone(&shared.footers.proved)));
        let tables = [
            (tables::EVENTS, view.events, view.buffered_events),
            (tables::REJECTED, view.rejected, view.buffered_rejected),
        ];
        let mut sources: Vec<(&'static str, Arc<dyn TableSource>)> = Vec::with_capacity(tables.len());
        for (name, files, buffered) in tables {
            let reader = Arc::<VerifyingReaderFactory>::clone(&reader);
            let table = ProjectTable::new(project.clone(), name, files, buffered, reader);
            let table = table.ok_or_else(|| Error::internal(format!("table `{name}` has no schema")))?;
            sources.push((name, provider_as_source(Arc::new(table))));
        }
        Ok(Self { project, sources })
    }

    /// Binds the plan to the project, checks that it is, and runs it.
    async fn run(&self, state: &SessionState, plan: LogicalPlan) -> Result<Vec<Vec<Cell>>> {
        let plan = restrict::bind(plan, |table| {
            let found = self.sources.iter().find(|(name, _)| *name == table);
            let found = found.ok_or_else(|| Error::internal(format!("table `{table}` is not bound")))?;
            Ok(Arc::clone(&found.1))
        })?;
        let plan = state.optimize(&plan)?;
        check::read_only(&plan)?;
        check::belongs_to(&plan, &self.project, project_of)?;
        let physical = state.query_planner().create_physical_plan(&plan, state).await?;
        let batches = collect(physical, state.task_ctx()).await?;
        answer::rows(&batches)
    }
}

/// The project of a table that data can be read from.
fn project_of(source: &dyn TableSource) -> Option<ProjectId> {
    let provider = &source.downcast_ref::<DefaultTableSource>()?.table_provider;
    let table = provider.downcast_ref::<ProjectTable>()?;
    Some(table.project().clone())
}

#[cfg(test)]
mod tests;
