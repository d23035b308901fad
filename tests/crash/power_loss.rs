//! Power cuts: a run of the real server is recorded, and the disk it would leave behind is built for a power cut at any
//! moment, with any part of what was not synced. Every such disk must open, hold what was acknowledged, and nothing half.
//!
//! Disks: 12, or as many as `TALLY_POWER_LOSS_SEEDS` says, from `TALLY_POWER_LOSS_SEED` on. The same recording also shows
//! the state after a kill at every system call, where everything written is kept: every 100th, or all with
//! `TALLY_POWER_LOSS_KILLS=1`, every n-th with `=n`.

mod disk;
mod trace;

use crate::from_env;
use crate::scenario::{Answer, Sent, ids, metric, wait_metric};
use crate::strace;
use crate::support::client::{Client, now_seconds};
use crate::support::events::page_views;
use crate::support::{Random, wait_for};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use disk::Unsynced;
use engine::clock::SystemClock;
use engine::event::{Column, Event};
use engine::ingest::Batch;
use engine::{Engine, EngineOptions, ProjectId};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use trace::{Recorder, Step};

/// Flushes soon, so that there are enough files to merge.
const SETTINGS: &[(&str, &str)] = &[("flush_interval_ms", "60"), ("memory", "256MiB"), ("disk_reserve", "0")];
const WAIT: Duration = Duration::from_secs(120);
const WORKERS: usize = 2;
/// The log of the table of events, in the data folder.
const LOG: &str = "store/projects/shop/events/_delta_log";

/// A recorded run: its steps, and the batches it sent.
struct Recording {
    /// The data folder while it ran.
    root: PathBuf,
    steps: Vec<Step>,
    sent: Sent,
    kills: u64,
}

/// Four lives of a server: the first makes everything, flushes, merges, and is killed; the second is killed between a
/// commit's name and its sync; the third replays and ends in peace; the fourth begins with a log of which most is not needed
/// any more.
fn record(folder: &Path) -> Recording {
    let root = folder.join("data");
    crate::support::write_projects(&root);
    let mut recorder = Recorder::new(&root, &[root.join("projects.json")]);
    let mut sent = Sent::default();
    let traced = |life: u64, fault: Option<&str>| {
        let path = folder.join(format!("trace{life}"));
        let calls = format!("trace={}", trace::CALLS);
        let output = path.to_string_lossy().into_owned();
        let mut arguments = vec!["-xx", "-s", "33554432", "-o", &output, "-e", &calls];
        match fault {
            // With the filter, strace 6.1 does not inject all kinds of faults.
            Some(fault) => arguments.extend(["-e", fault]),
            None => arguments.push("--seccomp-bpf"),
        }
        (strace::spawn(folder, SETTINGS, &arguments), path)
    };
    let (mut server, path) = traced(1, None);
    server.wait_ready();
    let client = server.client();
    for number in 11..=20 {
        let flushes = metric(&client, "tally_flushes_total").unwrap();
        assert_eq!(sent.post(&client, number), Answer::Acknowledged);
        wait_metric(&client, "tally_flushes_total", flushes + 1, WAIT).unwrap();
    }
    let merges = wait_metric(&client, "tally_compactions_total", 1, WAIT).unwrap();
    fill_the_log(&client);
    std::thread::scope(|scope| {
        for number in 21..=23 {
            let client = client.clone();
            scope.spawn(move || assert_eq!(Sent::default().post(&client, number), Answer::Acknowledged));
        }
    });
    sent.all.extend(21..=23);
    sent.acknowledged.extend(21..=23);
    server.kill();
    recorder.read(&strace::log(&path, server.id()));
    // Every commit's name is given, and its folder not synced, for two seconds: long enough to be killed in between.
    let (mut server, path) = traced(2, Some("inject=linkat:delay_exit=2000000"));
    server.wait_ready();
    let commits = || std::fs::read_dir(root.join(LOG)).unwrap().count();
    let before = commits();
    assert_eq!(sent.post(&server.client(), 24), Answer::Acknowledged);
    wait_for("a commit", WAIT, || (commits() > before + 1).then_some(()));
    server.kill();
    recorder.read(&strace::log(&path, server.id()));
    for (life, posts) in [(3, &[(301..=302, 1), (303..=304, 2)][..]), (4, &[(305..=305, 1)])] {
        let (mut server, path) = traced(life, None);
        server.wait_ready();
        let client = server.client();
        // What is sent after a flush is not in it.
        for (numbers, flushes) in posts {
            for number in numbers.clone() {
                assert_eq!(sent.post(&client, number), Answer::Acknowledged);
            }
            wait_metric(&client, "tally_flushes_total", *flushes, WAIT).unwrap();
        }
        assert!(server.terminate().success());
        recorder.read(&strace::log(&path, server.id()));
    }
    assert!(merges > 0);
    assert!(recorder.steps.iter().any(is_thinned), "no journal was written anew");
    Recording {
        root,
        steps: recorder.steps,
        sent,
        kills: 2,
    }
}

