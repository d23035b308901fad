use super::seal::{self, LogFile, Seal};
use crate::project::ProjectId;
use crate::store::{NewFile, Table, TableKind, checksum, paths};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn new_file(n: u64) -> NewFile {
    NewFile {
        log_path: format!("date=2026-01-01/{n}.vte.parquet"),
        size_bytes: 10,
        rows: 5,
        date: "2026-01-01".to_owned(),
        modified_millis: 1_700_000_000_000,
        stats: BTreeMap::new(),
        checksums: checksum::Summer::default().finish().0,
    }
}

async fn committed(commits: u64) -> (Arc<dyn ObjectStore>, ProjectId) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    for n in 0..commits {
        table.commit(&[new_file(n)], "w", n + 1).await.unwrap();
    }
    (store, project)
}

async fn log_files(store: &Arc<dyn ObjectStore>, project: &ProjectId) -> Vec<Path> {
    let root = paths::table(project, TableKind::Events);
    let listed: Vec<_> = store.list(Some(&root)).try_collect().await.unwrap();
    listed.into_iter().map(|object| object.location).collect()
}

async fn bytes_of(store: &Arc<dyn ObjectStore>, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_sealed_and_names_the_one_before() {
    let (store, project) = committed(3).await;
    let root = paths::table(&project, TableKind::Events);
    let mut before = None;
    for version in 0..3 {
        let path = paths::data_file(&root, &format!("_delta_log/{version:020}.json"));
        let bytes = bytes_of(&store, &path).await;
        assert_eq!(
            seal::check(&path, &bytes).unwrap(),
            Seal::Right { previous: before },
            "{version}"
        );
        before = Some(blake3::hash(&bytes));
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<serde_json::Value>(line).unwrap();
        }
    }
    // A writer that did not write the entry before reads it.
    let mut other = Table::open(&store, &project, TableKind::Events).await.unwrap();
    other.commit(&[new_file(3)], "o", 1).await.unwrap();
    let path = paths::data_file(&root, "_delta_log/00000000000000000003.json");
    let bytes = bytes_of(&store, &path).await;
    assert_eq!(seal::check(&path, &bytes).unwrap(), Seal::Right { previous: before });
}

/// Every byte of every file of the log: an entry or a checkpoint that is damaged stops the reading and is named, the
/// pointer is done without.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_found_wherever_it_is() {
    let (store, project) = committed(102).await;
    let files = log_files(&store, &project).await;
    let kinds: Vec<_> = files.iter().filter_map(LogFile::of).collect();
    assert_eq!(kinds.len(), files.len());
    let checkpoints = kinds.iter().filter(|kind| matches!(kind, LogFile::Checkpoint(_)));
    let newest = checkpoints.count();
    assert_eq!(newest, 1, "{kinds:?}");
    let sidecars = kinds.iter().filter(|kind| matches!(kind, LogFile::Sidecar(_)));
    assert_eq!(sidecars.count(), 1);
    for (path, kind) in files.iter().zip(&kinds) {
        let right = bytes_of(&store, path).await;
        // One of those that a checkpoint covers stands for all.
        if matches!(kind, LogFile::Entry(version) if *version > 0 && *version < 100) {
            continue;
        }
        // Entries before the checkpoint are read by nobody but the check.
        let is_read = match kind {
            LogFile::Entry(version) => *version > 100,
            _ => true,
        };
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1 << (at % 8);
            let is_hash = matches!(kind, LogFile::Checkpoint(_) | LogFile::Sidecar(_));
            if !is_hash {
                let error = seal::check(path, &wrong).unwrap_err();
                assert!(error.message().contains(path.as_ref()), "{error}");
            }
            // Opening is dear, so some positions must do.
            if !is_read || at % 1499 != 0 {
                continue;
            }
            store.put(path, wrong.into()).await.unwrap();
            let opened = Table::open(&store, &project, TableKind::Events).await;
            match kind {
                LogFile::Pointer => assert_eq!(opened.unwrap().snapshot().files.len(), 102),
                _ if is_hash => {
                    let error = opened.err().map(|error| error.message().to_owned()).unwrap_or_default();
                    assert!(error.contains("checkpoint.parquet"), "{at} of {path}: {error}");
                }
                _ => {
                    let error = opened.unwrap_err();
                    assert!(error.message().contains(path.as_ref()), "{at}: {error}");
                }
            }
        }
        store.put(path, right.into()).await.unwrap();
    }
    let table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(table.snapshot().files.len(), 102);
    assert!(
        table.snapshot().files.iter().all(|file| file.checksums.is_some()),
        "tags survive checkpoints"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_goes_with_its_hash() {
    let (store, project) = committed(102).await;
    let root = paths::table(&project, TableKind::Events);
    let log = super::TableLogStore::open(&store, &root).unwrap();
    let name = Path::from("_delta_log/00000000000000000099.checkpoint.parquet");
    log.object_store(None).delete(&name).await.unwrap();
    let files = log_files(&store, &project).await;
    let left = files.iter().filter(|path| path.as_ref().contains("checkpoint.parquet"));
    assert_eq!(left.count(), 0, "{files:?}");
    assert!(log.object_store(None).head(&name).await.is_err());
}

proptest! {
    /// Sealing keeps JSON, and another program's file is told from a damaged one of ours.
    #[test]
    fn seals_hold(text in "[a-z\"\\\\{}]{0,40}", has_previous in any::<bool>()) {
        let path = Path::from("t/_delta_log/00000000000000000000.json");
        let info = serde_json::json!({"commitInfo": {"note": text, seal::MARK: "x"}});
        let entry = format!("{info}\n{}", serde_json::json!({"add": {"path": text}}));
        let previous = has_previous.then(|| blake3::hash(b"before"));
        let sealed = seal::seal_entry(entry.as_bytes(), previous);
        prop_assert_eq!(seal::check(&path, &sealed).unwrap(), Seal::Right { previous });
        let first = sealed.split(|byte| *byte == b'\n').next().unwrap();
        let read: serde_json::Value = serde_json::from_slice(first).unwrap();
        prop_assert_eq!(&read["commitInfo"]["note"], &info["commitInfo"]["note"]);
        let foreign = serde_json::json!({"commitInfo": {"note": text}}).to_string();
        prop_assert_eq!(seal::check(&path, foreign.as_bytes()).unwrap(), Seal::Absent);
        prop_assert!(seal::check(&path, entry.as_bytes()).is_err());
        // One bit apart is a letter's capital, also in the hash.
        for at in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[at] ^= 0x20;
            prop_assert!(seal::check(&path, &wrong).is_err(), "byte {at}");
        }
    }
}
