use crate::query::tests::{Fixture, parse};
use crate::query::{Cell, Fill, Query};

const MODEL: &str = "
cubes:
  - name: E
    sql: >
      SELECT CAST('2024-03-09 12:00:00' AS TIMESTAMP) AS at, 'a' AS kind, 1.5 AS price UNION ALL
      SELECT CAST('2024-03-11 12:00:00' AS TIMESTAMP), 'a', 2.5 UNION ALL
      SELECT CAST('2024-03-11 13:00:00' AS TIMESTAMP), 'b', NULL
    dimensions:
      - {name: at, sql: at, type: time, granularities: [{name: pair, interval: 2 days, origin: '2024-03-01'}]}
      - {name: kind, sql: kind, type: string}
    measures:
      - {name: n, type: count}
      - {name: kinds, type: count_distinct, sql: kind}
      - {name: total, type: sum, sql: price}
      - {name: mean, type: avg, sql: price}
";

async fn shown(query: serde_json::Value, fill: Fill) -> Vec<String> {
    let query = Query {
        fill: Some(fill),
        ..parse(&query).unwrap()
    };
    let answer = Fixture::new(MODEL, &[]).ask(&query).await.unwrap();
    let cell = |cell: &Cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::Number(text) | Cell::Text(text) => text.clone(),
        Cell::Time(text) => text.trim_end_matches(":00:00.000").to_owned(),
    };
    let line = |row: &Vec<Cell>| row.iter().map(cell).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = answer.rows.iter().map(line).collect();
    lines.extend(answer.total.map(|total| format!("total {total}")));
    lines
}

#[tokio::test]
async fn every_bucket_of_the_range_has_a_row() {
    let query = serde_json::json!({
        "measures": ["E.n", "E.kinds", "E.total", "E.mean"],
        "timeDimensions": [{"dimension": "E.at", "granularity": "day", "dateRange": ["2024-03-09", "2024-03-12"]}],
        "total": true,
    });
    let zero = [
        "2024-03-09T00 1 1 1.5 1.5",
        "2024-03-10T00 0 0 0 null",
        "2024-03-11T00 2 2 2.5 2.5",
        "2024-03-12T00 0 0 0 null",
        "total 4",
    ];
    assert_eq!(shown(query.clone(), Fill::Zero).await, zero);
    let null = shown(query, Fill::Null).await;
    assert_eq!(null[1], "2024-03-10T00 null null null null");
    assert_eq!(null[2], zero[2]);
}

#[tokio::test]
async fn each_combination_of_dimensions_has_every_bucket() {
    let query = serde_json::json!({
        "measures": ["E.n"],
        "dimensions": ["E.kind"],
        "timeDimensions": [{"dimension": "E.at", "granularity": "pair", "dateRange": ["2024-03-08", "2024-03-12"]}],
        "order": [["E.at", "desc"], ["E.kind", "asc"]],
    });
    let expected = [
        "a 2024-03-11T00 1",
        "b 2024-03-11T00 1",
        "a 2024-03-09T00 1",
        "b 2024-03-09T00 0",
        "a 2024-03-07T00 0",
        "b 2024-03-07T00 0",
    ];
    assert_eq!(shown(query, Fill::Zero).await, expected);
}

#[tokio::test]
async fn two_granularities_agree_and_zones_have_their_days() {
    let times = |granularity: &str| serde_json::json!({"dimension": "E.at", "granularity": granularity, "dateRange": ["2024-02-29", "2024-03-01"]});
    let query = serde_json::json!({
        "measures": ["E.n"],
        "timeDimensions": [times("month"), times("day")],
        "timezone": "America/New_York",
        "filters": [{"member": "E.kind", "operator": "equals", "values": ["a"]}],
    });
    let expected = ["2024-02-01T00 2024-02-29T00 0", "2024-03-01T00 2024-03-01T00 0"];
    assert_eq!(shown(query, Fill::Zero).await, expected);
}
