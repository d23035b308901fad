//! One table of metrics: what the engine did and how it is, for `/metrics`.
//!
//! Three kinds of rows: single numbers, histograms of durations, and counts by two labels. A name may carry labels of its
//! own (`tally_memory_bytes{part="ingest"}`); rows of one family stand together.

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
    /// Always 1: its labels say what this is.
    Info,
}

/// Bounds of durations, seconds: from a look-up in memory to a query's deadline.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

macro_rules! metrics {
    (
        $($field:ident $name:literal $kind:ident $scale:literal $help:literal,)*
        @seconds $($seconds:ident $seconds_name:literal $seconds_help:literal,)*
        @counts $($counts:ident $counts_name:literal ($first:literal $first_values:expr, $second:literal $second_values:expr)
            $counts_help:literal,)*
    ) => {
        /// The engine's metrics. Cheap to update from any thread.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: Metric,)*
            $(#[doc = $seconds_help] pub $seconds: Histogram,)*
            $(#[doc = $counts_help] pub $counts: Counts,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self {
                    $($field: Metric::default(),)*
                    $($seconds: Histogram::new(SECONDS),)*
                    $($counts: Counts::new(($first, $first_values), ($second, $second_values)),)*
                }
            }
        }

        impl Metrics {
            /// All metrics in the Prometheus text format.
            pub fn render(&self) -> String {
                let mut page = Page::default();
                $(page.number($name, Kind::$kind, $scale, $help, self.$field.get());)*
                $(page.histogram($seconds_name, $seconds_help, &self.$seconds);)*
                $(page.counts($counts_name, $counts_help, &self.$counts);)*
                page.out
            }
        }
    };
}

