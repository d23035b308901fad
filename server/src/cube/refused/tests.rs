use super::*;
use crate::cube::batch::Batch;
use crate::cube::normalize::Defaults;
use serde_json::json;

fn refusal(query: Value) -> (u16, String) {
    let error = Batch::new(&query, None, Defaults::at(0)).unwrap_err();
    (
        error.status().as_u16(),
        error.body()["error"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn what_cube_fails_on_fails_with_its_texts() {
    let walked = "TypeError: array?.some is not a function";
    let null = "TypeError: Cannot read properties of null (reading 'responseFormat')";
    let table = [
        (json!(null), null),
        (json!([null]), null),
        (json!({"measures": "T.count"}), walked),
        (json!({"dimensions": {"T.d": true}}), walked),
        (json!({"measures": ["T.count"], "segments": false}), walked),
        (
            json!({"measures": ["T.count"], "total": "true"}),
            "Error: JS Deserialization Error: invalid type: string \"true\", expected a boolean",
        ),
    ];
    for (query, text) in table {
        assert_eq!(refusal(query.clone()), (500, text.to_owned()), "{query}");
    }
}

#[test]
fn comparisons_without_a_value_fail_wherever_they_stand() {
    let leaf = |values: Value| json!({"member": "T.n", "operator": "gte", "values": values});
    for (filter, fails) in [
        (leaf(json!([null])), true),
        (json!({"or": [leaf(json!([null])), leaf(json!(["1"]))]}), true),
        (leaf(json!([null, "1"])), false),
    ] {
        let query = json!({"measures": ["T.count"], "filters": [filter]});
        let batch = Batch::new(&query, None, Defaults::at(0)).unwrap();
        assert_eq!(by_planner(&batch.queries[0]).is_err(), fails, "{query}");
    }
}
