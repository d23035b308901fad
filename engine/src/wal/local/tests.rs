use super::*;
use crate::clock::{FixedClock, SECOND_MICROS};
use crate::event::{Column, Event};
use crate::project::ProjectId;
use crate::wal::record::{self, EncodedEvents};
use std::os::unix::fs::MetadataExt;

fn project() -> ProjectId {
    ProjectId::new("p").unwrap()
}

fn a_record(name: &str) -> Vec<u8> {
    let mut event = Event::default();
    event.set(Column::EventId, name);
    record::encode(&project(), &EncodedEvents::new(&[event]), &[])
}

fn key(name: &str) -> EventKey {
    EventKey::new(&project(), name)
}

fn open(folder: &Path) -> LocalWal {
    LocalWal::open(folder, FixedClock::new(1_700_000_000 * SECOND_MICROS)).unwrap()
}

fn write(wal: &LocalWal, name: &str) -> Result<Seq> {
    wal.write(vec![a_record(name)], &[key(name)])
}

/// Puts something that is in memory into files.
fn settle(wal: &LocalWal, what: fn(&Database)) {
    let settle = |database: &Database| {
        what(database);
        Ok(())
    };
    wal.with_database("settling", settle).unwrap();
}

fn names(wal: &LocalWal) -> Vec<(Seq, String)> {
    let mut all = Vec::new();
    wal.replay(&mut |seq, record| {
        let names = record
            .events
            .iter()
            .map(|event| event.unwrap().text(Column::EventId).unwrap().to_owned());
        all.extend(names.map(|name| (seq, name)));
        Ok(())
    })
    .unwrap();
    all
}

fn named(pairs: &[(Seq, &str)]) -> Vec<(Seq, String)> {
    pairs.iter().map(|(seq, name)| (*seq, (*name).to_owned())).collect()
}

/// What a failed sync leaves: the group is in the journal and can be read, and nobody was told.
fn write_unacknowledged(wal: &LocalWal, name: &str) {
    let group = Group {
        first: *wal.last_seq.lock() + 1,
        records: vec![a_record(name).into()],
        keys: vec![key(name)],
        bytes: 1,
    };
    wal.try_write(&group).unwrap();
}

fn journal_inodes(folder: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(folder.join(STORE))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let journals = entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.map(|path| path.metadata().unwrap().ino()).collect()
}

#[test]
fn after_a_failure_the_log_goes_on_in_new_files_without_what_was_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    write(&wal, "a").unwrap();
    wal.rotate(0).unwrap();
    write(&wal, "b").unwrap();
    write_unacknowledged(&wal, "lost");
    assert!(wal.contains(&key("lost")).unwrap());
    let before = journal_inodes(folder.path());
    wal.fail(&Error::storage("fsync: input/output error"));
    assert!(folder.path().join(SUSPECT).exists());
    assert_eq!(wal.metrics.wal_failing.get(), 1);

    assert_eq!(write(&wal, "c").unwrap(), 3, "the lost group's number is given again");
    assert!(
        !wal.contains(&key("lost")).unwrap(),
        "or its retry would be taken for a duplicate"
    );
    assert!(wal.contains(&key("a")).unwrap() && wal.contains(&key("b")).unwrap());
    assert!(
        journal_inodes(folder.path())
            .iter()
            .all(|inode| !before.contains(inode))
    );
    assert!(!folder.path().join(SUSPECT).exists());
    let metrics = [
        &wal.metrics.wal_failures,
        &wal.metrics.wal_failing,
        &wal.metrics.wal_heals,
    ];
    assert_eq!(metrics.map(crate::metrics::Metric::get), [1, 0, 1]);
    assert_eq!(write(&wal, "lost").unwrap(), 4);
    wal.trim(2).unwrap();
    let writer = wal.writer_id().to_owned();
    drop(wal);
    let wal = open(folder.path());
    assert_eq!(names(&wal), named(&[(2, "b"), (3, "c"), (4, "lost")]));
    assert_eq!(wal.writer_id(), writer);
}

