//! How long data lives: erasures, retention, and the past.

use super::*;
use crate::event::schema::SORT_COLUMNS;
use crate::ingest::{EraseRequest, LifeOptions};
use crate::query::AsOf;
use crate::store::erase::Subject;
use crate::store::{Bound, paths};
use futures::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashSet;

const CANARY: &str = "canary-4f1c9e7b";

/// An engine whose store and log are in one folder.
fn on_disk() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(&folder.path().join("store")).unwrap();
    Fixture {
        folder,
        store: Arc::new(store),
        clock: FixedClock::new(START),
    }
}

fn advance(fixture: &Fixture, micros: i64) {
    fixture.clock.set(fixture.clock.now_micros() + micros);
}

/// Files below `folder` that hold `text`: as they are, and Parquet files decoded.
fn files_with(folder: &std::path::Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut texts = vec![bytes.clone()];
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
            let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
            for batch in reader.build().unwrap() {
                writer.write(&batch.unwrap()).unwrap();
            }
            writer.finish().unwrap();
            texts.push(writer.into_inner());
        }
        let holds = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if texts.iter().any(holds) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn event_of(number: usize, visitor: &str, ts: i64) -> Event {
    let mut event = event(&format!("e{number}"), visitor, ts);
    event.set(Column::Properties, format!("{{\"n\":{number}}}"));
    event
}

