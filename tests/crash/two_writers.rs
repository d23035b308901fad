//! Two machines and one store: the owner is stopped in the middle of its work, another takes over, the first one wakes up.
//! Exactly one may write; the other must stop within one commit; nothing acknowledged by either is lost or doubled.
//!
//! Rounds: 2 for each place of the write-ahead log, or as many as `TALLY_TWO_WRITERS_ROUNDS` says.

use super::from_env;
use super::kill::check_once;
use super::scenario::{PROJECT, WRITE_KEY};
use super::support::client::{Client, now_seconds};
use super::support::events::{native_request, page_views};
use super::support::process::Process;
use super::support::{Random, wait_for};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: u64 = 3;
const BATCH: usize = 10;
/// Longest time that a woken process may take to find out, when somebody asks it.
const FENCED_MAX: Duration = Duration::from_secs(30);

/// One machine's settings: a data folder of its own, the store of all.
fn settings<'a>(store: &'a str, wal: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("store", store),
        ("wal", wal),
        ("wal_interval_ms", "5"),
        ("flush_interval_ms", "40"),
        ("flush_rows_max", "200"),
        ("memory", "256MiB"),
    ]
}

fn batch(prefix: &str, number: u64) -> Vec<Value> {
    let start = now_seconds() - 5 * 86_400;
    page_views(
        &format!("{prefix}-{number}-"),
        BATCH,
        start + number * 7200 % (2 * 86_400),
    )
}

/// Posts one batch. `Some(true)`: acknowledged; `Some(false)`: refused; `None`: no answer.
fn post(client: &Client, events: &[Value]) -> Option<bool> {
    let (path, headers) = native_request(WRITE_KEY);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = json!(events).to_string();
    match client.try_send("POST", &path, &headers, Some(body.as_bytes())) {
        Ok(reply) if reply.status == 200 => Some(true),
        Ok(reply) if reply.status == 503 => Some(false),
        Ok(reply) => panic!("a batch was answered with {}: {}", reply.status, reply.text()),
        Err(_) => None,
    }
}

fn ids(events: &[Value]) -> Vec<String> {
    let id = |event: &Value| event["event_id"].as_str().unwrap().to_owned();
    events.iter().map(id).collect()
}

/// Posts until told to stop or refused; the acknowledged ids.
fn post_until(client: &Client, prefix: &str, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let events = batch(prefix, number);
        match post(client, &events) {
            Some(true) => acknowledged.extend(ids(&events)),
            Some(false) | None => break,
        }
    }
    acknowledged
}

/// Waits until a woken process says that it is fenced. Returns what it acknowledged meanwhile, and how often it was asked.
fn wait_fenced(client: &Client, prefix: &str) -> (Vec<String>, u64) {
    let mut acknowledged = Vec::new();
    let mut asked = 0;
    wait_for("a fenced process", FENCED_MAX, || {
        let events = batch(prefix, asked);
        asked += 1;
        if post(client, &events) == Some(true) {
            acknowledged.extend(ids(&events));
        }
        let ready = client.try_send("GET", "/readyz", &[], None).ok()?;
        (ready.status == 503 && ready.text().contains("taken over")).then_some(())
    });
    // From now on for ever.
    assert_eq!(
        post(client, &batch(prefix, asked)),
        Some(false),
        "a fenced process takes no events"
    );
    (acknowledged, asked)
}

/// Every table's log: versions without a gap, and epochs that never go back.
fn check_history(store: &Path) -> usize {
    let mut entries = 0;
    for kind in ["events", "rejected"] {
        let log = store.join("projects").join(PROJECT).join(kind).join("_delta_log");
        let Ok(listed) = std::fs::read_dir(&log) else { continue };
        let mut versions: Vec<_> = listed
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        versions.sort();
        let mut epoch_before = 0;
        for (at, path) in versions.iter().enumerate() {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(name, format!("{at:020}"), "a version is missing in {}", log.display());
            let text = std::fs::read_to_string(path).unwrap();
            for line in text.lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                if action["txn"]["appId"] == "tally-epoch" {
                    let epoch = action["txn"]["version"].as_u64().unwrap();
                    assert!(epoch >= epoch_before, "{name}: epoch {epoch} after {epoch_before}");
                    epoch_before = epoch;
                }
            }
        }
        entries += versions.len();
    }
    entries
}

