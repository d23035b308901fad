//! The conditions of a query over a funnel, sorted by what they restrict: entries (or events), steps, counts.

use super::{COUNT, DATE, STEP, STEP_NAME};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::event::Column as EventColumn;
use crate::model::Member;
use crate::query::Operator;
use crate::query::filter::{self, balanced, instant, instant_type};
use crate::query::plan::{in_range, named};
use crate::query::resolve::{Condition, Resolved};
use arrow::datatypes::DataType;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator as Sql};

/// The conditions of one query.
#[derive(Debug)]
pub(super) struct Conditions {
    /// On the instant of an event, column `ts`.
    pub(super) date: Option<Expr>,
    /// On [`STEP`] and [`STEP_NAME`].
    pub(super) step: Option<Expr>,
    /// On [`COUNT`].
    pub(super) count: Option<Expr>,
}

impl Conditions {
    /// Sorts and lowers the conditions of `resolved`.
    ///
    /// # Errors
    /// `Invalid` when one condition offers a choice between dates and steps, or a value does not fit.
    pub(super) fn of(resolved: &Resolved<'_>) -> Result<Self> {
        let tz = resolved.query.timezone;
        let (mut dates, mut steps) = (Vec::new(), Vec::new());
        for condition in &resolved.rows {
            sort(condition, tz, &mut dates, &mut steps)?;
        }
        for range in resolved.times.iter().filter_map(|time| time.range.as_ref()) {
            dates.push(in_range(named(EventColumn::Ts.name()), range, tz));
        }
        let mut counts = Vec::new();
        for condition in &resolved.groups {
            counts.extend(lower(condition, tz)?);
        }
        Ok(Self {
            date: balanced(dates, true),
            step: balanced(steps, true),
            count: balanced(counts, true),
        })
    }

    /// The condition on `ts` that all events of chains meet whose entry meets [`Self::date`]: from the earliest entry to
    /// `window` after the latest. `None` when the dates are open on both sides.
    pub(super) fn bound(&self, window: Micros) -> Option<Expr> {
        let span = self.date.as_ref().map_or(Span::ALL, Span::of);
        let ts = || named(EventColumn::Ts.name());
        let from = (span.from > Micros::MIN).then(|| ts().gt_eq(instant(span.from)));
        let end = (span.end < Micros::MAX).then(|| ts().lt(instant(span.end.saturating_add(window))));
        balanced(from.into_iter().chain(end).collect(), true)
    }
}

/// Depth is bounded by the resolver.
fn sort(condition: &Condition<'_>, tz: Tz, dates: &mut Vec<Expr>, steps: &mut Vec<Expr>) -> Result<()> {
    if let Condition::And(all) = condition {
        return all.iter().try_for_each(|one| sort(one, tz, dates, steps));
    }
    match (mentions(condition, true), mentions(condition, false)) {
        (true, true) => Err(Error::invalid(
            "a funnel's `date` says who enters, its `step` which rows are shown: one `or` cannot hold both",
        )),
        (is_date, _) => {
            let sorted = if is_date { dates } else { steps };
            sorted.extend(lower(condition, tz)?);
            Ok(())
        }
    }
}

/// Whether a leaf of `condition` is the date, or something else.
fn mentions(condition: &Condition<'_>, date: bool) -> bool {
    match condition {
        Condition::And(inner) | Condition::Or(inner) => inner.iter().any(|one| mentions(one, date)),
        Condition::Member { member, .. } => {
            let is_date = matches!(member, Member::Dimension(dimension) if dimension.name == DATE);
            is_date == date
        }
    }
}

/// `None` for a group without conditions, which is ignored as elsewhere.
fn lower(condition: &Condition<'_>, tz: Tz) -> Result<Option<Expr>> {
    let (inner, and) = match condition {
        Condition::And(inner) => (inner, true),
        Condition::Or(inner) => (inner, false),
        Condition::Member {
            path,
            member,
            operator,
            values,
            ..
        } => return filter::lower(*operator, values, &column(path, member, *operator)?, tz).map(Some),
    };
    let mut all = Vec::with_capacity(inner.len());
    for one in inner {
        all.extend(lower(one, tz)?);
    }
    Ok(balanced(all, and))
}

fn column(path: &str, member: &Member<'_>, operator: Operator) -> Result<filter::Column> {
    let own = match member {
        Member::Dimension(dimension) => dimension.name.as_str(),
        Member::Measure(measure) => measure.name.as_str(),
        Member::Segment(segment) => segment.name.as_str(),
    };
    let (expr, data_type) = match own {
        DATE => (named(EventColumn::Ts.name()), instant_type()),
        STEP => (named(STEP), DataType::Int64),
        STEP_NAME => (named(STEP_NAME), DataType::Utf8),
        COUNT if operator != Operator::MeasureFilter => (named(COUNT), DataType::Int64),
        _ => {
            return Err(Error::invalid(format!(
                "a funnel cannot be filtered by `{path}` with `{}`",
                operator.name()
            )));
        }
    };
    Ok(filter::Column { expr, data_type })
}

/// The instants between which a condition can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Micros,
    /// Exclusive; the greatest value is no bound.
    pub(super) end: Micros,
}

impl Span {
    const ALL: Span = Span {
        from: Micros::MIN,
        end: Micros::MAX,
    };

    /// A span outside of which a condition on `ts` never holds. Conditions not understood have no bounds.
    pub(super) fn of(condition: &Expr) -> Span {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return Span::ALL;
        };
        match op {
            Sql::And => {
                let (left, right) = (Span::of(left), Span::of(right));
                Span {
                    from: left.from.max(right.from),
                    end: left.end.min(right.end),
                }
            }
            Sql::Or => {
                let (left, right) = (Span::of(left), Span::of(right));
                Span {
                    from: left.from.min(right.from),
                    end: left.end.max(right.end),
                }
            }
            _ => match (left.as_ref(), right.as_ref()) {
                (Expr::Column(_), Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at), _), _)) => {
                    Span::compared(*op, *at)
                }
                _ => Span::ALL,
            },
        }
    }

    fn compared(op: Sql, at: Micros) -> Span {
        let next = at.saturating_add(1);
        let (from, end) = match op {
            Sql::Lt => (Micros::MIN, at),
            Sql::LtEq => (Micros::MIN, next),
            Sql::Gt => (next, Micros::MAX),
            Sql::GtEq => (at, Micros::MAX),
            Sql::Eq => (at, next),
            _ => (Micros::MIN, Micros::MAX),
        };
        Span { from, end }
    }
}
