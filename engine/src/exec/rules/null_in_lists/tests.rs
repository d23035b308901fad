use super::*;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionContext, col};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// A condition on the text `x`.
#[derive(Debug, Clone)]
enum Condition {
    In(Vec<&'static str>, bool),
    Equal(&'static str, bool),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    IsNull,
}

const TEXTS: [Option<&str>; 5] = [None, Some("a"), Some("b"), Some("c"), Some("d")];

impl Condition {
    fn expr(&self) -> Expr {
        match self {
            Condition::In(list, negated) => col("x").in_list(list.iter().map(|text| lit(*text)).collect(), *negated),
            Condition::Equal(text, false) => col("x").eq(lit(*text)),
            Condition::Equal(text, true) => col("x").not_eq(lit(*text)),
            Condition::And(left, right) => left.expr().and(right.expr()),
            Condition::Or(left, right) => left.expr().or(right.expr()),
            Condition::Not(inner) => Expr::Not(Box::new(inner.expr())),
            Condition::IsNull => col("x").is_null(),
        }
    }

    /// The three-valued logic of SQL, written as plainly as possible.
    fn value(&self, x: Option<&str>) -> Option<bool> {
        match self {
            Condition::In(list, negated) => x.map(|x| list.contains(&x) != *negated),
            Condition::Equal(text, negated) => x.map(|x| (x == *text) != *negated),
            Condition::And(left, right) => match (left.value(x), right.value(x)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Condition::Or(left, right) => match (left.value(x), right.value(x)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Condition::Not(inner) => inner.value(x).map(|value| !value),
            Condition::IsNull => Some(x.is_none()),
        }
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let text = || proptest::sample::select(vec!["a", "b", "c", "d"]);
    let leaf = prop_oneof![
        4 => (proptest::collection::vec(text(), 1..4), any::<bool>()).prop_map(|(list, negated)| Condition::In(list, negated)),
        1 => (text(), any::<bool>()).prop_map(|(text, negated)| Condition::Equal(text, negated)),
        1 => Just(Condition::IsNull),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let two = || (inner.clone().prop_map(Box::new), inner.clone().prop_map(Box::new));
        prop_oneof![
            two().prop_map(|(left, right)| Condition::And(left, right)),
            two().prop_map(|(left, right)| Condition::Or(left, right)),
            inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

fn context(with_rule: bool) -> SessionContext {
    let context = SessionContext::new();
    if with_rule {
        context.add_analyzer_rule(Arc::new(NullInLists));
    }
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]));
    let texts = Arc::new(StringArray::from(TEXTS.to_vec()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![texts]).unwrap();
    let table = MemTable::try_new(schema, vec![vec![batch]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

/// What `condition` is for each text, and the texts that a filter by it keeps.
async fn asked(context: &SessionContext, condition: &Condition) -> (Vec<Option<bool>>, Vec<Option<String>>) {
    let table = context.table("t").await.unwrap();
    let values = table.clone().select(vec![condition.expr().alias("value")]).unwrap();
    let kept = table.filter(condition.expr()).unwrap();
    let values = values.collect().await.unwrap();
    let values = values.iter().flat_map(|batch| batch.column(0).as_boolean().iter());
    let kept = kept.collect().await.unwrap();
    let kept = kept.iter().flat_map(|batch| {
        let texts = batch.column(0).as_string::<i32>();
        (0..texts.len()).map(|at| texts.is_valid(at).then(|| texts.value(at).to_owned()))
    });
    (values.collect(), kept.collect())
}

static SHARED: LazyLock<(SessionContext, tokio::runtime::Runtime)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread();
    (context(true), { runtime }.build().unwrap())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn lists_agree_with_three_valued_logic(condition in conditions()) {
        let (context, runtime) = &*SHARED;
        let (values, kept) = runtime.block_on(asked(context, &condition));
        let expected: Vec<Option<bool>> = TEXTS.iter().map(|x| condition.value(*x)).collect();
        prop_assert_eq!(values, expected);
        let passing = TEXTS.iter().filter(|x| condition.value(**x) == Some(true));
        let expected: Vec<Option<String>> = passing.map(|x| x.map(str::to_owned)).collect();
        prop_assert_eq!(kept, expected);
    }
}

/// When this fails, the query engine has been mended and the rule can go.
#[tokio::test]
async fn the_query_engine_still_needs_the_rule() {
    let apart = |one, other| Condition::Or(Box::new(Condition::In(one, true)), Box::new(Condition::In(other, true)));
    let (_, kept) = asked(&context(false), &apart(vec!["a", "b"], vec!["c", "d"])).await;
    assert_eq!(kept.len(), TEXTS.len());
}

#[tokio::test]
async fn only_lists_about_the_same_are_told() {
    let context = context(true);
    let shown = async |expr: Expr| {
        let plan = context.table("t").await.unwrap().filter(expr).unwrap();
        let plan = NullInLists
            .analyze(plan.logical_plan().clone(), &ConfigOptions::default())
            .unwrap();
        plan.display().to_string()
    };
    let list = |texts: [&str; 2], negated| col("x").in_list(texts.iter().map(|text| lit(*text)).collect(), negated);
    assert!(!shown(list(["a", "b"], true)).await.contains("NULL"));
    assert!(
        !shown(list(["a", "b"], false).and(list(["c", "d"], false)))
            .await
            .contains("NULL")
    );
    assert!(
        shown(list(["a", "b"], true).or(list(["c", "d"], true)))
            .await
            .contains("NULL")
    );
    assert!(
        shown(Expr::Not(Box::new(
            list(["a", "b"], false).and(list(["c", "d"], false))
        )))
        .await
        .contains("NULL")
    );
}
