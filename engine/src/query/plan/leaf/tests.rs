//! Queries over several cubes: chosen ones, and random models against nested loops (`oracle`).

mod oracle;

use crate::model::{
    Cube, CubeSource, DefaultFilter, Dimension, Location, Measure, MeasureType, Model, Origin, SqlTemplate, View,
};
use crate::query::Cell;
use crate::query::tests::{Fixture, parse};
use crate::query::views::with_default_filters;
use serde_json::json;
use std::sync::Arc;

const MODEL: &str = include_str!("tests/model.yml");

fn fixture() -> Fixture {
    Fixture::new(MODEL, &[])
}

async fn check(fixture: &Fixture, cases: &[(serde_json::Value, &str)]) {
    for (query, expected) in cases {
        let got = fixture.shown(&query.to_string()).await;
        assert_eq!(got.trim_end(), expected.trim(), "{query}");
    }
}

#[tokio::test]
async fn joins_and_references_between_cubes() {
    let cases = [
        (
            json!({"measures": ["Orders.count", "Orders.amount"], "dimensions": ["Users.name"],
                "order": [["Users.name", "asc"]]}),
            "ann | 2 | 30\nbob | 1 | 5\nnull | 2 | 7",
        ),
        // The user without orders stands in the rows once.
        (
            json!({"measures": ["Users.count"], "dimensions": ["Orders.status"], "order": [["Orders.status", "asc"]]}),
            "new | 1\npaid | 2\nnull | 1",
        ),
        (
            json!({"measures": ["Users.count", "Users.balance", "Orders.count"]}),
            "3 | 1150 | 3",
        ),
        // Users without orders are not in the rows of orders, and orders without a user are of no user.
        (
            json!({"measures": ["Orders.count", "Users.count", "Users.balance"]}),
            "5 | 2 | 150",
        ),
        (
            json!({"measures": ["Users.balance", "Items.quantity", "Orders.amount"], "dimensions": ["Orders.status"],
                "order": [["Orders.status", "asc"]]}),
            "new | 100 | 1 | 20\npaid | 150 | 14 | 15\nnull | 1000 | null | null",
        ),
        (
            json!({"measures": ["Orders.count"], "segments": ["Orders.of_rich"]}),
            "2",
        ),
        (json!({"dimensions": ["Orders.buyer"]}), "ann\nbob\nnull"),
        (
            json!({"measures": ["Orders.count"], "filters": [{"member": "Users.name", "operator": "equals", "values": ["ann"]}]}),
            "2",
        ),
        (json!({"measures": ["Orders.of_ann"]}), "2"),
        (json!({"measures": ["Orders.per_user"]}), "2.5"),
        (
            json!({"measures": ["Orders.items_per_order"], "dimensions": ["Users.name"], "order": [["Users.name", "asc"]]}),
            "ann | 5.5\nbob | 4\nnull | 1.5",
        ),
        (
            json!({"measures": ["Users.balance"], "dimensions": ["Orders.status"],
                "filters": [{"member": "Users.balance", "operator": "gt", "values": ["100"]}]}),
            "null | 1000\npaid | 150",
        ),
        (
            json!({"measures": ["Items.quantity"], "dimensions": ["Users.name"],
                "filters": [{"member": "Orders.amount", "operator": "gte", "values": ["7"]}],
                "order": [["Users.name", "asc"]]}),
            "ann | 11",
        ),
        (
            json!({"measures": ["Items.count", "Lonely.count"]}),
            "! Can't find join path to join 'Items', 'Lonely'",
        ),
    ];
    check(&fixture(), &cases).await;
}

#[tokio::test]
async fn sub_query_dimensions() {
    let cases = [
        (
            json!({"dimensions": ["Users.name", "Users.spent"], "order": [["Users.name", "asc"]]}),
            "ann | 30\nbob | 5\ncid | null",
        ),
        (
            json!({"measures": ["Users.count", "Users.spent_by_all"], "dimensions": ["Users.spent"],
                "order": [["Users.spent", "asc"]]}),
            "5 | 1 | 5\n30 | 1 | 30\nnull | 1 | null",
        ),
        (
            json!({"measures": ["Users.count"], "filters": [{"member": "Users.spent", "operator": "gt", "values": ["10"]}]}),
            "1",
        ),
        (json!({"measures": ["Users.spent_by_all"]}), "35"),
        // Only the dimension that says so sees the query's filters.
        (
            json!({"dimensions": ["Users.spent", "Users.spent_here"], "segments": ["Users.rich"],
                "filters": [{"member": "Orders.status", "operator": "equals", "values": ["paid"]}]}),
            "30 | 10",
        ),
        // Over joins: each user's value once.
        (json!({"measures": ["Users.spent_by_all", "Items.count"]}), "35 | 4"),
        (
            json!({"measures": ["Orders.count"], "dimensions": ["Orders.user_spent"], "order": [["Orders.user_spent", "asc"]]}),
            "5 | 1\n30 | 2\nnull | 2",
        ),
    ];
    check(&fixture(), &cases).await;
}

#[tokio::test]
async fn ungrouped_rows_and_hints() {
    let fixture = fixture();
    let cases = [
        (
            json!({"dimensions": ["Users.name"], "measures": ["Orders.count"], "ungrouped": true}),
            "! Ungrouped query requires primary keys to be present in dimensions: 'Orders.id', 'Users.id'. Pass \
             allowUngroupedWithoutPrimaryKey option to disable this check.",
        ),
        (
            json!({"dimensions": ["Orders.id", "Users.id"], "measures": ["Orders.amount", "Users.count"], "ungrouped": true,
                "order": [["Orders.id", "asc"]]}),
            "1 | 1 | 10 | 1\n2 | 1 | 20 | 1\n3 | 2 | 5 | 1\n4 | null | 3 | null\n5 | null | 4 | null",
        ),
    ];
    check(&fixture, &cases).await;
    let mut query = parse(&json!({"dimensions": ["Users.name"], "ungrouped": true})).unwrap();
    query.join_hints = vec![vec!["Orders".to_owned(), "Users".to_owned()]];
    query.ungrouped_without_primary_key = true;
    assert_eq!(fixture.ask(&query).await.unwrap().rows.len(), 5);
}

