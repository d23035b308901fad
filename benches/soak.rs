//! A server under a steady load for as long as wanted: events and queries at a fixed rate, and what grows meanwhile.
//! Prints the slope of memory, the number of files and of open descriptors over time, and what the server counts of its
//! memory, so that growth can be told from a part that fills up to its bound.
//!
//! Memory is anonymous memory: the pages of the binary are the system's cache of a file. They are shown beside it. It is taken
//! under load, and again while no query runs for half a second: what a query holds for a moment may grow with the rows it has to
//! read, up to the share of queries, but nothing of that may stay.
//!
//! `cargo bench --bench soak`; `TALLY_SOAK_SECONDS` (60), `TALLY_SOAK_EVENTS` a second (2,000), `TALLY_SOAK_QUERIES` a
//! second (5). Ends with an error where the load was less than that, for it would say nothing of the promised one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, now_seconds};
use support::events::rich_page_views;
use support::process::Process;
use support::write_funnel;

const BATCH: u64 = 50;
/// Threads that ask, each its part of the rate.
const ASKING: u64 = 5;
/// Part of the load that must have been reached.
const REACHED: f64 = 0.97;
/// How long no query runs before memory is looked at; the allocator gives free pages back after a tenth of a second.
const REST: Duration = Duration::from_millis(500);
/// The longest time between two samples: the log's and the buffer's parts fill and empty within half a minute, and samples
/// as far apart would beat with them.
const SAMPLE_SECONDS_MAX: u64 = 8;
/// What memory at rest may grow by in an hour, MiB. More ends with an error, once it is beyond what chance explains.
const GROWTH_MAX: f64 = 1.0;
/// Standard errors that chance explains.
const CHANCE: f64 = 3.0;
/// The least length of a run whose second half can be told from the time in which caches and files fill up.
const FILLED_SECONDS: f64 = 1_190.0;
/// Of so many queries one asks of sessions.
const SESSIONS_EVERY: u64 = 500;
/// What the others ask of.
const LATELY: &str = "from 5 minutes ago to now";

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// A question about the last minutes. Of all there is, each would ask more than the one before, and what it holds would grow
/// up to the share of queries. Sessions are made of all events of a visitor whatever the dates, so they are asked of seldom:
/// often enough that what they leave behind would be seen.
fn query(n: u64) -> Value {
    let lately = |dimension: &str, granularity: Option<&str>| {
        let mut time = json!({"dimension": dimension, "dateRange": LATELY});
        if let Some(granularity) = granularity {
            time["granularity"] = json!(granularity);
        }
        json!([time])
    };
    let viewed = |granularity| lately("TrackedEvents.derivedTstamp", granularity);
    if n % SESSIONS_EVERY == SESSIONS_EVERY - 1 {
        return json!({"measures": ["Sessions.count"], "timeDimensions": lately("Sessions.startAt", None)});
    }
    match n % 4 {
        0 => json!({"measures": ["TrackedEvents.count"], "timeDimensions": viewed(Some("minute"))}),
        1 => json!({"measures": ["TrackedEvents.count"], "dimensions": ["TrackedEvents.pageUrl"],
            "timeDimensions": viewed(None), "limit": 10 + n % 90}),
        2 => json!({"measures": ["completed_purchase.count"], "dimensions": ["completed_purchase.step"],
            "timeDimensions": lately("completed_purchase.date", None)}),
        _ => json!({"measures": ["TrackedEvents.uniqueUsersCount"], "dimensions": ["TrackedEvents.agentName"],
            "timeDimensions": viewed(None), "limit": 1 + n % 100}),
    }
}

/// Does `work` `rate` times a second until told to stop; what took longer than its slot is caught up.
fn at_rate(rate: f64, stop: &AtomicBool, mut work: impl FnMut(u64)) {
    let started = Instant::now();
    for n in 0_u64.. {
        let due = started + Duration::from_secs_f64(n as f64 / rate);
        while Instant::now() < due {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5).min(due.saturating_duration_since(Instant::now())));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        work(n);
    }
}

fn files(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
        .sum()
}

fn data_files(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => data_files(&path),
            path => u64::from(path.extension().is_some_and(|extension| extension == "parquet")),
        })
        .sum()
}

