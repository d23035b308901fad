use super::*;
use chrono::NaiveTime;
use chrono_tz::{America::New_York, Asia::Kolkata, Australia::Sydney, Europe::Berlin, UTC};

/// 2023-05-17T15:34:56.789Z, a Wednesday.
const NOW: Micros = 1_684_337_696_789_000;

fn shown(text: &str, tz: Tz) -> String {
    match resolve(text, NOW, tz) {
        Ok(range) => format!("{} {}", format(range.from), format(range.to)),
        Err(error) => error.to_string(),
    }
}

#[test]
fn whole_days_resolve() {
    let days = [
        ("today", "2023-05-17", "2023-05-17"),
        ("yesterday", "2023-05-16", "2023-05-16"),
        ("tomorrow", "2023-05-18", "2023-05-18"),
        ("now", "2023-05-17", "2023-05-17"),
        ("this week", "2023-05-15", "2023-05-21"),
        ("this week to date", "2023-05-15", "2023-05-21"),
        ("last week", "2023-05-08", "2023-05-14"),
        ("LAST  Week", "2023-05-08", "2023-05-14"),
        ("next week", "2023-05-22", "2023-05-28"),
        ("this month", "2023-05-01", "2023-05-31"),
        ("last month", "2023-04-01", "2023-04-30"),
        ("next month", "2023-06-01", "2023-06-30"),
        ("this quarter", "2023-04-01", "2023-06-30"),
        ("last quarter", "2023-01-01", "2023-03-31"),
        ("this year", "2023-01-01", "2023-12-31"),
        ("last year", "2022-01-01", "2022-12-31"),
        ("last 7 days", "2023-05-10", "2023-05-16"),
        ("last 30 days", "2023-04-17", "2023-05-16"),
        ("last 1 day", "2023-05-16", "2023-05-16"),
        ("last 2 weeks", "2023-05-01", "2023-05-14"),
        ("last 3 months", "2023-02-01", "2023-04-30"),
        ("last 2 quarters", "2022-10-01", "2023-03-31"),
        ("last 1 year", "2022-01-01", "2022-12-31"),
        ("last 0 days", "2023-05-17", "2023-05-16"),
        ("next 7 days", "2023-05-18", "2023-05-24"),
        ("next 1 month", "2023-06-01", "2023-06-30"),
        ("from 7 days ago to now", "2023-05-10", "2023-05-17"),
        ("from now to 2 weeks from now", "2023-05-17", "2023-05-31"),
        ("from january 1 to january 31", "2023-01-01", "2023-01-31"),
        ("from yesterday to today", "2023-05-16", "2023-05-17"),
        ("from 30 days ago to yesterday", "2023-04-17", "2023-05-16"),
        ("from last monday to today", "2023-05-15", "2023-05-17"),
        ("from last week to this week", "2023-05-08", "2023-05-21"),
        ("from 2023-01-01 to 2023-01-31", "2023-01-01", "2023-01-31"),
        ("2023-01-01 to 2023-01-31", "2023-01-01", "2023-01-31"),
        ("2023-01-01 - 2023-01-31", "2023-01-01", "2023-01-31"),
        ("from 2023-01-01", "2023-01-01", "2023-01-01"),
        ("2nd of January 2023", "2023-01-02", "2023-01-02"),
        ("12:30", "2023-05-17", "2023-05-17"),
        ("midnight", "2023-05-18", "2023-05-18"),
        ("2 days ago", "2023-05-15", "2023-05-15"),
        ("a week ago", "2023-05-10", "2023-05-10"),
        ("past 7 days", "2023-05-10", "2023-05-10"),
        ("in 3 days", "2023-05-20", "2023-05-20"),
        ("monday", "2023-05-15", "2023-05-15"),
        ("saturday", "2023-05-20", "2023-05-20"),
        ("sunday", "2023-05-14", "2023-05-14"),
        ("last friday", "2023-05-12", "2023-05-12"),
        ("next friday", "2023-05-26", "2023-05-26"),
        ("next monday", "2023-05-22", "2023-05-22"),
        ("Jan 2023", "2023-01-01", "2023-01-01"),
        ("march", "2023-03-01", "2023-03-01"),
        ("december", "2022-12-01", "2022-12-01"),
        ("Jan 5th, 2021", "2021-01-05", "2021-01-05"),
        ("5 January 2021", "2021-01-05", "2021-01-05"),
        ("2023-01-01 10:00", "2023-01-01", "2023-01-01"),
        ("2023-01-01T10:00:00.000", "2023-01-01", "2023-01-01"),
        ("2024-02-29", "2024-02-29", "2024-02-29"),
        ("01/02/2024", "2024-01-02", "2024-01-02"),
    ];
    for (text, from, to) in days {
        assert_eq!(
            shown(text, UTC),
            format!("{from}T00:00:00.000 {to}T23:59:59.999"),
            "{text}"
        );
    }
}

