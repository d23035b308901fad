//! What SDKs rely on: exact replies, CORS, keys in every documented place, and that one bad event fails nothing else.

use crate::server::{Server, Wanted};
use crate::support::client::{Client, Reply, now_seconds};
use crate::support::events::{page_view, page_views};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;

const TP2: &str = "/com.snowplowanalytics.snowplow/tp2";
const PAYLOAD: &str = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4";
const ORIGIN: &str = "https://shop.example";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn jitsu(n: usize) -> Value {
    json!({
        "event_id": "", "user": {"anonymous_id": "k9fh4k9ggj"}, "utc_time": format!("2026-01-01T00:00:{:02}.000000Z", n % 60),
        "url": format!("https://shop.example/{n}"), "doc_path": format!("/{n}"), "src": "jitsu", "event_type": "pageview",
        "api_key": "shop-key",
    })
}

fn snowplow(eid: &str) -> Value {
    let now = (now_seconds() * 1000).to_string();
    json!({"e": "pv", "eid": eid, "aid": "shop-key", "p": "web", "tv": "js-4", "dtm": now, "url": "https://shop.example/a", "duid": "d-1"})
}

fn tp2(client: &Client, events: &[Value]) -> Reply {
    client.post(TP2, &json!({"schema": PAYLOAD, "data": events}))
}

/// An id in the form of a tracker's, told apart by `n`.
fn uuid(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

#[test]
fn every_dialect_gets_the_reply_its_sdk_takes_as_delivered() {
    let server = Server::start();
    let client = server.client();
    for path in ["/api/v1/event?token=shop-key", "/api/v1/s2s/event?token=shop-key"] {
        let reply = client.post(path, &json!([jitsu(1)]));
        assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("ok")), "{path}");
        assert!(reply.header("content-type").unwrap().starts_with("application/json"));
    }
    let reply = tp2(&client, &[snowplow(&uuid(1))]);
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));

    let query = format!(
        "/i?e=pv&eid={}&aid=shop-key&p=web&url=https%3A%2F%2Fshop.example%2Fb",
        uuid(2)
    );
    let pixel = client.get(&query);
    assert_eq!((pixel.status, pixel.header("content-type")), (200, Some("image/gif")));
    assert!(
        pixel.body.starts_with(b"GIF8") && pixel.body.len() == 43,
        "{:?}",
        pixel.body
    );
    assert!(pixel.header("cache-control").unwrap().contains("no-store"));

    let reply = client.ingest("shop-key", &json!([page_view("n-1", "v", "/c", now_seconds())]));
    assert_eq!(reply.status, 200);
    assert_eq!(
        client.count("shop"),
        4,
        "one Jitsu event came twice, one by each Snowplow method, one native"
    );
}

#[test]
fn a_preflight_mirrors_what_the_browser_asks_for() {
    let server = Server::start();
    let client = server.client();
    let asked = [
        "content-type",
        "content-type,x-gitlab-appid,sp-anonymous",
        "authorization,x-write-key,x-ip-policy",
        "x-umami-cache,x-retry-count,anonymousid,sentat,rsa-retry-attempt,x-something-of-my-own",
    ];
    for path in [
        "/api/v1/event?token=shop-key",
        TP2,
        "/v1/events",
        "/com.acme/track",
        "/api.2h8l6?p_2ujk4=shop-key",
    ] {
        for headers in asked {
            let reply = client.send(
                "OPTIONS",
                path,
                &[
                    ("origin", ORIGIN),
                    ("access-control-request-method", "POST"),
                    ("access-control-request-headers", headers),
                ],
                None,
            );
            assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
            assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN), "{path}");
            assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "{path}");
            let allowed = reply
                .header("access-control-allow-headers")
                .unwrap()
                .to_ascii_lowercase();
            for name in headers.split(',') {
                assert!(
                    allowed.split(',').any(|a| a.trim() == name),
                    "{path}: {name} is not in {allowed}"
                );
            }
            let methods = reply.header("access-control-allow-methods").unwrap();
            assert!(methods.contains("POST"), "{path}: {methods}");
            let age: u32 = reply.header("access-control-max-age").unwrap().parse().unwrap();
            assert!(age >= 600, "{path}: a preflight before every event");
        }
    }
}

