mod disk;
mod life;
mod simulation;

use super::*;
use crate::clock::{DAY_MICROS, FixedClock, SECOND_MICROS};
use crate::engine::{Engine, EngineOptions};
use crate::event::{Column, RejectReason};
use crate::limits;
use crate::project::ProjectId;
use crate::store::object::DurableLocal;
use crate::store::{Snapshot, TableKind};
use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutMode};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const START: i64 = 1_760_000_000 * SECOND_MICROS;

fn project(id: &str) -> ProjectId {
    ProjectId::new(id).unwrap()
}

fn event(id: &str, visitor: &str, ts: i64) -> Event {
    let mut event = Event::default();
    event.set(Column::EventId, id);
    event.set_ts(Column::Ts, ts);
    event.set_ts(Column::ReceivedAt, ts);
    event.set(Column::VisitorId, visitor);
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set(Column::PagePath, "/");
    event
}

fn of(events: Vec<Event>) -> Batch {
    Batch {
        events,
        rejected: Vec::new(),
    }
}

fn batch(ids: impl IntoIterator<Item = String>) -> Batch {
    let events = ids.into_iter().enumerate();
    of(events
        .map(|(at, id)| event(&id, &format!("v{}", at % 7), START + at as i64))
        .collect())
}

fn ids(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("e{n}"))
}

fn rejected(detail: &str) -> Rejected {
    Rejected {
        received_at: START,
        protocol: "native".to_owned(),
        reason: RejectReason::InvalidField,
        detail: detail.to_owned(),
        raw: Bytes::from_static(b"{\"x\":\xff}"),
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    store: Arc<dyn ObjectStore>,
    clock: Arc<FixedClock>,
}

impl Fixture {
    fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            store,
            clock: FixedClock::new(START),
        }
    }

    fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()))
    }

    fn options(&self) -> EngineOptions {
        EngineOptions::by_hand(
            self.folder.path(),
            Arc::<FixedClock>::clone(&self.clock) as Arc<dyn Clock>,
        )
    }

    async fn open(&self) -> Arc<Engine> {
        self.open_with(self.options()).await
    }

    /// Opens as soon as the engine before has let go of the folder.
    async fn open_with(&self, options: EngineOptions) -> Arc<Engine> {
        for _ in 0..100 {
            match Engine::open_with_store(options.clone(), Arc::clone(&self.store)).await {
                Err(error) if error.kind() == crate::ErrorKind::Fenced => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                other => return other.unwrap(),
            }
        }
        panic!("the folder stays locked");
    }
}

async fn read_files(store: &Arc<dyn ObjectStore>, snapshot: &Snapshot) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in &snapshot.files {
        let bytes = store.get(&file.path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size_bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        let before = batches.len();
        batches.extend(reader.map(|batch| batch.unwrap()));
        let rows: usize = batches[before..].iter().map(RecordBatch::num_rows).sum();
        assert_eq!(Some(rows as u64), file.rows);
    }
    batches
}

