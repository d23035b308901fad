//! What a request says, and the markers' replacements made of it.

use super::{LAMBDA, NUMBER, TEXT, TIME, TRUTH, call, filled, ours};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::model::{Member, Origin};
use crate::query::filter::{self, Column, Comparison};
use crate::query::plan::in_range;
use crate::query::resolve::{Condition, Resolved};
use crate::query::{DateRange, Operator, date_range};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::DateTime;
use chrono_tz::Tz;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::datetime::to_local_time;
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use serde_json::Value;

/// The claims, filters and time zone of a request.
pub struct Asked<'a> {
    context: &'a Value,
    tz: Tz,
    /// Ranges of time dimensions, each with the names its member answers to.
    ranges: Vec<(Vec<String>, DateRange)>,
    rows: &'a [Condition<'a>],
}

/// The part of a query's filters that concerns certain members only.
enum Part<'a> {
    And(Vec<Part<'a>>),
    Or(Vec<Part<'a>>),
    /// A range on the member with this number.
    Range(usize, DateRange),
    /// A comparison of the member with this number.
    Compare(usize, Operator, &'a [Option<String>]),
}

/// A filter's value for a lambda.
#[derive(Default)]
struct Given {
    text: String,
    at: Option<Micros>,
}

impl<'a> Asked<'a> {
    /// What the query of `resolved` says.
    pub fn of(resolved: &'a Resolved<'a>) -> Self {
        let ranges = resolved.times.iter().filter_map(|time| {
            let names = names(
                time.path,
                &time.cube.name,
                &time.dimension.name,
                time.dimension.origin.as_ref(),
            );
            Some((names, time.range?))
        });
        Self {
            context: &resolved.query.security_context,
            tz: resolved.query.timezone,
            ranges: ranges.collect(),
            rows: &resolved.rows,
        }
    }

    /// The claim that a marker's first argument names; null when there is none.
    fn claim(&self, arguments: &[Expr]) -> Result<&'a Value> {
        let path: Vec<String> = arguments
            .first()
            .and_then(text_of)
            .and_then(|path| serde_json::from_str(path).ok())
            .ok_or_else(|| Error::internal("a marker has no path"))?;
        let mut value = self.context;
        for name in &path {
            value = value.get(name).unwrap_or(&Value::Null);
        }
        match value {
            Value::Object(_) => Err(Error::invalid(format!(
                "SECURITY_CONTEXT.{} is an object, which cannot be compared",
                path.join(".")
            ))),
            other => Ok(other),
        }
    }

    /// A claim as a literal; a list becomes a text with commas, as in Cube.
    pub(super) fn value(&self, arguments: &[Expr]) -> Result<Expr> {
        match self.claim(arguments)? {
            Value::Array(items) => {
                let texts: Option<Vec<String>> = items.iter().map(scalar_text).collect();
                Ok(lit(texts.ok_or_else(not_comparable)?.join(",")))
            }
            other => literal(other),
        }
    }

    /// A claim as the elements of a list; none when it is absent.
    pub(super) fn elements(&self, arguments: &[Expr]) -> Result<Vec<Expr>> {
        match self.claim(arguments)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(literal).collect(),
            other => Ok(vec![literal(other)?]),
        }
    }

    /// The condition that a column has a claim's value, or one of its values; true when the claim is absent and not
    /// required.
    pub(super) fn claim_filter(&self, arguments: &[Expr], schema: &DFSchema) -> Result<Expr> {
        let [_, label, required, column] = arguments else {
            return Err(Error::internal("a marker has too few arguments"));
        };
        let items: Vec<&Value> = match self.claim(arguments)? {
            Value::Null if matches!(required, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) => {
                let label = text_of(label).unwrap_or_default();
                return Err(Error::invalid(format!("Filter for {label} is required")));
            }
            Value::Null => return Ok(lit(true)),
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        if let Some((LAMBDA, [body])) = call(column) {
            return filled(body.clone(), schema, self);
        }
        let texts = items
            .iter()
            .filter(|item| !item.is_null())
            .map(|item| scalar_text(item).ok_or_else(not_comparable));
        let texts: Vec<Option<String>> = texts.map(|text| text.map(Some)).collect::<Result<_>>()?;
        if texts.is_empty() {
            return Ok(lit(false));
        }
        let column = self.column(column, schema)?;
        filter::lower(Operator::Equals, &texts, &column, self.tz)
    }

    /// The filters of the query that concern only the members named in `arguments`, on the columns that go with them.
    pub(super) fn group(&self, arguments: &[Expr], schema: &DFSchema) -> Result<Expr> {
        let pairs: Vec<(&str, &Expr)> = arguments
            .chunks(2)
            .filter_map(|pair| match pair {
                [name, column] => Some((text_of(name)?, column)),
                _ => None,
            })
            .collect();
        let members: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        let at = |names: &[String]| {
            members
                .iter()
                .position(|member| names.iter().any(|name| name == member))
        };
        let ranges = self.ranges.iter();
        let mut parts: Vec<Part<'_>> = ranges
            .filter_map(|(names, range)| Some(Part::Range(at(names)?, *range)))
            .collect();
        parts.extend(self.rows.iter().filter_map(|condition| part(condition, &at)));
        let columns: Vec<&Expr> = pairs.iter().map(|(_, column)| *column).collect();
        self.condition(&Part::And(parts), &columns, schema)
    }

    /// An instant on the wall clock of the query's time zone.
    pub(super) fn local(&self, arguments: &[Expr], schema: &DFSchema) -> Result<Expr> {
        let [at] = arguments else {
            return Err(Error::internal("`convertTz` has one argument"));
        };
        let at = filled(at.clone(), schema, self)?;
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(self.tz.name().into()));
        let at = filter::cast(filter::cast(at, filter::instant_type()), zoned);
        let wall_clock = DataType::Timestamp(TimeUnit::Microsecond, None);
        Ok(filter::cast(to_local_time().call(vec![at]), wall_clock))
    }

    /// Recursion is bounded as that of the query's filters.
    fn condition(&self, part: &Part<'_>, columns: &[&Expr], schema: &DFSchema) -> Result<Expr> {
        let (inner, and) = match part {
            Part::And(inner) => (inner, true),
            Part::Or(inner) => (inner, false),
            Part::Range(at, _) | Part::Compare(at, ..) => {
                let column = columns
                    .get(*at)
                    .ok_or_else(|| Error::internal("a filter has no column"))?;
                return self.leaf(part, column, schema);
            }
        };
        let all: Result<Vec<Expr>> = inner.iter().map(|part| self.condition(part, columns, schema)).collect();
        Ok(filter::balanced(all?, and).unwrap_or_else(|| lit(true)))
    }

    fn leaf(&self, part: &Part<'_>, column: &Expr, schema: &DFSchema) -> Result<Expr> {
        if let Some((LAMBDA, [body])) = call(column) {
            let given = self.given(part)?;
            return match given.is_empty() {
                true => Ok(lit(true)),
                false => self.applied(body, &given, schema),
            };
        }
        if matches!(column, Expr::Literal(value, _) if value.is_null()) {
            return Ok(lit(true));
        }
        let column = self.column(column, schema)?;
        match part {
            Part::Range(_, range) => Ok(in_range(column.expr, range, self.tz)),
            Part::Compare(_, operator, values) => {
                let text = matches!(
                    column.data_type,
                    DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
                );
                let column = match operator.row().comparison {
                    Comparison::Date if text => Column {
                        expr: filter::cast(column.expr, filter::instant_type()),
                        data_type: filter::instant_type(),
                    },
                    _ => column,
                };
                filter::lower(*operator, values, &column, self.tz)
            }
            _ => Err(Error::internal("a group of filters is no leaf")),
        }
    }

    /// A column with its type; instants of any precision and zone are compared as such.
    fn column(&self, expr: &Expr, schema: &DFSchema) -> Result<Column> {
        let expr = filled(expr.clone(), schema, self)?;
        let data_type = expr.get_type(schema)?;
        Ok(Column { expr, data_type })
    }

    /// The values of a filter, as a lambda gets them.
    fn given(&self, part: &Part<'_>) -> Result<Vec<Given>> {
        match part {
            Part::Range(_, range) => {
                let (from, after) = date_range::utc_bounds(range, self.tz);
                Ok(vec![instant(from), instant(after - 1)])
            }
            Part::Compare(_, operator, values) => {
                let texts = values.iter().flatten();
                match operator.row().comparison {
                    Comparison::Presence => Ok(Vec::new()),
                    Comparison::Date => {
                        let locals: Result<Vec<_>> = texts.map(|text| date_range::parse_local(text)).collect();
                        let locals = locals?.into_iter().enumerate();
                        Ok(locals
                            .map(|(at, local)| match at {
                                0 => instant(date_range::first_instant(local, self.tz)),
                                _ => instant(date_range::instant_after(local, self.tz) - 1),
                            })
                            .collect())
                    }
                    Comparison::Text => Ok(texts.map(|text| plain(filter::escaped(text))).collect()),
                    _ => Ok(texts.map(|text| plain(text.clone())).collect()),
                }
            }
            _ => Ok(Vec::new()),
        }
    }

    /// A lambda's body with the values in the places of its markers.
    fn applied(&self, body: &Expr, given: &[Given], schema: &DFSchema) -> Result<Expr> {
        let done = body.clone().transform_down(|expr| {
            let Some((name @ (TIME | NUMBER | TRUTH | TEXT), [Expr::Literal(at, _)])) = call(&expr) else {
                return Ok(Transformed::no(expr));
            };
            let at = match at {
                ScalarValue::Int64(Some(at)) => usize::try_from(*at).ok(),
                _ => None,
            };
            let value = at.and_then(|at| given.get(at));
            let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
            let value = match name {
                TIME => ScalarValue::TimestampMicrosecond(value.and_then(|v| v.at), Some("UTC".into())),
                NUMBER => ScalarValue::Float64(value.and_then(|v| number(&v.text))),
                TRUTH => ScalarValue::Boolean(value.and_then(|v| v.text.trim().parse().ok())),
                _ => ScalarValue::Utf8(value.map(|v| v.text.clone())),
            };
            Ok(Transformed::yes(lit(value)))
        });
        filled(done.map_err(ours)?.data, schema, self)
    }
}

