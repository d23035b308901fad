use super::*;
use crate::project::ProjectId;
use crate::store::object::slow::Slow;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn new_file(name: &str) -> NewFile {
    NewFile {
        log_path: format!("date=2026-01-01/{name}.vte.parquet"),
        size_bytes: 10,
        rows: 5,
        date: "2026-01-01".to_owned(),
        modified_millis: 1_700_000_000_000,
        stats: BTreeMap::new(),
        checksums: checksum::Summer::default().finish().0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_move_the_mark_with_the_files_and_survive_reopening() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(table.snapshot().version, None);
    assert_eq!(table.mark("w").await.unwrap(), 0);
    // Beyond the first checkpoint, so that reading through one is covered.
    for n in 0..103u64 {
        let snapshot = table
            .commit(&[new_file(&n.to_string())], "w", n * 10 + 1)
            .await
            .unwrap();
        assert_eq!(snapshot.version, Some(n));
        assert_eq!(snapshot.files.len() as u64, n + 1);
    }
    assert_eq!(table.mark("w").await.unwrap(), 1021);
    let reopened = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(reopened.mark("w").await.unwrap(), 1021);
    assert_eq!(reopened.mark("other").await.unwrap(), 0);
    assert_eq!(reopened.snapshot().rows(), 515);
    assert!(
        reopened
            .snapshot()
            .files
            .iter()
            .all(|file| file.is_sorted && file.date == "2026-01-01")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_reads_no_earlier_entries() {
    // The library asks for many entries at once and waits for one: a store that answers at once would not see the others.
    let slow = Arc::new(Slow::new(InMemory::new(), Duration::from_millis(1)));
    let store: Arc<dyn ObjectStore> = Arc::<Slow>::clone(&slow);
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    let mut gets = Vec::new();
    for n in 1..=60u64 {
        let before = slow.gets.load(Ordering::SeqCst);
        assert_eq!(table.mark("w").await.unwrap(), n - 1);
        table.commit(&[new_file(&n.to_string())], "w", n).await.unwrap();
        gets.push(slow.gets.load(Ordering::SeqCst) - before);
    }
    // From the second on, each takes as many.
    assert!(gets[1..].iter().all(|gets| *gets <= 3), "{gets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reads_the_entries_that_are_new() {
    let slow = Arc::new(Slow::new(InMemory::new(), Duration::ZERO));
    let store: Arc<dyn ObjectStore> = Arc::<Slow>::clone(&slow);
    let project = ProjectId::new("p").unwrap();
    let mut writer = Table::open(&store, &project, TableKind::Events).await.unwrap();
    let mut follower = Table::open(&store, &project, TableKind::Events).await.unwrap();
    let mut gets = Vec::new();
    for n in 1..=104u64 {
        writer.commit(&[new_file(&n.to_string())], "w", n).await.unwrap();
        // Sometimes more than one.
        if n % 7 == 3 {
            continue;
        }
        let before = slow.gets.load(Ordering::SeqCst);
        assert!(follower.refresh().await.unwrap());
        gets.push(slow.gets.load(Ordering::SeqCst) - before);
        assert_eq!(follower.snapshot().files.len() as u64, n);
        assert_eq!(follower.snapshot().version, writer.snapshot().version);
    }
    assert_eq!(follower.mark("w").await.unwrap(), 104);
    assert!(!follower.refresh().await.unwrap());
    gets.sort_unstable();
    assert!(gets[gets.len() / 2] <= 4, "{gets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortened_log_has_what_later_versions_need() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    for n in 0..130u64 {
        table.commit(&[new_file(&n.to_string())], "w", n + 1).await.unwrap();
    }
    let day = 24 * 3_600_000;
    let now = chrono::Utc::now().timestamp_millis();
    assert_eq!(table.past().delete_before(now - day).await.unwrap(), 0);
    // The checkpoint at version 99 is what the last 24 commits begin with.
    assert_eq!(table.past().delete_before(now + day).await.unwrap(), 99);
    assert_eq!(table.past().delete_before(now + day).await.unwrap(), 0);
    table.commit(&[new_file("130")], "w", 131).await.unwrap();
    let reopened = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(reopened.snapshot().files.len(), 131);
    assert_eq!(reopened.mark("w").await.unwrap(), 131);
    assert_eq!(reopened.at_version(105).await.unwrap().files.len(), 106);
    assert!(reopened.at_version(50).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_with_an_old_view_goes_after_the_winner() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = ProjectId::new("p").unwrap();
    let mut a = Table::open(&store, &project, TableKind::Events).await.unwrap();
    a.commit(&[new_file("a0")], "a", 1).await.unwrap();
    let mut b = Table::open(&store, &project, TableKind::Events).await.unwrap();
    a.commit(&[new_file("a1")], "a", 2).await.unwrap();
    let snapshot = b.commit(&[new_file("b0")], "b", 1).await.unwrap();
    assert_eq!((snapshot.version, snapshot.files.len()), (Some(2), 3));
    assert_eq!(b.mark("a").await.unwrap(), 2);
}

#[test]
fn a_table_of_an_older_version_gets_the_new_columns() {
    let metadata = schema::new_metadata(TableKind::Events, 0).unwrap();
    assert_eq!(schema::evolve(TableKind::Events, &metadata).unwrap(), None);
    let mut unset = metadata.clone();
    unset["configuration"] = json!({"other": "stays"});
    let set = schema::evolve(TableKind::Events, &unset).unwrap().unwrap();
    assert_eq!(set["configuration"]["other"], "stays");
    assert_eq!(schema::evolve(TableKind::Events, &set).unwrap(), None);
    let mut parsed: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let fields = parsed["fields"].as_array_mut().unwrap();
    fields.retain(|field| field["name"] != "extra");
    fields.push(json!({"name": "from_the_future", "type": "string", "nullable": true, "metadata": {}}));
    let mut old = metadata.clone();
    old["schemaString"] = Value::String(parsed.to_string());
    let evolved = schema::evolve(TableKind::Events, &old).unwrap().unwrap();
    let text = evolved["schemaString"].as_str().unwrap();
    assert!(text.contains("\"extra\"") && text.contains("from_the_future"));
    assert_eq!(evolved["id"], metadata["id"]);
    let mut wrong: Value = serde_json::from_str(text).unwrap();
    wrong["fields"][0]["type"] = json!("long");
    old["schemaString"] = Value::String(wrong.to_string());
    let error = schema::evolve(TableKind::Events, &old).unwrap_err();
    assert!(error.message().contains("event_id"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_table_is_evolved_by_the_next_commit() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = ProjectId::new("p").unwrap();
    let mut metadata = schema::new_metadata(TableKind::Events, 0).unwrap();
    let mut parsed: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    parsed["fields"]
        .as_array_mut()
        .unwrap()
        .retain(|field| field["name"] != "extra");
    metadata["schemaString"] = Value::String(parsed.to_string());
    let entry = format!(
        "{}\n{}",
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": metadata}),
    );
    let root = paths::table(&project, TableKind::Events);
    let name = paths::data_file(&root, "_delta_log/00000000000000000000.json");
    object_store::ObjectStoreExt::put(&store, &name, entry.into())
        .await
        .unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    table.commit(&[new_file("a")], "w", 1).await.unwrap();
    let name = paths::data_file(&root, "_delta_log/00000000000000000001.json");
    let written = object_store::ObjectStoreExt::get(&store, &name)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&written).contains("\\\"extra\\\""));
    table.commit(&[new_file("b")], "w", 2).await.unwrap();
    let reopened = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(reopened.snapshot().files.len(), 2);
}

#[test]
fn names_are_made_and_read_in_one_place() {
    let project = ProjectId::new("gitlab_project_7").unwrap();
    let root = paths::table(&project, TableKind::Events);
    assert_eq!(root.as_ref(), "projects/gitlab_project_7/events");
    let name = paths::new_data_file(TableKind::Events, "2026-01-31");
    assert!(paths::is_sorted(&name));
    assert!(!paths::is_sorted(&paths::new_data_file(
        TableKind::Rejected,
        "2026-01-31"
    )));
    assert_eq!(paths::date_of(&name), Some("2026-01-31"));
    let full = paths::data_file(&root, &name);
    assert_eq!(full.as_ref(), format!("{root}/{name}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_past_is_forgotten_has_all_files_and_marks() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(table.forget_past(&store).await.unwrap(), 0, "a table that is none");
    // The last of these makes a checkpoint by itself.
    for n in 0..100u64 {
        table.commit(&[new_file(&n.to_string())], "w", n + 1).await.unwrap();
    }
    assert!(table.forget_past(&store).await.unwrap() >= 99);
    assert_eq!(table.forget_past(&store).await.unwrap(), 0, "once more is no harm");
    let log = paths::log_folder(&paths::table(&project, TableKind::Events));
    let listed: Vec<_> = futures::TryStreamExt::try_collect(store.list(Some(&log)))
        .await
        .unwrap();
    let root = paths::table(&project, TableKind::Events);
    let versions = |meta: &object_store::ObjectMeta| paths::log_version(&root, &meta.location);
    assert!(
        listed.iter().filter_map(versions).all(|version| version == 99),
        "{listed:?}"
    );
    let snapshot = table.commit(&[new_file("next")], "w", 101).await.unwrap();
    assert_eq!((snapshot.version, snapshot.files.len()), (Some(100), 101));
    let reopened = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(reopened.mark("w").await.unwrap(), 101);
    assert_eq!(reopened.snapshot().files.len(), 101);
    assert!(reopened.at_version(98).await.is_err());
    assert_eq!(reopened.at_version(99).await.unwrap().files.len(), 100);
}

/// What another program may have turned on. No other commit is behind these refusals, and they are told for what they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_table_does_not_allow_is_refused_by_name() {
    let project = ProjectId::new("p").unwrap();
    let root = paths::table(&project, TableKind::Events);
    let name = paths::data_file(&root, "_delta_log/00000000000000000001.json");
    let append_only = {
        let mut metadata = json!(schema::new_metadata(TableKind::Events, 0).unwrap());
        metadata["configuration"]["delta.appendOnly"] = json!("true");
        json!({ "metaData": metadata })
    };
    let future =
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["fromTheFuture"]}});
    for (entry, named) in [(future, "fromTheFuture"), (append_only, "append-only")] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
        table.commit(&[new_file("1")], "w", 1).await.unwrap();
        let by_another_program = object_store::ObjectStoreExt::put(&store, &name, entry.to_string().into());
        by_another_program.await.unwrap();
        let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
        let files = table.snapshot().files.clone();
        let error = match named {
            "append-only" => table.take_out(&files, &[], 1).await,
            _ => table.commit(&[new_file("2")], "w", 2).await,
        }
        .unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Storage, "{error}");
        assert!(error.message().contains(named), "{error}");
        assert!(!error.message().contains("another commit"), "{error}");
        let says_what_to_do = error.message().contains(env!("CARGO_PKG_VERSION"));
        assert_eq!(says_what_to_do, named == "fromTheFuture", "{error}");
        assert_eq!(table.snapshot().files, files);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_newer_protocol_is_refused_by_name() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let metadata = schema::new_metadata(TableKind::Events, 0).unwrap();
    let root = paths::table(&ProjectId::new("p").unwrap(), TableKind::Events);
    let name = paths::data_file(&root, "_delta_log/00000000000000000000.json");
    let newer = [
        json!({"protocol": {"minReaderVersion": 9, "minWriterVersion": 9}}),
        json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["fromTheFuture"], "writerFeatures": ["fromTheFuture"]}}),
    ];
    for (protocol, named) in newer.iter().zip(["9", "fromTheFuture"]) {
        let entry = format!("{protocol}\n{}", json!({"metaData": metadata}));
        object_store::ObjectStoreExt::put(&store, &name, entry.into())
            .await
            .unwrap();
        let error = Table::open(&store, &ProjectId::new("p").unwrap(), TableKind::Events)
            .await
            .unwrap_err();
        for part in [named, env!("CARGO_PKG_VERSION"), root.as_ref()] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }
}
