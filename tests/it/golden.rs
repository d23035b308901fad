//! Data of every released format opens, and its queries give the answers of then.
//!
//! `data/golden/<version>/data.json.gz` is a data folder as a crash left it: files in tables, records in the write-ahead
//! log, models, projects. `answers.json` beside it holds queries and their rows. To add a version, run
//! `TALLY_GOLDEN_WRITE=1 cargo test --test it -- golden` once with it, and never change the folder again.

use crate::server::{Server, Wanted};
use crate::support::client::Client;
use crate::support::events::page_views;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::clock::{FixedClock, SECOND_MICROS};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
struct Folder {
    folders: Vec<String>,
    files: BTreeMap<String, String>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden")
}

/// 2026-01-01.
const START: u64 = 1_767_225_600;

const FUNNEL: &str = "name: checkout\nseconds_to_convert: 3600\nsteps:\n  - {name: cart, target: /page1.html, action: pageview}\n  \
                      - {name: thanks, target: /page2.html, action: pageview}\n";

/// Time stands still, so that ids which are known for days are known for ever.
fn wanted() -> Wanted {
    Wanted {
        clock: FixedClock::new(i64::try_from(START + 4 * 86_400).unwrap() * SECOND_MICROS),
        ..Wanted::flushing(1_000_000, 3_600_000)
    }
}

fn queries() -> Vec<Value> {
    let day = json!([{"dimension": "TrackedEvents.utcTime", "granularity": "day"}]);
    vec![
        json!({"measures": ["TrackedEvents.count"]}),
        json!({"measures": ["TrackedEvents.count"], "timeDimensions": day, "order": {"TrackedEvents.utcTime": "asc"}}),
        json!({"measures": ["TrackedEvents.count"], "dimensions": ["TrackedEvents.eventId"], "limit": 5000,
            "order": {"TrackedEvents.eventId": "asc"}}),
        json!({"measures": ["checkout.count"], "dimensions": ["checkout.step"], "order": {"checkout.step": "asc"}}),
        json!({"measures": ["RejectedEvents.count"]}),
    ]
}

fn answers(client: &Client) -> Value {
    let rows = queries().into_iter().map(|query| {
        let rows = client.rows("shop", &query);
        json!({"query": query, "rows": rows})
    });
    rows.collect()
}

#[test]
fn data_of_every_version_opens_and_answers_as_then() {
    if std::env::var_os("TALLY_GOLDEN_WRITE").is_some() {
        write(&golden().join(env!("CARGO_PKG_VERSION")));
    }
    let mut versions = 0;
    for version in fs::read_dir(golden()).unwrap() {
        let version = version.unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        unpack(&version.join("data.json.gz"), folder.path());
        let server = Server::start_in(folder.path(), wanted());
        let expected: Value = serde_json::from_slice(&fs::read(version.join("answers.json")).unwrap()).unwrap();
        let found = answers(&server.client());
        for (expected, found) in expected.as_array().unwrap().iter().zip(found.as_array().unwrap()) {
            assert_eq!(found, expected, "{}", version.display());
        }
        // Ids of then are known: nothing is doubled.
        let events = json!(page_views("log-", 20, START + 3 * 86_400));
        assert_eq!(server.client().ingest("shop-key", &events).status, 200);
        server.flush();
        assert_eq!(answers(&server.client())[0], found[0], "{}", version.display());
        versions += 1;
    }
    assert!(versions > 0, "there is no golden data");
}

fn write(version: &Path) {
    let folder = tempfile::tempdir().unwrap();
    crate::support::write_projects(&folder.path().join("data"));
    fs::create_dir_all(folder.path().join("models/funnels")).unwrap();
    fs::write(folder.path().join("models/funnels/checkout.yml"), FUNNEL).unwrap();
    let server = Server::start_in(folder.path(), wanted());
    let client = server.client();
    for day in 0..3 {
        let events = json!(page_views(&format!("day{day}-"), 40, START + day * 86_400));
        assert_eq!(client.ingest("shop-key", &events).status, 200);
        assert_eq!(client.ingest("shop-key", &json!([{"type": "dance"}])).status, 200);
        server.flush();
    }
    // These stay in the write-ahead log.
    let events = json!(page_views("log-", 20, START + 3 * 86_400));
    assert_eq!(client.ingest("shop-key", &events).status, 200);
    fs::create_dir_all(version).unwrap();
    let answers = serde_json::to_vec_pretty(&answers(&client)).unwrap();
    fs::write(version.join("answers.json"), answers).unwrap();
    // While the server runs, as a crash would leave it.
    let mut packed = Folder {
        folders: Vec::new(),
        files: BTreeMap::new(),
    };
    pack(folder.path(), folder.path(), &mut packed);
    let file = File::create(version.join("data.json.gz")).unwrap();
    let mut file = GzEncoder::new(file, Compression::best());
    serde_json::to_writer(&mut file, &packed).unwrap();
    file.finish().unwrap();
}

fn pack(root: &Path, folder: &Path, packed: &mut Folder) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            packed.folders.push(name);
            pack(root, &path, packed);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        // The log's files are made with megabytes of zeros behind what was written.
        if name.ends_with(".jnl") {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end);
        }
        packed.files.insert(name, STANDARD.encode(bytes));
    }
}

fn unpack(file: &Path, to: &Path) {
    let packed: Folder = serde_json::from_reader(GzDecoder::new(File::open(file).unwrap())).unwrap();
    for folder in &packed.folders {
        fs::create_dir_all(to.join(folder)).unwrap();
    }
    for (name, bytes) in &packed.files {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, STANDARD.decode(bytes).unwrap()).unwrap();
    }
}