#[test]
fn while_it_cannot_be_healed_the_log_refuses_and_then_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    write(&wal, "a").unwrap();
    wal.fail(&Error::storage("no space left"));
    // The journal's copy cannot be made where a folder has its name.
    let journal = journal_path(folder.path());
    let obstacle = journal.with_extension("new");
    std::fs::create_dir(&obstacle).unwrap();
    for _ in 0..3 {
        let error = write(&wal, "b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
        assert!(error.message().contains("send it again"), "{error}");
        let error = wal.contains(&key("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
        // The flusher's visits do no harm.
        wal.rotate(0).unwrap();
        wal.trim(1).unwrap();
    }
    std::fs::remove_dir(&obstacle).unwrap();
    let started = Instant::now();
    while write(&wal, "b").is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "it takes events again within 5 seconds"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(wal);
    assert_eq!(names(&open(folder.path())), named(&[(1, "a"), (2, "b")]));
}

fn journal_path(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder.join(STORE))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .unwrap()
}

#[test]
fn a_process_that_ends_before_it_has_healed_leaves_word_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    write(&wal, "a").unwrap();
    wal.fail(&Error::storage("fsync: input/output error"));
    drop(wal);
    let before = journal_inodes(folder.path());
    let wal = open(folder.path());
    assert_eq!(names(&wal), named(&[(1, "a")]));
    assert!(
        journal_inodes(folder.path())
            .iter()
            .all(|inode| !before.contains(inode))
    );
    assert!(!folder.path().join(SUSPECT).exists());
}

#[test]
fn a_first_start_that_was_interrupted_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    // What a kill between the store's first steps leaves: a journal without the version marker that is written last.
    let half_made = folder.path().join("wal.new");
    std::fs::create_dir(&half_made).unwrap();
    std::fs::write(half_made.join("0.jnl"), [0; 100]).unwrap();
    let wal = open(folder.path());
    assert_eq!(write(&wal, "a").unwrap(), 1);
    assert!(!half_made.exists());
}

#[test]
fn a_panic_in_the_store_is_a_failure_that_heals() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    write(&wal, "a").unwrap();
    let error = wal.with_database::<()>("a test", |_| panic!("on purpose")).unwrap_err();
    assert!(
        error.message().contains("a test ended with a panic: on purpose"),
        "{error}"
    );
    wal.fail(&error);
    assert_eq!(write(&wal, "b").unwrap(), 2);
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[test]
fn a_log_of_many_segments_is_opened_anew_and_loses_nothing() {
    let usual = WornAt::default();
    let many = WornAt {
        segments_max: 6,
        ..usual
    };
    let old = WornAt {
        segments: 6,
        age: Duration::ZERO,
        ..usual
    };
    for worn_at in [many, old] {
        opened_anew_when(worn_at);
    }
}

fn opened_anew_when(worn_at: WornAt) {
    let folder = tempfile::tempdir().unwrap();
    let mut wal = open(folder.path());
    wal.worn_at = worn_at;
    let mut files_max = 0;
    for n in 0..60_u64 {
        let name = format!("e{n}");
        let seq = write(&wal, &name).unwrap();
        wal.rotate(0).unwrap();
        // The last two stay, so that the log is opened anew with records in it.
        wal.trim(seq.saturating_sub(1)).unwrap();
        let last_two = (n.saturating_sub(1)..=n).map(|n| (n + 1, format!("e{n}")));
        assert_eq!(names(&wal), last_two.collect::<Vec<_>>());
        assert!(wal.contains(&key("e0")).unwrap() && !wal.contains(&key("another")).unwrap());
        files_max = files_max.max(files_below(folder.path()));
    }
    assert_eq!((wal.metrics.wal_failures.get(), *wal.last_seq.lock()), (0, 60));
    assert!(files_max < 100, "{files_max} files");
    drop(wal);
    assert_eq!(names(&open(folder.path())), named(&[(59, "e58"), (60, "e59")]));
}