metrics! {
    build_info "tally_build_info" Info 1.0 "1, with the version of this build as a label.",
    events_stored "tally_events_stored_total" Counter 1.0 "Events made durable.",
    events_duplicate "tally_events_duplicate_total" Counter 1.0 "Events left out because their id was stored before.",
    events_rejected "tally_events_rejected_total" Counter 1.0 "Events kept as rejected.",
    overloaded "tally_ingest_overloaded_total" Counter 1.0 "Requests refused because the ingest buffer was full.",
    held_bytes "tally_ingest_held_bytes" Gauge 1.0 "Bytes queued and buffered by ingest.",
    buffered_rows "tally_ingest_buffered_rows" Gauge 1.0 "Rows that are acknowledged and not yet in the tables.",
    buffer_age_micros "tally_ingest_buffer_age_seconds" Gauge 0.000001 "Age of the oldest row that is not yet in the tables.",
    groups "tally_wal_groups_total" Counter 1.0 "Group commits of the write-ahead log.",
    group_failures "tally_wal_group_failures_total" Counter 1.0 "Group commits that failed.",
    group_micros "tally_wal_group_seconds_total" Counter 0.000001 "Time in group commits, fsync included.",
    wal_failures "tally_wal_failures_total" Counter 1.0 "Failures of the disk under the write-ahead log, each followed by healing.",
    wal_failing "tally_wal_failing" Gauge 1.0 "1 while the write-ahead log takes nothing because its disk fails.",
    wal_heals "tally_wal_heals_total" Counter 1.0 "Times the write-ahead log was written anew and opened again after a failure.",
    disk_refused "tally_ingest_disk_full_total" Counter 1.0 "Requests refused because the disk's free space was below its reserve.",
    wal_written_bytes "tally_wal_written_bytes_total" Counter 1.0 "Bytes of records written to the write-ahead log.",
    wal_bytes "tally_wal_bytes" Gauge 1.0 "Bytes of records that are not yet in the tables.",
    wal_index_bytes "tally_wal_index_bytes" Gauge 1.0 "Bytes on disk of the index of event ids.",
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
    expired_files "tally_expired_files_total" Counter 1.0 "Files of days past their time, taken out of their tables.",
    expired_rows "tally_expired_rows_total" Counter 1.0 "Their rows.",
    erased_rows "tally_erased_rows_total" Counter 1.0 "Rows erased on demand.",
    flushed_rows "tally_flushed_rows_total" Counter 1.0 "Rows moved from the buffer to the tables.",
    projects "tally_projects" Gauge 1.0 "Projects in memory: asked or written to in the last minutes.",
    files_events "tally_table_files{table=\"events\"}" Gauge 1.0 "Data files of the tables of projects in memory.",
    files_rejected "tally_table_files{table=\"rejected\"}" Gauge 1.0 "Data files of the tables of projects in memory.",
    rows_events "tally_table_rows{table=\"events\"}" Gauge 1.0 "Rows in those files.",
    rows_rejected "tally_table_rows{table=\"rejected\"}" Gauge 1.0 "Rows in those files.",
    bytes_events "tally_table_bytes{table=\"events\"}" Gauge 1.0 "Bytes of those files.",
    bytes_rejected "tally_table_bytes{table=\"rejected\"}" Gauge 1.0 "Bytes of those files.",
    queries_running "tally_queries_running" Gauge 1.0 "Queries that run now.",
    queries_waiting "tally_queries_waiting" Gauge 1.0 "Queries that wait for their turn.",
    queries_alone "tally_queries_alone_total" Counter 1.0 "Queries that had too little memory beside others and ran once more alone.",
    memory_ingest "tally_memory_used_bytes{part=\"ingest\"}" Gauge 1.0 "Memory used of each part of the budget.",
    memory_queries "tally_memory_used_bytes{part=\"queries\"}" Gauge 1.0 "Memory used of each part of the budget.",
    memory_compaction "tally_memory_used_bytes{part=\"compaction\"}" Gauge 1.0 "Memory used of each part of the budget.",
    memory_footers "tally_memory_used_bytes{part=\"footers\"}" Gauge 1.0 "Memory used of each part of the budget.",
    memory_blocks "tally_memory_used_bytes{part=\"blocks\"}" Gauge 1.0 "Memory used of each part of the budget.",
    memory_max_ingest "tally_memory_max_bytes{part=\"ingest\"}" Gauge 1.0 "Bound of each part of the budget.",
    memory_max_queries "tally_memory_max_bytes{part=\"queries\"}" Gauge 1.0 "Bound of each part of the budget.",
    memory_max_compaction "tally_memory_max_bytes{part=\"compaction\"}" Gauge 1.0 "Bound of each part of the budget.",
    memory_max_footers "tally_memory_max_bytes{part=\"footers\"}" Gauge 1.0 "Bound of each part of the budget.",
    memory_max_blocks "tally_memory_max_bytes{part=\"blocks\"}" Gauge 1.0 "Bound of each part of the budget.",
    spill_bytes "tally_spill_bytes" Gauge 1.0 "Bytes that running queries have spilled to disk.",
    cache_hits "tally_block_cache_hits_total{tier=\"memory\"}" Counter 1.0 "Blocks of remote files that were kept here.",
    cache_disk_hits "tally_block_cache_hits_total{tier=\"disk\"}" Counter 1.0 "Blocks of remote files that were kept here.",
    cache_misses "tally_block_cache_misses_total" Counter 1.0 "Blocks that had to be fetched from the object store.",
    cache_requests "tally_block_cache_requests_total" Counter 1.0 "Requests that fetched them: neighbouring blocks share one.",
    cache_read_bytes "tally_block_cache_read_bytes_total" Counter 1.0 "Bytes that readers got through the cache.",
    cache_fetched_bytes "tally_block_cache_fetched_bytes_total" Counter 1.0 "Bytes fetched from the object store for it.",
    cache_disk_bytes "tally_block_cache_disk_bytes" Gauge 1.0 "Bytes of blocks on the local disk.",
    cache_damaged "tally_block_cache_damaged_total" Counter 1.0 "Blocks on the local disk that failed their checksum; they were fetched again.",
    store_read_bytes "tally_store_read_bytes_total" Counter 1.0 "Bytes read from the object store.",
    store_written_bytes "tally_store_written_bytes_total" Counter 1.0 "Bytes written to the object store.",
    disk_free_bytes "tally_disk_free_bytes" Gauge 1.0 "Space left on the disk of the data folder.",
    process_resident_bytes "process_resident_memory_bytes" Gauge 1.0 "Resident memory of the process.",
    process_anonymous_bytes "process_resident_anonymous_bytes" Gauge 1.0 "Resident memory of the process without pages of files such as the binary.",
    process_open_fds "process_open_fds" Gauge 1.0 "Open file descriptors of the process.",
    process_threads "process_threads" Gauge 1.0 "Threads of the process.",
    process_cpu_micros "process_cpu_seconds_total" Counter 0.000001 "CPU time of the process.",
    process_start_micros "process_start_time_seconds" Gauge 0.000001 "When the process started, since the epoch.",
    @seconds
    ack_seconds "tally_ack_seconds" "From a batch to its acknowledgement.",
    query_seconds "tally_query_seconds" "From a query to its answer, the wait for its turn included.",
    flush_seconds "tally_flush_project_seconds" "One project's flush: sort, files and commits.",
    commit_seconds "tally_commit_seconds" "One commit to a table's log.",
    store_get_seconds "tally_store_request_seconds{op=\"get\"}" "Requests of the object store, retries of the client included.",
    store_put_seconds "tally_store_request_seconds{op=\"put\"}" "Requests of the object store, retries of the client included.",
    store_list_seconds "tally_store_request_seconds{op=\"list\"}" "Requests of the object store, retries of the client included.",
    store_delete_seconds "tally_store_request_seconds{op=\"delete\"}" "Requests of the object store, retries of the client included.",
    @counts
    queries "tally_queries_total" ("api" &["load", "sql"], "outcome" &["answered", "refused", "overloaded", "timeout", "cancelled", "failed"])
        "Queries by what became of them.",
    store_requests "tally_store_requests_total" ("op" &["get", "put", "list", "delete"], "outcome" &["ok", "absent", "exists", "failed"])
        "Requests of the object store by what became of them: `absent` and `exists` are answers, `failed` is none.",
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
        self.add(micros(duration));
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How long something took, counted by upper bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all.
    counts: Vec<AtomicU64>,
    sum_micros: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_micros: AtomicU64::new(0),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros(duration), Ordering::Relaxed);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Counts by the values of two labels.
