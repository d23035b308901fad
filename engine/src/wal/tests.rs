use super::record::{self, EncodedEvents};
use super::*;
use crate::clock::{Clock, FixedClock, SECOND_MICROS};
use crate::event::{Column, Event, Kind, RejectReason, Rejected, Value};
use crate::limits;
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

fn project(id: &str) -> ProjectId {
    ProjectId::new(id).unwrap()
}

fn any_value(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Text => any::<String>().prop_map(Value::Text).boxed(),
        Kind::Int32 => any::<i32>().prop_map(|n| Value::Int(n.into())).boxed(),
        Kind::Int64 => any::<i64>().prop_map(Value::Int).boxed(),
        Kind::Float64 => (-1e300..1e300).prop_map(Value::Float).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Timestamp => any::<i64>().prop_map(Value::Timestamp).boxed(),
        Kind::Decimal => any::<i64>().prop_map(|n| Value::Decimal(n.into())).boxed(),
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let column = (0..Column::ALL.len()).prop_map(|at| Column::ALL[at]);
    let entry = column.prop_flat_map(|column| any_value(column.kind()).prop_map(move |value| (column, value)));
    prop::collection::vec(entry, 0..20).prop_map(|entries| {
        let mut event = Event::default();
        entries.into_iter().for_each(|(column, value)| event.set(column, value));
        event
    })
}

fn any_rejected() -> impl Strategy<Value = Rejected> {
    let reason = (0..RejectReason::ALL.len()).prop_map(|at| RejectReason::ALL[at]);
    let raw = prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
    (any::<i64>(), any::<String>(), reason, any::<String>(), raw).prop_map(
        |(received_at, protocol, reason, detail, raw)| Rejected {
            received_at,
            protocol,
            reason,
            detail,
            raw,
        },
    )
}

proptest! {
    #[test]
    fn a_record_reads_back_as_written(
        events in prop::collection::vec(any_event(), 0..8),
        rejected in prop::collection::vec(any_rejected(), 0..4),
        keep in prop::collection::vec(any::<bool>(), 8),
    ) {
        let kept: Vec<usize> = (0..events.len()).filter(|at| keep[*at]).collect();
        let encoded = EncodedEvents::new(&events).kept(&kept);
        let bytes = record::encode(&project("p"), &encoded, &rejected);
        let read = record::decode(bytes).unwrap();
        prop_assert_eq!(read.project, project("p"));
        prop_assert_eq!(&read.events, &encoded);
        let events: Vec<Event> = kept.iter().map(|at| events[*at].clone()).collect();
        let decoded: Vec<Event> = read.events.iter().collect::<crate::Result<_>>().unwrap();
        prop_assert_eq!(&decoded, &events);
        let mut values = vec![Event::default(); events.len()];
        read.events.for_each_value(|at, column, value| {
            values[at].set(column, value);
            Ok(())
        }).unwrap();
        prop_assert_eq!(values, events);
        prop_assert_eq!(read.rejected, rejected);
    }

    #[test]
    fn a_damaged_record_is_an_error_and_never_a_panic(
        events in prop::collection::vec(any_event(), 0..4),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        mask in 1u8..,
    ) {
        let mut bytes = record::encode(&project("p"), &EncodedEvents::new(&events), &[]);
        let cut = cut.index(bytes.len());
        prop_assert!(record::decode(bytes[..cut].to_vec()).is_err());
        let flip = flip.index(bytes.len());
        bytes[flip] ^= mask;
        let _ = record::decode(bytes);
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let with_version = [&[1u8][..], &bytes].concat();
        let _ = record::decode(bytes);
        let _ = record::decode(with_version);
    }
}

#[test]
fn a_newer_version_is_refused_with_a_remedy() {
    let error = record::decode(vec![2, 0]).unwrap_err();
    assert!(error.message().contains("version 2"), "{error}");
}

fn a_record(name: &str) -> Vec<u8> {
    let mut event = Event::default();
    event.set(Column::EventId, name);
    record::encode(&project("p"), &EncodedEvents::new(&[event]), &[])
}

fn names(wal: &LocalWal) -> Vec<(Seq, String)> {
    let mut all = Vec::new();
    wal.replay(&mut |seq, record| {
        all.extend(
            record
                .events
                .iter()
                .map(|event| (seq, event.unwrap().text(Column::EventId).unwrap().to_owned())),
        );
        Ok(())
    })
    .unwrap();
    all
}

fn key(name: &str) -> EventKey {
    EventKey::new(&project("p"), name)
}

fn open(folder: &std::path::Path, clock: &Arc<FixedClock>) -> LocalWal {
    LocalWal::open(folder, Arc::clone(clock) as Arc<dyn Clock>).unwrap()
}

