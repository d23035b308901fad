//! The engine's part in how long data lives: retention, erasure, the past, and what was rejected.

use super::Engine;
use crate::blocking::blocking;
use crate::clock::Micros;
use crate::error::Result;
use crate::ingest::{EraseRequest, Erased, Expired, LifeOptions, ProjectView};
use crate::project::ProjectId;
use crate::query::AsOf;
use crate::store::TableKind;
use crate::store::history::{self, History, Version};
use crate::store::object;
use crate::store::rejected::{RejectedFilter, RejectedKey, RejectedRow, RejectedScan};
use std::collections::HashSet;

impl Engine {
    /// Sets how long data is kept. Until it is called everything is.
    pub fn set_life(&self, options: LifeOptions) {
        self.shared.life.set(options);
    }

    /// The first instant that a project's events are kept from now; `None`: all are kept.
    pub fn kept_from(&self, project: &ProjectId) -> Option<Micros> {
        self.shared.life.kept_from(project, self.options.clock.now_micros())
    }

    /// Takes the days that are past their time out of the tables now; the background does the same every hour. With
    /// `dry_run` it only tells them.
    ///
    /// # Errors
    /// `Storage` when a table cannot be read or committed to.
    pub async fn expire(&self, dry_run: bool) -> Result<Vec<Expired>> {
        self.shared.expire_all(dry_run).await
    }

    /// Erases a visitor or a stretch of time from everything that is kept, its past included, and looks whether it is
    /// gone. `tell` hears how far it is. Readers of earlier states may fail while and after it runs.
    ///
    /// # Errors
    /// `Invalid` for a wrong request, `Storage` when something cannot be read or written; another run goes on then.
    pub async fn erase(&self, request: &EraseRequest, tell: impl Fn(String) + Send + Sync) -> Result<Erased> {
        let folder = object::local_folder(&self.options.store_url);
        let erased = self.shared.erase(request, folder, &tell).await?;
        if let Some(cache) = self.options.cache.clone().filter(|_| !request.dry_run) {
            // Blocks of files that are gone, and of others: which are whose does not matter, they are read again.
            blocking("deleting cached blocks", move || object::forget_blocks(&cache.folder)).await?;
        }
        Ok(erased)
    }

    /// The last `count` versions of a project's events, the newest first.
    ///
    /// # Errors
    /// `Storage` when the table's log cannot be read.
    pub async fn history(&self, project: &ProjectId, count: usize) -> Result<Vec<Version>> {
        let history = History::open(&self.shared.store, project, TableKind::Events).await?;
        history.versions(count).await
    }

    /// A project at an earlier state.
    ///
    /// # Errors
    /// `Invalid` when that state cannot be read any more, `Storage` when the store cannot be read.
    pub(crate) async fn view_as_of(&self, project: &ProjectId, as_of: AsOf) -> Result<ProjectView> {
        let as_of = match as_of {
            AsOf::Instant(at) => history::AsOf::Instant(at),
            AsOf::Version(version) => history::AsOf::Version(version),
        };
        let view = self.shared.view_as_of(project, as_of).await?;
        Ok(self.through_cache(view))
    }

    /// Shows the rejected events of a project to `each`, some at a time; what is buffered is flushed first. `each` may
    /// end it by returning false.
    ///
    /// # Errors
    /// `Storage` when a table cannot be read or written, or the error of `each`.
    pub async fn rejected<F>(
        &self,
        project: &ProjectId,
        filter: &RejectedFilter,
        mut each: impl FnMut(Vec<RejectedRow>) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        self.flush().await?;
        let view = self.view(project).await?;
        let mut scan = RejectedScan::new(view.store, &view.rejected, filter.clone());
        while let Some(rows) = scan.next().await? {
            if !rows.is_empty() && !each(rows).await? {
                break;
            }
        }
        Ok(())
    }

    /// Takes rejected events out of a project's table: those that were stored after all. Returns how many.
    ///
    /// # Errors
    /// `Storage` when the table cannot be read or written.
    pub async fn take_rejected(&self, project: &ProjectId, keys: &HashSet<RejectedKey>) -> Result<u64> {
        self.shared.take_rejected(project, keys).await
    }
}
