use super::*;
use crate::model::{Audience, Choice, Expression, MemberRule, RowLevel};
use crate::query::compile::CompiledModel;
use crate::query::plan;
use crate::query::tests::{Fixture, model, parse, run_cases, samples};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use proptest::prelude::*;
use std::sync::Arc;

const MODEL: &str = include_str!("tests/model.yml");

#[tokio::test]
async fn cases() {
    let fixture = Fixture::new(MODEL, &samples());
    run_cases(&fixture, &[("policy.case", include_str!("tests/policy.case"))]).await;
}

fn functions() -> SessionState {
    let mut state = crate::query::sql::functions().clone();
    datafusion::execution::FunctionRegistry::register_udf(&mut state, crate::exec::bucket::udf()).unwrap();
    state
}

#[test]
fn the_proof_finds_a_plan_that_lost_its_rule() {
    let compiled = CompiledModel::new(model(MODEL));
    let query = parse(&serde_json::json!({
        "measures": ["Events.count"], "groups": ["analyst"], "context": {"countries": ["DE"]}
    }))
    .unwrap();
    let planned = plan::plan(&query, &compiled, &functions()).unwrap();
    let resolved = crate::query::resolve::resolve(compiled.model(), &query).unwrap();
    let asked = crate::query::params::Asked::of(&resolved);
    let check = |plan: &LogicalPlan, query: &Query| proof::check(plan, query, &compiled, &asked);
    check(&planned.plan, &query).unwrap();
    let without = |plan: LogicalPlan| {
        let stripped = plan.transform_up(|node| match node {
            LogicalPlan::Filter(filter) => Ok(Transformed::yes(filter.input.as_ref().clone())),
            other => Ok(Transformed::no(other)),
        });
        stripped.unwrap().data
    };
    let error = check(&without(planned.plan.clone()), &query).unwrap_err();
    assert!(
        error.message().contains("`Events` is not under the row rule"),
        "{error}"
    );
    // The rule of one asker does not do for another.
    let mut other = query.clone();
    other.security_context = Arc::new(serde_json::json!({"countries": ["US"]}));
    assert!(check(&planned.plan, &other).is_err());
    other.groups = Arc::from(["admin".to_owned()]);
    assert!(check(&without(planned.plan), &other).is_ok(), "all rows are granted");
}

#[test]
fn a_relative_date_of_a_policy_reads_the_clock() {
    let text = MODEL
        .replace("2024-06-01", "last 7 days")
        .replace("afterOrOnDate", "inDateRange");
    let ask = |group: &str| parse(&serde_json::json!({"measures": ["Events.count"], "groups": [group]})).unwrap();
    for (yaml, group, expected) in [
        (&text, "late", true),
        (&text, "admin", false),
        (&MODEL.to_owned(), "late", false),
    ] {
        assert_eq!(reads_clock(&model(yaml), &ask(group)).unwrap(), expected, "{group}");
    }
}

/// A policy in few words: whom, which members (bits), masked members (bits), which rows.
#[derive(Debug, Clone)]
struct Small {
    group: u8,
    members: Option<u8>,
    masked: u8,
    rows: Option<Vec<&'static str>>,
}

const MEMBERS: [&str; 4] = ["count", "id", "country", "path"];
const GROUPS: [&str; 4] = ["*", "a", "b", "c"];
const COUNTRIES: [&str; 4] = ["DE", "FR", "US", ""];

