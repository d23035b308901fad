//! A checked query in its normal form: defaults filled in, dates resolved, values made text. Clients read it back from
//! the answer to fill gaps and to pivot.

use super::error::{ApiError, ApiResult};
use super::{refused, validate};
use crate::auth::SecurityContext;
use crate::config::Settings;
use chrono_tz::{TZ_VARIANTS, Tz};
use engine::clock::Micros;
use engine::limits;
use engine::query::filter::Comparison;
use engine::query::{AsOf, DateRange, Fill, Filter, Operator, OrderBy, Query, QueryTimeDimension, date_range};
use serde_json::{Map, Number, Value, json};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseFormat {
    /// An array of objects.
    #[default]
    Default,
    /// Member names once, then an array of rows.
    Compact,
    /// Member names once, then an array of columns.
    Columnar,
}

impl ResponseFormat {
    const ALL: &[(&str, ResponseFormat)] = &[
        ("default", ResponseFormat::Default),
        ("compact", ResponseFormat::Compact),
        ("columnar", ResponseFormat::Columnar),
    ];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, format)| *format)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, format)| *format == self)
            .map_or("default", |(n, _)| n)
    }
}

/// A query in its normal form. What the client did not send stays absent where the echo leaves it out.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalized {
    /// `Cube.measure` names.
    pub measures: Option<Vec<String>>,
    /// `Cube.dimension` names, those with a granularity taken out.
    pub dimensions: Vec<String>,
    /// Time dimensions, those named as `Cube.dimension.granularity` at the end.
    pub time_dimensions: Vec<QueryTimeDimension>,
    /// `Cube.segment` names.
    pub segments: Option<Vec<String>>,
    /// Filters as they are echoed.
    pub filters: Vec<Value>,
    /// Filters as they are executed.
    pub typed_filters: Vec<Filter>,
    /// Order, if the client gave one.
    pub order: Option<Vec<OrderBy>>,
    /// Rows at the most.
    pub limit: u64,
    /// Rows to leave out.
    pub offset: Option<u64>,
    /// Whether all rows are counted.
    pub total: Option<bool>,
    /// The zone's name as sent.
    pub timezone: String,
    /// The zone.
    pub tz: Tz,
    /// No grouping.
    pub ungrouped: Option<bool>,
    /// Ways through the joins, each a list of cubes' names.
    pub join_hints: Option<Vec<Vec<String>>>,
    /// How buckets without rows are filled, `zero` or `null`.
    pub fill: Option<Fill>,
    /// An earlier state of the data to ask.
    pub as_of: Option<AsOf>,
    /// How rows are written.
    pub response_format: Option<ResponseFormat>,
    /// How fresh the answer must be. Answers are always fresh here; the mode is only echoed.
    pub cache_mode: String,
}

/// What a query is read with that it does not say itself.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// The instant that relative dates start from.
    pub now: Micros,
    /// Zone of queries that name none.
    pub timezone: Tz,
    /// Rows of an answer when the query names no limit.
    pub limit_rows: u64,
    /// Rows of an answer at the most.
    pub limit_rows_max: u64,
}

impl Defaults {
    /// Cube's own, at the instant `now`.
    pub fn at(now: Micros) -> Self {
        Self {
            now,
            timezone: Tz::UTC,
            limit_rows: limits::QUERY_LIMIT_ROWS_DEFAULT,
            limit_rows_max: limits::QUERY_LIMIT_ROWS_MAX,
        }
    }

    /// Those of the settings, at the instant `now`.
    pub fn of(settings: &Settings, now: Micros) -> Self {
        Self {
            now,
            timezone: settings.timezone,
            limit_rows: settings.query_limit_rows_default.min(settings.query_limit_rows_max),
            limit_rows_max: settings.query_limit_rows_max,
        }
    }
}

