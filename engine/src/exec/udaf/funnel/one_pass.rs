//! A rule that leaves out the first of two steps of a funnel.

use super::FUNCTION;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use std::sync::Arc;

/// Deals events out by visitor before they are aggregated, not after.
///
/// An aggregate has two steps where each partition's part of the rows makes a small state. The state of a funnel is all
/// events of the visitor: made twice it is held twice, and put together a second time. Applies before the rule that deals rows
/// out by what an operator needs together.
#[derive(Debug)]
pub struct OnePass;

impl PhysicalOptimizerRule for OnePass {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(joined).data()
    }

    fn name(&self) -> &'static str {
        "FunnelInOnePass"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn joined(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(last) = plan.downcast_ref::<AggregateExec>() else {
        return Ok(Transformed::no(plan));
    };
    let mode = match last.mode() {
        AggregateMode::FinalPartitioned => AggregateMode::SinglePartitioned,
        AggregateMode::Final => AggregateMode::Single,
        _ => return Ok(Transformed::no(plan)),
    };
    let first = last.input().downcast_ref::<AggregateExec>();
    let Some(first) = first.filter(|first| *first.mode() == AggregateMode::Partial) else {
        return Ok(Transformed::no(plan));
    };
    let is_funnel = first.aggr_expr().iter().all(|one| one.fun().name() == FUNCTION);
    if !is_funnel || first.aggr_expr().is_empty() || first.group_expr().has_grouping_set() {
        return Ok(Transformed::no(plan));
    }
    let one = AggregateExec::try_new(
        mode,
        first.group_expr().clone(),
        first.aggr_expr().to_vec(),
        first.filter_expr().to_vec(),
        Arc::clone(first.input()),
        first.input_schema(),
    )?;
    Ok(Transformed::yes(Arc::new(one.with_limit_options(last.limit_options()))))
}
