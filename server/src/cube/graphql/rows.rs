//! From the body of `/v1/load` to the objects of a GraphQL answer.

use super::schema::{Cube, CubeSchema, Kind};
use crate::cube::normalize::zone;
use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use chrono::{Duration, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::collections::HashMap;

/// What is read of a body in the compact form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    query: Map<String, Value>,
    last_refresh_time: Value,
    annotation: Value,
    #[serde(default)]
    used_pre_aggregations: Option<Value>,
    data: Data,
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    members: Vec<String>,
    dataset: Vec<Vec<Value>>,
}

/// The answer to one `cube` field.
#[derive(Debug)]
pub(super) struct Loaded {
    columns: HashMap<String, usize>,
    rows: Vec<Vec<Value>>,
    zone: Tz,
    /// `annotation`, `lastRefreshTime` and so on, as in Cube's `extensions`.
    pub(super) extensions: Map<String, Value>,
}

impl Loaded {
    /// Reads a body.
    ///
    /// # Errors
    /// `Internal` when it has another form, which is a defect.
    pub(super) fn read(body: &[u8]) -> engine::Result<Self> {
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            engine::Error::internal("an answer in the compact form cannot be read").with_source(error)
        })?;
        let zone_name = body.query.get("timezone").and_then(Value::as_str).unwrap_or("UTC");
        let columns = body.data.members.into_iter().enumerate();
        let mut extensions = Map::new();
        extensions.insert("annotation".to_owned(), body.annotation);
        extensions.insert("lastRefreshTime".to_owned(), body.last_refresh_time);
        if let Some(used) = body.used_pre_aggregations {
            extensions.insert("usedPreAggregations".to_owned(), used);
        }
        Ok(Self {
            columns: columns.map(|(at, name)| (name, at)).collect(),
            rows: body.data.dataset,
            zone: zone(zone_name).unwrap_or(Tz::UTC),
            extensions,
        })
    }

    fn cell(&self, row: usize, column: &str) -> &Value {
        let at = self.columns.get(column);
        at.and_then(|at| self.rows[row].get(*at)).unwrap_or(&Value::Null)
    }

    /// A local time as the instant it is in the query's zone.
    fn instant(&self, cell: &Value) -> Value {
        let local = cell.as_str().and_then(|text| text.parse::<NaiveDateTime>().ok());
        local.map_or(Value::Null, |local| Value::String(instant(local, self.zone)))
    }
}

/// `2024-02-05T00:00:00.000` in Berlin → `2024-02-04T23:00:00.000Z`. Of a repeated hour the first counts; a skipped one
/// is moved on by the gap.
fn instant(local: NaiveDateTime, zone: Tz) -> String {
    let found = match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.with_timezone(&Utc),
        LocalResult::None => {
            let before = zone.from_local_datetime(&(local - Duration::hours(24))).earliest();
            before.map_or_else(
                || Utc.from_utc_datetime(&local),
                |at| at.with_timezone(&Utc) + Duration::hours(24),
            )
        }
    };
    found.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The root of an answer: one list of rows for each `cube` field, in the order of the document.
pub(super) struct Root<'d> {
    pub(super) schema: &'d CubeSchema,
    pub(super) loaded: &'d [Result<Loaded, String>],
    next: Cell<usize>,
}

impl<'d> Root<'d> {
    /// The answers to the fields that [`super::query::Recorder`] wrote down, in the same order.
    pub(super) fn new(schema: &'d CubeSchema, loaded: &'d [Result<Loaded, String>]) -> Self {
        Self {
            schema,
            loaded,
            next: Cell::new(0),
        }
    }
}

impl ObjectValue for Root<'_> {
    fn type_name(&self) -> &str {
        "Query"
    }

    fn resolve_field<'a>(&'a self, _: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let at = self.next.replace(self.next.get() + 1);
        let missing = || FieldError {
            message: "the field was not asked".to_owned(),
        };
        let loaded = self.loaded.get(at).ok_or_else(missing)?;
        let loaded = loaded.as_ref().map_err(|message| FieldError {
            message: message.clone(),
        })?;
        let rows = (0..loaded.rows.len()).map(|row| {
            Ok(ResolvedValue::Object(Box::new(Row {
                schema: self.schema,
                loaded,
                row,
            })))
        });
        Ok(ResolvedValue::List(Box::new(rows)))
    }
}

