//! Answers of real Cube servers, replayed: the same events, the same model, the same requests, and what must be equal.
//!
//! `data/cube/*.jsonl.gz` were recorded from Cube over PostgreSQL; `data/cube/model` is the model of those servers with
//! its table written as a query over `events`. `data/cube/differences*.txt` name every record whose answer differs, with
//! the reason. A record that differs and is not listed fails the test, and so does a listed one that no longer differs.

mod compare;

use crate::server::{Server, Wanted};
use crate::support::client::{Client, Reply};
use crate::support::events::native_request;
use compare::{Rules, compare, compare_reading};
use engine::clock::FixedClock;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use server::config::{Secret, Settings};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The secret that the recorded tokens are signed with.
pub(crate) const ORACLE_SECRET: &str = "oracle-secret-0123456789";
/// When the events are sent: after the last of them.
const INGEST_MICROS: i64 = 1_719_792_000_000_000; // 2024-07-01T00:00:00Z
/// The project that all recorded tokens act for, being the only one.
pub(crate) const PROJECT: &str = "conformance";
const WRITE_KEY: &str = "conformance-key";
/// Share of the records of 1.6.57, the primary dialect, that must be equal, in percent.
const EQUAL_PERCENT_MIN_1_6: f64 = 98.0;
/// The same of relative dates, whose defects in Cube are not copied.
const EQUAL_PERCENT_MIN_RELATIVE: f64 = 93.0;
/// The same for the other versions.
const EQUAL_PERCENT_MIN_OTHERS: f64 = 95.0;
/// Events of one request.
const EVENTS_PER_REQUEST: usize = 1000;

/// A recording of one version of Cube.
struct Recording {
    /// The file's name without its ending.
    file: &'static str,
    /// Lists of records that differ, with the reasons.
    differences: &'static [&'static str],
    /// The instant its server's clock showed.
    micros: i64,
    /// How its answers are compared.
    rules: fn() -> Rules,
    /// Share of the records that must be equal at least, in percent.
    equal_percent_min: f64,
}

/// 2026-11-23T03:43:20Z; the three large recordings were made within half an hour of it.
const RECORDED_MICROS: i64 = 1_795_405_400_000_000;

/// 2024-06-15T12:35:30Z
const RELATIVE_MICROS: i64 = 1_718_454_930_000_000;
/// The token that the recorded requests carry.
const ORACLE_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0.6j-bBF5lRTWOz6JwF7Pp2e8qM01DyBEmM0P__ONWtbg";

const RECORDINGS: &[Recording] = &[
    Recording {
        file: "cube-1.6.57-main",
        differences: &["differences.txt", "differences-unanswered.txt"],
        micros: RECORDED_MICROS,
        rules: Rules::default,
        equal_percent_min: EQUAL_PERCENT_MIN_1_6,
    },
    Recording {
        file: "cube-1.6.57-relative",
        differences: &["differences-1.6.57-relative.txt"],
        micros: RELATIVE_MICROS,
        rules: Rules::default,
        equal_percent_min: EQUAL_PERCENT_MIN_RELATIVE,
    },
    Recording {
        file: "cube-1.7.43-main",
        differences: &["differences-1.7.43.txt", "differences-unanswered.txt"],
        micros: RECORDED_MICROS,
        rules: Rules::default,
        equal_percent_min: EQUAL_PERCENT_MIN_OTHERS,
    },
    Recording {
        file: "cube-0.35.81-main",
        differences: &["differences-0.35.81.txt", "differences-unanswered.txt"],
        micros: RECORDED_MICROS,
        rules: Rules::of_an_older_version,
        equal_percent_min: EQUAL_PERCENT_MIN_OTHERS,
    },
];

pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cube")
}

