use super::*;

/// 2023-05-17T15:34:56.789Z, a Wednesday.
const NOW: Micros = 1_684_337_696_789_000;

fn normal(query: Value) -> Normalized {
    let Value::Object(fields) = query else {
        panic!("an object")
    };
    normalize(&fields, None, Defaults::at(NOW)).unwrap()
}

#[test]
fn defaults_are_filled_in_and_absent_keys_stay_absent() {
    let echo = normal(json!({"measures": ["T.c"]})).echo();
    assert_eq!(
        Value::Object(echo),
        json!({
            "measures": ["T.c"], "dimensions": [], "timeDimensions": [], "limit": 10000, "timezone": "UTC",
            "filters": [], "rowLimit": 10000
        })
    );
}

#[test]
fn a_dimension_with_a_granularity_becomes_a_time_dimension() {
    let query = normal(json!({"dimensions": ["T.t.week", "T.d"]}));
    assert_eq!(query.dimensions, ["T.d"]);
    assert_eq!(
        Value::Object(query.echo())["timeDimensions"],
        json!([{"dimension": "T.t", "granularity": "week"}])
    );
}

#[test]
fn dates_become_two_local_instants() {
    let range = |value: Value| {
        let query = normal(json!({"measures": ["T.c"], "timeDimensions": [{"dimension": "T.t", "dateRange": value}]}));
        query.echo()["timeDimensions"][0]["dateRange"].clone()
    };
    let day = json!(["2023-01-01T00:00:00.000", "2023-01-01T23:59:59.999"]);
    assert_eq!(range(json!("2023-01-01")), day);
    assert_eq!(range(json!(["2023-01-01"])), day);
    assert_eq!(
        range(json!("today")),
        json!(["2023-05-17T00:00:00.000", "2023-05-17T23:59:59.999"])
    );
}

#[test]
fn values_become_text_and_the_old_key_of_a_member_is_renamed() {
    let query = normal(json!({
        "measures": ["T.c"],
        "filters": [{"dimension": "T.d", "operator": "equals", "values": [5, 1.5, true, null, 2.0]}],
    }));
    assert_eq!(
        query.filters,
        [json!({"member": "T.d", "operator": "equals", "values": ["5", "1.5", "true", null, "2"]})]
    );
}

#[test]
fn date_filters_are_executed_on_instants_and_echoed_as_sent() {
    let query = normal(json!({
        "measures": ["T.c"],
        "filters": [{"member": "T.t", "operator": "inDateRange", "values": ["2023-01-01", "2023-01-31"]}],
    }));
    assert_eq!(query.filters[0]["values"], json!(["2023-01-01", "2023-01-31"]));
    let Filter::Member { values, .. } = &query.typed_filters[0] else {
        panic!("a comparison")
    };
    assert_eq!(values[1].as_deref(), Some("2023-01-31T23:59:59.999"));
}

#[test]
fn an_empty_group_filters_nothing() {
    let query = normal(json!({"measures": ["T.c"], "filters": [{"or": []}]}));
    assert!(query.typed_filters.is_empty());
    assert_eq!(query.filters, [json!({"or": []})]);
}

#[test]
fn zones_are_found_ignoring_case_and_echoed_as_sent() {
    let query = normal(json!({"measures": ["T.c"], "timezone": "europe/berlin"}));
    assert_eq!(
        (query.tz, query.timezone.as_str()),
        (Tz::Europe__Berlin, "europe/berlin")
    );
    assert_eq!(normal(json!({"measures": ["T.c"], "timezone": ""})).tz, Tz::UTC);
}

#[test]
fn the_requests_cache_mode_wins() {
    let fields = json!({"measures": ["T.c"], "cache": "no-cache"});
    let fields = fields.as_object().unwrap();
    let mode = normalize(fields, Some(&json!("must-revalidate")), Defaults::at(NOW))
        .unwrap()
        .cache_mode;
    assert_eq!(mode, "must-revalidate");
    let error = normalize(fields, Some(&json!("nope")), Defaults::at(NOW)).unwrap_err();
    assert!(
        error.body()["error"]
            .as_str()
            .unwrap()
            .contains("\"cacheMode\" must be one of [stale-if-slow,")
    );
}

#[test]
fn the_default_order_is_cubes() {
    let by = |query: Value| {
        normal(query)
            .effective_order()
            .into_iter()
            .map(|o| (o.id, o.desc))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        by(json!({"measures": ["T.c"], "dimensions": ["T.d"]})),
        [("T.c".to_owned(), true)]
    );
    assert_eq!(by(json!({"dimensions": ["T.d"]})), [("T.d".to_owned(), false)]);
    assert_eq!(by(json!({"measures": ["T.c"]})), []);
    assert_eq!(
        by(json!({"measures": ["T.c"], "dimensions": ["T.d.day"]})),
        [("T.d".to_owned(), false)]
    );
    assert_eq!(by(json!({"dimensions": ["T.d"], "order": []})), []);
}

#[test]
fn what_the_query_leaves_out_comes_from_the_settings() {
    let defaults = Defaults {
        timezone: Tz::Europe__Berlin,
        limit_rows: 7,
        limit_rows_max: 70,
        ..Defaults::at(NOW)
    };
    let of = |query: Value| normalize(query.as_object().unwrap(), None, defaults);
    let plain = of(json!({"measures": ["A.count"]})).unwrap();
    assert_eq!((plain.timezone.as_str(), plain.limit), ("Europe/Berlin", 7));
    let said = of(json!({"measures": ["A.count"], "timezone": "Asia/Tokyo", "limit": 70})).unwrap();
    assert_eq!((said.timezone.as_str(), said.limit), ("Asia/Tokyo", 70));
    assert!(of(json!({"measures": ["A.count"], "limit": 71})).is_err());
}
