//! Storage: the size of compacted files, the replay of a long log, the opening of tables with many commits, and thousands of
//! quiet projects.
//!
//! `cargo bench --bench storage -- size`, `replay`, `open` or `projects`; all of them without a name. `size` compares with
//! ClickHouse when `TALLY_BENCH_PYTHON` (else `python3`) has the package `chdb`. `TALLY_BENCH_LOG_MIB`, `TALLY_BENCH_COMMITS` and
//! `TALLY_BENCH_PROJECTS` change the load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use engine::clock::{DAY_MICROS, FixedClock, Micros, SECOND_MICROS, SystemClock};
use engine::event::{Column, Event, batch};
use engine::ingest::Batch;
use engine::store::flush::{Rows, flush};
use engine::store::{Table, TableKind, object};
use engine::{Engine, EngineOptions, ProjectId};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use server::demo::DemoSite;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// 2026-06-30T12:00:00Z.
const NOW: Micros = 1_782_820_800 * SECOND_MICROS;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

fn project(number: u64) -> ProjectId {
    ProjectId::new(&format!("bench_{number}")).unwrap()
}

fn options(folder: &Path) -> EngineOptions {
    EngineOptions {
        store_url: format!("file://{}", folder.join("store").display()),
        memory_bytes: 1 << 30,
        flush_rows_max: 100_000_000,
        flush_bytes_max: 1 << 40,
        query_threads: 2,
        ..EngineOptions::by_hand(&folder.join("data"), Arc::new(SystemClock))
    }
}

fn of(events: Vec<Event>) -> Batch {
    Batch {
        events,
        rejected: Vec::new(),
    }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|i| fields[*i].parse::<u64>().unwrap()).sum();
    // Linux counts in hundredths of a second for programs, whatever the kernel's own tick is.
    Duration::from_millis(ticks * 10)
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib / 1024.0
}

fn files_below(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, is_wanted));
        } else if is_wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

// --- Size ----------------------------------------------------------------------------------------------------------------

/// The demo site's events, without the texts that its visitors and authors write freely.
fn demo_days() -> Vec<Vec<Event>> {
    let mut site = DemoSite::new(1, NOW);
    let mut days = Vec::new();
    while let Some(mut day) = site.next_day() {
        for event in &mut day {
            event.remove(Column::Properties);
            event.remove(Column::UserTraits);
        }
        days.push(day);
    }
    days
}

async fn size(folder: &Path) {
    let clock = FixedClock::new(NOW);
    let options = EngineOptions {
        clock: Arc::<FixedClock>::clone(&clock),
        ..options(folder)
    };
    let engine = Engine::open(options).await.unwrap();
    let mut events = 0;
    for day in demo_days() {
        for part in day.chunks(1_000) {
            engine.append(&project(0), of(part.to_vec())).await.unwrap();
            events += part.len();
        }
        // Several files a day, as they come.
        engine.flush().await.unwrap();
    }
    let fresh = engine.view(&project(0)).await.unwrap().events;
    let fresh_bytes: u64 = fresh.files.iter().map(|file| file.size_bytes).sum();
    clock.set(NOW + 3 * 3_600 * SECOND_MICROS);
    let (cpu_before, started) = (cpu(), Instant::now());
    let merges = engine.compact().await.unwrap();
    let (merging, wall) = (cpu() - cpu_before, started.elapsed());
    let files = engine.view(&project(0)).await.unwrap().events;
    let bytes: u64 = files.files.iter().map(|file| file.size_bytes).sum();
    let each = |bytes: u64| bytes as f64 / events as f64;
    println!("events of the demo site        {events:>9}");
    println!(
        "fresh, bytes an event          {:>9.2}   {} files",
        each(fresh_bytes),
        fresh.files.len()
    );
    println!(
        "compacted, bytes an event      {:>9.2}   {} files",
        each(bytes),
        files.files.len()
    );
    println!(
        "merging, CPU a million events  {:>9.2} s ({merges} merges, {:.2} s of wall clock)",
        merging.as_secs_f64() * 1e6 / events as f64,
        wall.as_secs_f64()
    );
    let paths: Vec<PathBuf> = files
        .files
        .iter()
        .map(|file| folder.join("store").join(file.path.as_ref()))
        .collect();
    for (column, bytes) in columns(&paths).into_iter().take(24) {
        println!("  {column:<28} {:>9.2}", each(bytes));
    }
    engine.close().await.unwrap();
    let copies = folder.join("compacted");
    std::fs::create_dir_all(&copies).unwrap();
    for (at, path) in paths.iter().enumerate() {
        std::fs::copy(path, copies.join(format!("{at}.parquet"))).unwrap();
    }
    anchor(&["size", &copies.to_string_lossy()]);
}

