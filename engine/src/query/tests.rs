//! Queries over a small table, from typed query to cells. `tests/*.case`: a name, a query as clients write it, its rows.

use super::*;
use crate::clock::FixedClock;
use crate::event::{Column, Event, Value, batch};
use crate::exec::{QuerySession, SessionOptions};
use crate::ingest::ProjectView;
use crate::model::Model;
use crate::model::catalog::{Builtin, Catalog, CatalogOptions};
use crate::store::Snapshot;
use crate::{Error, ProjectId, Result};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::sync::{Arc, LazyLock};

/// A query session, a model and a view for tests of this crate.
pub(crate) struct Fixture {
    pub(crate) session: QuerySession,
    pub(crate) model: Arc<Model>,
    pub(crate) view: ProjectView,
    pub(crate) project: ProjectId,
}

impl Fixture {
    pub(crate) fn new(yaml: &str, events: &[Event]) -> Self {
        let batch = batch::from_events(events.iter()).unwrap();
        // Two batches, so that more than one partition has rows.
        let half = batch.num_rows() / 2;
        let batches = vec![batch.slice(0, half), batch.slice(half, batch.num_rows() - half)];
        Self {
            session: QuerySession::new(SessionOptions {
                memory_bytes: 256 << 20,
                footer_bytes: 1 << 20,
                spill_dir: None,
                threads: 2,
                timeout: crate::limits::QUERY_TIMEOUT_DEFAULT,
            })
            .unwrap(),
            model: model(yaml),
            view: ProjectView {
                store: Arc::new(object_store::memory::InMemory::new()),
                events: Arc::new(Snapshot::default()),
                buffered_events: batches,
                rejected: Arc::new(Snapshot::default()),
                buffered_rejected: Vec::new(),
                as_of: 0,
            },
            project: ProjectId::new("test").unwrap(),
        }
    }

    pub(crate) async fn ask(&self, query: &Query) -> Result<Answer> {
        let model = Arc::clone(&self.model);
        self.session
            .query(&self.project, self.view.clone(), model, query, 0)
            .await
    }

    pub(crate) async fn shown(&self, query: &str) -> String {
        let parsed = parse(&serde_json::from_str(query).unwrap());
        let answer = match parsed {
            Ok(query) => self.ask(&query).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => show(&answer),
            Err(error) => format!("! {error}\n"),
        }
    }
}

pub(crate) fn model(yaml: &str) -> Arc<Model> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.yml"), yaml).unwrap();
    let catalog = Catalog::open(CatalogOptions {
        builtin: Builtin::None,
        models_dir: Some(folder.path().to_owned()),
        clock: FixedClock::new(0),
        check_sql: None,
    })
    .unwrap();
    let project = ProjectId::new("test").unwrap();
    let wrong: Vec<String> = catalog
        .problems(&project)
        .iter()
        .filter(|p| p.is_error())
        .map(ToString::to_string)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    catalog.model(&project)
}

/// One line a row, cells between bars.
fn show(answer: &Answer) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Text(text) if text.is_empty() => "''".to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::Number(text) | Cell::Text(text) | Cell::Time(text) => text.clone(),
    };
    let mut out = String::new();
    for row in &answer.rows {
        out.push_str(row.iter().map(cell).collect::<Vec<_>>().join(" | ").trim_end());
        out.push('\n');
    }
    if answer.rows.is_empty() {
        out.push_str("(no rows)\n");
    }
    if let Some(total) = answer.total {
        out.push_str(&format!("total {total}\n"));
    }
    out
}

