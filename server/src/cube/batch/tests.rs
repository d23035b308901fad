use super::*;
use serde_json::json;

fn batch(query: Value) -> Result<Batch, String> {
    Batch::new(&query, None, Defaults::at(0)).map_err(|error| error.body()["error"].as_str().unwrap().to_owned())
}

#[test]
fn compared_ranges_become_one_query_each() {
    let time = json!({"dimension": "T.t", "granularity": "day", "dateRange": "today",
        "compareDateRange": [["2024-02-01", "2024-02-03"], "2024-03-01"]});
    let split = batch(json!({"measures": ["T.c"], "timeDimensions": [time]})).unwrap();
    assert_eq!((split.kind, split.queries.len()), (QueryType::CompareDateRange, 2));
    let range = split.queries[1].echo()["timeDimensions"][0]["dateRange"].clone();
    assert_eq!(range, json!(["2024-03-01T00:00:00.000", "2024-03-01T23:59:59.999"]));
}

#[test]
fn only_one_time_dimension_can_be_compared() {
    let time = json!({"dimension": "T.t", "compareDateRange": ["today"]});
    let error = batch(json!({"measures": ["T.c"], "timeDimensions": [time, time]})).unwrap_err();
    assert_eq!(error, "compareDateRange can only exist for one timeDimension");
}

#[test]
fn blended_queries_share_a_granularity() {
    let by = |granularity: &str| json!({"measures": ["T.c"], "dimensions": [format!("T.t.{granularity}")]});
    assert_eq!(batch(json!([by("day"), by("day")])).unwrap().kind, QueryType::Blending);
    assert_eq!(
        batch(json!([by("day"), by("week")])).unwrap_err(),
        "Data blending query granularities must match"
    );
    let without = "Data blending query without granularity is not supported";
    assert_eq!(batch(json!([])).unwrap_err(), without);
    assert_eq!(batch(json!([{"measures": ["T.c"]}])).unwrap_err(), without);
}

#[test]
fn what_is_no_object_is_no_query() {
    assert!(
        batch(Value::Null)
            .unwrap_err()
            .contains("Cannot read properties of null")
    );
    assert!(batch(json!(5)).unwrap_err().contains("must be of type object"));
}
