use super::*;
use crate::clock::{Micros, SystemClock};
use crate::event::{Event, batch};
use crate::store::flush::{Rows, flush};
use crate::store::sweep::Sweep;
use crate::store::{DataFile, Table};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// 2026-01-01T00:00:00Z.
const DAY: Micros = 1_767_225_600_000_000;
const HOUR_MILLIS: i64 = 3_600_000;

fn file(name: usize, bytes: u64, date: &str, modified_millis: i64) -> Arc<DataFile> {
    let log_path = format!("date={date}/{name}.vte.parquet");
    Arc::new(DataFile {
        path: Path::from(format!("projects/p/events/{log_path}")),
        log_path,
        size_bytes: bytes,
        rows: Some(1),
        date: date.to_owned(),
        modified_millis,
        is_sorted: true,
        stats: BTreeMap::new(),
        checksums: None,
    })
}

#[test]
fn files_of_a_size_are_merged_and_quiet_days_are_finished() {
    let now = 1_000 * HOUR_MILLIS * 1000;
    let fresh = now / 1000 - 1;
    let old = now / 1000 - 3 * HOUR_MILLIS;
    let few: Vec<_> = (0..7).map(|n| file(n, 50_000, "2026-01-01", fresh)).collect();
    assert_eq!(next(TableKind::Events, &few, now, 1 << 30), None);
    let mut full = few.clone();
    full.push(file(7, 60_000, "2026-01-01", fresh));
    full.push(file(8, 9_000_000, "2026-01-01", fresh));
    let job = next(TableKind::Events, &full, now, 1 << 30).unwrap();
    assert_eq!(job.files.len(), 8, "the large file is of another tier");
    let quiet = [
        file(0, 50_000, "2026-01-02", old),
        file(1, 9_000_000, "2026-01-02", old),
    ];
    assert_eq!(next(TableKind::Events, &quiet, now, 1 << 30).unwrap().files.len(), 2);
    assert_eq!(next(TableKind::Events, &quiet[..1], now, 1 << 30), None);
    let final_files = [
        file(0, 300 << 20, "2026-01-02", old),
        file(1, 300 << 20, "2026-01-02", old),
    ];
    assert_eq!(next(TableKind::Events, &final_files, now, 1 << 30), None);
    let bounded = next(TableKind::Events, &full, now, 120_000).unwrap();
    assert_eq!(bounded.files.len(), 2, "a job's input is bounded");
    let mut foreign = DataFile::clone(&quiet[0]);
    foreign.is_sorted = false;
    assert_eq!(
        next(
            TableKind::Events,
            &[Arc::new(foreign), Arc::clone(&quiet[1])],
            now,
            1 << 30
        ),
        None
    );
}

/// A million flushes: files stay few at every moment and each byte is rewritten a few times.
#[test]
fn files_never_multiply() {
    let mut files: Vec<Arc<DataFile>> = Vec::new();
    let (mut written, mut rewritten, mut most) = (0_u64, 0_u64, 0);
    for n in 0..100_000_usize {
        let now = (n as i64) * 1_000_000;
        files.push(file(n, 20_000, "2026-01-01", now / 1000));
        written += 20_000;
        while let Some(job) = next(TableKind::Events, &files, now, 512 << 20) {
            let names: BTreeSet<&str> = job.files.iter().map(|file| file.log_path.as_str()).collect();
            files.retain(|file| !names.contains(file.log_path.as_str()));
            rewritten += job.bytes();
            files.push(file(1_000_000 + n, job.bytes(), "2026-01-01", now / 1000));
        }
        most = most.max(files.len());
    }
    assert!(most <= 50, "{most} files at once");
    assert!(rewritten <= written * 6, "{rewritten} bytes rewritten for {written}");
}

struct Fixture {
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    project: ProjectId,
    table: Table,
    seq: u64,
}

