use super::super::compile::CompiledModel;
use super::super::{Filter, Operator, OrderBy, Query, QueryTimeDimension, date_range, restrict};
use super::condition::Span;
use super::*;
use crate::clock::Micros;
use crate::event::{Event, batch};
use crate::model::{Cube, Dimension, DimensionSql, DimensionType, FunnelStep, Location, Measure, MeasureType, Model};
use crate::query::DateRange;
use crate::query::filter::instant;
use arrow::array::{ArrayRef, Date32Array};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// 2024-01-01T00:00:00Z.
const MIDNIGHT: Micros = 1_704_067_200 * SECOND_MICROS;
const HOUR: Micros = 3600 * SECOND_MICROS;
const DAY: Micros = 24 * HOUR;

fn funnel(rule: FunnelRule, seconds: u32, targets: &[&str]) -> Funnel {
    let step = |(i, target): (usize, &&str)| FunnelStep {
        name: format!("s{}", i + 1),
        target: (*target).to_owned(),
    };
    Funnel {
        name: "buy".to_owned(),
        seconds_to_convert: seconds,
        steps: targets.iter().enumerate().map(step).collect(),
        rule,
        location: Location::default(),
    }
}

fn dimension(name: &str, kind: DimensionType) -> Dimension {
    Dimension::new(name, kind, DimensionSql::Funnel, Location::default())
}

fn model(funnel: Funnel) -> Arc<Model> {
    let count = Measure::new(COUNT, MeasureType::Funnel, Location::default());
    let name = funnel.name.clone();
    let cube = Cube {
        measures: vec![count],
        dimensions: vec![
            dimension(STEP, DimensionType::Number),
            dimension(STEP_NAME, DimensionType::String),
            dimension(DATE, DimensionType::Time),
        ],
        ..Cube::new(name, CubeSource::Funnel(Arc::new(funnel)), Location::default())
    };
    let mut model = Model::default();
    model.cubes.insert(cube.name.clone(), Arc::new(cube));
    Arc::new(model)
}

fn query(members: &[&str]) -> Query {
    let own = |measures: bool| {
        let members = members.iter().filter(|member| (**member == COUNT) == measures);
        members.map(|member| format!("buy.{member}")).collect()
    };
    Query {
        measures: own(true),
        dimensions: own(false),
        ..Query::default()
    }
}

fn filter(member: &str, operator: Operator, values: &[&str]) -> Filter {
    let values: Vec<Option<String>> = values.iter().map(|value| Some((*value).to_owned())).collect();
    let values = match operator.is_date() {
        true => {
            let resolved = date_range::resolve_filter(operator, &values, MIDNIGHT, chrono_tz::UTC).unwrap();
            resolved.into_iter().map(Some).collect()
        }
        false => values,
    };
    Filter::Member {
        member: format!("buy.{member}"),
        operator,
        values,
    }
}

/// (visitor, instant, event type, path).
type Row<'a> = (&'a str, Micros, &'a str, Option<&'a str>);

fn page<'a>(visitor: &'a str, at: Micros, path: &'a str) -> Row<'a> {
    (visitor, MIDNIGHT + at, "page", Some(path))
}

fn table(rows: &[Row<'_>]) -> MemTable {
    let event = |(i, (visitor, ts, kind, path)): (usize, &Row<'_>)| {
        let mut event = Event::default();
        event.set(EventColumn::EventId, format!("{i}").as_str());
        event.set_ts(EventColumn::Ts, *ts);
        event.set_ts(EventColumn::ReceivedAt, *ts);
        event.set(EventColumn::VisitorId, *visitor);
        event.set(EventColumn::EventType, *kind);
        event.set(EventColumn::Protocol, "native");
        event.set_text(EventColumn::PagePath, *path);
        event
    };
    let events: Vec<Event> = rows.iter().enumerate().map(event).collect();
    let batch = batch::from_events(events.iter()).unwrap();
    let schema = tables::schema_of(tables::EVENTS).unwrap();
    let days: ArrayRef = Arc::new(Date32Array::from_iter_values(
        rows.iter().map(|row| i32::try_from(row.1.div_euclid(DAY)).unwrap()),
    ));
    let columns = batch
        .columns()
        .iter()
        .chain(std::iter::once(&days))
        .zip(schema.fields());
    let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap());
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    MemTable::try_new(
        schema,
        vec![vec![
            batch.slice(0, rows.len() / 2),
            batch.slice(rows.len() / 2, rows.len().div_ceil(2)),
        ]],
    )
    .unwrap()
}

