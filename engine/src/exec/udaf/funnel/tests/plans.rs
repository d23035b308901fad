//! The aggregate as the engine drives it: in batches, partitions, partial states and early hand-outs.

use super::*;
use crate::exec::pool::NeedPool;
use arrow::array::{Int32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};

const STEPS: usize = 3;
const WINDOW: u32 = 3;

/// Users with their events.
fn users(random: &mut Random, count: usize) -> Vec<Events> {
    (0..count).map(|_| user(random, STEPS)).collect()
}

fn expected(rule: FunnelRule, users: &[Events]) -> Vec<Outcome> {
    users
        .iter()
        .map(|events| evaluate(rule, WINDOW, STEPS, events))
        .collect()
}

fn columns(events: &[(Micros, u32)]) -> Vec<ArrayRef> {
    let times: TimestampMicrosecondArray = events.iter().map(|event| Some(event.0)).collect();
    let masks: Int32Array = events.iter().map(|event| Some(event.1.cast_signed())).collect();
    vec![Arc::new(times.with_timezone("UTC")), Arc::new(masks)]
}

fn outcomes(result: &ArrayRef) -> Vec<Outcome> {
    let result = result.as_struct();
    let levels = result.column(0).as_primitive::<arrow::datatypes::UInt8Type>();
    let entries = result.column(1).as_primitive::<TimestampMicrosecondType>();
    let entry = |i| entries.is_valid(i).then(|| entries.value(i));
    (0..result.len())
        .map(|i| Outcome {
            level: levels.value(i),
            entry: entry(i),
        })
        .collect()
}

fn name_of(rule: FunnelRule) -> &'static str {
    FunnelRule::ALL.iter().find(|(_, one)| *one == rule).unwrap().0
}

fn groups(rule: FunnelRule) -> FunnelGroups {
    Constants::new(name_of(rule), i64::from(WINDOW), STEPS as i64)
        .unwrap()
        .groups()
}

#[test]
fn any_split_into_batches_and_states_gives_the_same() {
    let mut random = Random::new(3);
    for round in 0..60 {
        let seed = random.seed();
        let users = users(&mut random, 40);
        let mut events: Vec<(usize, (Micros, u32))> = Vec::new();
        users
            .iter()
            .enumerate()
            .for_each(|(user, list)| events.extend(list.iter().map(|event| (user, *event))));
        random.shuffle(&mut events);
        for (name, rule) in FunnelRule::ALL {
            let mut whole = groups(*rule);
            let mut rest = events.as_slice();
            while !rest.is_empty() {
                let len = usize::try_from(1 + random.below(rest.len() as u64)).unwrap();
                let (batch, after) = rest.split_at(len);
                rest = after;
                let indices: Vec<usize> = batch.iter().map(|(user, _)| *user).collect();
                let values = columns(&batch.iter().map(|(_, event)| *event).collect::<Vec<_>>());
                match random.below(3) {
                    0 => whole.update_batch(&values, &indices, None, users.len()).unwrap(),
                    1 => {
                        let state = whole.convert_to_state(&values, None).unwrap();
                        whole.merge_batch(&state, &indices, users.len()).unwrap();
                    }
                    _ => {
                        let mut part = groups(*rule);
                        part.update_batch(&values, &indices, None, users.len()).unwrap();
                        let state = part.state(EmitTo::All).unwrap();
                        let all: Vec<usize> = (0..users.len()).collect();
                        whole.merge_batch(&state, &all, users.len()).unwrap();
                    }
                }
            }
            whole.log.grow_to(users.len());
            assert!(whole.size() >= events.len() * 2 || *rule == FunnelRule::Ordered);
            let mut found = Vec::new();
            while found.len() < users.len() {
                let n = usize::try_from(1 + random.below(15)).unwrap();
                let emit = if random.below(8) == 0 {
                    EmitTo::All
                } else {
                    EmitTo::First(n.min(users.len() - found.len()))
                };
                found.extend(outcomes(&whole.evaluate(emit).unwrap()));
            }
            assert_eq!(
                found,
                expected(*rule, &users),
                "{name}, FUNNEL_SEED={seed} round {round}"
            );
        }
    }
}

