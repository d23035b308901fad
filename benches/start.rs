//! From the start of the process to its first answer, on the data of `tally demo`.
//!
//! `cargo bench --bench start`. The demo data is made first, once, and its time printed too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on must stop"
)]
#![allow(clippy::print_stdout, reason = "figures are what this is run for")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use support::client::{Client, number};
use support::process::{Process, command, free_address};

const STARTS: usize = 5;

/// `tally demo` on this folder; returns when the data is complete and the project's id.
fn make_demo(folder: &Path) -> (Process, String) {
    let address = free_address();
    let mut command = command(&folder.join("data"), address, &[]);
    command.arg("demo");
    let mut process = Process::run(command, address, folder.join("server.log"));
    process.wait_ready();
    let project = support::wait_for("the demo's project", Duration::from_secs(600), || {
        project_of(&folder.join("data"))
    });
    (process, project)
}

fn project_of(data_dir: &Path) -> Option<String> {
    let file: Value = serde_json::from_slice(&std::fs::read(data_dir.join("projects.json")).ok()?).ok()?;
    Some(file["projects"][0]["id"].as_str()?.to_owned())
}

/// The names of the funnels in the model.
fn funnels(client: &Client, project: &str) -> Vec<String> {
    let meta = client
        .send(
            "GET",
            "/cubejs-api/v1/meta",
            &[("authorization", &support::client::token(project))],
            None,
        )
        .json();
    let is_funnel = |cube: &&Value| {
        cube["dimensions"].as_array().is_some_and(|dimensions| {
            dimensions
                .iter()
                .any(|d| d["name"].as_str().is_some_and(|name| name.ends_with(".step")))
        })
    };
    let cubes = meta["cubes"].as_array().cloned().unwrap_or_default();
    cubes
        .iter()
        .filter(is_funnel)
        .filter_map(|cube| cube["name"].as_str().map(ToOwned::to_owned))
        .collect()
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let (mut demo, project) = make_demo(folder.path());
    println!(
        "demo data made and served      {:>9.2} s",
        started.elapsed().as_secs_f64()
    );
    let events = demo.client().count(&project);
    let funnel = funnels(&demo.client(), &project)
        .into_iter()
        .next()
        .expect("the demo has a funnel");
    println!("events                         {events:>9}");
    assert!(demo.terminate().success());

    let query = json!({"measures": [format!("{funnel}.count")], "dimensions": [format!("{funnel}.step")]});
    for n in 1..=STARTS {
        let address = free_address();
        let started = Instant::now();
        let mut server = Process::spawn(folder.path(), address, &[]);
        server.wait_ready();
        let ready = started.elapsed();
        let client = server.client();
        let rows = client.rows(&project, &query);
        let answered = started.elapsed();
        assert!(number(&rows[0][format!("{funnel}.count")]) > 0);
        assert_eq!(client.count(&project), events);
        let (resident, peak) = server.memory_kib();
        println!(
            "start {n}: ready {:>6.3} s, first funnel answer {:>6.3} s, memory {:.0} MiB (peak {:.0})",
            ready.as_secs_f64(),
            answered.as_secs_f64(),
            resident as f64 / 1024.0,
            peak as f64 / 1024.0
        );
        assert!(server.terminate().success());
    }
}