async fn run(session: &SessionContext, plan: LogicalPlan) -> Vec<String> {
    let batches = session
        .execute_logical_plan(plan)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let options = FormatOptions::default().with_null("null");
    let mut lines = Vec::new();
    for batch in &batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            lines.push(cells.join(" "));
        }
    }
    lines
}

/// The answer's rows as text, and the total when asked for.
async fn ask(funnel: Funnel, rows: &[Row<'_>], query: &Query) -> Result<Vec<String>> {
    static SESSION: LazyLock<SessionContext> = LazyLock::new(|| {
        let session = SessionContext::new();
        session.register_udaf(crate::exec::udaf::funnel::function());
        session.register_udf(crate::exec::bucket::udf().as_ref().clone());
        session
    });
    let session = &*SESSION;
    let compiled = CompiledModel::new(model(funnel));
    let planned = crate::query::plan::plan(query, &compiled, &session.state())?;
    let events = Arc::new(table(rows));
    let bind = |plan| restrict::bind(plan, |_| Ok(provider_as_source(Arc::clone(&events) as _)));
    let mut lines = run(session, bind(planned.plan)?).await;
    if let Some(total) = planned.total {
        lines.push(format!("total {}", run(session, bind(total)?).await.join(",")));
    }
    Ok(lines)
}

fn three_steps(rule: FunnelRule) -> Funnel {
    funnel(rule, 3600, &["/a", "/b", "/c"])
}

/// Ann takes all steps, Ben two with a detour, Cem one a day later, Dan none.
fn visits() -> Vec<Row<'static>> {
    vec![
        page("ann", 0, "/a"),
        page("ann", 1, "/b"),
        page("ann", 2, "/c"),
        page("ben", HOUR, "/a"),
        page("ben", HOUR + 1, "/x"),
        page("ben", HOUR + 2, "/b"),
        page("cem", DAY, "/a"),
        page("cem", DAY + HOUR + 1, "/b"),
        page("dan", DAY, "/c"),
    ]
}

#[tokio::test]
async fn the_count_of_every_step_is_cumulative() {
    let asked = query(&[STEP, STEP_NAME, COUNT]);
    let rows = ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap();
    assert_eq!(rows, ["1 s1 3", "2 s2 2", "3 s3 1"]);
    let rows = ask(three_steps(FunnelRule::Strict), &visits(), &asked).await.unwrap();
    assert_eq!(rows, ["1 s1 3", "2 s2 1", "3 s3 1"]);
    // Within one second the detour and the microsecond beyond the window disappear.
    let rows = ask(three_steps(FunnelRule::Gitlab), &visits(), &asked).await.unwrap();
    assert_eq!(rows, ["1 s1 3", "2 s2 3", "3 s3 1"]);
    let mut asked = asked;
    asked.order = Some(vec![OrderBy {
        id: "buy.step".to_owned(),
        desc: false,
    }]);
    let rows = ask(three_steps(FunnelRule::GitlabG2), &visits(), &asked).await.unwrap();
    assert_eq!(rows, ["0 null 1", "1 s1 0", "2 s2 2", "3 s3 1"]);
}

#[tokio::test]
async fn every_step_is_there_when_nobody_came() {
    let rows = ask(three_steps(FunnelRule::Ordered), &[], &query(&[STEP, COUNT]))
        .await
        .unwrap();
    assert_eq!(rows, ["1 0", "2 0", "3 0"]);
    let rows = ask(three_steps(FunnelRule::GitlabG2), &[], &query(&[STEP, COUNT]))
        .await
        .unwrap();
    assert_eq!(rows, ["0 0", "1 0", "2 0", "3 0"]);
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &[], &query(&[COUNT]))
            .await
            .unwrap(),
        ["0"]
    );
    let none: [&str; 0] = [];
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &[], &query(&[DATE, STEP, COUNT]))
            .await
            .unwrap(),
        none
    );
}