/// Posts events of another project until most of the log is not needed any more, more than a start leaves in it. Their text
/// does not compress.
fn fill_the_log(client: &Client) {
    let mut random = Random::new(1);
    let mut text = || -> String { (0..4_000).map(|_| char::from(b'?' + random.below(64) as u8)).collect() };
    for part in 0..5 {
        let mut events = page_views(&format!("noise-{part}-"), 400, now_seconds() - 3_600);
        for event in &mut events {
            event["properties"] = json!({ "noise": text() });
        }
        let flushes = metric(client, "tally_flushes_total").unwrap();
        assert_eq!(client.ingest("blog-key", &json!(events)).status, 200);
        wait_metric(client, "tally_flushes_total", flushes + 1, WAIT).unwrap();
    }
}

/// Whether what a journal does not need any more was taken out.
fn is_thinned(step: &Step) -> bool {
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jnl");
    matches!(step, Step::Rename { to, .. } if is_journal(to))
}

impl Recording {
    /// What clients had sent and been told by step `crash`.
    fn sent(&self, crash: usize) -> Sent {
        let mut acknowledged: BTreeSet<u64> = disk::acknowledged(&self.steps, crash).into_iter().collect();
        // What fills the log is no batch.
        acknowledged.retain(|number| self.sent.all.contains(number));
        let all = self.sent.all.clone();
        Sent { acknowledged, all }
    }

    /// The recording of a server that forgets some syncs.
    fn without(&self, is_taken: fn(&Step) -> bool) -> Self {
        let nothing = Step::Sync {
            inode: usize::MAX,
            begun: 0,
        };
        let keep = |step: &Step| if is_taken(step) { nothing.clone() } else { step.clone() };
        Self {
            root: self.root.clone(),
            steps: self.steps.iter().map(keep).collect(),
            sent: Sent {
                acknowledged: self.sent.acknowledged.clone(),
                all: self.sent.all.clone(),
            },
            kills: self.kills,
        }
    }

    /// Builds the disk and checks it; the error says what is wrong with it.
    fn try_disk(&self, crash: usize, unsynced: Unsynced<'_>, keep: Option<&Path>) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let data = keep.map_or(folder.path(), |keep| keep).join("data");
        std::fs::create_dir_all(&data).unwrap();
        disk::rebuild(&self.steps, crash, unsynced, &self.root, &data);
        let sent = self.sent(crash);
        in_a_process(send_all_again(&data, &sent))?;
        in_a_process(start_once_more(&data, &sent))
    }
}

/// Runs `life` to its end, and that of all work it has begun, as the end of a process would be: a merge of a dropped engine
/// holds the folder until it comes to where it can be stopped.
fn in_a_process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(life)
}

fn options(data: &Path) -> EngineOptions {
    EngineOptions {
        store_url: format!("file://{}", data.join("store").display()),
        ..EngineOptions::by_hand(data, Arc::new(SystemClock))
    }
}

fn project() -> ProjectId {
    ProjectId::new(crate::scenario::PROJECT).unwrap()
}

async fn open(data: &Path) -> Result<Arc<Engine>, String> {
    Engine::open(options(data)).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("the start failed: {error} ({cause:?})")
    })
}

/// Opens the folder, looks, sends everything again, and looks.
async fn send_all_again(data: &Path, sent: &Sent) -> Result<(), String> {
    std::fs::create_dir_all(data.join("store")).unwrap();
    let project = project();
    let engine = open(data).await?;
    let when = |when: &'static str| move |error: String| format!("{when}: {error}");
    sent.check(&stored(&engine, data, &project).await?)
        .map_err(when("after the power cut"))?;
    for number in &sent.all {
        let batch = Batch {
            events: ids(*number).iter().map(|id| event(id)).collect(),
            rejected: Vec::new(),
        };
        let receipt = engine
            .append(&project, batch)
            .await
            .map_err(|error| format!("batch {number}: {error}"))?;
        if receipt.stored + receipt.duplicate != *number {
            return Err(format!("batch {number} sent again: {receipt:?}"));
        }
    }
    sent.all_acknowledged()
        .check(&stored(&engine, data, &project).await?)
        .map_err(when("after all was sent again"))
}

