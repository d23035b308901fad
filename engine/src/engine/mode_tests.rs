//! Writers that take over from one another, followers, and a log in the store: the engine as a whole.

use super::*;
use crate::clock::{FixedClock, SECOND_MICROS};
use crate::event::{Column, Event};
use crate::ingest::EraseRequest;
use crate::store::{TableKind, paths};
use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Name;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use tokio::sync::Notify;

const START: i64 = 1_760_000_000 * SECOND_MICROS;
const STORE_WAL: Mode = Mode::StoreWal { group_interval_ms: 5 };

/// A store that counts writes, and can hold up the next put of a table's log until it is let go: with its sender, or on the
/// way to the store, which takes it even when the sender is gone.
#[derive(Debug, Default)]
struct Gate {
    inner: Arc<InMemory>,
    writes: AtomicU64,
    is_closed: AtomicBool,
    is_slow: AtomicBool,
    arrived: Notify,
    opened: Arc<Notify>,
    landed: Arc<Notify>,
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        location: &Name,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        if location.as_ref().contains("_delta_log/") && self.is_closed.swap(false, Ordering::SeqCst) {
            self.arrived.notify_one();
            self.opened.notified().await;
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        if location.as_ref().contains("_delta_log/") && self.is_slow.swap(false, Ordering::SeqCst) {
            let (inner, location) = (Arc::clone(&self.inner), location.clone());
            let (opened, landed) = (Arc::clone(&self.opened), Arc::clone(&self.landed));
            tokio::spawn(async move {
                opened.notified().await;
                let _ = inner.put_opts(&location, payload, opts).await;
                landed.notify_one();
            });
            self.arrived.notify_one();
            return std::future::pending().await;
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Name,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Name, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Name>>,
    ) -> BoxStream<'static, object_store::Result<Name>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Name>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Name>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Name, to: &Name, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A machine: its own disk, and the store that all share.
struct Machine {
    folder: tempfile::TempDir,
    store: Arc<Gate>,
}

impl Machine {
    fn new(store: &Arc<Gate>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            store: Arc::clone(store),
        }
    }

    async fn open(&self, mode: Mode) -> Arc<Engine> {
        let options = EngineOptions {
            mode,
            memory_bytes: 64 << 20,
            ..EngineOptions::by_hand(self.folder.path(), FixedClock::new(START))
        };
        let store: Arc<dyn ObjectStore> = Arc::<Gate>::clone(&self.store);
        for _ in 0..200 {
            match Engine::open_with_store(options.clone(), Arc::clone(&store)).await {
                // The engine before lets go of the folder in a moment.
                Err(error) if error.message().contains("lock") => tokio::time::sleep(Duration::from_millis(20)).await,
                other => return other.unwrap(),
            }
        }
        panic!("the folder stays locked");
    }
}

fn project() -> ProjectId {
    ProjectId::new("p").unwrap()
}

fn batch(range: std::ops::Range<usize>) -> Batch {
    let event = |at: usize| {
        let mut event = Event::default();
        event.set(Column::EventId, format!("e{at}"));
        event.set_ts(Column::Ts, START + at as i64);
        event.set_ts(Column::ReceivedAt, START);
        event.set(Column::VisitorId, format!("v{}", at % 5));
        event.set(Column::EventType, "page");
        event.set(Column::Protocol, "native");
        event
    };
    Batch {
        events: range.map(event).collect(),
        rejected: Vec::new(),
    }
}

/// How often each event is in answers: `once(0..9)` when all is well.
async fn counts(engine: &Engine) -> BTreeMap<String, u64> {
    let view = engine.view(&project()).await.unwrap();
    let mut batches = view.buffered_events;
    for file in &view.events.files {
        let bytes = view.store.get_opts(&file.path, GetOptions::default()).await.unwrap();
        let bytes = bytes.bytes().await.unwrap();
        let reader = datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes);
        batches.extend(reader.unwrap().build().unwrap().map(|batch| batch.unwrap()));
    }
    let mut counts = BTreeMap::new();
    for batch in batches {
        let ids = arrow::array::AsArray::as_string::<i32>(batch.column_by_name("event_id").unwrap());
        ids.iter()
            .for_each(|id| *counts.entry(id.unwrap().to_owned()).or_default() += 1);
    }
    counts
}

fn once(range: std::ops::Range<usize>) -> BTreeMap<String, u64> {
    range.map(|at| (format!("e{at}"), 1)).collect()
}

