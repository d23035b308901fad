mod faulty;

use super::*;
use crate::clock::{DAY_MICROS, FixedClock, SECOND_MICROS};
use crate::event::{Column, Event};
use crate::project::ProjectId;
use crate::store::fence::WalPlace;
use crate::wal::record::{self, EncodedEvents};
use faulty::{Faulty, Random};
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use tempfile::TempDir;

const START: i64 = 1_760_000_000 * SECOND_MICROS;

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

/// A writer and its folder.
struct Writer {
    wal: ObjectWal,
    _folder: TempDir,
}

impl Writer {
    /// As a process with an empty disk does it.
    async fn start(store: &Arc<dyn ObjectStore>, clock: &Arc<FixedClock>) -> Result<Self> {
        let (fence, before) = Fence::take(store, "a test", WalPlace::Store, clock.now_micros()).await?;
        for before in &before {
            seal(store, before.epoch, fence.epoch()).await?;
        }
        fence.forget(&before).await;
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            store: Arc::clone(store),
            fence,
            data_dir: folder.path().to_owned(),
            lock: None,
            clock: Arc::<FixedClock>::clone(clock),
            group_interval_ms: 0,
            read_ahead_bytes: 1 << 20,
        };
        let wal = ObjectWal::open(options).await?;
        Ok(Self { wal, _folder: folder })
    }

    async fn put(&self, names: &[&str]) -> Result<Seq> {
        let records: Vec<_> = names.iter().map(|name| a_record(name)).collect();
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        self.wal.put_group(&records, &keys).await
    }

    /// The ids in the log, in order, with the numbers of their records.
    async fn replay(&self) -> Result<Vec<(Seq, String)>> {
        let mut all = Vec::new();
        let mut reading = self.wal.read_found();
        while let Some((place, group)) = self.wal.next_group(&mut reading).await? {
            for (seq, record) in records(place, &group) {
                for event in record.decode()?.events.iter() {
                    all.push((seq, event?.text(Column::EventId).unwrap().to_owned()));
                }
            }
        }
        Ok(all)
    }

    async fn names(&self) -> Vec<String> {
        self.replay().await.unwrap().into_iter().map(|(_, name)| name).collect()
    }
}

fn memory() -> (Arc<InMemory>, Arc<dyn ObjectStore>) {
    let inner = Arc::new(InMemory::new());
    (Arc::clone(&inner), inner)
}

async fn objects(store: &Arc<dyn ObjectStore>, folder: Path) -> Vec<Path> {
    let listed = store.list(Some(&folder)).map_ok(|object| object.location);
    listed.try_collect().await.unwrap()
}

proptest! {
    #[test]
    fn a_group_reads_back_and_damage_is_found_and_named(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        keys in prop::collection::vec(any::<[u8; 16]>(), 0..6),
        place in any::<(u64, u64)>(),
        first in any::<u64>(),
        hour in any::<u32>(),
        flip in any::<prop::sample::Index>(),
        mask in 1u8..,
    ) {
        let keys: Vec<EventKey> = keys.into_iter().map(EventKey::from_bytes).collect();
        let name = paths::wal_object(place.0, place.1);
        let bytes = object::encode_group(place, first, hour, &keys, &records).unwrap();
        prop_assert!(bytes.len() as u64 > object::SEAL_BYTES);
        let Object::Group(group) = object::decode(&name, place, &bytes).unwrap() else { panic!("a seal") };
        prop_assert_eq!((group.first_seq, group.hour, &group.keys), (first, hour, &keys));
        prop_assert_eq!(group.records.iter().map(|record| record.to_vec()).collect::<Vec<_>>(), records);
        for damaged in [flipped(&bytes, flip.index(bytes.len()), mask), bytes.slice(..flip.index(bytes.len()))] {
            let error = object::decode(&name, place, &damaged).unwrap_err();
            prop_assert!(error.message().contains(name.as_ref()), "{}", error);
        }
        let copied = object::decode(&name, (place.0, place.1 ^ 1), &bytes).unwrap_err();
        prop_assert!(copied.message().contains("copy"), "{}", copied);
    }
}