#[test]
fn replies_carry_the_origin_also_when_they_refuse() {
    let server = Server::start();
    let client = server.client();
    let json = ("content-type", "application/json");
    let cases: [(&str, &[u8], u16); 3] = [
        ("/api/v1/event?token=shop-key", b"[]", 200),
        ("/api/v1/event?token=nobody", b"[{}]", 401),
        ("/api/v1/event?token=shop-key", b"{\"broken", 400),
    ];
    for (path, body, status) in cases {
        let reply = client.send("POST", path, &[json, ("origin", ORIGIN)], Some(body));
        assert_eq!(reply.status, status, "{path} {}", reply.text());
        assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN), "{path}");
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "{path}");
        assert!(
            reply
                .header("vary")
                .unwrap_or_default()
                .to_ascii_lowercase()
                .contains("origin"),
            "{path}: {reply:?}"
        );
    }
}

#[test]
fn a_jitsu_token_is_found_in_every_documented_place() {
    let server = Server::start();
    let client = server.client();
    // `shop-key:` as a Basic user name.
    let places: [(&str, Option<(&str, &str)>); 7] = [
        ("/api/v1/event?token=shop-key", None),
        ("/api/v1/event", Some(("x-auth-token", "shop-key"))),
        ("/api/v1/event", Some(("api_key", "shop-key"))),
        ("/api/v1/event?p_abc12=shop-key", None),
        ("/api.x7r2p?p_xyz99=shop-key", None),
        ("/api/v1/event", Some(("authorization", "Basic c2hvcC1rZXk6"))),
        ("/api/v1/events?token=shop-key", None),
    ];
    for (n, (path, header)) in places.into_iter().enumerate() {
        let mut event = jitsu(n);
        event.as_object_mut().unwrap().remove("api_key");
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(header);
        let reply = client.send("POST", path, &headers, Some(event.to_string().as_bytes()));
        assert_eq!(reply.status, 200, "{path} {header:?}: {}", reply.text());
        assert_eq!(client.count("shop"), n as u64 + 1, "{path} {header:?}");
    }
}

#[test]
fn bodies_are_decoded_by_what_they_are() {
    let server = Server::start();
    let client = server.client();
    let array = |n: u32| {
        json!([page_view(&format!("g-{n}"), "v", "/", now_seconds())])
            .to_string()
            .into_bytes()
    };
    let lines = |n: u32| {
        let line = |k: u32| page_view(&format!("l-{n}-{k}"), "v", "/", now_seconds()).to_string();
        format!("{}\n{}\n", line(1), line(2)).into_bytes()
    };
    let (json, lines_type, gzipped) = ("application/json", "application/x-ndjson", Some("gzip"));
    let cases = [
        (array(1), json, None, 1),
        (gzip(&array(2)), json, gzipped, 1),
        (gzip(&array(3)), "text/plain", None, 1),
        (array(4), "text/plain;charset=UTF-8", None, 1),
        (lines(5), lines_type, None, 2),
        (gzip(&lines(6)), lines_type, gzipped, 2),
    ];
    let mut expected = 0;
    for (body, content_type, encoding, events) in cases {
        let mut headers = vec![("authorization", "Bearer shop-key"), ("content-type", content_type)];
        headers.extend(encoding.map(|encoding| ("content-encoding", encoding)));
        let reply = client.send("POST", "/v1/events", &headers, Some(&body));
        assert_eq!(reply.status, 200, "{headers:?}: {}", reply.text());
        expected += events;
        assert_eq!(client.count("shop"), expected, "{headers:?}");
    }
}

#[test]
fn a_bad_event_fails_nothing_but_itself() {
    let server = Server::start();
    let client = server.client();
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({ "a": deep });
    }
    let mut deep_event = page_view("deep", "v", "/", now_seconds());
    deep_event["properties"] = deep;
    let batch = json!([
        page_view("good-1", "v", "/", now_seconds()),
        17,
        "text",
        [],
        null,
        deep_event,
        page_view("good-2", "v", "/", now_seconds())
    ]);
    assert_eq!(client.ingest("shop-key", &batch).status, 200);
    let ids = client.id_counts("shop", "");
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert!(ids.contains_key("good-1") && ids.contains_key("good-2"));
    let stats = server.stats("shop");
    assert_eq!((stats.stored, stats.duplicate, stats.rejected), (2, 0, 5));

    let reply = client.post("/api/v1/event?token=shop-key", &json!([jitsu(1), 5]));
    assert_eq!(
        (reply.status, &reply.json()["status"]),
        (200, &json!("ok")),
        "Jitsu's SDK resends the whole batch on anything else"
    );
    let reply = tp2(&client, &[snowplow(&uuid(3)), json!({"e": "nonesuch"})]);
    assert_eq!(reply.status, 200);
    assert_eq!(client.count("shop"), 4);
}

