use super::*;
use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const KEY: Key = [1; 32];

fn pending(answer_ms: u64, detached: usize) -> Pending {
    Pending {
        patience: Patience {
            answer: Duration::from_millis(answer_ms),
            abandoned: Duration::from_secs(60),
            detached,
        },
        ..Pending::default()
    }
}

/// A query of `ms`, which counts how often it was started.
fn query(ms: u64, started: &Arc<AtomicUsize>) -> BoxFuture<'static, Answered> {
    let started = Arc::clone(started);
    async move {
        started.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok("answer".to_owned())
    }
    .boxed()
}

#[tokio::test]
async fn a_slow_query_runs_on_and_is_found_by_the_next_request() {
    let (pending, started) = (pending(20, 8), Arc::default());
    assert_eq!(pending.answer(KEY, query(200, &started)).await, Ok(None));
    let mut answer = Ok(None);
    while answer == Ok(None) {
        answer = pending.answer(KEY, query(200, &started)).await;
    }
    assert_eq!(answer, Ok(Some("answer".to_owned())));
    assert_eq!(started.load(Ordering::SeqCst), 1);
    assert!(pending.detached.lock().is_empty());
}

#[tokio::test]
async fn requests_for_other_things_do_not_share() {
    let (pending, started) = (pending(20, 8), Arc::default());
    assert_eq!(pending.answer(KEY, query(200, &started)).await, Ok(None));
    assert_eq!(pending.answer([2; 32], query(200, &started)).await, Ok(None));
    assert_eq!(started.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn without_room_the_client_waits() {
    let (pending, started) = (pending(20, 0), Arc::default());
    assert_eq!(
        pending.answer(KEY, query(100, &started)).await,
        Ok(Some("answer".to_owned()))
    );
}
