use super::*;
use serde_json::json;

fn refusal(query: Value) -> String {
    let Value::Object(fields) = query else {
        panic!("an object")
    };
    let error = check(&fields).unwrap_err();
    error.body()["error"].as_str().unwrap().to_owned()
}

/// Violations with the texts that Cube 1.6 and 1.7 answered.
#[test]
fn violations_are_worded_as_cube_words_them() {
    let pattern = r"fails to match the required pattern: /^[a-zA-Z0-9_]+\.[a-zA-Z0-9_]+$/";
    let table = [
        (
            json!({"timeDimensions": "T.c"}),
            "\"timeDimensions\" must be an array".to_owned(),
        ),
        (
            json!({"measures": ["count"]}),
            format!("\"measures[0]\" with value \"count\" {pattern}"),
        ),
        (
            json!({"measures": ["T.c.x"]}),
            format!("\"measures[0]\" with value \"T.c.x\" {pattern}"),
        ),
        (
            json!({"measures": [5]}),
            "\"measures[0]\" must be one of [string, object]".to_owned(),
        ),
        (json!({"foo": 1}), "\"foo\" is not allowed".to_owned()),
        (json!({"limit": "5"}), "\"limit\" must be a number".to_owned()),
        (json!({"limit": null}), "\"limit\" must be a number".to_owned()),
        (json!({"limit": 1.5}), "\"limit\" must be an integer".to_owned()),
        (
            json!({"offset": -1}),
            "\"offset\" must be greater than or equal to 0".to_owned(),
        ),
        (
            json!({"order": {"A.c": "DESC"}}),
            "\"order.A.c\" must be one of [asc, desc]".to_owned(),
        ),
        (
            json!({"order": [["A.c"]]}),
            "\"order[0]\" must contain at least 2 items".to_owned(),
        ),
        (
            json!({"order": null}),
            "\"order\" must be one of [object, array]".to_owned(),
        ),
        (
            json!({"timezone": "Nope/Zone"}),
            "\"timezone\" must be a valid IANA time zone, got \"Nope/Zone\"".to_owned(),
        ),
        (json!({"timezone": 5}), "\"timezone\" must be a string".to_owned()),
        (
            json!({"filters": [{"member": "A.d", "operator": "looksLike", "values": ["x"]}]}),
            "\"filters[0]\" does not match any of the allowed types".to_owned(),
        ),
        (
            json!({"filters": [{"or": [{"member": "A.d"}]}]}),
            "\"filters[0]\" does not match any of the allowed types".to_owned(),
        ),
        (
            json!({"timeDimensions": [{}]}),
            "\"timeDimensions[0].dimension\" is required".to_owned(),
        ),
        (
            json!({"timeDimensions": [{"dimension": "A.t", "dateRange": []}]}),
            "\"timeDimensions[0].dateRange\" must contain at least 1 items".to_owned(),
        ),
        (
            json!({"timeDimensions": [{"dimension": "A.t", "dateRange": 5}]}),
            "\"timeDimensions[0].dateRange\" must be one of [array, string]".to_owned(),
        ),
        (
            json!({"timeDimensions": [{"dimension": "A.t", "dateRange": ""}]}),
            "\"timeDimensions[0].dateRange\" is not allowed to be empty".to_owned(),
        ),
        (
            json!({"timeDimensions": [{"dimension": "A.t", "fillMissingDates": false}]}),
            "\"timeDimensions[0].fillMissingDates\" is not allowed".to_owned(),
        ),
        (
            json!({"responseFormat": "x"}),
            "\"responseFormat\" must be one of [default, compact, columnar]".to_owned(),
        ),
    ];
    for (query, text) in table {
        assert_eq!(
            refusal(query.clone()),
            format!("Invalid query format: {text}"),
            "{query}"
        );
    }
}

#[test]
fn known_keys_are_reported_before_unknown_ones() {
    assert!(refusal(json!({"foo": 1, "limit": "x"})).contains("\"limit\""));
}

#[test]
fn a_query_must_ask_something() {
    let text =
        "Query should contain either measures, dimensions or timeDimensions with granularities in order to be valid";
    assert_eq!(refusal(json!({})), text);
    assert_eq!(refusal(json!({"measures": [], "segments": ["A.s"]})), text);
    assert_eq!(
        refusal(json!({"timeDimensions": [{"dimension": "A.t", "dateRange": "today"}]})),
        text
    );
}

#[test]
fn comparisons_need_values() {
    let filter = json!({"measures": ["A.c"], "filters": [{"member": "A.d", "operator": "equals", "values": []}]});
    assert_eq!(
        refusal(filter),
        "Values required for filter: {\"member\":\"A.d\",\"operator\":\"equals\",\"values\":[]}"
    );
}

#[test]
fn filters_nested_too_deeply_are_refused() {
    let mut filter = json!({"member": "A.d", "operator": "set"});
    for _ in 0..100 {
        filter = json!({"or": [filter]});
    }
    assert!(refusal(json!({"measures": ["A.c"], "filters": [filter]})).contains("nested deeper"));
}