/// A figure of the server's page of metrics.
fn metric(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

/// What the server counts of its memory; in the order of [`Sample::counted_mib`].
const COUNTED: [&str; 5] = [
    "tally_memory_used_bytes{part=\"ingest\"}",
    "tally_memory_used_bytes{part=\"queries\"}",
    "tally_memory_used_bytes{part=\"compaction\"}",
    "tally_memory_used_bytes{part=\"footers\"}",
    "tally_answer_cache_bytes",
];

/// Least squares: how much `y` grows with `x`, and the standard error of that.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let along: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let spread = points
        .iter()
        .map(|point| (point.0 - x).powi(2))
        .sum::<f64>()
        .max(f64::MIN_POSITIVE);
    let slope = along / spread;
    let off: f64 = points
        .iter()
        .map(|point| (point.1 - y - slope * (point.0 - x)).powi(2))
        .sum();
    (slope, (off / (n - 2.0).max(1.0) / spread).sqrt())
}

struct Sample {
    seconds: f64,
    /// Under load, MiB.
    anonymous_mib: f64,
    /// While no query runs, MiB.
    at_rest_mib: f64,
    binary_mib: f64,
    /// What the server counts, MiB: ingest, queries, compaction, footers, kept answers.
    counted_mib: [f64; 5],
    descriptors: f64,
    in_table: f64,
    stored: u64,
    all: u64,
}

/// How the threads that ask are told to wait, and say that they do.
#[derive(Default)]
struct Rest {
    is_wanted: AtomicBool,
    asking: AtomicU64,
}

impl Rest {
    /// Asks by `ask` unless a rest is wanted.
    fn ask(&self, ask: impl FnOnce()) {
        while self.is_wanted.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.asking.fetch_add(1, Ordering::SeqCst);
        ask();
        self.asking.fetch_sub(1, Ordering::SeqCst);
    }

    /// Anonymous memory of the server in KiB when no query has run for [`REST`].
    fn anonymous_kib(&self, server: &Process) -> u64 {
        self.is_wanted.store(true, Ordering::SeqCst);
        let mut since = Instant::now();
        while since.elapsed() < REST {
            std::thread::sleep(Duration::from_millis(5));
            if self.asking.load(Ordering::SeqCst) > 0 {
                since = Instant::now();
            }
        }
        let (anonymous, _) = server.memory_parts_kib();
        self.is_wanted.store(false, Ordering::SeqCst);
        anonymous
    }
}

fn sample(server: &Process, folder: &Path, rest: &Rest, started: Instant) -> Sample {
    let page = server.client().get("/metrics").text();
    let (anonymous, binary) = server.memory_parts_kib();
    let at_rest = rest.anonymous_kib(server);
    let counted = COUNTED.map(|series| metric(&page, series) / f64::from(1 << 20));
    Sample {
        seconds: started.elapsed().as_secs_f64(),
        anonymous_mib: anonymous as f64 / 1024.0,
        at_rest_mib: at_rest as f64 / 1024.0,
        binary_mib: binary as f64 / 1024.0,
        counted_mib: counted,
        descriptors: metric(&page, "process_open_fds"),
        in_table: metric(&page, "tally_table_files{table=\"events\"}"),
        stored: data_files(&folder.join("data").join("store")),
        all: files(&folder.join("data")),
    }
}

/// Prints what the second half of the samples tells. Returns whether memory at rest grows.
fn report(samples: &[Sample]) -> bool {
    let late = &samples[samples.len() / 2..];
    let growth =
        |value: fn(&Sample) -> f64| slope(&late.iter().map(|s| (s.seconds / 3600.0, value(s))).collect::<Vec<_>>());
    let ((per_hour, error), (rest_per_hour, rest_error)) = (growth(|s| s.anonymous_mib), growth(|s| s.at_rest_mib));
    let range = |value: fn(&Sample) -> f64| {
        let values = late.iter().map(value);
        (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max))
    };
    println!(
        "in the second half: memory grows by {per_hour:.1} MiB an hour, with a standard error of {error:.1}; at rest by \
         {rest_per_hour:.1}, {rest_error:.1}"
    );
    println!(
        "  descriptors {:?}, files in the table {:?}",
        range(|s| s.descriptors),
        range(|s| s.in_table)
    );
    if samples.last().is_none_or(|last| last.seconds < FILLED_SECONDS) {
        println!("the run is too short to tell growth from parts that fill up");
        return false;
    }
    let grows = rest_per_hour - CHANCE * rest_error > GROWTH_MAX;
    println!(
        "memory at rest {} more than {GROWTH_MAX} MiB an hour; this run could have shown {:.1}",
        if grows { "grows by" } else { "does not grow by" },
        GROWTH_MAX + CHANCE * rest_error
    );
    grows
}

