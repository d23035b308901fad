use super::*;
use crate::query::resolve::natural;
use chrono_tz::{America, Asia, Australia, Europe, UTC};

fn oracle(at: i64, granularity: &Granularity, zone: Tz) -> i64 {
    let local = DateTime::from_timestamp_micros(at)
        .unwrap()
        .with_timezone(&zone)
        .naive_local();
    granularity.bucket(local).unwrap().and_utc().timestamp_micros()
}

fn micros(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

fn granularities() -> Vec<Granularity> {
    let own = |interval: &str, origin: Option<&str>, offset: Option<&str>| {
        Granularity::new("own", None, interval, origin, offset).unwrap()
    };
    let mut all: Vec<Granularity> = crate::model::TimeUnit::ALL
        .iter()
        .map(|unit| natural(*unit).unwrap())
        .collect();
    all.extend([
        own("15 minutes", None, None),
        own("6 months", None, None),
        own("1 week", None, Some("-1 day")),
        own("1 year", None, Some("1 month")),
        own("10 days", Some("2024-01-03"), None),
        own("36 hours", Some("2024-01-03 05:00"), None),
        own("5 months", Some("2023-11-30"), None),
    ]);
    all
}

#[test]
fn every_hour_of_two_years_agrees_with_the_calendar() {
    let zones = [
        UTC,
        America::New_York,
        Asia::Kolkata,
        Australia::Lord_Howe,
        Europe::Berlin,
    ];
    let from = micros("2023-01-01T00:00:00Z");
    for zone in zones {
        for granularity in granularities() {
            let mut cutter = Cutter::new(&granularity, ShiftedClock::new(zone, 0, 0));
            for hour in 0..(2 * 366 * 24) {
                // Odd minutes and microseconds, and an order that jumps back and forth.
                let at = from + (hour * 7919 % (2 * 366 * 24)) * 3_600_000_000 + hour % 3_600_000 * 997_001;
                assert_eq!(
                    cutter.cut(at),
                    Some(oracle(at, &granularity, zone)),
                    "{zone} {granularity:?} {at}"
                );
            }
        }
    }
}

#[test]
fn the_microseconds_around_a_change_are_exact() {
    let changes = [
        (America::New_York, "2023-03-12T07:00:00Z"),
        (America::New_York, "2023-11-05T06:00:00Z"),
        (Australia::Lord_Howe, "2024-04-06T15:00:00Z"),
        (Europe::Berlin, "2024-10-27T01:00:00Z"),
    ];
    for (zone, change) in changes {
        for granularity in granularities() {
            let mut cutter = Cutter::new(&granularity, ShiftedClock::new(zone, 0, 0));
            for step in [-1_800_000_000, -1, 0, 1, 1_800_000_000] {
                let at = micros(change) + step;
                assert_eq!(
                    cutter.cut(at),
                    Some(oracle(at, &granularity, zone)),
                    "{zone} {granularity:?} {at}"
                );
            }
        }
    }
}

#[test]
fn instants_outside_the_table_are_cut_too_and_outside_the_calendar_are_null() {
    let day = natural(crate::model::TimeUnit::Day).unwrap();
    let mut cutter = Cutter::new(&day, ShiftedClock::new(Europe::Berlin, 0, 0));
    for at in [
        "1950-06-01T23:30:00Z",
        "1999-12-31T23:30:00Z",
        "2049-12-31T23:30:00Z",
        "2500-06-01T22:30:00Z",
    ] {
        assert_eq!(
            cutter.cut(micros(at)),
            Some(oracle(micros(at), &day, Europe::Berlin)),
            "{at}"
        );
    }
    assert_eq!(cutter.cut(i64::MAX), None);
    assert_eq!(cutter.cut(i64::MIN), None);
    let array: ArrayRef = Arc::new(
        PrimitiveArray::<TimestampMicrosecondType>::from(vec![Some(0), None, Some(i64::MAX)]).with_timezone("UTC"),
    );
    let cut = cutter.cut_all(&array);
    assert!(cut.is_valid(0) && cut.is_null(1) && cut.is_null(2));
}
