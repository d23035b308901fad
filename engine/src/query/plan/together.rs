//! Putting plans together on their keys, null being equal to null.

use super::named;
use crate::error::Result;
use datafusion::common::{Column, NullEquality};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder};

/// Which rows remain of two plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Those whose keys both have.
    Both,
    /// Those of the first.
    First,
    /// Those of either.
    Either,
}

/// The columns of `first` and those of `second` besides `keys`, on equal keys. Without keys both have one row.
///
/// # Errors
/// `Internal` when a key is missing.
pub fn joined(
    first: LogicalPlanBuilder,
    second: LogicalPlanBuilder,
    keys: &[String],
    rows: Rows,
) -> Result<LogicalPlanBuilder> {
    if keys.is_empty() {
        return Ok(first.cross_join(second.build()?)?);
    }
    let names = |plan: &LogicalPlanBuilder| -> Vec<String> {
        let fields = plan.schema().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    };
    let other = |key: &str| format!("second {key}");
    let (left, right) = (names(&first), names(&second));
    let renamed = right.iter().map(|name| match keys.contains(name) {
        true => named(name.as_str()).alias(other(name)),
        false => named(name.as_str()),
    });
    let second = second.project(renamed.collect::<Vec<Expr>>())?.build()?;
    let columns = |names: Vec<String>| names.into_iter().map(Column::new_unqualified).collect::<Vec<_>>();
    let on = (
        columns(keys.to_vec()),
        columns(keys.iter().map(|key| other(key)).collect()),
    );
    let kind = match rows {
        Rows::Both => JoinType::Inner,
        Rows::First => JoinType::Left,
        Rows::Either => JoinType::Full,
    };
    let both = first.join_detailed(second, kind, on, None, NullEquality::NullEqualsNull)?;
    let mut output: Vec<Expr> = Vec::with_capacity(left.len() + right.len());
    for name in &left {
        output.push(match keys.contains(name) && rows == Rows::Either {
            true => coalesce(vec![named(name.as_str()), named(other(name))]).alias(name),
            false => named(name.as_str()),
        });
    }
    output.extend(
        right
            .iter()
            .filter(|name| !keys.contains(name))
            .map(|name| named(name.as_str())),
    );
    Ok(both.project(output)?)
}
