use super::*;
use crate::clock::FixedClock;
use crate::engine::{Engine, EngineOptions};
use crate::event::{Column, Event};
use crate::ingest::Batch;
use crate::limits;
use crate::query::tests::{parse, samples};
use datafusion::logical_expr::LogicalPlanBuilder;
use serde_json::json;

fn options(folder: &std::path::Path, models: &std::path::Path) -> EngineOptions {
    EngineOptions {
        models_dir: Some(models.to_owned()),
        memory_bytes: 512 << 20,
        query_threads: 2,
        ..EngineOptions::by_hand(folder, FixedClock::new(1_735_689_600_000_000))
    }
}

fn session_of(memory_bytes: usize, threads: usize, timeout: Duration) -> QuerySession {
    QuerySession::new(SessionOptions {
        memory_bytes,
        footer_bytes: 1 << 20,
        spill_dir: None,
        threads,
        timeout,
    })
    .unwrap()
}

/// A query that never ends, until it is dropped: then the receiver is told.
fn endless(session: &QuerySession) -> (impl Future<Output = Result<()>>, tokio::sync::oneshot::Receiver<()>) {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let sender = Mutex::new(Some(sender));
    let query = session.run(move || {
        let held = sender.lock().take();
        async move {
            futures::future::pending::<()>().await;
            drop(held);
            Ok(())
        }
    });
    (query, receiver)
}

struct Opened {
    engine: Arc<Engine>,
    _folders: (tempfile::TempDir, tempfile::TempDir),
}

async fn opened() -> Opened {
    let folders = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(
        folders.1.path().join("m.yml"),
        include_str!("../../query/tests/model.yml"),
    )
    .unwrap();
    let engine = Engine::open(options(folders.0.path(), folders.1.path())).await.unwrap();
    Opened {
        engine,
        _folders: folders,
    }
}

async fn append(engine: &Engine, project: &ProjectId, events: Vec<Event>) {
    let batch = Batch {
        events,
        rejected: Vec::new(),
    };
    engine.append(project, batch).await.unwrap();
}

async fn ask(engine: &Engine, project: &ProjectId, query: serde_json::Value) -> Vec<Vec<Cell>> {
    engine.query(project, &parse(&query).unwrap()).await.unwrap().rows
}