/// 8 MiB that do not compress, so that they take the room they are meant to.
fn noise() -> Vec<u8> {
    let mut noise = vec![0; 8 * 1024 * 1024];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

#[test]
fn a_worn_log_is_opened_anew_when_there_is_little_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut wal = open(folder.path());
    wal.worn_at = WornAt {
        segments_max: 12,
        ..WornAt::default()
    };
    let opened = |wal: &LocalWal| wal.with_database("looking", |database| Ok(database.opened)).unwrap();
    let first = opened(&wal);
    let noise = noise();
    let mut last = 0;
    for n in 0..12_u64 {
        last = wal.write(vec![noise.clone()], &[key(&format!("e{n}"))]).unwrap();
        wal.rotate(0).unwrap();
        wal.trim(last + 1).unwrap();
    }
    assert_eq!(opened(&wal), first, "the journal has 96 MiB");
    // All records are dropped. But the store keeps the journal for the ids, until these are in a file of their own.
    let deadline = Instant::now() + Duration::from_secs(30);
    while opened(&wal) == first {
        assert!(Instant::now() < deadline, "it was not opened anew");
        wal.trim(last + 1).unwrap();
        std::thread::yield_now();
    }
    let bytes = journal::written_bytes(&folder.path().join(STORE)).unwrap();
    assert!(bytes <= limits::WAL_RENEW_JOURNAL_BYTES_MAX, "{bytes} bytes");
    assert!((0..12).all(|n| wal.contains(&key(&format!("e{n}"))).unwrap()));
    assert_eq!(wal.metrics.wal_failures.get(), 0);
}

/// The store keeps a handle of a dropped segment until it deletes the journals, which may be ten minutes later.
#[test]
fn the_records_of_a_dropped_segment_leave_memory_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    let seq = write(&wal, "a").unwrap();
    wal.rotate(0).unwrap();
    let sealed = wal.with_database("looking", |database| Ok(database.sealed())).unwrap();
    let records = || {
        sealed
            .iter()
            .map(|keyspace| keyspace.iter().count())
            .collect::<Vec<_>>()
    };
    wal.trim(seq).unwrap();
    assert_eq!(records(), [1]);
    wal.trim(seq + 1).unwrap();
    assert_eq!(records(), [0]);
}

/// Files below `folder` that this process has open.
#[cfg(target_os = "linux")]
fn open_below(folder: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(folder)).count()
}

#[cfg(target_os = "linux")]
#[test]
fn dropped_segments_leave_few_files_open() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    for n in 0..2 * limits::WAL_OPEN_FILES_MAX {
        let seq = write(&wal, &format!("e{n}")).unwrap();
        settle(&wal, Database::settle);
        wal.rotate(0).unwrap();
        assert_eq!(names(&wal).len(), 1);
        wal.trim(seq + 1).unwrap();
    }
    let open = open_below(folder.path());
    assert!(open < limits::WAL_OPEN_FILES_MAX + 20, "{open} files");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &copy),
            false => drop(std::fs::copy(&path, &copy).unwrap()),
        }
    }
}

const THINNED_IDS: u64 = 120;

/// Everything a store can be asked for.
#[derive(Debug, PartialEq)]
struct Content {
    last_seq: Seq,
    records: Vec<(Seq, Vec<u8>)>,
    hours: Vec<Option<Vec<u8>>>,
}

