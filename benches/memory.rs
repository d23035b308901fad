//! Memory of a server under a small budget: many rows, then a mix of queries that want more than there is. Each must
//! answer or say that there is not enough memory; the process must stay near its budget and end with nothing held.
//!
//! What counts is anonymous memory, which the process holds until it gives it back. The pages of the binary are shown beside
//! it: they are the system's cache of a file, and it takes them back when it needs them.
//!
//! `cargo bench --bench memory`; `TALLY_MEMORY_ROWS`, `TALLY_MEMORY_QUERIES`, `TALLY_MEMORY_BUDGET` (MiB) change the load.
//! The rows stay in the folder `TALLY_MEMORY_FOLDER`, if there is one, and the next run asks of them at once;
//! `TALLY_MEMORY_KIND` (0 to 7) asks one kind of the mix only.
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
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, now_seconds, number};
use support::events::rich_page_views;
use support::process::Process;
use support::{wait_for, write_funnel};

/// Anonymous memory in budgets that is allowed: a third on top for what no part of the engine counts.
const ABOVE_BUDGET: f64 = 1.35;
/// Kinds of queries of the mix.
const KINDS: u64 = 8;
/// Time between two looks at a server's memory.
const LOOK: Duration = Duration::from_millis(2);

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// One of the mix, no two alike; of `kind`, or of each kind in turn.
fn query(n: u64, kind: Option<u64>) -> Value {
    let filter = json!([{"member": "TrackedEvents.pageUrl", "operator": "notEquals", "values": [format!("x{n}")]}]);
    let dimensions: &[&str] = match kind.unwrap_or(n % KINDS) {
        0 => &["TrackedEvents.eventId"],
        1 => &["TrackedEvents.userId"],
        2 => &[
            "TrackedEvents.eventId",
            "TrackedEvents.pageUrl",
            "TrackedEvents.derivedTstamp",
        ],
        3 => &["TrackedEvents.pageUrl"],
        4 => {
            return json!({"measures": ["completed_purchase.count"], "dimensions": ["completed_purchase.step"], "limit": 100 + n});
        }
        5 => {
            return json!({"measures": ["Sessions.count"], "dimensions": ["Sessions.userId", "Sessions.startAt"], "limit": 1_000 + n});
        }
        6 => {
            return json!({"measures": ["TrackedEvents.count"], "filters": filter,
                "timeDimensions": [{"dimension": "TrackedEvents.derivedTstamp", "granularity": "hour"}]});
        }
        _ => &["TrackedEvents.userId", "TrackedEvents.pageUrl"],
    };
    json!({"measures": ["TrackedEvents.count"], "dimensions": dimensions, "filters": filter,
        "order": {"TrackedEvents.count": "desc"}, "limit": 10_000})
}

/// Posts rows until there are enough; waits where the server says so.
fn fill(client: &Client, rows: u64) {
    const BATCH: u64 = 1_000;
    let next = AtomicU64::new(0);
    let start = now_seconds() - 9 * 86_400;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch * BATCH >= rows {
                        return;
                    }
                    let events =
                        rich_page_views(&format!("b{batch}-"), BATCH as usize, start + batch * 97 % (8 * 86_400));
                    let body = json!(events).to_string();
                    loop {
                        let (path, headers) = support::events::native_request("shop-key");
                        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                        let reply = client.send("POST", &path, &headers, Some(body.as_bytes()));
                        match reply.status {
                            200 => break,
                            503 => std::thread::sleep(Duration::from_millis(50)),
                            other => panic!("{other}: {}", reply.text()),
                        }
                    }
                }
            });
        }
    });
}

/// Asks all of the mix, six at a time.
fn ask_all(client: &Client, queries: u64) {
    // A number that is no kind means all of them.
    let kind = Some(from_env("TALLY_MEMORY_KIND", KINDS)).filter(|kind| *kind < KINDS);
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(BTreeMap::<&str, u64>::new());
    let failures = Mutex::new(Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= queries {
                        return;
                    }
                    let reply = client.load_final("shop", &query(n, kind));
                    let (status, text) = (reply.status, reply.text());
                    let outcome = outcome(status, &text);
                    *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
                    if matches!(outcome, "failed" | "too long") {
                        let text = &text[..text.len().min(300)];
                        failures.lock().unwrap().push(format!("query {n}: {status} {text}"));
                    }
                }
            });
        }
    });
    let outcomes = outcomes.lock().unwrap();
    println!("{queries} queries in {:.0?}: {outcomes:?}", started.elapsed());
    for failure in failures.lock().unwrap().iter().take(10) {
        println!("  {failure}");
    }
}

