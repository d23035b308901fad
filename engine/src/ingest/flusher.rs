//! From the buffer to the tables, in the background: what is old, large or too much for the memory bound.

use super::buffer::{Files, Project};
use super::due::{self, Memory, Situation, Waiting};
use super::part::Part;
use super::{Receipt, Shared};
use crate::blocking::blocking;
use crate::clock::Micros;
use crate::error::Result;
use crate::limits;
use crate::store::TableKind;
use crate::store::flush::{Rows, Unsorted, flush};
use futures::StreamExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Which projects a round takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are due.
    Due,
    /// All that hold rows, also those that failed a moment ago.
    All,
}

impl Project {
    /// What of its rows waits; `None` when nothing does.
    fn waiting(&self) -> Option<Waiting> {
        let rows = self.rows.lock();
        let parts = || rows.sealed.iter().chain([&rows.active]).filter(|part| !part.is_empty());
        let first_seq = parts().filter_map(|part| part.seqs).map(|(first, _)| first).min()?;
        Some(Waiting {
            since: parts().map(|part| part.since).min().unwrap_or_default(),
            rows: parts().map(|part| part.rows).sum(),
            bytes: parts().map(|part| part.bytes).sum(),
            first_seq,
            is_retry: rows.sealed.is_some(),
            retry_at: rows.retry_at,
        })
    }

    pub(super) fn count(&self, receipt: &Receipt, now: Micros) {
        let mut rows = self.rows.lock();
        rows.used_at = now;
        rows.stats.stored += receipt.stored;
        rows.stats.duplicate += receipt.duplicate;
        rows.stats.rejected += receipt.rejected;
    }
}

impl Shared {
    /// Whether a project has so many rows, or ingest so little memory, that the flusher should look at once.
    pub(super) fn is_full(&self, project: &Project) -> bool {
        let rows = project.rows.lock();
        let part = &rows.active;
        let is_full = part.rows >= self.policy.rows_max || part.bytes >= self.policy.bytes_max;
        (is_full || self.memory().is_short()) && self.clock.now_micros() >= rows.retry_at
    }

    fn memory(&self) -> Memory {
        Memory {
            held: self.admission.held_bytes(),
            rows: self.admission.rows_bytes(),
            max: self.admission.bytes_max(),
        }
    }

    /// The projects whose rows go to their tables now.
    fn due(&self) -> Vec<Arc<Project>> {
        let holds_rows = |project: Arc<Project>| project.waiting().map(|waiting| (project, waiting));
        let (projects, waiting): (Vec<_>, Vec<_>) = self.projects.all().into_iter().filter_map(holds_rows).unzip();
        let situation = Situation {
            now: self.clock.now_micros(),
            policy: self.policy,
            memory: self.memory(),
            log_bytes: self.wal.replay_bytes(),
            last_seq: self.applied_seq.load(Ordering::Acquire),
        };
        let chosen = due::choose(&waiting, &situation, &mut self.small_flushes.0.lock());
        chosen.iter().filter_map(|at| projects.get(*at).cloned()).collect()
    }

    /// One round: flushes the projects, then drops what the log no longer needs. Other projects go on when one fails.
    ///
    /// # Errors
    /// The first failure. Its rows stay buffered and logged. `Fenced` when another process has taken over.
    pub async fn flush_round(&self, which: Which) -> Result<()> {
        if let Some(fence) = &self.fence {
            fence.holds()?;
        }
        let due = match which {
            Which::Due => self.due(),
            Which::All => {
                let all = self.projects.all().into_iter();
                all.filter(|project| project.waiting().is_some()).collect()
            }
        };
        if due.is_empty() && which == Which::Due {
            return Ok(());
        }
        let wal = Arc::clone(&self.wal);
        let bytes_min = match which {
            Which::Due => limits::WAL_SEGMENT_BYTES_MIN,
            Which::All => 0,
        };
        blocking("starting a segment", move || wal.rotate(bytes_min)).await?;
        let mut results = futures::stream::iter(due)
            .map(|project| async move { self.flush_project(&project).await })
            .buffer_unordered(limits::FLUSH_PROJECTS_AT_ONCE);
        let mut outcome = Ok(());
        while let Some(result) = results.next().await {
            if outcome.is_ok() {
                outcome = result;
            }
        }
        self.trim().await?;
        outcome
    }

    /// Drops the log's segments whose rows are all in the tables.
    ///
    /// # Errors
    /// `Storage` when a segment cannot be dropped.
    pub(super) async fn trim(&self) -> Result<()> {
        // Read before the buffers: a row applied later has a higher number, so it cannot be missed.
        let applied = self.applied_seq.load(Ordering::Acquire);
        let bound = self
            .projects
            .first_seq()
            .map_or(applied + 1, |first| first.min(applied + 1));
        let wal = Arc::clone(&self.wal);
        blocking("dropping segments", move || wal.trim(bound)).await?;
        self.metrics.wal_bytes.set(self.wal.size_bytes());
        Ok(())
    }

