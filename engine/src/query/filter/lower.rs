//! From an operator and its values to an expression. Values become literals of the column's type, never text of SQL.

use super::{Comparison, Operator, OperatorRow};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::QUERY_FILTER_PATTERN_BYTES_MAX;
use crate::query::date_range;
use arrow::datatypes::{DataType, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator as Sql, lit};

/// What a filter compares: an expression, and its type.
#[derive(Debug, Clone)]
pub struct Column {
    /// The expression.
    pub expr: Expr,
    /// Its type.
    pub data_type: DataType,
}

/// The type of instants in plans.
pub fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// An instant as a literal.
pub fn instant(micros: Micros) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}

/// The condition that `operator` with `values` puts on `column`. Values of date operators are wall-clock texts of `tz`, as
/// [`date_range::resolve_filter`] makes them.
///
/// # Errors
/// `Invalid` when values are missing or are no dates, `Execution` when a value does not fit the column's type.
pub fn lower(operator: Operator, values: &[Option<String>], column: &Column, tz: Tz) -> Result<Expr> {
    let row = operator.row();
    let has_null = values.iter().any(Option::is_none);
    let texts: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    if operator.needs_values() && values.is_empty() {
        return Err(Error::invalid(format!(
            "Values required for filter: `{}` needs at least one",
            operator.name()
        )));
    }
    match row.comparison {
        Comparison::Presence if row.negated => Ok(column.expr.clone().is_null()),
        Comparison::Presence => Ok(column.expr.clone().is_not_null()),
        Comparison::Equality => {
            let literals: Result<Vec<Expr>> = texts.iter().map(|text| literal(text, &column.data_type)).collect();
            Ok(equality(row, literals?, has_null, column))
        }
        Comparison::Text => {
            texts.iter().try_for_each(|text| bounded(operator, text))?;
            Ok(text_match(row, &texts, has_null, column))
        }
        Comparison::Order => {
            let text = first(&texts)?;
            Ok(compare(
                column.expr.clone(),
                order_of(operator),
                literal(text, &column.data_type)?,
            ))
        }
        Comparison::Date => date(operator, &texts, column, tz),
        Comparison::Drill => Err(Error::internal("`measureFilter` has no column of its own")),
    }
}

fn first<'a>(texts: &[&'a str]) -> Result<&'a str> {
    let found = texts.first().copied();
    // Cube's wording, which does not name the operator.
    found.ok_or_else(|| Error::new(ErrorKind::Execution, "Expected one parameter but nothing found"))
}

/// Refuses a text whose pattern would take too much memory to match.
fn bounded(operator: Operator, text: &str) -> Result<()> {
    if text.len() <= QUERY_FILTER_PATTERN_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a value of the operator `{}` has {} bytes: {QUERY_FILTER_PATTERN_BYTES_MAX} at most",
        operator.name(),
        text.len()
    )))
}