#[test]
fn records_and_keys_survive_a_restart_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FixedClock::new(1_700_000_000 * SECOND_MICROS);
    let wal = open(folder.path(), &clock);
    let writer = wal.writer_id().to_owned();
    assert_eq!(
        wal.write(vec![a_record("a"), a_record("b")], &[key("a"), key("b")])
            .unwrap(),
        1
    );
    assert_eq!(wal.write(vec![a_record("c")], &[key("c")]).unwrap(), 3);
    drop(wal);
    let wal = open(folder.path(), &clock);
    assert_eq!(wal.writer_id(), writer);
    let expected = [(1, "a"), (2, "b"), (3, "c")].map(|(seq, name)| (seq, name.to_owned()));
    assert_eq!(names(&wal), expected);
    assert!(wal.contains(&key("a")).unwrap());
    assert!(!wal.contains(&key("d")).unwrap());
    assert!(!wal.contains(&EventKey::new(&project("q"), "a")).unwrap());
}

#[test]
fn trimming_drops_whole_segments_and_never_reuses_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FixedClock::new(1_700_000_000 * SECOND_MICROS);
    let wal = open(folder.path(), &clock);
    wal.write(vec![a_record("a"), a_record("b")], &[]).unwrap();
    wal.rotate(0).unwrap();
    wal.write(vec![a_record("c")], &[]).unwrap();
    wal.trim(2).unwrap();
    drop(wal);
    let wal = open(folder.path(), &clock);
    assert_eq!(
        names(&wal).len(),
        3,
        "number 2 is still needed, and with it its segment"
    );
    wal.trim(3).unwrap();
    assert_eq!(names(&wal), [(3, "c".to_owned())]);
    wal.trim(4).unwrap();
    assert_eq!(names(&wal), []);
    drop(wal);
    let wal = open(folder.path(), &clock);
    assert_eq!(wal.write(vec![a_record("d")], &[]).unwrap(), 4);
}

#[test]
fn rotating_an_empty_segment_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let wal = open(folder.path(), &FixedClock::new(0));
    for _ in 0..3 {
        wal.rotate(0).unwrap();
    }
    wal.write(vec![a_record("a")], &[]).unwrap();
    wal.rotate(1000).unwrap();
    assert_eq!(names(&wal), [], "the segment in use is too small to be sealed");
    wal.rotate(0).unwrap();
    wal.rotate(0).unwrap();
    assert_eq!(names(&wal), [(1, "a".to_owned())]);
}

#[test]
fn an_id_is_forgotten_after_the_dedup_days() {
    let folder = tempfile::tempdir().unwrap();
    let start = 1_700_000_000 * SECOND_MICROS;
    let clock = FixedClock::new(start);
    let wal = open(folder.path(), &clock);
    wal.write(vec![a_record("a")], &[key("a")]).unwrap();
    let days = i64::from(limits::DEDUP_DAYS) * crate::clock::DAY_MICROS;
    clock.set(start + days - 3600 * SECOND_MICROS);
    assert!(wal.contains(&key("a")).unwrap());
    clock.set(start + days + 2 * 3600 * SECOND_MICROS);
    assert!(!wal.contains(&key("a")).unwrap());
}

#[test]
fn a_second_process_is_refused_and_told_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FixedClock::new(0);
    let first = open(folder.path(), &clock);
    let rival = Arc::<FixedClock>::clone(&clock);
    let second = LocalWal::open(folder.path(), rival).unwrap_err();
    assert_eq!(second.kind(), crate::ErrorKind::Fenced);
    assert!(second.message().contains("lock"), "{second}");
    drop(first);
    open(folder.path(), &clock);
}

#[test]
fn a_torn_group_at_the_end_is_left_out_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FixedClock::new(0);
    let wal = open(folder.path(), &clock);
    wal.write(vec![a_record("a")], &[key("a")]).unwrap();
    wal.write(vec![a_record("b"), a_record("c")], &[key("b"), key("c")])
        .unwrap();
    drop(wal);
    let journal = std::fs::read_dir(folder.path().join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .unwrap();
    // The last group's bytes up to its end marker are cut short, as a power cut may leave them.
    let bytes = std::fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(&journal, &bytes[..end - 10]).unwrap();
    let wal = open(folder.path(), &clock);
    assert_eq!(names(&wal), [(1, "a".to_owned())]);
    assert!(wal.contains(&key("a")).unwrap());
    assert!(!wal.contains(&key("b")).unwrap(), "an id must not outlive its event");
    assert!(!wal.contains(&key("c")).unwrap());
    assert_eq!(wal.write(vec![a_record("b")], &[key("b")]).unwrap(), 2);
}
