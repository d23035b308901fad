//! What operators have done: only with a token of theirs, and a client's token is none.

use crate::server::Server;
use crate::support::SECRET;
use crate::support::client::{Client, Reply, now_seconds, token, token_with};
use crate::support::events::page_views;
use serde_json::{Value, json};
use server::auth::operator;
use server::config::Secret;

/// Has an operation done in the operator's name; its result.
pub fn operate(client: &Client, name: &str, parameters: &Value) -> Value {
    let reply = ask(client, name, parameters);
    let text = reply.text();
    assert_eq!(reply.status, 200, "{name} {parameters} answered {text}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"], Value::Null, "{name} {parameters}");
    last["result"].clone()
}

/// Has an operation done in the operator's name, whatever comes of it.
pub fn ask(client: &Client, name: &str, parameters: &Value) -> Reply {
    let now = i64::try_from(now_seconds()).unwrap() * 1_000_000;
    let token = operator::mint(&Secret::new(SECRET), now).unwrap();
    send(client, name, &format!("Bearer {token}"), parameters)
}

fn send(client: &Client, name: &str, authorization: &str, parameters: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("authorization", authorization)];
    let body = parameters.to_string();
    client.send("POST", &format!("/admin/v1/{name}"), &headers, Some(body.as_bytes()))
}

#[test]
fn only_operators_have_things_done() {
    let server = Server::start();
    let client = server.client();
    let claims = json!({"aud": "tally-admin", "iat": now_seconds(), "exp": now_seconds() + 60});
    let forged = [
        String::new(),
        "Bearer ".to_owned(),
        format!("Bearer {SECRET}"),
        token("shop"),
        format!("Bearer {}", token("shop")),
        format!("Bearer {}", token_with(&claims, SECRET)),
        format!("Bearer {}", token_with(&claims, "")),
    ];
    for name in ["flush", "compact", "no-such-thing"] {
        for authorization in &forged {
            let reply = send(&client, name, authorization, &json!({}));
            assert_eq!(reply.status, 403, "{name} with `{authorization}`: {}", reply.text());
        }
    }
    let reply = ask(&client, "no-such-thing", &json!({}));
    assert_eq!(reply.status, 404);
    assert!(reply.error().contains("flush"), "{}", reply.error());
    let reply = ask(&client, "flush", &json!({"hard": true}));
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("hard"), "{}", reply.error());
    assert_eq!(client.get("/admin/v1/flush").status, 405);
}

#[test]
fn a_flush_moves_what_is_buffered() {
    let server = Server::start_with(crate::server::Wanted::flushing(1_000_000, 3_600_000));
    let client = server.client();
    let events = json!(page_views("e-", 70, now_seconds() - 3600));
    assert_eq!(client.ingest("shop-key", &events).status, 200);
    assert_eq!(operate(&client, "flush", &json!({})), json!({"rows": 70}));
    assert_eq!(operate(&client, "flush", &json!({})), json!({"rows": 0}));
    assert_eq!(client.count("shop"), 70);
}
