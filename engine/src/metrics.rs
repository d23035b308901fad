//! One table of counters: what the engine did, for `/metrics`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

macro_rules! metrics {
    ($($field:ident $name:literal $kind:ident $scale:literal $help:literal),* $(,)?) => {
        /// The engine's counters. Cheap to update from any thread.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: Metric,)*
        }

        impl Metrics {
            /// All metrics in the Prometheus text format.
            pub fn render(&self) -> String {
                let mut out = String::new();
                $(render(&mut out, $name, Kind::$kind, $scale, $help, self.$field.get());)*
                out
            }
        }
    };
}

metrics! {
    events_stored "tally_events_stored_total" Counter 1.0 "Events made durable.",
    events_duplicate "tally_events_duplicate_total" Counter 1.0 "Events left out because their id was stored before.",
    events_rejected "tally_events_rejected_total" Counter 1.0 "Events kept as rejected.",
    overloaded "tally_ingest_overloaded_total" Counter 1.0 "Requests refused because the ingest buffer was full.",
    held_bytes "tally_ingest_held_bytes" Gauge 1.0 "Bytes queued and buffered by ingest.",
    groups "tally_wal_groups_total" Counter 1.0 "Group commits of the write-ahead log.",
    group_failures "tally_wal_group_failures_total" Counter 1.0 "Group commits that failed.",
    group_micros "tally_wal_group_seconds_total" Counter 0.000001 "Time in group commits, fsync included.",
    wal_bytes "tally_wal_bytes" Gauge 1.0 "Bytes of records that are not yet in the tables.",
    replayed "tally_wal_replayed_events_total" Counter 1.0 "Events read from the write-ahead log at start.",
    flushes "tally_flushes_total" Counter 1.0 "Commits of buffered rows to a project's tables.",
    flush_failures "tally_flush_failures_total" Counter 1.0 "Failed commits; the rows stay buffered and are tried again.",
    flush_micros "tally_flush_seconds_total" Counter 0.000001 "Time in flushes.",
    answers_cached "tally_answers_cached_total" Counter 1.0 "Answers to Cube clients that were still right and were given again.",
    answers_shared "tally_answers_shared_total" Counter 1.0 "Answers that were being computed already for somebody else.",
    answers_computed "tally_answers_computed_total" Counter 1.0 "Answers that had to be computed.",
    answer_cache_bytes "tally_answer_cache_bytes" Gauge 1.0 "Bytes of kept answers.",
    sockets "tally_websockets" Gauge 1.0 "Open WebSocket connections.",
    subscriptions "tally_subscriptions" Gauge 1.0 "Queries that are answered again when their data changes.",
    pushes "tally_pushes_total" Counter 1.0 "Changed answers sent to subscribers.",
    compactions "tally_compactions_total" Counter 1.0 "Merges of a day's files into one.",
    compaction_failures "tally_compaction_failures_total" Counter 1.0 "Failed merges; the files stay as they were.",
    compaction_micros "tally_compaction_seconds_total" Counter 0.000001 "Time in merges.",
    compacted_files "tally_compacted_files_total" Counter 1.0 "Files that merges took the place of.",
    compacted_bytes "tally_compacted_bytes_total" Counter 1.0 "Bytes of those files.",
    compacted_duplicates "tally_compacted_duplicates_total" Counter 1.0 "Events left out by merges because the same event came before.",
    swept_files "tally_swept_files_total" Counter 1.0 "Deleted files that no table held.",
    swept_bytes "tally_swept_bytes_total" Counter 1.0 "Bytes of those files.",
    flushed_rows "tally_flushed_rows_total" Counter 1.0 "Rows moved from the buffer to the tables.",
}

/// One number.
#[derive(Debug, Default)]
pub struct Metric(AtomicU64);

impl Metric {
    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds a duration, in microseconds.
    pub fn add_duration(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn render(out: &mut String, name: &str, kind: Kind, scale: f64, help: &str, value: u64) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    let _ = if scale == 1.0 {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name} {:.6}", value as f64 * scale)
    };
}
