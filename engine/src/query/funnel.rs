//! The plan of a query over a funnel cube.

use super::resolve::Resolved;
use crate::error::{Error, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::LogicalPlanBuilder;

/// Rows whose columns are named as [`Resolved::columns`] says, with every condition of the query applied.
///
/// # Errors
/// `Invalid` until funnels are answered.
pub fn plan(resolved: &Resolved<'_>, _functions: &dyn FunctionRegistry) -> Result<LogicalPlanBuilder> {
    Err(Error::invalid(format!(
        "funnel '{}' is not answered yet",
        resolved.cube.name
    )))
}
