//! Merging files in the background, one job at a time and never more than half of one processor, and deleting what no
//! table holds any more.

use super::Shared;
use super::buffer::{Files, Project};
use crate::blocking::blocking;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::project::ProjectId;
use crate::store::compact::{self, Job};
use crate::store::sweep::Sweep;
use crate::store::{Snapshot, TableKind};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Part of a job's time that is waited after it: as long as it took, which is half of one processor.
const REST: u32 = 1;
/// The longest rest, so that a large job does not stop the small ones.
const REST_MAX: Duration = Duration::from_secs(10);
/// How long a day whose merge failed is left alone, microseconds.
const FAILED_WAIT: Micros = 5 * 60 * 1_000_000;

const KINDS: [TableKind; 2] = [TableKind::Events, TableKind::Rejected];

/// What compaction may use.
#[derive(Debug, Clone)]
pub struct CompactionBudget {
    pool: Arc<dyn MemoryPool>,
    /// Bytes of the files of one job.
    bytes_max: u64,
}

impl CompactionBudget {
    /// A budget of `memory_bytes` for rows in memory.
    pub fn new(memory_bytes: usize) -> Self {
        Self {
            pool: Arc::new(GreedyMemoryPool::new(memory_bytes)),
            // Compressed bytes are a fraction of the rows', but a merge holds only a batch of every file.
            bytes_max: (memory_bytes as u64 * 8).min(limits::COMPACTED_FILE_BYTES * 2),
        }
    }

    /// Bytes that merges hold now.
    pub fn used_bytes(&self) -> usize {
        self.pool.reserved()
    }
}

/// What is remembered between two rounds.
#[derive(Debug, Default)]
struct Memory {
    failed: HashMap<(ProjectId, TableKind, String), Micros>,
    sweeps: HashMap<(ProjectId, TableKind), Sweep>,
    swept_at: HashMap<ProjectId, Micros>,
    expired_at: Option<Micros>,
}

/// One table's files and the job that is best for it.
struct Candidate {
    project: Arc<Project>,
    kind: TableKind,
    job: Job,
}

impl Shared {
    /// Merges until no project in memory has anything worth merging. Returns the number of jobs done.
    ///
    /// # Errors
    /// `Storage` when a file cannot be read or written; the tables are as before.
    pub async fn compact_all(self: &Arc<Self>) -> Result<u64> {
        let mut memory = Memory::default();
        let mut jobs = 0;
        loop {
            // Taken before the files are chosen: the background may be about to merge the same ones.
            let _files = self.life.files.lock().await;
            let Some(candidate) = self.candidate(&memory) else {
                return Ok(jobs);
            };
            let merged = self.run_job(&candidate).await;
            let merged = merged.inspect_err(|_| memory.fail(&candidate, self.clock.now_micros()))?;
            jobs += u64::from(merged);
        }
    }

    fn candidate(&self, memory: &Memory) -> Option<Candidate> {
        let now = self.clock.now_micros();
        let mut best: Option<Candidate> = None;
        for project in self.projects.all() {
            let Some(files) = project.files() else { continue };
            for kind in KINDS {
                let job = compact::next(kind, &files.of(kind).files, now, self.compaction.bytes_max);
                let Some(job) = job.filter(|job| !memory.is_waiting(&project.id, kind, &job.date, now)) else {
                    continue;
                };
                if best.as_ref().is_none_or(|best| best.job.files.len() < job.files.len()) {
                    let project = Arc::clone(&project);
                    best = Some(Candidate { project, kind, job });
                }
            }
        }
        best
    }

