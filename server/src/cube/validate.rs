//! The shape of a query, checked key by key in the order of Cube's schema; the first violation is reported in its words.

use super::error::{ApiError, ApiResult};
use engine::limits;
use engine::query::Operator;
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// Values of `cache`.
pub(super) const CACHE_MODES: &[&str] = &["stale-if-slow", "stale-while-revalidate", "must-revalidate", "no-cache"];
/// Values of `responseFormat`.
const RESPONSE_FORMATS: &[&str] = &["default", "compact", "columnar"];
/// The pattern that Cube shows for the id of an order.
const ORDER_PATTERN: &str =
    r"/^[a-zA-Z0-9_]+\.[a-zA-Z0-9_]+$|^[a-zA-Z0-9_]+$|^[a-zA-Z0-9_]+\.[a-zA-Z0-9_]+\.[a-zA-Z0-9_]+$/";
/// Values of `fillMissing`, which [`super::normalize`] reads.
const FILLS: &[&str] = &["zero", "null"];
/// Bytes of a granularity's name.
const GRANULARITY_BYTES_MAX: usize = 128;
/// The largest whole number JavaScript counts exactly; larger limits are refused by name.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// How many parts a member's path has.
#[derive(Clone, Copy)]
enum Parts {
    /// `Cube.member`.
    Two,
    /// `Cube.member` or `Cube.member.granularity`.
    TwoOrThree,
}

impl Parts {
    fn pattern(self) -> &'static str {
        match self {
            Parts::Two => r"/^[a-zA-Z0-9_]+\.[a-zA-Z0-9_]+$/",
            Parts::TwoOrThree => r"/^[a-zA-Z0-9_]+\.[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)?$/",
        }
    }

    fn matches(self, text: &str) -> bool {
        let parts: Vec<&str> = text.split('.').collect();
        let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let count = match self {
            Parts::Two => parts.len() == 2,
            Parts::TwoOrThree => parts.len() == 2 || parts.len() == 3,
        };
        count && parts.iter().all(word)
    }
}

type Check = fn(&str, &Value) -> Result<(), String>;

/// The keys of a query with their checks, in the order Cube checks them.
const KEYS: &[(&str, Check)] = &[
    ("measures", |at, v| members(at, v, Parts::Two)),
    ("dimensions", |at, v| members(at, v, Parts::TwoOrThree)),
    ("filters", filters),
    ("timeDimensions", time_dimensions),
    ("order", order),
    ("segments", |at, v| members(at, v, Parts::Two)),
    ("timezone", timezone),
    ("limit", whole_number),
    ("offset", whole_number),
    ("total", boolean),
    ("cacheMode", |at, v| one_of(at, v, CACHE_MODES)),
    ("ungrouped", boolean),
    ("responseFormat", |at, v| one_of(at, v, RESPONSE_FORMATS)),
    ("joinHints", join_hints),
    ("renewQuery", |_, _| Ok(())),
    // Ours: no client of Cube sends it unless it is meant.
    ("fillMissing", |at, v| one_of(at, v, FILLS)),
    ("asOf", as_of),
];

/// Checks the shape of `query` and that it asks for something.
///
/// # Errors
/// 400 with Cube's text.
pub fn check(query: &Map<String, Value>) -> ApiResult<()> {
    for (key, check) in KEYS {
        if let Some(value) = query.get(*key) {
            check(key, value).map_err(ApiError::format)?;
        }
    }
    if let Some(key) = query.keys().find(|key| !KEYS.iter().any(|(known, _)| known == key)) {
        let key: String = key.chars().take(100).collect();
        return Err(ApiError::format(format!("\"{key}\" is not allowed")));
    }
    bounds(query)?;
    asks_something(query)?;
    filters_complete(query.get("filters"))
}

/// An instant, or the number of a version.
fn as_of(at: &str, value: &Value) -> Result<(), String> {
    match super::normalize::as_of(value) {
        Some(_) => Ok(()),
        None => Err(format!(
            "\"{at}\" must be an instant such as \"2026-01-31T12:00:00Z\" or the number of a version"
        )),
    }
}

