use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const SET: &str = include_str!("../testdata/jwks.json");

/// A provider in memory.
#[derive(Default)]
struct Provider {
    asked: AtomicUsize,
    down: AtomicBool,
    body: parking_lot::Mutex<Option<String>>,
    max_age: Option<Duration>,
    /// Seconds that have passed.
    passed: AtomicU64,
}

struct Shared(Arc<Provider>);

impl Fetch for Shared {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, String>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let down = self.0.down.load(Ordering::SeqCst);
        let body = self.0.body.lock().clone().unwrap_or_else(|| SET.to_owned());
        let max_age = self.0.max_age;
        Box::pin(async move {
            match down {
                true => Err("down".to_owned()),
                false => Ok(Fetched {
                    body: body.into(),
                    max_age,
                }),
            }
        })
    }
}

fn provider(max_age: Option<Duration>) -> (Arc<Provider>, Jwks) {
    let provider = Arc::new(Provider {
        max_age,
        ..Provider::default()
    });
    let (begin, passing) = (Instant::now(), Arc::clone(&provider));
    let jwks = Jwks {
        clock: Box::new(move || begin + Duration::from_secs(passing.passed.load(Ordering::SeqCst))),
        wait: Duration::ZERO,
        ..Jwks::new(Box::new(Shared(Arc::clone(&provider))), Vec::new())
    };
    (provider, jwks)
}

fn pass(provider: &Provider, seconds: u64) {
    provider.passed.fetch_add(seconds, Ordering::SeqCst);
}

fn asked(provider: &Provider) -> usize {
    provider.asked.load(Ordering::SeqCst)
}

#[test]
fn only_keys_that_verify_signatures_are_taken_each_with_the_algorithms_of_its_kind() {
    let found = keys(SET.as_bytes(), &[]).unwrap();
    let mut names: Vec<&String> = found.keys().collect();
    names.sort();
    assert_eq!(names, ["ec-1", "rsa-1"]);
    assert_eq!(found["rsa-1"].algorithms, [Algorithm::RS256]);
    assert_eq!(found["ec-1"].algorithms, [Algorithm::ES256]);
    let only_ec = keys(SET.as_bytes(), &[Algorithm::ES256]).unwrap();
    assert_eq!(only_ec.keys().collect::<Vec<_>>(), ["ec-1"]);
    assert!(keys(b"<html>", &[]).is_err());
    assert!(keys(b"{}", &[]).is_err());
}

#[tokio::test]
async fn keys_are_kept_for_five_minutes_or_as_long_as_the_provider_says() {
    for (max_age, kept) in [(None, 300), (Some(90), 90), (Some(0), 30), (Some(10_000_000), 86_400)] {
        let (provider, jwks) = provider(max_age.map(Duration::from_secs));
        jwks.prefetch().await;
        pass(&provider, kept - 1);
        assert!(jwks.key("rsa-1").await.unwrap().is_some());
        assert_eq!(asked(&provider), 1, "{max_age:?}");
        pass(&provider, 2);
        assert!(jwks.key("rsa-1").await.unwrap().is_some());
        assert_eq!(asked(&provider), 2, "{max_age:?}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_a_minute_whoever_asks() {
    let (provider, jwks) = provider(None);
    jwks.prefetch().await;
    for round in 0..50 {
        let kid = format!("../../etc/passwd?{round}");
        assert!(jwks.key(&kid).await.unwrap().is_none());
    }
    assert_eq!(asked(&provider), 2);
    *provider.body.lock() = Some(SET.replace("rsa-1", "rsa-2"));
    pass(&provider, 61);
    assert!(jwks.key("rsa-2").await.unwrap().is_some());
    assert!(jwks.key("rsa-1").await.unwrap().is_none(), "a withdrawn key is gone");
    assert_eq!(asked(&provider), 3);
}

#[tokio::test]
async fn a_provider_that_is_down_is_tried_three_times_and_known_keys_serve_on_for_an_hour() {
    let (provider, jwks) = provider(None);
    provider.down.store(true, Ordering::SeqCst);
    assert!(matches!(jwks.key("rsa-1").await, Err(AuthError::Unavailable)));
    assert_eq!(asked(&provider), 3);
    assert!(matches!(jwks.key("rsa-1").await, Err(AuthError::Unavailable)));
    assert_eq!(asked(&provider), 3, "not again at once");
    provider.down.store(false, Ordering::SeqCst);
    pass(&provider, 11);
    assert!(jwks.key("rsa-1").await.unwrap().is_some());
    provider.down.store(true, Ordering::SeqCst);
    pass(&provider, 301);
    assert!(jwks.key("rsa-1").await.unwrap().is_some());
    pass(&provider, 3700);
    assert!(matches!(jwks.key("rsa-1").await, Err(AuthError::Unavailable)));
}

#[tokio::test]
async fn many_requests_share_one_fetch() {
    let (provider, jwks) = provider(None);
    let all = (0..20).map(|_| jwks.key("rsa-1"));
    let found = futures::future::join_all(all).await;
    assert!(found.iter().all(|key| matches!(key, Ok(Some(_)))));
    assert_eq!(asked(&provider), 1);
}

#[tokio::test]
async fn the_key_set_is_fetched_over_http_without_following_redirects() {
    use axum::Router;
    use axum::http::header;
    use axum::response::Redirect;
    use axum::routing::get;
    let set = || async { ([(header::CACHE_CONTROL, "public, max-age=77")], SET) };
    let router = Router::new()
        .route("/jwks.json", get(set))
        .route("/moved", get(|| async { Redirect::temporary("/jwks.json") }))
        .route("/large", get(|| async { "x".repeat(BYTES_MAX + 1) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let fetch = |path: &str| HttpFetch::new(&format!("{base}{path}")).unwrap();
    let fetched = fetch("/jwks.json").fetch().await.unwrap();
    assert_eq!(fetched.max_age, Some(Duration::from_secs(77)));
    assert_eq!(fetched.body, SET);
    assert!(fetch("/moved").fetch().await.unwrap_err().contains("307"));
    assert!(fetch("/none").fetch().await.unwrap_err().contains("404"));
    assert!(fetch("/large").fetch().await.unwrap_err().contains("more than"));
}