#[tokio::test]
async fn without_the_step_visitors_count_once() {
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &query(&[COUNT]))
            .await
            .unwrap(),
        ["3"]
    );
    assert_eq!(
        ask(three_steps(FunnelRule::GitlabG2), &visits(), &query(&[COUNT]))
            .await
            .unwrap(),
        ["4"]
    );
    let mut asked = query(&[COUNT]);
    asked.filters = vec![filter(STEP, Operator::Gte, &["2"])];
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap(),
        ["2"]
    );
    asked.filters = vec![filter(STEP, Operator::Equals, &["9"])];
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap(),
        ["0"]
    );
    let rows = ask(three_steps(FunnelRule::Ordered), &visits(), &query(&[STEP_NAME]))
        .await
        .unwrap();
    assert_eq!(rows, ["s1", "s2", "s3"]);
}

#[tokio::test]
async fn events_that_are_no_page_views_matter_to_gitlab_only() {
    let mut rows = vec![page("ann", 0, "/a"), page("ann", 9, "/b"), page("ann", 10, "/c")];
    rows.push(("ann", MIDNIGHT + 2 * SECOND_MICROS, "ping", None));
    let rows: Vec<Row<'_>> = rows
        .iter()
        .map(|r| {
            (
                r.0,
                MIDNIGHT + (r.1 - MIDNIGHT) * (if r.2 == "page" { SECOND_MICROS } else { 1 }),
                r.2,
                r.3,
            )
        })
        .collect();
    let of = |rule| {
        let rows = rows.clone();
        async move { ask(three_steps(rule), &rows, &query(&[STEP, COUNT])).await.unwrap() }
    };
    assert_eq!(of(FunnelRule::Ordered).await, ["1 1", "2 1", "3 1"]);
    assert_eq!(of(FunnelRule::Strict).await, ["1 1", "2 1", "3 1"]);
    assert_eq!(of(FunnelRule::Gitlab).await, ["1 1", "2 0", "3 0"]);
    // A ping on a target counts as its page view, as it did there.
    let ping = [page("bea", 0, "/a"), ("bea", MIDNIGHT + 1, "ping", Some("/b"))];
    let of = |rule| async move { ask(three_steps(rule), &ping, &query(&[STEP, COUNT])).await.unwrap() };
    assert_eq!(of(FunnelRule::Gitlab).await, ["1 1", "2 1", "3 0"]);
    assert_eq!(of(FunnelRule::Ordered).await, ["1 1", "2 0", "3 0"]);
}

