use super::*;
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use std::sync::Arc;

const MIB: usize = 1 << 20;

struct Given {
    counted: Arc<NeedPool>,
    pool: Arc<dyn MemoryPool>,
}

impl Given {
    fn new(bytes: usize) -> Self {
        let counted = Arc::new(NeedPool::new(bytes));
        let pool = Arc::clone(&counted) as Arc<dyn MemoryPool>;
        Self { counted, pool }
    }

    fn operator(&self, can_spill: bool) -> MemoryReservation {
        MemoryConsumer::new("operator")
            .with_can_spill(can_spill)
            .register(&self.pool)
    }

    /// Grows by MiB until it is refused; what it holds then, MiB.
    fn filled(reservation: &MemoryReservation) -> usize {
        while reservation.try_grow(MIB).is_ok() {}
        reservation.size() / MIB
    }
}

#[test]
fn who_holds_nothing_takes_nothing_from_others() {
    let given = Given::new(96 * MIB);
    let _idle: Vec<_> = (0..20).map(|_| given.operator(true)).collect();
    // A half of what is not kept for those that cannot spill; the other half is for one more.
    assert_eq!(Given::filled(&given.operator(true)), 42);
}

#[test]
fn who_holds_little_leaves_the_rest_of_its_share() {
    let given = Given::new(96 * MIB);
    let small: Vec<_> = (0..4).map(|_| given.operator(true)).collect();
    for reservation in &small {
        reservation.try_grow(MIB).unwrap();
    }
    assert_eq!(Given::filled(&given.operator(true)), (84 - 4) / 2);
}

#[test]
fn one_that_comes_later_finds_room_and_the_first_gives_way() {
    let given = Given::new(96 * MIB);
    let (first, second) = (given.operator(true), given.operator(true));
    assert_eq!(Given::filled(&first), 42);
    assert_eq!(Given::filled(&second), 84 / 3);
    assert!(first.try_grow(MIB).is_err(), "it holds more than its share");
    first.free();
    assert_eq!(Given::filled(&first), 84 / 3);
}

#[test]
fn what_cannot_spill_may_have_more_than_its_share_but_not_the_reserve() {
    let given = Given::new(96 * MIB);
    let spilling = given.operator(true);
    let held = Given::filled(&spilling);
    let first = given.operator(false);
    assert_eq!(held, 42);
    // Its share is what the other leaves to it and to one more.
    assert_eq!(Given::filled(&first), 84 - held);
    // Those that come later have the reserve, and what is above the pool.
    let second = given.operator(false);
    assert_eq!(Given::filled(&second), 96 / 4);
    assert_eq!(Given::filled(&given.operator(false)), 0);
}

#[test]
fn who_holds_nothing_is_given_what_there_is() {
    let given = Given::new(96 * MIB);
    let (first, second) = (given.operator(true), given.operator(true));
    first.try_grow(70 * MIB).unwrap();
    second.try_grow(38 * MIB).unwrap();
    let third = given.operator(true);
    assert!(third.try_grow(MIB).is_err());
    first.free();
    third.try_grow(6 * MIB).unwrap();
    assert!(second.try_grow(2 * MIB).is_err(), "it would hold more than its share");
}

#[test]
fn the_least_is_given_above_the_pool_but_not_without_bound() {
    let given = Given::new(96 * MIB);
    let fixed = given.operator(false);
    fixed.grow(96 * MIB);
    let spilling: Vec<_> = (0..4).map(|_| given.operator(true)).collect();
    let held: Vec<usize> = spilling.iter().map(Given::filled).collect();
    assert_eq!(held, [12, 0, 0, 0]);
    let refused = spilling
        .last()
        .unwrap()
        .try_grow(6 * MIB)
        .unwrap_err()
        .strip_backtrace();
    assert!(
        refused.contains("operator asked for 6.0 MB beside its 0.0 B, and 0.0 B are left to it; all running queries hold 108.0 MB of 96.0 MB (most: operator 96.0 MB, operator 12.0 MB)"),
        "{refused}"
    );
}

/// A plan that deals rows out twice, with so little memory that its aggregations spill. Where the pool refuses who deals rows
/// out, it may never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_deals_rows_out_does_not_spill() {
    let fields = ["g", "trace"].map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let part = |part: u32| {
        let batch = |from: u32| {
            let g = StringArray::from_iter_values((from..from + 500).map(|n| format!("group {}", n % 7)));
            let trace =
                StringArray::from_iter_values((from..from + 500).map(|n| format!("a trace of some length {n:032}")));
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(g), Arc::new(trace)]).unwrap()
        };
        (0..40).map(|n| batch(part * 100_000 + n * 500)).collect::<Vec<_>>()
    };
    let table = MemTable::try_new(Arc::clone(&schema), vec![part(0), part(1)]).unwrap();
    let pool = Arc::new(NeedPool::new(2 * MIB));
    let env = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    let config = SessionConfig::new().with_target_partitions(2).with_batch_size(500);
    let session = SessionContext::new_with_config_rt(config, env);
    session.register_table("t", Arc::new(table)).unwrap();
    for _ in 0..4 {
        let counted = session
            .sql("SELECT g, count(DISTINCT trace) FROM t GROUP BY g")
            .await
            .unwrap();
        let plan = counted.create_physical_plan().await.unwrap();
        let batches = datafusion::physical_plan::collect(Arc::clone(&plan), session.task_ctx())
            .await
            .unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
        let (dealing, others) = spills(plan.as_ref());
        assert_eq!(dealing, 0, "the operator has another name");
        assert!(others > 0, "the pool is small enough to make the plan spill");
    }
}

/// How often those that deal rows out spilled, and the others.
fn spills(plan: &dyn ExecutionPlan) -> (usize, usize) {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
    let own = if plan.name() == "RepartitionExec" {
        (own, 0)
    } else {
        (0, own)
    };
    plan.children().iter().fold(own, |sum, child| {
        let below = spills(child.as_ref());
        (sum.0 + below.0, sum.1 + below.1)
    })
}

proptest! {
    #[test]
    fn what_is_held_is_counted_and_bounded(
        steps in proptest::collection::vec((0_usize..8, 0_usize..3, 0_usize..40 * MIB), 0..200),
    ) {
        let given = Given::new(64 * MIB);
        let operators: Vec<_> = (0..8).map(|at| given.operator(at < 6)).collect();
        for (at, what, bytes) in steps {
            let one = &operators[at];
            let is_small = at < 6 && one.size() + bytes <= 8 * MIB && given.counted.reserved() <= 64 * MIB;
            match what {
                0 => {
                    one.shrink(bytes.min(one.size()));
                }
                _ => {
                    let met = one.try_grow(bytes).is_ok();
                    prop_assert!(met || !is_small, "the least was refused");
                }
            }
            let sum: usize = operators.iter().map(MemoryReservation::size).sum();
            prop_assert_eq!(given.counted.reserved(), sum);
            prop_assert!(sum <= 72 * MIB);
        }
        for operator in &operators {
            operator.free();
        }
        prop_assert_eq!(given.counted.reserved(), 0);
        prop_assert!(given.counted.held.lock().by.is_empty());
    }
}