fn flipped(bytes: &Bytes, at: usize, mask: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= mask;
    bytes.into()
}

#[test]
fn a_seal_has_the_length_that_tells_it() {
    let bytes = object::encode_seal((3, 9), 4);
    assert_eq!(bytes.len() as u64, object::SEAL_BYTES);
    let name = paths::wal_object(3, 9);
    assert!(matches!(object::decode(&name, (3, 9), &bytes), Ok(Object::Seal(4))));
}

#[tokio::test]
async fn a_successor_reads_everything_in_order_and_the_predecessor_is_fenced() {
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let first = Writer::start(&store, &clock).await.unwrap();
    let seq = first.put(&["a", "b"]).await.unwrap();
    assert_eq!(first.put(&["c"]).await.unwrap(), seq + 2);
    let second = Writer::start(&store, &clock).await.unwrap();
    let error = first.put(&["d"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("epoch 2"), "{error}");
    let expected = [(seq, "a"), (seq + 1, "b"), (seq + 2, "c")].map(|(seq, name)| (seq, name.to_owned()));
    assert_eq!(second.replay().await.unwrap(), expected);
    assert!(second.wal.contains(&key("c")).unwrap());
    assert!(!second.wal.contains(&key("d")).unwrap());
    assert!(
        second.put(&["e"]).await.unwrap() > seq + 2,
        "numbers grow over all writers"
    );
    let third = Writer::start(&store, &clock).await.unwrap();
    assert_eq!(third.names().await, ["a", "b", "c", "e"]);
    assert_eq!(first.put(&["d"]).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(objects(&store, paths::writers()).await, [paths::writer(3)]);
}

#[tokio::test]
async fn a_writer_without_a_group_is_sealed_too() {
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let first = Writer::start(&store, &clock).await.unwrap();
    let second = Writer::start(&store, &clock).await.unwrap();
    assert_eq!(first.put(&["a"]).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(second.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn dropped_groups_leave_their_ids_and_the_newest_group_stays() {
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let first = Writer::start(&store, &clock).await.unwrap();
    let mut last = 0;
    for name in ["a", "b", "c"] {
        last = first.put(&[name]).await.unwrap();
    }
    first.wal.trim_below(last).await.unwrap();
    assert_eq!(objects(&store, paths::wal()).await, [paths::wal_object(1, 3)]);
    first.wal.trim_below(last + 1).await.unwrap();
    assert_eq!(
        objects(&store, paths::wal()).await,
        [paths::wal_object(1, 3)],
        "it tells a successor the number"
    );
    let second = Writer::start(&store, &clock).await.unwrap();
    assert_eq!(first.put(&["d"]).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(second.names().await, ["c"]);
    for name in ["a", "b", "c"] {
        assert!(second.wal.contains(&key(name)).unwrap(), "{name}");
    }
    second.wal.trim_below(last + 1).await.unwrap();
    assert_eq!(
        objects(&store, paths::wal()).await,
        [paths::wal_object(1, 4)],
        "only the seal is left"
    );
    clock.set(START + 6 * DAY_MICROS);
    let third = Writer::start(&store, &clock).await.unwrap();
    assert!(third.wal.contains(&key("a")).unwrap());
    clock.set(START + 9 * DAY_MICROS);
    assert!(!third.wal.contains(&key("a")).unwrap());
    let seq = third.put(&["x"]).await.unwrap();
    third.put(&["y"]).await.unwrap();
    third.wal.trim_below(seq + 1).await.unwrap();
    assert_eq!(
        objects(&store, paths::event_ids()).await.len(),
        1,
        "forgotten hours are deleted"
    );
}

#[tokio::test]
async fn an_empty_group_lets_the_newest_one_go() {
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let writer = Writer::start(&store, &clock).await.unwrap();
    let seq = writer.put(&["erased"]).await.unwrap();
    writer.wal.trim_below(seq + 1).await.unwrap();
    writer.wal.put_group(&[], &[]).await.unwrap();
    writer.wal.trim_below(seq + 1).await.unwrap();
    assert_eq!(objects(&store, paths::wal()).await, [paths::wal_object(1, 2)]);
    writer.put(&["next"]).await.unwrap();
    let next = Writer::start(&store, &clock).await.unwrap();
    assert_eq!(next.names().await, ["next"]);
}

#[tokio::test]
async fn ids_of_an_hour_are_merged_when_it_is_over() {
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let writer = Writer::start(&store, &clock).await.unwrap();
    let mut names = Vec::new();
    for at in 0..12 {
        let name = format!("n{at}");
        let seq = writer.put(&[&name]).await.unwrap();
        writer.wal.trim_below(seq).await.unwrap();
        names.push(name);
    }
    assert_eq!(objects(&store, paths::event_ids()).await.len(), 11);
    clock.set(START + 3600 * SECOND_MICROS);
    let seq = writer.put(&["next"]).await.unwrap();
    writer.wal.trim_below(seq).await.unwrap();
    assert_eq!(objects(&store, paths::event_ids()).await.len(), 1, "all of them in one");
    let next = Writer::start(&store, &clock).await.unwrap();
    for name in &names {
        assert!(next.wal.contains(&key(name)).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn a_group_that_is_missing_or_damaged_is_named_and_nothing_is_skipped() {
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let writer = Writer::start(&store, &clock).await.unwrap();
    for name in ["a", "b", "c"] {
        writer.put(&[name]).await.unwrap();
    }
    let middle = paths::wal_object(1, 2);
    let bytes = store.get(&middle).await.unwrap().bytes().await.unwrap();
    store.put(&middle, flipped(&bytes, 40, 1).into()).await.unwrap();
    let damaged = Writer::start(&store, &clock).await.unwrap();
    let error = damaged.replay().await.unwrap_err();
    assert!(
        error.message().contains(middle.as_ref()) && error.message().contains("checksum"),
        "{error}"
    );
    store.delete(&middle).await.unwrap();
    let error = Writer::start(&store, &clock).await.err().unwrap();
    assert!(error.message().contains(middle.as_ref()), "{error}");
}

#[tokio::test]
async fn a_seal_in_the_wrong_place_is_moved() {
    // The writer has dropped all but its newest group, and the list that the successor saw is from before.
    let (_, store) = memory();
    let clock = FixedClock::new(START);
    let writer = Writer::start(&store, &clock).await.unwrap();
    let mut seq = 0;
    for name in ["a", "b", "c"] {
        seq = writer.put(&[name]).await.unwrap();
    }
    writer.wal.trim_below(seq).await.unwrap();
    let early = paths::wal_object(1, 1);
    store
        .put(
            &early,
            object::encode_group((1, 1), 1, 0, &[], &[a_record("x")])
                .unwrap()
                .into(),
        )
        .await
        .unwrap();
    store.delete(&early).await.unwrap();
    seal(&store, 1, 2).await.unwrap();
    assert_eq!(writer.put(&["d"]).await.unwrap_err().kind(), ErrorKind::Fenced);
}

/// What a writer has acknowledged so far.
type Acknowledged = Arc<Mutex<Vec<String>>>;

/// Writers that are replaced while they write, each over a bad connection of its own. Every acknowledged group must be in
/// its successor's log exactly once and in order; what was not acknowledged at most once; nobody is fenced without a
/// successor.
async fn takeovers(seed: u64) {
    let (inner, clean) = memory();
    let clock = FixedClock::new(START);
    let mut random = Random::new(seed);
    let mut acknowledged: Vec<String> = Vec::new();
    let mut dropped: Vec<String> = Vec::new();
    let mut running: Vec<(tokio::task::JoinHandle<()>, Acknowledged)> = Vec::new();
    for generation in 0..2 + random.below(3) {
        let store = Faulty::over(&inner, seed ^ (generation << 32), random.below(60));
        let writer = loop {
            // A start over a bad connection may fail as a whole; it is started again, as a supervisor does.
            match Writer::start(&store, &clock).await {
                Ok(writer) => break writer,
                Err(error) => assert_ne!(error.kind(), ErrorKind::Fenced, "seed {seed}: {error}"),
            }
        };
        let replayed = loop {
            let found = writer.wal.found.lock().clone();
            match writer.replay().await {
                Ok(replayed) => break replayed,
                Err(error) => {
                    let is_lasting = ["lacks", "damaged", "follow"]
                        .iter()
                        .any(|word| error.message().contains(word));
                    assert!(!is_lasting, "seed {seed}: {error}");
                    // A real process would start again; the list of what was found is all that replay takes away.
                    *writer.wal.found.lock() = found;
                    let mut state = writer.wal.state.lock();
                    (state.groups, state.unsaved, state.unsaved_keys) = Default::default();
                }
            }
        };
        for (_, acks) in &running {
            acknowledged.append(&mut acks.lock());
        }
        assert!(replayed.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}: numbers grow");
        let names: Vec<&String> = replayed.iter().map(|(_, name)| name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "seed {seed}: twice");
        for name in &acknowledged {
            let is_there = names.contains(&name) || dropped.contains(name);
            assert!(
                is_there,
                "seed {seed}, generation {generation}: {name} was acknowledged and is lost"
            );
            assert!(
                writer.wal.contains(&key(name)).unwrap(),
                "seed {seed}: the id of {name} is not known"
            );
        }
        // Half of the time some of the oldest are dropped, as after a flush.
        if random.below(2) == 0 && !replayed.is_empty() {
            let upto = replayed[random.below(replayed.len() as u64) as usize].0;
            if writer.wal.trim_below(upto).await.is_ok() {
                dropped.extend(
                    replayed
                        .iter()
                        .filter(|(seq, _)| *seq < upto)
                        .map(|(_, name)| name.clone()),
                );
            }
        }
        let acks = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&acks);
        let task = tokio::spawn(async move {
            for at in 0..100 {
                let name = format!("g{generation}-{at}");
                match writer.put(&[&name]).await {
                    Ok(_) => told.lock().push(name),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Fenced, "seed {seed}: {error}");
                        assert!(writer.wal.fence.lost().is_some());
                        return;
                    }
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(random.below(120))).await;
        running.push((task, acks));
    }
    let last = Writer::start(&clean, &clock).await.unwrap();
    for (task, acks) in running {
        // Fenced by the last one, if not before.
        task.await.unwrap();
        acknowledged.append(&mut acks.lock());
    }
    let names = last.names().await;
    for name in acknowledged {
        let times = names.iter().filter(|found| **found == name).count();
        assert!(
            times == 1 || (times == 0 && dropped.contains(&name)),
            "seed {seed}: {name} is there {times} times"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_takeover_loses_or_doubles_an_acknowledged_group_over_bad_connections() {
    let seeds = std::env::var("TALLY_TAKEOVER_SEEDS")
        .ok()
        .map_or(25, |text| text.parse().unwrap());
    // They mostly wait, so many run at once.
    let seeds = futures::stream::iter(0..seeds).map(|seed| async move {
        tokio::spawn(takeovers(seed)).await.unwrap();
    });
    seeds.buffer_unordered(32).for_each(|()| async {}).await;
}

#[tokio::test]
async fn lost_answers_and_empty_conflicts_fence_nobody() {
    for seed in 0..20 {
        let (inner, _) = memory();
        let store = Faulty::over(&inner, seed, 70);
        let clock = FixedClock::new(START);
        let writer = loop {
            if let Ok(writer) = Writer::start(&store, &clock).await {
                break writer;
            }
        };
        for at in 0..20 {
            writer.put(&[&format!("e{at}")]).await.unwrap();
        }
        assert_eq!(writer.wal.fence.lost(), None, "seed {seed}");
    }
}