    /// Merges. The caller holds the lock of the files since before the candidate was chosen. Returns whether the files were
    /// still there to be merged.
    async fn run_job(self: &Arc<Self>, candidate: &Candidate) -> Result<bool> {
        let started = Instant::now();
        let Candidate { project, kind, job } = candidate;
        let mut job = job.clone();
        let merged = loop {
            match self.merge(&project.id, *kind, &job).await {
                // Wide rows: half as many files at once.
                Err(error) if error.kind() == ErrorKind::Overloaded && job.files.len() > 3 => {
                    job.files.truncate(job.files.len() / 2);
                }
                other => break other?,
            }
        };
        let mut guard = project.tables.lock().await;
        let tables = project.open_tables(&mut guard, &self.store).await?;
        let table = tables.of(*kind);
        let now_millis = self.clock.now_micros().div_euclid(1000);
        let added = std::slice::from_ref(&merged.file);
        let replaced = table.replace(&job.files, added, now_millis).await;
        // After a failure too: the table may have been read again, and may hold more than this process knew.
        project.adopt(tables, self.wal.writer_id()).await?;
        // Another commit of this process took them out, and its answer was lost. The new file is in no table and is swept.
        if replaced.is_err() && tables.of(*kind).holds_all(&job.files).is_err() {
            return Ok(false);
        }
        drop(guard);
        replaced?;
        if merged.duplicates > 0 {
            project.changed();
        }
        self.metrics.compactions.add(1);
        self.metrics.compacted_files.add(job.files.len() as u64);
        self.metrics.compacted_bytes.add(job.bytes());
        self.metrics.compacted_duplicates.add(merged.duplicates);
        self.metrics.compaction_micros.add_duration(started.elapsed());
        tracing::debug!(
            project = %project.id,
            table = kind.folder(),
            date = %job.date,
            files = job.files.len(),
            bytes = job.bytes(),
            bytes_after = merged.file.size_bytes,
            duplicates = merged.duplicates,
            "merged files"
        );
        Ok(true)
    }

    /// The merge on a thread of its own: it computes for as long as it reads.
    async fn merge(self: &Arc<Self>, project: &ProjectId, kind: TableKind, job: &Job) -> Result<compact::Merged> {
        let (shared, project, job) = (Arc::clone(self), project.clone(), job.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking("merging files", move || {
            let merge = compact::merge(
                &shared.store,
                &shared.compaction.pool,
                &project,
                kind,
                &job,
                &shared.clock,
            );
            runtime.block_on(merge)
        })
        .await
    }

    /// Takes days that are past their time out of the tables, once an hour.
    async fn expire_in_time(&self, memory: &mut Memory) {
        let now = self.clock.now_micros();
        let every = micros(limits::RETENTION_INTERVAL_MS);
        if memory.expired_at.is_some_and(|last| now.saturating_sub(last) < every) {
            return;
        }
        memory.expired_at = Some(now);
        if let Err(error) = self.expire_all(false).await {
            tracing::warn!(%error, "days past their time could not be taken out; it is tried again in an hour");
        }
    }

    /// Deletes files that no table held for a while, of the projects whose turn it is.
    async fn sweep(&self, memory: &mut Memory) {
        let now = self.clock.now_micros();
        let every = micros(limits::SWEEP_INTERVAL_MS);
        for project in self.projects.all() {
            let last = memory.swept_at.get(&project.id).copied();
            if last.is_some_and(|last| now.saturating_sub(last) < every) {
                continue;
            }
            let Some(files) = project.files() else { continue };
            memory.swept_at.insert(project.id.clone(), now);
            if let Some(fence) = &self.fence
                && fence.check().await.is_err()
            {
                return;
            }
            for kind in KINDS {
                let sweep = memory.sweeps.entry((project.id.clone(), kind)).or_default();
                let keep = self.life.history();
                let _files = self.life.files.lock().await;
                match sweep
                    .look(&self.store, &project.id, kind, files.of(kind), now, keep)
                    .await
                {
                    Ok(swept) => {
                        self.metrics.swept_files.add(swept.files);
                        self.metrics.swept_bytes.add(swept.bytes);
                    }
                    Err(error) => {
                        tracing::warn!(project = %project.id, %error, "files of no table could not be deleted");
                    }
                }
            }
            self.shorten_logs(&project, now).await;
        }
        memory.swept_at.retain(|_, at| now.saturating_sub(*at) < every * 12);
        let (sweeps, swept_at) = (&mut memory.sweeps, &memory.swept_at);
        sweeps.retain(|(project, _), _| swept_at.contains_key(project));
    }

    /// Deletes what the logs of a project's tables say of times that nobody can ask for.
    async fn shorten_logs(&self, project: &Project, now: Micros) {
        let past = match project.tables.lock().await.as_mut() {
            Some(tables) => KINDS.map(|kind| tables.of(kind).past()),
            None => return,
        };
        let before = now.saturating_sub(self.life.history().max(micros(limits::LOG_KEEP_MS)));
        for past in past {
            match past.delete_before(before.div_euclid(1000)).await {
                Ok(0) => {}
                Ok(entries) => tracing::debug!(project = %project.id, entries, "shortened a table's log"),
                Err(error) => tracing::warn!(project = %project.id, %error, "a table's log could not be shortened"),
            }
        }
    }
}

impl Memory {
    fn fail(&mut self, candidate: &Candidate, now: Micros) {
        let key = (candidate.project.id.clone(), candidate.kind, candidate.job.date.clone());
        self.failed.retain(|_, at| now.saturating_sub(*at) < FAILED_WAIT);
        self.failed.insert(key, now);
    }