pub(crate) fn gzip_lines(path: &Path) -> Vec<Value> {
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

fn send_events(client: &Client, most: usize) {
    let events: Vec<Value> = gzip_lines(&data().join("events.ndjson.gz"))
        .iter()
        .take(most)
        .map(native_event)
        .collect();
    let (path, headers) = native_request(WRITE_KEY);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for batch in events.chunks(EVENTS_PER_REQUEST) {
        let reply = client.send("POST", &path, &headers, Some(json!(batch).to_string().as_bytes()));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// A server with all recorded events and the recorded model.
pub(crate) fn recorded_server() -> (tempfile::TempDir, Server, Arc<FixedClock>) {
    server(usize::MAX, |to| copy_folder(&data().join("model"), to), |_| {})
}

/// A server with `events` of the recorded events and a model, which `write_model` puts into a folder, and its clock.
fn server(
    events: usize,
    write_model: impl FnOnce(&Path),
    set: impl FnOnce(&mut Settings),
) -> (tempfile::TempDir, Server, Arc<FixedClock>) {
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
    write_model(&folder.path().join("models"));
    let clock = FixedClock::new(INGEST_MICROS);
    let mut wanted = Wanted {
        clock: Arc::clone(&clock) as Arc<dyn engine::clock::Clock>,
        ..Wanted::default()
    };
    wanted.settings.api_secrets_previous = vec![Secret::new(ORACLE_SECRET)];
    set(&mut wanted.settings);
    let server = Server::start_in(folder.path(), wanted);
    let problems = server.model_problems(PROJECT);
    let broken: Vec<&String> = problems.iter().filter(|problem| !problem.contains("warning")).collect();
    assert!(broken.is_empty(), "the recorded model does not load: {broken:#?}");
    send_events(&server.client(), events);
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

/// `pattern<tab>reason` lines; a pattern is a record's name, with `*` for any part of it.
fn known_differences(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(data().join(file)).unwrap();
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

/// Whether `name` is made of the parts of `pattern` between its `*`, in their order.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// What was asked already: the large recordings hold the same requests.
#[derive(Default)]
struct Asked(HashMap<(i64, String), Reply>);

impl Asked {
    fn ask(&mut self, client: &Client, micros: i64, request: &Value) -> &Reply {
        let key = (micros, request.to_string());
        self.0.entry(key).or_insert_with(|| ask(client, request))
    }
}

/// What became of the records of one recording.
#[derive(Default)]
struct Outcome {
    equal: usize,
    all: usize,
    by_feature: BTreeMap<String, (usize, usize)>,
    /// Names of differing records with their difference.
    different: Vec<(String, String)>,
}

impl Outcome {
    fn count(&mut self, name: &str, verdict: Result<(), String>) {
        let feature = name.split('/').next().unwrap_or(name).to_owned();
        let feature = self.by_feature.entry(feature).or_default();
        self.all += 1;
        feature.1 += 1;
        match verdict {
            Ok(()) => {
                self.equal += 1;
                feature.0 += 1;
            }
            Err(difference) => self.different.push((name.to_owned(), difference)),
        }
    }

    fn equal_percent(&self) -> f64 {
        100.0 * self.equal as f64 / self.all as f64
    }

    /// Compares what differs with what is known to differ: a report, and what is wrong.
    fn check(&self, file: &str, lists: &[&str]) -> (String, String) {
        let known: Vec<_> = lists.iter().flat_map(|list| known_differences(list)).collect();
        let mut hits = vec![0_usize; known.len()];
        let mut wrong = String::new();
        for (name, difference) in &self.different {
            match known.iter().position(|(pattern, _)| matches(pattern, name)) {
                Some(index) => hits[index] += 1,
                None => drop(writeln!(
                    wrong,
                    "{file}: {name} differs, but is not listed: {difference}"
                )),
            }
        }
        let percent = self.equal_percent();
        let mut report = format!(
            "{file}: {} of {} records are equal, {percent:.1} %\n",
            self.equal, self.all
        );
        for (feature, (equal, all)) in self.by_feature.iter().filter(|(_, (equal, all))| equal < all) {
            let _ = writeln!(report, "  {feature}: {equal} of {all}");
        }
        for ((pattern, reason), hits) in known.iter().zip(&hits) {
            let _ = writeln!(report, "  differs: {pattern} ({hits}): {reason}");
            if *hits == 0 {
                let _ = writeln!(wrong, "{file}: {pattern} is listed, but no longer different");
            }
        }
        (report, wrong)
    }
}

#[test]
fn recorded_answers_of_cube_are_ours() {
    let (_folder, server, clock) = recorded_server();
    let client = server.client();
    let mut asked = Asked::default();
    let (mut report, mut wrong) = (String::new(), String::new());
    for recording in RECORDINGS {
        clock.set(recording.micros);
        let rules = (recording.rules)();
        let mut outcome = Outcome::default();
        for record in gzip_lines(&data().join(format!("{}.jsonl.gz", recording.file))) {
            let reply = asked.ask(&client, recording.micros, &record["request"]);
            let verdict = compare(&rules, &record, reply);
            outcome.count(record["name"].as_str().unwrap(), verdict);
        }
        let (its_report, its_wrong) = outcome.check(recording.file, recording.differences);
        report.push_str(&its_report);
        wrong.push_str(&its_wrong);
        if outcome.equal_percent() < recording.equal_percent_min {
            let _ = writeln!(
                wrong,
                "{}: fewer than {} % are equal",
                recording.file, recording.equal_percent_min
            );
        }
    }
    // Shown with `--nocapture`.
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{report}\n{wrong}");
}

/// A cube that takes its time: every event with every other.
const SLOW_MODEL: &str = "
cubes:
  - name: Slow
    sql: >
      SELECT n FROM (SELECT COUNT(*) AS n FROM events a CROSS JOIN events b WHERE a.event_id || b.event_id <> '') counted
      WHERE n > 0
    measures:
      - name: count
        type: count
";
/// Events of the slow cube: its query takes many times the wait below, on any machine.
const SLOW_EVENTS: usize = 1500;
const SLOW_WAIT_MS: u64 = 2;

#[test]
fn slow_queries_are_polled_as_recorded() {
    let write_model = |to: &Path| {
        std::fs::create_dir_all(to.join("cubes")).unwrap();
        std::fs::write(to.join("cubes/slow.yml"), SLOW_MODEL).unwrap();
    };
    let (_folder, server, clock) = server(SLOW_EVENTS, write_model, |s| s.continue_wait_ms = SLOW_WAIT_MS);
    clock.set(RECORDED_MICROS);
    let client = server.client();
    let rules = Rules::default();
    let mut outcome = Outcome::default();
    let wait = json!({"error": "Continue wait"});
    for record in gzip_lines(&data().join("cube-1.6.57-continue-wait.jsonl.gz")) {
        let name = record["name"].as_str().unwrap();
        let mut reply = ask(&client, &record["request"]);
        // How often a client has to ask depends on the machine; that it has to ask again does not.
        while record["response"]["body"] != wait && name == "slow/attempt-3" && reply.json() == wait {
            reply = ask(&client, &record["request"]);
        }
        outcome.count(name, compare(&rules, &record, &reply));
    }
    let (report, wrong) = outcome.check("cube-1.6.57-continue-wait", &["differences-continue-wait.txt"]);
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{report}\n{wrong}");
}

/// Queries and what the normaliser of Cube 1.6.57 made of them at the instant of the recording of relative dates.
#[test]
fn queries_are_read_as_cube_reads_them() {
    let (_folder, server, clock) = server(0, |to| copy_folder(&data().join("model"), to), |_| {});
    clock.set(RELATIVE_MICROS);
    let client = server.client();
    let mut outcome = Outcome::default();
    for case in gzip_lines(&data().join("queries-1.6.57.jsonl.gz")) {
        let headers = [("content-type", "application/json"), ("authorization", ORACLE_TOKEN)];
        let body = json!({"query": case["query"]}).to_string();
        let reply = client.send("POST", "/cubejs-api/v1/dry-run", &headers, Some(body.as_bytes()));
        outcome.count(case["name"].as_str().unwrap(), compare_reading(&case, &reply));
    }
    let (report, wrong) = outcome.check("queries-1.6.57", &["differences-queries.txt"]);
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{report}\n{wrong}");
}
