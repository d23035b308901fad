//! Answers that are given again: right at once after every event, never shared between contexts, renewed when the clock
//! is read.

use crate::server::{Server, Wanted};
use crate::support::SECRET;
use crate::support::client::{Client, Reply, now_seconds, token, token_with};
use crate::support::events::page_views;
use engine::clock::FixedClock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn count_query() -> Value {
    json!({"measures": ["TrackedEvents.count"]})
}

/// A counter of `/metrics`.
fn metric(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
}

fn computed(client: &Client) -> u64 {
    metric(client, "tally_answers_computed_total")
}

fn ask(client: &Client, token: &str, query: &Value) -> Reply {
    let reply = client.cube("load", token, &json!({ "query": query }));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

#[test]
fn equal_requests_are_answered_once_and_never_late() {
    let server = Server::start();
    let client = server.client();
    for round in 1..=3_u64 {
        let sent = json!(page_views(&format!("cache{round}-"), 10, 0));
        assert_eq!(client.ingest("shop-key", &sent).status, 200);
        let before = computed(&client);
        let bodies: Vec<String> = (0..5)
            .map(|_| ask(&client, &token("shop"), &count_query()).text())
            .collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]));
        assert_eq!(client.count("shop"), round * 10);
        assert_eq!(computed(&client), before + 1);
    }
    // Moving rows into files changes no answer.
    let before = computed(&client);
    server.flush();
    assert_eq!(client.count("shop"), 30);
    assert_eq!(computed(&client), before);
    // Events of another project change nothing here.
    assert_eq!(
        client.ingest("blog-key", &json!(page_views("other-", 5, 0))).status,
        200
    );
    assert_eq!(client.count("shop"), 30);
    assert_eq!(computed(&client), before);
    assert_eq!(client.count("blog"), 5);
}

#[test]
fn contexts_do_not_share_but_tokens_of_one_do() {
    let server = Server::start();
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("ctx-", 3, 0)));
    let with = |extra: Value| {
        let mut claims = json!({"appId": "shop", "exp": now_seconds() + 180});
        claims
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        token_with(&claims, SECRET)
    };
    let before = computed(&client);
    for (at, (extra, fresh)) in [
        (json!({"role": "a"}), 1),
        (json!({"role": "a", "jti": "1", "iat": now_seconds() - 5}), 1),
        (json!({"role": "b"}), 2),
        (json!({"role": "a", "nested": {"x": 1}}), 3),
    ]
    .into_iter()
    .enumerate()
    {
        ask(&client, &with(extra), &count_query());
        assert_eq!(computed(&client), before + fresh, "request {at}");
    }
}

#[test]
fn cache_modes_differ_only_in_no_cache() {
    let server = Server::start();
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("mode-", 3, 0)));
    let mut expected = computed(&client) + 1;
    ask(&client, &token("shop"), &count_query());
    for mode in ["stale-if-slow", "stale-while-revalidate", "must-revalidate", "no-cache"] {
        let body = json!({"query": count_query(), "cache": mode});
        let reply = client.cube("load", &token("shop"), &body);
        assert_eq!(
            (reply.status, reply.json()["slowQuery"].clone()),
            (200, json!(false)),
            "{mode}"
        );
        expected += u64::from(mode == "no-cache");
        assert_eq!(computed(&client), expected, "{mode}");
    }
    let reply = client.cube(
        "load",
        &token("shop"),
        &json!({"query": count_query(), "cache": "sometimes"}),
    );
    assert_eq!(reply.status, 400);
}

