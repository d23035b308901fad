//! A typed query in the words of Cube's query language, for people and for clients that want to send it on.

use crate::query::{Filter, Query, plan};
use serde_json::{Map, Value, json};

/// The query as a JSON object of the query language. What is empty or the default is left out.
pub fn describe(query: &Query) -> Value {
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    set("measures", json!(query.measures));
    set("dimensions", json!(query.dimensions));
    set("segments", json!(query.segments));
    if !query.time_dimensions.is_empty() {
        let times: Vec<Value> = query.time_dimensions.iter().map(time).collect();
        set("timeDimensions", json!(times));
    }
    if !query.filters.is_empty() {
        set("filters", json!(query.filters.iter().map(filter).collect::<Vec<_>>()));
    }
    if let Some(order) = &query.order {
        let entries = order
            .iter()
            .map(|by| json!([by.id, if by.desc { "desc" } else { "asc" }]));
        set("order", json!(entries.collect::<Vec<_>>()));
    }
    if query.limit != plan::NO_LIMIT {
        set("limit", json!(query.limit));
    }
    if query.offset > 0 {
        set("offset", json!(query.offset));
    }
    if query.ungrouped {
        set("ungrouped", json!(true));
    }
    if !query.join_hints.is_empty() {
        set("joinHints", json!(query.join_hints));
    }
    if query.timezone != chrono_tz::Tz::UTC {
        set("timezone", json!(query.timezone.name()));
    }
    Value::Object(out)
}

fn time(time: &crate::query::QueryTimeDimension) -> Value {
    let mut out = Map::new();
    out.insert("dimension".to_owned(), json!(time.dimension));
    if let Some(granularity) = &time.granularity {
        out.insert("granularity".to_owned(), json!(granularity));
    }
    if let Some(range) = &time.date_range {
        let text = |at: chrono::NaiveDateTime| at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
        out.insert("dateRange".to_owned(), json!([text(range.from), text(range.to)]));
    }
    Value::Object(out)
}

/// Recursion is bounded, because the filter was made from parsed text.
fn filter(filter: &Filter) -> Value {
    let all = |inner: &[Filter]| inner.iter().map(self::filter).collect::<Vec<_>>();
    match filter {
        Filter::And(inner) => json!({ "and": all(inner) }),
        Filter::Or(inner) => json!({ "or": all(inner) }),
        Filter::Member {
            member,
            operator,
            values,
        } if values.is_empty() => json!({"member": member, "operator": operator.name()}),
        Filter::Member {
            member,
            operator,
            values,
        } => json!({"member": member, "operator": operator.name(), "values": values}),
    }
}
