//! From a resolved query to a logical plan that no project is bound to yet.

mod fill;
pub mod leaf;
mod stage;
mod together;
mod window;

use super::compile::CompiledModel;
use super::resolve::Resolved;
use super::views::with_default_filters;
use super::{DateRange, Query, date_range, filter, funnel, order, params, policy};
use crate::error::{Error, Result};
use crate::model::{CubeSource, Granularity, Interval};
use chrono_tz::Tz;
use datafusion::common::Column as Named;
use datafusion::execution::FunctionRegistry;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr, lit};

/// Name of the function that cuts instants into buckets; `exec` registers it.
pub const BUCKET: &str = "time_bucket";
/// Name of the function that tells between which edges an instant lies; `exec` registers it.
pub const PIECE: &str = "time_piece";
/// Name of the function that counts the elements of an ascending list up to a number; `exec` registers it.
pub const RANK: &str = "rank_in";

/// The limit of a query that is part of another and gives all its rows.
pub const NO_LIMIT: u64 = u64::MAX;

/// A query as plans.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The rows of the answer.
    pub plan: LogicalPlan,
    /// The count of all rows, when asked for.
    pub total: Option<LogicalPlan>,
    /// Keys of the columns, which are also their names in the plan.
    pub columns: Vec<String>,
}

/// Plans `query`; `functions` must have [`BUCKET`] and the funnel's aggregates.
///
/// # Errors
/// `Invalid` for what the query asks wrongly, `Model` for what the model says wrongly.
pub fn plan(query: &Query, compiled: &CompiledModel, functions: &dyn FunctionRegistry) -> Result<Planned> {
    let query = with_default_filters(query, compiled.model(), query.now)?;
    let query = query.as_ref();
    let guarded = policy::guard(compiled.model(), query)?;
    let with_masks = policy::masks::over(compiled, &guarded)?;
    let planned = guarded_plan(&guarded, with_masks.as_ref().unwrap_or(compiled), functions)?;
    let resolved = super::resolve::resolve(compiled.model(), query)?;
    let columns = resolved.columns();
    let asked = params::Asked::of(&resolved);
    let finished = |plan: LogicalPlan| -> Result<LogicalPlan> {
        if guarded.denied {
            return policy::rows::without_rows(plan);
        }
        let plan = policy::rows::over_scans(plan, &guarded, compiled, &asked)?;
        policy::proof::check(&plan, query, compiled, &asked)?;
        Ok(plan)
    };
    let total = planned.total.map(finished).transpose()?;
    let mut plan = finished(planned.plan)?;
    if let Some(shown) = &guarded.shown {
        plan = policy::masks::shown(plan, shown)?;
    }
    Ok(Planned { plan, total, columns })
}

/// The plan of a query that already has the conditions of policies in it.
fn guarded_plan(
    guarded: &policy::Guarded<'_>,
    compiled: &CompiledModel,
    functions: &dyn FunctionRegistry,
) -> Result<Planned> {
    let query = guarded.query.as_ref();
    let only_masks = guarded.shown.is_some()
        && query.measures.is_empty()
        && query.dimensions.is_empty()
        && query.time_dimensions.iter().all(|time| time.granularity.is_none());
    if only_masks {
        let one = LogicalPlanBuilder::empty(true);
        let count = one.clone().project(vec![lit(1_i64).alias("count")])?.build()?;
        return Ok(Planned {
            plan: one.build()?,
            total: query.total.then_some(count),
            columns: Vec::new(),
        });
    }
    let resolved = super::resolve::resolve(compiled.model(), query)?;
    let columns = resolved.columns();
    if columns.is_empty() {
        return Err(Error::invalid(
            "Query should contain either measures, dimensions or timeDimensions with granularities in order to be valid",
        ));
    }
    let mut rows = rows(&resolved, compiled, functions)?;
    if let Some(fill) = query.fill {
        rows = fill::filled(rows, &resolved, fill, compiled, functions)?;
    }
    let total = match query.total {
        true => Some(
            rows.clone()
                .aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?
                .build()?,
        ),
        false => None,
    };
    // What a planner of inner parts has filled for itself is filled already.
    let asked = params::Asked::of(&resolved);
    Ok(Planned {
        plan: params::fill(ordered(rows, &resolved)?, &asked)?,
        total: total.map(|total| params::fill(total, &asked)).transpose()?,
        columns,
    })
}

/// The rows of a resolved query, each column under its key, before order and limit. Conditions on groups are applied.
///
/// # Errors
/// As [`plan`].
pub fn rows(
    resolved: &Resolved<'_>,
    compiled: &CompiledModel,
    functions: &dyn FunctionRegistry,
) -> Result<LogicalPlanBuilder> {
    match &resolved.cube.source {
        CubeSource::Funnel(_) => funnel::plan(resolved, functions),
        _ if stage::needed(resolved, compiled) => stage::rows(resolved, compiled, functions),
        _ => leaf::rows(resolved, compiled, functions),
    }
}

/// Adds order, limit and offset.
fn ordered(rows: LogicalPlanBuilder, resolved: &Resolved<'_>) -> Result<LogicalPlan> {
    let bound = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let sort = |(key, desc): (String, bool)| SortExpr::new(named(key), !desc, desc);
    let keys: Vec<SortExpr> = order::keys(resolved).into_iter().map(sort).collect();
    let rows = if keys.is_empty() { rows } else { rows.sort(keys)? };
    let query = resolved.query;
    if query.limit == NO_LIMIT && query.offset == 0 {
        return Ok(rows.build()?);
    }
    Ok(rows.limit(bound(query.offset), Some(bound(query.limit)))?.build()?)
}

/// The column of this name, which may contain dots.
pub fn named(name: impl Into<String>) -> Expr {
    Expr::Column(Named::new_unqualified(name))
}

/// The wall-clock start, in `tz`, of the bucket that holds the instant `at`; for [`Granularity::pieces`] the number of
/// edges up to it.
///
/// # Errors
/// `Internal` when [`BUCKET`] or [`PIECE`] is not registered.
pub fn bucket(at: Expr, granularity: &Granularity, tz: Tz, functions: &dyn FunctionRegistry) -> Result<Expr> {
    let text = |value: Option<&str>| lit(value.unwrap_or_default());
    let (months, micros) = granularity.shift().map_or((0, 0), Interval::parts);
    let mut args = vec![at, lit(tz.name()), lit(months), lit(micros)];
    if let Some(edges) = granularity.edges() {
        args.push(window::numbers(edges));
        return Ok(functions.udf(PIECE)?.call(args));
    }
    args.push(lit(granularity.interval.as_str()));
    args.push(text(granularity.origin.as_deref()));
    args.push(text(granularity.offset.as_deref()));
    Ok(functions.udf(BUCKET)?.call(args))
}

/// The condition that `at` lies in `range` on the wall clock of `tz`.
pub fn in_range(at: Expr, range: &DateRange, tz: Tz) -> Expr {
    let (from, to) = date_range::utc_bounds(range, tz);
    at.clone().gt_eq(filter::instant(from)).and(at.lt(filter::instant(to)))
}
