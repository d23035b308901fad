//! How long data lives: what is too old to be taken in, what is too old to be kept, and what of the past can be read.

use super::Shared;
use super::buffer::ProjectView;
use crate::clock::Micros;
use crate::error::Result;
use crate::event::{Column, Event, RejectReason, Rejected};
use crate::limits;
use crate::project::ProjectId;
use crate::store::history::{AsOf, History};
use crate::store::rejected::{RejectedKey, are_among};
use crate::store::retention::{expired, keep_from};
use crate::store::row_group::{Opened, thin};
use crate::store::{Snapshot, TableKind, paths};
use bytes::Bytes;
use object_store::ObjectStore;
use parking_lot::RwLock;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How long data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeOptions {
    /// Days that events are kept, the day of today not counted; `None`: for ever.
    pub retention_days: Option<u32>,
    /// The same for projects that have a rule of their own.
    pub retention_days_of: HashMap<ProjectId, Option<u32>>,
    /// Milliseconds that files stay after a table let go of them: as long the past can be read.
    pub history_ms: u64,
}

impl Default for LifeOptions {
    /// Everything is kept, and the past of the last hour.
    fn default() -> Self {
        Self {
            retention_days: None,
            retention_days_of: HashMap::new(),
            history_ms: limits::REMOVED_FILE_KEEP_MS,
        }
    }
}

/// The rules of the life of data, and the lock of those who carry them out.
#[derive(Debug, Default)]
pub struct Life {
    options: RwLock<LifeOptions>,
    /// Held by whoever puts files in the place of others or deletes them: merges, retention, erasures. Flushes only add
    /// files and need it not.
    pub(super) files: tokio::sync::Mutex<()>,
}

impl Life {
    /// Sets the rules.
    pub fn set(&self, options: LifeOptions) {
        *self.options.write() = options;
    }

    /// Microseconds that files stay after a table let go of them.
    pub fn history(&self) -> Micros {
        i64::try_from(self.options.read().history_ms.saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    /// Days that a project's events are kept.
    pub fn retention_days(&self, project: &ProjectId) -> Option<u32> {
        let options = self.options.read();
        match options.retention_days_of.get(project) {
            Some(own) => *own,
            None => options.retention_days,
        }
    }

    /// The first instant that a project's events are kept from.
    pub fn kept_from(&self, project: &ProjectId, now: Micros) -> Option<Micros> {
        self.retention_days(project).map(|days| keep_from(now, days))
    }

    /// Takes events whose day is not kept any more out of `events` and makes them rejected ones. What they held is not
    /// kept: it would live longer as a rejected event than it may.
    pub(super) fn reject_old(
        &self,
        project: &ProjectId,
        now: Micros,
        events: &mut Vec<Event>,
        rejected: &mut Vec<Rejected>,
    ) {
        let Some(days) = self.retention_days(project) else {
            return;
        };
        let keep_from = keep_from(now, days);
        let is_old = |event: &Event| event.micros(Column::Ts).is_some_and(|ts| ts < keep_from);
        if !events.iter().any(is_old) {
            return;
        }
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(events).into_iter().partition(is_old);
        *events = kept;
        rejected.extend(old.iter().map(|event| Rejected {
            received_at: event.micros(Column::ReceivedAt).unwrap_or(now),
            protocol: event.text(Column::Protocol).unwrap_or_default().to_owned(),
            reason: RejectReason::TooOld,
            detail: format!("`ts` lies more than {days} days back, which is how long events of this project are kept"),
            raw: Bytes::new(),
        }));
    }
}

/// What retention took out of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// The project.
    pub project: String,
    /// The table's folder.
    pub table: &'static str,
    /// Days that are kept.
    pub retention_days: u32,
    /// Files taken out.
    pub files: u64,
    /// Their rows, as far as the table's log tells.
    pub rows: u64,
}

const KINDS: [TableKind; 2] = [TableKind::Events, TableKind::Rejected];

impl Shared {
    /// All projects: those in memory and those in the store.
    ///
    /// # Errors
    /// `Storage` when the store cannot be listed.
    pub(super) async fn known_projects(&self) -> Result<BTreeSet<ProjectId>> {
        let listed = self.store.list_with_delimiter(Some(&paths::projects())).await?;
        let mut known: BTreeSet<ProjectId> = listed.common_prefixes.iter().filter_map(paths::project_of).collect();
        known.extend(self.projects.all().iter().map(|project| project.id.clone()));
        Ok(known)
    }

    /// Takes the days that are past their time out of the tables of all projects. With `dry_run` it only tells them.
    ///
    /// # Errors
    /// `Storage` when a table cannot be read or committed to; other projects may be done already.
    pub(crate) async fn expire_all(&self, dry_run: bool) -> Result<Vec<Expired>> {
        let mut done = Vec::new();
        for id in self.known_projects().await? {
            let Some(days) = self.life.retention_days(&id) else {
                continue;
            };
            let from = keep_from(self.clock.now_micros(), days);
            for kind in KINDS {
                // A look at the folder, so that logs of projects that nobody asks for are not read every hour.
                if self.has_day_before(&id, kind, from).await? {
                    done.extend(self.expire(&id, kind, days, from, dry_run).await?);
                }
            }
        }
        Ok(done)
    }