/// Bytes of each column over all files, the largest first, and what is no column.
fn columns(paths: &[PathBuf]) -> Vec<(String, u64)> {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for path in paths {
        let file = std::fs::File::open(path).unwrap();
        let all = file.metadata().unwrap().len();
        let reader = SerializedFileReader::new(file).unwrap();
        let mut known = 0;
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let bytes = u64::try_from(column.compressed_size()).unwrap();
                *sizes.entry(column.column_path().string()).or_default() += bytes;
                known += bytes;
            }
        }
        *sizes.entry("(footer and indexes)".to_owned()).or_default() += all - known;
    }
    let mut sizes: Vec<(String, u64)> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    sizes
}

/// Runs the comparison with ClickHouse, where it can run.
fn anchor(arguments: &[&str]) {
    let python = std::env::var("TALLY_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/clickhouse.py");
    let ran = std::process::Command::new(&python).arg(script).args(arguments).status();
    if !ran.is_ok_and(|status| status.success()) {
        println!("no comparison: {python} cannot run benches/clickhouse.py (pip install chdb)");
    }
}

// --- Replay --------------------------------------------------------------------------------------------------------------

async fn replay(folder: &Path) {
    let wanted = from_env("TALLY_BENCH_LOG_MIB", 200) << 20;
    let day = demo_days().swap_remove(0);
    // With room for the whole log, so that nothing of it is flushed.
    let roomy = EngineOptions {
        memory_bytes: 8 << 30,
        ..options(&folder.join("crashed"))
    };
    let engine = Engine::open(roomy).await.unwrap();
    let mut events = 0_usize;
    for round in 0_u64.. {
        if engine.metrics().wal_written_bytes.get() >= wanted {
            break;
        }
        for (at, part) in day.chunks(500).enumerate() {
            let mut part = part.to_vec();
            for (n, event) in part.iter_mut().enumerate() {
                event.set(Column::EventId, format!("{round:08x}-{at:08x}-{n:08x}"));
            }
            events += part.len();
            let target = project((round + at as u64) % 4);
            engine.append(&target, of(part)).await.unwrap();
        }
    }
    let log = engine.metrics().wal_written_bytes.get();
    // As a crash leaves it: nothing is flushed.
    drop(engine);
    for memory in [1_u64 << 30, 256 << 20] {
        let copy = folder.join(format!("copy-{memory}"));
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(folder.join("crashed"))
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        let limited = EngineOptions {
            memory_bytes: usize::try_from(memory).unwrap(),
            ..options(&copy)
        };
        let (cpu_before, started) = (cpu(), Instant::now());
        let engine = Engine::open(limited).await.unwrap();
        let (wall, used) = (started.elapsed(), cpu() - cpu_before);
        assert_eq!(engine.metrics().replayed.get(), events as u64);
        println!(
            "replay of {} MiB, {events} events, memory {} MiB: {:.2} s, CPU {:.2} s, {} flushes on the way",
            log >> 20,
            memory >> 20,
            wall.as_secs_f64(),
            used.as_secs_f64(),
            engine.metrics().flushes.get()
        );
        drop(engine);
    }
}

// --- Open ----------------------------------------------------------------------------------------------------------------

fn page(n: u64, ts: Micros) -> Event {
    let mut event = Event::default();
    event.set(Column::EventId, format!("e{n}"));
    event.set_ts(Column::Ts, ts);
    event.set_ts(Column::ReceivedAt, ts);
    event.set(Column::VisitorId, format!("v{}", n % 97));
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set(Column::PagePath, format!("/{}", n % 13));
    event
}