impl Fixture {
    async fn new() -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let project = ProjectId::new("p").unwrap();
        let table = Table::open(&store, &project, TableKind::Events).await.unwrap();
        Self {
            store,
            clock: Arc::new(SystemClock),
            project,
            table,
            seq: 0,
        }
    }

    /// (visitor, minute, event id) as one flush.
    async fn flush(&mut self, rows: &[(u8, u8, u16)]) {
        let events: Vec<Event> = rows.iter().map(|row| event(*row)).collect();
        self.seq += 1;
        let rows = Rows {
            rows: vec![batch::from_events(events.iter()).unwrap()].into(),
            writer: "w",
            seq: self.seq,
        };
        let kind = TableKind::Events;
        flush(&self.store, &mut self.table, &self.project, kind, rows, &self.clock)
            .await
            .unwrap();
    }

    fn job(&self) -> Job {
        let mut files = self.table.snapshot().files.clone();
        files.sort_by_key(|file| file.modified_millis);
        Job {
            date: "2026-01-01".to_owned(),
            files,
        }
    }

    async fn merge(&self, job: &Job) -> Result<Merged> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 20));
        merge(&self.store, &pool, &self.project, TableKind::Events, job, &self.clock).await
    }

    /// Rows of a file in its order.
    async fn rows(&self, file: &Arc<DataFile>) -> Vec<(String, Micros, String)> {
        let schema = schema::of_files(TableKind::Events);
        let mut rows = rows_of(&self.store, file, &schema).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch.unwrap();
            let visitors = texts(&batch, Column::VisitorId.name()).unwrap();
            let ids = texts(&batch, Column::EventId.name()).unwrap();
            let ts = batch.column_by_name(Column::Ts.name()).unwrap();
            let ts = arrow::array::AsArray::as_primitive::<arrow::datatypes::TimestampMicrosecondType>(ts);
            for row in 0..batch.num_rows() {
                all.push((visitors.value(row).to_owned(), ts.value(row), ids.value(row).to_owned()));
            }
        }
        all
    }
}

fn event((visitor, minute, id): (u8, u8, u16)) -> Event {
    let mut event = Event::default();
    event.set(Column::EventId, format!("e{id}").as_str());
    event.set_ts(Column::Ts, DAY + Micros::from(minute) * 60_000_000);
    event.set_ts(Column::ReceivedAt, DAY);
    event.set(Column::VisitorId, format!("v{visitor}").as_str());
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set_text(Column::PagePath, (minute % 3 == 0).then_some("/x"));
    event
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The merged file has the rows of all files in order, and of events that came twice the first.
    #[test]
    fn a_merge_keeps_every_event_once(
        flushes in prop::collection::vec(prop::collection::vec((0_u8..5, any::<u8>(), 0_u16..400), 1..40), 2..12)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new().await;
            for rows in &flushes {
                fixture.flush(rows).await;
            }
            let job = fixture.job();
            let merged = fixture.merge(&job).await.unwrap();
            let all = flushes.iter().flatten().count() as u64;
            let mut first: BTreeMap<(String, String), Micros> = BTreeMap::new();
            for (visitor, minute, id) in flushes.iter().flatten() {
                let ts = DAY + Micros::from(*minute) * 60_000_000;
                let entry = first.entry((format!("v{visitor}"), format!("e{id}"))).or_insert(ts);
                *entry = ts.min(*entry);
            }
            let mut expected: Vec<_> = first.into_iter().map(|((visitor, id), ts)| (visitor, ts, id)).collect();
            expected.sort();
            assert_eq!(merged.file.rows, expected.len() as u64);
            assert_eq!(merged.duplicates, all - expected.len() as u64);
            let added = [merged.file];
            let before = fixture.table.snapshot().files.clone();
            let snapshot = fixture.table.replace(&before, &added, 1).await.unwrap();
            assert_eq!(snapshot.files.len(), 1);
            let file = &snapshot.files[0];
            assert!(file.is_sorted && file.date == "2026-01-01");
            assert_eq!(fixture.rows(file).await, expected);
            // As another process reads it, marks included.
            let reopened = Table::open(&fixture.store, &fixture.project, TableKind::Events).await.unwrap();
            assert_eq!(reopened.snapshot().files, snapshot.files);
            assert_eq!(reopened.mark("w").await.unwrap(), fixture.seq);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_files_that_are_gone_changes_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.flush(&[(1, 1, 1)]).await;
    fixture.flush(&[(1, 2, 2)]).await;
    let job = fixture.job();
    let merged = fixture.merge(&job).await.unwrap();
    fixture.table.replace(&job.files, &[merged.file], 1).await.unwrap();
    let again = fixture.merge(&job).await.unwrap();
    let error = fixture.table.replace(&job.files, &[again.file], 1).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Storage);
    assert!(error.message().contains("any more"), "{error}");
    assert_eq!(fixture.table.snapshot().rows(), 2);
}

