//! The last look at a plan before it runs: it only reads, and every scan belongs to the request's project.

use crate::error::{Error, Result};
use crate::project::ProjectId;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource, Volatility};

/// Checks that `plan` has no statement in it that writes, describes or configures.
///
/// # Errors
/// `Model` that names the statement.
pub fn read_only(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        let writes = matches!(
            node,
            LogicalPlan::Dml(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::Statement(_)
                | LogicalPlan::Explain(_)
                | LogicalPlan::Analyze(_)
                | LogicalPlan::DescribeTable(_)
        );
        if writes {
            found = Some(node.display().to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match found {
        Some(statement) => Err(Error::model(format!(
            "SQL of a model may only read, found `{statement}`"
        ))),
        None => Ok(()),
    }
}

/// Whether an answer of `plan` depends on more than rows: on the clock, or on chance. To be asked before the plan is
/// optimized, which puts the instant in the place of `now()`.
///
/// # Errors
/// `Internal` when the plan cannot be walked.
pub fn reads_clock(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::ScalarFunction(call) = inner
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = true;
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Checks that every scan of `plan` reads a table of `project`; `project_of` knows the tables that data can be read from.
///
/// # Errors
/// `Internal`, because a plan for which this does not hold is a defect.
pub fn belongs_to(
    plan: &LogicalPlan,
    project: &ProjectId,
    project_of: impl Fn(&dyn TableSource) -> Option<ProjectId>,
) -> Result<()> {
    let mut stranger = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && project_of(scan.source.as_ref()).as_ref() != Some(project)
        {
            stranger = Some(scan.table_name.to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match stranger {
        Some(table) => Err(Error::internal(format!(
            "the scan of `{table}` does not belong to the project"
        ))),
        None => Ok(()),
    }
}
