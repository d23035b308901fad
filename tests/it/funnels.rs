//! Funnels as the seed's users write and ask them, and that a file's change is in the next answer.

use crate::server::{Server, Wanted};
use crate::support::client::{Client, number};
use crate::support::events::page_view;
use crate::support::{SEED_FUNNEL, write_funnel};
use engine::clock::FixedClock;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2023-02-10T00:00:00Z.
const FEBRUARY_10: u64 = 1_675_987_200;
const HOUR: u64 = 3600;

/// The end of February 2023.
const NOW: u64 = FEBRUARY_10 + 18 * 24 * HOUR;

/// A server whose clock is set by the test, and its file of the seed's funnel.
struct Site {
    server: Server,
    clock: Arc<FixedClock>,
    seconds: AtomicU64,
    funnel: PathBuf,
}

impl Site {
    fn start() -> Self {
        let clock = FixedClock::new((NOW * 1_000_000) as i64);
        let wanted = Wanted {
            clock: Arc::<FixedClock>::clone(&clock),
            ..Wanted::default()
        };
        let server = Server::start_with(wanted);
        let funnel = write_funnel(&server.models_dir());
        let site = Self {
            server,
            clock,
            seconds: AtomicU64::new(NOW),
            funnel,
        };
        site.edit(&site.funnel, Some(SEED_FUNNEL));
        site
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// Writes or deletes a file, and lets the second pass after which the server looks at its files again.
    fn edit(&self, path: &Path, text: Option<&str>) {
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let now = self.seconds.fetch_add(2, Ordering::SeqCst) + 2;
        self.clock.set((now * 1_000_000) as i64);
    }
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
    let site = Site::start();
    assert_eq!(ask(&site.client(), &json!([])), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn counts_are_cumulative_and_the_window_is_closed() {
    let site = Site::start();
    let client = site.client();
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
    site.server.flush();
    assert_eq!(
        ask(&client, &json!([])),
        [(1, 6), (2, 4), (3, 2)],
        "the same from the tables"
    );
}

#[test]
fn every_date_operator_selects_entries() {
    let site = Site::start();
    let client = site.client();
    three_days(&client);
    let day = |operator: &str, values: &[&str]| json!([{"member": "completed_purchase.date", "operator": operator, "values": values}]);
    let cases: [(Value, [u64; 3]); 11] = [
        (day("inDateRange", &["2023-02-10", "2023-02-12"]), [3, 2, 1]),
        (day("onTheDate", &["2023-02-11"]), [1, 1, 0]),
        (day("inDateRange", &["2023-02-11"]), [2, 2, 1]),
        (day("inDateRange", &["2023-02-11", "2023-02-12"]), [2, 2, 1]),
        (day("notInDateRange", &["2023-02-11", "2023-02-12"]), [1, 0, 0]),
        (day("onTheDate", &["2023-02-12"]), [1, 1, 1]),
        (day("beforeDate", &["2023-02-12"]), [2, 1, 0]),
        (day("beforeOrOnDate", &["2023-02-11"]), [1, 0, 0]),
        (day("afterDate", &["2023-02-11"]), [2, 2, 1]),
        (day("afterOrOnDate", &["2023-02-12"]), [1, 1, 1]),
        (day("afterDate", &["2023-02-13"]), [0, 0, 0]),
    ];
    for (filters, counts) in cases {
        let expected: Vec<_> = (1..).zip(counts).collect();
        assert_eq!(ask(&client, &filters), expected, "{filters}");
    }
}

#[test]
fn a_conversion_may_end_after_the_range_its_entry_lies_in() {
    let site = Site::start();
    let client = site.client();
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
    let site = Site::start();
    let client = site.client();
    let second = SEED_FUNNEL.replace("completed_purchase", "signup");
    site.edit(&site.funnel.with_file_name("signup.yaml"), Some(&second));
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
fn an_edited_file_is_in_the_next_second_s_answer() {
    let site = Site::start();
    let client = site.client();
    three_days(&client);
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    site.edit(&site.funnel, Some(&SEED_FUNNEL.replace("3600", "90")));
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 0)]);
    site.edit(&site.funnel, None);
    let gone = client.load("shop", &json!({"measures": ["completed_purchase.count"]}));
    assert_eq!(
        (gone.status, gone.error()),
        (
            400,
            "Cube 'completed_purchase' not found for path 'completed_purchase.count'".to_owned()
        )
    );
    site.edit(&site.funnel, Some(SEED_FUNNEL));
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    assert_eq!(site.server.model_problems("shop"), Vec::<String>::new());
}

#[test]
fn a_broken_file_keeps_the_last_good_version_and_says_where() {
    let site = Site::start();
    let client = site.client();
    three_days(&client);
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    let wrong = |from: &str, to: &str| SEED_FUNNEL.replacen(from, to, 1);
    let broken = [
        (wrong("seconds_to_convert: 3600", "seconds_to_convert: soon"), 2),
        (wrong("action: 'pageview'", "action: 'click'"), 6),
        (wrong("steps:", "steps: ["), 3),
    ];
    for (text, line) in broken {
        site.edit(&site.funnel, Some(&text));
        assert_eq!(
            ask(&client, &json!([])),
            [(1, 3), (2, 2), (3, 1)],
            "the last good version answers for:\n{text}"
        );
        let problems = site.server.model_problems("shop");
        let named = |problem: &String| {
            let place = problem.split(": ").next().unwrap_or_default();
            let found: Option<u32> = place.rsplit(':').next().and_then(|number| number.parse().ok());
            place.contains("completed_purchase.yaml:") && found.is_some_and(|found| found >= line)
        };
        assert!(problems.iter().any(named), "not file and line {line} in {problems:?}");
    }
    site.edit(&site.funnel, Some(SEED_FUNNEL));
    assert_eq!(ask(&client, &json!([])), [(1, 3), (2, 2), (3, 1)]);
    assert_eq!(site.server.model_problems("shop"), Vec::<String>::new());
}
