//! An acknowledged event is in the very next answer, once, whatever the flush is doing at that moment.

use crate::server::{Server, Wanted};
use crate::support::client::now_seconds;
use crate::support::events::page_views;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

const WRITERS: u64 = 3;
const BATCHES: u64 = 25;
const BATCH: u64 = 20;

#[test]
fn every_answer_holds_what_was_acknowledged_before_it() {
    let server = Server::start_with(Wanted::flushing(60, 20));
    let acknowledged = AtomicU64::new(0);
    let sent = AtomicU64::new(0);
    let start = now_seconds() - 2 * 86_400;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (client, acknowledged, sent) = (server.client(), &acknowledged, &sent);
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let prefix = format!("w{writer}-b{batch}-");
                    let events = page_views(&prefix, BATCH as usize, start + batch * 3600);
                    sent.fetch_add(BATCH, Ordering::SeqCst);
                    assert_eq!(client.ingest("shop-key", &json!(events)).status, 200);
                    acknowledged.fetch_add(BATCH, Ordering::SeqCst);
                    let mine = client.id_counts("shop", &prefix);
                    assert_eq!(mine.len() as u64, BATCH, "own events are in the next answer");
                    assert!(mine.values().all(|n| *n == 1), "each once: {mine:?}");
                }
            });
        }
        let (client, acknowledged, sent) = (server.client(), &acknowledged, &sent);
        scope.spawn(move || {
            let total = WRITERS * BATCHES * BATCH;
            while acknowledged.load(Ordering::SeqCst) < total {
                let least = acknowledged.load(Ordering::SeqCst);
                let count = client.count("shop");
                let most = sent.load(Ordering::SeqCst);
                assert!(
                    least <= count && count <= most,
                    "{count} is not within {least}..={most}"
                );
            }
        });
    });
    assert_eq!(server.client().count("shop"), WRITERS * BATCHES * BATCH);
    server.flush();
    assert_eq!(server.client().count("shop"), WRITERS * BATCHES * BATCH);
}
