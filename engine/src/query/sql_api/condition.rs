//! From conditions of SQL to filters of a query, where both mean the same.

use super::part::{Kind, Part, Values, as_member, is_join_field, members};
use crate::query::{DateRange, Filter, Operator};
use chrono::{NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator as Sql};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use indexmap::IndexMap;
use std::sync::Arc;

/// What conditions say in the words of a query.
#[derive(Debug, Default)]
pub struct Conditions {
    /// Filters.
    pub filters: Vec<Filter>,
    /// Closed ranges of time dimensions.
    pub ranges: IndexMap<String, DateRange>,
    /// Segments.
    pub segments: Vec<String>,
    /// What filters cannot say.
    pub rest: Vec<Expr>,
}

/// A bound of a time dimension: the first or the last millisecond.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    from: Option<NaiveDateTime>,
    to: Option<NaiveDateTime>,
}

/// Turns conditions on the members of one part into filters.
pub struct Translator<'a> {
    part: &'a Part,
    functions: &'a SessionState,
    tz: Tz,
}

impl<'a> Translator<'a> {
    /// For the members of `part`; texts with an offset are instants, others wall clocks of `tz`.
    pub fn new(part: &'a Part, functions: &'a SessionState, tz: Tz) -> Self {
        Self { part, functions, tz }
    }

    /// All of `conditions`, which must all hold.
    pub fn all(&self, conditions: &[Expr]) -> Conditions {
        let mut out = Conditions::default();
        let mut bounds: IndexMap<String, Bounds> = IndexMap::new();
        for condition in conditions.iter().flat_map(|condition| split_conjunction(condition)) {
            if joins(condition) {
                continue;
            }
            if let Some(segment) = self.segment(condition) {
                if !out.segments.contains(&segment) {
                    out.segments.push(segment);
                }
            } else if !self.bound(condition, &mut bounds) {
                match self.filter(condition) {
                    Some(filter) => out.filters.push(filter),
                    None => out.rest.push(condition.clone()),
                }
            }
        }
        for (path, found) in bounds {
            match (found.from, found.to) {
                (Some(from), Some(to)) => drop(out.ranges.insert(path, DateRange { from, to })),
                (Some(from), None) => out.filters.push(date(&path, Operator::AfterOrOnDate, from)),
                (None, Some(to)) => out.filters.push(date(&path, Operator::BeforeOrOnDate, to)),
                (None, None) => {}
            }
        }
        out
    }

    /// A segment that must hold.
    fn segment(&self, condition: &Expr) -> Option<String> {
        let inner = match condition {
            Expr::IsTrue(inner) => inner,
            Expr::BinaryExpr(binary) if binary.op == Sql::Eq => match self.constant(&binary.right)? {
                ScalarValue::Boolean(Some(true)) => &binary.left,
                _ => return None,
            },
            other => other,
        };
        let path = as_member(inner)?;
        matches!(self.part.kind(path), Some(Kind::Segment)).then(|| path.to_owned())
    }

    /// Adds a bound of a time dimension; false when `condition` is none.
    fn bound(&self, condition: &Expr, bounds: &mut IndexMap<String, Bounds>) -> bool {
        let found = match condition {
            Expr::BinaryExpr(binary) => self
                .comparison(binary)
                .map(|(path, op, value)| (path, vec![(op, value)])),
            Expr::Between(between) if !between.negated => self.between(between),
            _ => None,
        };
        let Some((path, found)) = found else {
            return false;
        };
        if !matches!(self.part.kind(&path), Some(Kind::Dimension(d)) if Kind::Dimension(d).values() == Values::Time) {
            return false;
        }
        let mut all = bounds.get(&path).copied().unwrap_or_default();
        for (op, value) in found {
            match self.edge(op, &value) {
                Some((Edge::From, at)) => all.from = Some(all.from.map_or(at, |from| from.max(at))),
                Some((Edge::To, at)) => all.to = Some(all.to.map_or(at, |to| to.min(at))),
                None => return false,
            }
        }
        bounds.insert(path, all);
        true
    }

    /// The millisecond at which a comparison with an instant begins or ends. A strict lower bound has none, because
    /// instants are finer.
    fn edge(&self, op: Sql, value: &ScalarValue) -> Option<(Edge, NaiveDateTime)> {
        let at = self.wall_clock(value)?;
        match op {
            Sql::GtEq => Some((Edge::From, at)),
            Sql::LtEq => Some((Edge::To, at)),
            Sql::Lt => Some((Edge::To, at.checked_sub_signed(TimeDelta::milliseconds(1))?)),
            _ => None,
        }
    }

