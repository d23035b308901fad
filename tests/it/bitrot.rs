//! Damage on disk: found, named, and no reason for anything else to fail.

use crate::server::{Server, Wanted};
use crate::support::Random;
use crate::support::client::now_seconds;
use crate::support::events::page_views;
use engine::ProjectId;
use engine::maintenance::{Progress, Store};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const DAYS: u64 = 4;
const EVENTS: usize = 300;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Midnight some weeks ago: what is older than 400 days counts as of today.
fn start() -> u64 {
    now_seconds() / 86_400 * 86_400 - 30 * 86_400
}

fn count_of_day(start: u64, day: u64) -> Value {
    let date = chrono::DateTime::from_timestamp(i64::try_from(start + day * 86_400).unwrap(), 0).unwrap();
    let date = date.format("%Y-%m-%d").to_string();
    json!({"measures": ["TrackedEvents.count"], "dimensions": ["TrackedEvents.eventId"], "limit": 5000,
        "timeDimensions": [{"dimension": "TrackedEvents.utcTime", "dateRange": [date, date]}],
        "order": {"TrackedEvents.eventId": "asc"}})
}

/// Flips single bits of any file of the store. Each is found and named by the check; on some a server is started: what
/// does not need the damaged file is answered as before, and what needs it is answered as before or refused without a
/// word about files.
#[test]
fn one_changed_bit_is_named_and_the_rest_answers() {
    let folder = tempfile::tempdir().unwrap();
    crate::support::write_projects(&folder.path().join("data"));
    let start = start();
    let queries: Vec<Value> = (0..DAYS).map(|day| count_of_day(start, day)).collect();
    let right = prepare(folder.path(), start, &queries);
    let store = folder.path().join("data/store");
    let flips: usize = std::env::var("TALLY_BITROT_FLIPS").map_or(40, |n| n.parse().unwrap());
    let mut random = Random::new(18);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for n in 0..flips {
        // Each start takes a writer's entry away and makes its own.
        let all = files(&store);
        let path = &all[usize::try_from(random.below(all.len() as u64)).unwrap()];
        let bytes = fs::read(path).unwrap();
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << random.below(8);
        fs::write(path, &wrong).unwrap();
        let name = path.strip_prefix(&store).unwrap().to_str().unwrap();
        let what = format!("byte {at} of {name}");
        let report = runtime.block_on(async {
            let url = url_of(&store);
            let store = Store::open(&url, &[]).await.unwrap();
            let projects = ["shop", "blog"].map(|id| ProjectId::new(id).unwrap());
            store.check(&projects, &Progress::default()).await.unwrap()
        });
        assert!(report.is_damaged(), "{what} was not found");
        let named = report.findings.iter().any(|finding| finding.text.contains(name));
        assert!(named, "{what}: {:?}", report.findings);
        if n % 10 == 0 {
            let mut refused = 0;
            for (project, rows) in ["shop", "blog"].iter().zip(&right) {
                refused += answer(folder.path(), project, &queries, rows, name, &what);
            }
            // A damaged file of rows belongs to one day of one project; a damaged log to one project.
            assert!(refused <= queries.len(), "{what}: {refused} queries were refused");
        }
        fs::write(path, bytes).unwrap();
    }
}

fn url_of(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Two projects with files of some days. Their answers.
fn prepare(folder: &Path, start: u64, queries: &[Value]) -> Vec<Vec<Vec<Value>>> {
    let server = Server::start_in(folder, Wanted::flushing(1_000_000, 3_600_000));
    let client = server.client();
    for key in ["shop-key", "blog-key"] {
        for day in 0..DAYS {
            let events = json!(page_views(&format!("d{day}-"), EVENTS, start + day * 86_400));
            assert_eq!(client.ingest(key, &events).status, 200);
            server.flush();
        }
        assert_eq!(client.ingest(key, &json!([{"type": "dance"}])).status, 200);
        server.flush();
    }
    ["shop", "blog"]
        .iter()
        .map(|project| queries.iter().map(|query| client.rows(project, query)).collect())
        .collect()
}

/// Starts a server and asks; the number of queries that were refused.
fn answer(folder: &Path, project: &str, queries: &[Value], right: &[Vec<Value>], file: &str, what: &str) -> usize {
    let server = Server::start_in(folder, Wanted::default());
    let client = server.client();
    // A project's two tables are opened together.
    let is_own = file.contains(&format!("/{project}/"));
    let mut refused = 0;
    for (query, right) in queries.iter().zip(right) {
        let reply = client.load(project, query);
        if reply.status == 200 {
            assert_eq!(&client.rows(project, query), right, "{what}: {query}");
            continue;
        }
        assert!(is_own, "{what}: {query} of another project: {}", reply.text());
        let body = reply.text();
        assert!(
            !body.contains(".parquet") && !body.contains("_delta_log"),
            "{what}: {body}"
        );
        refused += 1;
    }
    if is_own && file.contains("date=") {
        let needed = usize::from(file.contains("/events/"));
        assert!(refused <= needed, "{what}: a file of one day stopped {refused} days");
    }
    refused
}
