//! Masks in the plan: dimensions that compute theirs, and columns that show a constant.

use super::rows::column;
use super::{Guarded, Masked, Shown};
use crate::error::Result;
use crate::model::Mask;
use crate::query::compile::CompiledModel;
use crate::query::filter::{self, Column};
use crate::query::plan::named;
use crate::query::{Filter, Query};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit, when};
use serde_json::Value;

/// The model in which masked dimensions compute their masks; `None` when there are none.
///
/// # Errors
/// `Model` when a mask's SQL is wrong, `Invalid` when a policy's filter cannot be used.
pub fn over(compiled: &CompiledModel, guarded: &Guarded<'_>) -> Result<Option<CompiledModel>> {
    let mut model: Option<CompiledModel> = None;
    for masked in &guarded.masked {
        let shown = expression(masked, compiled, &guarded.query)?;
        let own = (masked.cube.clone(), masked.dimension.clone());
        for (cube, dimension) in std::iter::once(&own).chain(masked.shown_as.iter().filter(|id| **id != own)) {
            let before = model.as_ref().unwrap_or(compiled);
            model = Some(before.with_column(cube, dimension, shown.clone())?);
        }
    }
    Ok(model)
}

fn expression(masked: &Masked, compiled: &CompiledModel, query: &Query) -> Result<Column> {
    let cube = compiled.cube(&masked.cube)?;
    let original = cube.dimension(&masked.dimension)?.column.clone();
    let mask = match &masked.mask {
        Some(Mask::Sql(_)) => cube.mask(&masked.dimension)?.column.clone(),
        Some(Mask::Constant(value)) => constant(value, &original.data_type)?,
        None => constant(&Value::Null, &original.data_type)?,
    };
    let Some(unless) = &masked.unless else { return Ok(mask) };
    let condition = condition(unless, compiled, query)?;
    // Two types have no common one but text.
    let common = match original.data_type == mask.data_type {
        true => original.data_type.clone(),
        false => DataType::Utf8View,
    };
    let as_common = |column: Column| match column.data_type == common {
        true => column.expr,
        false => filter::cast(column.expr, common.clone()),
    };
    let expr = when(condition, as_common(original)).otherwise(as_common(mask))?;
    Ok(Column {
        expr,
        data_type: common,
    })
}

/// Recursion is bounded as that of policies.
fn condition(filter: &Filter, compiled: &CompiledModel, query: &Query) -> Result<Expr> {
    let (inner, and) = match filter {
        Filter::And(inner) => (inner, true),
        Filter::Or(inner) => (inner, false),
        Filter::Member {
            member,
            operator,
            values,
        } => return filter::lower(*operator, values, &column(member, compiled)?, query.timezone),
    };
    let all: Result<Vec<Expr>> = inner.iter().map(|one| condition(one, compiled, query)).collect();
    Ok(filter::balanced(all?, and).unwrap_or_else(|| lit(false)))
}

/// A constant in the place of a column of `data_type`, of that type where it can be.
fn constant(value: &Value, data_type: &DataType) -> Result<Column> {
    let plain = |value: ScalarValue| Column {
        data_type: value.data_type(),
        expr: lit(value),
    };
    Ok(match value {
        Value::Null => plain(ScalarValue::try_new_null(data_type)?),
        Value::String(text) if *data_type == filter::instant_type() => Column {
            expr: filter::cast(lit(text.as_str()), data_type.clone()),
            data_type: data_type.clone(),
        },
        other => {
            let value = scalar(other);
            match value.cast_to(data_type) {
                Ok(value) => plain(value),
                Err(_) => plain(value),
            }
        }
    })
}

fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Bool(truth) => ScalarValue::Boolean(Some(*truth)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => ScalarValue::Int64(Some(whole)),
            None => ScalarValue::Float64(number.as_f64()),
        },
        Value::String(text) => ScalarValue::from(text.as_str()),
        Value::Null | Value::Array(_) | Value::Object(_) => ScalarValue::Utf8(None),
    }
}

/// Adds the columns that show a constant, all in the order of the answer.
///
/// # Errors
/// When the plan cannot be extended, which would be a defect.
pub fn shown(plan: LogicalPlan, columns: &[Shown]) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = columns
        .iter()
        .map(|column| match column {
            Shown::Computed(key) => named(key.as_str()),
            Shown::Mask(key, value) => lit(scalar(value)).alias(key.as_str()),
        })
        .collect();
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}