    /// A wall clock in whole milliseconds.
    fn wall_clock(&self, value: &ScalarValue) -> Option<NaiveDateTime> {
        if let Some(text) = value.try_as_str().flatten() {
            if let Ok(instant) = chrono::DateTime::parse_from_rfc3339(text) {
                return whole_millis(instant.with_timezone(&self.tz).naive_local());
            }
            let minutes = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
            let parsed = minutes
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
            if parsed.is_some() {
                return parsed;
            }
        }
        let micros = match value.cast_to(&super::catalog::wall_clock()) {
            Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) => micros,
            _ => return None,
        };
        whole_millis(chrono::DateTime::from_timestamp_micros(micros)?.naive_utc())
    }

    fn between(&self, between: &Between) -> Option<(String, Vec<(Sql, ScalarValue)>)> {
        let path = as_member(&between.expr)?.to_owned();
        let (low, high) = (self.constant(&between.low)?, self.constant(&between.high)?);
        Some((path, vec![(Sql::GtEq, low), (Sql::LtEq, high)]))
    }

    /// A member compared with a constant, the member left.
    fn comparison(&self, binary: &BinaryExpr) -> Option<(String, Sql, ScalarValue)> {
        if let Some(path) = as_member(&binary.left) {
            return Some((path.to_owned(), binary.op, self.constant(&binary.right)?));
        }
        let path = as_member(&binary.right)?;
        Some((path.to_owned(), binary.op.swap()?, self.constant(&binary.left)?))
    }

    /// The value of an expression without members.
    fn constant(&self, expr: &Expr) -> Option<ScalarValue> {
        if let Expr::Literal(value, _) = expr {
            return Some(value.clone());
        }
        if !expr.column_refs().is_empty() || !super::part::is_scalar(expr, false) {
            return None;
        }
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.functions.config_options()))
            .build();
        let schema = datafusion::common::DFSchema::empty();
        let simplifier = ExprSimplifier::new(context);
        let coerced = simplifier.coerce(expr.clone(), &schema).ok()?;
        match simplifier.simplify(coerced).ok()? {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        }
    }

    /// A condition as a filter. Recursion is bounded by the parser.
    fn filter(&self, condition: &Expr) -> Option<Filter> {
        let paths = members(condition);
        let measures = paths.iter().filter(|path| self.is_measure(path)).count();
        if measures != 0 && measures != paths.len() {
            return None;
        }
        self.any(condition)
    }

    fn is_measure(&self, path: &str) -> bool {
        self.part.kind(path).is_some_and(|kind| kind.is_measure())
    }

    fn any(&self, condition: &Expr) -> Option<Filter> {
        match condition {
            Expr::BinaryExpr(binary) if matches!(binary.op, Sql::And | Sql::Or) => {
                let sides = vec![self.any(&binary.left)?, self.any(&binary.right)?];
                Some(match binary.op {
                    Sql::And => flat_and(sides),
                    _ => flat_or(sides),
                })
            }
            Expr::BinaryExpr(binary) => {
                let (path, op, value) = self.comparison(binary)?;
                self.compared(&path, op, &value)
            }
            Expr::Between(between) if !between.negated => {
                let (path, sides) = self.between(between)?;
                let sides: Option<Vec<Filter>> = sides
                    .iter()
                    .map(|(op, value)| self.compared(&path, *op, value))
                    .collect();
                Some(Filter::And(sides?))
            }
            Expr::InList(list) => {
                let path = as_member(&list.expr)?;
                let values = list.list.iter().map(|value| self.text(path, &self.constant(value)?));
                let values: Option<Vec<Option<String>>> = values.map(|value| value.map(Some)).collect();
                self.equality(path, values?, list.negated)
            }
            Expr::Like(like) => self.like(like),
            Expr::IsNull(inner) => self.presence(inner, Operator::NotSet),
            Expr::IsNotNull(inner) => self.presence(inner, Operator::Set),
            Expr::IsTrue(inner) => self.truth(inner, "true"),
            Expr::IsFalse(inner) | Expr::Not(inner) => self.truth(inner, "false"),
            other => self.truth(other, "true"),
        }
    }

    fn presence(&self, inner: &Expr, operator: Operator) -> Option<Filter> {
        let path = as_member(inner)?;
        (!matches!(self.part.kind(path)?, Kind::Segment)).then(|| leaf(path, operator, Vec::new()))
    }

    fn truth(&self, inner: &Expr, value: &str) -> Option<Filter> {
        let path = as_member(inner)?;
        let kind = self.part.kind(path)?;
        let is = !matches!(kind, Kind::Segment) && kind.values() == Values::Boolean;
        is.then(|| leaf(path, Operator::Equals, vec![Some(value.to_owned())]))
    }

    fn compared(&self, path: &str, op: Sql, value: &ScalarValue) -> Option<Filter> {
        let kind = self.part.kind(path)?;
        if kind.values() == Values::Time {
            if kind.is_measure() {
                return None;
            }
            return match self.edge(op, value)? {
                (Edge::From, at) => Some(date(path, Operator::AfterOrOnDate, at)),
                (Edge::To, at) => Some(date(path, Operator::BeforeOrOnDate, at)),
            };
        }
        let text = vec![Some(self.text(path, value)?)];
        let operator = match op {
            Sql::Eq => return self.equality(path, text, false),
            Sql::NotEq => return self.equality(path, text, true),
            Sql::Gt => Operator::Gt,
            Sql::GtEq => Operator::Gte,
            Sql::Lt => Operator::Lt,
            Sql::LtEq => Operator::Lte,
            _ => return None,
        };
        (kind.values() != Values::Boolean).then(|| leaf(path, operator, text))
    }

    /// Equality with one of `values`. In SQL what is null is not different from anything, in a query it is.
    fn equality(&self, path: &str, values: Vec<Option<String>>, negated: bool) -> Option<Filter> {
        let kind = self.part.kind(path)?;
        if matches!(kind, Kind::Segment) || kind.values() == Values::Time || values.is_empty() {
            return None;
        }
        Some(match negated {
            false => leaf(path, Operator::Equals, values),
            true => not_null(path, leaf(path, Operator::NotEquals, values)),
        })
    }

    /// A constant as the text of a filter on `path`, when both have the same type.
    fn text(&self, path: &str, value: &ScalarValue) -> Option<String> {
        if value.is_null() {
            return None;
        }
        match self.part.kind(path)?.values() {
            Values::Text => value.try_as_str().flatten().map(str::to_owned),
            Values::Boolean => match value {
                ScalarValue::Boolean(Some(value)) => Some(value.to_string()),
                _ => None,
            },
            Values::Number if value.data_type().is_numeric() => Some(value.to_string()),
            Values::Number | Values::Time => None,
        }
    }

    /// `ILIKE`, or `LIKE` on a lower case text, whose pattern says contains, starts with or ends with. Filters ignore
    /// the case of letters.
    fn like(&self, like: &Like) -> Option<Filter> {
        let pattern = self.constant(&like.pattern)?;
        let pattern = pattern.try_as_str().flatten()?;
        let subject = match like.expr.as_ref() {
            Expr::ScalarFunction(call) if call.name() == "lower" && pattern == pattern.to_lowercase() => {
                call.args.first()?
            }
            other if like.case_insensitive => other,
            _ => return None,
        };
        let path = as_member(subject)?;
        if like.escape_char.is_some() || self.part.kind(path)?.values() != Values::Text {
            return None;
        }
        let (start, end) = (pattern.strip_prefix('%'), pattern.strip_suffix('%'));
        let (operators, text) = match (start, end) {
            (Some(_), Some(_)) => (
                [Operator::Contains, Operator::NotContains],
                pattern.get(1..pattern.len().checked_sub(1)?)?,
            ),
            (None, Some(text)) => ([Operator::StartsWith, Operator::NotStartsWith], text),
            (Some(text), None) => ([Operator::EndsWith, Operator::NotEndsWith], text),
            (None, None) => return None,
        };
        if text.is_empty() || text.contains(['%', '_', '\\']) {
            return None;
        }
        let values = vec![Some(text.to_owned())];
        let [plain, negated] = operators;
        Some(match like.negated {
            false => leaf(path, plain, values),
            true => not_null(path, leaf(path, negated, values)),
        })
    }
}