fn join_hints(at: &str, value: &Value) -> Result<(), String> {
    for (index, way) in items(at, value)?.iter().enumerate() {
        let at = format!("{at}[{index}]");
        for (index, cube) in items(&at, way)?.iter().enumerate() {
            if !cube.is_string() {
                return Err(format!("\"{at}[{index}]\" must be a string"));
            }
        }
    }
    Ok(())
}

fn items<'a>(at: &str, value: &'a Value) -> Result<&'a [Value], String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(format!("\"{at}\" must be an array")),
    }
}

fn members(at: &str, value: &Value, parts: Parts) -> Result<(), String> {
    for (index, item) in items(at, value)?.iter().enumerate() {
        match item {
            Value::String(_) => member(&format!("{at}[{index}]"), item, parts)?,
            Value::Object(_) => return Err(format!("\"{at}[{index}]\" does not match any of the allowed types")),
            _ => return Err(format!("\"{at}[{index}]\" must be one of [string, object]")),
        }
    }
    Ok(())
}

fn member(at: &str, value: &Value, parts: Parts) -> Result<(), String> {
    let text = text(at, value)?;
    if parts.matches(text) {
        return Ok(());
    }
    let shown: String = text.chars().take(200).collect();
    Err(format!(
        "\"{at}\" with value \"{shown}\" fails to match the required pattern: {}",
        parts.pattern()
    ))
}

fn text<'a>(at: &str, value: &'a Value) -> Result<&'a str, String> {
    match value {
        Value::String(text) if text.is_empty() => Err(format!("\"{at}\" is not allowed to be empty")),
        Value::String(text) => Ok(text),
        _ => Err(format!("\"{at}\" must be a string")),
    }
}

fn one_of(at: &str, value: &Value, allowed: &[&str]) -> Result<(), String> {
    match value.as_str().is_some_and(|text| allowed.contains(&text)) {
        true => Ok(()),
        false => Err(format!("\"{at}\" must be one of [{}]", allowed.join(", "))),
    }
}

/// The texts `true` and `false` pass Cube's schema too; what becomes of them then is told by `refused::after_schema`.
fn boolean(at: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Bool(_) => Ok(()),
        Value::String(text) if matches!(text.to_ascii_lowercase().as_str(), "true" | "false") => Ok(()),
        _ => Err(format!("\"{at}\" must be a boolean")),
    }
}

fn whole_number(at: &str, value: &Value) -> Result<(), String> {
    let number = value.as_f64().ok_or_else(|| format!("\"{at}\" must be a number"))?;
    if number.abs() > SAFE_INTEGER_MAX {
        Err(format!("\"{at}\" must be a safe number"))
    } else if number.fract() != 0.0 {
        Err(format!("\"{at}\" must be an integer"))
    } else if number < 0.0 {
        Err(format!("\"{at}\" must be greater than or equal to 0"))
    } else {
        Ok(())
    }
}

/// Values that JavaScript takes for absent get the default zone; the others must be names of zones.
fn timezone(at: &str, value: &Value) -> Result<(), String> {
    if is_falsy(value) {
        return Ok(());
    }
    let name = text(at, value)?;
    match super::normalize::zone(name) {
        Some(_) => Ok(()),
        None => {
            let shown: String = name.chars().take(100).collect();
            Err(format!("\"{at}\" must be a valid IANA time zone, got \"{shown}\""))
        }
    }
}

/// Whether JavaScript's `||` would replace the value by a default.
pub fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn filters(at: &str, value: &Value) -> Result<(), String> {
    for (index, item) in items(at, value)?.iter().enumerate() {
        if !is_filter(item, 0) {
            return Err(format!("\"{at}[{index}]\" does not match any of the allowed types"));
        }
    }
    Ok(())
}

