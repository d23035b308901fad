//! Statements over a small model, from text to cells. `tests/*.case`: a name, SQL, what it is, its rows.

use super::*;
use crate::exec::QuerySession;
use crate::query::tests::{Fixture, MODEL, parse as parse_query, samples};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::sync::Arc;

fn asked(sql: &str) -> Asked {
    Asked {
        sql: sql.to_owned(),
        asker: Query::default(),
        user: "cube".to_owned(),
        rows_max: limits::QUERY_LIMIT_ROWS_MAX,
    }
}

impl Fixture {
    async fn sql(&self, asked: &Asked) -> Result<SqlAnswer> {
        let session: &QuerySession = &self.session;
        session
            .sql(&self.project, self.view.clone(), Arc::clone(&self.model), asked, 0)
            .await
    }

    async fn sql_plan(&self, sql: &str) -> Result<SqlPlan> {
        self.session.sql_plan(Arc::clone(&self.model), &asked(sql), 0).await
    }

    /// The kind, the types of the columns, and the rows.
    async fn told(&self, sql: &str) -> String {
        let answered = match self.sql_plan(sql).await {
            Ok(plan) => self.sql(&asked(sql)).await.map(|answer| (plan.kind, answer)),
            Err(error) => Err(error),
        };
        let mut out = String::new();
        match answered {
            Err(error) => discard(writeln!(out, "! {:?}: {}", error.kind(), first_line(error.message()))),
            Ok((kind, answer)) => {
                let types = answer.columns.iter().map(|column| format!(" {}", column.kind.name()));
                discard(writeln!(out, "> {}{}", kind.name(), types.collect::<String>()));
                for row in &answer.rows {
                    let cells = row.iter().map(shown).collect::<Vec<_>>().join(" | ");
                    discard(writeln!(out, "{}", cells.trim_end()));
                }
            }
        }
        out
    }
}

fn discard(_: std::fmt::Result) {}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Text(text) if text.is_empty() => "''".to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::Number(text) | Cell::Text(text) | Cell::Time(text) => text.clone(),
    }
}

/// The cases of a file with what they should give. With `SQL_CASES_OUT` set, writes what they give into that folder, to be
/// read and put in place by hand.
async fn run(fixture: &Fixture, file: &str, text: &str) -> String {
    let (mut wrong, mut out) = (String::new(), String::new());
    for (at, case) in text.split("\n## ").enumerate() {
        if at == 0 {
            out.push_str(case.trim_end());
            out.push('\n');
            continue;
        }
        let (name, rest) = case.split_once('\n').unwrap();
        let (sql, expected) = match rest.find("\n> ").or_else(|| rest.find("\n! ")) {
            Some(end) => rest.split_at(end + 1),
            None => (rest, ""),
        };
        let got = fixture.told(sql.trim_end()).await;
        if got.trim() != expected.trim() {
            discard(writeln!(
                wrong,
                "{file}: {name}\n{}\nexpected:\n{expected}got:\n{got}",
                sql.trim_end()
            ));
        }
        discard(write!(out, "\n## {name}\n{}\n{got}", sql.trim_end()));
    }
    if let Ok(folder) = std::env::var("SQL_CASES_OUT") {
        std::fs::write(std::path::Path::new(&folder).join(file), out).unwrap();
    }
    wrong
}