fn instant(at: Micros) -> Given {
    let time = DateTime::from_timestamp_micros(at).unwrap_or_default();
    Given {
        text: time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        at: Some(at),
    }
}

fn plain(text: String) -> Given {
    Given {
        at: date_range::parse_local(&text)
            .ok()
            .map(|at| at.and_utc().timestamp_micros()),
        text,
    }
}

/// The names a member answers to: its own in the query, its owner's, and that of the member a view shows.
fn names(path: &str, cube: &str, member: &str, origin: Option<&Origin>) -> Vec<String> {
    let own = std::iter::once(path.to_owned()).chain([format!("{cube}.{member}")]);
    own.chain(origin.map(Origin::path)).collect()
}

/// The part of `condition` that concerns only certain members: all of it when it names no others, of a conjunction those
/// of its elements that do not, nothing else. `at` gives a member's number. Recursion is bounded as that of filters.
fn part<'c>(condition: &'c Condition<'c>, at: &impl Fn(&[String]) -> Option<usize>) -> Option<Part<'c>> {
    if let Some(whole) = whole(condition, at) {
        return Some(whole);
    }
    let Condition::And(inner) = condition else { return None };
    let parts: Vec<Part<'_>> = inner.iter().filter_map(|condition| part(condition, at)).collect();
    (!parts.is_empty()).then_some(Part::And(parts))
}

