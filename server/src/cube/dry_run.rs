//! `/v1/dry-run`: the queries in normal form, without running them.

use super::batch::{Batch, QueryType};
use super::error::ApiResult;
use super::members::find_all;
use super::normalize::Normalized;
use super::pivot::{common_time, merged, prepend_compared};
use super::transformed::transformed;
use engine::model::Model;
use serde_json::{Map, Value, json};

/// The body of `/v1/dry-run`.
///
/// # Errors
/// 400 when a member does not exist.
pub fn dry_run(model: &Model, batch: &Batch) -> ApiResult<Value> {
    let members = find_all(model, batch)?;
    let pairs = batch.queries.iter().zip(&members);
    let described: Vec<Value> = pairs
        .map(|(query, members)| transformed(model, query, members))
        .collect();
    let mut normalized: Vec<Map<String, Value>> = batch.queries.iter().map(Normalized::dry_run_echo).collect();
    let pivot = match (batch.kind, normalized.first_mut()) {
        (QueryType::Blending, _) | (_, None) => blended_pivot(batch),
        (kind, Some(first)) => {
            // Cube pivots the first query in place, so that the mark shows there too.
            if kind == QueryType::CompareDateRange {
                prepend_compared(first);
            }
            first.insert("queryType".to_owned(), json!(kind.name()));
            first.clone()
        }
    };
    let orders: Vec<Value> = batch.queries.iter().map(order).collect();
    Ok(json!({
        "queryType": batch.kind.name(),
        "normalizedQueries": normalized,
        "queryOrder": orders,
        "transformedQueries": described,
        "pivotQuery": pivot,
        // GitLab's proxy reads `results` of every answer, also of this one.
        "results": [],
    }))
}

/// `{member: direction}` of one query.
pub fn order(query: &Normalized) -> Value {
    let direction = |desc: bool| json!(if desc { "desc" } else { "asc" });
    let entries = query
        .effective_order()
        .into_iter()
        .map(|by| (by.id, direction(by.desc)));
    Value::Object(entries.collect())
}

fn blended_pivot(batch: &Batch) -> Map<String, Value> {
    let mut pivot = Map::new();
    let measures = merged(batch.queries.iter().flat_map(|q| q.measures.iter().flatten()));
    pivot.insert("measures".to_owned(), json!(measures));
    pivot.insert(
        "dimensions".to_owned(),
        json!(merged(batch.queries.iter().flat_map(|q| &q.dimensions))),
    );
    pivot.insert("timeDimensions".to_owned(), common_time(batch));
    pivot.insert("queryType".to_owned(), json!(batch.kind.name()));
    pivot
}
