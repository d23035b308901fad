//! Restricts a plan to one project: the only way from a plan's unbound tables to data.

use super::tables::UnboundTable;
use crate::error::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{LogicalPlan, TableScan, TableSource};
use std::sync::Arc;

/// Puts the tables that `table_of` gives in the place of the unbound ones, in subqueries too.
///
/// # Errors
/// What `table_of` gives.
pub fn bind(plan: LogicalPlan, table_of: impl Fn(&str) -> Result<Arc<dyn TableSource>>) -> Result<LogicalPlan> {
    let bound = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else {
            return Ok(Transformed::no(node));
        };
        let Some(table) = scan.source.downcast_ref::<UnboundTable>() else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        let source =
            table_of(table.name()).map_err(|error| datafusion::error::DataFusionError::External(error.into()))?;
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
    })?;
    Ok(bound.data)
}
