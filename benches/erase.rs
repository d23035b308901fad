//! Erasing one visitor of many from a store of a given size, from the call to the second look. Prints seconds and
//! megabytes a second; every file holds rows of the visitor, so every file is rewritten.
//!
//! `cargo bench --bench erase`; `TALLY_BENCH_MB` is the size of the files (100; the figure to reach is for 1000).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use engine::clock::{Clock, SystemClock};
use engine::event::{Column, Event};
use engine::ingest::{Batch, EraseRequest};
use engine::{Engine, EngineOptions, ProjectId};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use support::Random;

/// Bytes of an event's properties. They are noise, so that they take as much room in a file.
const NOISE_BYTES: usize = 1000;
const SIGNS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
/// Events of one append.
const BATCH: usize = 2_000;
/// Days that the events lie on.
const DAYS: usize = 10;
const DAY_MICROS: i64 = 86_400_000_000;

fn main() {
    let megabytes: usize = std::env::var("TALLY_BENCH_MB").map_or(100, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(folder.path(), megabytes));
}

async fn measure(folder: &Path, megabytes: usize) {
    let engine = Engine::open(options(folder)).await.unwrap();
    let project = ProjectId::new("p").unwrap();
    let events = megabytes * 1_000_000 / NOISE_BYTES;
    let now = SystemClock.now_micros();
    let mut noise = Random::new(1);
    for start in (0..events).step_by(BATCH) {
        let numbers = start..(start + BATCH).min(events);
        let batch = Batch {
            events: numbers.map(|n| event(n, now, &mut noise)).collect(),
            rejected: Vec::new(),
        };
        engine.append(&project, batch).await.unwrap();
        if start % (BATCH * 25) == 0 {
            engine.flush().await.unwrap();
        }
    }
    engine.flush().await.unwrap();
    let request = EraseRequest::visitor("user-17");
    let started = Instant::now();
    let erased = engine.erase(&request, |_| {}).await.unwrap();
    let took = started.elapsed().as_secs_f64();
    assert!(erased.verified.is_empty(), "{:?}", erased.verified);
    for table in &erased.tables {
        let size = table.bytes as f64 / 1e6;
        println!(
            "{}: {} rows of {} files, {size:.0} MB, {} rewritten: {took:.1} s, {:.0} MB/s",
            table.table,
            table.rows,
            table.files,
            table.files_rewritten,
            size / took
        );
    }
}

fn event(number: usize, now: i64, noise: &mut Random) -> Event {
    let text: String = (0..NOISE_BYTES)
        .map(|_| SIGNS[noise.below(SIGNS.len() as u64) as usize] as char)
        .collect();
    let ts = now - (number % DAYS) as i64 * DAY_MICROS;
    let mut event = Event::default();
    event.set(Column::EventId, format!("e{number}"));
    event.set_ts(Column::Ts, ts);
    event.set_ts(Column::ReceivedAt, ts);
    event.set(Column::VisitorId, format!("user-{}", number / DAYS % 1000));
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set(Column::PagePath, "/");
    event.set(Column::Properties, format!("{{\"noise\":\"{text}\"}}"));
    event
}

fn options(folder: &Path) -> EngineOptions {
    EngineOptions {
        store_url: format!("file://{}", folder.join("store").display()),
        memory_bytes: 1 << 30,
        flush_rows_max: 10_000_000,
        flush_bytes_max: 1 << 30,
        query_threads: 2,
        ..EngineOptions::by_hand(&folder.join("data"), Arc::new(SystemClock))
    }
}