#[tokio::test]
async fn cases() {
    let fixture = Fixture::new(MODEL, &samples());
    let files = [
        ("regular.case", include_str!("tests/regular.case")),
        ("pushdown.case", include_str!("tests/pushdown.case")),
        ("post.case", include_str!("tests/post.case")),
        ("errors.case", include_str!("tests/errors.case")),
    ];
    let mut wrong = String::new();
    for (file, text) in files {
        wrong.push_str(&run(&fixture, file, text).await);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Texts that are meant to take all memory, all stack or all time.
#[tokio::test]
async fn hostile_texts_are_refused_at_once() {
    let fixture = Fixture::new(MODEL, &samples());
    let chain = |n: usize, piece: &str| piece.repeat(n);
    let mut doubling = "SELECT path AS p FROM Events".to_owned();
    for _ in 0..20 {
        doubling = format!("SELECT p || p AS p FROM ({doubling}) t");
    }
    let mut doubled_with = "WITH c0 AS (SELECT 1 AS x)".to_owned();
    for n in 1..40 {
        doubled_with += &format!(
            ", c{n} AS (SELECT * FROM c{} UNION ALL SELECT * FROM c{})",
            n - 1,
            n - 1
        );
    }
    doubled_with += " SELECT * FROM c39";
    let many = (0..10_500).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(",");
    let hostile = [
        format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT 1{}", chain(30_000, "+1")),
        format!(
            "SELECT COUNT(*) FROM Events WHERE {} true",
            chain(3_000, "id = 'x' OR ")
        ),
        format!("SELECT COUNT(*) FROM Events WHERE NOT {} true", chain(1_900, "NOT ")),
        format!("SELECT COUNT(*) FROM Events WHERE id IN ({many})"),
        format!("SELECT '{}'", "x".repeat(200_000)),
        format!("SELECT 1 {}", chain(1_500, "UNION ALL SELECT 1 ")),
        format!("SELECT {}1{}", chain(200, "ABS("), ")".repeat(200)),
        format!(
            "SELECT * FROM {}Events{}",
            chain(100, "(SELECT * FROM "),
            chain(100, ") t")
        ),
        format!("SELECT {} FROM Events", chain(600, "CASE WHEN true THEN ")),
        format!("SELECT REPLACE(path, '', '{}') FROM Events", "x".repeat(1_000)),
        "SELECT LPAD(path, 1000000000, 'x') FROM Events".to_owned(),
        format!("SELECT CONCAT({}path) FROM Events", chain(100, "path, ")),
        doubling,
        doubled_with,
    ];
    for sql in &hostile {
        let shown: String = sql.chars().take(80).collect();
        match fixture.sql(&asked(sql)).await {
            Err(error) => assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{shown}: {error}"),
            Ok(answer) => panic!("{shown}: answered with {} rows", answer.rows.len()),
        }
    }
}

#[tokio::test]
async fn wall_clocks_are_those_of_the_zone() {
    let fixture = Fixture::new(MODEL, &samples());
    let berlin = |sql: &str| Asked {
        asker: Query {
            timezone: Tz::Europe__Berlin,
            ..Query::default()
        },
        ..asked(sql)
    };
    let rows = async |sql: &str| {
        let answer = fixture.sql(&berlin(sql)).await.unwrap();
        let rows = answer.rows.iter();
        rows.map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    // e3 and e4 lie on both sides of the hour that Berlin leaves out on 2024-03-31.
    assert_eq!(
        rows("SELECT id, at FROM Events WHERE id IN ('e3', 'e4') ORDER BY id").await,
        ["e3 2024-03-31T01:59:59.999", "e4 2024-03-31T03:00:00.000"]
    );
    assert_eq!(
        rows("SELECT COUNT(*) FROM Events WHERE at >= '2024-03-31 03:00' AND at < '2024-04-01'").await,
        ["1"]
    );
    assert_eq!(
        rows("SELECT EXTRACT(HOUR FROM at), COUNT(*) FROM Events WHERE country IS NULL GROUP BY 1").await,
        ["3 1"]
    );
    assert_eq!(
        rows("SELECT date_trunc('year', at), COUNT(*) FROM Events WHERE id > 'e6' GROUP BY 1").await,
        ["2025-01-01T00:00:00.000 2"]
    );
    assert_eq!(rows("SELECT now()").await, ["1970-01-01T01:00:00.000"]);
}

#[tokio::test]
async fn an_answer_is_cut_at_the_bound() {
    let fixture = Fixture::new(MODEL, &samples());
    let two = Asked {
        rows_max: 2,
        ..asked("SELECT id FROM Events ORDER BY id LIMIT 100")
    };
    let answer = fixture.sql(&two).await.unwrap();
    assert_eq!(answer.rows.len(), 2);
    assert!(!answer.reads_clock);
    assert!(fixture.sql(&asked("SELECT now()")).await.unwrap().reads_clock);
}

/// A part of a random query: as SQL, and in the query language.
#[derive(Debug, Clone)]
struct Both {
    sql: &'static str,
    json: &'static str,
}

const fn both(sql: &'static str, json: &'static str) -> Both {
    Both { sql, json }
}

const MEASURES: &[Both] = &[
    both("COUNT(*)", "Events.count"),
    both("MEASURE(count)", "Events.count"),
    both("COUNT(DISTINCT visitors)", "Events.visitors"),
    both("SUM(revenue)", "Events.revenue"),
    both("MEASURE(\"perVisitor\")", "Events.perVisitor"),
    both("MAX(\"maxWidth\")", "Events.maxWidth"),
    both("MEASURE(buys)", "Events.buys"),
];

const DIMENSIONS: &[Both] = &[
    both("country", "Events.country"),
    both("size", "Events.size"),
    both("\"isBot\"", "Events.isBot"),
    both("width", "Events.width"),
    both("path", "Events.path"),
];

const CONDITIONS: &[Both] = &[
    both(
        "country = 'DE'",
        r#"{"member":"Events.country","operator":"equals","values":["DE"]}"#,
    ),
    both(
        "country IN ('DE','US')",
        r#"{"member":"Events.country","operator":"equals","values":["DE","US"]}"#,
    ),
    both("country IS NOT NULL", r#"{"member":"Events.country","operator":"set"}"#),
    both("country IS NULL", r#"{"member":"Events.country","operator":"notSet"}"#),
    both(
        "width >= 500",
        r#"{"member":"Events.width","operator":"gte","values":["500"]}"#,
    ),
    both(
        "500 > width",
        r#"{"member":"Events.width","operator":"lt","values":["500"]}"#,
    ),
    both(
        "path ILIKE '%a%'",
        r#"{"member":"Events.path","operator":"contains","values":["a"]}"#,
    ),
    both(
        "path ILIKE '/D%'",
        r#"{"member":"Events.path","operator":"startsWith","values":["/d"]}"#,
    ),
    both(
        "\"isBot\" IS TRUE",
        r#"{"member":"Events.isBot","operator":"equals","values":["true"]}"#,
    ),
    both(
        "(country = 'DE' OR width > 1000)",
        r#"{"or":[{"member":"Events.country","operator":"equals","values":["DE"]},{"member":"Events.width","operator":"gt","values":["1000"]}]}"#,
    ),
    both(
        "at >= '2024-11-01'",
        r#"{"member":"Events.at","operator":"afterOrOnDate","values":["2024-11-01"]}"#,
    ),
    both(
        "at < '2024-11-01'",
        r#"{"member":"Events.at","operator":"beforeDate","values":["2024-11-01"]}"#,
    ),
];

const BUCKETS: &[&str] = &["hour", "day", "week", "month", "quarter", "year"];

fn picks(of: usize, most: usize) -> impl Strategy<Value = Vec<usize>> {
    proptest::sample::subsequence((0..of).collect::<Vec<_>>(), 0..=most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("SQL_API_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
    ))]

    /// SQL over one cube gives what the same question gives in the query language, whichever way it is answered: as it
    /// is, or with every dimension hidden in an expression so that the query language cannot say it.
    #[test]
    fn sql_is_the_same_question(
        measures in picks(MEASURES.len(), 3),
        dimensions in picks(DIMENSIONS.len(), 2),
        conditions in picks(CONDITIONS.len(), 3),
        bucket in proptest::option::of(0..BUCKETS.len()),
        having in any::<bool>(),
        hidden in any::<bool>(),
    ) {
        prop_assume!(!measures.is_empty() || !dimensions.is_empty());
        let dimension = |at: &usize| match (hidden, DIMENSIONS[*at].sql) {
            (true, sql @ ("country" | "size" | "path")) => format!("({sql} || '')"),
            (true, "width") => "(width + 0)".to_owned(),
            (_, sql) => sql.to_owned(),
        };
        let time = bucket.map(|at| format!("date_trunc('{}', at)", BUCKETS[at]));
        let keys: Vec<String> = dimensions.iter().map(dimension).chain(time).collect();
        let calls = measures.iter().map(|at| MEASURES[*at].sql.to_owned());
        let columns: Vec<String> = keys.iter().cloned().chain(calls).collect();
        let named: Vec<String> = columns.iter().enumerate().map(|(at, sql)| format!("{sql} AS c{at}")).collect();
        let mut sql = format!("SELECT {} FROM Events", named.join(", "));
        let wheres: Vec<&str> = conditions.iter().map(|at| CONDITIONS[*at].sql).collect();
        if !wheres.is_empty() {
            sql += &format!(" WHERE {}", wheres.join(" AND "));
        }
        if !keys.is_empty() {
            sql += &format!(" GROUP BY {}", (1..=keys.len()).map(|at| at.to_string()).collect::<Vec<_>>().join(", "));
        }
        let mut filters: Vec<serde_json::Value> =
            conditions.iter().map(|at| serde_json::from_str(CONDITIONS[*at].json).unwrap()).collect();
        if having {
            sql += " HAVING COUNT(*) >= 2";
            filters.push(serde_json::json!({"member": "Events.count", "operator": "gte", "values": ["2"]}));
        }
        let mut distinct: Vec<&str> = measures.iter().map(|at| MEASURES[*at].json).collect();
        distinct.dedup();
        let times: Vec<serde_json::Value> = bucket
            .iter()
            .map(|at| serde_json::json!({"dimension": "Events.at", "granularity": BUCKETS[*at]}))
            .collect();
        let query = parse_query(&serde_json::json!({
            "measures": distinct,
            "dimensions": dimensions.iter().map(|at| DIMENSIONS[*at].json).collect::<Vec<_>>(),
            "timeDimensions": times,
            "filters": filters,
        })).unwrap();
        let fixture = &*FIXTURE;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (theirs, ours) = runtime.block_on(async { (fixture.ask(&query).await, fixture.sql(&asked(&sql)).await) });
        let (theirs, ours) = (theirs.unwrap(), ours.map_err(|error| format!("{sql}: {error}")).unwrap());
        // The answer has a column for each measure once; the SQL for each time it is named.
        let place = |at: usize| match at.checked_sub(keys.len()) {
            None => at,
            Some(measure) => {
                let path = MEASURES[measures[measure]].json;
                keys.len() + distinct.iter().position(|known| *known == path).unwrap()
            }
        };
        let sorted = |mut rows: Vec<Vec<String>>| { rows.sort(); rows };
        let row = |row: &Vec<Cell>| (0..columns.len()).map(|at| number(&row[place(at)])).collect();
        let theirs = sorted(theirs.rows.iter().map(row).collect());
        let ours = sorted(ours.rows.iter().map(|row| row.iter().map(number).collect()).collect());
        prop_assert_eq!(theirs, ours, "{}", sql);
    }
}

static FIXTURE: std::sync::LazyLock<Fixture> = std::sync::LazyLock::new(|| Fixture::new(MODEL, &samples()));

/// A cell for comparison: numbers by value, because SQL has doubles where the model has decimals.
fn number(cell: &Cell) -> String {
    match cell {
        Cell::Number(text) => format!("{:.9e}", text.parse::<f64>().unwrap()),
        other => shown(other),
    }
}

/// Policies hold for SQL whichever way it is answered, and for what it makes of members.
#[tokio::test]
async fn policies_hold_for_what_sql_makes_of_members() {
    const POLICIES: &str = r#"
cubes:
  - name: Events
    sql_table: public.events
    measures:
      - {name: count, type: count}
      - {name: revenue, type: sum, sql: revenue}
    dimensions:
      - {name: id, type: string, sql: event_id, primary_key: true, public: true}
      - {name: country, type: string, sql: geo_country}
      - {name: path, type: string, sql: page_path}
      - {name: visitor, type: string, sql: visitor_id}
      - {name: width, type: number, sql: viewport_w}
    access_policy:
      - group: country
        member_level: {includes: [count, id, country]}
        member_masking: {includes: [path, width]}
        row_level:
          filters: [{member: country, operator: equals, values: ["{ securityContext.country }"]}]
"#;
    let fixture = Fixture::new(POLICIES, &samples());
    let german = |sql: &str| Asked {
        asker: Query {
            security_context: Arc::new(serde_json::json!({"country": "DE"})),
            groups: Arc::new(["country".to_owned()]),
            ..Query::default()
        },
        ..asked(sql)
    };
    let told = async |sql: &str| match fixture.sql(&german(sql)).await {
        Ok(answer) => {
            let rows = answer.rows.iter();
            rows.map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Err(error) => format!("! {}", first_line(error.message())),
    };
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM Events", "2"),
        ("SELECT UPPER(country), COUNT(*) FROM Events GROUP BY 1", "DE 2"),
        ("SELECT COUNT(DISTINCT country) FROM Events", "1"),
        (
            "SELECT COUNT(*) FROM Events WHERE country LIKE '%' OR country IS NULL",
            "2",
        ),
        ("SELECT COUNT(*) FROM (SELECT id FROM Events LIMIT 100) t", "2"),
        ("SELECT COUNT(*) FROM Events WHERE id IN (SELECT id FROM Events)", "2"),
        (
            "SELECT MAX(n) FROM (SELECT country, COUNT(*) AS n FROM Events GROUP BY 1 UNION ALL SELECT '', COUNT(*) FROM Events) t",
            "2",
        ),
        (
            "SELECT id, path, width FROM Events ORDER BY id",
            "e1 null null, e2 null null",
        ),
        ("SELECT UPPER(path), COUNT(*) FROM Events GROUP BY 1", "null 2"),
        ("SELECT id || path AS x FROM Events", "null, null"),
        ("SELECT MAX(width), COUNT(*) FROM Events", "null 2"),
        ("SELECT COUNT(*) FILTER (WHERE path = '/a') FROM Events", "null"),
        (
            "SELECT column_name FROM information_schema.columns WHERE column_name IN ('visitor', 'revenue')",
            "",
        ),
    ] {
        assert_eq!(told(sql).await, expected, "{sql}");
    }
    for sql in [
        "SELECT visitor FROM Events",
        "SELECT SUM(revenue) FROM Events",
        "SELECT COUNT(*) FROM Events WHERE LENGTH(path) = 2",
        "SELECT COUNT(*) FROM Events WHERE path LIKE '/a%'",
    ] {
        assert!(told(sql).await.starts_with("! "), "{sql}: {}", told(sql).await);
    }
    let stranger = fixture.sql(&asked("SELECT COUNT(*) FROM Events")).await;
    assert!(stranger.is_err(), "nothing is granted to others: {stranger:?}");
}