    /// Moves a project's rows into its tables: first those that an earlier failure left, then those that came since.
    async fn flush_project(&self, project: &Project) -> Result<()> {
        let mut guard = project.tables.lock().await;
        let started = Instant::now();
        for _ in 0..2 {
            let is_retry = {
                let mut rows = project.rows.lock();
                let is_retry = rows.sealed.is_some();
                if !is_retry && !rows.active.is_empty() {
                    rows.sealed = Some(std::mem::take(&mut rows.active));
                }
                is_retry
            };
            let flushed = match project.open_tables(&mut guard, &self.store).await {
                Ok(tables) => self.flush_sealed(project, tables, is_retry).await,
                Err(error) => Err(error),
            };
            if let Err(error) = flushed {
                self.back_off(project, &error);
                return Err(error);
            }
            if !is_retry {
                break;
            }
        }
        self.metrics.flush_micros.add_duration(started.elapsed());
        self.metrics.flush_seconds.observe(started.elapsed());
        Ok(())
    }

    async fn flush_sealed(&self, project: &Project, tables: &mut super::buffer::Tables, is_retry: bool) -> Result<()> {
        let writer = self.wal.writer_id();
        if is_retry {
            project.adopt(tables, writer).await?;
        }
        let taken = {
            let mut rows = project.rows.lock();
            rows.sealed.as_mut().and_then(|part| Some((part.view(), part.seqs?.1)))
        };
        let Some((view, seq)) = taken else { return Ok(()) };
        let convert = move || Ok((view.unsorted()?, view.rejected()?));
        let (events, rejected) = blocking("reading the buffer", convert).await?;
        let (store, clock, id) = (&self.store, &self.clock, &project.id);
        let mut files = Files {
            events: Arc::clone(tables.events.snapshot()),
            rejected: Arc::clone(tables.rejected.snapshot()),
        };
        // The rejected events first, under a view that does not show them yet: a failure between the two tables leaves
        // their rows buffered, and the mark keeps a repeat from doubling them.
        if let Some(batch) = rejected {
            let rows = Rows {
                rows: Unsorted::Batches(vec![batch]),
                writer,
                seq,
            };
            let kind = TableKind::Rejected;
            files.rejected = flush(store, &mut tables.rejected, id, kind, rows, clock).await?;
        }
        if !events.is_empty() {
            let rows = Rows {
                rows: events,
                writer,
                seq,
            };
            files.events = flush(store, &mut tables.events, id, TableKind::Events, rows, clock).await?;
        }
        self.swap(project, files);
        Ok(())
    }

    /// The one step in which rows cease to be buffered and begin to be in files.
    fn swap(&self, project: &Project, files: Files) {
        let done: Option<Part> = {
            let mut rows = project.rows.lock();
            rows.files = Some(files);
            rows.failures = 0;
            rows.retry_at = 0;
            rows.sealed.take()
        };
        if let Some(part) = done {
            self.admission.release(part.bytes);
            self.metrics.flushes.add(1);
            self.metrics.flushed_rows.add(part.rows as u64);
            self.metrics.held_bytes.set(self.admission.held_bytes() as u64);
        }
    }

    fn back_off(&self, project: &Project, error: &crate::Error) {
        self.metrics.flush_failures.add(1);
        let now = self.clock.now_micros();
        let mut rows = project.rows.lock();
        // Chance that a simulation can repeat.
        let chance = xxh3_64_with_seed(project.id.as_str().as_bytes(), now.cast_unsigned());
        let wait_ms = due::retry_wait_ms(rows.failures, chance);
        rows.failures = rows.failures.saturating_add(1);
        rows.retry_at = now.saturating_add(i64::try_from(wait_ms * 1000).unwrap_or(i64::MAX));
        tracing::warn!(
            project = %project.id,
            error = %error,
            cause = error as &dyn std::error::Error,
            failures = rows.failures,
            wait_ms,
            "a flush failed; its rows stay in memory and in the log, and are tried again"
        );
    }
}

/// The background task: a round whenever something may be due, until the engine is gone.
pub async fn run(shared: Weak<Shared>) {
    let idle = i64::try_from(limits::PROJECT_IDLE_MS * 1000).unwrap_or(i64::MAX);
    let mut tidied_at = 0;
    let mut checked_at = 0;
    loop {
        let Some(engine) = shared.upgrade() else { return };
        let wait = Duration::from_millis(engine.policy.interval_ms.clamp(20, 1_000));
        tokio::select! {
            () = engine.flush_soon.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        if let Err(error) = engine.flush_round(Which::Due).await {
            tracing::debug!(%error, "the round had a failure, which is logged above");
        }
        let now = engine.clock.now_micros();
        if let Some(fence) = &engine.fence
            && now.saturating_sub(checked_at) > limits::FENCE_CHECK_MS.cast_signed() * 1000
        {
            checked_at = now;
            if let Err(error) = fence.check().await {
                tracing::debug!(%error, "whether this process may write");
            }
        }
        if now.saturating_sub(tidied_at) > idle / 8 {
            tidied_at = now;
            engine.projects.forget_idle(now.saturating_sub(idle));
        }
    }
}