#[tokio::test]
async fn dates_say_who_enters_or_which_events_are_seen() {
    // Enters before midnight of the second day, goes on after it.
    let rows = [
        page("ann", DAY - 1, "/a"),
        page("ann", DAY + 5, "/b"),
        page("ben", DAY + 1, "/a"),
        page("ben", DAY + 2, "/b"),
    ];
    let mut asked = query(&[STEP, COUNT]);
    for (operator, values, ordered, gitlab) in [
        (Operator::BeforeDate, vec!["2024-01-02"], ["1 1", "2 1"], ["1 1", "2 0"]),
        (
            Operator::BeforeOrOnDate,
            vec!["2024-01-01T23:59:59.999"],
            ["1 1", "2 1"],
            ["1 1", "2 0"],
        ),
        (
            Operator::AfterDate,
            vec!["2024-01-01T23:59:59.999"],
            ["1 1", "2 1"],
            ["1 1", "2 1"],
        ),
        (
            Operator::AfterOrOnDate,
            vec!["2024-01-01"],
            ["1 2", "2 2"],
            ["1 2", "2 2"],
        ),
        (
            Operator::InDateRange,
            vec!["2024-01-01", "2024-01-01"],
            ["1 1", "2 1"],
            ["1 1", "2 0"],
        ),
        (
            Operator::NotInDateRange,
            vec!["2024-01-01", "2024-01-01"],
            ["1 1", "2 1"],
            ["1 1", "2 1"],
        ),
        (Operator::OnTheDate, vec!["2024-01-02"], ["1 1", "2 1"], ["1 1", "2 1"]),
        (Operator::OnTheDate, vec!["2024-03-03"], ["1 0", "2 0"], ["1 0", "2 0"]),
        (Operator::Set, vec![], ["1 2", "2 2"], ["1 2", "2 2"]),
        (Operator::NotSet, vec![], ["1 0", "2 0"], ["1 0", "2 0"]),
    ] {
        asked.filters = vec![filter(DATE, operator, &values)];
        let found = |rule| ask(funnel(rule, 3600, &["/a", "/b"]), &rows, &asked);
        assert_eq!(
            found(FunnelRule::Ordered).await.unwrap(),
            ordered,
            "ordered {operator:?}"
        );
        assert_eq!(found(FunnelRule::Strict).await.unwrap(), ordered, "strict {operator:?}");
        assert_eq!(found(FunnelRule::Gitlab).await.unwrap(), gitlab, "gitlab {operator:?}");
    }
    asked.filters = Vec::new();
    let day = date_range::resolve_array(&["2024-01-01"], MIDNIGHT, chrono_tz::UTC).unwrap();
    let range = |date_range: DateRange| QueryTimeDimension {
        dimension: "buy.date".to_owned(),
        granularity: None,
        date_range: Some(date_range),
    };
    asked.time_dimensions = vec![range(day)];
    let found = ask(funnel(FunnelRule::Ordered, 3600, &["/a", "/b"]), &rows, &asked)
        .await
        .unwrap();
    assert_eq!(found, ["1 1", "2 1"]);
}

#[tokio::test]
async fn a_second_view_of_step_1_after_the_range_does_not_break_a_strict_chain() {
    let rows = [
        page("ann", DAY - 2, "/a"),
        page("ann", DAY + 2, "/a"),
        page("ann", DAY + 3, "/b"),
    ];
    let mut asked = query(&[STEP, COUNT]);
    asked.filters = vec![filter(DATE, Operator::OnTheDate, &["2024-01-01"])];
    for rule in [FunnelRule::Ordered, FunnelRule::Strict] {
        let found = ask(funnel(rule, 3600, &["/a", "/b"]), &rows, &asked).await.unwrap();
        assert_eq!(found, ["1 1", "2 1"], "{rule:?}");
    }
}

#[tokio::test]
async fn conditions_nest_but_a_choice_between_date_and_step_is_refused() {
    let mut asked = query(&[STEP, COUNT]);
    let on = |day: &str| filter(DATE, Operator::OnTheDate, &[day]);
    asked.filters = vec![Filter::And(vec![
        Filter::Or(vec![
            on("2024-01-01"),
            Filter::And(vec![on("2024-01-02"), on("2024-01-03")]),
            Filter::Or(vec![]),
        ]),
        Filter::Or(vec![
            filter(STEP, Operator::Equals, &["1"]),
            filter(STEP_NAME, Operator::Equals, &["s3"]),
        ]),
    ])];
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap(),
        ["1 2", "3 1"]
    );
    asked.filters = vec![Filter::Or(vec![
        on("2024-01-01"),
        filter(STEP, Operator::Equals, &["1"]),
    ])];
    let error = ask(three_steps(FunnelRule::Ordered), &visits(), &asked)
        .await
        .unwrap_err();
    assert!(error.message().contains("one `or` cannot hold both"), "{error}");
}

