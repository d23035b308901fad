//! What operators see: metrics, readiness, the log. And what is left when clients go away: nothing.

use crate::support::client::{Client, now_seconds, token};
use crate::support::events::page_views;
use crate::support::process::{Process, free_address};
use crate::support::{Random, SECRET, wait_for, write_funnel};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The value of a series of `/metrics`.
fn metric(client: &Client, series: &str) -> f64 {
    let page = client.get("/metrics").text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{series} is not in\n{page}"));
    line.parse().unwrap()
}

#[test]
fn metrics_follow_what_happens() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[("flush_interval_ms", "100")]);
    let client = server.client();
    let events = page_views("m-", 40, now_seconds() - 3_600);
    assert_eq!(client.ingest("shop-key", &json!(events)).status, 200);
    assert_eq!(client.ingest("shop-key", &json!(events)).status, 200);
    assert_eq!(client.count("shop"), 40);
    wait_for("the flush in the metrics", Duration::from_secs(20), || {
        (metric(&client, "tally_table_rows{table=\"events\"}") == 40.0).then_some(())
    });
    for (series, least, most) in [
        ("tally_events_stored_total", 40.0, 40.0),
        ("tally_events_duplicate_total", 40.0, 40.0),
        ("tally_ack_seconds_count", 2.0, 2.0),
        ("tally_queries_total{api=\"load\",outcome=\"answered\"}", 1.0, 1.0),
        ("tally_queries_total{api=\"load\",outcome=\"cancelled\"}", 0.0, 0.0),
        ("tally_query_seconds_count", 1.0, 1.0),
        ("tally_ingest_buffered_rows", 0.0, 0.0),
        ("tally_ingest_buffer_age_seconds", 0.0, 0.0),
        ("tally_table_files{table=\"events\"}", 1.0, 2.0),
        ("tally_memory_max_bytes{part=\"ingest\"}", 1.0, 1e12),
        ("tally_store_requests_total{op=\"put\",outcome=\"ok\"}", 2.0, 100.0),
        ("tally_store_requests_total{op=\"put\",outcome=\"failed\"}", 0.0, 0.0),
        ("tally_disk_free_bytes", 1.0, 1e18),
        ("process_resident_memory_bytes", 1e6, 1e12),
        ("process_resident_anonymous_bytes", 1e6, 1e12),
        ("process_open_fds", 5.0, 1e5),
        ("process_threads", 2.0, 1e4),
    ] {
        let value = metric(&client, series);
        assert!((least..=most).contains(&value), "{series} is {value}");
    }
    let started = metric(&client, "process_start_time_seconds");
    assert!((started - now_seconds() as f64).abs() < 600.0, "{started}");
}

#[test]
fn a_broken_model_is_a_warning_of_a_ready_server() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("data").join("models");
    std::fs::create_dir_all(&models).unwrap();
    std::fs::write(models.join("broken.yml"), "cubes:\n  - name: [\n").unwrap();
    let server = Process::start(folder.path(), &[]);
    let client = server.client();
    let reply = client.get("/readyz");
    let body = reply.json();
    assert_eq!((reply.status, &body["health"]), (200, &json!("HEALTH")));
    assert_eq!(body["problems"][0]["part"], "models", "{body}");
    assert_eq!(body["problems"][0]["severity"], "warning", "{body}");
    std::fs::remove_file(models.join("broken.yml")).unwrap();
    wait_for("the end of the warning", Duration::from_secs(20), || {
        (client.get("/readyz").json() == json!({"health": "HEALTH"})).then_some(())
    });
    assert_eq!(client.get("/livez").json(), json!({"health": "HEALTH"}));
}

/// Everything a log may never hold, wherever it was sent.
#[test]
fn the_log_holds_no_key_and_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("logs").join("tally.log");
    let settings = [("log", "trace"), ("log_file", log.to_str().unwrap())];
    let server = Process::start(folder.path(), &settings);
    let client = server.client();
    let events = json!(page_views("l-", 3, now_seconds() - 60));
    let (good, body) = (token("shop"), events.to_string());
    assert_eq!(client.ingest("shop-key", &events).status, 200);
    let json_type = ("content-type", "application/json");
    let send = |path: &str, headers: &[(&str, &str)]| client.send("POST", path, headers, Some(body.as_bytes())).status;
    send("/v1/events?write_key=shop-key", &[json_type]);
    send("/v1/events", &[json_type, ("x-write-key", "shop-key")]);
    send("/api/v1/event?token=shop-key", &[json_type]);
    send("/v1/events", &[json_type, ("x-write-key", "wrong-key-of-somebody")]);
    assert_eq!(client.count("shop"), 3);
    for token in [good.as_str(), "wrong.token.of-somebody", &format!("Bearer {good}")] {
        client.cube("load", token, &json!({"query": {"measures": ["TrackedEvents.count"]}}));
        client.send(
            "GET",
            &format!("/cubejs-api/v1/meta?token={}", token.trim_start_matches("Bearer ")),
            &[("authorization", token)],
            None,
        );
    }
    client.cube("load", &good, &json!({"query": {"measures": ["Nothing.count"]}}));
    drop(server);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("ready") && text.lines().count() > 10,
        "the log is written: {text}"
    );
    let signature = good.rsplit('.').next().unwrap();
    for secret in [SECRET, "shop-key", "wrong-key-of-somebody", "wrong.token", signature] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is in the log: {line:?}");
    }
}