async fn stored(engine: &Engine, range: std::ops::Range<usize>) -> u64 {
    engine.append(&project(), batch(range)).await.unwrap().stored
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_loses_nothing_that_is_in_the_store() {
    let store = Arc::new(Gate::default());
    let first = Machine::new(&store);
    let engine = first.open(STORE_WAL).await;
    assert_eq!(stored(&engine, 0..10).await, 10);
    engine.flush().await.unwrap();
    assert_eq!(stored(&engine, 5..20).await, 10, "five are duplicates");
    assert_eq!(counts(&engine).await, once(0..20));
    drop(engine);
    drop(first);
    let second = Machine::new(&store);
    let engine = second.open(STORE_WAL).await;
    assert_eq!(counts(&engine).await, once(0..20));
    assert_eq!(
        stored(&engine, 0..25).await,
        5,
        "ids of flushed and of unflushed events are known"
    );
    engine.close().await.unwrap();
    drop(engine);
    drop(second);
    let third = Machine::new(&store);
    let engine = third.open(STORE_WAL).await;
    assert_eq!(counts(&engine).await, once(0..25));
    assert_eq!(stored(&engine, 0..25).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_replaced_says_so_and_stops() {
    for mode in [STORE_WAL, Mode::LocalWal] {
        let store = Arc::new(Gate::default());
        let (one, two) = (Machine::new(&store), Machine::new(&store));
        let first = one.open(mode).await;
        assert!(matches!(first.role(), Role::Writer { .. }));
        first.append(&project(), batch(0..3)).await.unwrap();
        let second = two.open(mode).await;
        // With the log in the store the next group tells it, with a local one the next commit.
        let error = match mode {
            Mode::StoreWal { .. } => first.append(&project(), batch(100..103)).await.unwrap_err(),
            _ => first.flush().await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        let Role::Fenced { reason } = first.role() else {
            panic!("{:?}", first.role())
        };
        assert!(reason.contains("taken over"), "{reason}");
        assert_eq!(
            first.append(&project(), batch(3..6)).await.unwrap_err().kind(),
            ErrorKind::Fenced
        );
        assert_eq!(first.admit_events(1).unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(first.flush().await.unwrap_err().kind(), ErrorKind::Fenced);
        first.close().await.unwrap();
        second.append(&project(), batch(6..9)).await.unwrap();
        second.flush().await.unwrap();
        second.close().await.unwrap();
        drop((first, second));
        // In the end everything acknowledged is there: a local log is replayed when its machine writes again.
        let first = one.open(mode).await;
        let all: BTreeMap<_, _> = once(0..3).into_iter().chain(once(6..9)).collect();
        assert_eq!(counts(&first).await, all);
        first.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_on_its_way_at_the_takeover_is_refused() {
    let store = Arc::new(Gate::default());
    for exists in [false, true] {
        let machines = (Machine::new(&store), Machine::new(&store));
        let first = machines.0.open(STORE_WAL).await;
        let base = if exists { 10 } else { 0 };
        assert_eq!(stored(&first, base..base + 10).await, 10);
        store.is_closed.store(true, Ordering::SeqCst);
        let late = {
            let first = Arc::clone(&first);
            tokio::spawn(async move { first.flush().await })
        };
        store.arrived.notified().await;
        let second = machines.1.open(STORE_WAL).await;
        assert_eq!(counts(&second).await, once(0..base + 10));
        store.opened.notify_one();
        let error = late.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(matches!(first.role(), Role::Fenced { .. }));
        second.flush().await.unwrap();
        assert_eq!(counts(&second).await, once(0..base + 10), "each row once");
        second.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_in_after_its_process_died_doubles_nothing() {
    for exists in [false, true] {
        let store = Arc::new(Gate::default());
        let machine = Machine::new(&store);
        let engine = machine.open(Mode::LocalWal).await;
        let base = if exists { 10 } else { 0 };
        assert_eq!(stored(&engine, 0..base).await, base as u64);
        engine.flush().await.unwrap();
        assert_eq!(stored(&engine, base..base + 10).await, 10);
        store.is_slow.store(true, Ordering::SeqCst);
        let dying = {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.flush().await })
        };
        store.arrived.notified().await;
        dying.abort();
        assert!(dying.await.is_err());
        drop(engine);
        let engine = machine.open(Mode::LocalWal).await;
        assert_eq!(counts(&engine).await, once(0..base + 10));
        assert_eq!(stored(&engine, base + 10..base + 15).await, 5);
        store.opened.notify_one();
        store.landed.notified().await;
        for _ in 0..3 {
            // One that meets the other's entry may fail and is done again.
            let _ = engine.flush().await;
        }
        assert_eq!(counts(&engine).await, once(0..base + 15), "each row once");
        engine.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_commits_by_itself_and_writes_nothing() {
    let store = Arc::new(Gate::default());
    let writing = Machine::new(&store);
    let writer = writing.open(STORE_WAL).await;
    let following = Machine::new(&store);
    let before = store.writes.load(Ordering::SeqCst);
    let follower = following.open(Mode::ReadOnly { poll_interval_ms: 10 }).await;
    assert_eq!(counts(&follower).await, BTreeMap::new());
    let mut changes = follower.changes(&project());
    for round in 1..4 {
        let seen = store.writes.load(Ordering::SeqCst);
        assert!(round > 1 || seen == before, "a follower writes nothing to the store");
        writer
            .append(&project(), batch((round - 1) * 5..round * 5))
            .await
            .unwrap();
        writer.flush().await.unwrap();
        let woken = tokio::time::timeout(Duration::from_secs(30), changes.next()).await;
        assert!(woken.unwrap().is_some(), "subscriptions are told");
        assert_eq!(counts(&follower).await, once(0..round * 5));
    }
    let error = follower.append(&project(), batch(0..1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(matches!(follower.role(), Role::Follower { .. }));
    assert!(
        matches!(writer.role(), Role::Writer { .. }),
        "it takes the store from nobody"
    );
    follower.close().await.unwrap();
    assert_eq!(
        std::fs::read_dir(following.folder.path()).unwrap().count(),
        0,
        "nor to its folder"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_some_commits_behind_an_erasure_goes_on() {
    let store = Arc::new(Gate::default());
    let writing = Machine::new(&store);
    let writer = writing.open(STORE_WAL).await;
    stored(&writer, 0..10).await;
    writer.flush().await.unwrap();
    let following = Machine::new(&store);
    let follower = following
        .open(Mode::ReadOnly {
            poll_interval_ms: 3_600_000,
        })
        .await;
    assert_eq!(counts(&follower).await, once(0..10));
    stored(&writer, 10..20).await;
    writer.flush().await.unwrap();
    let request = EraseRequest::visitor("v1");
    writer.erase(&request, |_| {}).await.unwrap();
    for _ in 0..limits::FOLLOW_QUIET_LOOKS {
        follower.shared.follow_round().await.unwrap();
    }
    let mut expected = once(0..20);
    expected.retain(|id, _| id[1..].parse::<usize>().unwrap() % 5 != 1);
    assert_eq!(counts(&writer).await, expected);
    assert_eq!(counts(&follower).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_move_between_the_folder_and_the_store() {
    let store = Arc::new(Gate::default());
    let machine = Machine::new(&store);
    let mut end = 0;
    for mode in [Mode::LocalWal, STORE_WAL, Mode::LocalWal, STORE_WAL] {
        let engine = machine.open(mode).await;
        assert_eq!(counts(&engine).await, once(0..end));
        assert_eq!(stored(&engine, end..end + 7).await, 7);
        end += 7;
        // Dropped as by a crash: the rows are in the log alone.
        drop(engine);
    }
    let engine = machine.open(Mode::LocalWal).await;
    assert_eq!(counts(&engine).await, once(0..end));
    let dynamic: Arc<dyn ObjectStore> = Arc::<Gate>::clone(&store);
    assert!(!crate::store::wal::holds_groups(&dynamic).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_carries_its_epoch_and_versions_have_no_gap() {
    let store = Arc::new(Gate::default());
    for round in 0..3 {
        let machine = Machine::new(&store);
        let engine = machine.open(STORE_WAL).await;
        engine
            .append(&project(), batch(round * 3..round * 3 + 3))
            .await
            .unwrap();
        engine.close().await.unwrap();
    }
    let log = Name::from(format!("{}/_delta_log", paths::table(&project(), TableKind::Events)));
    let entries: Vec<Name> = store
        .list(Some(&log))
        .map_ok(|object| object.location)
        .try_collect()
        .await
        .unwrap();
    let mut epochs = Vec::new();
    for entry in entries {
        let bytes = store
            .get_opts(&entry, GetOptions::default())
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let marks = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let epoch = marks.filter_map(|line| Some(line["txn"].clone()).filter(|txn| txn["appId"] == "tally-epoch"));
        epochs.extend(epoch.map(|txn| txn["version"].as_u64().unwrap()));
    }
    assert_eq!(epochs, [1, 2, 3]);
}