#[test]
fn visitors_in_order_are_handed_out_early_and_keep_nothing() {
    let mut random = Random::new(4);
    let users = users(&mut random, 5_000);
    let mut groups = groups(FunnelRule::Strict);
    let (mut found, mut first, mut peak) = (Vec::new(), 0, 0);
    for (user, events) in users.iter().enumerate() {
        let group = user - first;
        groups
            .update_batch(&columns(events), &vec![group; events.len()], None, group + 1)
            .unwrap();
        if group >= 10 {
            found.extend(outcomes(&groups.evaluate(EmitTo::First(group)).unwrap()));
            first += group;
        }
        peak = peak.max(groups.size());
    }
    found.extend(outcomes(&groups.evaluate(EmitTo::All).unwrap()));
    assert_eq!(found, expected(FunnelRule::Strict, &users));
    assert!(peak < 16 * 1024, "{peak} bytes for a handful of visitors");
    assert!(
        groups.size() < 1024,
        "{} bytes after everything was handed out",
        groups.size()
    );
}

#[test]
fn filters_and_nulls_leave_events_out() {
    let times = TimestampMicrosecondArray::from(vec![Some(1), Some(2), None, Some(4)]).with_timezone("UTC");
    let masks = Int32Array::from(vec![Some(1), Some(2), Some(4), None]);
    let values: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(masks)];
    let mut all = groups(FunnelRule::Ordered);
    all.update_batch(&values, &[0, 0, 0, 0], None, 1).unwrap();
    assert_eq!(
        outcomes(&all.evaluate(EmitTo::All).unwrap()),
        [Outcome {
            level: 2,
            entry: Some(1)
        }]
    );
    let filter = BooleanArray::from(vec![Some(true), None, Some(true), Some(true)]);
    let state = all.convert_to_state(&values, Some(&filter)).unwrap();
    assert_eq!(state[0].len(), 4);
    all.merge_batch(&state, &[0, 1, 2, 3], 4).unwrap();
    let levels: Vec<u8> = outcomes(&all.evaluate(EmitTo::All).unwrap())
        .iter()
        .map(|outcome| outcome.level)
        .collect();
    assert_eq!(levels, [1, 0, 0, 0]);
}

#[test]
fn a_damaged_state_is_an_error() {
    for damaged in [
        &[0_u8; 13] as &[u8],
        &[2, 0x80],
        &[0xff; 24],
        &[2, 0xff, 0xff, 0xff, 0xff, 0x1f],
    ] {
        let state: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values([damaged]));
        let error = groups(FunnelRule::Ordered).merge_batch(&[state], &[0], 1).unwrap_err();
        let expected = format!("{} bytes is damaged", damaged.len());
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

/// Runs the aggregate over `users` in a session, in batches and partitions of random sizes.
async fn in_a_session(random: &mut Random, rule: FunnelRule, users: &[Events], memory: Option<usize>) -> Vec<Outcome> {
    let mut events: Vec<(String, Micros, u32)> = Vec::new();
    for (user, list) in users.iter().enumerate() {
        events.extend(list.iter().map(|(ts, mask)| (format!("{user:06}"), *ts, *mask)));
    }
    let sorted = random.below(2) == 0;
    if sorted {
        events.sort();
    } else {
        random.shuffle(&mut events);
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("visitor_id", DataType::Utf8, false),
        Field::new("ts", timestamp_type(), false),
        Field::new("steps", DataType::Int32, false),
    ]));
    let partitions = if sorted { 1 } else { 1 + random.below(3) };
    let mut parts: Vec<Vec<RecordBatch>> = (0..partitions).map(|_| Vec::new()).collect();
    for batch in events.chunks(usize::try_from(1 + random.below(700)).unwrap()) {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(
            batch.iter().map(|event| &event.0),
        ))];
        arrays.extend(columns(
            &batch.iter().map(|event| (event.1, event.2)).collect::<Vec<_>>(),
        ));
        let part = usize::try_from(random.below(partitions)).unwrap();
        parts[part].push(RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap());
    }
    let mut table = MemTable::try_new(Arc::clone(&schema), parts).unwrap();
    if sorted {
        table = table.with_sort_order(vec![vec![
            col("visitor_id").sort(true, false),
            col("ts").sort(true, false),
        ]]);
    }
    let config = SessionConfig::new()
        .with_target_partitions(usize::try_from(1 + random.below(4)).unwrap())
        .with_batch_size(usize::try_from(1 + random.below(200)).unwrap());
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory {
        runtime = runtime.with_memory_pool(Arc::new(NeedPool::new(bytes)));
    }
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime.build_arc().unwrap())
        .with_default_features();
    // As the engine plans it, in one step, and as the query engine would, in two.
    let in_one_step = random.below(2) == 0;
    if in_one_step {
        state = state.with_physical_optimizer_rules(crate::exec::rules::physical());
    }
    let session = SessionContext::new_with_state(state.build());
    session.register_udaf(function());
    session.register_table("events", Arc::new(table)).unwrap();
    let call = format!("funnel('{}', {WINDOW}, {STEPS}, ts, steps)", name_of(rule));
    let sql = format!("SELECT visitor_id, {call} FROM events GROUP BY visitor_id");
    let plan = session.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
    let shown = datafusion::physical_plan::displayable(plan.as_ref())
        .indent(false)
        .to_string();
    assert!(!(in_one_step && shown.contains("mode=Partial")), "{shown}");
    let batches = datafusion::physical_plan::collect(Arc::clone(&plan), session.task_ctx())
        .await
        .unwrap();
    if memory.is_some() {
        assert!(
            spills(plan.as_ref()) > 0,
            "the pool is small enough to make the plan spill"
        );
    }
    let mut found: BTreeMap<String, Outcome> = BTreeMap::new();
    for batch in &batches {
        let names = batch.column(0).as_string::<i32>();
        for (row, outcome) in outcomes(batch.column(1)).into_iter().enumerate() {
            assert!(
                found.insert(names.value(row).to_owned(), outcome).is_none(),
                "a visitor comes once"
            );
        }
    }
    found.into_values().collect()
}