fn whole<'c>(condition: &'c Condition<'c>, at: &impl Fn(&[String]) -> Option<usize>) -> Option<Part<'c>> {
    match condition {
        Condition::And(inner) | Condition::Or(inner) if inner.is_empty() => None,
        Condition::And(inner) => inner
            .iter()
            .map(|one| whole(one, at))
            .collect::<Option<_>>()
            .map(Part::And),
        Condition::Or(inner) => inner
            .iter()
            .map(|one| whole(one, at))
            .collect::<Option<_>>()
            .map(Part::Or),
        Condition::Member {
            path,
            cube,
            member: Member::Dimension(dimension),
            operator,
            values,
        } => {
            let names = names(path, &cube.name, &dimension.name, dimension.origin.as_ref());
            Some(Part::Compare(at(&names)?, *operator, values))
        }
        Condition::Member { .. } => None,
    }
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// A scalar claim as the text that filters compare with.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn not_comparable() -> Error {
    Error::invalid("a claim that is compared holds a list or an object in a list")
}

/// A scalar claim as a literal.
fn literal(value: &Value) -> Result<Expr> {
    let value = match value {
        Value::Null => ScalarValue::Utf8(None),
        Value::String(text) => ScalarValue::from(text.as_str()),
        Value::Bool(truth) => ScalarValue::Boolean(Some(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ScalarValue::Int64(Some(whole)),
            (None, real) => ScalarValue::Float64(real),
        },
        Value::Array(_) | Value::Object(_) => return Err(not_comparable()),
    };
    Ok(lit(value))
}
