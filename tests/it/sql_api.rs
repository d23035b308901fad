//! SQL over cubes on the wire: what a real Cube server answered to the same SQL, the form of the answers, and that a token
//! never sees another project.

use crate::cube_conformance::{ORACLE_SECRET, data, gzip_lines, recorded_server};
use crate::server::Server;
use crate::support::client::{Client, Reply, token, token_with};
use crate::support::events::page_views;
use serde_json::{Value, json};

/// Records of the recording that are no SQL, or whose answer is our own.
const OTHERS: &[(&str, &str)] = &[
    ("sqlapi/bad-password", "Passwords belong to the wire protocol."),
    ("sqlapi/bad-user", "Users belong to the wire protocol."),
    (
        "sqlapi/current-user",
        "The user's name is that of the recorded installation.",
    ),
    (
        "sqlapi/explain",
        "The plan is shown in our own words; its request is compared.",
    ),
    ("sqlapi/show-tables", "The replayed model has one cube more."),
];

fn ask(client: &Client, token: &str, body: &Value) -> Reply {
    let headers = [("Authorization", token), ("Content-Type", "application/json")];
    let body = body.to_string();
    client.send("POST", "/cubejs-api/v1/cubesql", &headers, Some(body.as_bytes()))
}

/// Columns with their types, and rows.
type Table = (Vec<(String, String)>, Vec<Vec<Option<String>>>);

/// The lines of an answer: columns with their types, and rows.
fn table(reply: &Reply) -> Table {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let columns = head["schema"]
        .as_array()
        .unwrap_or_else(|| panic!("no schema in {head}"));
    let columns = columns
        .iter()
        .map(|c| (text(&c["name"]), text(&c["column_type"])))
        .collect();
    assert!(head["lastRefreshTime"].is_string(), "{head}");
    let data: Vec<Value> = lines.collect();
    assert!(!data.is_empty(), "an answer has a line of data");
    let cell = |cell: &Value| (!cell.is_null()).then(|| cell.as_str().unwrap_or_else(|| panic!("{cell}")).to_owned());
    let rows = data.iter().flat_map(|line| line["data"].as_array().unwrap());
    let rows = rows
        .map(|row| row.as_array().unwrap().iter().map(cell).collect())
        .collect();
    (columns, rows)
}

/// Rows of a recorded CSV, without its head.
fn recorded_rows(csv: &str) -> Vec<Vec<Option<String>>> {
    let cell = |cell: &str| (cell != "<NULL>").then(|| cell.to_owned());
    csv.lines()
        .skip(1)
        .map(|line| line.split(',').map(cell).collect())
        .collect()
}