fn chosen(bits: u8) -> Vec<String> {
    let all = MEMBERS.iter().enumerate();
    all.filter(|(at, _)| bits & (1 << at) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn policy(small: &Small) -> AccessPolicy {
    let rule = |bits: u8| MemberRule {
        includes: Choice::Names(chosen(bits)),
        excludes: Choice::Names(Vec::new()),
    };
    AccessPolicy {
        audience: Audience::Groups(vec![GROUPS[small.group as usize].to_owned()]),
        conditions: Vec::new(),
        member_level: small.members.map(rule),
        member_masking: small.members.map(|_| rule(small.masked)),
        row_level: small.rows.as_ref().map(|countries| {
            RowLevel::Filters(vec![RowFilter::Member {
                member: "country".to_owned(),
                operator: "equals".to_owned(),
                values: countries
                    .iter()
                    .map(|one| Expression::Constant(Value::from(*one)))
                    .collect(),
            }])
        }),
        location: Default::default(),
    }
}

/// Which of the sample's rows a query of `members` shows, row by row and member by member, as plainly as possible.
fn shown(policies: &[Small], groups: u8, members: u8, country: Option<&str>) -> bool {
    let concerned = |small: &&Small| small.group == 0 || groups & (1 << small.group) != 0;
    let lets_pass = |small: &Small| {
        let rows = small.rows.as_ref();
        rows.is_none_or(|rows| country.is_some_and(|country| rows.contains(&country)))
    };
    (0..4).filter(|at| members & (1 << at) != 0).all(|at| {
        let grants = |small: &Small| {
            small
                .members
                .is_none_or(|granted| (granted | small.masked) & (1 << at) != 0)
        };
        policies
            .iter()
            .filter(concerned)
            .any(|small| grants(small) && lets_pass(small))
    })
}

fn small() -> impl Strategy<Value = Small> {
    let rows = proptest::option::weighted(0.7, proptest::sample::subsequence(COUNTRIES.to_vec(), 1..4));
    (0_u8..4, proptest::option::weighted(0.8, 0_u8..16), 0_u8..16, rows).prop_map(|(group, members, masked, rows)| {
        Small {
            group,
            members,
            masked,
            rows,
        }
    })
}

static BASE: &str = "cubes:
  - name: Events
    sql_table: events
    measures: [{name: count, type: count}]
    dimensions:
      - {name: id, type: string, sql: event_id, primary_key: true, public: true}
      - {name: country, type: string, sql: geo_country}
      - {name: path, type: string, sql: page_path}
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("TALLY_POLICY_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96)
    ))]

    #[test]
    fn random_policies_agree_with_a_plain_reading(
        policies in proptest::collection::vec(small(), 1..5),
        groups in 0_u8..8,
        members in 1_u8..16,
    ) {
        let mut fixture = Fixture::new(BASE, &samples());
        let mut described = fixture.model.as_ref().clone();
        let mut cube = described.cubes["Events"].as_ref().clone();
        cube.access_policy = policies.iter().map(policy).collect();
        described.cubes.insert("Events".to_owned(), Arc::new(cube));
        fixture.model = Arc::new(described);
        let groups = groups << 1;
        let names = (1..4).filter(|at| groups & (1 << at) != 0).map(|at| GROUPS[at].to_owned());
        let asked = chosen(members);
        let of_kind = |measure: bool| -> Vec<String> {
            asked.iter().filter(|name| (*name == "count") == measure).map(|name| format!("Events.{name}")).collect()
        };
        let query = Query {
            measures: of_kind(true),
            dimensions: of_kind(false),
            groups: names.collect(),
            ..Query::default()
        };
        let events = samples();
        let country = |event: &crate::event::Event| event.text(crate::event::Column::GeoCountry).map(str::to_owned);
        let visible = events.iter().filter(|event| shown(&policies, groups, members, country(event).as_deref())).count();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(fixture.ask(&query)).unwrap();
        let masked = guard(&fixture.model, &query).unwrap();
        let any_masked = masked.shown.is_some() || !masked.masked.is_empty();
        if let Some(at) = answer.columns.iter().position(|column| column == "Events.count").filter(|_| !any_masked) {
            let counts: usize = answer.rows.iter().map(|row| match &row[at] { crate::query::Cell::Number(n) => n.parse().unwrap(), _ => 0 }).sum();
            prop_assert_eq!(counts, visible, "{:?}", query);
        } else if members & 2 != 0 && !any_masked {
            prop_assert_eq!(answer.rows.len(), visible, "{:?}", query);
        } else if visible == 0 && masked.shown.is_none() {
            let groups = answer.rows.len();
            prop_assert!(groups == 0 || query.dimensions.is_empty(), "{:?}: {:?}", query, answer.rows);
        }
    }
}