/// Checks `query` and brings it into normal form. `cache` is the request's own cache mode, which wins over the query's.
///
/// # Errors
/// 400 with Cube's text.
pub fn normalize(query: &Map<String, Value>, cache: Option<&Value>, defaults: Defaults) -> ApiResult<Normalized> {
    let now = defaults.now;
    let mut query = query.clone();
    let mode = query.shift_remove("cache").filter(|mode| !validate::is_falsy(mode));
    // Clients before 1.x asked for fresh answers this way.
    let renewed = query.get("renewQuery") == Some(&Value::Bool(true));
    let mode = mode.or_else(|| renewed.then(|| json!("must-revalidate")));
    if let Some(mode) = cache.cloned().or(mode) {
        query.insert("cacheMode".to_owned(), mode);
    }
    validate::check(&query)?;
    refused::after_schema(&query)?;
    let timezone = query
        .get("timezone")
        .filter(|v| !validate::is_falsy(v))
        .and_then(Value::as_str)
        .unwrap_or_else(|| defaults.timezone.name());
    let tz = zone(timezone).unwrap_or(defaults.timezone);
    let names = |key: &str| query.get(key).map(strings);
    let whole = |key: &str| query.get(key).and_then(Value::as_f64).map(|n| n as u64);
    let flag = |key: &str| query.get(key).and_then(Value::as_bool);
    let (dimensions, bucketed): (Vec<String>, Vec<String>) = names("dimensions")
        .unwrap_or_default()
        .into_iter()
        .partition(|name| name.split('.').count() != 3);
    let mut time_dimensions = time_dimensions(query.get("timeDimensions"), now, tz)?;
    time_dimensions.extend(bucketed.iter().filter_map(|name| {
        let (dimension, granularity) = name.rsplit_once('.')?;
        Some(QueryTimeDimension {
            dimension: dimension.to_owned(),
            granularity: Some(granularity.to_owned()),
            date_range: None,
        })
    }));
    let limit = whole("limit").unwrap_or(defaults.limit_rows);
    if limit > defaults.limit_rows_max {
        return Err(ApiError::bad_request("Error: The query limit has been exceeded."));
    }
    let mut filters = query
        .get("filters")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    filters.iter_mut().for_each(normalize_filter);
    let typed_filters = filters
        .iter_mut()
        .map(|f| typed_filter(f, now, tz))
        .collect::<ApiResult<Vec<_>>>()?;
    Ok(Normalized {
        measures: names("measures"),
        dimensions,
        time_dimensions,
        segments: names("segments"),
        filters,
        typed_filters: typed_filters.into_iter().flatten().collect(),
        order: query.get("order").map(order),
        limit,
        offset: whole("offset"),
        total: flag("total"),
        timezone: timezone.to_owned(),
        tz,
        ungrouped: flag("ungrouped"),
        join_hints: join_hints(&query),
        fill: names_one(&query, "fillMissing").and_then(|name| fill_of(&name)),
        as_of: query.get("asOf").and_then(as_of),
        response_format: names_one(&query, "responseFormat").and_then(|n| ResponseFormat::from_name(&n)),
        cache_mode: names_one(&query, "cacheMode").unwrap_or_else(|| "stale-if-slow".to_owned()),
    })
}

/// The zone of this name, ignoring case.
pub fn zone(name: &str) -> Option<Tz> {
    name.parse().ok().or_else(|| {
        TZ_VARIANTS
            .iter()
            .copied()
            .find(|tz| tz.name().eq_ignore_ascii_case(name))
    })
}

fn join_hints(query: &Map<String, Value>) -> Option<Vec<Vec<String>>> {
    let ways = query.get("joinHints")?.as_array()?;
    Some(ways.iter().map(strings).collect())
}

fn names_one(query: &Map<String, Value>, key: &str) -> Option<String> {
    query.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn time_dimensions(value: Option<&Value>, now: Micros, tz: Tz) -> ApiResult<Vec<QueryTimeDimension>> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let one = |item: &Value| -> ApiResult<QueryTimeDimension> {
        Ok(QueryTimeDimension {
            dimension: text(item, "dimension").unwrap_or_default(),
            granularity: text(item, "granularity"),
            date_range: item
                .get("dateRange")
                .map(|range| resolve_range(range, now, tz))
                .transpose()?,
        })
    };
    items.iter().map(one).collect()
}

/// Resolves a `dateRange`, or an element of `compareDateRange`.
///
/// # Errors
/// 400 with Cube's text when it is no date.
pub fn resolve_range(range: &Value, now: Micros, tz: Tz) -> ApiResult<DateRange> {
    let resolved = match range {
        Value::String(text) => date_range::resolve(text, now, tz),
        other => date_range::resolve_array(&strings(other), now, tz),
    };
    resolved.map_err(|error| ApiError::bad_request(error.message()))
}

/// A range as its two texts.
pub fn range_texts(range: &DateRange) -> [String; 2] {
    [date_range::format(range.from), date_range::format(range.to)]
}

