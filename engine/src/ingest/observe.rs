//! The gauges of ingest and of the tables in memory, set when somebody asks for them.

use super::Shared;
use super::buffer::{Files, Rows};
use crate::clock::Micros;
use crate::store::Snapshot;

/// Sums over all projects in memory.
#[derive(Debug, Default)]
struct Sums {
    projects: u64,
    buffered_rows: u64,
    since: Option<Micros>,
    events: TableSums,
    rejected: TableSums,
}

#[derive(Debug, Default)]
struct TableSums {
    files: u64,
    rows: u64,
    bytes: u64,
}

impl TableSums {
    fn add(&mut self, snapshot: &Snapshot) {
        self.files += snapshot.files.len() as u64;
        self.rows += snapshot.rows();
        self.bytes += snapshot.files.iter().map(|file| file.size_bytes).sum::<u64>();
    }
}

impl Sums {
    fn add(&mut self, rows: &mut Rows) -> Option<Files> {
        self.projects += 1;
        for part in rows.parts().filter(|part| !part.is_empty()) {
            self.buffered_rows += part.rows as u64;
            self.since = Some(self.since.map_or(part.since, |since| since.min(part.since)));
        }
        rows.files.clone()
    }
}

impl Shared {
    /// Sets the gauges.
    pub fn observe(&self) {
        let mut sums = Sums::default();
        for project in self.projects.all() {
            // The files are summed outside of the lock.
            let files = sums.add(&mut project.rows.lock());
            if let Some(files) = files {
                sums.events.add(&files.events);
                sums.rejected.add(&files.rejected);
            }
        }
        let age = sums
            .since
            .map_or(0, |since| self.clock.now_micros().saturating_sub(since));
        let metrics = &self.metrics;
        metrics.projects.set(sums.projects);
        metrics.buffered_rows.set(sums.buffered_rows);
        metrics.buffer_age_micros.set(u64::try_from(age).unwrap_or(0));
        metrics.files_events.set(sums.events.files);
        metrics.rows_events.set(sums.events.rows);
        metrics.bytes_events.set(sums.events.bytes);
        metrics.files_rejected.set(sums.rejected.files);
        metrics.rows_rejected.set(sums.rejected.rows);
        metrics.bytes_rejected.set(sums.rejected.bytes);
        metrics.wal_bytes.set(self.wal.size_bytes());
        metrics.wal_index_bytes.set(self.wal.index_bytes());
        let held = self.admission.held_bytes() as u64;
        metrics.held_bytes.set(held);
        metrics.memory_ingest.set(held);
        metrics.memory_max_ingest.set(self.admission.bytes_max() as u64);
        metrics.memory_compaction.set(self.compaction.used_bytes() as u64);
    }
}
