//! From the `query` parameter to one or several queries: regular, compared date ranges, or blended.

use super::error::{ApiError, ApiResult};
use super::normalize::{self, Defaults, Normalized};
use super::refused;
use engine::limits::QUERY_MEMBERS_MAX;
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// Queries of one request at the most, of both `compareDateRange` and blending.
pub const QUERIES_MAX: usize = 32;

/// What kind of request the queries came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryType {
    /// One query.
    Regular,
    /// One query, answered once for each of its date ranges.
    CompareDateRange,
    /// Several queries over a common time dimension.
    Blending,
}

impl QueryType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            QueryType::Regular => "regularQuery",
            QueryType::CompareDateRange => "compareDateRangeQuery",
            QueryType::Blending => "blendingQuery",
        }
    }
}

/// The queries of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Their kind.
    pub kind: QueryType,
    /// At least one.
    pub queries: Vec<Normalized>,
}

impl Batch {
    /// Normalises the `query` parameter.
    ///
    /// # Errors
    /// 400 with Cube's text.
    pub fn new(query: &Value, cache: Option<&Value>, defaults: Defaults) -> ApiResult<Self> {
        let (kind, queries) = match query {
            Value::Array(items) => (
                QueryType::Blending,
                items.iter().map(object).collect::<ApiResult<Vec<_>>>()?,
            ),
            other => split_compared(object(other)?)?,
        };
        if queries.len() > QUERIES_MAX {
            return Err(ApiError::format(format!(
                "{} queries in one request; at most {QUERIES_MAX} are allowed",
                queries.len()
            )));
        }
        let normalized = |query: &Map<String, Value>| normalize::normalize(query, cache, defaults);
        let queries = queries.iter().map(normalized).collect::<ApiResult<Vec<_>>>()?;
        if kind == QueryType::Blending {
            check_blending(&queries)?;
        }
        Ok(Self { kind, queries })
    }
}

fn object(query: &Value) -> ApiResult<Map<String, Value>> {
    match query {
        Value::Object(fields) => {
            refused::before_schema(fields)?;
            Ok(fields.clone())
        }
        Value::Null => Err(refused::no_query()),
        _ => Err(ApiError::format("\"value\" must be of type object")),
    }
}

/// One query per element of `compareDateRange`, in which it takes the place of `dateRange`.
fn split_compared(query: Map<String, Value>) -> ApiResult<(QueryType, Vec<Map<String, Value>>)> {
    let times = query
        .get("timeDimensions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut compared = times
        .iter()
        .take(QUERY_MEMBERS_MAX)
        .enumerate()
        .filter_map(|(index, time)| {
            let ranges = time.get("compareDateRange").filter(|ranges| !ranges.is_null())?;
            Some((index, ranges.clone()))
        });
    let Some((index, ranges)) = compared.next() else {
        return Ok((QueryType::Regular, vec![query]));
    };
    if compared.next().is_some() {
        return Err(ApiError::bad_request(
            "compareDateRange can only exist for one timeDimension",
        ));
    }
    let Value::Array(ranges) = ranges else {
        return Err(ApiError::format(format!(
            "\"timeDimensions[{index}].compareDateRange\" must be an array"
        )));
    };
    if ranges.is_empty() {
        return Err(ApiError::format(format!(
            "\"timeDimensions[{index}].compareDateRange\" must contain at least 1 items"
        )));
    }
    let with_range = |range: &Value| {
        let mut one = query.clone();
        if let Some(time) = one
            .get_mut("timeDimensions")
            .and_then(|t| t.get_mut(index))
            .and_then(Value::as_object_mut)
        {
            time.shift_remove("compareDateRange");
            time.insert("dateRange".to_owned(), range.clone());
        }
        one
    };
    let queries = ranges.iter().take(QUERIES_MAX + 1).map(with_range).collect();
    Ok((QueryType::CompareDateRange, queries))
}

fn check_blending(queries: &[Normalized]) -> ApiResult<()> {
    let granularity = |query: &Normalized| query.time_dimensions.first().and_then(|t| t.granularity.clone());
    let mut granularities: Vec<String> = queries.iter().filter_map(granularity).collect();
    granularities.sort_unstable();
    granularities.dedup();
    match granularities.len() {
        1 => Ok(()),
        0 => Err(ApiError::bad_request(
            "Data blending query without granularity is not supported",
        )),
        _ => Err(ApiError::bad_request("Data blending query granularities must match")),
    }
}