/// Makes values text and renames the old key `dimension`.
fn normalize_filter(filter: &mut Value) {
    let Value::Object(fields) = filter else { return };
    for group in ["or", "and"] {
        if let Some(Value::Array(inner)) = fields.get_mut(group) {
            inner.iter_mut().for_each(normalize_filter);
            return;
        }
    }
    if let Some(member) = fields.shift_remove("dimension") {
        fields.shift_insert(0, "member".to_owned(), member);
    }
    if let Some(Value::Array(values)) = fields.get_mut("values") {
        for value in values.iter_mut() {
            match value {
                Value::Number(number) => *value = Value::String(number_text(number)),
                Value::Bool(flag) => *value = Value::String(flag.to_string()),
                _ => {}
            }
        }
    }
}

/// A number as JavaScript prints it.
fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e21 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

/// What `inDateRange` means when its only value is a date: from then on. Cube 0.35 and 1.6 leave the range open so, 1.7
/// takes it for the date's day; a relative text such as `last week` is a range with all of them.
fn since(operator: Operator, values: &[Option<String>]) -> Option<Operator> {
    match values {
        [Some(only)] if operator == Operator::InDateRange && !date_range::is_relative(only) => {
            Some(Operator::AfterOrOnDate)
        }
        _ => None,
    }
}

/// The executable form of a filter; `None` for an empty group, which Cube ignores. A date operator with a single value
/// is echoed resolved, as Cube 1.7 does, but for [`since`].
fn typed_filter(filter: &mut Value, now: Micros, tz: Tz) -> ApiResult<Option<Filter>> {
    for group in ["or", "and"] {
        let Some(inner) = filter.get_mut(group).and_then(Value::as_array_mut) else {
            continue;
        };
        let typed = inner
            .iter_mut()
            .map(|f| typed_filter(f, now, tz))
            .collect::<ApiResult<Vec<_>>>()?;
        let typed: Vec<Filter> = typed.into_iter().flatten().collect();
        return Ok(match (typed.is_empty(), group) {
            (true, _) => None,
            (false, "or") => Some(Filter::Or(typed)),
            (false, _) => Some(Filter::And(typed)),
        });
    }
    let member = filter
        .get("member")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let name = filter.get("operator").and_then(Value::as_str).unwrap_or_default();
    let operator = Operator::from_name(name)
        .ok_or_else(|| ApiError::format("\"filters\" does not match any of the allowed types"))?;
    let sent = filter
        .get("values")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut values: Vec<Option<String>> = sent.iter().map(|v| v.as_str().map(str::to_owned)).collect();
    let operator = since(operator, &values).unwrap_or(operator);
    if operator.row().comparison == Comparison::Date {
        let resolved = date_range::resolve_filter(operator, &values, now, tz)
            .map_err(|error| ApiError::bad_request(error.message()))?;
        let relative = |text: &Option<String>| text.as_deref().is_some_and(date_range::is_relative);
        if values.len() == 1 && (resolved.len() == 2 || relative(&values[0])) {
            filter["values"] = json!(resolved);
        }
        values = resolved.into_iter().map(Some).collect();
    }
    Ok(Some(Filter::Member {
        member,
        operator,
        values,
    }))
}

fn order(value: &Value) -> Vec<OrderBy> {
    let entry = |id: &str, direction: &Value| OrderBy {
        id: id.to_owned(),
        desc: direction.as_str() == Some("desc"),
    };
    match value {
        Value::Object(fields) => fields.iter().map(|(id, direction)| entry(id, direction)).collect(),
        Value::Array(entries) => {
            let pair = |e: &Value| Some(entry(e.get(0)?.as_str()?, e.get(1)?));
            entries.iter().filter_map(pair).collect()
        }
        _ => Vec::new(),
    }
}

impl Normalized {
    /// The query for the engine, asked by `context`.
    pub fn to_query(&self, context: &SecurityContext) -> Query {
        Query {
            security_context: Arc::clone(context.claims()),
            groups: Arc::clone(context.groups()),
            roles: Arc::clone(context.roles()),
            measures: unique(self.measures.as_deref().unwrap_or_default()),
            dimensions: unique(&self.dimensions),
            time_dimensions: self.time_dimensions.clone(),
            segments: unique(self.segments.as_deref().unwrap_or_default()),
            filters: self.typed_filters.clone(),
            order: self.order.clone(),
            limit: self.limit,
            offset: self.offset.unwrap_or(0),
            total: self.total.unwrap_or(false),
            ungrouped: self.ungrouped.unwrap_or(false),
            join_hints: self.join_hints.clone().unwrap_or_default(),
            fill: self.fill,
            as_of: self.as_of,
            timezone: self.tz,
            ..Query::default()
        }
    }

