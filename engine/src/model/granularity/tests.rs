use super::{Granularity, Interval, TimeUnit};
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use proptest::prelude::*;

fn at(text: &str) -> NaiveDateTime {
    super::parse_origin(text).unwrap()
}

fn granularity(interval: &str, origin: Option<&str>, offset: Option<&str>) -> Granularity {
    Granularity::new("g", None, interval, origin, offset).unwrap()
}

#[test]
fn units_are_cut_on_the_calendar() {
    let moment = at("2024-05-15T13:45:56.789");
    let cases = [
        (TimeUnit::Second, "2024-05-15T13:45:56"),
        (TimeUnit::Minute, "2024-05-15T13:45"),
        (TimeUnit::Hour, "2024-05-15T13:00"),
        (TimeUnit::Day, "2024-05-15"),
        (TimeUnit::Week, "2024-05-13"),
        (TimeUnit::Month, "2024-05-01"),
        (TimeUnit::Quarter, "2024-04-01"),
        (TimeUnit::Year, "2024-01-01"),
    ];
    for (unit, start) in cases {
        assert_eq!(unit.truncate(moment), at(start), "{unit:?}");
        assert_eq!(TimeUnit::from_name(unit.name()), Some(unit));
    }
    // An ISO week may begin in the year before.
    assert_eq!(TimeUnit::Week.truncate(at("2023-01-01T23:59:59")), at("2022-12-26"));
}

#[test]
fn adding_keeps_within_the_month() {
    let cases = [
        (TimeUnit::Month, "2024-01-31", 1, "2024-02-29"),
        (TimeUnit::Month, "2024-03-31", -1, "2024-02-29"),
        (TimeUnit::Quarter, "2024-11-30", 1, "2025-02-28"),
        (TimeUnit::Year, "2024-02-29", 1, "2025-02-28"),
        (TimeUnit::Week, "2024-02-26", 1, "2024-03-04"),
        (TimeUnit::Day, "2024-02-28", 2, "2024-03-01"),
        (TimeUnit::Hour, "2024-02-28T23:30", 1, "2024-02-29T00:30"),
    ];
    for (unit, from, count, to) in cases {
        assert_eq!(unit.add(at(from), count), Some(at(to)), "{from} + {count} {unit:?}");
    }
    assert_eq!(TimeUnit::Year.add(at("2024-01-01"), i64::MAX), None);
    assert_eq!(TimeUnit::Day.add(at("2024-01-01"), i64::MAX), None);
}

