//! How long data lives, asked over HTTP: earlier states, retention, erasure, rejected events.

use crate::operations::{ask, operate};
use crate::server::{Server, Wanted};
use crate::support::client::{Client, now_seconds};
use crate::support::events::page_views;
use serde_json::{Value, json};

fn count_as_of(client: &Client, as_of: &Value) -> u64 {
    let rows = client.rows("shop", &json!({"measures": ["TrackedEvents.count"], "asOf": as_of}));
    crate::support::client::number(&rows[0]["TrackedEvents.count"])
}

#[test]
fn a_query_asks_an_earlier_state() {
    let server = Server::start_with(Wanted::flushing(1_000_000, 3_600_000));
    let client = server.client();
    let start = now_seconds() - 86_400;
    for n in 0..3u64 {
        let events = json!(page_views(&format!("r{n}-"), 10, start + n * 100));
        assert_eq!(client.ingest("shop-key", &events).status, 200);
        operate(&client, "flush", &json!({}));
    }
    let told = operate(&client, "history", &json!({"project": "shop"}));
    let versions = told["versions"].as_array().unwrap();
    let rows: Vec<&Value> = versions.iter().map(|version| &version["rows"]).collect();
    assert_eq!(rows, [&json!(30), &json!(20), &json!(10)]);
    for (version, rows) in [(0, 10), (1, 20), (2, 30)] {
        assert_eq!(count_as_of(&client, &json!(version)), rows);
    }
    assert_eq!(count_as_of(&client, &versions[1]["at"]), 20);
    assert_eq!(count_as_of(&client, &json!("2001-01-01T00:00:00+01:00")), 0);
    assert_eq!(client.count("shop"), 30, "the present is not mixed up with the past");
    let echo = client
        .load("shop", &json!({"measures": ["TrackedEvents.count"], "asOf": 1}))
        .json();
    assert_eq!(echo["query"]["asOf"], json!(1));

    for wrong in [
        json!("yesterday"),
        json!("2026-01-01"),
        json!(-1),
        json!(1.5),
        json!({}),
        json!(true),
    ] {
        let reply = client.load("shop", &json!({"measures": ["TrackedEvents.count"], "asOf": wrong}));
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(reply.error().contains("asOf"), "{}", reply.error());
    }
    let reply = client.load("shop", &json!({"measures": ["TrackedEvents.count"], "asOf": 99}));
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("newest is 2"), "{}", reply.error());
}

#[test]
fn an_erased_visitor_is_in_no_answer() {
    let server = Server::start_with(Wanted::flushing(1_000_000, 3_600_000));
    let client = server.client();
    let event = |n: usize, user: &str| json!({"type": "page", "url": "https://a.example/", "user_id": user, "event_id": format!("e{n}")});
    let events: Vec<Value> = (0..20)
        .map(|n| event(n, if n % 4 == 0 { "gone@a.example" } else { "kept@a.example" }))
        .collect();
    assert_eq!(client.ingest("shop-key", &json!(events)).status, 200);
    assert_eq!(
        client.ingest("blog-key", &json!([event(1, "gone@a.example")])).status,
        200
    );
    let bad = json!([{"type": "page", "ts": "never", "user_id": "gone@a.example"}, {"type": "page", "ts": "never", "user_id": "kept@a.example"}]);
    client.ingest("shop-key", &bad);
    assert_eq!(client.count("shop"), 20, "an answer that is kept from now on");
    let erase = json!({"visitor": "gone@a.example", "projects": ["shop"]});
    let dry = operate(&client, "erase", &json!({"visitor": "gone@a.example", "dry_run": true}));
    assert_eq!(dry["rows"], json!(5 + 1 + 1), "{dry}");
    let told = operate(&client, "erase", &erase);
    assert_eq!((&told["rows"], &told["remaining"]), (&json!(6), &json!(0)), "{told}");
    assert_eq!(client.count("shop"), 15);
    assert_eq!(client.count("blog"), 1, "another project");
    let told = operate(&client, "rejected-list", &json!({"project": "shop", "samples": 10}));
    assert_eq!(told["total"], json!(1), "{told}");
    assert_eq!(operate(&client, "erase", &erase)["rows"], json!(0));
    for wrong in [
        json!({}),
        json!({"visitor": ""}),
        json!({"visitor": "x", "from": "2026-01-01T00:00:00Z"}),
        json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
        json!({"from": "soon", "to": "later"}),
        json!({"visitor": "x", "projects": ["nobodys"]}),
        json!({"visitor": "x", "force": true}),
    ] {
        assert_eq!(ask(&client, "erase", &wrong).status, 400, "{wrong}");
    }
}

#[test]
fn rejected_events_are_listed_and_tried_again() {
    let server = Server::start_with(Wanted::flushing(1_000_000, 3_600_000));
    let client = server.client();
    let reply = client.ingest(
        "shop-key",
        &json!([
            {"type": "page", "url": "https://a.example/", "user_id": "u", "event_id": "good"},
            {"type": "page", "ts": "never", "user_id": "u", "event_id": "bad-time"},
            17,
        ]),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = operate(&client, "rejected-list", &json!({"project": "shop", "samples": 1}));
    assert_eq!(told["total"], json!(2), "{told}");
    assert_eq!(told["samples"].as_array().unwrap().len(), 1);
    assert_eq!(told["reasons"]["not_an_object"], json!(1));
    let only = json!({"project": "shop", "reasons": ["not_an_object"]});
    assert_eq!(operate(&client, "rejected-list", &only)["total"], json!(1));
    let none = json!({"project": "shop", "to": "2001-01-01T00:00:00Z"});
    assert_eq!(operate(&client, "rejected-list", &none)["total"], json!(0));
    let told = operate(&client, "rejected-replay", &json!({"project": "shop"}));
    assert_eq!(told["stored"], json!(0), "nothing was repaired: {told}");
    assert_eq!(
        told["rejected"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .sum::<u64>(),
        2
    );
    assert_eq!(
        operate(&client, "rejected-list", &json!({"project": "shop"}))["total"],
        json!(2),
        "no second copies"
    );
    let reply = ask(
        &client,
        "rejected-list",
        &json!({"project": "shop", "reasons": ["no-such"]}),
    );
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("too_old"), "{}", reply.error());
}

#[test]
fn a_days_rule_deletes_what_is_older() {
    let mut wanted = Wanted::flushing(1_000_000, 3_600_000);
    wanted.settings.retention_days = Some(30);
    let server = Server::start_with(wanted);
    let client = server.client();
    let event = |n: u64, days: u64| {
        let at = chrono::DateTime::from_timestamp(i64::try_from(now_seconds() - days * 86_400).unwrap(), 0).unwrap();
        json!({"type": "page", "url": "https://a.example/", "user_id": "u", "event_id": format!("e{n}"), "ts": at.to_rfc3339()})
    };
    client.ingest("shop-key", &json!([event(1, 1), event(2, 29), event(3, 40)]));
    assert_eq!(client.count("shop"), 2, "what is too old when it comes");
    let told = operate(&client, "rejected-list", &json!({"project": "shop", "samples": 1}));
    assert_eq!(told["reasons"], json!({"too_old": 1}), "{told}");
    assert_eq!(told["samples"][0]["raw"], json!(""));
    let told = operate(&client, "rejected-replay", &json!({"project": "shop"}));
    assert_eq!(told["not_replayable"], json!({"nothing of it was kept": 1}), "{told}");
    assert_eq!(operate(&client, "retention", &json!({}))["expired"], json!([]));
}
