//! Made-up events, the same at every run.

use serde_json::{Value, json};

/// Path and headers of a request with native events.
pub fn native_request(write_key: &str) -> (String, Vec<(&'static str, String)>) {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("authorization", format!("Bearer {write_key}")),
    ];
    ("/v1/events".to_owned(), headers)
}

/// A page view of `path` by `visitor` at `seconds` since the epoch.
pub fn page_view(id: &str, visitor: &str, path: &str, seconds: u64) -> Value {
    json!({
        "event_id": id, "type": "page", "timestamp": seconds * 1000, "anonymous_id": visitor,
        "url": format!("https://shop.example{path}"), "title": format!("Page {path}"),
        "properties": {"plan": "free", "position": 3},
    })
}

/// `count` page views with the ids `<prefix>0`, `<prefix>1` and so on, a second apart, of some visitors.
pub fn page_views(prefix: &str, count: usize, first_second: u64) -> Vec<Value> {
    let paths = ["/", "/pricing", "/docs", "/page1.html", "/page2.html"];
    let view = |n: usize| {
        let visitor = format!("visitor-{}", n % 50);
        page_view(
            &format!("{prefix}{n}"),
            &visitor,
            paths[n % paths.len()],
            first_second + n as u64,
        )
    };
    (0..count).map(view).collect()
}

/// Page views as a browser SDK would describe them: some 20 fields each, with campaigns and properties. Visitors and pages
/// follow from the prefix, so that another batch has others.
pub fn rich_page_views(prefix: &str, count: usize, first_second: u64) -> Vec<Value> {
    let paths = [
        "/",
        "/pricing",
        "/docs/start",
        "/page1.html",
        "/page2.html",
        "/page3.html",
        "/blog/2026/why",
    ];
    let agents = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    ];
    let seed = prefix.bytes().fold(count as u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut random = super::Random::new(seed);
    let view = |n: usize| {
        let path = paths[random.below(paths.len() as u64) as usize];
        json!({
            "event_id": format!("{prefix}{n}"), "type": "page", "timestamp": (first_second + n as u64) * 1000,
            "anonymous_id": format!("visitor-{}", random.below(20_000)),
            "url": format!("https://shop.example{path}?utm_source=newsletter&utm_medium=email&utm_campaign=spring"),
            "title": format!("Page {path}"), "referrer": "https://search.example/?q=shoes",
            "user_agent": agents[random.below(3) as usize], "language": "en-GB",
            "screen_w": 1920, "screen_h": 1080, "viewport_w": 1280, "viewport_h": 720, "charset": "UTF-8",
            "properties": {"plan": "free", "position": random.below(100), "experiment": "b", "logged_in": true},
        })
    };
    (0..count).map(view).collect()
}