fn is_filter(filter: &Value, depth: usize) -> bool {
    // Deeper trees are refused by `bounds` with a text that says why; here only the recursion ends.
    if depth > limits::QUERY_FILTER_DEPTH_MAX {
        return true;
    }
    let Value::Object(filter) = filter else { return false };
    let group = |key: &str| match filter.get(key) {
        Some(Value::Array(inner)) => filter.len() == 1 && inner.iter().all(|f| is_filter(f, depth + 1)),
        _ => false,
    };
    if filter.contains_key("or") || filter.contains_key("and") {
        return group("or") || group("and");
    }
    let known = |key: &String| matches!(key.as_str(), "member" | "dimension" | "operator" | "values");
    let id = |key: &str| {
        filter
            .get(key)
            .map(|v| v.as_str().is_some_and(|text| Parts::Two.matches(text)))
    };
    let named = match (id("member"), id("dimension")) {
        (Some(valid), None) | (None, Some(valid)) => valid,
        _ => false,
    };
    let operator = filter.get("operator").and_then(Value::as_str);
    let values = match filter.get("values") {
        None => true,
        Some(Value::Array(values)) => values.iter().all(|v| !v.is_array() && !v.is_object()),
        Some(_) => false,
    };
    named && values && filter.keys().all(known) && operator.is_some_and(|name| Operator::from_name(name).is_some())
}

fn time_dimensions(at: &str, value: &Value) -> Result<(), String> {
    for (index, item) in items(at, value)?.iter().enumerate() {
        time_dimension(&format!("{at}[{index}]"), item)?;
    }
    Ok(())
}

fn time_dimension(at: &str, value: &Value) -> Result<(), String> {
    let Value::Object(fields) = value else {
        return Err(format!("\"{at}\" must be of type object"));
    };
    match fields.get("dimension") {
        None => return Err(format!("\"{at}.dimension\" is required")),
        Some(dimension) => member(&format!("{at}.dimension"), dimension, Parts::Two)?,
    }
    if let Some(granularity) = fields.get("granularity") {
        let name = text(&format!("{at}.granularity"), granularity)?;
        if name.len() > GRANULARITY_BYTES_MAX {
            return Err(format!(
                "\"{at}.granularity\" length must be less than or equal to {GRANULARITY_BYTES_MAX} characters long"
            ));
        }
    }
    if let Some(range) = fields.get("dateRange") {
        date_range(&format!("{at}.dateRange"), range)?;
    }
    let known = |key: &&String| !matches!(key.as_str(), "dimension" | "granularity" | "dateRange");
    match fields.keys().find(known) {
        Some(key) => {
            let key: String = key.chars().take(100).collect();
            Err(format!("\"{at}.{key}\" is not allowed"))
        }
        None => Ok(()),
    }
}

fn date_range(at: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(_) => text(at, value).map(|_| ()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                text(&format!("{at}[{index}]"), item)?;
            }
            match items.len() {
                0 => Err(format!("\"{at}\" must contain at least 1 items")),
                1 | 2 => Ok(()),
                _ => Err(format!("\"{at}\" must contain less than or equal to 2 items")),
            }
        }
        _ => Err(format!("\"{at}\" must be one of [array, string]")),
    }
}

fn order(at: &str, value: &Value) -> Result<(), String> {
    let direction = |at: String, value: &Value| one_of(&at, value, &["asc", "desc"]);
    match value {
        Value::Object(fields) => {
            for (id, value) in fields {
                if !is_order_id(id) {
                    let id: String = id.chars().take(100).collect();
                    return Err(format!("\"{at}.{id}\" is not allowed"));
                }
                direction(format!("{at}.{id}"), value)?;
            }
            Ok(())
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let at = format!("{at}[{index}]");
                let parts = items(&at, entry)?;
                let (Some(id), Some(value)) = (parts.first(), parts.get(1)) else {
                    return Err(format!("\"{at}\" must contain at least 2 items"));
                };
                let name = text(&format!("{at}[0]"), id)?;
                if !is_order_id(name) {
                    let shown: String = name.chars().take(200).collect();
                    return Err(format!(
                        "\"{at}[0]\" with value \"{shown}\" fails to match the required pattern: {ORDER_PATTERN}"
                    ));
                }
                direction(format!("{at}[1]"), value)?;
                if parts.len() > 2 {
                    return Err(format!("\"{at}\" must contain at most 2 items"));
                }
            }
            Ok(())
        }
        _ => Err(format!("\"{at}\" must be one of [object, array]")),
    }
}

