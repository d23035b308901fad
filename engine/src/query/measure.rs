//! Measures as aggregates: one lowering for each row of the table of measure types.

use super::filter::cast;
use crate::error::{Error, Result};
use crate::model::{Measure, MeasureType};
use arrow::datatypes::DataType;
use datafusion::functions::core::expr_fn::nullif;
use datafusion::functions_aggregate::expr_fn;
use datafusion::logical_expr::{Expr, lit, when};

/// A measure's parts as expressions on the cube's rows.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The aggregated expression, or the author's own aggregate for a calculated measure.
    pub sql: Option<Expr>,
    /// The type of `sql`, when it is an expression on rows.
    pub sql_type: Option<DataType>,
    /// The condition that a row must meet to be counted.
    pub filter: Option<Expr>,
}

/// The aggregate of `measure`.
///
/// # Errors
/// `Model` when the measure lacks its `sql`, `Invalid` when its type is not answered yet.
pub fn aggregate(measure: &Measure, parts: &Parts) -> Result<Expr> {
    let sql = || {
        parts.sql.clone().ok_or_else(|| {
            Error::model(format!(
                "measure `{}` of type `{}` needs `sql`",
                measure.name,
                measure.kind.row().yaml
            ))
        })
    };
    if let (MeasureType::CountDistinct, Some(filter)) = (measure.kind, &parts.filter) {
        // The builder of `FILTER` would forget the `DISTINCT`.
        return Ok(expr_fn::count_distinct(when(filter.clone(), sql()?).end()?));
    }
    let aggregated = match measure.kind {
        MeasureType::Count => expr_fn::count(parts.sql.clone().unwrap_or_else(|| lit(1_i64))),
        MeasureType::CountDistinct => expr_fn::count_distinct(sql()?),
        MeasureType::CountDistinctApprox => expr_fn::approx_distinct(sql()?),
        MeasureType::Sum => expr_fn::sum(sql()?),
        MeasureType::Avg if parts.sql_type.as_ref().is_some_and(DataType::is_decimal) => {
            return Ok(decimal_mean(sql()?, parts.filter.as_ref()));
        }
        MeasureType::Avg => expr_fn::avg(sql()?),
        MeasureType::Min => expr_fn::min(sql()?),
        MeasureType::Max => expr_fn::max(sql()?),
        MeasureType::Number | MeasureType::String | MeasureType::Boolean | MeasureType::Time => return sql(),
        MeasureType::RunningTotal | MeasureType::Rank | MeasureType::NumberAgg => return Err(staged(measure)),
        MeasureType::Funnel => return Err(Error::internal("a funnel's measure is planned by the funnel")),
    };
    let aggregated = filtered(aggregated, parts.filter.as_ref());
    Ok(match measure.kind {
        // A sketch of nothing has no estimate, as in Cube on PostgreSQL.
        MeasureType::CountDistinctApprox => nullif(aggregated, lit(0_u64)),
        _ => aggregated,
    })
}

/// `aggregate` over the rows that meet `filter`.
fn filtered(aggregate: Expr, filter: Option<&Expr>) -> Expr {
    match (aggregate, filter) {
        (Expr::AggregateFunction(mut call), Some(filter)) => {
            call.params.filter = Some(Box::new(filter.clone()));
            Expr::AggregateFunction(call)
        }
        (aggregate, _) => aggregate,
    }
}

/// The mean of decimals: an exact sum and one division, because a decimal mean would be cut to few digits.
fn decimal_mean(sql: Expr, filter: Option<&Expr>) -> Expr {
    let sum = filtered(expr_fn::sum(sql.clone()), filter);
    let count = filtered(expr_fn::count(sql), filter);
    cast(sum, DataType::Float64) / nullif(cast(count, DataType::Float64), lit(0.0))
}

/// The value of `measure` for one row, for queries without grouping: 1 for counts, the expression for the others.
///
/// # Errors
/// As [`aggregate`].
pub fn of_row(measure: &Measure, parts: &Parts) -> Result<Expr> {
    let value = match (measure.kind, &parts.sql) {
        (MeasureType::Count, None) => lit(1_i64),
        (MeasureType::Count | MeasureType::CountDistinct | MeasureType::CountDistinctApprox, Some(sql)) => {
            when(sql.clone().is_not_null(), lit(1_i64)).end()?
        }
        (MeasureType::RunningTotal | MeasureType::Rank | MeasureType::NumberAgg, _) => return Err(staged(measure)),
        (_, Some(sql)) => sql.clone(),
        (_, None) => return aggregate(measure, parts),
    };
    Ok(match &parts.filter {
        Some(filter) if !measure.kind.row().calculated => when(filter.clone(), value).end()?,
        _ => value,
    })
}

fn staged(measure: &Measure) -> Error {
    Error::invalid(format!(
        "measure `{}` of type `{}` is no aggregate of rows",
        measure.name,
        measure.kind.row().yaml
    ))
}