/// Opens the folder once more, in which everything that was ever sent has to be.
async fn start_once_more(data: &Path, sent: &Sent) -> Result<(), String> {
    let engine = open(data).await.map_err(|error| format!("another start: {error}"))?;
    sent.all_acknowledged()
        .check(&stored(&engine, data, &project()).await?)
        .map_err(|error| format!("after another start: {error}"))
}

fn event(id: &str) -> Event {
    let now = 1_790_000_000_000_000;
    let mut event = Event::default();
    event.set(Column::EventId, id);
    event.set_ts(Column::Ts, now);
    event.set_ts(Column::ReceivedAt, now);
    event.set(Column::VisitorId, "v");
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event
}

/// How often each event id is stored, in files and in the buffer.
async fn stored(engine: &Engine, data: &Path, project: &ProjectId) -> Result<HashMap<String, u64>, String> {
    let view = engine
        .view(project)
        .await
        .map_err(|error| format!("the view: {error}"))?;
    let store = data.join("store");
    let files: Vec<PathBuf> = view
        .events
        .files
        .iter()
        .map(|file| store.join(file.path.as_ref()))
        .collect();
    let mut counts = match files.is_empty() {
        true => HashMap::new(),
        false => crate::tables::count_ids(&files).await,
    };
    for batch in &view.buffered_events {
        for id in column(batch) {
            *counts.entry(id).or_default() += 1;
        }
    }
    Ok(counts)
}

fn column(batch: &RecordBatch) -> Vec<String> {
    let ids = batch.column_by_name("event_id").unwrap();
    let ids = datafusion::arrow::compute::cast(ids, &DataType::Utf8).unwrap();
    let ids = ids.as_string::<i32>();
    (0..ids.len()).map(|row| ids.value(row).to_owned()).collect()
}

/// Runs `work` for each of `items` on some threads, until one fails.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), String> + Sync) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    if !strace::is_available("power cuts") {
        return;
    }
    let seeds = from_env("TALLY_POWER_LOSS_SEEDS", 12);
    let first = from_env("TALLY_POWER_LOSS_SEED", 1);
    let folder = tempfile::tempdir().unwrap();
    let recording = record(folder.path());
    let syncs = recording
        .steps
        .iter()
        .filter(|step| matches!(step, Step::Sync { .. } | Step::SyncFolder { .. }))
        .count();
    let acknowledged: BTreeSet<u64> = recording.sent(recording.steps.len()).acknowledged;
    assert_eq!(
        acknowledged, recording.sent.acknowledged,
        "the recording tells of every answer"
    );
    println!(
        "recorded {} steps with {syncs} syncs, {} acknowledged batches, {} kills and two clean ends",
        recording.steps.len(),
        acknowledged.len(),
        recording.kills
    );
    let keep = std::env::var_os("TALLY_POWER_LOSS_KEEP").map(PathBuf::from);

    let started = Instant::now();
    let every = from_env("TALLY_POWER_LOSS_KILLS", 100) as usize;
    let kills: Vec<usize> = (0..=recording.steps.len()).step_by(every).collect();
    each(&kills, |crash| {
        let found = recording.try_disk(*crash, Unsynced::Kept, None);
        found.map_err(|error| format!("a kill after step {crash}: {error}"))
    })
    .unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{} kills between two system calls, nothing lost ({:?})",
        kills.len(),
        started.elapsed()
    );

    // The same recording with one kind of sync taken out must lose something: else the disks show nothing.
    for (what, is_taken) in [
        ("files", (|step| matches!(step, Step::Sync { .. })) as fn(&Step) -> bool),
        ("folders", |step| matches!(step, Step::SyncFolder { .. })),
    ] {
        let careless = recording.without(is_taken);
        let loses = |seed: &u64| {
            let mut random = Random::new(*seed);
            careless
                .try_disk(careless.steps.len(), Unsynced::Chance(&mut random), None)
                .is_err()
        };
        assert!(
            (0..10).any(|seed| loses(&seed)),
            "without syncs of {what} nothing is lost"
        );
    }

    let started = Instant::now();
    let seeds: Vec<u64> = (first..first + seeds).collect();
    each(&seeds, |seed| {
        let mut random = Random::new(*seed);
        let crash = random.below(recording.steps.len() as u64 + 1) as usize;
        let found = recording.try_disk(crash, Unsynced::Chance(&mut random), keep.as_deref());
        found.map_err(|error| {
            format!(
                "seed {seed}, a power cut after step {crash} of {}: {error}",
                recording.steps.len()
            )
        })
    })
    .unwrap_or_else(|error| panic!("{error}"));
    println!("{} power cuts, nothing lost ({:?})", seeds.len(), started.elapsed());
}