fn metric(client: &Client, series: &str) -> f64 {
    let page = client.get("/metrics").text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

fn outcome(status: u16, text: &str) -> &'static str {
    match status {
        200 => "answered",
        503 if text.contains("memory") || text.contains("resources") || text.contains("Resources") => {
            "not enough memory"
        }
        503 => "overloaded",
        504 => "too long",
        _ => "failed",
    }
}

/// The most memory seen so far, of all looks.
#[derive(Default)]
struct Seen {
    anonymous_kib: AtomicU64,
    file_kib: AtomicU64,
    is_over: AtomicBool,
}

impl Seen {
    /// Looks until it is over.
    fn watch(&self, server: &Process) {
        while !self.is_over.load(Ordering::Relaxed) {
            let (anonymous, file) = server.memory_parts_kib();
            self.anonymous_kib.fetch_max(anonymous, Ordering::Relaxed);
            self.file_kib.fetch_max(file, Ordering::Relaxed);
            std::thread::sleep(LOOK);
        }
    }

    fn show(&self, what: &str, budget_mib: u64) {
        let mib = |kib: &AtomicU64| kib.load(Ordering::Relaxed) as f64 / 1024.0;
        let anonymous = mib(&self.anonymous_kib);
        println!(
            "{what}: at most {anonymous:.0} MiB, {:.2} of the budget (goal: {ABOVE_BUDGET}); pages of the binary {:.0} MiB",
            anonymous / budget_mib as f64,
            mib(&self.file_kib)
        );
    }
}

fn main() {
    // `cargo test --benches` only asks whether this starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rows = from_env("TALLY_MEMORY_ROWS", 10_000_000);
    let queries = from_env("TALLY_MEMORY_QUERIES", 200);
    let budget_mib = from_env("TALLY_MEMORY_BUDGET", 256);
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("TALLY_MEMORY_FOLDER").map(PathBuf::from);
    let folder = kept.unwrap_or_else(|| temporary.path().to_owned());
    let is_filled = folder.join("data").exists();
    write_funnel(&folder.join("data").join("models"));
    let budget = format!("{budget_mib}MiB");
    // What is looked at is memory: each query may take the time it needs.
    let settings = [
        ("memory", budget.as_str()),
        ("query_threads", "2"),
        ("query_timeout", "30m"),
    ];
    let mut server = Process::start(&folder, &settings);
    let client = server.client();
    let seen = Seen::default();
    std::thread::scope(|scope| {
        scope.spawn(|| seen.watch(&server));
        let started = Instant::now();
        if !is_filled {
            fill(&client, rows);
        }
        seen.show(&format!("{rows} rows in {:.0?}", started.elapsed()), budget_mib);
        ask_all(&client, queries);
        seen.show("after the queries", budget_mib);
        seen.is_over.store(true, Ordering::Relaxed);
    });
    wait_for("the end of all work", Duration::from_secs(60), || {
        let held = metric(&client, "tally_memory_used_bytes{part=\"queries\"}") + metric(&client, "tally_spill_bytes");
        (held == 0.0).then_some(())
    });
    let counted = number(&client.rows("shop", &json!({"measures": ["TrackedEvents.count"]}))[0]["TrackedEvents.count"]);
    assert_eq!(counted, rows, "rows after all that");
    assert!(server.is_running());
    let spilled = std::fs::read_dir(folder.join("data").join("spill")).unwrap().flatten();
    let spilled: usize = spilled
        .map(|dir| std::fs::read_dir(dir.path()).map_or(0, Iterator::count))
        .sum();
    println!("memory of queries and spilled bytes after: 0; spilled files left: {spilled}");
}