#[tokio::test]
async fn order_limit_offset_total_and_count_conditions_work() {
    let mut asked = query(&[STEP, COUNT]);
    // GitLab's own example orders by a funnel that is not asked.
    asked.order = Some(vec![OrderBy {
        id: "completed_purchase.count".to_owned(),
        desc: true,
    }]);
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &asked)
            .await
            .unwrap()
            .len(),
        3
    );
    asked.order = Some(vec![OrderBy {
        id: "buy.count".to_owned(),
        desc: false,
    }]);
    asked.total = true;
    asked.limit = 1;
    asked.offset = 1;
    let rows = ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap();
    assert_eq!(rows, ["2 2", "total 3"]);
    let mut asked = query(&[STEP, COUNT]);
    asked.filters = vec![filter(COUNT, Operator::Lt, &["3"])];
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap(),
        ["2 2", "3 1"]
    );
}

#[tokio::test]
async fn dates_show_the_entry_with_all_steps() {
    let rows = ask(
        three_steps(FunnelRule::Ordered),
        &visits(),
        &query(&[DATE, STEP, COUNT]),
    )
    .await
    .unwrap();
    let of = |date: &str| rows.iter().filter(|row| row.starts_with(date)).count();
    assert_eq!(
        (
            rows.len(),
            of("2024-01-01T00:00:00Z"),
            of("2024-01-01T01:00:00Z"),
            of("2024-01-02T00:00:00Z")
        ),
        (9, 3, 3, 3)
    );
    assert!(rows.contains(&"2024-01-02T00:00:00Z 3 0".to_owned()), "{rows:?}");
}

#[tokio::test]
async fn buckets_are_of_the_entry_on_the_wall_clock_of_the_query() {
    // 23:30 UTC of 1 January is 2 January in Berlin; Cem enters with 2 January in both.
    let rows = [
        page("ann", 23 * HOUR + HOUR / 2, "/a"),
        page("ann", DAY + HOUR / 4, "/b"),
        page("ben", 3 * HOUR, "/a"),
        page("cem", DAY + 12 * HOUR, "/a"),
    ];
    let mut asked = query(&[STEP, COUNT]);
    asked.time_dimensions = vec![QueryTimeDimension {
        dimension: "buy.date".to_owned(),
        granularity: Some("day".to_owned()),
        date_range: None,
    }];
    asked.order = Some(vec![
        OrderBy {
            id: "buy.date".to_owned(),
            desc: false,
        },
        OrderBy {
            id: "buy.step".to_owned(),
            desc: false,
        },
    ]);
    let swapped = |line: &String| {
        let cells: Vec<&str> = line.split(' ').collect();
        format!("{} {} {}", &cells[1][..10], cells[0], cells[2])
    };
    for (tz, expected) in [
        (
            chrono_tz::UTC,
            ["2024-01-01 1 2", "2024-01-01 2 1", "2024-01-02 1 1", "2024-01-02 2 0"],
        ),
        (
            chrono_tz::Europe::Berlin,
            ["2024-01-01 1 1", "2024-01-01 2 0", "2024-01-02 1 2", "2024-01-02 2 1"],
        ),
    ] {
        asked.timezone = tz;
        let lines = ask(funnel(FunnelRule::Ordered, 3600, &["/a", "/b"]), &rows, &asked)
            .await
            .unwrap();
        assert_eq!(lines.iter().map(swapped).collect::<Vec<_>>(), expected, "{tz}");
    }
    asked.timezone = chrono_tz::UTC;
    asked.dimensions.clear();
    asked.order = None;
    let lines = ask(funnel(FunnelRule::Ordered, 3600, &["/a", "/b"]), &rows, &asked)
        .await
        .unwrap();
    assert_eq!(lines, ["2024-01-01T00:00:00 2", "2024-01-02T00:00:00 1"]);
    // Those who reached nothing are dated by their first event.
    let lines = ask(funnel(FunnelRule::GitlabG2, 3600, &["/b", "/c"]), &rows, &asked)
        .await
        .unwrap();
    assert_eq!(lines, ["2024-01-01T00:00:00 1", "2024-01-02T00:00:00 2"]);
}

