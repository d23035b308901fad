use super::restore::{self, Wanted, restore};
use super::*;
use crate::clock::{Clock, FixedClock};
use crate::event::{Column, Event, batch};
use crate::store::compact;
use crate::store::flush::{Rows, flush};
use crate::store::verify;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use object_store::memory::InMemory;
use std::collections::BTreeSet;

const DAY: i64 = 1_767_225_600_000_000;

struct Fixture {
    store: Arc<dyn ObjectStore>,
    project: ProjectId,
    table: Table,
    seq: u64,
    /// Ids in the table at each version.
    versions: Vec<BTreeSet<String>>,
}

impl Fixture {
    async fn new() -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let project = ProjectId::new("p").unwrap();
        let table = Table::open(&store, &project, TableKind::Events).await.unwrap();
        Self {
            store,
            project,
            table,
            seq: 0,
            versions: Vec::new(),
        }
    }

    async fn flush(&mut self) {
        self.seq += 1;
        let mut ids = self.versions.last().cloned().unwrap_or_default();
        let events: Vec<Event> = (0..3)
            .map(|n| {
                let id = format!("e{}-{n}", self.seq);
                let mut event = Event::default();
                event.set(Column::EventId, id.as_str());
                event.set_ts(Column::Ts, DAY + n);
                event.set_ts(Column::ReceivedAt, DAY);
                event.set(Column::VisitorId, "v");
                event.set(Column::EventType, "page");
                event.set(Column::Protocol, "native");
                ids.insert(id);
                event
            })
            .collect();
        let clock: Arc<dyn Clock> = FixedClock::new(DAY);
        let rows = Rows {
            rows: vec![batch::from_events(events.iter()).unwrap()].into(),
            writer: "w",
            seq: self.seq,
        };
        flush(
            &self.store,
            &mut self.table,
            &self.project,
            TableKind::Events,
            rows,
            &clock,
        )
        .await
        .unwrap();
        self.versions.push(ids);
    }

    async fn merge(&mut self) {
        let files = self.table.snapshot().files.clone();
        let job = compact::Job {
            date: "2026-01-01".to_owned(),
            files: files.clone(),
        };
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 20));
        let clock: Arc<dyn Clock> = FixedClock::new(DAY);
        let merged = compact::merge(&self.store, &pool, &self.project, TableKind::Events, &job, &clock)
            .await
            .unwrap();
        self.table.replace(&files, &[merged.file], 1).await.unwrap();
        self.versions.push(self.versions.last().cloned().unwrap());
    }

    async fn backup(&self, to: &Arc<dyn ObjectStore>, at: i64) -> Result<Done> {
        let projects = [self.project.clone()];
        let extras = [Extra {
            name: "projects.json".to_owned(),
            bytes: b"{}".to_vec(),
        }];
        backup(&self.store, to, &projects, &extras, DAY + at, &Progress::default()).await
    }
}

async fn restored(from: &Arc<dyn ObjectStore>, wanted: Wanted) -> Result<Arc<dyn ObjectStore>> {
    let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let manifest = restore::choose(from, &wanted).await?;
    let done = restore(from, &to, &manifest, &wanted, &Progress::default()).await?;
    assert_eq!(done.files[0].bytes, b"{}");
    Ok(to)
}

async fn ids(store: &Arc<dyn ObjectStore>, project: &ProjectId) -> BTreeSet<String> {
    let table = Table::open(store, project, TableKind::Events).await.unwrap();
    let only_ids = [arrow::datatypes::Field::new(
        "event_id",
        arrow::datatypes::DataType::Utf8,
        true,
    )];
    let schema = Arc::new(arrow::datatypes::Schema::new(only_ids.to_vec()));
    let mut ids = BTreeSet::new();
    for file in &table.snapshot().files {
        let rows = compact::rows_of(store, file, &schema).await.unwrap();
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        for batch in batches {
            let texts = crate::store::flush::texts(&batch, "event_id").unwrap();
            ids.extend(texts.iter().flatten().map(str::to_owned));
        }
    }
    ids
}