/// The objects of a store in memory as files.
async fn write_out(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    for object in all {
        let path = folder.join(object.location.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A table of so many commits, made in memory, and the time of opening it with a store that is new to it.
async fn open(folder: &Path) {
    let commits = from_env("TALLY_BENCH_COMMITS", 1_000);
    let quick: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let clock: Arc<dyn engine::clock::Clock> = FixedClock::new(NOW);
    let mut table = Table::open(&quick, &project(0), TableKind::Events).await.unwrap();
    let mut last = Vec::new();
    for n in 1..=commits {
        let started = Instant::now();
        let ts = NOW - (n as i64 % 30) * DAY_MICROS;
        let rows = Rows {
            rows: vec![batch::from_events([page(n, ts)].iter()).unwrap()].into(),
            writer: "bench",
            seq: n,
        };
        flush(&quick, &mut table, &project(0), TableKind::Events, rows, &clock)
            .await
            .unwrap();
        last.push(started.elapsed());
    }
    let from = last.len().saturating_sub(100);
    let tail = &mut last[from..];
    tail.sort();
    println!(
        "commit at {commits} files, p50      {:>9.2} ms",
        tail[tail.len() / 2].as_secs_f64() * 1e3
    );
    write_out(&quick, &folder.join("store")).await;
    let measure = async |what: &str| {
        let mut times = Vec::new();
        for _ in 0..9 {
            let store = object::open(&format!("file://{}", folder.join("store").display()), &[])
                .await
                .unwrap();
            let started = Instant::now();
            let table = Table::open(&store, &project(0), TableKind::Events).await.unwrap();
            times.push(started.elapsed());
            assert!(table.snapshot().version.unwrap() + 1 >= commits);
        }
        times.sort();
        println!(
            "cold open, {what:<20} {:>9.2} ms (worst of 9: {:.2})",
            times[4].as_secs_f64() * 1e3,
            times[8].as_secs_f64() * 1e3
        );
    };
    measure(&format!("{commits} commits")).await;
    let later = FixedClock::new(NOW + DAY_MICROS);
    let merging = EngineOptions {
        clock: later,
        ..options(folder)
    };
    let engine = Engine::open(merging).await.unwrap();
    engine.view(&project(0)).await.unwrap();
    engine.compact().await.unwrap();
    engine.close().await.unwrap();
    measure("and compacted").await;
}

// --- Many projects -------------------------------------------------------------------------------------------------------

/// An hour of thousands of quiet projects in some seconds: what becomes files, and what the rest costs in memory.
async fn projects(folder: &Path) {
    let count = from_env("TALLY_BENCH_PROJECTS", 2_000);
    let minutes = from_env("TALLY_BENCH_MINUTES", 60);
    let clock = FixedClock::new(NOW);
    let options = EngineOptions {
        clock: Arc::<FixedClock>::clone(&clock),
        flush_interval_ms: 30_000,
        flush_rows_max: 200_000,
        flush_bytes_max: 64 << 20,
        ..options(folder)
    };
    let engine = Engine::open(options).await.unwrap();
    let before = resident_mib();
    let (cpu_before, started) = (cpu(), Instant::now());
    let mut events = 0;
    for half in 0..minutes * 2 {
        clock.set(NOW + half as i64 * 30 * SECOND_MICROS);
        for p in 0..count {
            // Each brings one event every two minutes.
            if (half + p).is_multiple_of(4) {
                let event = page(events, NOW + half as i64 * 30 * SECOND_MICROS);
                engine.append(&project(p), of(vec![event])).await.unwrap();
                events += 1;
            }
        }
        engine.flush_due().await.unwrap();
    }
    let (used, wall) = (cpu() - cpu_before, started.elapsed());
    let store = folder.join("store");
    let data = files_below(&store, &|path| {
        has_ending(path, "parquet") && !path.to_string_lossy().contains("_delta_log")
    });
    let log = files_below(&store, &|path| has_ending(path, "json"));
    println!("{count} projects, {events} events in {minutes} minutes of the service's time");
    println!(
        "flushes an hour                {:>9}",
        engine.metrics().flushes.get() * 60 / minutes
    );
    println!("data files, entries of logs    {:>9} {:>9}", data.len(), log.len());
    println!(
        "CPU seconds, wall clock        {:>9.1} {:>9.1}",
        used.as_secs_f64(),
        wall.as_secs_f64()
    );
    println!(
        "memory before, after           {before:>9.1} {:>9.1} MiB",
        resident_mib()
    );
    println!("bytes of the log               {:>9}", engine.metrics().wal_bytes.get());
    let mut counted = 0;
    for p in (0..count).step_by(101) {
        let view = engine.view(&project(p)).await.unwrap();
        counted += view.events.rows()
            + view
                .buffered_events
                .iter()
                .map(|batch| batch.num_rows() as u64)
                .sum::<u64>();
    }
    println!("rows of every 101st project    {counted:>9}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only asks whether this starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let wanted = |name: &str| {
        let named = arguments.iter().any(|argument| !argument.starts_with("--"));
        !named || arguments.iter().any(|argument| argument == name)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for name in ["size", "replay", "open", "projects"] {
        if wanted(name) {
            println!("--- {name}");
            let folder = tempfile::tempdir().unwrap();
            match name {
                "size" => runtime.block_on(size(folder.path())),
                "replay" => runtime.block_on(replay(folder.path())),
                "open" => runtime.block_on(open(folder.path())),
                _ => runtime.block_on(projects(folder.path())),
            }
        }
    }
}
