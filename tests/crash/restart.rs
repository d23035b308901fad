//! A restart with a long write-ahead log: how long it takes until the server answers, and that everything is there.
//!
//! Megabytes of events: 4, or as many as `TALLY_CRASH_WAL_MB` says. The time is printed; what it may be is asked of a
//! release build (`TALLY_BIN`).

use crate::from_env;
use crate::scenario::{PROJECT, wal_bytes};
use crate::support::client::now_seconds;
use crate::support::events::rich_page_views;
use crate::support::process::Process;
use serde_json::json;
use std::time::Instant;

const BATCH: usize = 1_000;
/// Nothing is flushed, so that everything is in the log.
const SETTINGS: &[(&str, &str)] = &[
    ("flush_interval_ms", "3600000"),
    ("flush_rows_max", "100000000"),
    ("flush_bytes_max", "16GiB"),
    ("memory", "8GiB"),
];

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn a_long_log_is_replayed_whole() {
    let bytes_wanted = from_env("TALLY_CRASH_WAL_MB", 4) << 20;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(folder.path(), SETTINGS);
    let client = server.client();
    let (mut sent_bytes, mut sent) = (0, 0);
    while sent_bytes < bytes_wanted {
        let events = json!(rich_page_views(&format!("w{sent}-"), BATCH, now_seconds() - 86_400));
        let reply = client.ingest(crate::scenario::WRITE_KEY, &events);
        assert_eq!(reply.status, 200, "{}", reply.text());
        sent_bytes += events.to_string().len() as u64;
        sent += BATCH as u64;
    }
    server.kill();
    let log = wal_bytes(folder.path());
    let started = Instant::now();
    server = Process::start(folder.path(), SETTINGS);
    let took = started.elapsed();
    assert_eq!(server.client().count(PROJECT), sent);
    println!(
        "a log of {} MiB with {sent} events ({} MiB as sent): ready {took:?} after the start",
        log >> 20,
        sent_bytes >> 20
    );
}
