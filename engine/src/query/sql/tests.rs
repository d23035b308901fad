use super::*;
use crate::model::Location;
use datafusion::logical_expr::ExprSchemable;

fn schema() -> DFSchema {
    tables::scan(tables::EVENTS)
        .unwrap()
        .build()
        .unwrap()
        .schema()
        .as_ref()
        .clone()
}

#[test]
fn a_model_can_only_read_its_tables() {
    let wrong = [
        "DROP TABLE events",
        "INSERT INTO events SELECT * FROM events",
        "DELETE FROM events",
        "CREATE TABLE x AS SELECT 1",
        "COPY events TO '/tmp/x.parquet'",
        "SELECT 1; SELECT 2",
        "SELECT * INTO x FROM events",
        "EXPLAIN SELECT 1",
        "SET a = 1",
        "SHOW TABLES",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM other.events",
        "SELECT * FROM a.public.events",
        "SELECT * FROM generate_series(1, 1000000000)",
        "SELECT * FROM read_parquet('/x')",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "WITH x AS (INSERT INTO events SELECT 1) SELECT * FROM x",
        "VALUES",
        "",
    ];
    for text in wrong {
        assert!(query(text).is_err(), "{text}");
    }
    for text in [
        "SELECT * FROM events",
        "select 1 as one from public.events",
        "SELECT count(*) FROM \"rejected\"",
        "VALUES (1)",
    ] {
        assert!(query(text).is_ok(), "{text}: {:?}", query(text).err());
    }
}

#[test]
fn an_expression_is_exactly_one() {
    let schema = schema();
    let wrong = [
        "1; DROP TABLE events",
        "ts, ts",
        "ts AS x",
        "ts FROM rejected",
        "1) OR (1 = 1",
        "",
        "nope",
        "nope(ts)",
        "ts ORDER BY 1",
    ];
    for text in wrong {
        assert!(expression(text, &schema).is_err(), "{text}");
    }
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(expression(&deep, &schema).is_err());
}

#[test]
fn what_authors_write_for_postgresql_plans() {
    let schema = schema();
    let right = [
        "page_path",
        "event_name = 'buy'",
        "value::int",
        "ts::date",
        "ts::timestamp",
        "(value)::numeric(10, 2)",
        "revenue::float8",
        "properties ->> 'k'",
        "properties->'a'->>'b'",
        "(properties ->> 'n')::int",
        "EXTRACT(EPOCH FROM (received_at - ts))",
        "EXTRACT(EPOCH FROM received_at - ts) / 60",
        "EXTRACT(HOUR FROM ts)",
        "ts + interval '1 day'",
        "ts - INTERVAL '86400 seconds' > now()",
        "date_trunc('day', ts)",
        "date_part('hour', ts)",
        "to_char(ts, '%Y')",
        "ts AT TIME ZONE 'Europe/Berlin'",
        "page_path ILIKE '%x%'",
        "page_path NOT LIKE '/a%'",
        "page_path ~ '^/a'",
        "page_path ~* 'A'",
        "NULLIF(value, 0)",
        "COALESCE(user_id, anonymous_id)",
        "GREATEST(value, 1)",
        "CASE WHEN value > 1 THEN 'a' ELSE 'b' END",
        "CASE event_type WHEN 'page' THEN 1 END",
        "event_type IN ('a', 'b')",
        "value BETWEEN 1 AND 2",
        "is_bot IS NOT TRUE",
        "user_id IS DISTINCT FROM anonymous_id",
        "split_part(page_path, '/', 2)",
        "regexp_replace(page_path, '/[0-9]+', '/N', 'g')",
        "substring(page_path from 2 for 3)",
        "position('a' in page_path)",
        "lower(trim(both ' ' from page_title))",
        "concat(os, ' ', os_version)",
        "os || ' ' || os_version",
        "round(value::numeric, 2)",
        "length(page_path)",
        "COUNT(*) FILTER (WHERE event_name = 'buy')",
        "COUNT(DISTINCT visitor_id)",
        "SUM(CASE WHEN is_bot THEN 1 ELSE 0 END)",
        "100.0 * COUNT(*) / NULLIF(COUNT(DISTINCT visitor_id), 0)",
        "string_agg(page_path, ',')",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY value)",
        "MAX(page_path)",
        "(SELECT MAX(ts) FROM events)",
    ];
    let mut wrong = Vec::new();
    for text in right {
        let planned = expression(text, &schema).and_then(|expr| expr.get_type(&schema).map_err(model_error));
        if let Err(error) = planned {
            wrong.push(format!("{text}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn queries_that_authors_write_for_postgresql_plan() {
    let right = [
        "SELECT DISTINCT ON (visitor_id) visitor_id, ts FROM events ORDER BY visitor_id, ts DESC",
        "SELECT visitor_id, ROW_NUMBER() OVER (PARTITION BY visitor_id ORDER BY ts) AS n FROM public.events",
        "SELECT visitor_id, LAG(ts) OVER (PARTITION BY visitor_id ORDER BY ts) AS before FROM events",
        "WITH a AS (SELECT visitor_id, MIN(ts) t FROM events GROUP BY 1), b AS (SELECT * FROM a) SELECT * FROM b LEFT JOIN a USING (visitor_id)",
        "SELECT a.visitor_id FROM events a JOIN events b ON a.visitor_id = b.visitor_id AND b.ts > a.ts AND b.ts <= a.ts + interval '1 day'",
        "SELECT 1 AS id, 'a' AS k UNION ALL SELECT 2, NULL",
        "SELECT * FROM events WHERE visitor_id IN (SELECT visitor_id FROM events WHERE event_name = 'buy')",
        "SELECT date_trunc('day', ts)::date AS d, count(*) FROM events GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 10",
        "SELECT visitor_id FROM events e WHERE EXISTS (SELECT 1 FROM rejected r WHERE r.received_at = e.received_at)",
    ];
    for text in right {
        assert!(query(text).is_ok(), "{text}: {:?}", query(text).err());
    }
}

#[test]
fn a_comparison_is_told_by_its_outermost_operator() {
    let cases = [
        ("{CUBE}.browser = 'Chrome'", true),
        ("{CUBE}.amount + 1 >= 2", true),
        ("{browser} <> 'a=b'", true),
        ("({CUBE}.browser = 'Chrome')", false),
        ("{CUBE}.browser = 'Chrome' AND {CUBE}.mobile", false),
        ("{CUBE}.mobile", false),
        ("{CUBE}.browser IN ('<', '>')", false),
        ("{CUBE}.browser LIKE '=%'", false),
        ("lower({CUBE}.browser", false),
    ];
    for (source, expected) in cases {
        let condition = SqlTemplate::parse(source, Location::default()).unwrap();
        assert_eq!(is_comparison(&condition), expected, "{source}");
    }
}