fn at() -> Location {
    Location::default()
}

fn origin(way: &[&str], member: &str) -> Option<Origin> {
    Some(Origin {
        join_path: way.iter().map(|cube| (*cube).to_owned()).collect(),
        member: member.to_owned(),
    })
}

/// A view over the model above, made by hand.
fn view(model: &Model) -> Model {
    let mut view = Cube::new("sales", CubeSource::View(Arc::new(View::default())), at());
    let dimension = |name: &str, way: &[&str], member: &str| Dimension {
        name: name.to_owned(),
        public: true,
        origin: origin(way, member),
        ..model.cubes[*way.last().unwrap()].dimension(member).unwrap().clone()
    };
    let measure = |name: &str, way: &[&str], member: &str| Measure {
        name: name.to_owned(),
        public: true,
        origin: origin(way, member),
        ..model.cubes[*way.last().unwrap()].measure(member).unwrap().clone()
    };
    view.dimensions = vec![
        dimension("status", &["Orders"], "status"),
        dimension("user_name", &["Orders", "Users"], "name"),
        dimension("order_id", &["Orders"], "id"),
    ];
    view.measures = vec![
        measure("count", &["Orders"], "count"),
        measure("user_balance", &["Orders", "Users"], "balance"),
        measure("secret", &["Orders"], "hidden"),
        Measure {
            sql: Some(SqlTemplate::parse("1.0 * {user_balance} / {count}", at()).unwrap()),
            ..Measure::new("balance_per_order", MeasureType::Number, at())
        },
    ];
    let mut model = model.clone();
    model.cubes.insert("sales".to_owned(), Arc::new(view));
    model
}

#[tokio::test]
async fn views_show_members_of_cubes() {
    let mut fixture = fixture();
    fixture.model = Arc::new(view(&fixture.model));
    let cases = [
        (
            json!({"measures": ["sales.count"], "dimensions": ["sales.user_name"], "order": [["sales.user_name", "asc"]]}),
            "ann | 2\nbob | 1\nnull | 2",
        ),
        (json!({"measures": ["sales.count", "Orders.count"]}), "5 | 5"),
        (json!({"measures": ["sales.balance_per_order"]}), "30"),
        (
            json!({"measures": ["sales.balance_per_order"], "dimensions": ["sales.status"], "order": [["sales.status", "asc"]]}),
            "new | 100\npaid | 75\nnull | null",
        ),
        // What the cube hides the view may show.
        (json!({"measures": ["sales.secret"]}), "5"),
        (
            json!({"measures": ["Orders.hidden"]}),
            "! You requested hidden member: 'Orders.hidden'. Please make it visible \
            using `public: true`. Please note primaryKey fields are `public: false` by default: \
            https://cube.dev/docs/schema/reference/joins#setting-a-primary-key.",
        ),
        (
            json!({"measures": ["sales.count"], "filters": [{"member": "sales.user_name", "operator": "equals", "values": ["ann"]}]}),
            "2",
        ),
        (
            json!({"dimensions": ["sales.order_id"], "measures": ["sales.user_balance"], "ungrouped": true, "limit": 1,
                "order": [["sales.order_id", "asc"]]}),
            "! Ungrouped query requires primary keys to be present in dimensions: 'Users.id'. Pass \
             allowUngroupedWithoutPrimaryKey option to disable this check.",
        ),
        (
            json!({"measures": ["sales.nothing"]}),
            "! 'nothing' not found for path 'sales.nothing'",
        ),
    ];
    check(&fixture, &cases).await;
}

#[tokio::test]
async fn default_filters_hold_unless_the_query_says_otherwise() {
    let mut fixture = fixture();
    let mut model = view(&fixture.model);
    let mut sales = model.cubes["sales"].as_ref().clone();
    sales.source = CubeSource::View(Arc::new(View {
        default_filters: vec![DefaultFilter {
            member: "status".to_owned(),
            operator: "equals".to_owned(),
            values: vec![Some("paid".to_owned())],
            unless: vec!["status".to_owned(), "user_name".to_owned()],
            location: at(),
        }],
        ..View::default()
    }));
    model.cubes.insert("sales".to_owned(), Arc::new(sales));
    fixture.model = Arc::new(model);
    let status = |value: &str| json!([{"member": "sales.status", "operator": "equals", "values": [value]}]);
    let cases = [
        (json!({"measures": ["sales.count"]}), 1, "2"),
        (json!({"measures": ["sales.count"], "filters": status("new")}), 0, "1"),
        (
            json!({"measures": ["sales.count"], "dimensions": ["sales.user_name"]}),
            1,
            "1",
        ),
        (json!({"measures": ["Orders.count"]}), 0, "5"),
    ];
    for (asked, added, first) in cases {
        let query = parse(&asked).unwrap();
        let filtered = with_default_filters(&query, &fixture.model, 0).unwrap();
        assert_eq!(filtered.filters.len(), query.filters.len() + added, "{asked}");
        let answer = fixture.ask(&filtered).await.unwrap();
        let last = answer.rows[0].last().unwrap();
        assert_eq!(*last, Cell::Number(first.to_owned()), "{asked}");
    }
}