/// A cell for comparison: numbers by value, instants in milliseconds.
fn plain(cell: &Option<String>) -> String {
    let Some(text) = cell else {
        return "null".to_owned();
    };
    if let Ok(number) = text.parse::<f64>() {
        return format!("{number:.9e}");
    }
    let instants = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let instant = instants
        .iter()
        .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok());
    instant.map_or_else(|| text.clone(), |at| at.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

fn sorted(rows: &[Vec<Option<String>>]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    rows.sort();
    rows
}

/// What is different from the record, if anything.
fn difference(record: &Value, reply: &Reply) -> Option<String> {
    let response = &record["response"];
    if response["exit"] != 0 {
        // The text names the same thing; ours has fewer words around it.
        let theirs = response["stderr"].as_str().unwrap().to_lowercase();
        let wanted = ["not found", "unable to parse", "nope", "unsupported query type"];
        let ours = if reply.status == 400 {
            reply.error().to_lowercase()
        } else {
            reply.text()
        };
        let missing = wanted
            .iter()
            .find(|part| theirs.contains(**part) && !ours.contains(**part));
        return (reply.status != 400 || missing.is_some()).then(|| format!("{} {ours}", reply.status));
    }
    if reply.status != 200 {
        return Some(reply.text());
    }
    let sql = record["request"]["sql"].as_str().unwrap();
    let (columns, rows) = table(reply);
    let theirs = recorded_rows(response["csv"].as_str().unwrap());
    if columns.is_empty() && sql.starts_with("SET") {
        return None;
    }
    let same = match sql.contains("ORDER BY") {
        true => rows.iter().flatten().map(plain).eq(theirs.iter().flatten().map(plain)),
        false => sorted(&rows) == sorted(&theirs),
    };
    (!same).then(|| format!("theirs: {theirs:?}\nours: {rows:?}"))
}

#[test]
fn recorded_sql_gives_the_recorded_rows() {
    let (_folder, server, _clock) = recorded_server();
    let client = server.client();
    let token = token_with(&json!({"iat": 1_700_000_000}), ORACLE_SECRET);
    let mut wrong = String::new();
    let mut compared = 0;
    for record in gzip_lines(&data().join("cube-0.35.81-sql-api.jsonl.gz")) {
        let name = record["name"].as_str().unwrap();
        if OTHERS.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let reply = ask(&client, &token, &json!({"query": record["request"]["sql"]}));
        compared += 1;
        if let Some(difference) = difference(&record, &reply) {
            wrong += &format!("{name}: {difference}\n");
        }
    }
    assert_eq!(compared, 10);
    assert!(wrong.is_empty(), "{wrong}");
    let (_, tables) = table(&ask(
        &client,
        &token,
        &json!({"query": "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 2"}),
    ));
    let names: Vec<&str> = tables.iter().filter_map(|row| row[1].as_deref()).collect();
    for cube in [
        "CheckoutFunnel",
        "Lonely",
        "Rolled",
        "Sessions",
        "TrackedEvents",
        "Users",
    ] {
        assert!(names.contains(&cube), "{names:?}");
    }
    let explained = ask(
        &client,
        &token,
        &json!({"query": "EXPLAIN SELECT country, MEASURE(count) FROM TrackedEvents GROUP BY 1"}),
    );
    let (_, rows) = table(&explained);
    let plan = rows
        .iter()
        .filter_map(|row| row[1].as_deref())
        .find(|plan| plan.starts_with("CubeScan: request="));
    let request: Value = serde_json::from_str(plan.unwrap().trim_start_matches("CubeScan: request=")).unwrap();
    assert_eq!(request["measures"], json!(["TrackedEvents.count"]));
    assert_eq!(request["dimensions"], json!(["TrackedEvents.country"]));
    assert_eq!(request["segments"], json!([]));
    post_forms(&client, &token);
}

fn post(client: &Client, token: &str, path: &str, body: &Value) -> Reply {
    let headers = [("Authorization", token), ("Content-Type", "application/json")];
    client.send("POST", path, &headers, Some(body.to_string().as_bytes()))
}

/// The forms of answers, over the recorded model.
fn post_forms(client: &Client, token: &str) {
    let empty = ask(
        client,
        token,
        &json!({"query": "SELECT country FROM TrackedEvents WHERE country = 'XX' GROUP BY 1"}),
    );
    assert_eq!(empty.text().lines().nth(1), Some("{\"data\":[]}"));
    assert_eq!(empty.header("content-type"), Some("application/json; charset=utf-8"));
    let (columns, _) = table(&ask(
        client,
        token,
        &json!({"query": "SELECT country, count, \"totalRevenue\", \"isMobile\", \"occurredAt\" FROM TrackedEvents LIMIT 1",
                "cache": "no-cache", "throwContinueWait": true}),
    ));
    let kinds: Vec<&str> = columns.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["String", "Int64", "Double", "Boolean", "Timestamp"]);
    let many = ask(
        client,
        token,
        &json!({"query": "SELECT \"eventId\" FROM TrackedEvents LIMIT 2500"}),
    );
    assert_eq!(many.text().lines().count(), 4, "a line of columns, three of data");
    assert_eq!(table(&many).1.len(), 2500);
    let (_, star) = table(&ask(
        client,
        token,
        &json!({"query": "SELECT * FROM TrackedEvents LIMIT 5"}),
    ));
    assert_eq!(star.len(), 5);

    for (body, part) in [
        (json!({}), "Query param is required"),
        (
            json!({"query": "SELECT 1", "timezone": "Nope/Zone"}),
            "valid IANA time zone",
        ),
        (
            json!({"query": "SELECT 1", "cache": "never"}),
            "\"cache\" must be one of",
        ),
        (json!({"query": "SELECT nope FROM TrackedEvents"}), "nope"),
    ] {
        let reply = ask(client, token, &body);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.error().contains(part), "{body}: {}", reply.text());
    }
    let (_, hours) = table(&ask(
        client,
        token,
        &json!({"query": "SELECT date_trunc('day', \"occurredAt\"), COUNT(*) FROM TrackedEvents WHERE \"occurredAt\" >= '2024-01-05' \
                          AND \"occurredAt\" < '2024-01-06' GROUP BY 1", "timezone": "America/New_York"}),
    ));
    assert_eq!(hours.len(), 1, "the day of New York: {hours:?}");

    let plain = "SELECT country, COUNT(*) FROM TrackedEvents WHERE \"occurredAt\" BETWEEN '2024-01-01' AND '2024-01-31' GROUP BY 1 ORDER BY 2 DESC LIMIT 10";
    let described = |sql: &str| {
        post(
            client,
            token,
            "/cubejs-api/v1/sql",
            &json!({"query": sql, "format": "sql"}),
        )
        .json()
    };
    let regular = described(plain);
    assert_eq!(regular["sql"]["status"], "ok");
    assert_eq!(regular["sql"]["query_type"], "regular");
    assert!(
        regular["sql"]["sql"][0].is_string() && regular["sql"]["sql"][1] == json!([]),
        "{regular}"
    );
    let pushed = described("SELECT UPPER(country), COUNT(*) FROM TrackedEvents GROUP BY 1");
    assert_eq!(pushed["sql"]["query_type"], "pushdown");
    let processed = described("SELECT COUNT(*) / 2 FROM TrackedEvents");
    assert_eq!(processed["sql"]["status"], "error");
    assert_eq!(processed["sql"]["query_type"], "post_processing");
    let wrong = described("SELECT nope FROM TrackedEvents");
    assert!(wrong["sql"]["error"].as_str().unwrap().contains("nope"), "{wrong}");

    let convert = |body: Value| post(client, token, "/cubejs-api/v1/convert-query", &body);
    let converted = convert(json!({"input": "sql", "output": "rest", "query": plain})).json();
    assert_eq!(
        converted,
        json!({"status": "ok", "query": {
            "measures": ["TrackedEvents.count"],
            "dimensions": ["TrackedEvents.country"],
            "segments": [],
            "timeDimensions": [{"dimension": "TrackedEvents.occurredAt",
                                "dateRange": ["2024-01-01T00:00:00.000", "2024-01-31T00:00:00.000"]}],
            "order": [["TrackedEvents.count", "desc"]],
            "limit": 10,
        }})
    );
    let loaded = post(
        client,
        token,
        "/cubejs-api/v1/load",
        &json!({"query": converted["query"]}),
    )
    .json();
    let (_, rows) = table(&ask(client, token, &json!({"query": plain})));
    assert_eq!(loaded["data"].as_array().unwrap().len(), rows.len());
    let first = &loaded["data"][0];
    assert_eq!(first["TrackedEvents.country"].as_str(), rows[0][0].as_deref());
    assert_eq!(first["TrackedEvents.count"].as_str(), rows[0][1].as_deref());
    let refused = convert(json!({"input": "sql", "output": "rest", "query": "SELECT COUNT(*) / 2 FROM TrackedEvents"}));
    assert_eq!((refused.status, &refused.json()["status"]), (200, &json!("error")));
    assert_eq!(
        convert(json!({"input": "rest", "output": "sql", "query": "SELECT 1"})).status,
        400
    );
}

