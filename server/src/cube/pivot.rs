//! `pivotQuery`: what clients arrange an answer's rows by.

use super::batch::{Batch, QueryType};
use super::normalize::Normalized;
use serde_json::{Map, Value, json};

/// What clients pivot by: the first query, and for several queries what they have in common.
pub fn pivot_query(batch: &Batch) -> Map<String, Value> {
    let mut pivot = batch.queries.first().map(Normalized::echo).unwrap_or_default();
    match batch.kind {
        QueryType::Regular => {}
        QueryType::CompareDateRange => prepend_compared(&mut pivot),
        QueryType::Blending => {
            let measures = merged(batch.queries.iter().flat_map(|q| q.measures.iter().flatten()));
            let dimensions = merged(batch.queries.iter().flat_map(|q| &q.dimensions));
            pivot.insert("measures".to_owned(), json!(measures));
            pivot.shift_remove("dimensions");
            if !dimensions.is_empty() {
                pivot.insert("dimensions".to_owned(), json!(dimensions));
            }
            pivot.insert("timeDimensions".to_owned(), common_time(batch));
        }
    }
    pivot.insert("queryType".to_owned(), json!(batch.kind.name()));
    pivot
}

/// Puts the column of compared ranges before the dimensions of a pivot.
pub fn prepend_compared(pivot: &mut Map<String, Value>) {
    if let Some(Value::Array(dimensions)) = pivot.get_mut("dimensions") {
        dimensions.insert(0, json!("compareDateRange"));
    }
}

/// The time dimension that blended queries share.
pub fn common_time(batch: &Batch) -> Value {
    let first = batch.queries.first().and_then(|q| q.time_dimensions.first());
    json!([{"dimension": "time", "granularity": first.and_then(|t| t.granularity.as_ref())}])
}

/// Names in the order of their first appearance.
pub fn merged<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut all: Vec<&String> = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}