#[test]
fn times_of_day_resolve() {
    let times = [
        ("this hour", "17T15:00:00.000", "17T15:59:59.999"),
        ("this minute", "17T15:34:00.000", "17T15:34:59.999"),
        ("this second", "17T15:34:56.000", "17T15:34:56.999"),
        ("last 24 hours", "16T15:00:00.000", "17T14:59:59.999"),
        ("last 15 minutes", "17T15:19:00.000", "17T15:33:59.999"),
        ("last 1440 minutes", "16T15:34:00.000", "17T15:33:59.999"),
        ("from 1 hour ago to now", "17T14:00:00.000", "17T15:59:59.999"),
        ("3 hours ago", "17T12:00:00.000", "17T12:59:59.999"),
        (
            "from 15 minutes ago to 15 minutes from now",
            "17T15:19:00.000",
            "17T15:49:59.999",
        ),
    ];
    for (text, from, to) in times {
        assert_eq!(shown(text, UTC), format!("2023-05-{from} 2023-05-{to}"), "{text}");
    }
    assert_eq!(
        shown("this hour", Kolkata),
        "2023-05-17T21:00:00.000 2023-05-17T21:59:59.999"
    );
    assert_eq!(
        shown("this minute", Kolkata),
        "2023-05-17T21:04:00.000 2023-05-17T21:04:59.999"
    );
}

#[test]
fn what_means_nothing_is_refused_with_its_text() {
    let wrong = [
        "previous month",
        "year to date",
        "foo",
        "",
        "last full week",
        "2024-02",
        "2023-02-30",
        "99999999999 days ago",
        "last 4294967295 years",
        "+275760-09-13T00:00:00Z",
        "2023-01-01T25:00",
        "2023-01-01Tnow",
        "from to",
        "from  to ",
        "2023-01-01T",
        "١٢-٠١-٢٠٢٣",
    ];
    for text in wrong {
        assert_eq!(shown(text, UTC), format!("Can't parse date: '{text}'"));
    }
    // Of two sides the one that means nothing is shown.
    assert_eq!(shown("from a to b", UTC), "Can't parse date: 'a'");
    assert_eq!(shown("from today to b", UTC), "Can't parse date: 'b'");
    assert!(resolve(&"é".repeat(100), NOW, UTC).is_err());
}

#[test]
fn arrays_take_days_whole_and_instants_at_their_utc_wall_clock() {
    let cases: [(&[&str], &str); 7] = [
        (&["2023-01-01"], "2023-01-01T00:00:00.000 2023-01-01T23:59:59.999"),
        (
            &["2023-01-01", "2023-01-31"],
            "2023-01-01T00:00:00.000 2023-01-31T23:59:59.999",
        ),
        (
            &["2023-01-02T10:00:00+02:00", "2023-01-02T23:59:59Z"],
            "2023-01-02T08:00:00.000 2023-01-02T23:59:59.000",
        ),
        (
            &["2023-01-02T10:00:00.123", "2023-01-03 10:00"],
            "2023-01-02T10:00:00.123 2023-01-03T10:00:00.000",
        ),
        (
            &["01/02/2024", "01/05/2024"],
            "2024-01-02T00:00:00.000 2024-01-05T00:00:00.000",
        ),
        (&["last week"], "2023-05-08T00:00:00.000 2023-05-14T23:59:59.999"),
        (
            &["2024-03-01", "2024-02-01"],
            "2024-03-01T00:00:00.000 2024-02-01T23:59:59.999",
        ),
    ];
    for (dates, expected) in cases {
        let range = resolve_array(dates, NOW, New_York).unwrap();
        assert_eq!(
            format!("{} {}", format(range.from), format(range.to)),
            expected,
            "{dates:?}"
        );
    }
    assert!(resolve_array(&["2023-01-01", "foo"], NOW, UTC).is_err());
    assert!(resolve_array::<&str>(&[], NOW, UTC).is_err());
}