async fn is_whole(store: &Arc<dyn ObjectStore>, project: &ProjectId) {
    let report = verify::check(store, std::slice::from_ref(project), &Progress::default())
        .await
        .unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_the_last_commits_comes_back() {
    let mut fixture = Fixture::new().await;
    // Beyond a checkpoint, with a merge on the way. Commits without files are quick.
    for _ in 0..80 {
        fixture.seq += 1;
        fixture.table.commit(&[], "w", fixture.seq).await.unwrap();
        fixture.versions.push(BTreeSet::new());
    }
    for n in 80..110 {
        fixture.flush().await;
        if n == 100 {
            fixture.merge().await;
        }
    }
    let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let done = fixture.backup(&to, 0).await.unwrap();
    assert_eq!((done.tables, done.rows), (1, 90));
    let manifest = restore::choose(&to, &Wanted::default()).await.unwrap();
    let versions: Vec<u64> = manifest.tables[0]
        .restorable
        .iter()
        .map(|(version, _)| *version)
        .collect();
    assert_eq!(versions, (87..=110).rev().collect::<Vec<_>>());
    for version in [87, 100, 101, 110] {
        let wanted = Wanted {
            version: Some((fixture.project.clone(), version)),
            ..Wanted::default()
        };
        let copy = restored(&to, wanted).await.unwrap();
        let expected = &fixture.versions[usize::try_from(version).unwrap()];
        assert_eq!(&ids(&copy, &fixture.project).await, expected, "version {version}");
    }
    let wanted = Wanted {
        version: Some((fixture.project.clone(), 86)),
        ..Wanted::default()
    };
    let error = restored(&to, wanted).await.unwrap_err();
    assert!(
        error.message().contains("86") && error.message().contains("87"),
        "{error}"
    );
    // The copy is an ordinary store.
    is_whole(&to, &fixture.project).await;
    assert_eq!(&ids(&to, &fixture.project).await, fixture.versions.last().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_copies_what_is_new() {
    let mut fixture = Fixture::new().await;
    for _ in 0..5 {
        fixture.flush().await;
    }
    let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let first = fixture.backup(&to, 0).await.unwrap();
    assert_eq!(first.copied.0, 10, "{first:?}");
    let same = fixture.backup(&to, 1_000_000).await.unwrap();
    assert_eq!((same.copied.0, same.kept.0), (0, 11), "{same:?}");
    fixture.flush().await;
    fixture.merge().await;
    let third = fixture.backup(&to, 2_000_000).await.unwrap();
    assert_eq!(third.copied.0, 4, "two data files and two entries: {third:?}");
    // Each of the three comes back.
    for (backup, version) in [(first.name, 4), (same.name, 4), (third.name, 6)] {
        let wanted = Wanted {
            backup: Some(backup),
            ..Wanted::default()
        };
        let copy = restored(&to, wanted).await.unwrap();
        is_whole(&copy, &fixture.project).await;
        assert_eq!(ids(&copy, &fixture.project).await, fixture.versions[version]);
    }
    let unknown = Wanted {
        backup: Some("yesterday".to_owned()),
        ..Wanted::default()
    };
    let error = restored(&to, unknown).await.unwrap_err();
    assert!(
        error.message().contains("yesterday") && error.message().contains("2026-01-01"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_goes_on_and_damage_is_not_copied() {
    let mut fixture = Fixture::new().await;
    for _ in 0..4 {
        fixture.flush().await;
    }
    let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    // What a run that was broken off left: one whole file and one with other bytes.
    let files = fixture.table.snapshot().files.clone();
    let right = fixture.store.get(&files[0].path).await.unwrap().bytes().await.unwrap();
    to.put(&files[0].path, right.clone().into()).await.unwrap();
    to.put(&files[1].path, right.slice(..50).into()).await.unwrap();
    let done = fixture.backup(&to, 0).await.unwrap();
    assert_eq!((done.copied.0, done.kept.0), (7, 1), "{done:?}");
    assert_eq!(&ids(&to, &fixture.project).await, fixture.versions.last().unwrap());
    // Damage in the source stops the backup, which stays what it was.
    fixture.flush().await;
    let newest = fixture.table.snapshot().files[4].path.clone();
    let mut wrong = fixture
        .store
        .get(&newest)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec();
    wrong[100] ^= 1;
    fixture.store.put(&newest, wrong.into()).await.unwrap();
    let error = fixture.backup(&to, 1_000_000).await.unwrap_err();
    assert!(error.message().contains(newest.as_ref()), "{error}");
    assert!(to.head(&newest).await.is_err());
    assert_eq!(ids(&to, &fixture.project).await, fixture.versions[3]);
    // Damage in the backup stops the restore.
    let mut wrong = right.to_vec();
    wrong[100] ^= 1;
    to.put(&files[0].path, wrong.into()).await.unwrap();
    let error = restored(&to, Wanted::default()).await.unwrap_err();
    assert!(error.message().contains(files[0].path.as_ref()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_is_not_mixed_in() {
    let mut one = Fixture::new().await;
    let mut other = Fixture::new().await;
    one.flush().await;
    one.flush().await;
    other.flush().await;
    other.flush().await;
    let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    one.backup(&to, 0).await.unwrap();
    let error = other.backup(&to, 1_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(&ids(&to, &one.project).await, one.versions.last().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_newer_format_is_refused() {
    let mut fixture = Fixture::new().await;
    fixture.flush().await;
    let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let done = fixture.backup(&to, 0).await.unwrap();
    let path = paths::backup_manifest(&done.name);
    let text = to.get(&path).await.unwrap().bytes().await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let newer = text.replace("\"format\": 1", "\"format\": 2").replace(
        concat!("\"tally\": \"", env!("CARGO_PKG_VERSION")),
        "\"tally\": \"9.9.9",
    );
    to.put(&path, newer.into()).await.unwrap();
    let error = restored(&to, Wanted::default()).await.unwrap_err();
    for part in ["9.9.9", env!("CARGO_PKG_VERSION"), "format 2"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}