/// Days of flushes with the canary's events among others', in every column that can hold it, some merged, some not yet
/// flushed. Returns the ids of the others' events.
async fn fill(fixture: &Fixture, engine: &Engine, p: &ProjectId, rows: usize) -> BTreeMap<String, usize> {
    let columns = [
        Column::VisitorId,
        Column::UserId,
        Column::AnonymousId,
        Column::PreviousId,
        Column::DeviceId,
        Column::NetworkUserId,
    ];
    let mut others = BTreeMap::new();
    let mut number = 0;
    for round in 0..12 {
        let mut events = Vec::new();
        for at in 0..rows / 12 {
            number += 1;
            let ts = START - (round % 3) * DAY_MICROS + at as i64;
            let mut event = event_of(number, &format!("v{}", number % 50), ts);
            event.set_ts(Column::ReceivedAt, START);
            if number % 40 == 7 {
                event.set(columns[number / 40 % columns.len()], CANARY);
            } else {
                others.insert(format!("e{number}"), 1);
            }
            events.push(event);
        }
        let mut bad = rejected("a canary");
        bad.raw = Bytes::from(format!("{{\"user_id\":\"{CANARY}\",\"n\":{round}}}"));
        let rejected = vec![bad, rejected("another")];
        engine.append(p, Batch { events, rejected }).await.unwrap();
        if round < 10 {
            engine.flush().await.unwrap();
        }
        if round == 8 {
            // Days without a new file for an hour are merged.
            advance(fixture, 2 * 3_600 * SECOND_MICROS);
            engine.compact().await.unwrap();
        }
    }
    // Files that a merge took out of the table are still there, as they are for an hour.
    advance(fixture, 60 * SECOND_MICROS);
    others
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_an_erased_visitor_is_left() {
    let rows = std::env::var("TALLY_ERASE_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(4_800);
    let fixture = on_disk();
    let engine = fixture.open().await;
    let (p, q) = (project("p"), project("q"));
    let others = fill(&fixture, &engine, &p, rows).await;
    engine.append(&q, batch(ids(0..20))).await.unwrap();
    assert!(
        files_with(fixture.folder.path(), CANARY).len() > 10,
        "the test has something to find"
    );

    let dry = EraseRequest {
        dry_run: true,
        ..EraseRequest::visitor(CANARY)
    };
    let found = engine.erase(&dry, |_| {}).await.unwrap();
    let events = found.tables.iter().find(|table| table.table == "events").unwrap();
    assert_eq!(events.rows, rows as u64 - others.len() as u64);
    assert_eq!(
        found
            .tables
            .iter()
            .find(|table| table.table == "rejected")
            .unwrap()
            .rows,
        12
    );
    assert!(
        !files_with(fixture.folder.path(), CANARY).is_empty(),
        "a dry run erases nothing"
    );

    let version = engine.data_version(&p);
    let erased = engine.erase(&EraseRequest::visitor(CANARY), |_| {}).await.unwrap();
    assert_ne!(engine.data_version(&p), version, "kept answers are not right any more");
    assert!(erased.verified.is_empty(), "{:?}", erased.verified);
    assert!(erased.verified_files > 0);
    assert_eq!(files_with(fixture.folder.path(), CANARY), Vec::<String>::new());
    assert_eq!(visible(&engine, &p).await, others);
    assert_eq!(visible(&engine, &q).await, once(0..20));
    check_files(&fixture.store, &engine.view(&p).await.unwrap().events).await;

    let again = engine.erase(&EraseRequest::visitor(CANARY), |_| {}).await.unwrap();
    assert!(again.tables.is_empty(), "{:?}", again.tables);
    engine.append(&p, batch(["late".to_owned()])).await.unwrap();
    drop(engine);
    let engine = fixture.open().await;
    let mut expected = others;
    expected.insert("late".to_owned(), 1);
    assert_eq!(
        visible(&engine, &p).await,
        expected,
        "the marks are kept: nothing comes back from the log"
    );
    assert_eq!(files_with(fixture.folder.path(), CANARY), Vec::<String>::new());
}

/// Files are in the order their names promise, and the log's bounds hold.
async fn check_files(store: &Arc<dyn ObjectStore>, snapshot: &Snapshot) {
    for file in &snapshot.files {
        let one = Snapshot {
            version: None,
            files: vec![Arc::clone(file)],
        };
        let batches = read_files(store, &one).await;
        let visitors = column(&batches, SORT_COLUMNS[0].name());
        assert!(!file.is_sorted || visitors.is_sorted(), "{}", file.log_path);
        let stats = &file.stats[&Column::VisitorId];
        let (Some(Bound::Text(min)), Some(Bound::Text(max))) = (&stats.min, &stats.max) else {
            panic!("{stats:?}");
        };
        assert!(
            visitors.iter().all(|visitor| min <= visitor && visitor <= max),
            "{min} {max}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mentions_of_others_are_counted_and_erased_on_demand() {
    let fixture = on_disk();
    let engine = fixture.open().await;
    let p = project("p");
    let mut events: Vec<Event> = (0..50).map(|n| event_of(n, &format!("v{n}"), START)).collect();
    events[3].set(Column::Properties, format!("{{\"invited_by\":\"{CANARY}\"}}"));
    events[4].set(Column::PagePath, format!("/users/{CANARY}/edit"));
    events[5].set(Column::Properties, format!("{{\"x\":\"{CANARY}0\"}}"));
    events[6].set(Column::UserId, CANARY);
    engine.append(&p, of(events)).await.unwrap();
    let erased = engine.erase(&EraseRequest::visitor(CANARY), |_| {}).await.unwrap();
    assert_eq!((erased.tables[0].rows, erased.tables[0].mentions), (1, 2));
    assert_eq!(visible(&engine, &p).await.len(), 49);
    let mut request = EraseRequest::visitor(CANARY);
    request.subject = Subject::Visitor {
        id: CANARY.to_owned(),
        mentions: true,
    };
    let erased = engine.erase(&request, |_| {}).await.unwrap();
    assert_eq!((erased.tables[0].rows, erased.tables[0].mentions), (2, 0));
    assert_eq!(visible(&engine, &p).await.len(), 47, "a longer id is another's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_an_erasure_is_kept_and_told_apart() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let p = project("p");
    let append = |n: usize, received: i64| {
        let mut event = event_of(n, CANARY, START);
        event.set_ts(Column::ReceivedAt, received);
        engine.append(&p, of(vec![event]))
    };
    append(1, START).await.unwrap();
    engine.flush().await.unwrap();
    let erased = engine.erase(&EraseRequest::visitor(CANARY), |_| {}).await.unwrap();
    assert!(visible(&engine, &p).await.is_empty());
    assert_eq!(
        append(1, START).await.unwrap(),
        receipt(0, 1, 0),
        "a delivery of the same event again brings it not back"
    );
    append(2, START + 5).await.unwrap();
    let mut check = EraseRequest::visitor(CANARY);
    check.dry_run = true;
    check.received_until = Some(erased.started_at);
    let found = engine.erase(&check, |_| {}).await.unwrap();
    assert_eq!(
        (found.tables[0].rows, found.tables[0].later, found.tables[0].remaining()),
        (1, 1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_erased_to_the_microsecond() {
    let fixture = on_disk();
    let engine = fixture.open().await;
    let p = project("p");
    let day = START.div_euclid(DAY_MICROS) * DAY_MICROS;
    let times: Vec<i64> = (-4..4)
        .flat_map(|n| [day + n * DAY_MICROS / 2, day + n * DAY_MICROS / 2 + 1])
        .collect();
    let events = times
        .iter()
        .enumerate()
        .map(|(n, ts)| event_of(n, &format!("v{}", n % 3), *ts))
        .collect();
    engine.append(&p, of(events)).await.unwrap();
    engine.flush().await.unwrap();
    let (from, to) = (day - DAY_MICROS / 2 + 1, day + DAY_MICROS);
    let mut request = EraseRequest::visitor("");
    request.subject = Subject::Range { from, to };
    engine.erase(&request, |_| {}).await.unwrap();
    let left: BTreeMap<String, usize> = times
        .iter()
        .enumerate()
        .filter(|(_, ts)| !(from..to).contains(*ts))
        .map(|(n, _)| (format!("e{n}"), 1))
        .collect();
    assert_eq!(visible(&engine, &p).await, left);
    check_files(&fixture.store, &engine.view(&p).await.unwrap().events).await;
}

#[test]
fn random_erasures_leave_exactly_the_others() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    // Every erasure writes the log's journals full, which takes its time.
    let cases = std::env::var("TALLY_ERASE_CASES").ok();
    let cases = cases.map_or(2, |text| text.parse().unwrap());
    let mut runner = TestRunner::new(Config::with_cases(cases));
    let rows = prop::collection::vec((0u8..6, 0u8..8, 0i64..3), 1..200);
    let case = (rows, prop::collection::vec(0u8..7, 1..3), any::<bool>());
    runner
        .run(&case, |(rows, erased, compacts)| {
            runtime.block_on(async {
                let fixture = Fixture::memory();
                let engine = fixture.open().await;
                let p = project("p");
                let mut kept = BTreeMap::new();
                let gone: HashSet<String> = erased.iter().map(|n| format!("v{n}")).collect();
                for (at, chunk) in rows.chunks(40).enumerate() {
                    let mut events = Vec::new();
                    for (place, (visitor, user, day)) in chunk.iter().enumerate() {
                        let number = at * 40 + place;
                        let mut event = event_of(
                            number,
                            &format!("v{visitor}"),
                            START - day * DAY_MICROS + i64::from(*user),
                        );
                        event.set(Column::UserId, format!("v{user}"));
                        if !gone.contains(&format!("v{visitor}")) && !gone.contains(&format!("v{user}")) {
                            kept.insert(format!("e{number}"), 1);
                        }
                        events.push(event);
                    }
                    engine.append(&p, of(events)).await.unwrap();
                    engine.flush().await.unwrap();
                }
                if compacts {
                    engine.compact().await.unwrap();
                }
                for id in &gone {
                    engine.erase(&EraseRequest::visitor(id), |_| {}).await.unwrap();
                }
                assert_eq!(visible(&engine, &p).await, kept);
                check_files(&fixture.store, &engine.view(&p).await.unwrap().events).await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_crash_are_erased_too() {
    let fixture = on_disk();
    let engine = fixture.open().await;
    let p = project("p");
    let events = (0..30)
        .map(|n| event_of(n, if n % 2 == 0 { CANARY } else { "v" }, START))
        .collect();
    engine.append(&p, of(events)).await.unwrap();
    engine.flush().await.unwrap();
    // A file that was written and never committed, and one that was not written to its end.
    let root = paths::table(&p, TableKind::Events);
    let file = Arc::clone(&engine.view(&p).await.unwrap().events.files[0]);
    let bytes = fixture.store.get(&file.path).await.unwrap().bytes().await.unwrap();
    let copy = |name: &str| paths::data_file(&root, &format!("date={}/{name}.vte.parquet", file.date));
    fixture.store.put(&copy("whole"), bytes.clone().into()).await.unwrap();
    fixture
        .store
        .put(&copy("half"), bytes.slice(..bytes.len() / 2).into())
        .await
        .unwrap();
    engine.erase(&EraseRequest::visitor(CANARY), |_| {}).await.unwrap();
    let left: Vec<_> = fixture.store.list(Some(&root)).try_collect().await.unwrap();
    let data: Vec<_> = left
        .iter()
        .filter(|object| paths::is_data_file(&root, &object.location))
        .collect();
    assert_eq!(data.len(), 1, "{data:?}");
    assert_eq!(visible(&engine, &p).await.len(), 15);
}

fn life(days: Option<u32>, history_ms: u64) -> LifeOptions {
    LifeOptions {
        retention_days: days,
        history_ms,
        ..LifeOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_past_their_time_go_and_late_events_are_rejected() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let (p, q) = (project("p"), project("q"));
    let append = |p: &ProjectId, n: usize, day: i64| {
        let event = event_of(n, "v", START - day * DAY_MICROS);
        let p = p.clone();
        let engine = Arc::clone(&engine);
        async move { engine.append(&p, of(vec![event])).await.unwrap() }
    };
    for n in 0..6usize {
        append(&p, n, n as i64).await;
        append(&q, n, n as i64).await;
    }
    engine.flush().await.unwrap();
    assert!(engine.expire(false).await.unwrap().is_empty(), "by default all is kept");
    let mut rules = life(Some(3), 3_600_000);
    rules.retention_days_of.insert(q.clone(), None);
    engine.set_life(rules);
    let version = engine.data_version(&p);
    let told = engine.expire(true).await.unwrap();
    assert_eq!((told.len(), told[0].rows, told[0].files), (1, 2, 2));
    assert_eq!(visible(&engine, &p).await, once(0..6), "a dry run takes nothing");
    engine.expire(false).await.unwrap();
    assert_eq!(visible(&engine, &p).await, once(0..4));
    assert_ne!(engine.data_version(&p), version);
    assert_eq!(
        visible(&engine, &q).await,
        once(0..6),
        "a project with a rule of its own"
    );
    assert!(engine.expire(false).await.unwrap().is_empty());
    assert_eq!(append(&p, 10, 4).await, receipt(0, 0, 1));
    assert_eq!(append(&p, 11, 3).await, receipt(1, 0, 0));
    assert_eq!(append(&q, 12, 400).await, receipt(1, 0, 0));
    let view = engine.view(&p).await.unwrap();
    assert_eq!(column(&view.buffered_rejected, "reason"), ["too_old"]);
    assert_eq!(
        column(&view.buffered_rejected, "raw"),
        [""],
        "what is too old is kept nowhere"
    );
}

/// Event ids as of then.
async fn as_of(engine: &Engine, p: &ProjectId, as_of: AsOf) -> crate::Result<BTreeMap<String, usize>> {
    let view = engine.view_as_of(p, as_of).await?;
    let batches = read_files(&view.store, &view.events).await;
    Ok(column(&batches, "event_id").into_iter().map(|id| (id, 1)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_answered_as_long_as_its_files_are_kept() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let p = project("p");
    let minute = 60 * SECOND_MICROS;
    assert!(engine.history(&p, 10).await.unwrap().is_empty());
    for n in 0..9 {
        engine.append(&p, batch(ids(n * 10..n * 10 + 10))).await.unwrap();
        engine.flush().await.unwrap();
        advance(&fixture, minute);
    }
    // Unless the background was faster.
    engine.compact().await.unwrap();
    advance(&fixture, minute);
    engine.append(&p, batch(ids(90..100))).await.unwrap();
    engine.flush().await.unwrap();
    let versions = engine.history(&p, 100).await.unwrap();
    let rows: Vec<u64> = versions.iter().map(|version| version.rows).collect();
    assert_eq!((rows.first(), rows.last()), (Some(&100), Some(&10)));
    assert!(rows.is_sorted_by(|later, earlier| later >= earlier), "{rows:?}");
    assert!(versions.iter().all(|version| version.is_readable), "{versions:?}");
    assert_eq!(engine.history(&p, 2).await.unwrap(), versions[..2]);
    for version in &versions {
        let expected = once(0..(version.rows as usize));
        let number = AsOf::Version(version.version);
        assert_eq!(as_of(&engine, &p, number).await.unwrap(), expected);
        let instant = AsOf::Instant(version.at);
        assert!(as_of(&engine, &p, instant).await.unwrap().len() >= expected.len());
    }
    let third = AsOf::Instant(START + 2 * minute + 5);
    assert_eq!(as_of(&engine, &p, third).await.unwrap(), once(0..30));
    let before = AsOf::Instant(START - 1);
    assert_eq!(as_of(&engine, &p, before).await.unwrap(), BTreeMap::new());
    let future = AsOf::Instant(START * 2);
    assert_eq!(
        as_of(&engine, &p, future).await.unwrap(),
        once(0..100),
        "the newest there is"
    );
    let newest = versions[0].version;
    let error = as_of(&engine, &p, AsOf::Version(newest + 1)).await.unwrap_err();
    assert!(error.message().contains(&format!("newest is {newest}")), "{error}");

    // The files that the merge took the place of are swept.
    let merge = versions.iter().find(|version| version.operation == "OPTIMIZE");
    let merge = merge.expect("nine files of a size are merged").version;
    let gone = engine.view_as_of(&p, AsOf::Version(merge - 1)).await.unwrap();
    let held = engine.view_as_of(&p, AsOf::Version(merge)).await.unwrap();
    let swept = gone
        .events
        .files
        .iter()
        .find(|file| held.events.files.iter().all(|held| held.path != file.path));
    fixture.store.delete(&swept.unwrap().path).await.unwrap();
    let error = as_of(&engine, &p, AsOf::Version(merge - 1)).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    assert!(
        error.message().contains(&format!("version {merge} of")),
        "the oldest after the hole: {error}"
    );
    assert!(error.message().contains("history_hours"), "{error}");
    assert!(as_of(&engine, &p, AsOf::Version(merge)).await.is_ok());

    engine.erase(&EraseRequest::visitor("v3"), |_| {}).await.unwrap();
    let error = as_of(&engine, &p, AsOf::Version(merge)).await.unwrap_err();
    assert_eq!(
        error.kind(),
        crate::ErrorKind::Invalid,
        "an erasure takes the past with it: {error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_a_log_that_begins_with_a_checkpoint() {
    let fixture = Fixture::memory();
    let engine = fixture.open().await;
    let p = project("p");
    for n in 0..5 {
        engine.append(&p, batch(ids(n * 10..n * 10 + 10))).await.unwrap();
        engine.flush().await.unwrap();
        advance(&fixture, SECOND_MICROS);
    }
    // v0 exists: its rows go, and the log is cut.
    engine.erase(&EraseRequest::visitor("v0"), |_| {}).await.unwrap();
    let left = visible(&engine, &p).await;
    engine.append(&p, batch(ids(50..60))).await.unwrap();
    engine.flush().await.unwrap();
    let versions = engine.history(&p, 100).await.unwrap();
    let rows: Vec<u64> = versions.iter().map(|version| version.rows).collect();
    assert_eq!(rows, [left.len() as u64 + 10, left.len() as u64]);
    assert_eq!(as_of(&engine, &p, AsOf::Version(5)).await.unwrap(), left);
    let error = as_of(&engine, &p, AsOf::Instant(START)).await.unwrap_err();
    assert!(error.message().contains("oldest"), "{error}");
}