/// A member, a member with granularity, or a bare name.
fn is_order_id(id: &str) -> bool {
    let bare = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    bare || Parts::TwoOrThree.matches(id)
}

fn bounds(query: &Map<String, Value>) -> ApiResult<()> {
    let count = |key: &str| query.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let members: usize = ["measures", "dimensions", "timeDimensions", "segments"]
        .iter()
        .map(|k| count(k))
        .sum();
    if members > limits::QUERY_MEMBERS_MAX {
        return Err(ApiError::format(format!(
            "{members} members; at most {} are allowed in one query",
            limits::QUERY_MEMBERS_MAX
        )));
    }
    let mut leaves = 0;
    let filters = query.get("filters").and_then(Value::as_array);
    for filter in filters.into_iter().flatten() {
        filter_bounds(filter, 0, &mut leaves)?;
    }
    Ok(())
}

fn filter_bounds(filter: &Value, depth: usize, leaves: &mut usize) -> ApiResult<()> {
    if depth > limits::QUERY_FILTER_DEPTH_MAX {
        return Err(ApiError::format(format!(
            "filters are nested deeper than {} levels",
            limits::QUERY_FILTER_DEPTH_MAX
        )));
    }
    let inner = |key: &str| filter.get(key).and_then(Value::as_array);
    if let Some(inner) = inner("or").or_else(|| inner("and")) {
        return inner.iter().try_for_each(|f| filter_bounds(f, depth + 1, leaves));
    }
    *leaves += 1;
    if *leaves > limits::QUERY_FILTERS_MAX {
        return Err(ApiError::format(format!(
            "more than {} filters in one query",
            limits::QUERY_FILTERS_MAX
        )));
    }
    let values = inner("values").map_or(0, Vec::len);
    if values > limits::QUERY_FILTER_VALUES_MAX {
        return Err(ApiError::format(format!(
            "{values} values in one filter; at most {} are allowed",
            limits::QUERY_FILTER_VALUES_MAX
        )));
    }
    let texts = inner("values").into_iter().flatten().filter_map(Value::as_str);
    let longest = texts.map(str::len).max().unwrap_or(0);
    if longest > limits::QUERY_FILTER_VALUE_BYTES_MAX {
        return Err(ApiError::format(format!(
            "a value of a filter has {longest} bytes; at most {} are allowed",
            limits::QUERY_FILTER_VALUE_BYTES_MAX
        )));
    }
    Ok(())
}

fn asks_something(query: &Map<String, Value>) -> ApiResult<()> {
    let some = |key: &str| query.get(key).and_then(Value::as_array).is_some_and(|a| !a.is_empty());
    let time = query.get("timeDimensions").and_then(Value::as_array);
    let bucketed = time.is_some_and(|all| all.iter().any(|t| t.get("granularity").is_some()));
    if some("measures") || some("dimensions") || bucketed {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "Query should contain either measures, dimensions or timeDimensions with granularities in order to be valid",
    ))
}

/// Every comparison that needs values has some. Called after `bounds`, so the recursion is bounded.
fn filters_complete(filters: Option<&Value>) -> ApiResult<()> {
    for filter in filters.and_then(Value::as_array).into_iter().flatten() {
        if filter.get("or").is_some() || filter.get("and").is_some() {
            filters_complete(filter.get("or"))?;
            filters_complete(filter.get("and"))?;
            continue;
        }
        let operator = filter
            .get("operator")
            .and_then(Value::as_str)
            .and_then(Operator::from_name);
        let empty = filter.get("values").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if empty && operator.is_some_and(Operator::needs_values) {
            return Err(ApiError::bad_request(format!("Values required for filter: {filter}")));
        }
    }
    Ok(())
}
