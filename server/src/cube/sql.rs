//! `/v1/sql`: what would be executed, as text.

use super::batch::{Batch, QueryType};
use super::dry_run;
use super::error::ApiResult;
use super::members::{Members, find_all};
use super::normalize::Normalized;
use super::pivot::merged;
use super::refused;
use super::transformed::transformed;
use crate::auth::SecurityContext;
use engine::{Engine, ErrorKind};
use serde_json::{Map, Value, json};

/// The body of `/v1/sql`: one object, or an array of them for several queries.
///
/// # Errors
/// 400 when a query cannot be planned.
pub async fn sql(engine: &Engine, context: &SecurityContext, batch: &Batch) -> ApiResult<Value> {
    let model = engine.model(context.project());
    let members = find_all(&model, batch)?;
    let mut all = Vec::with_capacity(batch.queries.len());
    for (query, members) in batch.queries.iter().zip(&members) {
        refused::by_planner(query)?;
        let text = match engine.explain(context.project(), &query.to_query(context)).await {
            Ok(text) => text,
            // Cube writes SQL without asking whether it may run, and its database refuses it later. A comment says so.
            Err(error) if error.kind() == ErrorKind::Execution || !members.are_visible() => {
                format!("-- Error: {}", error.message().replace('\n', " "))
            }
            Err(_) if refused::by_database(&model, query).is_err() => {
                "-- Error: a segment is compared with a value; name it in `segments`".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        let can_use = transformed(&model, query, members);
        all.push(json!({"sql": description(query, members, text, can_use), "dataSource": "default"}));
    }
    match batch.kind {
        QueryType::Regular => Ok(all.pop().unwrap_or(Value::Null)),
        _ => Ok(Value::Array(all)),
    }
}

fn description(query: &Normalized, members: &Members<'_>, text: String, can_use: Value) -> Value {
    let mut item = Map::new();
    let mut set = |key: &str, value: Value| item.insert(key.to_owned(), value);
    set("external", json!(false));
    // The values of filters stand in the text as literals, so there are no parameters.
    set("sql", json!([text, []]));
    set("lambdaQueries", json!({}));
    let bucketed = members
        .times
        .iter()
        .find_map(|(f, t)| Some((f.path, t.granularity.as_deref()?)));
    if let Some((path, granularity)) = bucketed {
        set("timeDimensionAlias", json!(alias(&format!("{path}.{granularity}"))));
        set("timeDimensionField", json!(path));
    }
    set("order", dry_run::order(query));
    set("cacheKeyQueries", json!([]));
    set("preAggregations", json!([]));
    set("dataSource", json!("default"));
    set("aliasNameToMember", Value::Object(aliases(query)));
    set("canUseTransformedQuery", can_use);
    set("memberNames", json!(names(query)));
    Value::Object(item)
}

fn names(query: &Normalized) -> Vec<&String> {
    let measures = query.measures.iter().flatten();
    let times = query.time_dimensions.iter().map(|t| &t.dimension);
    let segments = query.segments.iter().flatten();
    merged(measures.chain(&query.dimensions).chain(segments).chain(times))
}

fn aliases(query: &Normalized) -> Map<String, Value> {
    let times = query.time_dimensions.iter();
    let times = times.filter_map(|t| Some(format!("{}.{}", t.dimension, t.granularity.as_ref()?)));
    let members = query.measures.iter().flatten().chain(&query.dimensions).cloned();
    members.chain(times).map(|path| (alias(&path), json!(path))).collect()
}

/// A column's alias in Cube's SQL: snake case, cube and member apart by two underscores. A member that begins with a
/// capital is apart by three, because Cube makes the whole path snake case at once.
fn alias(path: &str) -> String {
    let mut parts = path.split('.');
    let cube = parts.next().map(snake_case).unwrap_or_default();
    let member: Vec<String> = parts.map(snake_case).collect();
    let capital = path
        .split('.')
        .nth(1)
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
    format!("{cube}__{}{}", if capital { "_" } else { "" }, member.join("_"))
}

fn snake_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            text.push('_');
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        text.extend(c.to_lowercase());
    }
    text
}