fn queries() -> Vec<serde_json::Value> {
    let day = |range: &[&str]| json!([{"dimension": "Events.at", "granularity": "day", "dateRange": range}]);
    vec![
        json!({"measures": ["Events.count", "Events.visitors", "Events.revenue", "Events.minWidth", "Events.first", "Events.lastPage"]}),
        json!({"measures": ["Events.count"], "dimensions": ["Events.country", "Events.isBot"], "order": [["Events.country", "asc"]]}),
        json!({"measures": ["Events.count"], "timeDimensions": day(&["2024-03-10", "2024-11-03"]), "timezone": "America/New_York"}),
        json!({"measures": ["Events.count"], "filters": [{"member": "Events.country", "operator": "equals", "values": ["DE"]}]}),
        json!({"measures": ["Events.count"], "filters": [{"member": "Events.path", "operator": "contains", "values": ["a"]}]}),
        json!({"measures": ["Events.count"], "filters": [{"member": "Events.width", "operator": "notSet"}]}),
        json!({"measures": ["Events.count"], "dimensions": ["Events.day"]}),
        json!({"measures": ["Events.count"], "filters": [{"member": "Events.day", "operator": "inDateRange", "values": ["2024-03-31", "2024-03-31"]}]}),
        json!({"dimensions": ["Events.id", "Events.tag", "Events.at"], "order": [["Events.at", "desc"]], "limit": 3, "total": true}),
        json!({"measures": ["Visits.count", "Visits.events"], "timeDimensions": [{"dimension": "Visits.firstAt", "dateRange": ["2024-03-10", "2024-03-31"]}]}),
        json!({"measures": ["Events.count"], "segments": ["Events.bots"], "dimensions": ["Events.size"]}),
        json!({
            "measures": ["Events.first", "Events.share"],
            "dimensions": ["Events.id", "Events.country"],
            "filters": [
                {"member": "Events.share", "operator": "equals", "values": ["0"]},
                {"member": "Events.maxWidth", "operator": "set"},
            ],
            "order": [["Events.share", "asc"], ["Events.first", "asc"], ["Events.id", "asc"]],
            "limit": 3,
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_from_buffer_files_and_both() {
    let opened = opened().await;
    let engine = &opened.engine;
    let names = ["buffer", "files", "both", "many"];
    let projects: Vec<ProjectId> = names.iter().map(|name| ProjectId::new(name).unwrap()).collect();
    let [buffer, files, both, many] = projects.as_slice() else {
        panic!()
    };
    let events = samples();
    append(engine, files, events.clone()).await;
    append(engine, both, events[..3].to_vec()).await;
    for event in &events {
        append(engine, many, vec![event.clone()]).await;
        engine.flush().await.unwrap();
    }
    append(engine, both, events[3..].to_vec()).await;
    append(engine, buffer, events).await;
    for query in queries() {
        let expected = ask(engine, buffer, query.clone()).await;
        for project in [files, both, many] {
            assert_eq!(
                ask(engine, project, query.clone()).await,
                expected,
                "{project}: {query}"
            );
        }
    }
}

/// The files of a partition are read one after another, in the one order or in the other. There are many, because the next
/// ones are opened while one is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_least_value_does_not_hide_the_rows_of_another() {
    const FILES: usize = 16;
    let opened = opened().await;
    let engine = &opened.engine;
    let mut events: Vec<Event> = samples().into_iter().take(1).cycle().take(FILES).collect();
    for (second, event) in events.iter_mut().enumerate() {
        event.set(Column::EventId, format!("e{second}"));
        event.set_ts(Column::Ts, 1_710_000_000_000_000 + second as i64 * 1_000_000);
        event.remove(Column::ViewportW);
    }
    events[FILES - 1].set(Column::ViewportW, crate::event::Value::Int(800));
    let query = json!({"measures": ["Events.first", "Events.minWidth"]});
    let rising = events.clone();
    let falling: Vec<Event> = events.iter().rev().cloned().collect();
    for (name, events) in [("rising", rising), ("falling", falling)] {
        let project = ProjectId::new(name).unwrap();
        for event in events {
            append(engine, &project, vec![event]).await;
            engine.flush().await.unwrap();
        }
    }
    let buffered = ProjectId::new("buffered").unwrap();
    append(engine, &buffered, events).await;
    let expected = ask(engine, &buffered, query.clone()).await;
    assert!(!expected[0].contains(&Cell::Null), "{expected:?}");
    for name in ["rising", "falling"] {
        let project = ProjectId::new(name).unwrap();
        assert_eq!(ask(engine, &project, query.clone()).await, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_never_sees_another() {
    let opened = opened().await;
    let engine = &opened.engine;
    let (full, empty) = (ProjectId::new("full").unwrap(), ProjectId::new("empty").unwrap());
    append(engine, &full, samples()).await;
    engine.flush().await.unwrap();
    append(
        engine,
        &full,
        vec![{
            let mut event = samples().remove(0);
            event.set(Column::EventId, "late");
            event
        }],
    )
    .await;
    let count = json!({"measures": ["Events.count"]});
    assert_eq!(
        ask(engine, &full, count.clone()).await,
        [[Cell::Number("9".to_owned())]]
    );
    assert_eq!(ask(engine, &empty, count).await, [[Cell::Number("0".to_owned())]]);

    let session = session_of(64 << 20, 1, limits::QUERY_TIMEOUT_DEFAULT);
    let bound = Bound::new(&session.shared, full.clone(), engine.view(&full).await.unwrap()).unwrap();
    let unbound = tables::scan(tables::EVENTS).unwrap().build().unwrap();
    let state = session.shared.state(0);
    assert_eq!(
        check::belongs_to(&unbound, &full, project_of).unwrap_err().kind(),
        ErrorKind::Internal
    );
    assert!(
        state.create_physical_plan(&unbound).await.is_err(),
        "a plan without a project cannot run"
    );
    let (_, source) = bound.sources.first().unwrap();
    let plan = LogicalPlanBuilder::scan("events", Arc::clone(source), None)
        .unwrap()
        .build()
        .unwrap();
    check::belongs_to(&plan, &full, project_of).unwrap();
    assert_eq!(
        check::belongs_to(&plan, &empty, project_of).unwrap_err().kind(),
        ErrorKind::Internal
    );
    let stranger = Bound {
        project: empty,
        sources: bound.sources.clone(),
    };
    assert_eq!(
        stranger.run(&state, plan).await.unwrap_err().kind(),
        ErrorKind::Internal
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_chosen_from_the_log() {
    let opened = opened().await;
    let (engine, project) = (&opened.engine, ProjectId::new("p").unwrap());
    append(engine, &project, samples()).await;
    engine.flush().await.unwrap();
    let view = engine.view(&project).await.unwrap();
    assert_eq!(view.events.files.len(), 5, "one file a day");
    let session = session_of(64 << 20, 2, limits::QUERY_TIMEOUT_DEFAULT);
    let bound = Bound::new(&session.shared, project.clone(), view).unwrap();
    let state = session.shared.state(0);
    let (_, source) = bound.sources.first().unwrap();
    let cases = [
        ("true", 5),
        ("ts >= '2024-12-31T00:00:00Z'", 2),
        ("ts < '2024-03-11T00:00:00Z'", 1),
        ("date = '2024-03-31'", 1),
        ("visitor_id = 'c'", 1),
        ("ts > '2030-01-01T00:00:00Z'", 0),
        ("geo_country = 'DE'", 5),
    ];
    for (condition, files) in cases {
        let all = LogicalPlanBuilder::scan("events", Arc::clone(source), None).unwrap();
        let condition_expr = sql::expression(condition, all.schema()).unwrap();
        let plan = all.filter(condition_expr).unwrap().build().unwrap();
        let physical = state.create_physical_plan(&plan).await.unwrap();
        let shown = datafusion::physical_plan::displayable(physical.as_ref())
            .indent(true)
            .to_string();
        let found = shown.matches(".parquet").count();
        if condition == "geo_country = 'DE'" {
            assert!(found <= files, "{condition}: {shown}");
        } else {
            assert_eq!(found, files, "{condition}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_next_query_runs() {
    let session = session_of(64 << 20, 1, limits::QUERY_TIMEOUT_DEFAULT);
    let error = session
        .run(|| async { panic!("broken {}", 1) as Result<()> })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().contains("broken 1"));
    assert_eq!(session.run(|| async { Ok(1) }).await.unwrap(), 1);
}

fn out_of_memory() -> Error {
    datafusion::error::DataFusionError::ResourcesExhausted("no".to_owned()).into()
}

#[tokio::test]
async fn what_has_too_little_memory_beside_others_runs_alone() {
    let session = session_of(2 * QUERY_BYTES_WORTHWHILE, 2, limits::QUERY_TIMEOUT_DEFAULT);
    let (is_refused, go_on) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let (is_refused, go_on) = (Arc::new(is_refused), Arc::new(go_on));
    let beside = session.run(|| {
        let go_on = Arc::clone(&go_on);
        async move {
            go_on.notified().await;
            Ok(())
        }
    });
    let runs = Arc::new(AtomicU64::new(0));
    let admission = session.admission.clone();
    let large = session.run(|| {
        let (is_refused, runs, admission) = (Arc::clone(&is_refused), Arc::clone(&runs), admission.clone());
        async move {
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                is_refused.notify_one();
                return Err(out_of_memory());
            }
            Ok(admission.counts())
        }
    });
    let release = async {
        is_refused.notified().await;
        go_on.notify_one();
    };
    let (beside, large, ()) = tokio::join!(beside, large, release);
    beside.unwrap();
    // All places are taken, and nobody else waits or runs.
    assert_eq!(large.unwrap(), (2, 0));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(session.repeated.load(Ordering::SeqCst), 1);

    let alone = session.run(|| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Err(out_of_memory()) as Result<()> }
    });
    let refused = alone.await.unwrap_err();
    assert!(refused.is_out_of_memory() && refused.kind() == ErrorKind::Overloaded);
    assert!(refused.message().contains("more by `memory`; no"), "{refused}");
    assert_eq!(runs.load(Ordering::SeqCst), 3, "again would end the same");
}

#[tokio::test]
async fn a_query_is_ended_when_its_time_is_over() {
    let session = session_of(64 << 20, 1, Duration::from_millis(20));
    let (endless, receiver) = endless(&session);
    assert_eq!(endless.await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(receiver.await.is_err(), "the query's future is dropped");
}

#[tokio::test]
async fn dropping_the_answer_stops_the_query() {
    let session = session_of(64 << 20, 1, limits::QUERY_TIMEOUT_DEFAULT);
    let (endless, receiver) = endless(&session);
    assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());
    assert!(receiver.await.is_err(), "the query's future is dropped");
}

/// Queries over a remote store: the second time nothing is asked of it.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "the ratio is a figure of a decision record")]
async fn a_warm_query_asks_a_remote_store_nothing() {
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    let folders = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(
        folders.1.path().join("m.yml"),
        include_str!("../../query/tests/model.yml"),
    )
    .unwrap();
    let wait = Duration::from_millis(20);
    let store = ThrottledStore::new(
        object_store::memory::InMemory::new(),
        ThrottleConfig {
            wait_get_per_call: wait,
            ..ThrottleConfig::default()
        },
    );
    let options = EngineOptions {
        store_url: "s3://bucket".to_owned(),
        ..options(folders.0.path(), folders.1.path())
    };
    let engine = Engine::open_with_store(options, Arc::new(store)).await.unwrap();
    let project = ProjectId::new("p").unwrap();
    for event in samples() {
        append(&engine, &project, vec![event]).await;
        engine.flush().await.unwrap();
    }
    let requests = || engine.metrics().cache_requests.get();
    let mut rounds = Vec::new();
    let mut answers: Option<Vec<Vec<Vec<Cell>>>> = None;
    // A merge in the background may put new files in the place of the old ones, and a round is cold once more.
    while rounds.len() < 20 && rounds.last().is_none_or(|(_, requests)| *requests > 0) {
        let (before, started) = (requests(), std::time::Instant::now());
        let mut all = Vec::new();
        for query in queries() {
            all.push(ask(&engine, &project, query).await);
        }
        rounds.push((started.elapsed(), requests() - before));
        assert_eq!(*answers.get_or_insert_with(|| all.clone()), all);
    }
    let (cold, warm) = (rounds[0], rounds[rounds.len() - 1]);
    // A merge may have read the files before the first round.
    assert!(requests() > 0 && warm.1 == 0, "{rounds:?}");
    assert!(engine.metrics().cache_hits.get() > 0);
    println!(
        "cold {cold:?}, warm {warm:?}: time and requests of {} queries",
        queries().len()
    );
}

#[test]
fn few_queries_share_little_memory() {
    let cases = [
        (2, 16, 1),
        (2, 64, 1),
        (2, 96, 2),
        (2, 192, 4),
        (2, 8192, 4),
        (16, 512, 10),
        (16, 8192, 32),
    ];
    for (threads, mib, queries) in cases {
        assert_eq!(at_once(threads, mib << 20), queries, "{threads} threads, {mib} MiB");
    }
}

/// Threads that have run [`noted`] and have not ended.
static NOTED_THREADS: AtomicU64 = AtomicU64::new(0);

struct Noted;

impl Drop for Noted {
    fn drop(&mut self) {
        NOTED_THREADS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts the thread it runs on, until it ends.
fn noted() {
    thread_local! {
        static NOTED: Noted = {
            NOTED_THREADS.fetch_add(1, Ordering::SeqCst);
            Noted
        };
    }
    NOTED.with(|_| ());
}

#[test]
fn threads_of_a_busy_moment_end_though_work_goes_on() {
    const AT_ONCE: u64 = 60;
    let session = session_of(64 << 20, 2, Duration::from_secs(60));
    let runtime = session.runtime.as_ref().unwrap();
    let all_there = Arc::new(std::sync::Barrier::new(AT_ONCE as usize));
    let tasks: Vec<_> = std::iter::repeat_with(|| {
        let all_there = Arc::clone(&all_there);
        runtime.spawn_blocking(move || {
            noted();
            all_there.wait();
        })
    })
    .take(AT_ONCE as usize)
    .collect();
    runtime.block_on(futures::future::try_join_all(tasks)).unwrap();
    assert_eq!(NOTED_THREADS.load(Ordering::SeqCst), AT_ONCE);
    // Every thread in turn is given something to do, each every three seconds.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while NOTED_THREADS.load(Ordering::SeqCst) > AT_ONCE / 2 {
        assert!(std::time::Instant::now() < deadline, "the threads stay");
        runtime.block_on(runtime.spawn_blocking(noted)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
}
