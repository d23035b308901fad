use super::*;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::expressions::col;

fn ordering(schema: &Schema, names: &[&str]) -> LexOrdering {
    let keys = names
        .iter()
        .map(|name| PhysicalSortExpr::new(col(name, schema).unwrap(), SortOptions::default()));
    LexOrdering::new(keys).unwrap()
}

/// A merge by `merged` over two partitions that are sorted by `sorted`, with the first four rows of each.
fn merge(merged: &[&str], sorted: &[&str]) -> Arc<dyn ExecutionPlan> {
    let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let rows = Arc::new(EmptyExec::new(Arc::clone(&schema)).with_partitions(2));
    let sort = SortExec::new(ordering(&schema, sorted), rows)
        .with_fetch(Some(4))
        .with_preserve_partitioning(true);
    Arc::new(SortPreservingMergeExec::new(ordering(&schema, merged), Arc::new(sort)).with_fetch(Some(4)))
}

fn is_sane(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let config = ConfigOptions::default();
    SanityCheckPlan::new().optimize(Arc::clone(plan), &config).is_ok()
}

#[test]
fn partitions_are_sorted_as_their_merge_needs() {
    let cases: [(&[&str], &[&str], bool); 4] = [
        (&["a", "b"], &["b"], false),
        (&["a", "b"], &["a"], false),
        (&["a"], &["a", "b"], true),
        (&["a", "b"], &["a", "b"], true),
    ];
    for (merged, sorted, sane) in cases {
        let plan = merge(merged, sorted);
        assert_eq!(is_sane(&plan), sane, "{merged:?} over {sorted:?}");
        let mended = MergeOrder
            .optimize(Arc::clone(&plan), &ConfigOptions::default())
            .unwrap();
        assert!(is_sane(&mended), "{merged:?} over {sorted:?}");
        assert_eq!(Arc::ptr_eq(&plan, &mended), sane, "a sound plan stays as it is");
        let sort = mended.children()[0].downcast_ref::<SortExec>().unwrap();
        assert_eq!((sort.fetch(), sort.preserve_partitioning()), (Some(4), true));
    }
}
