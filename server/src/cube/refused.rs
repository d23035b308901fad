//! Queries that Cube fails on only while it runs them: in its own code, or because its database refuses the SQL it made.
//! Clients and their tests know these statuses and texts, so they are Cube's here too, where every recorded version
//! (0.35, 1.6, 1.7) gives the same.

use super::error::{ApiError, ApiResult};
use super::normalize::Normalized;
use axum::http::StatusCode;
use engine::model::Model;
use engine::query::filter::Comparison;
use engine::query::sql::is_comparison;
use engine::query::{Filter, Operator};
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// The lists that Cube walks before it checks the query against its schema.
const LISTS: &[&str] = &["measures", "dimensions", "segments"];
/// The flags whose text `true` or `false` passes the schema and fails later.
const FLAGS: &[&str] = &["total", "ungrouped"];

fn exception(text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Cube's exception for `query=null`.
pub fn no_query() -> ApiError {
    exception("TypeError: Cannot read properties of null (reading 'responseFormat')")
}

/// Refuses what Cube fails on before its schema is asked.
///
/// # Errors
/// 500 with the text of Cube's exception.
pub fn before_schema(query: &Map<String, Value>) -> ApiResult<()> {
    let walkable = |key: &&str| query.get(*key).is_none_or(|list| list.is_array() || list.is_null());
    match LISTS.iter().all(walkable) {
        true => Ok(()),
        false => Err(exception("TypeError: array?.some is not a function")),
    }
}

/// Refuses what passes Cube's schema and fails after it.
///
/// # Errors
/// 500 with the text of Cube's exception.
pub fn after_schema(query: &Map<String, Value>) -> ApiResult<()> {
    match FLAGS.iter().find_map(|key| query.get(*key).and_then(Value::as_str)) {
        Some(text) => Err(exception(format!(
            "Error: JS Deserialization Error: invalid type: string \"{text}\", expected a boolean"
        ))),
        None => Ok(()),
    }
}

/// Refuses what Cube's planner cannot make SQL of.
///
/// # Errors
/// 500 with Cube's text.
pub fn by_planner(query: &Normalized) -> ApiResult<()> {
    let no_value = |_: &str, operator: Operator, values: &[Option<String>]| {
        operator.row().comparison == Comparison::Order && !values.is_empty() && values.iter().all(Option::is_none)
    };
    match any_leaf(&query.typed_filters, &no_value) {
        true => Err(exception("Error: Expected one parameter but nothing found")),
        false => Ok(()),
    }
}

/// Refuses what Cube's database refuses. `/v1/sql`, which only shows the SQL, does not ask this.
///
/// # Errors
/// 400 with the text of PostgreSQL.
pub fn by_database(model: &Model, query: &Normalized) -> ApiResult<()> {
    // The list of alternatives is empty, and `OR … IS NULL` follows it.
    let only_null = |_: &str, operator: Operator, values: &[Option<String>]| {
        matches!(operator, Operator::StartsWith | Operator::EndsWith)
            && !values.is_empty()
            && values.iter().all(Option::is_none)
    };
    // A segment's own comparison is compared once more, which PostgreSQL's grammar does not know.
    let segment = |member: &str, operator: Operator, values: &[Option<String>]| {
        operator == Operator::Equals && values.len() == 1 && names_comparison(model, member)
    };
    let refused = match () {
        () if any_leaf(&query.typed_filters, &only_null) => "OR",
        () if any_leaf(&query.typed_filters, &segment) => "=",
        () => return Ok(()),
    };
    Err(ApiError::bad_request(format!(
        "Error: syntax error at or near \"{refused}\""
    )))
}

fn names_comparison(model: &Model, member: &str) -> bool {
    let Some((cube, name)) = member.split_once('.') else {
        return false;
    };
    let cube = model.cubes.get(cube);
    let segment = cube.and_then(|cube| cube.segments.iter().find(|segment| segment.name == name));
    segment.is_some_and(|segment| is_comparison(&segment.sql))
}

/// A test of a filter's member, operator and values.
type Leaf<'a> = &'a dyn Fn(&str, Operator, &[Option<String>]) -> bool;

/// Whether any filter on a member is `wanted`. Normalising has bounded the depth.
fn any_leaf(filters: &[Filter], wanted: Leaf<'_>) -> bool {
    filters.iter().any(|filter| match filter {
        Filter::And(inner) | Filter::Or(inner) => any_leaf(inner, wanted),
        Filter::Member {
            member,
            operator,
            values,
        } => wanted(member, *operator, values),
    })
}
