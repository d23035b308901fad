//! What the integration tests, the crash test and the load drivers share: a client, a server process, made-up events.
#![allow(dead_code, reason = "each test binary uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

pub mod client;
pub mod events;
pub mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The secret that the tests' servers verify tokens with.
pub const SECRET: &str = "integration-secret-of-thirty-two-bytes";

/// Projects of every test server, with their write keys.
pub const PROJECTS: &[(&str, &str)] = &[("shop", "shop-key"), ("blog", "blog-key"), ("empty", "empty-key")];

/// Writes `projects.json` into a new data folder.
pub fn write_projects(data_dir: &std::path::Path) {
    let project = |(id, key): &(&str, &str)| serde_json::json!({"id": id, "name": id, "write_keys": [key], "created_at": "2024-01-01T00:00:00Z"});
    let projects: Vec<_> = PROJECTS.iter().map(project).collect();
    std::fs::create_dir_all(data_dir).unwrap();
    let text = serde_json::json!({ "projects": projects }).to_string();
    std::fs::write(data_dir.join("projects.json"), text).unwrap();
}

/// The seed page's funnel, in the folder where a user would put it.
pub fn write_funnel(models_dir: &std::path::Path) -> PathBuf {
    let folder = models_dir.join("funnels");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("completed_purchase.yaml");
    std::fs::write(&path, SEED_FUNNEL).unwrap();
    path
}

/// The seed page's funnel definition, word for word.
pub const SEED_FUNNEL: &str = "name: completed_purchase
seconds_to_convert: 3600
steps:
  - name: view_page_1
    target: '/page1.html'
    action: 'pageview'
  - name: view_page_2
    target: '/page2.html'
    action: 'pageview'
  - name: view_page_3
    target: '/page3.html'
    action: 'pageview'
";

/// Polls until `condition` gives a value; panics with `what` when it does not within `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < limit, "{what} did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A small generator of numbers, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next number (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
