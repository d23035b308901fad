//! A server process under load from connections that stay open, in an open loop: requests leave when their time has come,
//! and latency counts from that time, so that a slow answer is not hidden by the requests that waited behind it.
//!
//! `cargo bench --bench load -- single`, `batches` or `overload`; all of them without a name.
//!
//! * `single`: 10,000 events a second, one event a request, 128 connections.
//! * `batches`: 10,000 events a second in batches of 50 over 64 connections; then the server is killed, and every acknowledged
//!   event must be there.
//! * `overload`: 30,000 events a second with a small memory budget: only 200, 429 and 503 with `Retry-After`, no acknowledged
//!   event lost, normal again within five seconds.
//!
//! `TALLY_LOAD_SECONDS` (15) is the length of each; the figures we promise are for 300 (`batches`) and 60 (`overload`).
//! `TALLY_LOAD_OVERLOAD` (30,000) is what a second of `overload` sends: a fast machine takes it all, and refuses only more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;
use support::client::now_seconds;
use support::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    connections: u64,
    batch: u64,
    events_a_second: u64,
    time: Duration,
}

/// What came back.
#[derive(Debug, Default)]
struct Outcome {
    latencies: Vec<Duration>,
    acknowledged: u64,
    refused: u64,
    /// Refusals without `Retry-After`, and any other status.
    wrong: Vec<String>,
    /// Requests that were never sent because the connection was behind at the end.
    unsent: u64,
}

/// An event as a browser's SDK describes it, around its id. Made once: the driver shares the processors with the server.
fn event(id: &str, n: u64, seconds: u64) -> String {
    format!(
        r#"{{"event_id":"{id}","type":"page","timestamp":{seconds}000,"anonymous_id":"visitor-{}","url":"https://shop.example/p/{}?utm_source=newsletter&utm_medium=email","title":"Page {}","referrer":"https://search.example/?q=shoes","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0","language":"en-GB","screen_w":1920,"screen_h":1080,"viewport_w":1280,"viewport_h":720,"properties":{{"plan":"free","position":{}}}}}"#,
        n % 20_000,
        n % 40,
        n % 40,
        n % 100,
    )
}

fn request(load: &Load, connection: u64, n: u64, start: u64) -> String {
    let mut body = String::with_capacity(load.batch as usize * 560);
    for at in 0..load.batch {
        let id = format!("{}-{connection}-{n}-{at}", load.name);
        body.push_str(&event(
            &id,
            connection.wrapping_mul(7919) + n * load.batch + at,
            start + n % 3_600,
        ));
        body.push('\n');
    }
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: tally\r\nx-write-key: shop-key\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One connection, its requests at their times.
async fn drive(address: SocketAddr, load: Load, connection: u64, began: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let requests_a_second = load.events_a_second as f64 / load.batch as f64 / load.connections as f64;
    let gap = Duration::from_secs_f64(1.0 / requests_a_second);
    let offset = gap.mul_f64(connection as f64 / load.connections as f64);
    let count = (load.time.as_secs_f64() * requests_a_second) as u64;
    let start = now_seconds() - 7_200;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16 * 1024];
    for n in 0..count {
        let due = began + offset + gap * u32::try_from(n).unwrap();
        // A driver that is far behind measures itself; the rest is told as not sent.
        if Instant::now() > began + load.time + Duration::from_secs(10) {
            outcome.unsent = count - n;
            break;
        }
        let request = request(&load, connection, n, start);
        sleep_until(due).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let (status, head) = answer(&mut stream, &mut buffer).await;
        let has_wait = head.to_ascii_lowercase().contains("retry-after:");
        match status {
            200 => {
                outcome.acknowledged += load.batch;
                outcome.latencies.push(due.elapsed());
            }
            429 | 503 if has_wait => outcome.refused += load.batch,
            _ => outcome.wrong.push(head.clone()),
        }
        if head.to_ascii_lowercase().contains("connection: close") {
            stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
        }
    }
    outcome
}

/// Reads one answer. Status and head.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> (u16, String) {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.unwrap();
        assert!(read > 0, "the server closed a connection without an answer");
        length += read;
        let Some(end) = buffer[..length].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let told = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        });
        let body: usize = told.map_or(0, |text| text.parse().unwrap());
        while length < end + 4 + body {
            length += stream.read(&mut buffer[length..]).await.unwrap();
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        return (status, head);
    }
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    let found = sorted.get(at.min(sorted.len().saturating_sub(1)));
    found.copied().unwrap_or_default().as_secs_f64() * 1e3
}