    async fn has_day_before(&self, project: &ProjectId, kind: TableKind, from: Micros) -> Result<bool> {
        let root = paths::table(project, kind);
        let listed = self.store.list_with_delimiter(Some(&root)).await?;
        let bound = chrono::DateTime::from_timestamp_micros(from).unwrap_or_default();
        let bound = bound.format("%Y-%m-%d").to_string();
        let folders = listed.common_prefixes;
        Ok(folders
            .iter()
            .any(|folder| paths::date_of(folder.as_ref()).is_some_and(|date| date < bound.as_str())))
    }

    async fn expire(
        &self,
        id: &ProjectId,
        kind: TableKind,
        days: u32,
        from: Micros,
        dry_run: bool,
    ) -> Result<Option<Expired>> {
        let _files = self.life.files.lock().await;
        let project = self.projects.get(id);
        let mut guard = project.tables.lock().await;
        let tables = project.open_tables(&mut guard, &self.store).await?;
        let table = tables.of(kind);
        let gone = expired(&table.snapshot().files, from);
        if gone.is_empty() {
            return Ok(None);
        }
        let told = Expired {
            project: id.to_string(),
            table: kind.folder(),
            retention_days: days,
            files: gone.len() as u64,
            rows: gone.iter().filter_map(|file| file.rows).sum(),
        };
        if dry_run {
            return Ok(Some(told));
        }
        table
            .take_out(&gone, &[], self.clock.now_micros().div_euclid(1000))
            .await?;
        project.adopt(tables, self.wal.writer_id()).await?;
        drop(guard);
        project.changed();
        self.metrics.expired_files.add(told.files);
        self.metrics.expired_rows.add(told.rows);
        tracing::info!(project = %id, table = kind.folder(), files = told.files, rows = told.rows, days, "days past their time were taken out");
        Ok(Some(told))
    }

    /// A project as its files were at an earlier instant or version; what was buffered then is not in it.
    ///
    /// # Errors
    /// `Invalid` when that cannot be read any more, `Storage` when the log or the store cannot be read.
    pub(crate) async fn view_as_of(&self, project: &ProjectId, as_of: AsOf) -> Result<ProjectView> {
        let store = &self.store;
        let events = History::open(store, project, TableKind::Events).await?;
        let snapshot = events.snapshot(as_of).await?;
        let at = match as_of {
            AsOf::Instant(at) => Some(at),
            AsOf::Version(version) => events.instant_of(version).await?,
        };
        // Rejected events have a table and versions of their own.
        let rejected = match at {
            Some(at) => {
                let history = History::open(store, project, TableKind::Rejected).await?;
                history.snapshot(AsOf::Instant(at)).await?
            }
            None => Arc::<Snapshot>::default(),
        };
        Ok(ProjectView {
            store: Arc::clone(store),
            events: snapshot,
            buffered_events: Vec::new(),
            rejected,
            buffered_rejected: Vec::new(),
            as_of: at.unwrap_or_else(|| self.clock.now_micros()),
        })
    }
}

impl Shared {
    /// Takes rejected events with one of `keys` out of a project's table. Returns how many.
    ///
    /// # Errors
    /// `Storage` when the table cannot be read or written.
    pub(crate) async fn take_rejected(&self, id: &ProjectId, keys: &HashSet<RejectedKey>) -> Result<u64> {
        let _files = self.life.files.lock().await;
        let kind = TableKind::Rejected;
        let project = self.projects.get(id);
        let mut guard = project.tables.lock().await;
        let tables = project.open_tables(&mut guard, &self.store).await?;
        let table = tables.of(kind);
        let (mut removed, mut added, mut taken) = (Vec::new(), Vec::new(), 0);
        let is_out = |batch: &_| are_among(batch, keys);
        for file in table.snapshot().files.clone() {
            let opened = Opened::read(&self.store, &file.path, file.size_bytes).await?;
            let mut affected = Vec::new();
            for at in 0..opened.groups().len() {
                let group = opened.fetch(&self.store, at).await?;
                for batch in opened.rows(&group, at, None)? {
                    if is_out(&batch?)?.true_count() > 0 && affected.last() != Some(&at) {
                        affected.push(at);
                    }
                }
            }
            if affected.is_empty() {
                continue;
            }
            let thinned = thin(&self.store, (id, kind), &file, &affected, &is_out, &self.clock).await?;
            taken += thinned.left_out;
            removed.push(file);
            added.extend(thinned.file);
        }
        if removed.is_empty() {
            return Ok(0);
        }
        let now_millis = self.clock.now_micros().div_euclid(1000);
        table.take_out(&removed, &added, now_millis).await?;
        project.adopt(tables, self.wal.writer_id()).await?;
        drop(guard);
        project.changed();
        Ok(taken)
    }
}
