//! Funnels: the aggregate alone, in nanoseconds an event (criterion), and a three-step funnel over ten million events of
//! one project through the engine: CPU seconds, wall clock and peak memory, under each rule that counts page views.
//!
//! `cargo bench --bench funnel`. The events are written once, to `target/bench-funnel`; `TALLY_BENCH_EVENTS` changes
//! their number, `TALLY_BENCH_THREADS` the partitions of a query.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

use arrow::array::{ArrayRef, Int32Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use criterion::{BatchSize, Criterion, Throughput};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::lit;
use engine::clock::{Clock, FixedClock};
use engine::event::{Column, Event, batch};
use engine::query::{Answer, Cell, Query};
use engine::store::flush::{Rows, flush};
use engine::store::{Table, TableKind, object};
use engine::{Engine, EngineOptions, ProjectId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DAYS: u64 = 30;
/// 2026-01-01T00:00:00Z in microseconds.
const START: i64 = 1_767_225_600_000_000;
const DAY_MICROS: u64 = 86_400_000_000;
/// Rows of one buffered batch, as ingest makes them.
const BATCH_ROWS: usize = 8 * 1024;
const WRITE: &str = "--write-store";
const RUNS: u32 = 5;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

// --- The aggregate alone -------------------------------------------------------------------------------------------------

const VISITORS: usize = 100_000;
const EVENTS: usize = 1_000_000;

/// Batches of (group, instant, mask); ten matching events a visitor on average.
type Input = Vec<(Vec<usize>, Vec<ArrayRef>)>;

fn input(sorted: bool) -> Input {
    let mut random = Random(1);
    let event = |_| {
        let visitor = random.below(VISITORS as u64) as usize;
        let ts = START + random.below(DAYS * DAY_MICROS) as i64;
        (visitor, ts, [1, 1, 2, 2, 4][random.below(5) as usize])
    };
    let mut events: Vec<(usize, i64, i32)> = (0..EVENTS).map(event).collect();
    if sorted {
        events.sort_unstable();
    }
    let part = |events: &[(usize, i64, i32)]| {
        let times: TimestampMicrosecondArray = events.iter().map(|event| Some(event.1)).collect();
        let masks: Int32Array = events.iter().map(|event| Some(event.2)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(masks)];
        (events.iter().map(|event| event.0).collect(), columns)
    };
    events.chunks(BATCH_ROWS).map(part).collect()
}

fn accumulator(rule: &str) -> Box<dyn GroupsAccumulator> {
    let function = engine::exec::udaf::funnel::function();
    let result = function.return_type(&[]).unwrap();
    let exprs: [Arc<dyn PhysicalExpr>; 3] = [
        lit(ScalarValue::from(rule)),
        lit(ScalarValue::Int64(Some(86_400))),
        lit(ScalarValue::Int64(Some(3))),
    ];
    let field = |name: &str, kind: DataType| Arc::new(Field::new(name, kind, true));
    let args = AccumulatorArgs {
        return_field: field("reach", result),
        schema: &Schema::empty(),
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "reach",
        is_distinct: false,
        exprs: &exprs,
        expr_fields: &[
            field("rule", DataType::Utf8),
            field("seconds", DataType::Int64),
            field("steps", DataType::Int64),
        ],
    };
    function.create_groups_accumulator(args).unwrap()
}

fn aggregate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("funnel aggregate");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (order, sorted) in [("ordered by visitor and time", true), ("in any order", false)] {
        let input = input(sorted);
        for rule in ["ordered", "strict", "gitlab", "gitlab_g2"] {
            group.bench_function(format!("{rule}, events {order}"), |bencher| {
                bencher.iter_batched(
                    || accumulator(rule),
                    |mut accumulator| {
                        for (groups, columns) in &input {
                            accumulator.update_batch(columns, groups, None, VISITORS).unwrap();
                        }
                        accumulator.evaluate(EmitTo::All).unwrap()
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

// --- Through the engine --------------------------------------------------------------------------------------------------

/// Forty paths: the first three are the funnel, the rest are ever rarer.
fn path(random: &mut Random) -> String {
    match random.below(100) {
        0..12 => "/pricing".to_owned(),
        12..18 => "/signup".to_owned(),
        18..21 => "/welcome".to_owned(),
        _ => format!("/docs/page-{}", random.below(37).min(random.below(37))),
    }
}

/// One visit: a run of page views, pings and clicks some seconds apart.
fn visit(random: &mut Random, day: u64, visitors: u64, events: &mut Vec<Event>) {
    let visitor = random.below(visitors);
    let visitor = format!("{:016x}-{visitor:08}", visitor.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut ts = START + (day * DAY_MICROS + random.below(DAY_MICROS - 7_200_000_000)) as i64;
    let browser = ["Chrome", "Firefox", "Safari", "Edge"][random.below(4) as usize];
    let country = ["DE", "US", "FR", "GB", "IN", "BR"][random.below(6) as usize];
    let mut path_now = path(random);
    for view in 0..1 + random.below(15) {
        ts += 1_000_000 + random.below(90_000_000) as i64;
        let kind = ["page", "page", "page", "ping", "click"][random.below(5) as usize];
        if kind == "page" {
            path_now = path(random);
        }
        let mut event = Event::with_capacity(20);
        let id = format!("{:016x}{:016x}", random.next(), random.next());
        event.set(Column::EventId, id.as_str());
        event.set_ts(Column::Ts, ts);
        event.set_ts(Column::ReceivedAt, ts + 350_000);
        event.set(Column::VisitorId, visitor.as_str());
        event.set(Column::EventType, kind);
        event.set(Column::Protocol, "native");
        event.set(Column::PagePath, path_now.as_str());
        event.set(Column::PageUrl, format!("https://shop.example{path_now}").as_str());
        event.set(Column::PageHost, "shop.example");
        event.set(Column::PageTitle, format!("Shop {path_now}").as_str());
        event.set(Column::Browser, browser);
        event.set(Column::Os, "Linux");
        event.set(Column::DeviceType, "desktop");
        event.set(Column::GeoCountry, country);
        event.set(Column::Language, "en");
        let properties = format!("{{\"view\":{view},\"price\":{}}}", random.below(10_000));
        event.set(Column::Properties, properties.as_str());
        events.push(event);
    }
}

fn project() -> ProjectId {
    ProjectId::new("bench").unwrap()
}

fn url(folder: &Path) -> String {
    format!("file://{}", folder.join("store").display())
}

/// Writes `events` events as one sorted file per day, as the flush of a day would.
async fn write_store(folder: &Path, events: u64) {
    let clock: Arc<dyn Clock> = FixedClock::new(START);
    std::fs::create_dir_all(folder.join("store")).unwrap();
    let store = object::open(&url(folder), &[]).await.unwrap();
    let mut table = Table::open(&store, &project(), TableKind::Events).await.unwrap();
    let mut random = Random(2);
    for day in 0..DAYS {
        let wanted = events * (day + 1) / DAYS - events * day / DAYS;
        let (mut batches, mut rows, mut written) = (Vec::new(), Vec::new(), 0);
        while written < wanted {
            visit(&mut random, day, events / 25 + 1, &mut rows);
            let left = usize::try_from(wanted - written).unwrap();
            if rows.len() >= BATCH_ROWS.min(left) {
                rows.truncate(left);
                batches.push(batch::from_events(rows.iter()).unwrap());
                written += rows.len() as u64;
                rows.clear();
            }
        }
        let rows = Rows {
            rows: batches.into(),
            writer: "bench",
            seq: day + 1,
        };
        flush(&store, &mut table, &project(), TableKind::Events, rows, &clock)
            .await
            .unwrap();
    }
    std::fs::write(folder.join("complete"), events.to_string()).unwrap();
}

/// The folder with the store of `events` events, made in a process of its own so that its memory is not measured.
fn folder(events: u64) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = std::path::absolute(target)
        .unwrap()
        .join("bench-funnel")
        .join(events.to_string());
    if !folder.join("complete").exists() {
        println!("writing {events} events to {}", folder.display());
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let started = Instant::now();
        let program = std::env::current_exe().unwrap();
        let status = std::process::Command::new(program)
            .arg(WRITE)
            .arg(&folder)
            .arg(events.to_string())
            .status();
        assert!(status.unwrap().success(), "the events could not be written");
        println!("written in {:.1} s", started.elapsed().as_secs_f64());
    }
    folder
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|i| fields[*i].parse::<u64>().unwrap()).sum();
    // Linux counts in hundredths of a second for programs, whatever the kernel's own tick is.
    Duration::from_millis(ticks * 10)
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib / 1024.0
}

fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn query(rule: &str) -> Query {
    Query {
        measures: vec![format!("{rule}_funnel.count")],
        dimensions: vec![format!("{rule}_funnel.step")],
        ..Query::default()
    }
}

const RULES: [&str; 4] = ["ordered", "strict", "gitlab", "gitlab_g2"];

async fn open(folder: &Path) -> Arc<Engine> {
    let models = folder.join("models").join("funnels");
    std::fs::create_dir_all(&models).unwrap();
    for rule in RULES {
        let funnel = format!(
            "name: {rule}_funnel\nseconds_to_convert: 86400\nrule: {rule}\nsteps:\n\
             - {{name: pricing, target: /pricing, action: pageview}}\n\
             - {{name: signup, target: /signup, action: pageview}}\n\
             - {{name: welcome, target: /welcome, action: pageview}}\n"
        );
        std::fs::write(models.join(format!("{rule}_funnel.yaml")), funnel).unwrap();
    }
    let data_dir = folder.join("data");
    let _ = std::fs::remove_dir_all(&data_dir);
    std::fs::create_dir_all(&data_dir).unwrap();
    let clock = FixedClock::new(START + (DAYS * DAY_MICROS) as i64);
    let options = EngineOptions {
        store_url: url(folder),
        models_dir: Some(folder.join("models")),
        memory_bytes: 1 << 30,
        flush_interval_ms: 60_000,
        flush_bytes_max: 64 << 20,
        query_threads: from_env("TALLY_BENCH_THREADS", 2) as usize,
        ..EngineOptions::by_hand(&data_dir, clock)
    };
    Engine::open(options).await.unwrap()
}

fn counts(answer: &Answer) -> Vec<String> {
    let text = |cell: &Cell| match cell {
        Cell::Number(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let line = |row: &Vec<Cell>| row.iter().map(text).collect::<Vec<_>>().join(": ");
    answer.rows.iter().map(line).collect()
}

async fn end_to_end(folder: &Path, events: u64) {
    let engine = open(folder).await;
    for rule in RULES {
        reset_peak();
        let first = Instant::now();
        let answer = engine.query(&project(), &query(rule)).await.unwrap();
        let first = first.elapsed();
        let (cpu_before, started) = (cpu(), Instant::now());
        for _ in 0..RUNS {
            assert_eq!(engine.query(&project(), &query(rule)).await.unwrap().rows, answer.rows);
        }
        let (cpu, wall) = ((cpu() - cpu_before) / RUNS, started.elapsed() / RUNS);
        println!(
            "three steps over {events} events, rule {rule}: {}",
            counts(&answer).join(", ")
        );
        println!(
            "  CPU seconds per 5 million    {:>9.2}",
            cpu.as_secs_f64() * 5e6 / events as f64
        );
        println!("  CPU seconds a query          {:>9.2}", cpu.as_secs_f64());
        println!(
            "  wall clock, first and later  {:>9.2} s {:>9.2} s",
            first.as_secs_f64(),
            wall.as_secs_f64()
        );
        println!("  peak memory                  {:>9.1} MiB", peak_mib());
    }
    engine.close().await.unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only asks whether this starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let [_, flag, folder, events] = arguments.as_slice()
        && flag == WRITE
    {
        runtime.block_on(write_store(Path::new(folder), events.parse().unwrap()));
        return;
    }
    let events = from_env("TALLY_BENCH_EVENTS", 10_000_000);
    let folder = folder(events);
    runtime.block_on(end_to_end(&folder, events));
    let mut criterion = Criterion::default().configure_from_args();
    aggregate(&mut criterion);
    criterion.final_summary();
}
