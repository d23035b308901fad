//! Inputs that mean harm: each gets a prompt, typed answer below 500, the server lives on and its memory stays flat.
//!
//! The server is a process of its own here, so that its memory can be measured and an abort would be seen. The slowest
//! answer and the largest growth of memory are printed; what a debug build on a busy machine may take is generous.

mod requests;
mod sql;

use crate::support::client::{Client, Reply, now_seconds, raw, token, token_with};
use crate::support::events::page_view;
use crate::support::process::Process;
use crate::support::{SECRET, write_funnel};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// Longest time one answer may take. Generous: debug builds on busy machines.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Growth of resident memory that a second round may cause.
const GROWTH_KIB_MAX: u64 = 64 * 1024;
/// Memory that one attack may take beyond what is in use before.
const EXTRA_KIB_MAX: u64 = 64 * 1024;

/// The one refusal that Cube answers with 500, and clients expect so.
const LIMIT_TEXT: &str = "Error: The query limit has been exceeded.";

/// What must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A 4xx with an error text.
    Refused,
    /// 200, or a 4xx with an error text: harmless either way, never a 5xx.
    Harmless,
}

struct Attack {
    name: String,
    body: Vec<u8>,
    headers: Vec<(&'static str, &'static str)>,
    expect: Expect,
}

