//! Answers of real Cube servers, replayed: the same events, the same model, the same requests, and what must be equal.
//!
//! `data/cube/*.jsonl.gz` were recorded from Cube over PostgreSQL; `data/cube/model` is the model of that server with its
//! table written as a query over `events`. `data/cube/differences.txt` names every record whose answer differs, with the
//! reason. A record that differs and is not listed fails the test, and so does a listed one that no longer differs.

mod compare;

use crate::server::{Server, Wanted};
use crate::support::client::{Client, Reply};
use crate::support::events::native_request;
use compare::{Rules, compare};
use engine::clock::FixedClock;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use server::config::Secret;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The secret that the recorded tokens are signed with.
const ORACLE_SECRET: &str = "oracle-secret-0123456789";
/// When the events are sent: after the last of them.
const INGEST_MICROS: i64 = 1_719_792_000_000_000; // 2024-07-01T00:00:00Z
/// The project that all recorded tokens act for, being the only one.
const PROJECT: &str = "conformance";
const WRITE_KEY: &str = "conformance-key";
/// Events of one request.
const EVENTS_PER_REQUEST: usize = 1000;

/// A recording: its file and the instant its server's clock showed.
const RECORDINGS: &[(&str, i64)] = &[
    ("cube-1.6.57-main", 1_795_405_400_000_000),     // 2026-11-23T03:43:20Z
    ("cube-1.6.57-relative", 1_718_454_930_000_000), // 2024-06-15T12:35:30Z
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cube")
}

fn gzip_lines(path: &Path) -> Vec<Value> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// An event of the recorded table as a native event; columns of the table without a column here go to `properties`.
fn native_event(recorded: &Value) -> Value {
    let mut properties = recorded.as_object().unwrap().clone();
    let mut take = |key: &str| properties.shift_remove(key).unwrap_or(Value::Null);
    let mut event = json!({
        "event_id": take("event_id"), "timestamp": take("occurred_at"), "event": take("event_name"),
        "anonymous_id": take("anonymous_id"), "user_id": take("user_id"), "origin": "server",
    });
    event["properties"] = Value::Object(properties);
    event
}

fn send_events(client: &Client) {
    let events: Vec<Value> = gzip_lines(&data().join("events.ndjson.gz"))
        .iter()
        .map(native_event)
        .collect();
    let (path, headers) = native_request(WRITE_KEY);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for batch in events.chunks(EVENTS_PER_REQUEST) {
        let reply = client.send("POST", &path, &headers, Some(json!(batch).to_string().as_bytes()));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// A server with the recorded events and model, and its clock.
fn server() -> (tempfile::TempDir, Server, Arc<FixedClock>) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    std::fs::create_dir_all(&data_dir).unwrap();
    let project =
        json!({"id": PROJECT, "name": PROJECT, "write_keys": [WRITE_KEY], "created_at": "2024-01-01T00:00:00Z"});
    std::fs::write(
        data_dir.join("projects.json"),
        json!({"projects": [project]}).to_string(),
    )
    .unwrap();
    copy_folder(&data().join("model"), &folder.path().join("models"));
    let clock = FixedClock::new(INGEST_MICROS);
    let mut wanted = Wanted {
        clock: Arc::clone(&clock) as Arc<dyn engine::clock::Clock>,
        ..Wanted::default()
    };
    wanted.settings.api_secrets_previous = vec![Secret::new(ORACLE_SECRET)];
    let server = Server::start_in(folder.path(), wanted);
    let problems = server.model_problems(PROJECT);
    let broken: Vec<&String> = problems.iter().filter(|problem| !problem.contains("warning")).collect();
    assert!(broken.is_empty(), "the recorded model does not load: {broken:#?}");
    send_events(&server.client());
    (folder, server, clock)
}

fn ask(client: &Client, request: &Value) -> Reply {
    let mut path = request["path"].as_str().unwrap().to_owned();
    if let Some(query) = request["query"].as_object() {
        for (index, (key, value)) in query.iter().enumerate() {
            let value: String = value.as_str().unwrap().bytes().map(|b| format!("%{b:02X}")).collect();
            let _ = write!(path, "{}{key}={value}", if index == 0 { '?' } else { '&' });
        }
    }
    let headers = request["headers"].as_object().unwrap();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
    let body = match (&request["raw_body"], &request["body"]) {
        (Value::String(raw), _) => Some(raw.clone()),
        (_, Value::Null) => None,
        (_, body) => Some(body.to_string()),
    };
    let method = request["method"].as_str().unwrap();
    client.send(method, &path, &headers, body.as_deref().map(str::as_bytes))
}

/// `pattern<tab>reason` lines; a pattern is a record's name, or its beginning followed by `*`.
fn known_differences() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(data().join("differences.txt")).unwrap();
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (pattern, reason) = line.split_once('\t').unwrap_or_else(|| panic!("`{line}` has no tab"));
        (pattern.to_owned(), reason.trim().to_owned())
    };
    lines.map(split).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
        None => pattern == name,
    }
}

#[test]
fn recorded_answers_of_cube_are_ours() {
    let (_folder, server, clock) = server();
    let client = server.client();
    let rules = Rules::default();
    let known = known_differences();
    let mut hits = vec![0_usize; known.len()];
    let (mut unexpected, mut equal, mut all) = (String::new(), 0, 0);
    let mut by_feature: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (file, micros) in RECORDINGS {
        clock.set(*micros);
        for record in gzip_lines(&data().join(format!("{file}.jsonl.gz"))) {
            let name = record["name"].as_str().unwrap();
            let verdict = compare(&rules, &record, &ask(&client, &record["request"]));
            let feature = by_feature
                .entry(name.split('/').next().unwrap_or(name).to_owned())
                .or_default();
            all += 1;
            feature.1 += 1;
            let Err(difference) = verdict else {
                equal += 1;
                feature.0 += 1;
                continue;
            };
            match known.iter().position(|(pattern, _)| matches(pattern, name)) {
                Some(index) => hits[index] += 1,
                None => drop(writeln!(unexpected, "{name}: {difference}")),
            }
        }
    }
    let mut report = format!("{equal} of {all} records are equal\n");
    for (feature, (equal, all)) in by_feature {
        let _ = writeln!(report, "  {feature}: {equal} of {all}");
    }
    for ((pattern, reason), hits) in known.iter().zip(&hits) {
        let _ = writeln!(report, "  differs: {pattern} ({hits}): {reason}");
    }
    let stale: Vec<&String> = known
        .iter()
        .zip(&hits)
        .filter(|(_, hits)| **hits == 0)
        .map(|((p, _), _)| p)
        .collect();
    assert!(
        unexpected.is_empty(),
        "{report}\nnot listed in data/cube/differences.txt:\n{unexpected}"
    );
    assert!(
        stale.is_empty(),
        "{report}\nlisted in data/cube/differences.txt, but no longer different: {stale:?}"
    );
    // Shown with `--nocapture`.
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes()).unwrap();
}
