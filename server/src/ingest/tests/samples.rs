//! The captures in `data/sdk`, and what the main ones become.

use super::*;
use serde_json::json;
use std::collections::{HashMap, HashSet};

struct Line {
    scenario: String,
    call: Call,
    status: u64,
}

fn lines(sdk: &str) -> Vec<Line> {
    let file = format!("{}/../data/sdk/{sdk}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    all.filter(|line| line["method"] != "OPTIONS")
        .map(|line| {
            let headers = line["headers"].as_array().unwrap();
            let headers: Vec<_> = headers
                .iter()
                .map(|h| (h[0].as_str().unwrap(), h[1].as_str().unwrap()))
                .collect();
            let target = format!("{}?{}", line["path"].as_str().unwrap(), line["query"].as_str().unwrap());
            let body = match line["body_b64"].as_str() {
                Some(encoded) => base64::engine::general_purpose::STANDARD.decode(encoded).unwrap(),
                None => line["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
            };
            Line {
                scenario: line["scenario"].as_str().unwrap().to_owned(),
                call: call(line["method"].as_str().unwrap(), &target, &headers, &body),
                status: line["reply_status"].as_u64().unwrap(),
            }
        })
        .collect()
}

const SDKS: &[(&str, usize, usize)] = &[
    // file, requests that are no preflight, events in them with repeats
    ("jitsu-sdk-js", 43, 61),
    ("jitsu-sdk-js-node", 1, 4),
    ("snowplow-browser", 20, 31),
    ("snowplow-node", 7, 16),
    ("snowplow-python", 14, 30),
    ("gitlab-browser", 8, 15),
    ("gitlab-python", 4, 4),
    ("gitlab-browser-pings", 5, 9),
];

#[test]
fn every_captured_request_is_accepted_whole() {
    for (sdk, requests, count) in SDKS {
        let lines = lines(sdk);
        let all: Vec<Event> = lines.iter().flat_map(|line| events(&line.call)).collect();
        assert_eq!((lines.len(), all.len()), (*requests, *count), "{sdk}");
        for event in &all {
            assert_eq!(event.defect(), None);
            let json = [
                Column::Properties,
                Column::UserTraits,
                Column::Contexts,
                Column::Extra,
                Column::UaHints,
            ];
            for text in json.iter().filter_map(|column| event.text(*column)) {
                serde_json::from_str::<Json>(text).unwrap();
            }
        }
    }
}

#[test]
fn resent_events_keep_their_id_and_others_differ() {
    for (sdk, ..) in SDKS {
        let mut by_scenario: HashMap<String, Vec<Event>> = HashMap::new();
        let mut failing = HashSet::new();
        for line in lines(sdk) {
            if line.status >= 400 {
                failing.insert(line.scenario.clone());
            }
            by_scenario.entry(line.scenario).or_default().extend(events(&line.call));
        }
        for (scenario, events) in by_scenario {
            // `raw` carries neither an id nor a time: it is stored as often as it comes.
            let named = |event: &&Event| event.text(Column::EventName) != Some("raw");
            let ids: HashSet<_> = events
                .iter()
                .filter(named)
                .map(|e| e.text(Column::EventId).unwrap())
                .collect();
            let contents: HashSet<_> = events
                .iter()
                .filter(named)
                .map(|e| show(e, &[Column::EventId, Column::SentAt, Column::ReceivedAt, Column::Ts]).to_string())
                .collect();
            assert_eq!(ids.len(), contents.len(), "{sdk} {scenario}");
            if failing.contains(&scenario)
                && scenario.starts_with("fail")
                && events.len() > 1
                && sdk.starts_with("jitsu")
            {
                assert_eq!(ids.len(), 1, "{sdk} {scenario}");
            }
        }
    }
}

fn first(sdk: &str, scenario: &str, pick: impl Fn(&Event) -> bool) -> Event {
    let all = lines(sdk).into_iter().filter(|line| line.scenario == scenario);
    all.flat_map(|line| events(&line.call)).find(pick).unwrap()
}

const BORING: &[Column] = &[
    Column::EventId,
    Column::ReceivedAt,
    Column::UserAgent,
    Column::Contexts,
    Column::UaHints,
    Column::PageUrl,
    Column::PageQuery,
    Column::Browser,
    Column::BrowserVersion,
    Column::Os,
    Column::DeviceType,
    Column::IsBot,
];

#[test]
fn a_jitsu_page_view_fills_its_columns() {
    let event = first("jitsu-sdk-js", "default", |e| e.text(Column::EventType) == Some("page"));
    let expected = json!({
        "anonymous_id": "meidjx2w4o", "charset": "UTF-8", "click_id": "abc123", "click_id_type": "gclid",
        "client_ts": "2026-11-23T03:12:02.656000", "event_type": "page", "ip": "203.0.113.0", "language": "en-US",
        "library_name": "jitsu", "origin": "browser", "page_fragment": "frag", "page_host": "127.0.0.1",
        "page_path": "/jitsu1.html", "page_title": "Test é page", "protocol": "jitsu1",
        "referrer": "https://www.google.com/search?q=x", "referrer_host": "www.google.com", "screen_h": 720, "screen_w": 1280,
        "ts": "2026-11-23T03:12:02.656000", "tz_offset_min": 60, "utm_campaign": "spring", "utm_content": "hdr",
        "utm_medium": "email", "utm_source": "newsletter", "utm_term": "shoes", "viewport_h": 720, "viewport_w": 1280,
        "visitor_id": "meidjx2w4o",
    });
    assert_eq!(show(&event, BORING), expected);
    assert_eq!(event.text(Column::Browser), Some("Chrome"));
    assert_eq!(event.text(Column::BrowserVersion), Some("148.0.0"));
    assert_eq!(event.text(Column::Os), Some("Linux"));
    assert_eq!(event.text(Column::DeviceType), Some("desktop"));
    assert_eq!(event.get(Column::IsBot), Some(&Value::Bool(false)));
}

#[test]
fn the_compatible_form_of_jitsu_says_the_same() {
    let plain = first("jitsu-sdk-js", "default", |e| {
        e.text(Column::EventName) == Some("purchase")
    });
    let compatible = first("jitsu-sdk-js", "compat", |e| {
        e.text(Column::EventName) == Some("purchase")
    });
    let without = [BORING, &[Column::AnonymousId, Column::Ts, Column::ClientTs]].concat();
    assert_eq!(show(&plain, &without), show(&compatible, &without));
    assert_eq!(
        plain.text(Column::Properties),
        Some(r#"{"app":"web","tier":1,"checkout":"v2","revenue":1.5}"#)
    );
    assert_eq!(plain.get(Column::Revenue), Some(&Value::Decimal(1_500_000)));
    assert_eq!(
        plain.text(Column::UserTraits),
        Some(r#"{"email":"ann@example.com","plan":"pro"}"#)
    );
    assert_eq!(plain.text(Column::VisitorId), Some("u-42"));
}

#[test]
fn jitsu_orders_and_identities_are_read() {
    let order = first("jitsu-sdk-js-node", "s2s", |e| {
        e.text(Column::EventName) == Some("purchase")
    });
    let expected = json!({
        "client_ts": "2026-11-23T03:14:16.240000", "currency": "EUR", "event_name": "purchase", "event_type": "track",
        "ip": "203.0.113.0",
        "items": r#"[{"product_id":"sku-1","name":"Blue shirt","price":29.99,"quantity":2,"category":"Shirts"}]"#,
        "library_name": "jitsu", "order_id": "o-1001", "origin": "server",
        "properties": r#"{"order_id":"o-1001","revenue":59.98,"currency":"EUR","coupon":"WELCOME","products":[{"product_id":"sku-1","name":"Blue shirt","price":29.99,"quantity":2,"category":"Shirts"}]}"#,
        "protocol": "jitsu1", "revenue": "59.980000", "ts": "2026-11-23T03:14:16.240000", "tz_offset_min": 0, "user_id": "u-42",
        "user_traits": r#"{"email":"ann@example.com"}"#, "visitor_id": "u-42",
    });
    assert_eq!(show(&order, BORING), expected);
    let strict = first("jitsu-sdk-js", "privacy-strict", |e| {
        e.text(Column::EventType) == Some("page")
    });
    assert_eq!(strict.get(Column::AnonymousId), None);
    assert_eq!(strict.text(Column::VisitorId), strict.text(Column::HashedAnonymousId));
    let comply = first("jitsu-sdk-js", "cookie-comply", |e| {
        e.text(Column::EventType) == Some("page")
    });
    assert_eq!(comply.get(Column::AnonymousId), None);
    let identify = first("jitsu-sdk-js", "default", |e| {
        e.text(Column::EventType) == Some("identify")
    });
    assert_eq!(identify.text(Column::UserId), Some("u-42"));
}

#[test]
fn gitlab_events_fill_their_columns() {
    let page = first("gitlab-browser", "no-consent", |e| {
        e.text(Column::EventType) == Some("page")
    });
    let expected = json!({
        "app_id": "app-id-123", "charset": "UTF-8", "click_id": "abc123", "click_id_type": "gclid",
        "client_ts": "2026-11-23T03:14:47.899000", "color_depth": 24, "doc_h": 720, "doc_w": 1280, "event_type": "page",
        "extra": r#"{"tna":"gitlab","cookie":"1"}"#, "language": "en-US", "library_name": "snowplow-js",
        "library_version": "4.3.0", "origin": "browser", "page_fragment": "frag", "page_host": "127.0.0.1",
        "page_path": "/gitlab.html", "page_title": "Test é page", "page_view_id": "0fc1eaf0-f3fb-4b0e-9f11-abb4634480c8",
        "pixel_ratio": 1.0, "protocol": "snowplow", "referrer": "https://www.google.com/search?q=x",
        "referrer_host": "www.google.com", "screen_h": 720, "screen_w": 1280, "sent_at": "2026-11-23T03:14:47.919000",
        "ts": "2026-11-23T03:14:47.899000", "tz_name": "Europe/Paris", "utm_campaign": "spring", "utm_content": "hdr",
        "utm_medium": "email", "utm_source": "newsletter", "utm_term": "shoes", "viewport_h": 720, "viewport_w": 1280,
    });
    // The capture's clock is 12 seconds ahead of the test's: set both to the same instant.
    let mut lines = lines("gitlab-browser");
    lines.iter_mut().for_each(|line| line.call.at = 1_795_403_688_000_000);
    let same = lines
        .iter()
        .flat_map(|line| events(&line.call))
        .find(|e| e.text(Column::EventId) == page.text(Column::EventId));
    let without = [BORING, &[Column::VisitorId, Column::HashedAnonymousId]].concat();
    assert_eq!(show(&same.unwrap(), &without), expected);

    let custom = first("gitlab-browser", "consent", |e| {
        e.text(Column::EventName) == Some("button_clicked")
    });
    assert_eq!(custom.text(Column::EventType), Some("track"));
    assert_eq!(
        custom.text(Column::Properties),
        Some(r#"{"button":"signup","n":3,"nested":{"a":[1,2]}}"#)
    );
    assert_eq!(
        custom.text(Column::EventSchema),
        Some("iglu:com.gitlab/custom_event/jsonschema/1-0-0")
    );
    assert_eq!(
        custom.text(Column::VisitorId),
        Some("70199a4a-6c8c-43a4-86da-934f249f498e")
    );
    let known = first("gitlab-browser", "consent", |e| {
        e.text(Column::EventName) == Some("after_identify")
    });
    assert_eq!(known.text(Column::VisitorId), Some("u-42"));
    assert_eq!(
        known.text(Column::UserTraits),
        Some(r#"{"email":"ann@example.com","plan":"pro"}"#)
    );
    let click = first("gitlab-browser", "consent", |e| {
        e.text(Column::EventType) == Some("click")
    });
    assert_eq!(click.text(Column::TargetUrl), Some("http://other.example.invalid/x"));
    assert_eq!(click.text(Column::ElementId), Some("out"));
    assert_eq!(
        click.text(Column::Properties),
        Some(r#"{"elementClasses":[],"elementTarget":""}"#)
    );
    let error = first("gitlab-browser", "consent", |e| {
        e.text(Column::EventType) == Some("error")
    });
    assert_eq!(error.text(Column::ErrorMessage), Some("boom"));
    assert!(error.text(Column::ErrorStack).unwrap().starts_with("Error: boom\n"));
    let ping = first("gitlab-browser-pings", "pings", |e| {
        e.text(Column::EventType) == Some("ping")
    });
    assert!(ping.text(Column::PageViewId).is_some());
    let python = first("gitlab-python", "async", |e| {
        e.text(Column::EventName) == Some("button_clicked")
    });
    assert_eq!(python.text(Column::Origin), Some("server"));
    assert!(python.text(Column::VisitorId).unwrap().starts_with("event:"));
    assert_eq!(python.get(Column::Ip), None);
}

#[test]
fn snowplow_events_fill_their_columns_by_post_and_by_get() {
    for scenario in ["default-post", "get", "no-base64", "beacon"] {
        let structured = first("snowplow-browser", scenario, |e| e.get(Column::Category).is_some());
        let read = |column| structured.text(column);
        assert_eq!(read(Column::EventName), Some("add-to-basket"));
        assert_eq!(
            (read(Column::Category), read(Column::Label), read(Column::Property)),
            (Some("shop"), Some("Add"), Some("pcs"))
        );
        assert_eq!(structured.get(Column::NumericValue), Some(&Value::Float(2.0)));
        let own = first("snowplow-browser", scenario, |e| {
            e.text(Column::EventName) == Some("button_click")
        });
        assert_eq!(
            own.text(Column::Properties),
            Some(r#"{"button":"signup","n":3,"nested":{"a":[1,2]}}"#)
        );
        assert_eq!(own.get(Column::SessionIndex), Some(&Value::Int(1)));
        assert!(own.text(Column::ClientSessionId).is_some());
        assert!(
            own.text(Column::Contexts)
                .unwrap()
                .starts_with(r#"[{"schema":"iglu:com.acme/user/jsonschema/1-0-0""#)
        );
    }
    let anonymous = first("snowplow-browser", "anonymous", |_| true);
    assert_eq!(anonymous.get(Column::Ip), None);
}
