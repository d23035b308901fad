use super::check_models;
use crate::clock::FixedClock;
use crate::event::schema;
use crate::model::{Builtin, Catalog, CatalogOptions, CubeSource, DimensionSql, Model};
use crate::project::ProjectId;
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::SessionContext;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

fn check(text: &str) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.yml"), text).unwrap();
    check_models(dir.path())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Opening fails when a built-in file does not plan, so an empty folder tries them all.
#[test]
fn the_sql_of_the_built_in_cubes_plans() {
    assert_eq!(check(""), Vec::<String>::new());
}

#[test]
fn sql_that_does_not_plan_is_told_with_its_line() {
    let text = "cubes:
  - name: A
    sql_table: events
    measures:
      - name: good
        type: count_distinct
        sql: visitor_id
      - name: bad
        type: sum
        sql: no_such_column
    dimensions:
      - name: worse
        sql: SELECT 1; DROP TABLE events
        type: string
  - name: B
    sql: SELECT * FROM secrets
  - name: C
    extends: TrackedEvents
    dimensions:
      - name: host
        sql: lower({pageUrlhosts})
        type: string
";
    let found = check(text);
    let lines: Vec<&str> = found.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(lines, ["a.yml:8", "a.yml:12", "a.yml:15"], "{found:#?}");
    assert!(found[0].contains("no_such_column"), "{found:#?}");
}

const MINUTE: i64 = 60_000_000;

/// Events of (visitor, minute, the SDK's session), all of them page views, in a table `events`.
fn events(rows: &[(&str, i64, Option<&str>)]) -> SessionContext {
    let text = |make: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new((0..rows.len()).map(make).collect::<StringArray>())
    };
    let schema = schema::events();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "ts" | "received_at" => {
            let micros = rows.iter().map(|(_, minute, _)| minute * MINUTE);
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")) as ArrayRef
        }
        "event_id" => text(&|n| Some(format!("e{n:02}"))),
        "visitor_id" => text(&|n| Some(rows[n].0.to_owned())),
        "client_session_id" => text(&|n| rows[n].2.map(str::to_owned)),
        "page_path" => text(&|n| Some(format!("/{n}"))),
        "page_url" => text(&|_| Some("https://shop.example:8443?a=/b#c".to_owned())),
        "event_type" => text(&|_| Some("page".to_owned())),
        "protocol" => text(&|_| Some("jitsu1".to_owned())),
        _ => new_null_array(field.data_type(), rows.len()),
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    let context = SessionContext::new();
    context.register_batch("events", batch).unwrap();
    context
}

fn builtin(sessions_padding: bool) -> Arc<Model> {
    let options = CatalogOptions {
        builtin: Builtin::All { sessions_padding },
        models_dir: None,
        clock: FixedClock::new(0),
        check_sql: None,
    };
    Catalog::open(options).unwrap().model(&ProjectId::new("p").unwrap())
}

/// The values of dimensions of a built-in cube, one text a row.
async fn select(context: &SessionContext, model: &Model, cube: &str, dimensions: &[&str]) -> Vec<String> {
    let cube = model.cube(cube, cube).unwrap();
    let from = match &cube.source {
        CubeSource::Table(table) => table.clone(),
        CubeSource::Sql(sql) => format!("({})", sql.source),
        CubeSource::Funnel(_) | CubeSource::View(_) => panic!("no SQL"),
    };
    let columns = dimensions.iter().map(|name| match &cube.dimension(name).unwrap().sql {
        DimensionSql::Expr(sql) => sql.source.replace("{CUBE}", "t"),
        other => panic!("{other:?}"),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {columns} FROM {from} t ORDER BY t.visitor_id, 1");
    let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells = batch
                .columns()
                .iter()
                .map(|column| array_value_to_string(column, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    rows
}

const ROWS: &[(&str, i64, Option<&str>)] = &[
    // Exactly 30 minutes apart is the same session, 31 is not.
    ("a", 10, None),
    ("a", 40, None),
    ("a", 71, None),
    ("a", 75, None),
    // The SDK began another session.
    ("b", 0, Some("s1")),
    ("b", 5, Some("s1")),
    ("b", 6, Some("s2")),
    // An event without an id of a session does not end one.
    ("c", 0, Some("s1")),
    ("c", 5, None),
    ("c", 6, Some("s2")),
];

#[tokio::test]
async fn sessions_are_cut_by_the_gap_and_by_the_sdks_own_id() {
    let dimensions = [
        "sessionID",
        "durationMinutes",
        "numberEvents",
        "pageUrlpath",
        "event",
        "isBounced",
    ];
    let found = select(&events(ROWS), &builtin(false), "Sessions", &dimensions).await;
    let expected = [
        "a-1 30.0 2 /0 page_view false",
        "a-2 4.0 2 /2 page_view false",
        "b-1 5.0 2 /4 page_view false",
        "b-2 0.0 1 /6 page_view true",
        "c-1 6.0 3 /7 page_view false",
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn padded_sessions_last_half_an_hour_longer_or_until_the_next() {
    let mut rows = ROWS.to_vec();
    // The next session begins within a minute of the last event: the padded one ends there.
    rows.extend([("d", 0, Some("s1")), ("d", 5, Some("s1")), ("d", 5, Some("s2"))]);
    let found = select(
        &events(&rows),
        &builtin(true),
        "Sessions",
        &["sessionID", "durationMinutes"],
    )
    .await;
    let expected = [
        "a-1 60.0", "a-2 34.0", "b-1 35.0", "b-2 30.0", "c-1 36.0", "d-1 5.0", "d-2 30.0",
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_starts_of_returning_users_are_those_of_the_sessions() {
    let context = events(ROWS);
    let model = builtin(false);
    let sessions = select(&context, &model, "Sessions", &["startAt"]).await;
    let returning = select(&context, &model, "ReturningUsers", &["first_timestamp"]).await;
    assert_eq!(sessions, returning);
    assert_eq!(sessions.len(), 5);
}

#[tokio::test]
async fn names_of_all_ages_of_gitlab_read_the_same_event() {
    let dimensions = ["event", "eventName", "eventType", "baseUrl", "src", "docPath", "url"];
    let found = select(&events(&ROWS[..1]), &builtin(false), "TrackedEvents", &dimensions).await;
    let url = "https://shop.example:8443";
    assert_eq!(
        found,
        [format!("page_view page_view pageview {url} jitsu /0 {url}?a=/b#c")]
    );
}
