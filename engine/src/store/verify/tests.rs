use super::*;
use crate::clock::{Clock, SystemClock};
use crate::event::{Column, Event, RejectReason, Rejected, batch};
use crate::store::checksum::Summer;
use crate::store::fence::WalPlace;
use crate::store::flush::{Rows as Flushed, flush};
use crate::store::{Documents, Fence, NewFile, TableKind, object};
use bytes::Bytes;
use object_store::memory::InMemory;

const DAY: i64 = 1_767_225_600_000_000;

fn event(project: &str, n: u64) -> Event {
    let mut event = Event::default();
    event.set(Column::EventId, format!("{project}-{n}").as_str());
    event.set_ts(Column::Ts, DAY + i64::try_from(n).unwrap() * 3_600_000_000);
    event.set_ts(Column::ReceivedAt, DAY);
    event.set(Column::VisitorId, format!("v{}", n % 5).as_str());
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set(Column::PagePath, "/");
    event
}

/// Two projects with events on some days, in small files, and rejected events; one of them beyond a checkpoint, by commits
/// without files, which are cheap to check.
async fn store() -> (Arc<dyn ObjectStore>, Vec<ProjectId>) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut projects = Vec::new();
    for (name, empty) in [("a", 0_u64), ("b", 97)] {
        let project = ProjectId::new(name).unwrap();
        let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
        for n in 0..empty {
            table.commit(&[], "other", n + 1).await.unwrap();
        }
        for n in 0..6 {
            let events: Vec<Event> = (n * 3..n * 3 + 3).map(|n| event(name, n % 15)).collect();
            let rows = Flushed {
                rows: vec![batch::from_events(events.iter()).unwrap()].into(),
                writer: "w",
                seq: n + 1,
            };
            flush(&store, &mut table, &project, TableKind::Events, rows, &clock)
                .await
                .unwrap();
        }
        let rejected = Rejected {
            received_at: DAY,
            protocol: "native".to_owned(),
            reason: RejectReason::TooLarge,
            detail: "x".to_owned(),
            raw: Bytes::from_static(b"{}"),
        };
        let mut table = Table::open(&store, &project, TableKind::Rejected).await.unwrap();
        let rows = Flushed {
            rows: vec![batch::from_rejected([rejected].iter()).unwrap()].into(),
            writer: "w",
            seq: 1,
        };
        flush(&store, &mut table, &project, TableKind::Rejected, rows, &clock)
            .await
            .unwrap();
        projects.push(project);
    }
    (store, projects)
}

