//! Funnels as the seed's users write and ask them, and that a file's change is in the next answer.

use crate::server::{Server, Wanted};
use crate::support::client::{Client, number};
use crate::support::events::page_view;
use crate::support::{SEED_FUNNEL, write_funnel};
use engine::clock::FixedClock;
use serde_json::{Value, json};

/// 2023-02-10T00:00:00Z.
const FEBRUARY_10: u64 = 1_675_987_200;
const HOUR: u64 = 3600;

/// A server whose clock shows the end of February 2023, with the seed's funnel.
fn server() -> Server {
    let mut wanted = Wanted::default();
    wanted.clock = FixedClock::new(((FEBRUARY_10 + 18 * 24 * HOUR) * 1_000_000) as i64);
    let server = Server::start_with(wanted);
    write_funnel(&server.models_dir());
    server
}

fn visit(client: &Client, visitor: &str, steps: &[(&str, u64)]) {
    let view = |(n, (path, at)): (usize, &(&str, u64))| page_view(&format!("{visitor}-{n}-{at}"), visitor, path, *at);
    let events: Vec<Value> = steps.iter().enumerate().map(view).collect();
    let reply = client.ingest("shop-key", &json!(events));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn ask(client: &Client, filters: &Value) -> Vec<(u64, u64)> {
    let query = json!({
        "measures": ["completed_purchase.count"], "dimensions": ["completed_purchase.step"],
        "order": {"completed_purchase.step": "asc"}, "filters": filters,
    });
    let row = |row: &Value| {
        (
            number(&row["completed_purchase.step"]),
            number(&row["completed_purchase.count"]),
        )
    };
    client.rows("shop", &query).iter().map(row).collect()
}

/// One visitor enters on each of three days and gets one step further each day.
fn three_days(client: &Client) {
    visit(client, "a", &[("/page1.html", FEBRUARY_10 + HOUR)]);
    let second = FEBRUARY_10 + 25 * HOUR;
    visit(
        client,
        "b",
        &[
            ("/page1.html", second),
            ("/other", second + 5),
            ("/page2.html", second + 10),
        ],
    );
    let third = FEBRUARY_10 + 49 * HOUR;
    visit(
        client,
        "c",
        &[
            ("/page1.html", third),
            ("/page2.html", third + 60),
            ("/page3.html", third + 120),
        ],
    );
}

#[test]
fn every_step_is_there_also_with_no_event_at_all() {
    let server = server();
    assert_eq!(ask(&server.client(), &json!([])), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn counts_are_cumulative_and_the_window_is_closed() {
    let server = server();
    let client = server.client();
    three_days(&client);
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    let at = FEBRUARY_10 + 100 * HOUR;
    visit(
        &client,
        "exact",
        &[("/page1.html", at), ("/page2.html", at + 1), ("/page3.html", at + HOUR)],
    );
    visit(
        &client,
        "late",
        &[
            ("/page1.html", at),
            ("/page2.html", at + 1),
            ("/page3.html", at + HOUR + 1),
        ],
    );
    visit(
        &client,
        "backwards",
        &[("/page3.html", at), ("/page2.html", at + 1), ("/page1.html", at + 2)],
    );
    assert_eq!(ask(&client, &json!([])), [(1, 6), (2, 4), (3, 2)]);
    server.flush();
    assert_eq!(
        ask(&client, &json!([])),
        [(1, 6), (2, 4), (3, 2)],
        "the same from the tables"
    );
}

#[test]
fn every_date_operator_selects_entries() {
    let server = server();
    let client = server.client();
    three_days(&client);
    let day = |operator: &str, values: &[&str]| json!([{"member": "completed_purchase.date", "operator": operator, "values": values}]);
    let cases: [(Value, [u64; 3]); 10] = [
        (day("inDateRange", &["2023-02-10", "2023-02-12"]), [3, 2, 1]),
        (day("inDateRange", &["2023-02-11"]), [1, 1, 0]),
        (day("inDateRange", &["2023-02-11", "2023-02-12"]), [2, 2, 1]),
        (day("notInDateRange", &["2023-02-11", "2023-02-12"]), [1, 0, 0]),
        (day("onTheDate", &["2023-02-12"]), [1, 1, 1]),
        (day("beforeDate", &["2023-02-12"]), [2, 1, 0]),
        (day("beforeOrOnDate", &["2023-02-11"]), [2, 1, 0]),
        (day("afterDate", &["2023-02-10"]), [2, 2, 1]),
        (day("afterOrOnDate", &["2023-02-12"]), [1, 1, 1]),
        (day("afterDate", &["2023-02-12"]), [0, 0, 0]),
    ];
    for (filters, counts) in cases {
        let expected: Vec<_> = (1..).zip(counts).collect();
        assert_eq!(ask(&client, &filters), expected, "{filters}");
    }
}

#[test]
fn a_conversion_may_end_after_the_range_its_entry_lies_in() {
    let server = server();
    let client = server.client();
    let night = FEBRUARY_10 + 24 * HOUR - 60;
    visit(
        &client,
        "n",
        &[
            ("/page1.html", night),
            ("/page2.html", night + 120),
            ("/page3.html", night + 240),
        ],
    );
    let on = |date: &str| json!([{"member": "completed_purchase.date", "operator": "onTheDate", "values": [date]}]);
    assert_eq!(ask(&client, &on("2023-02-10")), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(ask(&client, &on("2023-02-11")), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn the_seed_s_own_query_answers_with_an_order_that_names_another_funnel() {
    let server = server();
    let client = server.client();
    std::fs::write(
        server.models_dir().join("funnels/signup.yaml"),
        SEED_FUNNEL.replace("completed_purchase", "signup"),
    )
    .unwrap();
    three_days(&client);
    let query = json!({
        "measures": ["signup.count"], "order": {"completed_purchase.count": "desc"}, "dimensions": ["signup.step"],
        "filters": [{"member": "signup.date", "operator": "beforeDate", "values": ["2023-03-01"]}],
    });
    let mut rows = client.rows("shop", &query);
    rows.sort_by_key(|row| number(&row["signup.step"]));
    assert_eq!(
        rows,
        [
            json!({"signup.step": "1", "signup.count": "3"}),
            json!({"signup.step": "2", "signup.count": "2"}),
            json!({"signup.step": "3", "signup.count": "1"}),
        ]
    );
}

#[test]
fn an_edited_file_is_in_the_next_answer() {
    let server = server();
    let client = server.client();
    three_days(&client);
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    let path = write_funnel(&server.models_dir());
    std::fs::write(&path, SEED_FUNNEL.replace("3600", "90")).unwrap();
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 0)]);
    std::fs::remove_file(&path).unwrap();
    let gone = client.load("shop", &json!({"measures": ["completed_purchase.count"]}));
    assert_eq!(
        (gone.status, gone.error()),
        (
            400,
            "Cube 'completed_purchase' not found for path 'completed_purchase.count'".to_owned()
        )
    );
    std::fs::write(&path, SEED_FUNNEL).unwrap();
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
}

#[test]
fn a_broken_file_keeps_the_last_good_version_and_says_where() {
    let server = server();
    let client = server.client();
    three_days(&client);
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    let path = write_funnel(&server.models_dir());
    let broken = [
        (
            SEED_FUNNEL.replace("seconds_to_convert: 3600", "seconds_to_convert: soon"),
            2,
        ),
        (
            SEED_FUNNEL.replace(
                "action: 'pageview'\n  - name: view_page_2",
                "action: 'click'\n  - name: view_page_2",
            ),
            6,
        ),
        (SEED_FUNNEL.replace("steps:", "  steps: ["), 3),
    ];
    for (text, _line) in broken {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(
            ask(&client, &json!([])),
            [(1, 3), (2, 2), (3, 1)],
            "the last good version answers for:\n{text}"
        );
    }
    std::fs::write(&path, SEED_FUNNEL).unwrap();
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
}