#[test]
fn an_event_sent_again_is_stored_once() {
    let server = Server::start_with(Wanted::flushing(10, 20));
    let client = server.client();
    let native = json!(page_views("again-", 30, now_seconds() - 60));
    let tracker = [snowplow(&uuid(4)), snowplow(&uuid(5))];
    for round in 0..3 {
        assert_eq!(client.ingest("shop-key", &native).status, 200);
        let mut resent = tracker.clone();
        for event in &mut resent {
            event["stm"] = json!((now_seconds() * 1000 + round).to_string());
        }
        assert_eq!(tp2(&client, &resent).status, 200);
        assert_eq!(
            client
                .post("/api/v1/event?token=shop-key", &json!([jitsu(1), jitsu(2)]))
                .status,
            200
        );
        server.flush();
        assert_eq!(client.count("shop"), 34, "round {round}");
    }
    assert_eq!(server.stats("shop").duplicate, 68);
    // The same id in another project is another event.
    assert_eq!(client.ingest("blog-key", &native).status, 200);
    assert_eq!(client.count("blog"), 30);
}

#[test]
fn an_unknown_key_is_refused_and_nothing_is_stored() {
    let server = Server::start();
    let client = server.client();
    let event = json!([page_view("x", "v", "/", now_seconds())]);
    assert_eq!(client.ingest("nobody", &event).status, 401);
    assert_eq!(client.post("/v1/events", &event).status, 401);
    assert_eq!(
        client
            .post("/api/v1/event?token=nobody", &json!([{"event_type": "pageview"}]))
            .status,
        401
    );
    for project in ["shop", "blog", "empty", "nobody"] {
        assert_eq!(client.count(project), 0);
    }
}

#[test]
fn over_the_memory_bound_clients_are_told_when_to_come_back() {
    let mut wanted = Wanted::flushing(usize::MAX, 3_600_000);
    wanted.settings.flush_bytes_max = usize::MAX;
    wanted.settings.memory_bytes = 16 * 1024 * 1024;
    let server = Server::start_with(wanted);
    let client = server.client();
    let mut accepted = 0;
    // Large enough that two requests are too much, and less than half of the bound each: more would start a flush.
    let wide = |n: usize| {
        let mut events = page_views(&format!("m{n}-"), 500, now_seconds() - 600);
        for event in &mut events {
            event["properties"]["note"] = json!("x".repeat(2_400));
        }
        json!(events)
    };
    let refused = (0..400).find_map(|n| {
        let reply = client.ingest("shop-key", &wide(n));
        if reply.status == 200 {
            accepted += 500;
            return None;
        }
        Some(reply)
    });
    let refused = refused.expect("200,000 events fit into a bound of 4 MiB");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let seconds: u32 = refused.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(client.count("shop"), accepted, "what was acknowledged is there");
    server.flush();
    let reply = client.ingest("shop-key", &json!(page_views("after-", 10, now_seconds() - 600)));
    assert_eq!(reply.status, 200, "room again after a flush: {}", reply.text());
    assert_eq!(client.count("shop"), accepted + 10);
}

#[test]
fn anonymous_visitors_are_one_visitor_a_day_and_not_known() {
    let server = Server::start();
    let client = server.client();
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    ];
    for n in 0..6 {
        let mut event = snowplow(&uuid(100 + n));
        event.as_object_mut().unwrap().remove("duid");
        let body = json!({"schema": PAYLOAD, "data": [event]}).to_string();
        let headers = [
            ("content-type", "application/json"),
            ("sp-anonymous", "*"),
            ("user-agent", agents[n as usize % 2]),
        ];
        assert_eq!(client.send("POST", TP2, &headers, Some(body.as_bytes())).status, 200);
    }
    let rows = client.rows(
        "shop",
        &json!({"measures": ["TrackedEvents.uniqueUsersCount", "TrackedEvents.count"]}),
    );
    assert_eq!(
        rows[0],
        json!({"TrackedEvents.uniqueUsersCount": "2", "TrackedEvents.count": "6"})
    );
    let rows = client.rows(
        "shop",
        &json!({"measures": ["TrackedEvents.count"], "segments": ["TrackedEvents.knownUsers"]}),
    );
    assert_eq!(rows[0]["TrackedEvents.count"], "0");
    let rows = client.rows("shop", &json!({"measures": ["Sessions.count"]}));
    assert_eq!(rows[0]["Sessions.count"], "2");
}