enum Edge {
    From,
    To,
}

/// Whether a condition only says that cubes are joined as the model says.
pub fn joins(condition: &Expr) -> bool {
    let Expr::BinaryExpr(binary) = condition else {
        return false;
    };
    let is = |side: &Expr| as_member(side).is_some_and(is_join_field);
    binary.op == Sql::Eq && is(&binary.left) && is(&binary.right)
}

fn whole_millis(at: NaiveDateTime) -> Option<NaiveDateTime> {
    use chrono::Timelike;
    at.nanosecond().is_multiple_of(1_000_000).then_some(at)
}

fn leaf(path: &str, operator: Operator, values: Vec<Option<String>>) -> Filter {
    Filter::Member {
        member: path.to_owned(),
        operator,
        values,
    }
}

fn date(path: &str, operator: Operator, at: NaiveDateTime) -> Filter {
    let text = at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    leaf(path, operator, vec![Some(text)])
}

fn not_null(path: &str, filter: Filter) -> Filter {
    Filter::And(vec![filter, leaf(path, Operator::Set, Vec::new())])
}

/// `and` of conditions, without an `and` right inside.
fn flat_and(sides: Vec<Filter>) -> Filter {
    let parts = sides.into_iter().flat_map(|side| match side {
        Filter::And(inner) => inner,
        other => vec![other],
    });
    Filter::And(parts.collect())
}

/// `or` of conditions, without an `or` right inside.
fn flat_or(sides: Vec<Filter>) -> Filter {
    let parts = sides.into_iter().flat_map(|side| match side {
        Filter::Or(inner) => inner,
        other => vec![other],
    });
    Filter::Or(parts.collect())
}