struct Row<'d> {
    schema: &'d CubeSchema,
    loaded: &'d Loaded,
    row: usize,
}

impl ObjectValue for Row<'_> {
    fn type_name(&self) -> &str {
        "Result"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let Some(cube) = self.schema.cube(info.field_name()) else {
            return Err(self.unknown_field_error(info));
        };
        Ok(ResolvedValue::Object(Box::new(Members {
            cube,
            loaded: self.loaded,
            row: self.row,
            type_name: info.field_definition().ty.inner_named_type(),
        })))
    }
}

struct Members<'d> {
    cube: &'d Cube,
    loaded: &'d Loaded,
    row: usize,
    type_name: &'d str,
}

impl ObjectValue for Members<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let name = info.field_name();
        let Some(member) = self.cube.members.get(name) else {
            return Err(self.unknown_field_error(info));
        };
        let column = format!("{}.{name}", self.cube.name);
        if member.kind == Kind::Time {
            return Ok(ResolvedValue::Object(Box::new(Instant {
                loaded: self.loaded,
                row: self.row,
                column,
            })));
        }
        let cell = self.loaded.cell(self.row, &column);
        Ok(ResolvedValue::leaf(match (member.kind, cell) {
            (_, Value::Null) => Value::Null,
            (Kind::Number, Value::String(text)) => number(text),
            (Kind::Number, other) => other.clone(),
            (_, Value::String(text)) => Value::String(text.clone()),
            (_, other) => Value::String(other.to_string()),
        }))
    }
}

/// A number as the library wants a `Float`. What is none, such as infinity, is null.
fn number(text: &str) -> Value {
    let float = text.parse::<f64>().ok().and_then(Number::from_f64);
    float.map_or(Value::Null, Value::Number)
}

/// Writes whole numbers as JavaScript does: `4008` and not `4008.0`.
pub(super) fn whole_numbers(value: &mut Value) {
    match value {
        // As deep as the document, which the parser bounds.
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < WHOLE_MAX);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        _ => {}
    }
}

/// The numbers below have no gaps between them.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

struct Instant<'d> {
    loaded: &'d Loaded,
    row: usize,
    column: String,
}

impl ObjectValue for Instant<'_> {
    fn type_name(&self) -> &str {
        "TimeDimension"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let cell = match info.field_name() {
            "value" => self.loaded.cell(self.row, &self.column),
            part => self.loaded.cell(self.row, &format!("{}.{part}", self.column)),
        };
        Ok(ResolvedValue::leaf(self.loaded.instant(cell)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_become_instants_of_their_zone() {
        let cases = [
            ("UTC", "2024-02-05T00:00:00.000", "2024-02-05T00:00:00.000Z"),
            ("Europe/Berlin", "2024-02-05T00:00:00.000", "2024-02-04T23:00:00.000Z"),
            ("Asia/Kolkata", "2024-02-05T12:30:00.500", "2024-02-05T07:00:00.500Z"),
            // The hour that is there twice, and the one that is not there.
            ("Europe/Berlin", "2024-10-27T02:30:00.000", "2024-10-27T00:30:00.000Z"),
            ("Europe/Berlin", "2024-03-31T02:30:00.000", "2024-03-31T01:30:00.000Z"),
        ];
        for (name, local, expected) in cases {
            assert_eq!(
                instant(local.parse().unwrap(), name.parse().unwrap()),
                expected,
                "{local} {name}"
            );
        }
    }

    #[test]
    fn numbers_are_whole_where_they_are() {
        let cases = [
            ("4008", "4008"),
            ("-7", "-7"),
            ("30.56", "30.56"),
            ("1e+21", "1e+21"),
            ("NaN", "null"),
        ];
        for (text, json) in cases {
            let mut value = number(text);
            whole_numbers(&mut value);
            assert_eq!(value.to_string(), json, "{text}");
        }
    }
}
