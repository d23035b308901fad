//! What a Cube client waits for: a kept answer over loopback, the planning of a query, the description of a large model.
//!
//! Wanted medians: a kept answer below 1 ms, planning below 3 ms, the description of 100 cubes below 5 ms.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on must stop"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use engine::clock::SystemClock;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use server::app::{self, App};
use server::config::{Secret, Settings};
use server::listen::{self, Deadlines};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SECRET: &str = "bench-secret-of-at-least-thirty-two-bytes";
const WRITE_KEY: &str = "bench-key";
const PROJECT: &str = "bench";
const CUBES: usize = 100;
const EVENTS: usize = 20_000;

/// A server over real connections, and what asks it.
struct Bench {
    _folder: tempfile::TempDir,
    _runtime: Runtime,
    _stop: watch::Sender<bool>,
    address: SocketAddr,
    token: String,
    agent: ureq::Agent,
}

/// One cube of the model: eight dimensions, six measures, two segments.
fn cube(number: usize) -> String {
    let mut yaml = format!(
        "  - name: Events{number}\n    sql: SELECT * FROM events\n    measures:\n      - name: count\n        type: count\n"
    );
    for measure in ["min", "max", "count_distinct", "count_distinct_approx"] {
        let _ = write!(
            yaml,
            "      - name: {measure}_visitor\n        sql: anonymous_id\n        type: {measure}\n"
        );
    }
    yaml.push_str("      - name: perVisitor\n        sql: \"1.0 * {count} / NULLIF({count_distinct_visitor}, 0)\"\n        type: number\n");
    yaml.push_str("    dimensions:\n      - name: id\n        sql: event_id\n        type: string\n        primary_key: true\n      - name: at\n        sql: ts\n        type: time\n");
    for dimension in [
        "event_name",
        "anonymous_id",
        "user_id",
        "page_path",
        "referrer",
        "country",
    ] {
        let sql = match dimension {
            "event_name" | "anonymous_id" | "user_id" => dimension.to_owned(),
            other => format!("\"json_get_str({{CUBE}}.properties, '{other}')\""),
        };
        let _ = write!(
            yaml,
            "      - name: {dimension}\n        sql: {sql}\n        type: string\n"
        );
    }
    yaml.push_str("    segments:\n      - name: known\n        sql: \"{CUBE}.user_id IS NOT NULL\"\n      - name: views\n        sql: \"{CUBE}.event_name = 'view'\"\n");
    yaml
}

fn write_files(folder: &Path) {
    let data = folder.join("data");
    let cubes = folder.join("models/cubes");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&cubes).unwrap();
    let project =
        json!({"id": PROJECT, "name": PROJECT, "write_keys": [WRITE_KEY], "created_at": "2024-01-01T00:00:00Z"});
    std::fs::write(data.join("projects.json"), json!({"projects": [project]}).to_string()).unwrap();
    let all: String = (0..CUBES).map(cube).collect();
    std::fs::write(cubes.join("all.yml"), format!("cubes:\n{all}")).unwrap();
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        let runtime = Runtime::new().unwrap();
        let settings = Settings {
            data_dir: folder.path().join("data"),
            models_dir: Some(folder.path().join("models")),
            api_secret: Some(Secret::new(SECRET)),
            ..Settings::default()
        };
        let (app, listener) = runtime.block_on(async {
            let app = App::open(settings, Arc::new(SystemClock)).await.unwrap();
            (app, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
        });
        let address = listener.local_addr().unwrap();
        let options = listen::Options {
            trusted_proxies: app.settings.trusted_proxies.clone(),
            drain: Duration::from_secs(1),
            deadlines: Deadlines::default(),
        };
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(listen::serve(listener, app::router(app), options, stopped));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let claims = json!({"appId": PROJECT, "exp": 4_102_444_800_u64});
        let bench = Self {
            _folder: folder,
            _runtime: runtime,
            _stop: stop,
            address,
            token: jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap(),
            agent: ureq::Agent::new_with_defaults(),
        };
        bench.send_events();
        bench
    }

    fn send_events(&self) {
        let event = |n: usize| {
            json!({
                "event_id": format!("e{n}"), "event": if n.is_multiple_of(3) { "view" } else { "click" },
                "anonymous_id": format!("v{}", n % 500), "origin": "server", "properties": {"page_path": format!("/{}", n % 40)},
            })
        };
        for first in (0..EVENTS).step_by(1000) {
            let events: Value = (first..first + 1000).map(event).collect();
            let authorization = format!("Bearer {WRITE_KEY}");
            let url = format!("http://{}/v1/events", self.address);
            let sent = self
                .agent
                .post(url)
                .header("authorization", authorization)
                .send_json(&events);
            assert_eq!(sent.unwrap().status(), 200);
        }
    }

    fn ask(&self, path: &str, query: Option<&Value>) -> usize {
        let mut url = format!("http://{}/cubejs-api/v1/{path}", self.address);
        if let Some(query) = query {
            let query: String = query.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
            let _ = write!(url, "?query={query}");
        }
        let mut reply = self.agent.get(url).header("authorization", &self.token).call().unwrap();
        reply.body_mut().read_to_string().unwrap().len()
    }
}

fn cube_api(criterion: &mut Criterion) {
    let bench = Bench::start();
    let query = json!({
        "measures": ["Events7.count", "Events7.perVisitor"], "dimensions": ["Events7.page_path"],
        "timeDimensions": [{"dimension": "Events7.at", "granularity": "day", "dateRange": "last 30 days"}],
        "filters": [{"member": "Events7.event_name", "operator": "equals", "values": ["view"]}],
        "segments": ["Events7.known"], "order": {"Events7.count": "desc"}, "timezone": "Europe/Berlin", "limit": 100,
    });
    criterion.bench_function("cube/load/kept (wanted < 1 ms)", |b| {
        b.iter(|| bench.ask("load", Some(&query)))
    });
    // Planned anew each time, and shown as text.
    criterion.bench_function("cube/sql/planned (wanted < 3 ms)", |b| {
        b.iter(|| bench.ask("sql", Some(&query)))
    });
    criterion.bench_function("cube/meta/100 cubes (wanted < 5 ms)", |b| {
        b.iter(|| bench.ask("meta", None))
    });
}

criterion_group!(benches, cube_api);
criterion_main!(benches);