fn column(batches: &[RecordBatch], name: &str) -> Vec<String> {
    let values = |batch: &RecordBatch| {
        let array = batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        array
            .iter()
            .map(|value| value.unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(values).collect()
}

/// How often each event id is visible, in files and buffer together.
async fn visible(engine: &Engine, id: &ProjectId) -> BTreeMap<String, usize> {
    let view = engine.view(id).await.unwrap();
    let mut batches = read_files(&view.store, &view.events).await;
    batches.extend(view.buffered_events);
    let mut counts = BTreeMap::new();
    for id in column(&batches, "event_id") {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn once(range: std::ops::Range<usize>) -> BTreeMap<String, usize> {
    ids(range).map(|id| (id, 1)).collect()
}

fn receipt(stored: u64, duplicate: u64, rejected: u64) -> Receipt {
    Receipt {
        stored,
        duplicate,
        rejected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_event_is_visible_at_once_and_after_the_flush() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let p = project("p");
    assert_eq!(engine.append(&p, batch(ids(0..10))).await.unwrap(), receipt(10, 0, 0));
    assert_eq!(visible(&engine, &p).await, once(0..10));
    engine.flush().await.unwrap();
    let view = engine.view(&p).await.unwrap();
    assert_eq!(view.buffered_events.len(), 0);
    assert_eq!(view.events.rows(), 10);
    assert_eq!(visible(&engine, &p).await, once(0..10));
    assert_eq!(visible(&engine, &project("never-seen")).await, BTreeMap::new());
    engine.append(&p, batch(ids(10..12))).await.unwrap();
    assert_eq!(visible(&engine, &p).await, once(0..12));
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_left_out_within_a_batch_between_batches_and_after_a_restart() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    let twice = ids(0..5).chain(ids(3..8));
    assert_eq!(engine.append(&p, batch(twice)).await.unwrap(), receipt(8, 2, 0));
    assert_eq!(engine.append(&p, batch(ids(0..10))).await.unwrap(), receipt(2, 8, 0));
    let other = project("q");
    assert_eq!(engine.append(&other, batch(ids(0..3))).await.unwrap(), receipt(3, 0, 0));
    drop(engine);
    let engine = fixture.open().await;
    assert_eq!(engine.append(&p, batch(ids(0..11))).await.unwrap(), receipt(1, 10, 0));
    engine.flush().await.unwrap();
    drop(engine);
    let engine = fixture.open().await;
    assert_eq!(engine.append(&p, batch(ids(0..11))).await.unwrap(), receipt(0, 11, 0));
    assert_eq!(visible(&engine, &p).await, once(0..11));
    assert_eq!(visible(&engine, &other).await, once(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_a_close_replays_what_was_acknowledged() {
    let fixture = Fixture::memory();
    let p = project("p");
    for round in 0..4 {
        let engine = fixture.open().await;
        assert_eq!(visible(&engine, &p).await, once(0..round * 10));
        engine.append(&p, batch(ids(round * 10..round * 10 + 5))).await.unwrap();
        if round % 2 == 0 {
            engine.flush().await.unwrap();
        }
        engine
            .append(&p, batch(ids(round * 10 + 5..round * 10 + 10)))
            .await
            .unwrap();
        drop(engine);
    }
    let engine = fixture.open().await;
    assert_eq!(visible(&engine, &p).await, once(0..40));
    engine.close().await.unwrap();
    drop(engine);
    let engine = fixture.open().await;
    let view = engine.view(&p).await.unwrap();
    assert_eq!((view.events.rows(), view.buffered_events.len()), (40, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_are_stored_counted_and_never_fail_their_batch() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    let mut mixed = batch(ids(0..3));
    mixed.events[1].remove(Column::VisitorId);
    mixed.rejected.push(rejected("a field is wrong"));
    assert_eq!(engine.append(&p, mixed).await.unwrap(), receipt(2, 0, 2));
    assert_eq!(
        engine.stats(&p),
        ProjectStats {
            stored: 2,
            duplicate: 0,
            rejected: 2
        }
    );
    let view = engine.view(&p).await.unwrap();
    let details = column(&view.buffered_rejected, "detail");
    assert!(details.contains(&"`visitor_id` has no value".to_owned()), "{details:?}");
    let raw = column(&view.buffered_rejected, "raw");
    assert!(raw.iter().any(|raw| raw.contains("\"event_id\":\"e1\"")), "{raw:?}");
    drop(engine);
    let engine = fixture.open().await;
    let view = engine.view(&p).await.unwrap();
    assert_eq!(column(&view.buffered_rejected, "detail").len(), 2);
    engine.flush().await.unwrap();
    let view = engine.view(&p).await.unwrap();
    assert_eq!((view.rejected.rows(), view.buffered_rejected.len()), (2, 0));
    let stored = read_files(&view.store, &view.rejected).await;
    let mut reasons = column(&stored, "reason");
    reasons.sort();
    assert_eq!(reasons, ["invalid_field", "missing_field"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_would_break_a_file_is_rejected() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    let mut events: Vec<Event> = (0..5).map(|n| event(&format!("e{n}"), "v", START)).collect();
    events[0].set_ts(Column::Ts, i64::MAX);
    events[1].set_ts(Column::Ts, limits::TS_MICROS_MIN - 1);
    events[2].set(Column::EventId, "");
    events[3].set(Column::VisitorId, "");
    let mut late = rejected("from the year 275760");
    late.received_at = 8_640_000_000_000_000_000;
    let rows = Batch {
        events,
        rejected: vec![late],
    };
    assert_eq!(engine.append(&p, rows).await.unwrap(), receipt(1, 0, 5));
    let mut edges: Vec<Event> = (10..12).map(|n| event(&format!("e{n}"), "v", START)).collect();
    edges[0].set_ts(Column::Ts, limits::TS_MICROS_MIN);
    edges[1].set_ts(Column::Ts, limits::TS_MICROS_MAX);
    let rows = Batch {
        events: edges,
        rejected: Vec::new(),
    };
    assert_eq!(engine.append(&p, rows).await.unwrap(), receipt(2, 0, 0));
    engine.flush().await.unwrap();
    let reread = crate::store::Table::open(&fixture.store, &p, TableKind::Events)
        .await
        .unwrap();
    let mut dates: Vec<_> = reread.snapshot().files.iter().map(|file| file.date.clone()).collect();
    dates.sort();
    assert_eq!(dates, ["0001-01-01", "2025-10-09", "9999-12-31"]);
    assert_eq!(engine.view(&p).await.unwrap().rejected.rows(), 5);
}

/// A log that cannot write.
#[derive(Debug)]
struct FullDisk(crate::wal::LocalWal);

impl Wal for FullDisk {
    fn writer_id(&self) -> &str {
        self.0.writer_id()
    }
    fn contains(&self, key: &crate::wal::EventKey) -> crate::Result<bool> {
        self.0.contains(key)
    }
    fn write(&self, _: Vec<Vec<u8>>, _: &[crate::wal::EventKey]) -> crate::Result<crate::wal::Seq> {
        Err(crate::Error::storage("the disk is full"))
    }
    fn rotate(&self, bytes_min: u64) -> crate::Result<()> {
        self.0.rotate(bytes_min)
    }
    fn trim(&self, seq: crate::wal::Seq) -> crate::Result<()> {
        self.0.trim(seq)
    }
    fn replay_encoded(
        &self,
        each: &mut dyn FnMut(crate::wal::Seq, crate::wal::EncodedRecord) -> crate::Result<()>,
    ) -> crate::Result<()> {
        self.0.replay_encoded(each)
    }
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_cannot_be_written_is_refused_and_invisible() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FixedClock::new(START);
    let wal = crate::wal::LocalWal::open(folder.path(), Arc::<FixedClock>::clone(&clock)).unwrap();
    let shared = Arc::new(Shared {
        health: Arc::new(Health::new(Arc::<FixedClock>::clone(&clock))),
        wal: Arc::new(FullDisk(wal)),
        store: Arc::new(InMemory::new()),
        clock,
        admission: Admission::new(1 << 30),
        projects: Projects::default(),
        fence: None,
        metrics: Arc::new(Metrics::default()),
        compaction: compactor::CompactionBudget::new(1 << 24),
        life: Life::default(),
        policy: FlushPolicy {
            interval_ms: 1,
            rows_max: 1,
            bytes_max: 1,
        },
        applied_seq: AtomicU64::new(0),
        followed_at: AtomicI64::new(0),
        small_flushes: SmallFlushes::default(),
        flush_soon: Notify::new(),
    });
    let (committer, thread) = group_commit::Committer::start(Arc::clone(&shared)).unwrap();
    let p = project("p");
    let error = committer.append(&shared, &p, batch(ids(0..3))).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (crate::ErrorKind::Storage, "the disk is full")
    );
    let view = shared
        .projects
        .get(&p)
        .view(&shared.store, &shared.clock)
        .await
        .unwrap();
    assert!(view.buffered_events.is_empty());
    assert_eq!(shared.projects.stats(&p), ProjectStats::default());
    assert_eq!(shared.metrics.group_failures.get(), 1);
    drop(committer);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_split_by_day_sorted_and_described() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    let mut events = Vec::new();
    for n in 0..20_000i64 {
        let ts = START + (n * 7919 % 3) * DAY_MICROS + (n * 31 % 1000) * SECOND_MICROS + n % 5;
        events.push(event(&format!("e{n}"), &format!("visitor-{}", n * 131 % 97), ts));
    }
    let batch = Batch {
        events,
        rejected: Vec::new(),
    };
    engine.append(&p, batch).await.unwrap();
    engine.flush().await.unwrap();
    let view = engine.view(&p).await.unwrap();
    assert_eq!(view.events.rows(), 20_000);
    for file in &view.events.files {
        assert!(file.is_sorted, "{}", file.log_path);
        let one = Snapshot {
            version: None,
            files: vec![Arc::clone(file)],
        };
        let batches = read_files(&view.store, &one).await;
        let visitors = column(&batches, "visitor_id");
        let ids = column(&batches, "event_id");
        let ts: Vec<i64> = batches
            .iter()
            .flat_map(|batch| {
                let array = batch.column_by_name("ts").unwrap();
                array
                    .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                    .values()
                    .to_vec()
            })
            .collect();
        let keys: Vec<_> = visitors.iter().zip(&ts).zip(&ids).collect();
        assert!(keys.is_sorted(), "{} is not sorted", file.log_path);
        let day = ts[0].div_euclid(DAY_MICROS);
        assert!(ts.iter().all(|ts| ts.div_euclid(DAY_MICROS) == day));
        let date = chrono::DateTime::from_timestamp_micros(ts[0])
            .unwrap()
            .format("%Y-%m-%d")
            .to_string();
        assert_eq!(file.date, date);
        let stats = &file.stats[&Column::Ts];
        assert_eq!(
            stats.min,
            Some(crate::store::Bound::Timestamp(*ts.iter().min().unwrap()))
        );
        assert_eq!(
            stats.max,
            Some(crate::store::Bound::Timestamp(*ts.iter().max().unwrap()))
        );
        assert_eq!(file.stats[&Column::EventType].null_count, Some(0));
    }
    // A fresh reader sees in the log what the writer kept in memory.
    let reread = crate::store::Table::open(&fixture.store, &p, TableKind::Events)
        .await
        .unwrap();
    let sort = |snapshot: &Snapshot| {
        let mut files: Vec<_> = snapshot.files.iter().map(|file| file.as_ref().clone()).collect();
        files.sort_by(|a, b| a.log_path.cmp(&b.log_path));
        files
    };
    let (mut theirs, ours) = (sort(reread.snapshot()), sort(&view.events));
    for (theirs, ours) in theirs.iter_mut().zip(&ours) {
        // Other writers cut instants to milliseconds, so a whole millisecond is read as its end.
        for (column, stats) in &mut theirs.stats {
            let ours = &ours.stats[column];
            if let (Some(crate::store::Bound::Timestamp(theirs)), Some(crate::store::Bound::Timestamp(ours))) =
                (&mut stats.max, &ours.max)
            {
                assert!(*ours <= *theirs && *theirs - *ours < 1000);
                *theirs = *ours;
            }
        }
    }
    assert_eq!(theirs, ours);
}

/// A store whose puts under `_delta_log` fail in a chosen way.
#[derive(Debug)]
struct Flaky {
    inner: InMemory,
    mode: parking_lot::Mutex<Mode>,
    puts: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Well,
    /// Commits fail and do nothing.
    Refuse,
    /// Commits happen, and the answer is lost.
    LoseAnswer,
    /// Data files fail.
    RefuseData,
}

impl std::fmt::Display for Flaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flaky")
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic {
        store: "Flaky",
        source: "broken on purpose".into(),
    }
}

#[async_trait::async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(
        &self,
        location: &object_store::path::Path,
        payload: object_store::PutPayload,
        opts: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let is_commit = matches!(opts.mode, PutMode::Create);
        let mode = *self.mode.lock();
        match mode {
            Mode::Refuse if is_commit => Err(broken()),
            Mode::RefuseData if !is_commit => Err(broken()),
            Mode::LoseAnswer if is_commit => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(broken())
            }
            _ => self.inner.put_opts(location, payload, opts).await,
        }
    }
    async fn put_multipart_opts(
        &self,
        location: &object_store::path::Path,
        opts: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }
    async fn get_opts(
        &self,
        location: &object_store::path::Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.inner.get_opts(location, options).await
    }
    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> object_store::Result<object_store::ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn flaky() -> (Fixture, Arc<Flaky>) {
    let store = Arc::new(Flaky {
        inner: InMemory::new(),
        mode: parking_lot::Mutex::new(Mode::Well),
        puts: AtomicUsize::new(0),
    });
    (Fixture::new(Arc::clone(&store) as Arc<dyn ObjectStore>), store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_loses_nothing_and_the_rows_follow_when_it_recovers() {
    let (fixture, store) = flaky();
    let p = project("p");
    let engine = fixture.open().await;
    for (round, mode) in [Mode::Refuse, Mode::RefuseData, Mode::Refuse].into_iter().enumerate() {
        let from = round * 20;
        let mut rows = batch(ids(from..from + 10));
        rows.rejected.push(rejected("x"));
        engine.append(&p, rows).await.unwrap();
        *store.mode.lock() = mode;
        engine.flush().await.unwrap_err();
        engine.append(&p, batch(ids(from + 10..from + 20))).await.unwrap();
        assert_eq!(visible(&engine, &p).await, once(0..from + 20));
        if round == 1 {
            *store.mode.lock() = Mode::Well;
            engine.flush().await.unwrap();
        }
    }
    drop(engine);
    *store.mode.lock() = Mode::Well;
    let engine = fixture.open().await;
    assert_eq!(visible(&engine, &p).await, once(0..60));
    engine.flush().await.unwrap();
    assert_eq!(visible(&engine, &p).await, once(0..60));
    assert_eq!(engine.view(&p).await.unwrap().rejected.rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let (fixture, store) = flaky();
    let p = project("p");
    let engine = fixture.open().await;
    engine.append(&p, batch(ids(0..10))).await.unwrap();
    *store.mode.lock() = Mode::LoseAnswer;
    engine.flush().await.unwrap();
    *store.mode.lock() = Mode::Well;
    engine.append(&p, batch(ids(10..20))).await.unwrap();
    engine.flush().await.unwrap();
    assert_eq!(visible(&engine, &p).await, once(0..20));
    assert_eq!(engine.view(&p).await.unwrap().events.version, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_commit_and_trim_does_not_double() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    engine.append(&p, batch(ids(0..10))).await.unwrap();
    // The log as it is before the flush stands for one that a crash kept from being trimmed.
    let before = tempfile::tempdir().unwrap();
    copy_folder(fixture.folder.path(), before.path());
    engine.flush().await.unwrap();
    engine.append(&p, batch(ids(10..12))).await.unwrap();
    drop(engine);
    let crashed = Fixture {
        folder: before,
        store: Arc::clone(&fixture.store),
        clock: Arc::clone(&fixture.clock),
    };
    let engine = crashed.open().await;
    assert_eq!(visible(&engine, &p).await, once(0..10));
    assert_eq!(engine.view(&p).await.unwrap().buffered_events.len(), 0);
    assert_eq!(engine.append(&p, batch(ids(0..11))).await.unwrap(), receipt(1, 10, 0));
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_during_flushes_shows_each_event_exactly_once() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writer = {
        let (engine, p, acknowledged) = (Arc::clone(&engine), p.clone(), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for round in 0..60 {
                engine
                    .append(&p, batch(ids(round * 20..round * 20 + 20)))
                    .await
                    .unwrap();
                acknowledged.store(round * 20 + 20, Ordering::SeqCst);
            }
        })
    };
    let flusher = {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            for _ in 0..15 {
                engine.flush().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
    };
    while !writer.is_finished() || !flusher.is_finished() {
        let at_least = acknowledged.load(Ordering::SeqCst);
        let seen = visible(&engine, &p).await;
        assert!(seen.values().all(|count| *count == 1), "an event is visible twice");
        assert!(seen.len() >= at_least, "{} of {at_least} are visible", seen.len());
        for id in ids(0..at_least) {
            assert!(seen.contains_key(&id), "{id} is missing");
        }
    }
    writer.await.unwrap();
    flusher.await.unwrap();
    assert_eq!(visible(&engine, &p).await, once(0..1200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_larger_than_the_memory_bound_replays_in_pieces() {
    let fixture = Fixture::memory();
    let p = project("p");
    let engine = fixture.open().await;
    for round in 0..40 {
        engine
            .append(&p, batch(ids(round * 500..round * 500 + 500)))
            .await
            .unwrap();
    }
    drop(engine);
    let options = EngineOptions {
        memory_bytes: 1024 * 1024,
        ..fixture.options()
    };
    let engine = fixture.open_with(options).await;
    let view = engine.view(&p).await.unwrap();
    assert!(
        view.events.version.is_some_and(|version| version > 2),
        "{:?}",
        view.events.version
    );
    assert_eq!(visible(&engine, &p).await, once(0..20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_bound_refuses_at_the_door_and_flushing_opens_it_again() {
    let fixture = Fixture::memory();
    let p = project("p");
    let options = EngineOptions {
        memory_bytes: 4 * 1024 * 1024,
        ..fixture.options()
    };
    let (slow, store) = flaky();
    let engine = slow
        .open_with(EngineOptions {
            data_dir: slow.folder.path().to_owned(),
            ..options
        })
        .await;
    *store.mode.lock() = Mode::Refuse;
    let mut round = 0;
    let refused = loop {
        match engine.admit(100_000) {
            Err(error) => break error,
            Ok(permit) => {
                engine
                    .append(&p, batch(ids(round * 100..round * 100 + 100)))
                    .await
                    .unwrap();
                drop(permit);
            }
        }
        round += 1;
        assert!(round < 1000, "never refused");
    };
    assert_eq!(refused.kind(), crate::ErrorKind::Overloaded);
    *store.mode.lock() = Mode::Well;
    engine.flush().await.unwrap();
    engine.admit(100_000).unwrap();
    assert_eq!(visible(&engine, &p).await, once(0..round * 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_flushes_by_age() {
    let fixture = Fixture::memory();
    let p = project("p");
    let options = EngineOptions {
        flush_interval_ms: 50,
        ..fixture.options()
    };
    let engine = fixture.open_with(options).await;
    engine.append(&p, batch(ids(0..10))).await.unwrap();
    fixture.clock.set(START + SECOND_MICROS);
    for _ in 0..200 {
        if engine.view(&p).await.unwrap().events.rows() == 10 {
            assert_eq!(visible(&engine, &p).await, once(0..10));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing was flushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_engine_takes_no_more_events() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    engine.append(&project("p"), batch(ids(0..1))).await.unwrap();
    engine.close().await.unwrap();
    let error = engine.append(&project("p"), batch(ids(1..2))).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Storage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_keeps_everything_over_many_commits_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(Arc::new(DurableLocal::new(folder.path()).unwrap()));
    let p = project("p");
    for round in 0..3 {
        let engine = fixture.open().await;
        for n in round * 6..round * 6 + 6 {
            engine.append(&p, batch(ids(n * 10..n * 10 + 10))).await.unwrap();
            engine.flush().await.unwrap();
        }
        assert_eq!(visible(&engine, &p).await, once(0..(round + 1) * 60));
        drop(engine);
    }
    let engine = fixture.open().await;
    assert_eq!(visible(&engine, &p).await, once(0..180));
    assert!(
        engine.view(&p).await.unwrap().events.version >= Some(17),
        "a merge may have come in between"
    );
}

/// Queries read while files are merged under them: every event is seen once at every moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_files_changes_no_answer() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let p = project("p");
    let appended = std::sync::atomic::AtomicU64::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        for round in 0..40_usize {
            engine
                .append(&p, batch(ids(round * 25..(round + 1) * 25)))
                .await
                .unwrap();
            appended.fetch_add(25, Ordering::SeqCst);
            engine.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let merge = async {
        let mut merges = 0;
        while !done.load(Ordering::SeqCst) {
            merges += engine.compact().await.unwrap();
            tokio::task::yield_now().await;
        }
        merges + engine.compact().await.unwrap()
    };
    let read = async {
        while !done.load(Ordering::SeqCst) {
            let before = appended.load(Ordering::SeqCst);
            let view = engine.view(&p).await.unwrap();
            let after = appended.load(Ordering::SeqCst) + 25;
            let buffered: usize = view.buffered_events.iter().map(RecordBatch::num_rows).sum();
            let rows = view.events.rows() + buffered as u64;
            assert!(
                (before..=after).contains(&rows),
                "{rows} rows between {before} and {after}"
            );
            tokio::task::yield_now().await;
        }
    };
    let ((), merges, ()) = tokio::join!(write, merge, read);
    assert!(merges >= 4, "{merges} merges");
    let view = engine.view(&p).await.unwrap();
    assert_eq!(view.events.rows(), 1_000);
    assert!(view.events.files.len() <= 15, "{} files", view.events.files.len());
    // The day is quiet for an hour: one file remains.
    fixture
        .clock
        .set(fixture.clock.now_micros() + 2 * 3_600 * SECOND_MICROS);
    engine.compact().await.unwrap();
    let view = engine.view(&p).await.unwrap();
    assert_eq!((view.events.rows(), view.events.files.len()), (1_000, 1));
    engine.close().await.unwrap();
    drop(engine);
    let engine = fixture.open().await;
    assert_eq!(engine.view(&p).await.unwrap().events.rows(), 1_000);
}

/// The same event again after its id was forgotten: the next merge takes it out and says so to those who keep answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_duplicate_leaves_with_the_next_merge() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let p = project("p");
    engine.append(&p, batch(ids(0..10))).await.unwrap();
    engine.flush().await.unwrap();
    fixture
        .clock
        .set(fixture.clock.now_micros() + i64::from(limits::DEDUP_DAYS + 1) * DAY_MICROS);
    engine.close().await.unwrap();
    drop(engine);
    let mut forgetful = fixture.options();
    let other = tempfile::tempdir().unwrap();
    forgetful.data_dir = other.path().to_owned();
    let engine = fixture.open_with(forgetful).await;
    let receipt = engine.append(&p, batch(ids(0..5))).await.unwrap();
    assert_eq!(receipt.stored, 5, "the ids are forgotten");
    engine.flush().await.unwrap();
    assert_eq!(engine.view(&p).await.unwrap().events.rows(), 15);
    fixture
        .clock
        .set(fixture.clock.now_micros() + 2 * 3_600 * SECOND_MICROS);
    assert_eq!(engine.compact().await.unwrap(), 1);
    assert_eq!(engine.view(&p).await.unwrap().events.rows(), 10);
    assert_eq!(engine.metrics().compacted_duplicates.get(), 5);
}

/// 150 projects, or as many as `TALLY_PROJECTS` says.
#[tokio::test(flavor = "multi_thread")]
async fn many_quiet_projects_share_the_small_flushes_and_lose_nothing() {
    let count: usize = std::env::var("TALLY_PROJECTS").map_or(150, |text| text.parse().unwrap());
    let fixture = Fixture::memory();
    let options = EngineOptions {
        flush_interval_ms: 30_000,
        ..fixture.options()
    };
    let engine = fixture.open_with(options).await;
    let all: Vec<ProjectId> = (0..count).map(|n| project(&format!("p{n}"))).collect();
    for p in &all {
        engine.append(p, batch(ids(0..3))).await.unwrap();
    }
    let flushes = || usize::try_from(engine.metrics().flushes.get()).unwrap();
    let mut intervals = 0;
    while flushes() < count {
        intervals += 1;
        fixture.clock.set(START + intervals * 31 * SECOND_MICROS);
        engine.flush_due().await.unwrap();
        // The background may have taken some of them.
        let budget = limits::FLUSH_SMALL_PER_INTERVAL * usize::try_from(intervals).unwrap();
        assert!(flushes() <= budget, "{} flushes in {intervals} intervals", flushes());
    }
    for p in &all {
        assert_eq!(visible(&engine, p).await, once(0..3), "{p:?}");
        assert_eq!(engine.view(p).await.unwrap().events.rows(), 3);
    }
}