#[test]
fn what_reads_the_clock_is_renewed_after_ten_seconds() {
    let clock = FixedClock::new(1_717_243_200_000_000); // 2024-06-01T12:00:00Z
    let folder = tempfile::tempdir().unwrap();
    crate::support::write_projects(&folder.path().join("data"));
    std::fs::create_dir_all(folder.path().join("models")).unwrap();
    let model = "cubes:\n  - name: Ages\n    sql_table: events\n    measures:\n      - name: seconds\n        type: max\n        \
        sql: \"EXTRACT(EPOCH FROM (now() - ts))\"\n";
    std::fs::write(folder.path().join("models/ages.yml"), model).unwrap();
    let wanted = Wanted {
        clock: Arc::clone(&clock) as Arc<dyn engine::clock::Clock>,
        ..Wanted::default()
    };
    let server = Server::start_in(folder.path(), wanted);
    let client = server.client();
    let event = json!([{"event_id": "age", "event": "page", "timestamp": "2024-06-01T11:59:00Z", "anonymous_id": "a"}]);
    assert_eq!(client.ingest("shop-key", &event).status, 200);
    let claims = json!({"appId": "shop"});
    let seconds = || {
        let reply = ask(
            &client,
            &token_with(&claims, SECRET),
            &json!({"measures": ["Ages.seconds"]}),
        );
        reply.json()["data"][0]["Ages.seconds"]
            .as_str()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    for (passed, expected) in [(0, 60.0), (9, 60.0), (10, 70.0), (19, 70.0), (25, 85.0)] {
        clock.set(1_717_243_200_000_000 + passed * 1_000_000);
        assert_eq!(seconds(), expected, "after {passed} seconds");
    }
}

#[test]
fn a_kept_answer_costs_little() {
    let server = Server::start();
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("fast-", 100, 0)));
    let query = json!({"measures": ["TrackedEvents.count"], "dimensions": ["TrackedEvents.pageUrlpath"],
        "timeDimensions": [{"dimension": "TrackedEvents.derivedTstamp", "granularity": "day"}]});
    let token = token("shop");
    ask(&client, &token, &query);
    let before = computed(&client);
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let started = Instant::now();
            ask(&client, &token, &query);
            started.elapsed()
        })
        .collect();
    times.sort();
    assert_eq!(computed(&client), before);
    // An unoptimised build on a busy machine; the figure to reach, 1 ms, is measured by the benches.
    assert!(times[100] < Duration::from_millis(50), "median {:?}", times[100]);
    std::io::Write::write_all(
        &mut std::io::stdout(),
        format!(
            "kept answer, debug build: median {:?}, 90 % {:?}\n",
            times[100], times[180]
        )
        .as_bytes(),
    )
    .unwrap();
}

#[test]
fn missing_buckets_are_added_when_asked_for() {
    let clock = FixedClock::new(1_717_243_200_000_000); // 2024-06-01T12:00:00Z
    let server = Server::start_with(Wanted {
        clock,
        ..Wanted::default()
    });
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("fill-", 2, 1_717_200_000)));
    let token = token_with(&json!({"appId": "shop"}), SECRET);
    let mut query = json!({"measures": ["TrackedEvents.count"], "timeDimensions": [
        {"dimension": "TrackedEvents.derivedTstamp", "granularity": "day", "dateRange": ["2024-05-31", "2024-06-02"]}]});
    let counts = |query: &Value| {
        let body = ask(&client, &token, query).json();
        let rows = body["data"].as_array().unwrap().clone();
        let counts = rows.iter().map(|row| row["TrackedEvents.count"].clone());
        (counts.collect::<Vec<_>>(), body["query"]["fillMissing"].clone())
    };
    assert_eq!(counts(&query), (vec![json!("2")], Value::Null));
    query["fillMissing"] = json!("zero");
    assert_eq!(
        counts(&query),
        (vec![json!("0"), json!("2"), json!("0")], json!("zero"))
    );
    query["fillMissing"] = json!("null");
    assert_eq!(
        counts(&query),
        (vec![Value::Null, json!("2"), Value::Null], json!("null"))
    );
    query["fillMissing"] = json!(true);
    let reply = client.cube("load", &token, &json!({ "query": query }));
    assert_eq!(reply.status, 400, "{}", reply.text());
}
