//! What was acknowledged is there after a stop.

use crate::server::{Server, Wanted};
use crate::support::client::now_seconds;
use crate::support::events::page_views;
use serde_json::json;

#[test]
fn a_restart_finds_flushed_and_buffered_events() {
    let server = Server::start_with(Wanted::flushing(1_000_000, 3_600_000));
    let client = server.client();
    let start = now_seconds() - 86_400;
    assert_eq!(
        client.ingest("shop-key", &json!(page_views("old-", 300, start))).status,
        200
    );
    server.flush();
    assert_eq!(
        client
            .ingest("shop-key", &json!(page_views("new-", 200, start + 1000)))
            .status,
        200
    );
    assert_eq!(client.count("shop"), 500);

    let server = server.restart(Wanted::default());
    let client = server.client();
    assert_eq!(client.count("shop"), 500);
    let counts = client.id_counts("shop", "");
    assert_eq!(counts.len(), 500);
    assert!(counts.values().all(|n| *n == 1));
    assert_eq!(client.count("blog"), 0);
}

#[test]
fn ids_are_remembered_across_a_restart() {
    let server = Server::start();
    let events = json!(page_views("same-", 50, now_seconds() - 3600));
    assert_eq!(server.client().ingest("shop-key", &events).status, 200);
    let server = server.restart(Wanted::default());
    assert_eq!(server.client().ingest("shop-key", &events).status, 200);
    assert_eq!(server.client().count("shop"), 50);
}