    /// The query as an answer's `query` shows it.
    pub fn echo(&self) -> Map<String, Value> {
        let mut echo = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                echo.insert(key.to_owned(), value);
            }
        };
        set("measures", self.measures.as_ref().map(|m| json!(m)));
        set("dimensions", Some(json!(self.dimensions)));
        set(
            "timeDimensions",
            Some(self.time_dimensions.iter().map(time_dimension_echo).collect()),
        );
        set("segments", self.segments.as_ref().map(|s| json!(s)));
        set("limit", Some(json!(self.limit)));
        set("offset", self.offset.map(|o| json!(o)));
        set("total", self.total.map(Value::Bool));
        set("timezone", Some(json!(self.timezone)));
        set("ungrouped", self.ungrouped.map(Value::Bool));
        set("joinHints", self.join_hints.as_ref().map(|ways| json!(ways)));
        set("fillMissing", self.fill.map(|fill| json!(fill_name(fill))));
        set("asOf", self.as_of.map(as_of_echo));
        set("responseFormat", self.response_format.map(|f| json!(f.name())));
        set("filters", Some(Value::Array(self.filters.clone())));
        set("rowLimit", Some(json!(self.limit)));
        set(
            "order",
            self.order.as_ref().map(|order| order.iter().map(order_echo).collect()),
        );
        echo
    }

    /// The query as `/dry-run` shows it.
    pub fn dry_run_echo(&self) -> Map<String, Value> {
        let mut echo = self.echo();
        echo.insert("cacheMode".to_owned(), json!(self.cache_mode));
        echo
    }

    /// The order that applies, given or default, for `queryOrder`: Cube's rule is the first bucketed time dimension,
    /// else the first measure descending when there are dimensions too, else the first dimension.
    pub fn effective_order(&self) -> Vec<OrderBy> {
        if let Some(order) = &self.order {
            return order.clone();
        }
        let by = |id: &str, desc: bool| {
            vec![OrderBy {
                id: id.to_owned(),
                desc,
            }]
        };
        let bucketed = self.time_dimensions.iter().find(|t| t.granularity.is_some());
        let measure = self.measures.as_deref().unwrap_or_default().first();
        match (bucketed, measure, self.dimensions.first()) {
            (Some(time), _, _) => by(&time.dimension, false),
            (None, Some(measure), Some(_)) => by(measure, true),
            (None, None, Some(dimension)) => by(dimension, false),
            _ => Vec::new(),
        }
    }
}

/// Names of [`Fill`] on the wire.
const FILLS: &[(&str, Fill)] = &[("zero", Fill::Zero), ("null", Fill::Null)];

fn fill_of(name: &str) -> Option<Fill> {
    FILLS.iter().find(|(known, _)| *known == name).map(|(_, fill)| *fill)
}

fn fill_name(fill: Fill) -> &'static str {
    FILLS
        .iter()
        .find(|(_, known)| *known == fill)
        .map_or("zero", |(name, _)| name)
}

/// What `asOf` says: an instant with its zone, or the number of a version.
pub(super) fn as_of(value: &Value) -> Option<AsOf> {
    match value {
        Value::String(text) => {
            let instant = chrono::DateTime::parse_from_rfc3339(text).ok()?;
            Some(AsOf::Instant(instant.timestamp_micros()))
        }
        Value::Number(number) => Some(AsOf::Version(number.as_u64()?)),
        _ => None,
    }
}

fn as_of_echo(as_of: AsOf) -> Value {
    match as_of {
        AsOf::Instant(at) => json!(super::load::instant(at)),
        AsOf::Version(version) => json!(version),
    }
}

fn unique(names: &[String]) -> Vec<String> {
    let mut seen: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !seen.contains(name) {
            seen.push(name.clone());
        }
    }
    seen
}

fn time_dimension_echo(time: &QueryTimeDimension) -> Value {
    let mut echo = Map::new();
    echo.insert("dimension".to_owned(), json!(time.dimension));
    if let Some(range) = &time.date_range {
        echo.insert("dateRange".to_owned(), json!(range_texts(range)));
    }
    if let Some(granularity) = &time.granularity {
        echo.insert("granularity".to_owned(), json!(granularity));
    }
    Value::Object(echo)
}

fn order_echo(order: &OrderBy) -> Value {
    json!({"id": order.id, "desc": order.desc})
}
