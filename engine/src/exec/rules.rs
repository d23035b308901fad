//! The rules that change plans: ours, and the query engine's own around them.

mod merge_order;
mod null_in_lists;

use super::udaf::funnel::OnePass;
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use merge_order::MergeOrder;
use null_in_lists::NullInLists;
use std::sync::Arc;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rule of the query engine that tells the scans below of a sort what the sort has seen so far. It ties both to each
/// other, so nothing may replace a sort after it.
const TIES_SORTS: &str = "FilterPushdown(Post)";
/// The rule that deals rows out by what an operator needs together.
const DEALS_ROWS: &str = "EnsureRequirements";

/// What follows the query engine's own rules for logical plans, before they are made simpler.
pub(super) fn analyzer() -> Arc<dyn AnalyzerRule + Send + Sync> {
    Arc::new(NullInLists)
}

/// All rules for physical plans in their order.
pub(super) fn physical() -> Vec<Rule> {
    let mut rules = PhysicalOptimizer::new().rules;
    let ours: [(Rule, &str); 2] = [(Arc::new(OnePass), DEALS_ROWS), (Arc::new(MergeOrder), TIES_SORTS)];
    for (rule, before) in ours {
        let at = rules.iter().position(|rule| rule.name() == before);
        rules.insert(at.unwrap_or(rules.len()), rule);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_our_rules_has_its_place() {
        let rules = physical();
        let place = |name: &str| rules.iter().position(|rule| rule.name() == name).unwrap();
        assert_eq!(place(MergeOrder.name()) + 1, place(TIES_SORTS));
        assert_eq!(place(OnePass.name()) + 1, place(DEALS_ROWS));
        assert_eq!(rules.len(), PhysicalOptimizer::new().rules.len() + 2);
    }
}