#[derive(Default)]
struct Figures {
    acknowledged: usize,
    late: usize,
    asked_max: u64,
    takeover_max: Duration,
}

fn run(wal: &str, rounds: u64, seed: u64) {
    let mut random = Random::new(seed);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = tempfile::tempdir().unwrap();
    let url = format!("file://{}", store.path().display());
    let settings = settings(&url, wal);
    let mut figures = Figures::default();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut owner = Process::start(folders[0].path(), &settings);
    for round in 0..rounds {
        let other = folders[usize::try_from((round + 1) % 2).unwrap()].path();
        let stop = AtomicBool::new(false);
        let (mut next, acks) = std::thread::scope(|scope| {
            let posting: Vec<_> = (0..CONNECTIONS)
                .map(|connection| {
                    let (client, stop) = (owner.client(), &stop);
                    scope.spawn(move || post_until(&client, &format!("r{round}-c{connection}"), stop))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(50 + random.below(400)));
            owner.signal("STOP");
            let started = Instant::now();
            let next = Process::start(other, &settings);
            figures.takeover_max = figures.takeover_max.max(started.elapsed());
            owner.signal("CONT");
            let (late, asked) = wait_fenced(&owner.client(), &format!("r{round}-late"));
            figures.asked_max = figures.asked_max.max(asked);
            figures.late += late.len();
            if wal == "store" {
                assert!(
                    late.is_empty(),
                    "round {round}: acknowledged by a process that had been replaced: {late:?}"
                );
            }
            stop.store(true, Ordering::Relaxed);
            let mut acks: Vec<String> = posting.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            acks.extend(late);
            (next, acks)
        });
        acknowledged.extend(acks);
        let events = batch(&format!("r{round}-next"), 0);
        assert_eq!(post(&next.client(), &events), Some(true), "the new owner takes events");
        acknowledged.extend(ids(&events));
        assert!(next.is_running() && owner.is_running(), "nobody ends by itself");
        owner.kill();
        owner = next;
        if wal == "store" {
            let stored = owner.client().id_counts(PROJECT, &format!("r{round}-"));
            let of_round: Vec<_> = acknowledged
                .iter()
                .filter(|id| id.starts_with(&format!("r{round}-")))
                .collect();
            check_once(
                &format!("{wal}, round {round}"),
                &stored,
                &of_round.into_iter().cloned().collect::<Vec<_>>(),
            );
        }
    }
    assert!(owner.terminate().success());
    // With a local log what a machine acknowledged last is in its folder, until it writes again.
    for folder in &folders {
        let mut machine = Process::start(folder.path(), &settings);
        assert!(machine.terminate().success());
    }
    let mut reader = Process::start(folders[0].path(), &settings);
    let client = reader.client();
    let stored: HashMap<String, u64> = (0..rounds)
        .flat_map(|round| client.id_counts(PROJECT, &format!("r{round}-")))
        .collect();
    check_once(&format!("{wal}, all rounds"), &stored, &acknowledged);
    assert!(reader.terminate().success());
    figures.acknowledged = acknowledged.len();
    report(wal, rounds, &figures, check_history(store.path()));
}

#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn report(wal: &str, rounds: u64, figures: &Figures, entries: usize) {
    let Figures {
        acknowledged,
        late,
        asked_max,
        takeover_max,
    } = figures;
    println!(
        "{rounds} takeovers of a stopped owner, log in {wal}: {acknowledged} acknowledged ids, each stored exactly once, \
         {late} of them by a woken owner into its own log; fenced after at most {asked_max} requests; longest takeover \
         {takeover_max:?}; {entries} entries in the tables' logs, without a gap"
    );
}

#[test]
fn one_of_two_writers_survives_with_the_log_in_the_store() {
    run("store", from_env("TALLY_TWO_WRITERS_ROUNDS", 2), 1);
}

#[test]
fn one_of_two_writers_survives_with_local_logs() {
    run("local", from_env("TALLY_TWO_WRITERS_ROUNDS", 2), 2);
}