#[tokio::test]
async fn a_path_may_be_several_steps() {
    let steps = funnel(FunnelRule::Ordered, 60, &["/a", "/b", "/a"]);
    let rows = [
        page("ann", 1, "/a"),
        page("ann", 1, "/b"),
        page("ann", 1, "/a"),
        page("ben", 1, "/a"),
        page("ben", 2, "/b"),
    ];
    assert_eq!(
        ask(steps, &rows, &query(&[STEP, COUNT])).await.unwrap(),
        ["1 2", "2 2", "3 1"]
    );
}

#[tokio::test]
async fn a_clients_text_is_never_part_of_a_plan() {
    let mut asked = query(&[STEP, COUNT]);
    asked.filters = vec![filter(STEP_NAME, Operator::Equals, &["s1' OR '1'='1"])];
    let none: [&str; 0] = [];
    assert_eq!(
        ask(three_steps(FunnelRule::Ordered), &visits(), &asked).await.unwrap(),
        none
    );
}

#[test]
fn the_scan_is_bounded_by_the_entry_and_the_window() {
    let ts = || named(EventColumn::Ts.name());
    let between = |a, b| ts().gt_eq(instant(a)).and(ts().lt(instant(b)));
    let span = |from, end| Span { from, end };
    assert_eq!(Span::of(&between(3, 7)), span(3, 7));
    assert_eq!(Span::of(&between(3, 7).or(between(5, 9))), span(3, 9));
    assert_eq!(Span::of(&between(3, 7).and(ts().eq(instant(6)))), span(6, 7));
    assert_eq!(Span::of(&ts().gt(instant(4)).and(ts().lt_eq(instant(9)))), span(5, 10));
    assert_eq!(
        Span::of(&between(3, 7).or(ts().is_null())),
        span(Micros::MIN, Micros::MAX)
    );
    let conditions = Conditions {
        date: Some(between(3, 7)),
        step: None,
        count: None,
    };
    assert_eq!(conditions.bound(100), Some(between(3, 107)));
    let conditions = Conditions {
        date: None,
        step: None,
        count: None,
    };
    assert_eq!(conditions.bound(100), None);
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    window_seconds: u32,
    steps: Vec<Vec<String>>,
    events: Vec<(String, Micros, String)>,
    expected: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    step_counts: Vec<usize>,
    rows_exclusive: Option<Vec<(usize, usize)>>,
}

/// The vectors whose steps are single pages, from events to the answer of a query, each under one of the rules in turn:
/// that all hold under all rules is tested at the aggregate.
#[tokio::test]
async fn the_vectors_hold_from_events_to_answers() {
    let file: File = serde_json::from_str(include_str!("../../../../data/funnel/vectors.json")).unwrap();
    let mut asked = query(&[STEP, COUNT]);
    asked.order = Some(vec![OrderBy {
        id: "buy.step".to_owned(),
        desc: false,
    }]);
    let vectors: Vec<&Vector> = file
        .vectors
        .iter()
        .filter(|vector| vector.steps.iter().all(|names| names.len() == 1))
        .collect();
    assert!(vectors.len() >= 30, "{}", vectors.len());
    for (vector, (name, rule)) in vectors.into_iter().zip(FunnelRule::ALL.iter().cycle()) {
        let targets: Vec<&str> = vector.steps.iter().map(|names| names[0].as_str()).collect();
        let rows: Vec<Row<'_>> = vector
            .events
            .iter()
            .map(|(user, ms, name)| page(user, ms * 1000, name))
            .collect();
        let expected = &vector.expected[*name];
        let wanted: Vec<String> = match &expected.rows_exclusive {
            Some(exclusive) => {
                let count = |level| exclusive.iter().find(|row| row.0 == level).map_or(0, |row| row.1);
                (0..=targets.len())
                    .map(|level| format!("{level} {}", count(level)))
                    .collect()
            }
            None => (1..)
                .zip(&expected.step_counts)
                .map(|(step, count)| format!("{step} {count}"))
                .collect(),
        };
        let lines = ask(funnel(*rule, vector.window_seconds, &targets), &rows, &asked)
            .await
            .unwrap();
        assert_eq!(lines, wanted, "{} under {name}", vector.id);
    }
}