    fn is_waiting(&self, project: &ProjectId, kind: TableKind, date: &str, now: Micros) -> bool {
        let key = (project.clone(), kind, date.to_owned());
        self.failed
            .get(&key)
            .is_some_and(|at| now.saturating_sub(*at) < FAILED_WAIT)
    }
}

impl Project {
    fn files(&self) -> Option<Files> {
        self.rows.lock().files.clone()
    }
}

impl Files {
    fn of(&self, kind: TableKind) -> &Snapshot {
        match kind {
            TableKind::Events => &self.events,
            TableKind::Rejected => &self.rejected,
        }
    }
}

fn micros(millis: u64) -> Micros {
    i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// What the background remembers between two rounds.
#[derive(Debug, Default)]
pub struct Rounds {
    memory: Memory,
}

impl Rounds {
    /// Takes out what is past its time, deletes what no table has held for a while, and does the job that is best now. `None`
    /// when there is none.
    pub async fn round(&mut self, engine: &Arc<Shared>) -> Option<Result<()>> {
        engine.expire_in_time(&mut self.memory).await;
        engine.sweep(&mut self.memory).await;
        let _files = engine.life.files.lock().await;
        let candidate = engine.candidate(&self.memory)?;
        let done = engine.run_job(&candidate).await.map(|_| ());
        if let Err(error) = &done {
            engine.failed(&mut self.memory, &candidate, error);
        }
        Some(done)
    }
}

/// The background task, until the engine is gone.
pub async fn run(shared: Weak<Shared>) {
    let mut rounds = Rounds::default();
    let mut rest = Duration::from_millis(limits::COMPACTION_INTERVAL_MS);
    loop {
        tokio::time::sleep(rest).await;
        rest = Duration::from_millis(limits::COMPACTION_INTERVAL_MS);
        let Some(engine) = shared.upgrade() else { return };
        if engine.fence.as_ref().is_some_and(|fence| fence.lost().is_some()) {
            // What happens to the files is the new writer's affair.
            return;
        }
        let started = Instant::now();
        if rounds.round(&engine).await.is_some() {
            rest = (started.elapsed() * REST).clamp(Duration::from_millis(10), REST_MAX);
        }
    }
}

impl Shared {
    fn failed(&self, memory: &mut Memory, candidate: &Candidate, error: &Error) {
        self.metrics.compaction_failures.add(1);
        memory.fail(candidate, self.clock.now_micros());
        tracing::warn!(
            project = %candidate.project.id,
            table = candidate.kind.folder(),
            date = %candidate.job.date,
            error = %error,
            cause = error as &dyn std::error::Error,
            "files could not be merged; they stay as they are and are tried again later"
        );
    }
}
