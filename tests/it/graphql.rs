//! GraphQL over the built-in cubes. What Cube answers is replayed by `cube_conformance`; here is what is ours: that it
//! agrees with `/v1/load`, its bounds, and null instants.

use crate::server::{Server, Wanted};
use crate::support::client::{Client, Reply, token};
use crate::support::events::page_views;
use engine::clock::FixedClock;
use serde_json::{Value, json};

fn ask(client: &Client, project: &str, body: &Value) -> Reply {
    let token = token(project);
    let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
    client.send(
        "POST",
        "/cubejs-api/graphql",
        &headers,
        Some(body.to_string().as_bytes()),
    )
}

fn data(client: &Client, query: &str) -> Value {
    let reply = ask(client, "shop", &json!({ "query": query }));
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    reply.json()["data"]["cube"].clone()
}

fn error(client: &Client, query: &str) -> (u16, String) {
    let reply = ask(client, "shop", &json!({ "query": query }));
    let text = reply.json()["errors"][0]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (reply.status, text)
}

#[test]
fn answers_are_those_of_load() {
    let clock = FixedClock::new(1_700_000_100_000_000); // 2023-11-14T22:15:00Z
    let server = Server::start_with(Wanted {
        clock,
        ..Wanted::default()
    });
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("g-", 20, 1_700_000_000)));
    let by_path = data(
        &client,
        "{ cube(limit: 2) { trackedEvents(orderBy: {count: desc, pageUrlpath: asc}) { pageUrlpath count } } }",
    );
    assert_eq!(
        by_path,
        json!([{"trackedEvents": {"pageUrlpath": "/", "count": 4}}, {"trackedEvents": {"pageUrlpath": "/docs", "count": 4}}])
    );
    // Fragments, directives, variables, aliases.
    let reply = ask(
        &client,
        "shop",
        &json!({
            "query": "query Q($paths: [String], $no: Boolean!) { cube(where: {trackedEvents: {pageUrlpath: {in: $paths}}}) { e: trackedEvents { ...counts } } } \
                      fragment counts on TrackedEventsMembers { n: count, host: pageUrlhosts @skip(if: $no) }",
            "variables": {"paths": ["/", "/docs"], "no": true}, "operationName": "Q",
        }),
    );
    assert_eq!(
        reply.json()["data"],
        json!({"cube": [{"e": {"n": 8}}]}),
        "{}",
        reply.text()
    );
    // Two questions in one document.
    let reply = ask(
        &client,
        "shop",
        &json!({"query": "{ a: cube { trackedEvents { count } } b: cube(where: {trackedEvents: {pageUrlpath: {equals: \"/docs\"}}}) { trackedEvents { count } } }"}),
    );
    let counts = json!({"a": [{"trackedEvents": {"count": 20}}], "b": [{"trackedEvents": {"count": 4}}]});
    assert_eq!(reply.json()["data"], counts, "{}", reply.text());
    // Instants, in a zone, with a range.
    let days = data(
        &client,
        "{ cube(timezone: \"Asia/Kolkata\", where: {trackedEvents: {derivedTstamp: {inDateRange: [\"2023-11-14\", \"2023-11-16\"]}}}) { trackedEvents { count derivedTstamp { day } } } }",
    );
    assert_eq!(
        days,
        json!([{"trackedEvents": {"count": 20, "derivedTstamp": {"day": "2023-11-14T18:30:00.000Z"}}}])
    );
    // An instant that is null, of a measure over no rows, breaks nothing.
    let reply = ask(
        &client,
        "empty",
        &json!({"query": "{ cube { trackedEvents { totalRevenue } } }"}),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn mistakes_are_told_as_graphql_tells_them() {
    let server = Server::start();
    let client = server.client();
    let cases = [
        ("", "Must provide query string."),
        (
            "{ cube { trackedEvents { coun } } }",
            "Cannot query field \"coun\" on type \"TrackedEventsMembers\". Did you mean \"count\"?",
        ),
        (
            "{ cube { trackedEvents { derivedTstamp } } }",
            "Field \"derivedTstamp\" of type \"TimeDimension\" must have a selection of subfields. Did you mean \"derivedTstamp { ... }\"?",
        ),
        (
            "query($a: Int) { cube { trackedEvents { count } } }",
            "Variable \"$a\" is never used.",
        ),
        (
            "{ cube { trackedEvents { __typename } } }",
            "Query should contain either measures, dimensions or timeDimensions with granularities in order to be valid",
        ),
    ];
    for (query, text) in cases {
        assert_eq!(error(&client, query), (400, text.to_owned()), "{query}");
    }
    let reply = client.post(
        "/cubejs-api/graphql",
        &json!({"query": "{ cube { trackedEvents { count } } }"}),
    );
    assert_eq!(reply.status, 403);
    // Bounds: many questions, many fields, deep nesting.
    let many: String = (0..40)
        .map(|n| format!("c{n}: cube {{ trackedEvents {{ count }} }} "))
        .collect();
    assert_eq!(error(&client, &format!("{{{many}}}")).0, 400);
    let wide: String = (0..1500).map(|n| format!("f{n}: count ")).collect();
    assert_eq!(
        error(&client, &format!("{{ cube {{ trackedEvents {{ {wide} }} }} }}")).0,
        400
    );
    let deep = format!("{}{}", "{ cube ".repeat(5000), "}".repeat(5000));
    assert_eq!(error(&client, &deep).0, 400);
    let introspection = format!(
        "{{ __schema {{ types {} {{ name }} {} }} }}",
        "{ fields { type ".repeat(20),
        "} }".repeat(20)
    );
    assert_eq!(error(&client, &introspection).0, 400);
}

#[test]
fn documents_become_queries() {
    let server = Server::start();
    let client = server.client();
    let to_json = |query: &str| {
        let body = json!({"query": query, "variables": {"b": "Firefox"}});
        let reply = client.cube("graphql-to-json", &token("shop"), &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["jsonQuery"].clone()
    };
    assert_eq!(
        to_json(
            "query($b: String) { cube(limit: 5, where: {trackedEvents: {OR: [{agentName: {equals: $b}}, {count: {gt: 2}}]}}) { trackedEvents { count derivedTstamp { value week } } } }"
        ),
        json!({
            "measures": ["TrackedEvents.count"], "dimensions": ["TrackedEvents.derivedTstamp"],
            "timeDimensions": [{"dimension": "TrackedEvents.derivedTstamp", "granularity": "week"}],
            "limit": 5,
            "filters": [{"or": [
                {"member": "TrackedEvents.agentName", "operator": "equals", "values": ["Firefox"]},
                {"member": "TrackedEvents.count", "operator": "gt", "values": ["2"]},
            ]}],
        })
    );
    assert_eq!(to_json("{ nope }"), Value::Null);
}