#[test]
fn intervals_are_read() {
    for good in ["15 minutes", "1 week", "-1 day", "1 year 6 months", " 2  Hours "] {
        assert!(Interval::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "minutes",
        "15",
        "x minutes",
        "15 fortnights",
        "1.5 hours",
        "9223372036854775807 years",
    ] {
        assert!(Interval::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(Interval::parse("1 week").unwrap().single_unit(), Some(TimeUnit::Week));
    assert_eq!(Interval::parse("2 weeks").unwrap().single_unit(), None);
}

#[test]
fn custom_buckets() {
    let cases = [
        // interval, origin, offset, moment, bucket
        ("15 minutes", None, None, "2024-03-10T09:59:59.999", "2024-03-10T09:45"),
        (
            "15 minutes",
            None,
            Some("5 minutes"),
            "2024-03-10T10:04:59",
            "2024-03-10T09:50",
        ),
        ("6 months", None, None, "2024-06-30T23:59:59", "2024-01-01"),
        ("6 months", None, None, "1999-12-31", "1999-07-01"),
        ("1 week", None, Some("-1 day"), "2024-05-18", "2024-05-12"),
        ("1 week", None, Some("-1 day"), "2024-05-19", "2024-05-19"),
        ("1 year", None, Some("1 month"), "2024-01-31T23:00", "2023-02-01"),
        ("1 year", None, Some("1 month"), "2024-02-01", "2024-02-01"),
        // As Cube: the origin of a natural interval has no effect.
        ("1 year", Some("2024-02-01"), None, "2024-01-15", "2024-01-01"),
        ("10 days", Some("2024-01-03"), None, "2024-01-02", "2023-12-24"),
        ("10 days", Some("2024-01-03"), None, "2024-02-22T00:00:01", "2024-02-22"),
        ("1 month 15 days", Some("2024-01-01"), None, "2024-02-15", "2024-01-01"),
        ("1 month 15 days", Some("2024-01-01"), None, "2024-02-16", "2024-02-16"),
        ("3 months", Some("2024-01-31"), None, "2024-04-29", "2024-01-31"),
        ("3 months", Some("2024-01-31"), None, "2024-04-30", "2024-04-30"),
    ];
    for (interval, origin, offset, moment, bucket) in cases {
        let found = granularity(interval, origin, offset).bucket(at(moment));
        assert_eq!(found, Some(at(bucket)), "{interval} {origin:?} {offset:?} {moment}");
    }
}

#[test]
fn wrong_granularities_say_why() {
    let cases = [
        ("7 minutes", None, None, "without origin"),
        ("2 days", None, None, "without origin"),
        ("1 month 1 day", None, None, "without origin"),
        ("5 hours", None, Some("1 hour"), "without origin"),
        ("soon", None, None, "is no interval"),
        ("0 days", Some("2024-01-01"), None, "longer than nothing"),
        ("1 month -30 days", Some("2024-01-01"), None, "longer than nothing"),
        ("10 days", Some("yesterday"), None, "is no origin"),
        ("10 days", Some("2024-01-01"), Some("1 day"), "not both"),
    ];
    for (interval, origin, offset, part) in cases {
        let error = Granularity::new("g", None, interval, origin, offset).expect_err(interval);
        assert!(error.contains(part), "{interval}: {error}");
    }
}

#[test]
fn a_title_is_made_from_the_name() {
    let made = Granularity::new("half_year", None, "6 months", None, None).unwrap();
    assert_eq!(made.title, "Half Year");
    assert!(granularity("1 year", Some("2024-02-01"), None).ignores_origin());
}

proptest! {
    /// Against a calendar oracle: walk back day by day until the unit changes.
    #[test]
    fn truncation_is_the_first_day_of_the_same_unit(day in -30_000i64..60_000, micros in 0i64..86_400_000_000) {
        let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + TimeDelta::days(day);
        let moment = NaiveDateTime::from(date) + TimeDelta::microseconds(micros);
        let key = |unit: TimeUnit, d: NaiveDate| match unit {
            TimeUnit::Day => (d.year(), d.ordinal()),
            TimeUnit::Week => (d.iso_week().year(), d.iso_week().week()),
            TimeUnit::Month => (d.year(), d.month()),
            TimeUnit::Quarter => (d.year(), d.month0() / 3),
            _ => (d.year(), 0),
        };
        for unit in [TimeUnit::Day, TimeUnit::Week, TimeUnit::Month, TimeUnit::Quarter, TimeUnit::Year] {
            let mut first = date;
            while key(unit, first.pred_opt().unwrap()) == key(unit, date) {
                first = first.pred_opt().unwrap();
            }
            prop_assert_eq!(unit.truncate(moment), NaiveDateTime::from(first));
        }
    }

    /// Every bucket holds its moment, and the buckets lie edge to edge.
    #[test]
    fn buckets_tile_time(
        which in 0usize..7,
        day in -30_000i64..60_000,
        micros in 0i64..86_400_000_000,
    ) {
        let all = [
            granularity("15 minutes", None, None),
            granularity("10 days", Some("2024-01-03"), None),
            granularity("5 months", Some("2020-03-31"), None),
            granularity("1 year 1 month 1 day", Some("2020-02-29"), None),
            granularity("1 week", None, Some("-1 day")),
            granularity("1 quarter", None, Some("1 month")),
            granularity("2 years", None, Some("3 months")),
        ];
        let g = &all[which];
        let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + TimeDelta::days(day);
        let moment = NaiveDateTime::from(date) + TimeDelta::microseconds(micros);
        let start = g.bucket(moment).unwrap();
        prop_assert!(start <= moment);
        prop_assert_eq!(g.bucket(start), Some(start));
        let before = g.bucket(start - TimeDelta::microseconds(1)).unwrap();
        prop_assert!(before < start);
    }
}
