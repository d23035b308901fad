use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const KEY: Key = [1; 32];

fn pending(answer_ms: u64, detached: usize) -> Pending<String> {
    Pending::new(Patience {
        detached,
        ..Patience::answering_within(Duration::from_millis(answer_ms))
    })
}

/// A query of `ms`, which counts how often it was started.
fn query(ms: u64, started: &Arc<AtomicUsize>) -> impl FnOnce() -> BoxFuture<'static, ApiResult<String>> {
    let started = Arc::clone(started);
    move || {
        async move {
            started.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok("answer".to_owned())
        }
        .boxed()
    }
}

fn version() -> DataVersion {
    DataVersion::default()
}

fn answer() -> String {
    "answer".to_owned()
}

#[tokio::test]
async fn a_slow_query_runs_on_and_is_found_by_the_next_request() {
    let (pending, started) = (pending(20, 8), Arc::default());
    let first = pending.answer(KEY, version(), query(200, &started)).await;
    assert_eq!(first, Ok(Landed::NotYet));
    let mut landed = Ok(Landed::NotYet);
    while landed == Ok(Landed::NotYet) {
        landed = pending.answer(KEY, version(), query(200, &started)).await;
    }
    assert_eq!(landed, Ok(Landed::Joined(answer())));
    assert_eq!(started.load(Ordering::SeqCst), 1);
    assert!(pending.flights.lock().by_key.is_empty());
}

#[tokio::test]
async fn equal_requests_at_the_same_time_share_one_query() {
    let (pending, started) = (pending(5_000, 8), Arc::default());
    let asked = (0..20).map(|_| pending.answer(KEY, version(), query(100, &started)));
    let landed = futures::future::join_all(asked).await;
    assert_eq!(started.load(Ordering::SeqCst), 1);
    let joined = landed.iter().filter(|one| **one == Ok(Landed::Joined(answer())));
    assert_eq!(joined.count(), 19);
    assert!(pending.flights.lock().by_key.is_empty());
}

#[tokio::test]
async fn requests_for_other_things_do_not_share() {
    let (pending, started) = (pending(20, 8), Arc::default());
    let (one, other) = (query(200, &started), query(200, &started));
    assert_eq!(pending.answer(KEY, version(), one).await, Ok(Landed::NotYet));
    assert_eq!(pending.answer([2; 32], version(), other).await, Ok(Landed::NotYet));
    assert_eq!(started.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_query_ends_with_the_last_who_waits() {
    let (pending, started) = (pending(5_000, 8), Arc::default());
    let abandoned = tokio::time::timeout(
        Duration::from_millis(20),
        pending.answer(KEY, version(), query(200, &started)),
    );
    assert!(abandoned.await.is_err());
    assert!(pending.flights.lock().by_key.is_empty());
    let again = pending.answer(KEY, version(), query(1, &started)).await;
    assert_eq!(again, Ok(Landed::Computed(answer())));
}

#[tokio::test]
async fn without_room_the_client_waits() {
    let (pending, started) = (pending(20, 0), Arc::default());
    assert_eq!(
        pending.answer(KEY, version(), query(100, &started)).await,
        Ok(Landed::Computed(answer()))
    );
}