fn compare(left: Expr, operator: Sql, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

fn order_of(operator: Operator) -> Sql {
    match operator {
        Operator::Gt => Sql::Gt,
        Operator::Gte => Sql::GtEq,
        Operator::Lt => Sql::Lt,
        _ => Sql::LtEq,
    }
}

/// `=`, `<>`, `IN`, `NOT IN`. Null among the values means rows without a value; a negation keeps them unless it names null.
fn equality(row: &OperatorRow, mut literals: Vec<Expr>, has_null: bool, column: &Column) -> Expr {
    let expr = || column.expr.clone();
    let compared = match literals.len() {
        0 if row.negated => return expr().is_not_null(),
        0 => return expr().is_null(),
        1 => {
            let operator = if row.negated { Sql::NotEq } else { Sql::Eq };
            compare(expr(), operator, literals.remove(0))
        }
        _ => expr().in_list(literals, row.negated),
    };
    if row.negated != has_null {
        compared.or(expr().is_null())
    } else {
        compared
    }
}

/// `ILIKE` with the value taken as it is; values of a negation must all fail.
fn text_match(row: &OperatorRow, texts: &[&str], has_null: bool, column: &Column) -> Expr {
    let is_text = matches!(
        column.data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let subject = if is_text {
        column.expr.clone()
    } else {
        cast(column.expr.clone(), DataType::Utf8View)
    };
    let (before, after) = match row.operator {
        Operator::StartsWith | Operator::NotStartsWith => ("", "%"),
        Operator::EndsWith | Operator::NotEndsWith => ("%", ""),
        _ => ("%", "%"),
    };
    let like = |text: &&str| {
        let pattern = format!("{before}{}{after}", escaped(text));
        Expr::Like(Like::new(
            row.negated,
            Box::new(subject.clone()),
            Box::new(lit(pattern)),
            None,
            true,
        ))
    };
    let matched = balanced(texts.iter().map(like).collect(), row.negated);
    let null = || column.expr.clone().is_null();
    match (matched, row.negated == has_null) {
        (Some(matched), true) if row.negated => matched.and(column.expr.clone().is_not_null()),
        (Some(matched), true) => matched,
        (Some(matched), false) => matched.or(null()),
        // Only null was given: a negation then excludes nothing, as Cube.
        (None, _) if row.negated => lit(true),
        (None, _) => null(),
    }
}

/// `text` for a `LIKE` pattern that matches it literally.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Joins conditions with `and` or `or` as a balanced tree, so that the depth grows with the logarithm of their number.
pub(crate) fn balanced(mut conditions: Vec<Expr>, and: bool) -> Option<Expr> {
    while conditions.len() > 1 {
        let mut joined = Vec::with_capacity(conditions.len().div_ceil(2));
        let mut rest = conditions.into_iter();
        while let Some(left) = rest.next() {
            joined.push(match rest.next() {
                Some(right) if and => left.and(right),
                Some(right) => left.or(right),
                None => left,
            });
        }
        conditions = joined;
    }
    conditions.pop()
}

pub(crate) fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(datafusion::logical_expr::Cast::new(Box::new(expr), to))
}

/// What PostgreSQL says when something that is no instant is compared with dates.
pub(crate) fn no_instant(data_type: &DataType) -> Error {
    let message = format!(
        "operator does not exist: {} >= timestamp with time zone",
        sql_type(data_type)
    );
    Error::new(ErrorKind::Execution, message)
}

/// Date operators as half-open conditions on instants. A bound of `.999` means its whole millisecond.
fn date(operator: Operator, texts: &[&str], column: &Column, tz: Tz) -> Result<Expr> {
    let expr = match &column.data_type {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => column.expr.clone(),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null => {
            cast(column.expr.clone(), instant_type())
        }
        other => return Err(no_instant(other)),
    };
    let begin = date_range::parse_local(first(texts)?)?;
    let end = match texts.get(1) {
        Some(text) => date_range::parse_local(text)?,
        None => begin,
    };
    let from = instant(date_range::first_instant(begin, tz));
    let after = |local| instant(date_range::instant_after(local, tz));
    Ok(match operator {
        Operator::BeforeDate => expr.lt(from),
        Operator::AfterOrOnDate => expr.gt_eq(from),
        Operator::BeforeOrOnDate => expr.lt(after(begin)),
        Operator::AfterDate => expr.gt_eq(after(begin)),
        Operator::NotInDateRange => expr.clone().lt(from).or(expr.gt_eq(after(end))),
        _ => expr.clone().gt_eq(from).and(expr.lt(after(end))),
    })
}

/// A client's value as a literal that compares with a column of `data_type` by value.
fn literal(text: &str, data_type: &DataType) -> Result<Expr> {
    let value = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ScalarValue::from(text),
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(text).ok_or_else(|| bad_value(text, data_type))?)),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let at = date_range::parse_local(text).map_err(|_| bad_value(text, data_type))?;
            ScalarValue::TimestampMicrosecond(Some(at.and_utc().timestamp_micros()), Some("UTC".into()))
        }
        other if other.is_numeric() => number(text, other)?,
        _ => ScalarValue::from(text),
    };
    Ok(lit(value))
}

/// What PostgreSQL takes for a truth value.
fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number where it is one, which keeps comparisons with integer columns exact and prunable.
fn number(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let trimmed = text.trim();
    if !data_type.is_floating()
        && let Ok(whole) = trimmed.parse::<i64>()
    {
        return Ok(ScalarValue::Int64(Some(whole)));
    }
    let digits = trimmed.trim_start_matches(['-', '+']);
    if data_type.is_integer() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("value \"{text}\" is out of range for type {}", sql_type(data_type));
        return Err(Error::new(ErrorKind::Execution, message));
    }
    match trimmed.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(ScalarValue::Float64(Some(value))),
        _ => Err(bad_value(text, data_type)),
    }
}

fn bad_value(text: &str, data_type: &DataType) -> Error {
    let shown: String = text.chars().take(100).collect();
    let message = format!("invalid input syntax for type {}: \"{shown}\"", sql_type(data_type));
    Error::new(ErrorKind::Execution, message)
}

/// The name of a type in PostgreSQL, which is the dialect of models.
fn sql_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "boolean",
        DataType::Int64 | DataType::UInt64 | DataType::UInt32 => "bigint",
        other if other.is_integer() => "integer",
        other if other.is_floating() => "double precision",
        other if other.is_numeric() => "numeric",
        DataType::Timestamp(..) => "timestamp with time zone",
        DataType::Date32 | DataType::Date64 => "date",
        _ => "text",
    }
}