#[derive(Debug)]
pub struct Counts {
    labels: [(&'static str, &'static [&'static str]); 2],
    counts: Vec<AtomicU64>,
}

impl Counts {
    fn new(first: (&'static str, &'static [&'static str]), second: (&'static str, &'static [&'static str])) -> Self {
        Self {
            labels: [first, second],
            counts: (0..first.1.len() * second.1.len()).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one. Values that the table does not name are not counted.
    pub fn add(&self, first: &str, second: &str) {
        if let Some(count) = self.at(first, second) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The count of two values.
    pub fn get(&self, first: &str, second: &str) -> u64 {
        self.at(first, second).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn at(&self, first: &str, second: &str) -> Option<&AtomicU64> {
        let [(_, firsts), (_, seconds)] = self.labels;
        let row = firsts.iter().position(|value| *value == first)?;
        let column = seconds.iter().position(|value| *value == second)?;
        debug_assert!(column < seconds.len());
        self.counts.get(row * seconds.len() + column)
    }
}

/// The text as it grows. A family is introduced once.
#[derive(Debug, Default)]
struct Page {
    out: String,
    family: &'static str,
}

impl Page {
    /// Introduces the family of `name` unless it is the one in progress. Returns its name and the labels behind it.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> (&'static str, &'static str) {
        let (family, labels) = match name.split_once('{') {
            Some((family, labels)) => (family, labels.trim_end_matches('}')),
            None => (name, ""),
        };
        if self.family != family {
            self.family = family;
            // Writing to a String cannot fail.
            let _ = writeln!(self.out, "# HELP {family} {help}\n# TYPE {family} {kind}");
        }
        (family, labels)
    }

    fn number(&mut self, name: &'static str, kind: Kind, scale: f64, help: &str, value: u64) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info => "gauge",
        };
        self.family(name, word, help);
        if kind == Kind::Info {
            let _ = writeln!(self.out, "{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        } else if scale == 1.0 {
            let _ = writeln!(self.out, "{name} {value}");
        } else {
            let _ = writeln!(self.out, "{name} {:.6}", value as f64 * scale);
        }
    }

    fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        let (family, labels) = self.family(name, "histogram", help);
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        let bounds = histogram
            .bounds
            .iter()
            .map(ToString::to_string)
            .chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count.load(Ordering::Relaxed);
            let _ = writeln!(self.out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let sum = histogram.sum_micros.load(Ordering::Relaxed) as f64 * 0.000_001;
        let _ = writeln!(
            self.out,
            "{family}_sum{braces} {sum:.6}\n{family}_count{braces} {total}"
        );
    }

    fn counts(&mut self, name: &'static str, help: &str, counts: &Counts) {
        self.family(name, "counter", help);
        let [(first, firsts), (second, seconds)] = counts.labels;
        let pairs = firsts.iter().flat_map(|a| seconds.iter().map(move |b| (a, b)));
        for ((a, b), count) in pairs.zip(&counts.counts) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(self.out, "{name}{{{first}=\"{a}\",{second}=\"{b}\"}} {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_page_introduces_each_family_once_and_names_no_series_twice() {
        let metrics = Metrics::default();
        metrics.ack_seconds.observe(Duration::from_millis(3));
        metrics.ack_seconds.observe(Duration::from_secs(100));
        metrics.store_requests.add("put", "exists");
        metrics.store_requests.add("put", "no such outcome");
        metrics.files_rejected.set(7);
        let page = metrics.render();
        let mut families = HashSet::new();
        let mut series = HashSet::new();
        for line in page.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => assert!(families.insert(rest.split(' ').next().unwrap().to_owned()), "{line}"),
                None if line.starts_with('#') => {}
                None => assert!(series.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "{line}"),
            }
        }
        for expected in [
            "tally_ack_seconds_bucket{le=\"0.0025\"} 0",
            "tally_ack_seconds_bucket{le=\"0.005\"} 1",
            "tally_ack_seconds_bucket{le=\"60\"} 1",
            "tally_ack_seconds_bucket{le=\"+Inf\"} 2",
            "tally_ack_seconds_sum 100.003000",
            "tally_ack_seconds_count 2",
            "tally_store_request_seconds_bucket{op=\"get\",le=\"+Inf\"} 0",
            "tally_store_request_seconds_count{op=\"get\"} 0",
            "tally_store_requests_total{op=\"put\",outcome=\"exists\"} 1",
            "tally_table_files{table=\"rejected\"} 7",
        ] {
            assert!(
                page.lines().any(|line| line == expected),
                "{expected} is not in\n{page}"
            );
        }
    }
}
