//! Acknowledged ingest over HTTP: a server process, some connections, batches of 1,000 native events, an fsync before
//! every acknowledgement. Prints events per CPU second of the server, latency of the acknowledgement, and memory.
//!
//! `cargo bench --bench ingest`; `TALLY_BENCH_SECONDS`, `TALLY_BENCH_CONNECTIONS` and `TALLY_BENCH_BATCH` change the load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::client::{Client, now_seconds};
use support::events::rich_page_views;
use support::process::Process;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

struct Load {
    connections: u64,
    batch: u64,
    time: Duration,
}

/// Bodies are made before the clock runs, so that the driver takes little of the machine.
fn bodies(load: &Load, connection: u64, count: u64) -> Vec<String> {
    let start = now_seconds() - 86_400;
    let body = |n: u64| {
        let prefix = format!("c{connection}-{n}-");
        json!(rich_page_views(&prefix, load.batch as usize, start + n * 60 % 80_000)).to_string()
    };
    (0..count).map(body).collect()
}

/// Posts the bodies until they end or the time does; latency of each acknowledgement.
fn drive(client: &Client, bodies: &[String], until: Instant) -> Vec<Duration> {
    let (path, headers) = support::events::native_request("shop-key");
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut latencies = Vec::new();
    for body in bodies {
        if Instant::now() > until {
            break;
        }
        let started = Instant::now();
        let reply = client.send("POST", &path, &headers, Some(body.as_bytes()));
        if reply.status == 503 {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        latencies.push(started.elapsed());
    }
    latencies
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn main() {
    // `cargo test --benches` only asks whether this starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let load = Load {
        connections: from_env("TALLY_BENCH_CONNECTIONS", 4),
        batch: from_env("TALLY_BENCH_BATCH", 1000),
        time: Duration::from_secs(from_env("TALLY_BENCH_SECONDS", 15)),
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    std::thread::sleep(Duration::from_secs(2));
    let (idle_kib, _) = server.memory_kib();
    println!("idle memory after start        {:>9.1} MiB", idle_kib as f64 / 1024.0);

    let per_connection = from_env(
        "TALLY_BENCH_BODIES",
        400_000 / load.batch.max(1) / load.connections.max(1) + 1,
    );
    let prepared: Vec<Vec<String>> = (0..load.connections)
        .map(|c| bodies(&load, c, per_connection))
        .collect();
    let bytes: usize = prepared[0].iter().map(String::len).sum();
    println!(
        "bytes an event on the wire     {:>9.0}",
        bytes as f64 / (per_connection * load.batch) as f64
    );

    let cpu_before = server.cpu_seconds();
    let started = Instant::now();
    let until = started + load.time;
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = prepared
            .iter()
            .map(|bodies| {
                let client = server.client();
                scope.spawn(move || drive(&client, bodies, until))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let wall = started.elapsed();
    let cpu = server.cpu_seconds() - cpu_before;
    let events = latencies.len() as u64 * load.batch;
    latencies.sort();
    println!("acknowledged events            {events:>9}");
    println!(
        "events a second of wall clock  {:>9.0}",
        events as f64 / wall.as_secs_f64()
    );
    println!("events a CPU second, ingest    {:>9.0}", events as f64 / cpu);
    println!(
        "acknowledgement p50            {:>9.1} ms",
        percentile(&latencies, 0.50).as_secs_f64() * 1e3
    );
    println!(
        "acknowledgement p99            {:>9.1} ms",
        percentile(&latencies, 0.99).as_secs_f64() * 1e3
    );

    let counted = Instant::now();
    let count = server.client().count("shop");
    println!(
        "a count of them                {:>9.1} ms",
        counted.elapsed().as_secs_f64() * 1e3
    );
    assert_eq!(count, events, "every acknowledged event is counted once");
    let (_, peak_kib) = server.memory_kib();
    println!("peak memory                    {:>9.1} MiB", peak_kib as f64 / 1024.0);

    let mut server = server;
    let stopping = Instant::now();
    let cpu_all = server.cpu_seconds() - cpu_before;
    assert!(server.terminate().success());
    println!(
        "clean stop with the last flush {:>9.1} s",
        stopping.elapsed().as_secs_f64()
    );
    println!("events a CPU second, up to now {:>9.0}", events as f64 / cpu_all);
}
