use crate::engine::check_models;
use crate::model::Dialect;
use crate::query::sql;
use crate::query::tests::{Fixture, samples};

const MODEL: &str = include_str!("testdata/model.yml");
const ANSWERS: &str = include_str!("testdata/answers.case");

/// `answers.case`: a name after `#`, a query as clients write it, its rows.
#[tokio::test]
async fn models_written_for_clickhouse_are_answered() {
    let fixture = Fixture::new(MODEL, &samples());
    let mut wrong = Vec::new();
    for case in ANSWERS.split("# ").skip(1) {
        let mut parts = case.splitn(3, '\n');
        let (name, query, rows) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap_or_default(),
        );
        let found = fixture.shown(query).await;
        if found.trim() != rows.trim() {
            wrong.push(format!("# {name}\n{query}\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_dialect_shows_in_what_only_one_has() {
    for text in [
        "countIf(event_type = 'page')",
        "uniq(visitor_id)",
        "quantile(0.9)(value)",
        "TOSTARTOFHOUR(ts)",
        "sumIfOrNull(value, is_bot)",
        "is_bot ? 'bot' : 'human'",
        "event_type == 'page'",
        "`event_type`",
        "JSONExtractString(properties, 'a')",
        "SELECT count(*) FROM events PREWHERE is_bot",
        "murmurHash3_64(user_id)",
    ] {
        assert!(sql::is_clickhouse(text), "{text}");
    }
    for text in [
        "COUNT(*) FILTER (WHERE event_type = 'page')",
        "date_trunc('day', ts)",
        "properties ->> 'toDate('",
        "user_id = ANY(ARRAY['a'])",
        "CASE WHEN is_bot THEN 1 END",
        "COUNT(DISTINCT visitor_id)",
        "split_part(page_path, '/', 2)",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY value)",
        "value IN (1, 2) AND (ts > now() - INTERVAL '1 day')",
        "my_function(1)",
        "'countIf('",
    ] {
        assert!(!sql::is_clickhouse(text), "{text}");
    }
}

#[test]
fn what_has_no_form_here_is_refused_by_its_name() {
    let refused = [
        (
            "SELECT page_path FROM events ORDER BY ts LIMIT 1 BY visitor_id",
            "LIMIT BY",
        ),
        ("SELECT 1 AS a FROM events SETTINGS max_threads = 1", "SETTINGS"),
        ("SELECT x FROM events ARRAY JOIN tags AS x", "ARRAY JOIN"),
        (
            "SELECT count() AS c FROM events GROUP BY is_bot WITH TOTALS",
            "WITH TOTALS",
        ),
        ("SELECT DISTINCT ON (visitor_id) page_path FROM events", "DISTINCT ON"),
        ("SELECT sumState(value) AS s FROM events", "-state"),
        (
            "SELECT windowFunnel(10, 'strict_once')(ts, is_bot) AS f FROM events GROUP BY visitor_id",
            "",
        ),
        (
            "SELECT murmurHash3_64(user_id) AS h FROM events",
            "`murmurHash3_64` of ClickHouse is not answered",
        ),
        ("SELECT contIf(is_bot) AS h FROM events", "did you mean `countIf`"),
        (
            "SELECT toStartOfHours(ts) AS h FROM events",
            "did you mean `toStartOfHour`",
        ),
        ("SELECT lower(a, b) AS h FROM events", "takes 1 arguments, not 2"),
        ("SELECT CAST(value AS Tuple(Int8)) AS h FROM events", "type"),
        (
            "SELECT toStartOfHour(ts, 'Mars/Base') AS d FROM events",
            "time zone `Mars/Base`",
        ),
        ("SELECT dateDiff('aeon', ts, ts) AS d FROM events", ""),
        ("INSERT INTO events SELECT 1", ""),
        ("SELECT * FROM url('http://x', CSV)", ""),
        ("SELECT * FROM file('/etc/passwd')", ""),
        ("SELECT * FROM system.tables", ""),
        ("SELECT * FROM events INTO OUTFILE 'x'", ""),
        ("SELECT 1 AS a; SELECT 2 AS b", ""),
        ("DROP TABLE events", ""),
    ];
    for (text, message) in refused {
        match sql::query_in(Dialect::ClickHouse, text) {
            Ok(plan) if message.is_empty() => assert!(
                text.contains("windowFunnel") || text.contains("aeon"),
                "{text}: {plan:?}"
            ),
            Ok(plan) => panic!("{text}: {plan:?}"),
            Err(error) => assert!(error.message().contains(message), "{text}: {error}"),
        }
    }
}

#[test]
fn a_missing_function_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "cubes:
  - name: A
    sql_table: events
    measures:
      - name: bots
        type: number
        sql: countIf(is_bot)
      - name: wrong
        type: number
        sql: uniqq(visitor_id)
    dimensions:
      - name: worse
        type: string
        sql: JSONExtractStrin(properties, 'a')
";
    std::fs::write(folder.path().join("a.yml"), text).unwrap();
    let found: Vec<String> = check_models(folder.path())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("a.yml:8") && found[0].contains("`uniq`"),
        "{found:#?}"
    );
    assert!(
        found[1].starts_with("a.yml:12") && found[1].contains("`JSONExtractString`"),
        "{found:#?}"
    );
}

#[test]
fn deep_and_long_texts_end() {
    let deep = format!("{}1{}", "if(1, ".repeat(5_000), ", 2)".repeat(5_000));
    assert!(sql::expression_in(Dialect::ClickHouse, &deep, &datafusion::common::DFSchema::empty()).is_err());
    let names: Vec<String> = (1..40)
        .map(|at| format!("a{} + a{} AS a{at}", at - 1, at - 1))
        .collect();
    let multiplied = format!("SELECT 1 AS a0, {} FROM events", names.join(", "));
    assert!(sql::query_in(Dialect::ClickHouse, &multiplied).is_err());
    let circle = "SELECT a + 1 AS b, b + 1 AS a FROM events";
    assert!(sql::query_in(Dialect::ClickHouse, circle).is_err());
}