/// What was done of the load.
#[derive(Default)]
struct Done {
    sent: AtomicU64,
    refused: AtomicU64,
    /// Batches acknowledged after more than a second.
    slow: AtomicU64,
    /// The slowest acknowledgement since it was last looked at.
    slowest_micros: AtomicU64,
    asked: AtomicU64,
    failed: AtomicU64,
}

impl Done {
    /// Posts batch `n`.
    fn post(&self, client: &Client, n: u64) {
        let rows = json!(rich_page_views(&format!("s{n}-"), BATCH as usize, now_seconds()));
        let posted = Instant::now();
        self.sent.fetch_add(1, Ordering::Relaxed);
        match client.ingest("shop-key", &rows).status {
            200 => {
                let micros = posted.elapsed().as_micros() as u64;
                self.slowest_micros.fetch_max(micros, Ordering::Relaxed);
                self.slow.fetch_add(u64::from(micros > 1_000_000), Ordering::Relaxed);
            }
            503 => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
            other => panic!("a batch was answered with {other}"),
        }
    }

    /// Asks the next query, unless a rest is wanted.
    fn ask(&self, client: &Client, rest: &Rest) {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        rest.ask(|| {
            let reply = client.load_final("shop", &query(n));
            self.failed.fetch_add(u64::from(reply.status != 200), Ordering::Relaxed);
        });
    }

    /// Prints it. Returns whether it was the load of so many batches and queries a second.
    fn report(&self, batches: f64, queries: f64, seconds: f64) -> bool {
        let count = |done: &AtomicU64| done.load(Ordering::Relaxed);
        println!(
            "{} queries asked, {} not answered; {} batches sent, {} refused, {} acknowledged after more than a second",
            count(&self.asked),
            count(&self.failed),
            count(&self.sent),
            count(&self.refused),
            count(&self.slow)
        );
        let reached = |done: &AtomicU64, rate: f64| count(done) as f64 / (rate * seconds);
        let (of_batches, of_queries) = (reached(&self.sent, batches), reached(&self.asked, queries));
        println!("of the load, {of_batches:.3} of the events and {of_queries:.3} of the queries were reached");
        of_batches.min(of_queries) >= REACHED
    }
}

fn main() -> std::process::ExitCode {
    // `cargo test --benches` only asks whether this starts.
    if std::env::args().any(|argument| argument == "--test") {
        return std::process::ExitCode::SUCCESS;
    }
    let seconds = from_env("TALLY_SOAK_SECONDS", 60);
    let batches = from_env("TALLY_SOAK_EVENTS", 2_000) as f64 / BATCH as f64;
    let queries = from_env("TALLY_SOAK_QUERIES", 5) as f64;
    let folder = tempfile::tempdir().unwrap();
    write_funnel(&folder.path().join("data").join("models"));
    let server = Process::start(folder.path(), &[("memory", "512MiB"), ("flush_interval_ms", "2000")]);
    let stop = AtomicBool::new(false);
    let (done, rest) = (Done::default(), Rest::default());
    let started = Instant::now();
    let samples = std::thread::scope(|scope| {
        scope.spawn(|| {
            let client = server.client();
            at_rate(batches, &stop, |n| done.post(&client, n));
        });
        for _ in 0..ASKING {
            scope.spawn(|| {
                let client = server.client();
                at_rate(queries / ASKING as f64, &stop, |_| done.ask(&client, &rest));
            });
        }
        let mut samples = Vec::new();
        let every = Duration::from_secs((seconds / 40).clamp(2, SAMPLE_SECONDS_MAX));
        while started.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(every);
            let taken = sample(&server, folder.path(), &rest, started);
            let slowest_ms = done.slowest_micros.swap(0, Ordering::Relaxed) / 1_000;
            println!(
                "{:>6.0} s  memory {:>6.1} MiB, {:>6.1} at rest (and {:.0} of the binary; counted {:.1?})  descriptors {:>4}  files: {:>4} in \
                 the table, {:>5} stored, {:>5} in all  slowest acknowledgement {slowest_ms} ms",
                taken.seconds,
                taken.anonymous_mib,
                taken.at_rest_mib,
                taken.binary_mib,
                taken.counted_mib,
                taken.descriptors,
                taken.in_table,
                taken.stored,
                taken.all
            );
            samples.push(taken);
        }
        stop.store(true, Ordering::Relaxed);
        samples
    });
    let is_reached = done.report(batches, queries, started.elapsed().as_secs_f64());
    let grows = report(&samples);
    std::process::ExitCode::from(u8::from(grows || !is_reached))
}
