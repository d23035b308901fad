//! How much longer than the data a client's SQL can make texts: `a || a` in a hundred nested queries would fill any
//! memory, so the factor is reckoned before anything runs.

use crate::error::{Error, Result};
use crate::limits;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

/// Times a text may grow. A row of data holds some kilobytes, a batch some thousand rows.
const FACTOR_MAX: u64 = 64;
/// The factor of what cannot be reckoned.
const UNBOUNDED: u64 = u64::MAX;
/// Bytes of a literal that count as one.
const LITERAL_BYTES: usize = 1024;
/// Characters that a text may be padded to, and the factor of that.
const PADDED_CHARS_MAX: i64 = 256;
const PADDED: u64 = 2;

/// Refuses a plan whose texts can grow too much.
///
/// # Errors
/// `Invalid` that names the functions to use less of.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    let mut nodes = 0;
    if factor(plan, &mut nodes)? <= FACTOR_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the query makes texts that can be more than {FACTOR_MAX} times as long as the data: use `||`, `concat`, `replace`, \
         `lpad` and the like less often, with short literals"
    )))
}

/// The factor of a plan: that of its node times the greatest of its inputs. Counts the nodes, because parts that are
/// named several times stand in the plan several times.
fn factor(plan: &LogicalPlan, nodes: &mut usize) -> Result<u64> {
    *nodes += 1;
    if *nodes > limits::SQL_API_PLAN_NODES_MAX {
        return Err(Error::invalid(format!(
            "the plan of the SQL has more than {} steps: name the queries of WITH less often",
            limits::SQL_API_PLAN_NODES_MAX
        )));
    }
    let mut inputs = 1;
    for input in plan.inputs() {
        inputs = u64::max(inputs, factor(input, nodes)?);
    }
    plan.apply_subqueries(|subquery| {
        let inner =
            factor(subquery, nodes).map_err(|error| datafusion::error::DataFusionError::External(error.into()))?;
        inputs = u64::max(inputs, inner);
        Ok(TreeNodeRecursion::Jump)
    })?;
    let mut own = 1;
    plan.apply_expressions(|expr| {
        own = u64::max(own, of(expr)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(inputs.saturating_mul(own))
}

/// The factor of an expression over columns whose factor is one.
fn of(expr: &Expr) -> datafusion::error::Result<u64> {
    let mut children = Vec::new();
    expr.apply_children(|child| {
        children.push(of(child)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    let greatest = || children.iter().copied().max().unwrap_or(1);
    let sum = || children.iter().fold(0_u64, |sum, child| sum.saturating_add(*child));
    Ok(match expr {
        Expr::Literal(value, _) => {
            let bytes = value.try_as_str().flatten().map_or(0, str::len);
            1 + (bytes / LITERAL_BYTES) as u64
        }
        Expr::BinaryExpr(binary) if binary.op == Operator::StringConcat => sum(),
        Expr::ScalarFunction(call) => match call.name() {
            "concat" | "concat_ws" | "overlay" => sum(),
            "replace" | "regexp_replace" => match call.args.get(2) {
                Some(Expr::Literal(text, _)) => {
                    let bytes = text.try_as_str().flatten().map_or(0, str::len) as u64;
                    greatest().saturating_mul(u64::max(1, bytes))
                }
                None => greatest(),
                Some(_) => UNBOUNDED,
            },
            "lpad" | "rpad" => match call.args.get(1) {
                Some(Expr::Literal(length, _)) if within(length) => greatest().saturating_mul(PADDED),
                _ => UNBOUNDED,
            },
            _ => greatest(),
        },
        _ => greatest(),
    })
}

fn within(length: &datafusion::common::ScalarValue) -> bool {
    let whole = length.cast_to(&arrow::datatypes::DataType::Int64);
    matches!(whole, Ok(datafusion::common::ScalarValue::Int64(Some(chars))) if chars <= PADDED_CHARS_MAX)
}
