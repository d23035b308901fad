//! What operators see of the engine: its metrics and its troubles.

use super::Engine;
use crate::error::{ErrorKind, Result};
use crate::health::Health;
use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    /// The engine's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// What is wrong with the engine now.
    pub fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// Sets the metrics that are states and not counts, for whoever reads [`Engine::metrics`] next.
    pub fn observe(&self) {
        let metrics = &self.shared.metrics;
        self.shared.observe();
        self.queries.observe(metrics);
        metrics.memory_max_queries.set(self.budget.queries as u64);
        metrics.memory_max_compaction.set(self.budget.compaction as u64);
        metrics.memory_max_footers.set(self.budget.footers as u64);
        metrics.memory_max_blocks.set(self.budget.blocks as u64);
        if let Some(cache) = &self.cache {
            metrics.memory_blocks.set(cache.memory_bytes());
            metrics.cache_disk_bytes.set(cache.disk_bytes());
        }
        if let Ok(space) = rustix::fs::statvfs(&self.options.data_dir) {
            metrics
                .disk_free_bytes
                .set(space.f_bavail.saturating_mul(space.f_frsize));
        }
    }

    /// Counts and times a query, also one whose client goes away before the answer.
    pub(super) async fn counted<T>(&self, api: &'static str, query: impl Future<Output = Result<T>>) -> Result<T> {
        let mut counted = Counted {
            metrics: &self.shared.metrics,
            api,
            started: Instant::now(),
            outcome: "cancelled",
        };
        let result = query.await;
        counted.outcome = match &result {
            Ok(_) => "answered",
            Err(error) => outcome(error.kind()),
        };
        result
    }
}

fn outcome(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Overloaded => "overloaded",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Model | ErrorKind::Execution => {
            "refused"
        }
        ErrorKind::Unavailable | ErrorKind::Storage | ErrorKind::Fenced | ErrorKind::Internal => "failed",
    }
}

/// A query in progress; counted when it ends, however it ends.
struct Counted<'a> {
    metrics: &'a Metrics,
    api: &'static str,
    started: Instant,
    outcome: &'static str,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.queries.add(self.api, self.outcome);
        self.metrics.query_seconds.observe(self.started.elapsed());
    }
}
