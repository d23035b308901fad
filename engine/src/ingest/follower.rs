//! A process that only reads: it looks for the commits of the writer, of the projects that somebody uses.

use super::Shared;
use super::buffer::{Files, Project};
use crate::error::Result;
use crate::limits;
use futures::StreamExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

impl Shared {
    /// One look at every project in use. Other projects go on when one fails.
    ///
    /// # Errors
    /// The first failure; what was seen before stays in answers.
    pub async fn follow_round(&self) -> Result<()> {
        let started = self.clock.now_micros();
        let projects = self.projects.all();
        let mut results = futures::stream::iter(projects)
            .map(|project| async move { project.follow().await })
            .buffer_unordered(limits::FOLLOW_PROJECTS_AT_ONCE);
        let mut outcome = Ok(());
        while let Some(result) = results.next().await {
            if outcome.is_ok() {
                outcome = result;
            }
        }
        drop(results);
        if outcome.is_ok() {
            self.followed_at.store(started, Ordering::Release);
        }
        outcome
    }
}

impl Project {
    /// Shows the commits that have come since the last look, if the project's tables are open.
    async fn follow(self: Arc<Self>) -> Result<()> {
        let mut guard = self.tables.lock().await;
        let Some(tables) = guard.as_mut() else { return Ok(()) };
        let events = tables.events.refresh().await?;
        let rejected = tables.rejected.refresh().await?;
        if events || rejected {
            self.rows.lock().files = Some(Files {
                events: Arc::clone(tables.events.snapshot()),
                rejected: Arc::clone(tables.rejected.snapshot()),
            });
            drop(guard);
            self.changed();
        }
        Ok(())
    }
}

/// The background task of a follower, until the engine is gone.
pub async fn run(shared: Weak<Shared>, interval: Duration) {
    let idle = i64::try_from(limits::PROJECT_IDLE_MS * 1000).unwrap_or(i64::MAX);
    let mut failures: u32 = 0;
    loop {
        tokio::time::sleep(interval).await;
        let Some(engine) = shared.upgrade() else { return };
        match engine.follow_round().await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, "the writer's commits cannot be looked for; answers stay as they are");
                }
            }
        }
        engine
            .projects
            .forget_idle(engine.clock.now_micros().saturating_sub(idle));
    }
}