async fn checked(store: &Arc<dyn ObjectStore>, projects: &[ProjectId]) -> Report {
    check(store, projects, &Progress::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_store_has_no_damage() {
    let (store, projects) = store().await;
    assert_eq!(projects_in(&store).await.unwrap(), projects);
    let report = checked(&store, &projects).await;
    assert!(!report.is_damaged(), "{:?}", report.findings);
    assert_eq!((report.tables, report.rows), (4, 2 * 6 * 3 + 2));
    // The last three events of both projects are those of the first flush.
    let repeated = report
        .findings
        .iter()
        .filter(|finding| finding.text.starts_with("3 event ids"));
    assert_eq!(repeated.count(), 2, "{:?}", report.findings);
}

/// Random bytes of random files: each is found and its file is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_any_file_is_found_and_named() {
    let (store, projects) = store().await;
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    let flips = std::env::var("TALLY_BITROT_FLIPS").ok().and_then(|n| n.parse().ok());
    let mut state = 7_u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for _ in 0..flips.unwrap_or(40) {
        let object = &objects[usize::try_from(random(objects.len() as u64)).unwrap()];
        let right = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        let at = usize::try_from(random(right.len() as u64)).unwrap();
        let mut wrong = right.to_vec();
        wrong[at] ^= 1 << random(8);
        store.put(&object.location, wrong.into()).await.unwrap();
        let project = projects
            .iter()
            .find(|project| object.location.as_ref().contains(&format!("/{project}/")));
        let report = checked(&store, std::slice::from_ref(project.unwrap())).await;
        assert!(report.is_damaged(), "byte {at} of {}", object.location);
        let named = report
            .findings
            .iter()
            .any(|finding| finding.text.contains(object.location.as_ref()));
        assert!(named, "byte {at} of {}: {:?}", object.location, report.findings);
        store.put(&object.location, right.into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_left_over_is_told() {
    let (store, projects) = store().await;
    let project = &projects[..1];
    let root = paths::table(&projects[0], TableKind::Events);
    let table = Table::open(&store, &projects[0], TableKind::Events).await.unwrap();
    let gone = table.snapshot().files[0].path.clone();
    let bytes = store.get(&gone).await.unwrap().bytes().await.unwrap();
    store.delete(&gone).await.unwrap();
    let report = checked(&store, project).await;
    let text = report
        .findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(text.contains(&format!("{gone} is damaged: it is not there")), "{text}");
    store.put(&gone, bytes.clone().into()).await.unwrap();
    store
        .put(
            &paths::data_file(&root, "date=2026-01-01/left.vte.parquet"),
            bytes.into(),
        )
        .await
        .unwrap();
    let report = checked(&store, project).await;
    assert!(!report.is_damaged(), "{:?}", report.findings);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.text.starts_with("1 files"))
    );
    let entry = paths::data_file(&root, "_delta_log/00000000000000000001.json");
    store.delete(&entry).await.unwrap();
    let report = checked(&store, project).await;
    assert!(report.is_damaged(), "{:?}", report.findings);
}

/// A writer's entry and a document: every byte counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_beside_the_tables_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let store = object::open_to_read(&url, &[]).unwrap();
    Fence::take(&store, "a test", WalPlace::Store, DAY).await.unwrap();
    let documents = Documents::open(&url, &[]).await.unwrap();
    let document = Bytes::from_static(b"{\"projects\":[]}");
    documents.put("projects", 1, document.clone()).await.unwrap();
    assert_eq!(documents.get("projects", 1).await.unwrap(), Some(document));
    let report = checked(&store, &[]).await;
    assert_eq!((report.objects, report.findings), (2, Vec::new()));
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    for object in objects {
        let right = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        for at in 0..right.len() {
            let mut wrong = right.to_vec();
            wrong[at] ^= 1 << (at % 8);
            store.put(&object.location, wrong.into()).await.unwrap();
            let report = checked(&store, &[]).await;
            assert!(report.is_damaged(), "byte {at} of {}", object.location);
            assert!(report.findings[0].text.contains(object.location.as_ref()));
        }
        store.put(&object.location, right.slice(..1).into()).await.unwrap();
        assert!(checked(&store, &[]).await.is_damaged(), "{} cut off", object.location);
        store.put(&object.location, right.into()).await.unwrap();
    }
    assert!(!checked(&store, &[]).await.is_damaged());
}

/// A file whose log says other things of it than are in it: rows, order, day, bounds.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_compared_with_what_the_log_says() {
    let (store, projects) = store().await;
    let mut table = Table::open(&store, &projects[0], TableKind::Events).await.unwrap();
    let file = Arc::clone(&table.snapshot().files[0]);
    let bytes = store.get(&file.path).await.unwrap().bytes().await.unwrap();
    let root = paths::table(&projects[0], TableKind::Events);
    let name = "date=2026-02-03/other.vte.parquet";
    store.put(&paths::data_file(&root, name), bytes.into()).await.unwrap();
    let mut stats = file.stats.clone();
    let ts = stats.get_mut(&Column::Ts).unwrap();
    ts.max.clone_from(&ts.min);
    let wrong = NewFile {
        log_path: name.to_owned(),
        size_bytes: file.size_bytes,
        rows: 77,
        date: "2026-02-03".to_owned(),
        modified_millis: 0,
        stats,
        checksums: file.checksums.clone().unwrap_or_else(|| Summer::default().finish().0),
    };
    table.commit(&[wrong], "w", 99).await.unwrap();
    let report = checked(&store, &projects[..1]).await;
    let text = report
        .findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    for part in ["77", "a row of 2026-01-01 among those of 2026-02-03", "column `ts`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
