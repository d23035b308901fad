//! Filling gaps: a row for every bucket of the date range for each combination of dimension values that the answer has.

use super::named;
use super::stage::Stages;
use super::window::{self, Axis, fold, same_dimension};
use crate::error::Result;
use crate::model::MeasureType;
use crate::query::Fill;
use crate::query::compile::CompiledModel;
use crate::query::resolve::{Resolved, SelectedTime};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::execution::FunctionRegistry;
use datafusion::functions::core::expr_fn::{coalesce, get_field};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use std::sync::Arc;

const FILLED: &str = "filled";

/// `rows`, which have the columns of `resolved`, with the missing buckets of every time dimension that has a range.
///
/// # Errors
/// `Invalid` for too many buckets.
pub(super) fn filled(
    mut rows: LogicalPlanBuilder,
    resolved: &Resolved<'_>,
    fill: Fill,
    compiled: &CompiledModel,
    functions: &dyn FunctionRegistry,
) -> Result<LogicalPlanBuilder> {
    if resolved.query.ungrouped {
        return Ok(rows);
    }
    let stages = Stages::new(compiled, functions, resolved);
    let mut done: Vec<&SelectedTime<'_>> = Vec::new();
    let mut any = false;
    for time in resolved.buckets() {
        if done.iter().any(|known| same_dimension(known, time)) {
            continue;
        }
        done.push(time);
        let same = resolved.buckets().filter(|other| same_dimension(other, time)).collect();
        if let Some(axis) = Axis::of(resolved, same)? {
            rows = along(rows, resolved, &axis, &stages)?;
            any = true;
        }
    }
    if !any {
        return Ok(rows);
    }
    let mut columns: Vec<Expr> = stages.keys(resolved).into_iter().map(named).collect();
    for selected in &resolved.measures {
        let column = named(selected.path);
        let counts = matches!(
            selected.measure.kind,
            MeasureType::Count
                | MeasureType::CountDistinct
                | MeasureType::CountDistinctApprox
                | MeasureType::Sum
                | MeasureType::RunningTotal
                | MeasureType::Funnel
        );
        columns.push(match fill {
            Fill::Zero if counts => coalesce(vec![column, lit(0_i64)]).alias(selected.path),
            Fill::Zero | Fill::Null => column,
        });
    }
    Ok(rows.project(columns)?)
}

/// Fills one time dimension. The other keys are what rows are combined by.
fn along(
    rows: LogicalPlanBuilder,
    resolved: &Resolved<'_>,
    axis: &Axis<'_, '_>,
    stages: &Stages<'_>,
) -> Result<LogicalPlanBuilder> {
    let of_axis = |key: &String| *key == axis.time.key || axis.coarser.iter().any(|time| time.key == *key);
    let keys: Vec<String> = stages.keys(resolved).into_iter().filter(|key| !of_axis(key)).collect();
    let starts: Vec<i64> = axis.buckets.iter().map(|(start, _)| window::micros(*start)).collect();
    let windows = Arc::new(fold::Windows {
        from: starts.clone(),
        to: starts.iter().map(|start| start + 1).collect(),
        labels: starts,
        dense: true,
    });
    // One row lies at each bucket at the most, so merging keeps its values as they are.
    let measures = resolved.measures.iter().map(|selected| selected.path);
    let values = measures.clone().map(|path| (fold::Merge::Max, named(path))).collect();
    let at = cast(
        named(axis.time.key.as_str()),
        DataType::Timestamp(TimeUnit::Microsecond, None),
    );
    let fold = fold::merged(&windows, cast(at, DataType::Int64), values);
    let groups: Vec<Expr> = keys.iter().map(named).collect();
    let rows = window::unnested(rows.aggregate(groups, vec![fold.alias(FILLED)])?, FILLED)?;
    let mut columns: Vec<Expr> = keys.iter().map(named).collect();
    columns.push(get_field(named(FILLED), fold::AT).alias(axis.time.key.as_str()));
    for (index, path) in measures.enumerate() {
        columns.push(get_field(named(FILLED), fold::value(index)).alias(path));
    }
    let rows = rows.project(columns)?;
    let mut columns: Vec<Expr> = keys.iter().map(named).collect();
    columns.extend(axis.columns(stages)?);
    columns.extend(resolved.measures.iter().map(|selected| named(selected.path)));
    Ok(rows.project(columns)?)
}

fn cast(expr: Expr, to: DataType) -> Expr {
    crate::query::filter::cast(expr, to)
}

#[cfg(test)]
mod tests;
