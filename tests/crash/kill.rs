//! The ledger test: events are posted while the server is killed again and again; every acknowledged event must be stored
//! exactly once, every other at most once.
//!
//! The driver writes an id into a ledger outside the data folder, and syncs it, before it counts the id as acknowledged.
//! Rounds: 12, or as many as `TALLY_CRASH_ROUNDS` says, each hundred in a folder of their own. A failed run prints the
//! seed; `TALLY_CRASH_SEED` repeats it.

use crate::from_env;
use crate::ledger::Ledger;
use crate::scenario::{metric, wal_bytes};
use crate::support::Random;
use crate::support::client::{Client, now_seconds};
use crate::support::events::{native_request, page_views};
use crate::support::process::Process;
use crate::tables;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PROJECT: &str = "shop";
const WRITE_KEY: &str = "shop-key";
const CONNECTIONS: u64 = 4;
const BATCH: u64 = 25;
/// Rounds in one data folder: the checks read it all, and most of its files are older than the last merges.
const FOLDER_ROUNDS: u64 = 100;
/// Small bounds, so that kills also hit flushes and commits; and flushes of a day's few rows make files to merge.
const SETTINGS: &[(&str, &str)] = &[
    ("flush_interval_ms", "40"),
    ("flush_rows_max", "400"),
    ("memory", "256MiB"),
];

/// How long a life waits for its first merge, when it is one that does.
const MERGE_MAX: Duration = Duration::from_secs(15);
/// How often a life's counters are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What one connection did until its server died.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<String>,
    /// Sent without an answer: they may be stored or not.
    open: Vec<Value>,
}

/// Posts batches until the connection breaks.
fn post_until_broken(client: &Client, ledger: &Ledger, prefix: &str, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    let start = now_seconds() - 5 * 86_400;
    for batch in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Mostly of one day, so that there are soon enough files of it to be merged.
        let events = page_views(
            &format!("{prefix}-{batch}-"),
            BATCH as usize,
            start + batch * 600 % 43_200,
        );
        let ids: Vec<String> = events
            .iter()
            .map(|event| event["event_id"].as_str().unwrap().to_owned())
            .collect();
        let body = json!(events).to_string();
        let (path, headers) = native_request(WRITE_KEY);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        match client.try_send("POST", &path, &headers, Some(body.as_bytes())) {
            Ok(reply) if reply.status == 200 => {
                ledger.acknowledge(&ids);
                sent.acknowledged.extend(ids);
            }
            Ok(reply) if reply.status == 503 => {}
            Ok(reply) => panic!("a batch was answered with {}: {}", reply.status, reply.text()),
            Err(_) => {
                sent.open = events;
                break;
            }
        }
    }
    sent
}

/// One life of the server: post from several connections, kill at a random moment, or at one after the first merge. Also gives the flushes and merges that
/// were seen shortly before the end.
fn live_and_die(
    server: &mut Process,
    ledger: &Ledger,
    round: u64,
    life: Duration,
    merge_max: Duration,
) -> (Vec<Sent>, [u64; 2]) {
    let stop = AtomicBool::new(false);
    let watch = server.client();
    std::thread::scope(|scope| {
        let posting: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (client, stop) = (server.client(), &stop);
                scope.spawn(move || post_until_broken(&client, ledger, &format!("r{round}-c{connection}"), stop))
            })
            .collect();
        let counters = ["tally_flushes_total", "tally_compactions_total"];
        let mut seen = [0; 2];
        let mut look = |end: Instant, is_enough: fn([u64; 2]) -> bool| {
            while !is_enough(seen)
                && let Some(left) = end.checked_duration_since(Instant::now())
            {
                std::thread::sleep(left.min(LOOK));
                seen = counters.map(|name| metric(&watch, name).unwrap_or(0));
            }
        };
        look(Instant::now() + merge_max, |[_, merges]| merges > 0);
        look(Instant::now() + life, |_| false);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        let sent = posting.into_iter().map(|thread| thread.join().unwrap());
        (sent.collect(), seen)
    })
}

