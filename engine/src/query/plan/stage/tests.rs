//! Cases of Cube's documentation and of its own tests of stages, with their numbers; shifts against a naive evaluation.

use super::shift;
use crate::model::Interval;
use crate::model::TimeUnit;
use crate::query::plan::window::tests::{Dice, ZONES, events, local, rows};
use crate::query::resolve::natural;
use crate::query::tests::{Fixture, parse};
use crate::query::{Cell, date_range};
use chrono::{DateTime, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const MODEL: &str = include_str!("tests/model.yml");

#[tokio::test]
async fn cases() {
    let fixture = Fixture::new(MODEL, &[]);
    let mut wrong = String::new();
    for case in include_str!("tests/stages.case").split("\n## ").skip(1) {
        let mut lines = case.lines();
        let name = lines.next().unwrap();
        let query = lines.next().unwrap();
        let lines = lines.filter(|line| !line.trim().is_empty());
        let expected: String = lines.map(|line| format!("{line}\n")).collect();
        let got = fixture.shown(query).await;
        if got != expected {
            wrong.push_str(&format!("{name}\n{query}\nexpected:\n{expected}got:\n{got}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn at(text: &str) -> NaiveDateTime {
    text.parse().unwrap()
}

#[test]
fn shifted_bounds_keep_what_is_moved_beyond_them() {
    let intervals = [
        "1 month",
        "-1 month",
        "3 months",
        "1 year",
        "-1 year",
        "7 days",
        "-36 hours",
    ];
    let start = at("2023-12-20T00:00:00");
    for text in intervals {
        let by = Interval::parse(text).unwrap();
        for hour in (0..500 * 24).step_by(24) {
            let bound = start + chrono::TimeDelta::hours(hour);
            let moved = shift::unshifted(bound, by).unwrap();
            let before = moved - chrono::TimeDelta::microseconds(1);
            assert!(by.add(moved, 1).unwrap() >= bound, "{text} {bound} {moved}");
            assert!(by.add(before, 1).unwrap() < bound, "{text} {bound} {moved}");
        }
    }
}

const SHIFTS: &[(&str, &str)] = &[
    ("1 month", "prior"),
    ("1 year", "prior"),
    ("7 days", "next"),
    ("1 month", "next"),
    ("90 minutes", "prior"),
];

/// Every row is moved on the wall clock and then looked at, with a plain measure and a window beside.
#[tokio::test]
async fn shifts_agree_with_a_naive_evaluation() {
    let mut yaml = "cubes:\n  - name: E\n    sql_table: events\n    dimensions:\n      - {name: at, sql: ts, type: time}\n      - \
                    {name: country, sql: geo_country, type: string}\n    measures:\n      - {name: n, type: count}\n"
        .to_owned();
    for (index, (interval, kind)) in SHIFTS.iter().enumerate() {
        let shift = format!("time_shift: [{{interval: {interval}, type: {kind}}}]");
        let _ = writeln!(
            yaml,
            "      - {{name: m{index}, type: number, multi_stage: true, sql: \"{{n}}\", {shift}}}"
        );
    }
    for (zone, change) in ZONES {
        let tz: Tz = zone.parse().unwrap();
        let around = DateTime::parse_from_rfc3339(change).unwrap().timestamp_micros();
        let rows = rows(around, &mut Dice(around.unsigned_abs()));
        let fixture = Fixture::new(&yaml, &events(&rows));
        let day = local(around, tz).date().and_time(NaiveTime::MIN);
        let range = (
            day - TimeDelta::days(12),
            day + TimeDelta::days(40) - TimeDelta::milliseconds(1),
        );
        for (index, (interval, kind)) in SHIFTS.iter().enumerate() {
            for granularity in ["hour", "day", "week", "month", "year"] {
                let sign = if *kind == "prior" { 1 } else { -1 };
                let by = Interval::parse(interval).unwrap();
                let cut = natural(TimeUnit::from_name(granularity).unwrap()).unwrap();
                let mut expected: BTreeMap<String, u32> = BTreeMap::new();
                for row in &rows {
                    let moved = by.add(local(row.0, tz), sign).unwrap();
                    if moved >= range.0 && moved < range.1 + TimeDelta::milliseconds(1) {
                        let bucket = date_range::format(cut.bucket(moved).unwrap());
                        let key = format!("{} {bucket}", row.3.unwrap_or("null"));
                        *expected.entry(key).or_default() += 1;
                    }
                }
                let expected: Vec<String> = expected
                    .into_iter()
                    .map(|(key, count)| format!("{key} {count}"))
                    .collect();
                let query = serde_json::json!({
                    "measures": [format!("E.m{index}")],
                    "dimensions": ["E.country"],
                    "timeDimensions": [{"dimension": "E.at", "granularity": granularity,
                        "dateRange": [date_range::format(range.0), date_range::format(range.1)]}],
                    "timezone": zone,
                });
                let answer = fixture.ask(&parse(&query).unwrap()).await.unwrap();
                let cell = |cell: &Cell| match cell {
                    Cell::Null => "null".to_owned(),
                    Cell::Bool(value) => value.to_string(),
                    Cell::Number(text) | Cell::Text(text) | Cell::Time(text) => text.clone(),
                };
                let line = |row: &Vec<Cell>| row.iter().map(cell).collect::<Vec<_>>().join(" ");
                let mut got: Vec<String> = answer.rows.iter().map(line).collect();
                got.sort();
                assert_eq!(got, expected, "{zone} {interval} {kind} {granularity}");
            }
        }
    }
}
