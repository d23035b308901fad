//! Cases of Cube's documentation and of its own tests of stages, with their numbers; shifts against a naive evaluation.

use super::shift;
use crate::model::Interval;
use crate::query::tests::Fixture;
use chrono::NaiveDateTime;

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