fn spills(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
    own + plan
        .children()
        .iter()
        .map(|child| spills(child.as_ref()))
        .sum::<usize>()
}

#[tokio::test]
async fn sessions_give_what_the_rules_give() {
    let mut random = Random::new(5);
    for round in 0..6 {
        let seed = random.seed();
        let mut users = users(&mut random, 400);
        users.retain(|events| !events.is_empty());
        for (name, rule) in FunnelRule::ALL {
            let found = in_a_session(&mut random, *rule, &users, None).await;
            assert_eq!(
                found,
                expected(*rule, &users),
                "{name}, FUNNEL_SEED={seed} round {round}"
            );
        }
    }
}

#[tokio::test]
async fn a_small_memory_pool_spills_and_loses_nothing() {
    let mut random = Random::new(6);
    let mut users = users(&mut random, 20_000);
    users.retain(|events| !events.is_empty());
    let found = in_a_session(&mut random, FunnelRule::Strict, &users, Some(3 << 20)).await;
    assert_eq!(found, expected(FunnelRule::Strict, &users));
}

#[tokio::test]
async fn other_aggregates_keep_their_two_steps() {
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(2))
        .with_default_features()
        .with_physical_optimizer_rules(crate::exec::rules::physical());
    let session = SessionContext::new_with_state(state.build());
    session.register_udaf(function());
    let fields = vec![
        Field::new("visitor_id", DataType::Utf8, false),
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        Field::new("steps", DataType::Int32, false),
    ];
    let table = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![], vec![]]).unwrap();
    session.register_table("events", Arc::new(table)).unwrap();
    let funnel = format!("funnel('ordered', {WINDOW}, {STEPS}, ts, steps)");
    let cases = [
        (funnel.clone(), false),
        ("count(*)".to_owned(), true),
        (format!("{funnel}, count(*)"), true),
        (format!("{funnel}, min(ts)"), true),
    ];
    for (asked, has_two) in cases {
        let sql = format!("SELECT visitor_id, {asked} FROM events GROUP BY visitor_id");
        let plan = session.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        let shown = datafusion::physical_plan::displayable(plan.as_ref())
            .indent(false)
            .to_string();
        assert_eq!(shown.contains("mode=Partial"), has_two, "{asked}: {shown}");
    }
}

#[tokio::test]
async fn without_groups_all_events_are_one_visitor() {
    let session = SessionContext::new();
    session.register_udaf(function());
    let sql =
        "SELECT funnel('ordered', 3, 3, arrow_cast(ts, 'Timestamp(Microsecond, Some(\"UTC\"))'), arrow_cast(steps, 'Int32'))['level']
               FROM (VALUES (3, 4), (1, 1), (2, 2)) AS events (ts, steps)";
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(
        batches[0]
            .column(0)
            .as_primitive::<arrow::datatypes::UInt8Type>()
            .value(0),
        3
    );
    let none = session
        .sql(&format!("{sql} WHERE ts > 9"))
        .await
        .unwrap()
        .filter(lit(true))
        .unwrap();
    let batches = none.collect().await.unwrap();
    assert_eq!(
        batches[0]
            .column(0)
            .as_primitive::<arrow::datatypes::UInt8Type>()
            .value(0),
        0
    );
}
