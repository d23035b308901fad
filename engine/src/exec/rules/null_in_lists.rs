//! A rule that keeps null out of lists of values which the query engine merges.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;
use std::collections::HashMap;

/// Tells the query engine what lists of values say of null.
///
/// Its simplifier makes one list of two about the same expression: `x NOT IN (1, 2) OR x NOT IN (3, 4)` becomes true, and
/// `x IN (1, 2) AND x IN (3, 4)` becomes false, where both are null for a null `x` (DataFusion 55.2; mended in its pull
/// request 24258). The first brings rows that the condition leaves out.
#[derive(Debug)]
pub(super) struct NullInLists;

impl AnalyzerRule for NullInLists {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let filter = matches!(plan, LogicalPlan::Filter(_));
            plan.map_expressions(|expr| guarded(expr, filter))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "NullInLists"
    }
}

/// `expr` with what its lists say of null beside them, where two are about the same. In a filter false and null are the same,
/// so lists that are not negated stay as they are.
fn guarded(expr: Expr, filter: bool) -> Result<Transformed<Expr>> {
    let mut lists: HashMap<Expr, usize> = HashMap::new();
    count(&expr, &mut lists)?;
    lists.retain(|_, times| *times > 1);
    if lists.is_empty() {
        return Ok(Transformed::no(expr));
    }
    let as_filter = filter && only_joined(&expr)?;
    expr.transform_up(|expr| match expr {
        Expr::InList(list) if lists.contains_key(&list.expr) && (list.negated || !as_filter) => {
            Ok(Transformed::yes(guard(list)))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn guard(list: InList) -> Expr {
    let (subject, null) = (list.expr.as_ref().clone(), lit(ScalarValue::Boolean(None)));
    if list.negated {
        Expr::InList(list).and(subject.is_not_null().or(null))
    } else {
        Expr::InList(list).or(subject.is_null().and(null))
    }
}

fn count(expr: &Expr, lists: &mut HashMap<Expr, usize>) -> Result<TreeNodeRecursion> {
    expr.apply(|expr| {
        if let Expr::InList(list) = expr {
            *lists.entry(list.expr.as_ref().clone()).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })
}

/// Whether all lists of `expr` stand below `AND` and `OR` only.
fn only_joined(expr: &Expr) -> Result<bool> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And | Operator::Or,
            right,
        }) => Ok(only_joined(left)? && only_joined(right)?),
        Expr::InList(_) => Ok(true),
        other => Ok(!other.exists(|expr| Ok(matches!(expr, Expr::InList(_))))?),
    }
}

#[cfg(test)]
mod tests;
