//! Hostile SQL and GraphQL. Both are texts of a client that become plans, so their size, depth and width are bounded
//! before anything is planned.

use super::{Attack, Expect, attack, nested};
use serde_json::json;

/// Bodies of `POST /v1/cubesql`, and of `/v1/convert-query`.
pub fn statements() -> Vec<Attack> {
    use Expect::{Harmless, Refused};
    let sql = |name: &str, text: String, expect| attack(name, json!({ "query": text }).to_string(), expect);
    let of = |name: &str, what: &str, expect| sql(name, format!("SELECT {what} FROM TrackedEvents"), expect);
    let ors = |n: usize| {
        (0..n)
            .map(|k| format!("pageUrl = '{k}'"))
            .collect::<Vec<_>>()
            .join(" OR ")
    };
    let withs = (1..30).fold(
        "WITH w0 AS (SELECT pageUrl FROM TrackedEvents)".to_owned(),
        |text, n| {
            format!(
                "{text}, w{n} AS (SELECT a.pageUrl FROM w{} a CROSS JOIN w{} b)",
                n - 1,
                n - 1
            )
        },
    );
    vec![
        of("parentheses 10,000 deep", &nested("(", "1", ")", 10_000), Harmless),
        of("functions 5,000 deep", &nested("abs(", "1", ")", 5_000), Harmless),
        of(
            "CASE 2,000 deep",
            &nested("CASE WHEN true THEN ", "1", " END", 2_000),
            Harmless,
        ),
        of("NOT 20,000 times", &format!("{}true", "NOT ".repeat(20_000)), Harmless),
        of("minus 20,000 times", &format!("{}1", "- ".repeat(20_000)), Harmless),
        of("a sum of 20,000", &vec!["1"; 20_000].join("+"), Harmless),
        of("a text joined 20,000 times", &vec!["'a'"; 20_000].join("||"), Harmless),
        of("20,000 columns", &vec!["pageUrl"; 20_000].join(","), Harmless),
        sql(
            "20,000 ORs",
            format!("SELECT count(*) FROM TrackedEvents WHERE {}", ors(20_000)),
            Harmless,
        ),
        sql(
            "1,500 ORs",
            format!("SELECT count(*) FROM TrackedEvents WHERE {}", ors(1_500)),
            Harmless,
        ),
        sql(
            "an IN of 100,000",
            format!(
                "SELECT count(*) FROM TrackedEvents WHERE pageUrl IN ({})",
                vec!["'a'"; 100_000].join(",")
            ),
            Harmless,
        ),
        sql(
            "subqueries 500 deep",
            format!(
                "SELECT * FROM {}",
                nested("(SELECT * FROM ", "TrackedEvents", ") t", 500)
            ),
            Harmless,
        ),
        sql(
            "5,000 UNIONs",
            vec!["SELECT count(*) FROM TrackedEvents"; 5_000].join(" UNION ALL "),
            Harmless,
        ),
        sql(
            "names that double 30 times",
            format!("{withs} SELECT count(*) FROM w29"),
            Harmless,
        ),
        sql(
            "a recursive WITH",
            "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r".to_owned(),
            Harmless,
        ),
        sql(
            "a series of 10^12",
            "SELECT count(*) FROM generate_series(1, 1000000000000) g".to_owned(),
            Harmless,
        ),
        sql("a text of 10^9", "SELECT repeat('a', 1000000000)".to_owned(), Harmless),
        sql(
            "a padded text of 10^9",
            "SELECT lpad('a', 1000000000, 'b')".to_owned(),
            Harmless,
        ),
        sql(
            "a pattern that explodes",
            "SELECT count(*) FROM TrackedEvents WHERE pageUrl ~ '((a{100}){100}){100}'".to_owned(),
            Harmless,
        ),
        sql(
            "a million characters",
            format!("SELECT '{}'", "x".repeat(1_000_000)),
            Harmless,
        ),
        sql("a text that does not end", "SELECT 'abc".to_owned(), Harmless),
        sql("a comment that does not end", "SELECT 1 /* /* /*".to_owned(), Harmless),
        sql("comments 10,000 deep", nested("/*", "", "*/", 10_000), Harmless),
        sql("a name that does not end", "SELECT \"abc".to_owned(), Harmless),
        sql("NUL", "SELECT '\u{0}'".to_owned(), Harmless),
        sql("division by zero", "SELECT 1/0".to_owned(), Harmless),
        sql(
            "a number too large",
            "SELECT 9223372036854775807 + 1".to_owned(),
            Harmless,
        ),
        sql(
            "a number of 10,000 digits",
            format!("SELECT {}", "9".repeat(10_000)),
            Harmless,
        ),
        sql(
            "a year too large",
            "SELECT TIMESTAMP '275760-09-13 00:00:00'".to_owned(),
            Harmless,
        ),
        sql(
            "an interval too large",
            "SELECT now() + INTERVAL '9223372036854775807 years'".to_owned(),
            Harmless,
        ),
        sql("DROP", "DROP TABLE TrackedEvents".to_owned(), Harmless),
        sql("DELETE", "DELETE FROM TrackedEvents".to_owned(), Harmless),
        sql("INSERT", "INSERT INTO TrackedEvents VALUES (1)".to_owned(), Harmless),
        sql(
            "COPY to a file",
            "COPY (SELECT 1) TO '/tmp/tally-was-here'".to_owned(),
            Harmless,
        ),
        sql(
            "COPY from a file",
            "COPY TrackedEvents FROM '/etc/passwd'".to_owned(),
            Harmless,
        ),
        sql(
            "an external table",
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
            Harmless,
        ),
        sql("a file as a table", "SELECT * FROM '/etc/passwd'".to_owned(), Harmless),
        sql(
            "reading a file",
            "SELECT pg_read_file('/etc/passwd')".to_owned(),
            Harmless,
        ),
        sql("sleeping", "SELECT pg_sleep(1000)".to_owned(), Harmless),
        sql("two statements", "SELECT 1; DROP TABLE events".to_owned(), Harmless),
        sql("the table under the cubes", "SELECT * FROM events".to_owned(), Harmless),
        sql(
            "another tenant",
            "SELECT * FROM blog.TrackedEvents".to_owned(),
            Harmless,
        ),
        sql("nothing", String::new(), Harmless),
        sql("only semicolons", ";".repeat(100_000), Harmless),
        attack("a query that is no text", r#"{"query":{"a":1}}"#, Refused),
        attack("no query", "{}", Refused),
    ]
}

/// Bodies of `POST /graphql`.
pub fn documents() -> Vec<Attack> {
    use Expect::Harmless;
    let document = |name: &str, text: String| attack(name, json!({ "query": text }).to_string(), Harmless);
    let cube = |inside: &str| format!("{{ cube {{ {inside} }} }}");
    let aliases: String = (0..20_000).map(|n| format!("a{n}: count ")).collect();
    let fragments: String = (0..30)
        .map(|n| format!("fragment f{n} on Query {{ ...f{} ...f{} }} ", n + 1, n + 1))
        .collect();
    let values = vec!["\"x\""; 100_000].join(",");
    vec![
        document("fields 20,000 deep", nested("{a", "", "}", 20_000)),
        document("fields 500 deep", nested("{cube", "{count}", "}", 500)),
        document(
            "lists 20,000 deep",
            cube(&format!(
                "trackedEvents(where: {{count: {}}}) {{ count }}",
                nested("[", "1", "]", 20_000)
            )),
        ),
        document(
            "objects 20,000 deep",
            cube(&format!(
                "trackedEvents(where: {}) {{ count }}",
                nested("{AND: ", "1", "}", 20_000)
            )),
        ),
        document("20,000 aliases", cube(&format!("trackedEvents {{ {aliases} }}"))),
        document("20,000 cubes", cube(&"trackedEvents { count } ".repeat(20_000))),
        document(
            "a fragment of itself",
            "{ ...f } fragment f on Query { ...f }".to_owned(),
        ),
        document(
            "fragments that double 30 times",
            format!("{{ ...f0 }} {fragments} fragment f30 on Query {{ cube {{ trackedEvents {{ count }} }} }}"),
        ),
        document(
            "20,000 directives",
            cube(&format!(
                "trackedEvents {{ count {} }}",
                "@skip(if: false) ".repeat(20_000)
            )),
        ),
        document(
            "an IN of 100,000",
            cube(&format!(
                "trackedEvents(where: {{pageUrl: {{in: [{values}]}}}}) {{ count }}"
            )),
        ),
        document(
            "a text of 1 MB",
            cube(&format!(
                "trackedEvents(where: {{pageUrl: {{equals: \"{}\"}}}}) {{ count }}",
                "x".repeat(1_000_000)
            )),
        ),
        document(
            "introspection 200 deep",
            format!(
                "{{ __schema {{ types {{ {} }} }} }}",
                nested("fields { type { ", "name", " } }", 200)
            ),
        ),
        document(
            "a limit too large",
            "{ cube(limit: 99999999999999999999) { trackedEvents { count } } }".to_owned(),
        ),
        document(
            "a negative limit",
            "{ cube(limit: -1) { trackedEvents { count } } }".to_owned(),
        ),
        document("a mutation", "mutation { drop }".to_owned()),
        document(
            "a subscription",
            "subscription { cube { trackedEvents { count } } }".to_owned(),
        ),
        document(
            "a comment of 1 MB",
            format!("#{}\n{{ cube {{ trackedEvents {{ count }} }} }}", "x".repeat(1_000_000)),
        ),
        document("NUL", "{ cube \u{0} }".to_owned()),
        document("half a document", "{ cube { trackedEvents {".to_owned()),
        document("nothing", String::new()),
        attack(
            "variables that are no object",
            r#"{"query":"{ cube { trackedEvents { count } } }","variables":[1,2]}"#,
            Harmless,
        ),
        attack(
            "variables 20,000 deep",
            format!(
                r#"{{"query":"query($v: X) {{ cube {{ trackedEvents {{ count }} }} }}","variables":{{"v":{}}}}}"#,
                nested("[", "1", "]", 20_000)
            ),
            Harmless,
        ),
        attack("a query that is a list", r#"{"query":[]}"#, Harmless),
    ]
}
