//! A rule that mends merges of sorted partitions whose partitions are not sorted as the merge needs.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Sorts the partitions below a merge by all that the merge orders by.
///
/// A sort key that a filter pins to one value is left out of the sorts of partitions, but not out of the merge above them.
/// When a later rule moves columns out of the filter, the plan no longer knows that the key is constant, and its last check
/// refuses the merge.
#[derive(Debug)]
pub(super) struct MergeOrder;

impl PhysicalOptimizerRule for MergeOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(mended).data()
    }

    fn name(&self) -> &'static str {
        "MergeOrder"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn mended(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() else {
        return Ok(Transformed::no(plan));
    };
    let Some(sort) = merge.input().downcast_ref::<SortExec>() else {
        return Ok(Transformed::no(plan));
    };
    let known = merge.input().equivalence_properties();
    if known.ordering_satisfy(merge.expr().clone())? {
        return Ok(Transformed::no(plan));
    }
    let sort = SortExec::new(merge.expr().clone(), Arc::clone(sort.input()))
        .with_fetch(sort.fetch())
        .with_preserve_partitioning(sort.preserve_partitioning());
    let sorted: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(sort)];
    Ok(Transformed::yes(replace_children_if_necessary(plan, sorted)?))
}

#[cfg(test)]
mod tests;