fn content(store: &Path) -> Content {
    let clock: Arc<dyn Clock> = FixedClock::new(1_700_000_000 * SECOND_MICROS);
    let database = Database::open(store, &clock).unwrap();
    let mut records = Vec::new();
    database
        .replay(&mut |seq, record| {
            records.push((seq, record.to_vec()));
            Ok(())
        })
        .unwrap();
    let hour = |n| database.hour(&key(&format!("e{n}"))).unwrap();
    Content {
        last_seq: database.last_seq().unwrap(),
        records,
        hours: (0..THINNED_IDS).map(|n| hour(n).map(|hour| hour.to_vec())).collect(),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    /// The store itself is the oracle: with its journals thinned it holds what it holds with the whole of them.
    #[test]
    fn a_store_with_thinned_journals_is_the_same(steps in proptest::collection::vec((0_u8..8, 1_u64..6), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut wal = open(folder.path());
        let (mut next, mut last) = (0, 0);
        for (step, size) in steps {
            match step {
                // Ids come again, so that a later entry stands over an earlier one.
                0..3 => {
                    let names: Vec<_> = (next..next + size).map(|n| format!("e{}", n % THINNED_IDS)).collect();
                    next += size * 2 - 1;
                    let records: Vec<_> = names.iter().map(|name| a_record(name)).collect();
                    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
                    last = wal.write(records, &keys).unwrap() + size - 1;
                }
                3 => wal.rotate(0).unwrap(),
                4 => wal.trim(last.saturating_sub(size * 2)).unwrap(),
                5 => settle(&wal, Database::settle),
                6 => settle(&wal, Database::settle_index),
                _ => {
                    drop(wal);
                    wal = open(folder.path());
                }
            }
        }
        drop(wal);
        let store = folder.path().join(STORE);
        let whole = tempfile::tempdir().unwrap();
        copy_folder(&store, &whole.path().join("whole"));
        let mut thinned = 0;
        for _ in 0..2 {
            journal::settle(&store, &journal::Persisted::look(&store).unwrap().eager()).unwrap();
            thinned = journal::written_bytes(&store).unwrap();
        }
        proptest::prop_assert!(thinned <= journal::written_bytes(&whole.path().join("whole")).unwrap());
        proptest::prop_assert_eq!(content(&store), content(&whole.path().join("whole")));
        // And it goes on.
        let wal = open(folder.path());
        let seq = write(&wal, "one more").unwrap();
        proptest::prop_assert_eq!(seq, last + 1);
        drop(wal);
        let names = names(&open(folder.path()));
        proptest::prop_assert_eq!(names.last(), Some(&(last + 1, "one more".to_owned())));
    }
}

/// Kills leave a journal that goes on from life to life; a start must not read the whole of it again each time.
#[test]
fn ids_that_are_in_files_leave_the_journal_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    for n in 0..20_u64 {
        let keys: Vec<_> = (0..1_000).map(|id| key(&format!("e{n}-{id}"))).collect();
        wal.write(vec![a_record(&format!("e{n}"))], &keys).unwrap();
    }
    settle(&wal, Database::settle_index);
    drop(wal);
    let journal = || std::fs::metadata(journal_path(folder.path())).unwrap().len();
    let before = journal();
    let wal = open(folder.path());
    assert_eq!(names(&wal).len(), 20);
    assert!(wal.contains(&key("e7-700")).unwrap());
    assert!(journal() * 20 < before, "{} of {before} bytes", journal());
}

/// The store begins another journal after 64 MB, and deletes the first one only when it next writes something to a file.
#[test]
fn full_journals_of_dropped_records_are_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    let noise = noise();
    for n in 0..10_u64 {
        let seq = wal.write(vec![noise.clone()], &[key(&format!("e{n}"))]).unwrap();
        wal.rotate(0).unwrap();
        if n == 8 {
            settle(&wal, Database::settle_index);
        }
        wal.trim(seq + 1).unwrap();
    }
    assert_eq!(write(&wal, "kept").unwrap(), 11);
    drop(wal);
    let store = folder.path().join(STORE);
    let wal = open(folder.path());
    let bytes = journal::written_bytes(&store).unwrap();
    assert!(bytes < 1024 * 1024, "{bytes} bytes");
    assert_eq!(names(&wal), named(&[(11, "kept")]));
    assert!((0..10).all(|n| wal.contains(&key(&format!("e{n}"))).unwrap()));
    assert_eq!(write(&wal, "another").unwrap(), 12);
    drop(wal);
    let wal = open(folder.path());
    assert_eq!(names(&wal), named(&[(11, "kept"), (12, "another")]));
    assert!((0..10).all(|n| wal.contains(&key(&format!("e{n}"))).unwrap()));
}

/// What a power cut leaves of a keyspace that was being dropped: the store has forgotten it, and of its files any may be gone.
#[test]
fn what_is_left_of_a_dropped_segment_does_not_stop_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path());
    write(&wal, "a").unwrap();
    drop(wal);
    let keyspaces = folder.path().join(STORE).join(database::KEYSPACES);
    for (left, content) in [("77", vec![1; 25]), ("78", Vec::new())] {
        std::fs::create_dir_all(keyspaces.join(left)).unwrap();
        std::fs::write(keyspaces.join(left).join(database::POINTER), content).unwrap();
    }
    let wal = open(folder.path());
    assert_eq!(names(&wal), named(&[(1, "a")]));
    assert!(!keyspaces.join("77").exists() && !keyspaces.join("78").exists());
}