#[test]
fn sql_sees_its_own_project_and_nothing_else() {
    let server = Server::start();
    let client = server.client();
    for (project, rows) in [("shop", 3), ("blog", 5)] {
        let events = page_views(project, rows, 1_700_000_000);
        let reply = client.ingest(&format!("{project}-key"), &json!(events));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let count = |project: &str| {
        let reply = ask(
            &client,
            &token(project),
            &json!({"query": "SELECT COUNT(*) FROM TrackedEvents"}),
        );
        table(&reply).1[0][0].clone().unwrap()
    };
    assert_eq!((count("shop"), count("blog")), ("3".to_owned(), "5".to_owned()));
    let hostile = [
        "SELECT * FROM events",
        "SELECT * FROM public.events",
        "SELECT * FROM rejected",
        "SELECT * FROM blog.public.TrackedEvents",
        "SELECT * FROM blog.TrackedEvents",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/x'",
        "INSERT INTO TrackedEvents VALUES (1)",
        "SELECT input_file_name() FROM TrackedEvents",
        "SELECT repeat('x', 2000000000)",
        "SELECT a.* FROM (SELECT * FROM TrackedEvents) a, (SELECT * FROM TrackedEvents) b",
    ];
    for sql in hostile {
        let reply = ask(&client, &token("shop"), &json!({ "query": sql }));
        assert_eq!(reply.status, 400, "{sql}: {}", reply.text());
        assert!(!reply.error().is_empty(), "{sql}");
    }
    let stranger = ask(&client, "forged", &json!({"query": "SELECT 1"}));
    assert_eq!(stranger.status, 403);
}