/// Every acknowledged id is stored, and none twice.
pub fn check_once(what: &str, stored: &HashMap<String, u64>, acknowledged: &[String]) {
    let twice: Vec<_> = stored.iter().filter(|(_, count)| **count != 1).take(5).collect();
    assert!(twice.is_empty(), "{what}: stored more than once: {twice:?}");
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !stored.contains_key(*id))
        .take(5)
        .collect();
    assert!(lost.is_empty(), "{what}: acknowledged and not stored: {lost:?}");
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn kill_nine_loses_nothing_acknowledged_and_doubles_nothing() {
    let rounds = from_env("TALLY_CRASH_ROUNDS", 12);
    let seed = from_env("TALLY_CRASH_SEED", 1);
    let mut random = Random::new(seed);
    let mut all = Figures::default();
    let mut left = rounds;
    while left > 0 {
        let here = left.min(FOLDER_ROUNDS);
        left -= here;
        let folder = tempfile::tempdir().unwrap();
        let ledger_folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&ledger_folder.path().join("acknowledged.txt"));
        run(folder.path(), &ledger, here, seed, &mut random, &mut all);
        println!("{} of {rounds} kills (seed {seed}): {all:?}", rounds - left);
    }
    assert!(all.flushes > 0, "no flush was met");
    assert!(all.merges > 0, "no merge was met");
}

/// Figures of a run.
#[derive(Debug, Default)]
struct Figures {
    acknowledged: usize,
    /// Ids that were never acknowledged and are stored all the same.
    stored_unacknowledged: usize,
    resent: usize,
    /// With the MiB of log it began with.
    longest_restart: (Duration, u64),
    most_log_mib: u64,
    /// Completed while events came.
    flushes: u64,
    merges: u64,
    /// Files that a kill left half written, or whole and not yet in a table.
    interrupted_files: usize,
    files: usize,
}

/// Rounds in one folder.
fn run(folder: &Path, ledger: &Ledger, rounds: u64, seed: u64, random: &mut Random, figures: &mut Figures) {
    let mut server = Process::start(folder, SETTINGS);
    for round in 0..rounds {
        // A server looks for files to merge two seconds after its start, and then for as long as there are some.
        let merge_max = if round % 4 == 3 { MERGE_MAX } else { Duration::ZERO };
        let life = Duration::from_millis(60 + random.below(900));
        let (sent, [flushes, merges]) = live_and_die(&mut server, ledger, round, life, merge_max);
        figures.flushes += flushes;
        figures.merges += merges;
        let log_mib = wal_bytes(folder) >> 20;
        let started = Instant::now();
        server = Process::start(folder, SETTINGS);
        let took = started.elapsed();
        figures.longest_restart = figures.longest_restart.max((took, log_mib));
        figures.most_log_mib = figures.most_log_mib.max(log_mib);
        check_round(&server.client(), ledger, round, seed, sent, figures);
    }
    let all = ledger.read();
    figures.acknowledged += all.len();
    // Round by round: to sort the ids of many rounds at once takes more than the memory these servers are given.
    let client = server.client();
    let stored = (0..rounds).flat_map(|round| client.id_counts(PROJECT, &format!("r{round}-")));
    check_once(&format!("all rounds of seed {seed}, by query"), &stored.collect(), &all);
    let status = server.terminate();
    assert!(status.success(), "the clean stop ended with {status}");
    let listing = tables::read_ids(&folder.join("data"), PROJECT);
    figures.files += listing.files;
    figures.interrupted_files += listing.orphans;
    check_once(&format!("all rounds of seed {seed}, by listing"), &listing.ids, &all);
}

fn check_round(client: &Client, ledger: &Ledger, round: u64, seed: u64, sent: Vec<Sent>, figures: &mut Figures) {
    let acknowledged: Vec<String> = sent.iter().flat_map(|sent| sent.acknowledged.clone()).collect();
    let stored = client.id_counts(PROJECT, &format!("r{round}-"));
    check_once(&format!("round {round} of seed {seed}"), &stored, &acknowledged);
    figures.stored_unacknowledged += stored.len() - acknowledged.len();

    // What got no answer is sent again, as an SDK does, and is then there once as well.
    let open: Vec<Value> = sent.into_iter().flat_map(|sent| sent.open).collect();
    if round.is_multiple_of(2) && !open.is_empty() {
        assert_eq!(client.ingest(WRITE_KEY, &json!(open)).status, 200);
        let ids: Vec<String> = open
            .iter()
            .map(|event| event["event_id"].as_str().unwrap().to_owned())
            .collect();
        ledger.acknowledge(&ids);
        figures.resent += ids.len();
        let stored = client.id_counts(PROJECT, &format!("r{round}-"));
        check_once(&format!("round {round} of seed {seed}, sent again"), &stored, &ids);
    }
}
