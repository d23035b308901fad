use super::*;
use crate::event::{Event, Value, batch};
use proptest::prelude::*;

/// An event with what every row must have, and now and then more.
fn event(n: usize, (visitor, ts, more): (u8, i64, u8)) -> Event {
    let mut event = Event::default();
    if more & 1 != 0 {
        event.set(Column::PagePath, format!("/{more}"));
    }
    event.set(Column::EventType, "page");
    event.set(Column::EventId, format!("{}-{n}", more % 5));
    event.set_ts(Column::ReceivedAt, ts);
    event.set(Column::Protocol, "native");
    event.set_ts(Column::Ts, ts);
    event.set(Column::VisitorId, format!("visitor-{visitor}"));
    if more & 2 != 0 {
        event.set(Column::ViewportW, Value::Int(more.into()));
    }
    event
}

fn encoded(events: &[Event]) -> Arc<EncodedEvents> {
    Arc::new(EncodedEvents::new(events))
}

/// Each day with its rows.
fn days(sorted: &Sorted) -> Vec<(i64, Vec<RecordBatch>)> {
    let rows = |day: &Day| {
        let chunks = sorted.places(day).unwrap().chunks(7);
        chunks.map(|chunk| sorted.batch(chunk).unwrap().unwrap()).collect()
    };
    sorted.days().iter().map(|day| (day.number, rows(day))).collect()
}

proptest! {
    #[test]
    fn encoded_events_make_the_files_of_the_same_rows_in_arrow(
        records in prop::collection::vec(prop::collection::vec((0u8..4, -200_000_000_000..200_000_000_000_i64, any::<u8>()), 0..9), 0..6),
    ) {
        let mut n = 0;
        let records: Vec<Vec<Event>> = records.into_iter().map(|record| {
            record.into_iter().map(|row| { n += 1; event(n, row) }).collect()
        }).collect();
        let from_records = Unsorted::Encoded(records.iter().map(|record| encoded(record)).collect());
        let batches: Vec<RecordBatch> = records.iter().map(|record| batch::from_events(record.iter()).unwrap()).collect();
        let from_batches = Unsorted::Batches(batches);
        prop_assert_eq!(from_records.is_empty(), n == 0);
        prop_assert_eq!(from_batches.is_empty(), n == 0);
        let sorted = [from_records, from_batches].map(|rows| Sorted::new(TableKind::Events, rows).unwrap());
        prop_assert_eq!(days(&sorted[0]), days(&sorted[1]));
        if n > 0 {
            prop_assert_eq!(sorted[0].schema(), sorted[1].schema());
        }
    }
}

#[test]
fn a_batch_has_no_more_text_than_it_can_hold() {
    let wide = |n: usize| {
        let mut event = event(n, (0, 0, 0));
        event.set(Column::PageUrl, "x".repeat(limits::BUFFER_BATCH_BYTES_MAX / 2 + 1));
        event
    };
    let sorted = Sorted::new(TableKind::Events, Unsorted::Encoded(vec![encoded(&[wide(1), wide(2)])])).unwrap();
    let places = sorted.places(&sorted.days()[0]).unwrap();
    assert!(sorted.batch(places).unwrap().is_none());
    for place in places {
        assert_eq!(sorted.batch(&[*place]).unwrap().unwrap().num_rows(), 1);
    }
}