fn attack(name: impl Into<String>, body: impl Into<Vec<u8>>, expect: Expect) -> Attack {
    Attack {
        name: name.into(),
        body: body.into(),
        headers: vec![("content-type", "application/json")],
        expect,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A document nested `depth` deep around `core`.
fn nested(open: &str, core: &str, close: &str, depth: usize) -> String {
    format!("{}{core}{}", open.repeat(depth), close.repeat(depth))
}

/// Bodies of `POST /v1/load` (and sql, dry-run).
fn queries() -> Vec<Attack> {
    use Expect::{Harmless, Refused};
    let query = |name: &str, query: Value, expect| attack(name, json!({ "query": query }).to_string(), expect);
    let text = |name: &str, query: &str, expect| attack(name, format!("{{\"query\":{query}}}"), expect);
    let count = json!(["TrackedEvents.count"]);
    let filter = |operator: &str, values: Value| json!({"measures": count, "filters": [{"member": "TrackedEvents.pageUrl", "operator": operator, "values": values}]});
    let range = |values: Value| json!({"measures": count, "timeDimensions": [{"dimension": "TrackedEvents.derivedTstamp", "granularity": "day", "dateRange": values}]});
    let leaf = r#"{"member":"TrackedEvents.pageUrl","operator":"set"}"#;
    let many = |n: usize| {
        (0..n)
            .map(|k| json!({"member": "TrackedEvents.pageUrl", "operator": "equals", "values": [k.to_string()]}))
            .collect::<Vec<_>>()
    };
    let filters = |tree: &str| format!(r#"{{"measures":["TrackedEvents.count"],"filters":[{tree}]}}"#);
    vec![
        text("100,000 nested arrays", &nested("[", "", "]", 100_000), Refused),
        text("20,000 nested objects", &nested("{\"a\":", "1", "}", 20_000), Refused),
        text(
            "filters 5,000 deep",
            &filters(&nested(r#"{"or":["#, leaf, "]}", 5_000)),
            Refused,
        ),
        text(
            "filters 100 deep",
            &filters(&nested(r#"{"and":["#, leaf, "]}", 100)),
            Refused,
        ),
        text("an unclosed bracket", "[[[[", Refused),
        query(
            "20,000 conditions",
            json!({"measures": count, "filters": [{"or": many(20_000)}]}),
            Refused,
        ),
        query(
            "2,000 conditions",
            json!({"measures": count, "filters": many(2_000)}),
            Refused,
        ),
        query(
            "100,000 values",
            filter("equals", json!((0..100_000).map(|n| n.to_string()).collect::<Vec<_>>())),
            Refused,
        ),
        query(
            "a string of 10 MB",
            filter("equals", json!(["x".repeat(10_000_000)])),
            Refused,
        ),
        query(
            "a string of 200 KB",
            filter("contains", json!(["x".repeat(200_000)])),
            Harmless,
        ),
        query("wildcards", filter("contains", json!(["%_\\".repeat(5_000)])), Harmless),
        query(
            "a long pattern of letters with two cases",
            filter("contains", json!(["ſKß".repeat(1_600)])),
            Harmless,
        ),
        query("NUL in a value", filter("equals", json!(["a\u{0}b"])), Harmless),
        text(
            "half a surrogate",
            &filters(r#"{"member":"TrackedEvents.pageUrl","operator":"equals","values":["\ud800"]}"#),
            Harmless,
        ),
        text("NaN", r#"{"measures":["TrackedEvents.count"],"limit":NaN}"#, Refused),
        text(
            "Infinity",
            r#"{"measures":["TrackedEvents.count"],"limit":Infinity}"#,
            Refused,
        ),
        text(
            "1e400",
            r#"{"measures":["TrackedEvents.count"],"limit":1e400}"#,
            Refused,
        ),
        text(
            "a limit of 2^64",
            r#"{"measures":["TrackedEvents.count"],"limit":18446744073709551616}"#,
            Refused,
        ),
        query("a negative limit", json!({"measures": count, "limit": -1}), Refused),
        query("half a row", json!({"measures": count, "limit": 1.5}), Refused),
        query("a limit in words", json!({"measures": count, "limit": "10"}), Refused),
        query(
            "an offset of 2^63",
            json!({"measures": count, "offset": 9_223_372_036_854_775_807_u64}),
            Harmless,
        ),
        query(
            "the year 275760",
            range(json!(["275760-09-12", "275760-09-13"])),
            Harmless,
        ),
        query(
            "the year -271821",
            range(json!(["-271821-04-20", "-271821-04-21"])),
            Harmless,
        ),
        query("the year 0", range(json!(["0000-01-01", "9999-12-31"])), Harmless),
        query(
            "the 30th of February",
            range(json!(["2024-02-30", "2024-02-31"])),
            Harmless,
        ),
        query(
            "the last 99999999999 years",
            range(json!("last 99999999999 years")),
            Harmless,
        ),
        query(
            "next 2147483648 quarters",
            range(json!("next 2147483648 quarters")),
            Harmless,
        ),
        query("a date of 100 KB", range(json!("from ".repeat(20_000))), Refused),
        query("an unknown cube", json!({"measures": ["Nonesuch.count"]}), Refused),
        query(
            "an unknown measure",
            json!({"measures": ["TrackedEvents.nonesuch"]}),
            Refused,
        ),
        query(
            "SQL as a member",
            json!({"measures": ["TrackedEvents.count; DROP TABLE events"]}),
            Refused,
        ),
        query(
            "SQL in quotes",
            json!({"dimensions": ["TrackedEvents.\"a\" FROM x --"]}),
            Refused,
        ),
        query(
            "a member of 100 KB",
            json!({"measures": [format!("TrackedEvents.{}", "c".repeat(100_000))]}),
            Refused,
        ),
        query(
            "5,000 members",
            json!({"dimensions": (0..5_000).map(|n| format!("TrackedEvents.d{n}")).collect::<Vec<_>>()}),
            Refused,
        ),
        query(
            "the same member 5,000 times",
            json!({"measures": vec!["TrackedEvents.count"; 5_000]}),
            Harmless,
        ),
        query(
            "an order of 5,000",
            json!({"measures": count, "order": vec![json!(["TrackedEvents.count", "asc"]); 5_000]}),
            Harmless,
        ),
        query(
            "an unknown granularity",
            json!({"measures": count, "timeDimensions": [{"dimension": "TrackedEvents.derivedTstamp", "granularity": "fortnight"}]}),
            Refused,
        ),
        query("an unknown operator", filter("regex", json!(["(a+)+$"])), Refused),
        query(
            "a time zone that is a path",
            json!({"measures": count, "timezone": "../../etc/passwd"}),
            Refused,
        ),
        query(
            "a time zone of 100 KB",
            json!({"measures": count, "timezone": "A".repeat(100_000)}),
            Refused,
        ),
        query(
            "seconds of a thousand years",
            json!({"measures": count, "timeDimensions": [{"dimension": "TrackedEvents.derivedTstamp", "granularity": "second", "dateRange": ["1500-01-01", "2500-01-01"]}]}),
            Harmless,
        ),
        text(
            "a key twice",
            r#"{"measures":["TrackedEvents.count"],"measures":["Nonesuch.count"]}"#,
            Harmless,
        ),
        query("nothing", json!({}), Refused),
        text("null", "null", Refused),
        text("a number", "7", Refused),
        text("an empty list", "[]", Harmless),
        attack("no body", "", Refused),
        attack(
            "not UTF-8",
            b"{\"query\":{\"measures\":[\"\xff\xfe\"]}}".to_vec(),
            Refused,
        ),
        Attack {
            headers: vec![("content-type", "application/json"), ("content-encoding", "gzip")],
            ..attack("a gzip bomb", gzip(&vec![b' '; 50_000_000]), Refused)
        },
    ]
}

/// Bodies of the ingest endpoints. A bad event is rejected by itself, so most of these are answered with 200.
fn events() -> Vec<Attack> {
    use Expect::{Harmless, Refused};
    let time = |name: &str, value: Value| {
        let mut event = page_view("t", "v", "/", 0);
        event["timestamp"] = value.clone();
        event["utc_time"] = value.clone();
        event["dtm"] = value;
        attack(name, json!([event]).to_string(), Harmless)
    };
    let with = |name: &str, key: String, value: Value| {
        let mut event = page_view("p", "v", "/", now_seconds());
        event["properties"] = json!({});
        event["properties"][key] = value;
        attack(name, json!([event]).to_string(), Harmless)
    };
    let properties: serde_json::Map<_, _> = (0..100_000).map(|n| (format!("p{n}"), json!(n))).collect();
    let encoded = |head: &'static str, body: Vec<u8>, name: &str, expect| Attack {
        headers: vec![("content-type", "application/json"), ("content-encoding", head)],
        ..attack(name, body, expect)
    };
    vec![
        attack("100,000 nested arrays", nested("[", "", "]", 100_000), Harmless),
        attack(
            "an event 20,000 deep",
            format!("[{}]", nested("{\"a\":", "1", "}", 20_000)),
            Harmless,
        ),
        attack(
            "properties 5,000 deep",
            format!(
                "[{{\"event_type\":\"a\",\"type\":\"a\",\"properties\":{}}}]",
                nested("{\"a\":", "1", "}", 5_000)
            ),
            Harmless,
        ),
        encoded("gzip", gzip(&vec![b'['; 200_000_000]), "a gzip bomb of 200 MB", Refused),
        encoded("gzip", gzip(&gzip(&vec![b'0'; 50_000_000])), "gzip in gzip", Harmless),
        encoded("gzip", gzip(b"[]")[..8].to_vec(), "a gzip cut off", Refused),
        encoded(
            "gzip",
            b"\x1f\x8b\xff\xff\xff\xff\xff\xff\xff\xff garbage".to_vec(),
            "gzip of garbage",
            Refused,
        ),
        encoded("br", b"[]".to_vec(), "an unknown coding", Harmless),
        attack("6 MB of spaces", vec![b' '; 6_000_000], Refused),
        attack(
            "an event of 3 MB",
            json!([{"event_type": "a", "type": "a", "text": "x".repeat(3_000_000)}]).to_string(),
            Harmless,
        ),
        attack("100,000 events", format!("[{}{{}}]", "{},".repeat(99_999)), Harmless),
        attack("1,000,000 numbers", format!("[{}0]", "0,".repeat(999_999)), Harmless),
        with("100,000 properties", "many".to_owned(), Value::Object(properties)),
        with("a key of 1 MB", "k".repeat(1_000_000), json!(1)),
        with("a number of 10,000 digits", "n".to_owned(), json!("9".repeat(10_000))),
        attack(
            "a bare number of 10,000 digits",
            format!("[{{\"event_type\":\"a\",\"type\":\"a\",\"n\":{}}}]", "9".repeat(10_000)),
            Harmless,
        ),
        time("the year 275760", json!("+275760-09-13T00:00:00.000Z")),
        time("the year 0", json!("0000-00-00T00:00:00Z")),
        time("1e308", json!(1e308)),
        time("-1e18", json!(-1e18)),
        time("a time that is text", json!("NaN")),
        time("a time that is a list", json!([1, 2])),
        time("a time of 100 KB", json!("2".repeat(100_000))),
        attack(
            "NaN",
            "[{\"event_type\":\"a\",\"value\":NaN,\"x\":-Infinity}]",
            Harmless,
        ),
        attack(
            "half a surrogate",
            r#"[{"event_type":"\ud800","type":"\udfff"}]"#,
            Harmless,
        ),
        attack(
            "NUL characters",
            r#"[{"event_type":"a\u0000b","type":"a\u0000b"}]"#,
            Harmless,
        ),
        attack(
            "a key twice",
            r#"[{"event_type":"a","event_type":{"b":1},"type":"a","type":[]}]"#,
            Harmless,
        ),
        attack("not UTF-8", b"[{\"event_type\":\"\xff\xfe\"}]".to_vec(), Harmless),
        attack("no body", "", Harmless),
        attack("null", "null", Harmless),
        attack("a list of lists", "[[],[[]],[null]]", Harmless),
        attack("text", "\"text\"", Harmless),
        attack("HTML", "<html></html>", Refused),
        attack("a form", "data=%5B%5D", Harmless),
        attack(
            "a tracker's payload without a list",
            r#"{"schema":"x","data":{"e":"pv"}}"#,
            Harmless,
        ),
        attack(
            "a tracker's payload of numbers",
            r#"{"schema":"x","data":[1,2,3]}"#,
            Harmless,
        ),
        attack(
            "a tracker's event with bad base64",
            r#"{"schema":"x","data":[{"e":"ue","aid":"shop-key","ue_px":"%%%","cx":"===="}]}"#,
            Harmless,
        ),
        attack(
            "a tracker's event with depth in base64",
            {
                let deep = STANDARD.encode(nested("[", "", "]", 20_000));
                json!({"schema": "x", "data": [{"e": "ue", "aid": "shop-key", "ue_px": deep, "cx": deep}]}).to_string()
            },
            Harmless,
        ),
    ]
}

/// Bytes that no client library would send.
fn heads() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let request = |text: String| text.into_bytes();
    let fields: String = (0..5_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    vec![
        ("5,000 header fields", request(format!("GET /livez HTTP/1.1\r\nHost: x\r\n{fields}\r\n")), &[400, 431]),
        ("a header of 1 MB", request(format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1_000_000))), &[400, 431]),
        ("a path of 1 MB", request(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000))), &[400, 404, 414, 431]),
        ("a length of 10 GB", request("POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer shop-key\r\nContent-Length: 10000000000\r\n\r\n".to_owned()), &[400, 413]),
        ("a negative length", request("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned()), &[400]),
        ("a length and chunks", request("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n".to_owned()), &[400, 401]),
        ("chunks of garbage", request("POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer shop-key\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nZZZ\r\n".to_owned()), &[400, 408]),
        ("no HTTP", request("\0\0\0\0\r\n\r\n".to_owned()), &[400]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]),
        ("a strange method", request("FROBNICATE /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned()), &[400, 404, 405, 501]),
        ("a path out of the folder", request("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned()), &[400, 404]),
        ("an encoded path out of the folder", request("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned()), &[400, 404]),
        ("a query string that does not decode", request("GET /cubejs-api/v1/load?query=%ff%fe%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned()), &[400, 403]),
    ]
}

fn check(what: &str, attack: &Attack, reply: &Reply, took: Duration) {
    let name = &attack.name;
    // As Cube: a body that is no JSON is 500 with the parser's text.
    if reply.status == 500 && (reply.error() == LIMIT_TEXT || reply.error().starts_with("SyntaxError: ")) {
        return;
    }
    assert!(
        reply.status < 500,
        "{name} on {what}: {} {}",
        reply.status,
        reply.text()
    );
    assert!(took < ANSWER_MAX, "{name} on {what} took {took:?}");
    if reply.status >= 400 {
        let body: Value =
            serde_json::from_slice(&reply.body).unwrap_or_else(|e| panic!("{name} on {what}: {e} in {}", reply.text()));
        // GraphQL has a list of them.
        let text = body["error"]
            .as_str()
            .or_else(|| body["errors"][0]["message"].as_str())
            .unwrap_or_else(|| panic!("{name} on {what}: no error text in {body}"));
        assert!(
            !text.is_empty() && text.len() < 4_000 + 2 * attack.body.len(),
            "{name} on {what}: a text of {} bytes",
            text.len()
        );
        for word in ["panicked", "/src/", "RUST_BACKTRACE", ".rs:"] {
            assert!(!text.contains(word), "{name} on {what} tells too much: {text}");
        }
    } else {
        assert!(
            attack.expect == Expect::Harmless && reply.status == 200,
            "{name} on {what}: {} {}",
            reply.status,
            reply.text()
        );
    }
}

/// What every attack cost: its name, its time, and the memory it took beyond what was in use, in KiB.
#[derive(Debug, Default)]
struct Costs(Vec<(String, Duration, u64)>);

impl Costs {
    /// Runs one attack, measured.
    fn measure<T>(&mut self, server: &Process, name: &str, attack: impl FnOnce() -> T) -> T {
        server.reset_memory_peak();
        let (before, _) = server.memory_kib();
        let started = Instant::now();
        let result = attack();
        let took = started.elapsed();
        let (_, peak) = server.memory_kib();
        self.0.push((name.to_owned(), took, peak.saturating_sub(before)));
        result
    }

    /// The five slowest and the five largest, as text.
    fn worst(&mut self) -> String {
        let line = |(name, took, kib): &(String, Duration, u64)| format!("\n  {took:?}, {kib} KiB: {name}");
        self.0.sort_by_key(|(_, took, _)| std::cmp::Reverse(*took));
        let slowest: String = self.0.iter().take(5).map(line).collect();
        self.0.sort_by_key(|(_, _, kib)| std::cmp::Reverse(*kib));
        let largest: String = self.0.iter().take(5).map(line).collect();
        format!("slowest:{slowest}\nlargest:{largest}")
    }

    fn check(&self) {
        let large: Vec<_> = self.0.iter().filter(|(_, _, kib)| *kib >= EXTRA_KIB_MAX).collect();
        assert!(large.is_empty(), "too much memory: {large:#?}");
    }
}

/// Sends one attack. The server may answer and close before it has read all, so this goes over a connection of its own.
fn send(client: &Client, path: &str, authorization: &str, attack: &Attack) -> (Reply, Duration) {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n",
        attack.body.len()
    );
    for (name, value) in &attack.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&attack.body);
    let started = Instant::now();
    let reply =
        raw(client.address(), &bytes, ANSWER_MAX * 2).unwrap_or_else(|| panic!("{} on {path}: no answer", attack.name));
    (reply, started.elapsed())
}

/// Sends every `every`-th attack everywhere.
fn round(server: &Process, client: &Client, costs: &mut Costs, every: usize) {
    let posts: [(&[&str], Vec<Attack>, bool); 4] = [
        (
            &["/cubejs-api/v1/load", "/cubejs-api/v1/sql", "/cubejs-api/v1/dry-run"],
            queries(),
            true,
        ),
        (
            &["/cubejs-api/v1/cubesql", "/cubejs-api/v1/convert-query"],
            sql::statements(),
            true,
        ),
        (
            &["/cubejs-api/graphql", "/cubejs-api/v1/graphql-to-json"],
            sql::documents(),
            true,
        ),
        (
            &[
                "/v1/events",
                "/api/v1/event?token=shop-key",
                "/api/v1/s2s/event?token=shop-key",
                "/com.snowplowanalytics.snowplow/tp2",
            ],
            events(),
            false,
        ),
    ];
    for (paths, attacks, is_query) in posts {
        for attack in attacks.into_iter().step_by(every) {
            for path in paths {
                let authorization = if is_query {
                    token("shop")
                } else {
                    "Bearer shop-key".to_owned()
                };
                let name = format!("{} on {path}", attack.name);
                let (reply, took) = costs.measure(server, &name, || send(client, path, &authorization, &attack));
                check(path, &attack, &reply, took);
            }
        }
    }
    let heads = heads().into_iter().map(|(name, bytes, statuses)| requests::Request {
        name: name.to_owned(),
        bytes,
        statuses,
        patience: ANSWER_MAX * 2,
    });
    for request in heads.chain(requests::all()).step_by(every) {
        let started = Instant::now();
        let reply = costs.measure(server, &request.name, || {
            raw(client.address(), &request.bytes, request.patience)
        });
        let status = reply.map(|reply| reply.status);
        assert!(
            status.is_none_or(|status| request.statuses.contains(&status)),
            "{}: {status:?}",
            request.name
        );
        assert!(
            started.elapsed() < ANSWER_MAX * 2,
            "{} took {:?}",
            request.name,
            started.elapsed()
        );
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn hostile_inputs_are_answered_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    write_funnel(&folder.path().join("data/models"));
    let mut server = Process::start(folder.path(), &[("memory", "256MiB"), ("flush_interval_ms", "200")]);
    let client = server.client();
    let mut costs = Costs::default();
    round(&server, &client, &mut costs, 1);
    let (after_first, _) = server.memory_kib();
    round(&server, &client, &mut costs, 9);
    let (after_all, _) = server.memory_kib();
    println!(
        "{} attacks; memory {after_first} KiB and then {after_all} KiB; {}",
        costs.0.len(),
        costs.worst()
    );
    costs.check();
    assert!(server.is_running());
    assert!(
        after_all < after_first + GROWTH_KIB_MAX,
        "memory grew from {after_first} to {after_all} KiB"
    );
    let good = json!([page_view("good", "v", "/", now_seconds())]);
    let before = client.id_counts("shop", "good").len();
    assert_eq!((before, client.ingest("shop-key", &good).status), (0, 200));
    assert_eq!(client.id_counts("shop", "good").len(), 1, "the server works as before");
}

#[test]
fn hostile_tokens_are_403() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(folder.path(), &[("memory", "256MiB")]);
    let client = server.client();
    let far = 1e300;
    let deep: Value = (0..100).fold(json!(1), |value, _| json!([value]));
    let claims = [
        json!({"appId": "shop", "exp": far}),
        json!({"appId": "shop", "exp": "soon"}),
        json!({"appId": "shop", "exp": -1}),
        json!({"appId": "shop", "exp": deep}),
        json!({"appId": "shop", "exp": now_seconds() - 1000}),
    ];
    for claims in claims {
        let reply = client.cube(
            "load",
            &token_with(&claims, SECRET),
            &json!({"query": {"measures": ["TrackedEvents.count"]}}),
        );
        assert!(
            reply.status == 403 || reply.status == 200 && claims["exp"] == json!(far),
            "{claims}: {}",
            reply.status
        );
    }
    let long = "A".repeat(30_000);
    for value in [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Basic c2hvcDo=",
        "a.b.c",
        "....",
        long.as_str(),
    ] {
        let reply = client.cube("load", value, &json!({"query": {"measures": ["TrackedEvents.count"]}}));
        assert!(
            reply.status == 403 || reply.status == 431,
            "`{}…`: {}",
            &value[..value.len().min(20)],
            reply.status
        );
    }
    assert!(server.is_running());
}