/// Heavy for a server of this size, and no two alike, so that none is answered from another.
fn heavy(n: u64) -> Value {
    let filter = json!([{"member": "TrackedEvents.pageUrl", "operator": "notEquals", "values": [format!("x{n}")]}]);
    match n % 3 {
        0 => {
            json!({"measures": ["TrackedEvents.count"], "dimensions": ["TrackedEvents.eventId", "TrackedEvents.pageUrl"],
            "filters": filter, "order": {"TrackedEvents.count": "desc"}, "limit": 50_000})
        }
        1 => {
            json!({"measures": ["Sessions.count"], "dimensions": ["Sessions.userId", "Sessions.startAt"], "limit": 40_000 + n})
        }
        _ => json!({"measures": ["completed_purchase.count"], "dimensions": ["completed_purchase.step"],
            "limit": 1_000 + n}),
    }
}

/// Sends a query and goes away after a while.
fn ask_and_leave(server: &Process, n: u64, stay: Duration) {
    let body = json!({"query": heavy(n)}).to_string();
    let head = format!(
        "POST /cubejs-api/v1/load HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        token("shop"),
        body.len()
    );
    let mut stream = TcpStream::connect(server.client().address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    std::thread::sleep(stay);
}

/// `TALLY_CANCELLED_QUERIES` is their number.
#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn queries_whose_clients_are_gone_leave_nothing_behind() {
    let queries = from_env("TALLY_CANCELLED_QUERIES", 60);
    let folder = tempfile::tempdir().unwrap();
    write_funnel(&folder.path().join("data").join("models"));
    let settings = [
        ("memory", "128MiB"),
        ("query_threads", "2"),
        ("flush_rows_max", "10000"),
    ];
    let server = Process::start(folder.path(), &settings);
    let client = server.client();
    for part in 0..20 {
        let events = page_views(&format!("c{part}-"), 1_000, now_seconds() - 80_000 + part * 1_000);
        assert_eq!(client.ingest("shop-key", &json!(events)).status, 200);
    }
    let mut random = Random::new(from_env("TALLY_CANCEL_SEED", 1));
    let mut idle_after = Vec::new();
    for round in 0..queries.div_ceil(6) {
        std::thread::scope(|scope| {
            for n in 0..6 {
                let stay = Duration::from_millis(random.below(120));
                let server = &server;
                scope.spawn(move || ask_and_leave(server, round * 6 + n, stay));
            }
        });
        let gone = Instant::now();
        let is_idle = || metric(&client, "tally_queries_running") + metric(&client, "tally_queries_waiting") == 0.0;
        wait_for("the end of cancelled queries", Duration::from_secs(20), || {
            is_idle().then_some(())
        });
        idle_after.push(gone.elapsed());
    }
    let cpu = server.cpu_seconds();
    std::thread::sleep(Duration::from_millis(500));
    let cpu = server.cpu_seconds() - cpu;
    assert!(cpu < 0.25, "{cpu} s of CPU in half a second of rest");
    for series in ["tally_memory_used_bytes{part=\"queries\"}", "tally_spill_bytes"] {
        assert_eq!(metric(&client, series), 0.0, "{series}");
    }
    let spilled = walk(&folder.path().join("data").join("spill"));
    assert!(spilled.is_empty(), "{spilled:?}");
    let cancelled = metric(&client, "tally_queries_total{api=\"load\",outcome=\"cancelled\"}");
    assert!(cancelled > 0.0, "all queries were faster than their clients");
    assert_eq!(client.count("shop"), 20_000);
    idle_after.sort();
    println!(
        "{queries} queries, {cancelled} of them cancelled at work; idle after the client left: half within {:?}, all within {:?}; \
         memory and spilled files 0",
        idle_after[idle_after.len() / 2],
        idle_after[idle_after.len() - 1]
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(walk(&path)),
            path => found.push(path),
        }
    }
    found
}

#[test]
fn a_starting_server_lives_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut server = Process::spawn(folder.path(), address, &[]);
    let client = server.client();
    let first = wait_for("any answer", Duration::from_secs(60), || {
        TcpStream::connect(address).ok()?;
        client.try_send("GET", "/readyz", &[], None).ok()
    });
    // Fast machines may be ready already.
    assert!(matches!(first.status, 200 | 503), "{first:?}");
    if first.status == 503 {
        assert_eq!(first.json()["problems"][0]["part"], "start");
    }
    assert_eq!(client.get("/livez").status, 200);
    server.wait_ready();
}