/// A commit whose answer was lost may arrive after the log was read again. Who meets it then is not fenced by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_an_earlier_one_comes_before_is_committed_all_the_same() {
    let mut fixture = Fixture::new().await;
    for id in 1..=4 {
        fixture.flush(&[(1, 1, id)]).await;
    }
    let all = fixture.job();
    let half = |files: &[Arc<DataFile>]| Job {
        date: all.date.clone(),
        files: files.to_vec(),
    };
    let jobs = [half(&all.files[..2]), half(&all.files[2..])];
    let mut arrives = Table::open(&fixture.store, &fixture.project, TableKind::Events)
        .await
        .unwrap();
    let first = fixture.merge(&jobs[0]).await.unwrap();
    arrives.replace(&jobs[0].files, &[first.file], 1).await.unwrap();
    let second = fixture.merge(&jobs[1]).await.unwrap();
    let snapshot = fixture.table.replace(&jobs[1].files, &[second.file], 1).await.unwrap();
    assert_eq!((snapshot.files.len(), snapshot.rows()), (2, 4));
    // The same files again: their rows are there, and stay there once.
    let mut stale = arrives;
    let again = fixture.merge(&jobs[1]).await.unwrap();
    let error = stale.replace(&jobs[1].files, &[again.file], 1).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Storage, "{error}");
    assert_eq!((stale.snapshot().files.len(), stale.snapshot().rows()), (2, 4));
}

/// As above for rows: those of the earlier commit may be among the later one's, which only the caller can leave out.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_an_earlier_one_comes_before_is_told_to_look_again() {
    let mut fixture = Fixture::new().await;
    fixture.flush(&[(1, 1, 1)]).await;
    let kind = TableKind::Events;
    let mut arrives = Table::open(&fixture.store, &fixture.project, kind).await.unwrap();
    let events = [event((1, 2, 2)), event((1, 3, 3))];
    let rows = |count: usize, seq: u64| Rows {
        rows: vec![batch::from_events(events[..count].iter()).unwrap()].into(),
        writer: "w",
        seq,
    };
    flush(
        &fixture.store,
        &mut arrives,
        &fixture.project,
        kind,
        rows(1, 2),
        &fixture.clock,
    )
    .await
    .unwrap();
    let late = flush(
        &fixture.store,
        &mut fixture.table,
        &fixture.project,
        kind,
        rows(2, 3),
        &fixture.clock,
    )
    .await;
    let error = late.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Storage, "{error}");
    assert_eq!(
        (fixture.table.mark("w").await.unwrap(), fixture.table.snapshot().rows()),
        (2, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_other_rows_than_the_log_says_is_not_merged() {
    let mut fixture = Fixture::new().await;
    fixture.flush(&[(1, 1, 1)]).await;
    fixture.flush(&[(1, 2, 2)]).await;
    let mut job = fixture.job();
    let mut wrong = DataFile::clone(&job.files[0]);
    wrong.rows = Some(7);
    job.files[0] = Arc::new(wrong);
    let error = fixture.merge(&job).await.unwrap_err();
    assert!(error.message().contains("2 rows"), "{error}");
    let listed: Vec<_> = fixture
        .store
        .list(None)
        .map(|o| o.unwrap().location.to_string())
        .collect()
        .await;
    let data = listed.iter().filter(|name| name.ends_with(".parquet")).count();
    assert_eq!(data, 2, "nothing is left of the new file: {listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_that_were_outside_for_long_are_swept() {
    let mut fixture = Fixture::new().await;
    fixture.flush(&[(1, 1, 1)]).await;
    fixture.flush(&[(1, 2, 2)]).await;
    let job = fixture.job();
    let merged = fixture.merge(&job).await.unwrap();
    let mut sweep = Sweep::default();
    let kind = TableKind::Events;
    let mut look = async |table: &Table, now: Micros| {
        let snapshot = Arc::clone(table.snapshot());
        sweep
            .look(&fixture.store, &fixture.project, kind, &snapshot, now, 100)
            .await
            .unwrap()
            .files
    };
    // The new file is written and not yet committed.
    assert_eq!(look(&fixture.table, 0).await, 0);
    fixture.table.replace(&job.files, &[merged.file], 1).await.unwrap();
    assert_eq!(look(&fixture.table, 150).await, 0, "the old files have just been left");
    assert_eq!(look(&fixture.table, 249).await, 0);
    assert_eq!(look(&fixture.table, 250).await, 2);
    assert_eq!(look(&fixture.table, 999).await, 0);
    let reopened = Table::open(&fixture.store, &fixture.project, kind).await.unwrap();
    assert_eq!(fixture.rows(&reopened.snapshot().files[0]).await.len(), 2);
}

/// Another process writes into the same table; this one does not read its commits until it commits itself.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_writer_are_not_swept() {
    let mut fixture = Fixture::new().await;
    fixture.flush(&[(1, 1, 1)]).await;
    let old = Arc::clone(fixture.table.snapshot());
    fixture.flush(&[(1, 2, 2)]).await;
    let mut sweep = Sweep::default();
    for now in [0, 1_000] {
        let look = sweep.look(&fixture.store, &fixture.project, TableKind::Events, &old, now, 100);
        assert_eq!(look.await.unwrap().files, 0);
    }
    for file in &fixture.table.snapshot().files {
        assert_eq!(fixture.rows(file).await.len(), 1);
    }
}
