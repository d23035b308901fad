use super::super::{FileContent, read_file};
use crate::model::{Grain, Measure, RollingWindow, ShiftDirection, StageCondition, WindowBound, WindowOffset};
use std::sync::Arc;

fn read(measures: &str) -> FileContent {
    let text = format!(
        "cubes:\n  - name: c\n    sql_table: events\n    dimensions: [{{name: d, sql: d, type: string}}]\n    measures:\n{measures}"
    );
    read_file(&Arc::from("model/c.yml"), &text)
}

fn only(measure: &str) -> Measure {
    let content = read(measure);
    let problems: Vec<String> = content.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:?}");
    content.cubes[0].measures[0].clone()
}

#[test]
fn windows_are_read_in_both_spellings() {
    for key in ["rolling_window", "rollingWindow"] {
        let measure = only(&format!(
            "      - {{name: m, type: count, {key}: {{trailing: 7 day, offset: start}}}}\n"
        ));
        let Some(RollingWindow::Fixed {
            trailing: WindowBound::Interval(_),
            leading: WindowBound::None,
            offset: WindowOffset::Start,
        }) = measure.rolling_window
        else {
            panic!("{:?}", measure.rolling_window)
        };
    }
    let to_date = |granularity: &str| {
        Some(RollingWindow::ToDate {
            granularity: granularity.to_owned(),
        })
    };
    let cases = [
        ("{type: to_date, granularity: year}", to_date("year")),
        ("{type: toDate, granularity: fiscal}", to_date("fiscal")),
        ("{type: month_to_date}", to_date("month")),
        (
            "{type: fixed, trailing: unbounded, leading: unbounded}",
            Some(RollingWindow::Fixed {
                trailing: WindowBound::Unbounded,
                leading: WindowBound::Unbounded,
                offset: WindowOffset::End,
            }),
        ),
    ];
    for (written, expected) in cases {
        let measure = only(&format!(
            "      - {{name: m, type: sum, sql: x, rolling_window: {written}}}\n"
        ));
        assert_eq!(measure.rolling_window, expected, "{written}");
        assert!(measure.cumulative && measure.is_staged());
    }
    let running = only("      - {name: m, type: runningTotal, sql: x}\n");
    assert_eq!(running.window(), Some(RollingWindow::Running));
}

#[test]
fn stages_are_read_in_both_spellings() {
    let snake = "      - name: m
        type: sum
        sql: '{n}'
        multi_stage: true
        group_by: [a, b.c]
        reduce_by: [d]
        add_group_by: ['{CUBE.e.day}']
        time_shift: [{time_dimension: t, interval: 1 year, type: prior}]
        filter: {mode: fixed, keep_only: [a], include: [{or: [{member: a, operator: equals, values: [x, ~]}]}]}
";
    let camel = snake
        .replace("multi_stage", "multiStage")
        .replace("add_group_by", "addGroupBy")
        .replace("group_by", "groupBy")
        .replace("reduce_by", "reduceBy")
        .replace("time_shift", "timeShift")
        .replace("time_dimension", "timeDimension")
        .replace("keep_only", "keepOnly");
    for text in [snake, camel.as_str()] {
        let stage = only(text).multi_stage.unwrap();
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let grain = Grain {
            keep_only: Some(texts(&["a", "b.c"])),
            exclude: texts(&["d"]),
            include: texts(&["CUBE.e.day"]),
        };
        assert_eq!(stage.grain, grain);
        assert_eq!(stage.time_shift[0].direction, ShiftDirection::Prior);
        assert_eq!(stage.time_shift[0].time_dimension.as_deref(), Some("t"));
        let filter = stage.filter.unwrap();
        assert!(filter.fixed);
        assert_eq!(filter.keep_only, Some(texts(&["a"])));
        let inner = StageCondition::Member {
            member: "a".to_owned(),
            operator: "equals".to_owned(),
            values: vec![Some("x".to_owned()), None],
        };
        assert_eq!(filter.include, [StageCondition::Or(vec![inner])]);
        assert_eq!(stage.location.line, 9);
    }
    let rank =
        only("      - {name: m, type: rank, multi_stage: true, reduce_by: [d], order_by: [{sql: '{n}', dir: desc}]}\n");
    assert!(rank.multi_stage.unwrap().order_by[0].desc);
    let grain = "      - {name: m, type: sum, sql: '{n}', multi_stage: true, grain: {keepOnly: [d], include: [e]}}\n";
    assert_eq!(only(grain).multi_stage.unwrap().grain.keep_only.unwrap(), ["d"]);
}

#[test]
fn all_errors_are_told_with_their_lines() {
    let content = read(
        "      - {name: a, type: count, rolling_window: {trailing: 7 dayz, granularity: day, offset: middle}}
      - {name: b, type: count, rolling_window: {type: to_date, leading: 1 day}}
      - {name: c, type: rank, order_by: [{sql: '{n}'}]}
      - {name: d, type: count, time_shift: [{interval: 1 day, type: prior}]}
      - {name: e, type: sum, sql: '{n}', multi_stage: true, time_shift: [{interval: 1 day}, {interval: x, type: next}]}
      - {name: f, type: sum, sql: '{n}', multi_stage: true, group_by: [d], grain: {exclude: [d], keep_only: [d]}}
      - {name: g, type: rank, multi_stage: true}
      - {name: h, type: sum, sql: '{n}', multi_stage: true, filter: {mode: loose, include: [{member: d}]}}
      - {name: i, type: count, rolling_window: {trailling: 1 day}}
",
    );
    let told: Vec<String> = content.problems.iter().map(ToString::to_string).collect();
    let has = |line: u32, text: &str| {
        let at = format!("c.yml:{line}");
        assert!(
            told.iter().any(|told| told.contains(&at) && told.contains(text)),
            "{line} {text} in {told:#?}"
        );
    };
    has(6, "`7 dayz` is no interval");
    has(6, "(measures.a.rollingWindow.granularity) is not allowed");
    has(6, "must be one of [start, end]");
    has(7, "(measures.b.rollingWindow.granularity) is required");
    has(7, "(measures.b.rollingWindow.leading) is not allowed");
    has(8, "\"measures.c.type\" needs `multi_stage: true`");
    has(8, "\"measures.c.orderBy\" needs `multi_stage: true`");
    has(9, "\"measures.d.timeShift\" needs `multi_stage: true`");
    has(10, "must be one of [next, prior]");
    has(10, "`x` is no interval");
    has(11, "`group_by` say the same");
    has(11, "`exclude` or `keep_only`, not both");
    has(12, "(measures.g.orderBy) is required");
    has(13, "must be one of [relative, fixed]");
    has(13, "must have `member`, `operator` and `values`");
    has(14, "did you mean `trailing`");
}