fn texts(json: &Json, key: &str) -> Vec<String> {
    let all = json[key].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn parse_filter(json: &Json, tz: Tz) -> Result<Filter> {
    let group = |key: &str| json.get(key).and_then(Json::as_array);
    let inner = |all: &[Json]| {
        all.iter()
            .map(|filter| parse_filter(filter, tz))
            .collect::<Result<Vec<_>>>()
    };
    if let Some(all) = group("and") {
        return Ok(Filter::And(inner(all)?));
    }
    if let Some(all) = group("or") {
        return Ok(Filter::Or(inner(all)?));
    }
    let operator = Operator::from_name(json["operator"].as_str().unwrap()).unwrap();
    let all = json["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut values: Vec<Option<String>> = all.iter().map(text).collect();
    if operator.is_date() {
        values = date_range::resolve_filter(operator, &values, 0, tz)?
            .into_iter()
            .map(Some)
            .collect();
    }
    Ok(Filter::Member {
        member: json["member"].as_str().unwrap().to_owned(),
        operator,
        values,
    })
}

/// A query in the clients' form; only well-formed ones.
pub(crate) fn parse(json: &Json) -> Result<Query> {
    let timezone: Tz = json["timezone"].as_str().unwrap_or("UTC").parse().unwrap();
    let mut time_dimensions = Vec::new();
    for time in json["timeDimensions"].as_array().into_iter().flatten() {
        let date_range = match &time["dateRange"] {
            Json::String(text) => Some(date_range::resolve(text, 0, timezone)?),
            Json::Array(_) => Some(date_range::resolve_array(&texts(time, "dateRange"), 0, timezone)?),
            _ => None,
        };
        time_dimensions.push(QueryTimeDimension {
            dimension: time["dimension"].as_str().unwrap().to_owned(),
            granularity: time["granularity"].as_str().map(str::to_owned),
            date_range,
        });
    }
    let pair = |pair: &Json| OrderBy {
        id: pair[0].as_str().unwrap().to_owned(),
        desc: pair[1] == "desc",
    };
    let filters = json["filters"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Query {
        measures: texts(json, "measures"),
        dimensions: texts(json, "dimensions"),
        time_dimensions,
        segments: texts(json, "segments"),
        filters: filters
            .iter()
            .map(|filter| parse_filter(filter, timezone))
            .collect::<Result<_>>()?,
        order: json["order"].as_array().map(|all| all.iter().map(pair).collect()),
        limit: json["limit"]
            .as_u64()
            .unwrap_or(crate::limits::QUERY_LIMIT_ROWS_DEFAULT),
        offset: json["offset"].as_u64().unwrap_or(0),
        total: json["total"] == true,
        ungrouped: json["ungrouped"] == true,
        security_context: Arc::new(json["context"].clone()),
        groups: texts(json, "groups").into(),
        roles: texts(json, "roles").into(),
        timezone,
        ..Query::default()
    })
}

pub(crate) const MODEL: &str = include_str!("tests/model.yml");

/// One event: id, instant, visitor, type, name, country, width, revenue in millionths, bot, path.
type Sample = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<i64>,
    Option<i128>,
    Option<bool>,
    &'static str,
);

const SAMPLES: &[Sample] = &[
    (
        "e1",
        "2024-03-10T06:30:00Z",
        "a",
        "page",
        Some("DE"),
        Some(400),
        None,
        Some(false),
        "/a",
    ),
    (
        "e2",
        "2024-03-10T07:30:00Z",
        "a",
        "track",
        Some("DE"),
        Some(400),
        Some(10_500_000),
        Some(false),
        "/a%b",
    ),
    (
        "e3",
        "2024-03-31T00:59:59.999999Z",
        "b",
        "page",
        Some("FR"),
        Some(1200),
        None,
        Some(false),
        "/A_b",
    ),
    (
        "e4",
        "2024-03-31T01:00:00Z",
        "b",
        "page",
        None,
        Some(1200),
        None,
        None,
        "/x\\y",
    ),
    (
        "e5",
        "2024-11-03T05:30:00Z",
        "c",
        "page",
        Some("US"),
        Some(800),
        None,
        Some(true),
        "/c",
    ),
    (
        "e6",
        "2024-11-03T06:30:00Z",
        "c",
        "track",
        Some("US"),
        Some(800),
        Some(20_000_000),
        Some(true),
        "/c",
    ),
    (
        "e7",
        "2024-12-31T23:59:59.999500Z",
        "d",
        "page",
        Some(""),
        None,
        None,
        Some(false),
        "/d",
    ),
    (
        "e8",
        "2025-01-01T00:00:00Z",
        "d",
        "track",
        Some("us"),
        None,
        Some(250_000),
        Some(false),
        "/d",
    ),
];

fn event(sample: &Sample) -> Event {
    let (id, at, visitor, kind, country, width, revenue, bot, path) = *sample;
    let at = chrono::DateTime::parse_from_rfc3339(at).unwrap().timestamp_micros();
    let mut event = Event::with_capacity(16);
    event.set(Column::EventId, id);
    event.set_ts(Column::Ts, at);
    event.set_ts(Column::ReceivedAt, at);
    event.set(Column::VisitorId, visitor);
    event.set(Column::EventType, kind);
    event.set(Column::Protocol, "native");
    event.set(Column::PagePath, path);
    if kind == "track" {
        event.set(Column::EventName, "buy");
    }
    if let Some(country) = country {
        event.set(Column::GeoCountry, country);
    }
    if let Some(width) = width {
        event.set_int(Column::ViewportW, width);
        event.set(Column::Properties, format!("{{\"width\": {width}, \"tag\": \"{id}\"}}"));
    }
    if let Some(revenue) = revenue {
        event.set(Column::Revenue, Value::Decimal(revenue));
    }
    if let Some(bot) = bot {
        event.set(Column::IsBot, bot);
    }
    event
}

pub(crate) fn samples() -> Vec<Event> {
    SAMPLES.iter().map(event).collect()
}

#[tokio::test]
async fn cases() {
    let files = [
        ("filters.case", include_str!("tests/filters.case")),
        ("measures.case", include_str!("tests/measures.case")),
        ("time.case", include_str!("tests/time.case")),
        ("shape.case", include_str!("tests/shape.case")),
        ("errors.case", include_str!("tests/errors.case")),
    ];
    run_cases(&Fixture::new(MODEL, &samples()), &files).await;
}

/// Asks every query of `files` and compares the rows.
pub(crate) async fn run_cases(fixture: &Fixture, files: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (file, text) in files {
        for case in text.split("\n## ").skip(1) {
            let mut lines = case.lines();
            let name = lines.next().unwrap();
            let query = lines.next().unwrap();
            let expected: String = lines
                .filter(|line| !line.trim().is_empty())
                .map(|line| format!("{line}\n"))
                .collect();
            let got = fixture.shown(query).await;
            if got != expected {
                wrong.push_str(&format!("{file}: {name}\n{query}\nexpected:\n{expected}got:\n{got}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_operator_has_one_row_and_a_name_of_its_own() {
    let mut names: Vec<&str> = filter::OPERATORS.iter().flat_map(|row| row.names).copied().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for row in filter::OPERATORS {
        assert_eq!(Operator::from_name(row.operator.name()), Some(row.operator));
        assert_eq!(
            filter::OPERATORS
                .iter()
                .filter(|other| other.operator == row.operator)
                .count(),
            1
        );
    }
    assert_eq!(Operator::from_name("in"), Some(Operator::Equals));
    assert_eq!(Operator::from_name("looksLike"), None);
}

#[tokio::test]
async fn bounds_are_refused_before_planning() {
    let fixture = Fixture::new(MODEL, &[]);
    let base = parse(&serde_json::json!({"measures": ["Events.count"]})).unwrap();
    let leaf = |values: usize| Filter::Member {
        member: "Events.country".to_owned(),
        operator: Operator::Equals,
        values: (0..values).map(|n| Some(n.to_string())).collect(),
    };
    let mut deep = leaf(1);
    for _ in 0..100 {
        deep = Filter::Or(vec![deep]);
    }
    let wrong = [
        Query {
            filters: vec![deep],
            ..base.clone()
        },
        Query {
            filters: (0..501).map(|_| leaf(1)).collect(),
            ..base.clone()
        },
        Query {
            filters: vec![leaf(10_001)],
            ..base.clone()
        },
        Query {
            measures: vec!["Events.count".to_owned(); 201],
            ..base.clone()
        },
    ];
    for query in wrong {
        let error = fixture.ask(&query).await.unwrap_err();
        assert!(error.message().contains("at most"), "{error}");
    }
    let wide = Query {
        filters: vec![Filter::Or((0..500).map(|_| leaf(3)).collect())],
        ..base.clone()
    };
    assert_eq!(fixture.ask(&wide).await.unwrap().rows.len(), 1);
    let many = Query {
        filters: vec![leaf(10_000)],
        ..base
    };
    assert_eq!(fixture.ask(&many).await.unwrap().rows.len(), 1);
}

/// What a condition on a text column must do, written as plainly as possible.
fn passes(operator: Operator, values: &[Option<String>], cell: Option<&str>) -> bool {
    let has_null = values.contains(&None);
    let texts: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    let matches = |text: &str, value: &str| {
        let (lower, pattern) = (text.to_lowercase(), value.to_lowercase());
        match operator {
            Operator::Equals | Operator::NotEquals => text == value,
            Operator::Contains | Operator::NotContains => lower.contains(&pattern),
            Operator::StartsWith | Operator::NotStartsWith => lower.starts_with(&pattern),
            _ => lower.ends_with(&pattern),
        }
    };
    let any = cell.is_some_and(|text| texts.iter().any(|value| matches(text, value)));
    let negated = operator.row().negated;
    match (cell, negated) {
        (None, false) => has_null,
        (None, true) => !has_null || (texts.is_empty() && operator != Operator::NotEquals),
        (Some(_), false) => any,
        (Some(_), true) => !any,
    }
}

static SHARED: LazyLock<(Fixture, tokio::runtime::Runtime)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    (Fixture::new(MODEL, &samples()), runtime)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_filters_agree_with_a_plain_reading(
        picks in proptest::collection::vec(
            (0_usize..8, proptest::collection::vec(proptest::option::weighted(0.8, "[aAbB%_/\\\\dDeEuUsS]{0,3}"), 1..4), any::<bool>()),
            1..4,
        ),
        or in any::<bool>(),
    ) {
        let operators = [
            Operator::Equals, Operator::NotEquals, Operator::Contains, Operator::NotContains,
            Operator::StartsWith, Operator::NotStartsWith, Operator::EndsWith, Operator::NotEndsWith,
        ];
        let leaves: Vec<(Operator, Vec<Option<String>>, bool)> =
            picks.into_iter().map(|(at, values, path)| (operators[at], values, path)).collect();
        let filters: Vec<Filter> = leaves
            .iter()
            .map(|(operator, values, path)| Filter::Member {
                member: if *path { "Events.path" } else { "Events.country" }.to_owned(),
                operator: *operator,
                values: values.clone(),
            })
            .collect();
        let expected = SAMPLES.iter().filter(|sample| {
            let mut all = leaves.iter().map(|(operator, values, path)| {
                passes(*operator, values, if *path { Some(sample.8) } else { sample.4 })
            });
            if or { all.any(|pass| pass) } else { all.all(|pass| pass) }
        });
        let mut expected: Vec<&str> = expected.map(|sample| sample.0).collect();
        expected.sort_unstable();
        let mut query = parse(&serde_json::json!({"dimensions": ["Events.id"], "order": [["Events.id", "asc"]]})).unwrap();
        query.filters = if or { vec![Filter::Or(filters)] } else { filters };
        let (fixture, runtime) = &*SHARED;
        let answer = runtime.block_on(fixture.ask(&query)).unwrap();
        let got: Vec<&str> = answer.rows.iter().map(|row| match &row[0] { Cell::Text(id) => id.as_str(), _ => "?" }).collect();
        prop_assert_eq!(got, expected, "{:?}", query.filters);
    }
}

#[tokio::test]
async fn explain_gives_sql() {
    let fixture = Fixture::new(MODEL, &[]);
    let query = parse(&serde_json::json!({
        "measures": ["Events.count"], "dimensions": ["Events.country"],
        "filters": [{"member": "Events.country", "operator": "equals", "values": ["'; DROP TABLE events; --"]}]
    }))
    .unwrap();
    let text = fixture
        .session
        .explain(Arc::clone(&fixture.model), &query)
        .await
        .unwrap();
    assert!(text.starts_with("SELECT"), "{text}");
    assert!(text.contains("'''; DROP TABLE events; --'"), "{text}");
}

#[test]
fn errors_of_ours_keep_their_kind_through_plans() {
    let wrapped = datafusion::error::DataFusionError::External(Error::invalid("no").into());
    assert_eq!(Error::from(wrapped).kind(), crate::ErrorKind::Invalid);
}