#[test]
fn date_operators_take_the_edge_they_mean() {
    let day = [Some("2023-02-01".to_owned())];
    let cases = [
        (Operator::BeforeDate, vec!["2023-02-01T00:00:00.000"]),
        (Operator::AfterOrOnDate, vec!["2023-02-01T00:00:00.000"]),
        (Operator::BeforeOrOnDate, vec!["2023-02-01T00:00:00.000"]),
        (Operator::AfterDate, vec!["2023-02-01T00:00:00.000"]),
        (
            Operator::OnTheDate,
            vec!["2023-02-01T00:00:00.000", "2023-02-01T23:59:59.999"],
        ),
        (
            Operator::InDateRange,
            vec!["2023-02-01T00:00:00.000", "2023-02-01T23:59:59.999"],
        ),
    ];
    for (operator, expected) in cases {
        assert_eq!(
            resolve_filter(operator, &day, NOW, UTC).unwrap(),
            expected,
            "{operator:?}"
        );
    }
    let relative = [Some("last week".to_owned())];
    let after = resolve_filter(Operator::AfterDate, &relative, NOW, UTC).unwrap();
    assert_eq!(after, ["2023-05-14T23:59:59.999"]);
    let before = resolve_filter(Operator::BeforeDate, &relative, NOW, UTC).unwrap();
    assert_eq!(before, ["2023-05-08T00:00:00.000"]);
    assert!(resolve_filter(Operator::InDateRange, &[None], NOW, UTC).is_err());
}

fn utc(text: &str) -> Micros {
    text.parse::<chrono::DateTime<chrono::Utc>>()
        .unwrap()
        .timestamp_micros()
}

#[test]
fn bounds_are_exact_at_daylight_saving_edges() {
    let cases = [
        (New_York, "2023-03-12T03:30:00.000", "2023-03-12T07:30:00Z"),
        (New_York, "2023-11-05T05:30:00.000", "2023-11-05T10:30:00Z"),
        (Sydney, "2023-10-01T00:00:00.000", "2023-09-30T14:00:00Z"),
        // In the gap: the moment of the change.
        (New_York, "2023-03-12T02:30:00.000", "2023-03-12T07:00:00Z"),
        // Twice: the earlier.
        (New_York, "2023-11-05T01:30:00.000", "2023-11-05T05:30:00Z"),
        (Kolkata, "2023-01-01T00:00:00.000", "2022-12-31T18:30:00Z"),
    ];
    for (tz, local, expected) in cases {
        assert_eq!(
            first_instant(parse_local(local).unwrap(), tz),
            utc(expected),
            "{tz} {local}"
        );
    }
    let ends = [
        (New_York, "2023-11-05T01:59:59.999", "2023-11-05T07:00:00Z"),
        (New_York, "2023-03-12T02:30:00.000", "2023-03-12T07:00:00Z"),
        (Berlin, "2024-03-31T23:59:59.999", "2024-03-31T22:00:00Z"),
        // The clock jumps from 23:00 to midnight: the day ends at the change.
        (
            chrono_tz::America::Nuuk,
            "2024-03-30T23:59:59.999",
            "2024-03-31T01:00:00Z",
        ),
    ];
    for (tz, local, expected) in ends {
        assert_eq!(
            instant_after(parse_local(local).unwrap(), tz),
            utc(expected),
            "{tz} {local}"
        );
    }
}

#[test]
fn adjacent_days_meet_in_every_zone() {
    for tz in chrono_tz::TZ_VARIANTS {
        let mut day = chrono::NaiveDate::from_ymd_opt(2023, 1, 1).unwrap();
        for _ in 0..730 {
            let local = day.and_time(NaiveTime::MIN);
            let range = DateRange {
                from: local,
                to: end_of(local, TimeUnit::Day).unwrap(),
            };
            let (_, end) = utc_bounds(&range, tz);
            day = day.succ_opt().unwrap();
            let next = first_instant(day.and_time(NaiveTime::MIN), tz);
            assert_eq!(end, next, "{tz} {day}");
        }
    }
}

/// What Cube 1.6.57 makes of these in arrays: only `YYYY-MM-DD` is a whole day.
#[test]
fn coarse_dates_in_arrays_are_their_first_instant() {
    for (text, instant) in [
        ("2023", "2023-01-01T00:00:00.000"),
        ("2023-06", "2023-06-01T00:00:00.000"),
        ("20230607", "2023-06-07T00:00:00.000"),
        ("2023-W05", "2023-01-30T00:00:00.000"),
        ("2023-001", "2023-01-01T00:00:00.000"),
        ("2023-1-1", "2023-01-01T00:00:00.000"),
        ("2023/01/01", "2023-01-01T00:00:00.000"),
    ] {
        let range = resolve_array(&[text], NOW, UTC).unwrap();
        assert_eq!(
            (format(range.from), format(range.to)),
            (instant.to_owned(), instant.to_owned()),
            "{text}"
        );
    }
    for text in ["2023-13", "20231301", "2023-W60", "2023-400", "2023-0", "23", "2023é"] {
        assert!(resolve_array(&[text, "2024-01-01"], NOW, UTC).is_err(), "{text}");
    }
}