/// Runs the load and prints what came of it.
fn run(server: &Process, load: Load) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let address = server.client().address();
    let (before_kib, _) = server.memory_kib();
    let cpu_before = server.cpu_seconds();
    let began = Instant::now() + Duration::from_millis(50);
    let mut all = runtime.block_on(async {
        let tasks: Vec<_> = (0..load.connections)
            .map(|c| tokio::spawn(drive(address, load, c, began)))
            .collect();
        let mut all = Outcome::default();
        for task in tasks {
            let one = task.await.unwrap();
            all.latencies.extend(one.latencies);
            all.acknowledged += one.acknowledged;
            all.refused += one.refused;
            all.unsent += one.unsent;
            all.wrong.extend(one.wrong);
        }
        all
    });
    let wall = began.elapsed().as_secs_f64();
    let cpu = server.cpu_seconds() - cpu_before;
    let (after_kib, peak_kib) = server.memory_kib();
    all.latencies.sort();
    println!(
        "--- {}: {} events a second, batches of {}, {} connections, {} s",
        load.name,
        load.events_a_second,
        load.batch,
        load.connections,
        load.time.as_secs()
    );
    println!(
        "acknowledged, a second         {:>9} {:>9.0}",
        all.acknowledged,
        all.acknowledged as f64 / wall
    );
    println!("refused with Retry-After       {:>9}", all.refused);
    println!(
        "not sent, wrong answers        {:>9} {:>9}",
        all.unsent,
        all.wrong.len()
    );
    println!(
        "acknowledgement p50, p99, max  {:>9.1} {:>9.1} {:>9.1} ms",
        percentile(&all.latencies, 0.5),
        percentile(&all.latencies, 0.99),
        percentile(&all.latencies, 1.0)
    );
    println!("events a CPU second            {:>9.0}", all.acknowledged as f64 / cpu);
    println!(
        "memory before, after, peak     {:>9.1} {:>9.1} {:>9.1} MiB",
        before_kib as f64 / 1024.0,
        after_kib as f64 / 1024.0,
        peak_kib as f64 / 1024.0
    );
    assert!(all.wrong.is_empty(), "{:?}", &all.wrong[..all.wrong.len().min(3)]);
    all
}

/// Kills the server, starts it again, and counts.
fn check(mut server: Process, folder: &std::path::Path, settings: &[(&str, &str)], acknowledged: u64) {
    server.kill();
    let started = std::time::Instant::now();
    let server = Process::start(folder, settings);
    println!(
        "start after kill -9            {:>9.2} s",
        started.elapsed().as_secs_f64()
    );
    let stored = server.client().count("shop");
    assert_eq!(
        stored, acknowledged,
        "every acknowledged event is stored once, and no other"
    );
    println!("stored, lost, doubled          {stored:>9} {:>9} {:>9}", 0, 0);
}

/// The time until a request is taken again.
fn recovery(server: &Process) -> Duration {
    let started = std::time::Instant::now();
    let event = format!("[{}]", event("after", 1, now_seconds()));
    support::wait_for("an acknowledgement after the overload", Duration::from_secs(30), || {
        let reply = server
            .client()
            .ingest("shop-key", &serde_json::from_str(&event).unwrap());
        (reply.status == 200).then_some(())
    });
    started.elapsed()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only asks whether this starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let named = arguments.iter().any(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| !named || arguments.iter().any(|argument| argument == name);
    let time = Duration::from_secs(from_env("TALLY_LOAD_SECONDS", 15));
    let load = |name, connections, batch, events_a_second| Load {
        name,
        connections,
        batch,
        events_a_second,
        time,
    };
    for load in [load("single", 128, 1, 10_000), load("batches", 64, 50, 10_000)] {
        if wanted(load.name) {
            let folder = tempfile::tempdir().unwrap();
            let server = Process::start(folder.path(), &[]);
            let outcome = run(&server, load);
            std::thread::sleep(Duration::from_secs(40));
            let (rest_kib, _) = server.memory_kib();
            println!("memory 40 s later              {:>9.1} MiB", rest_kib as f64 / 1024.0);
            check(server, folder.path(), &[], outcome.acknowledged);
        }
    }
    if wanted("overload") {
        let folder = tempfile::tempdir().unwrap();
        let settings = [("memory", "96MiB")];
        let server = Process::start(folder.path(), &settings);
        let rate = from_env("TALLY_LOAD_OVERLOAD", 30_000);
        let outcome = run(&server, load("overload", 128, 50, rate));
        if outcome.refused == 0 {
            println!("nothing was refused: {rate} events a second are no overload here");
        }
        println!(
            "normal again after             {:>9.2} s",
            recovery(&server).as_secs_f64()
        );
        check(server, folder.path(), &settings, outcome.acknowledged + 1);
    }
}
