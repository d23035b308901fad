//! What the fault tests do to a server, and what must hold afterwards: numbered batches, each all or nothing.

use crate::support::client::{Client, now_seconds};
use crate::support::events::{native_request, page_view};
use crate::support::process::Process;
use crate::support::wait_for;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub const PROJECT: &str = "shop";
pub const WRITE_KEY: &str = "shop-key";

/// What a client learned of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Acknowledged,
    /// 503: to be sent again.
    Refused,
    /// The connection broke.
    None,
}

/// The ids of batch `number`. A batch has as many events as its number says, so that an answer names its batch.
pub fn ids(number: u64) -> Vec<String> {
    (0..number).map(|event| format!("b{number}-{event}")).collect()
}

/// The events of a batch, of one day.
fn events(number: u64) -> Vec<Value> {
    let noon = now_seconds() / 86_400 * 86_400 - 43_200;
    let event = |(at, id): (usize, String)| page_view(&id, &format!("visitor-{}", at % 7), "/docs", noon + at as u64);
    ids(number).into_iter().enumerate().map(event).collect()
}

/// Batches sent, with what came back.
#[derive(Debug, Default)]
pub struct Sent {
    pub acknowledged: BTreeSet<u64>,
    pub all: BTreeSet<u64>,
}

impl Sent {
    /// The same, had every batch been acknowledged.
    pub fn all_acknowledged(&self) -> Self {
        Self {
            acknowledged: self.all.clone(),
            all: self.all.clone(),
        }
    }

    /// Posts a batch.
    pub fn post(&mut self, client: &Client, number: u64) -> Answer {
        self.all.insert(number);
        let (path, headers) = native_request(WRITE_KEY);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = json!(events(number)).to_string();
        match client.try_send("POST", &path, &headers, Some(body.as_bytes())) {
            Ok(reply) if reply.status == 200 => {
                self.acknowledged.insert(number);
                Answer::Acknowledged
            }
            Ok(reply) if reply.status == 503 => {
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                Answer::Refused
            }
            Ok(reply) => panic!("batch {number} was answered with {}: {}", reply.status, reply.text()),
            Err(_) => Answer::None,
        }
    }

    /// Posts batch after batch, from `first` on, until one is acknowledged; how long that took.
    pub fn post_until_acknowledged(&mut self, client: &Client, first: u64, limit: Duration) -> Duration {
        let started = Instant::now();
        let mut number = first;
        wait_for("an acknowledgement", limit, || {
            number += 1;
            (self.post(client, number) == Answer::Acknowledged).then_some(())
        });
        // A single answer may have been waited for too long.
        let took = started.elapsed();
        assert!(
            took <= limit,
            "an acknowledgement took {took:?}, and may take {limit:?}"
        );
        took
    }

    /// Checks how often each id is stored: what was acknowledged exactly once, every other batch once or not at all.
    pub fn check(&self, stored: &HashMap<String, u64>) -> Result<(), String> {
        for number in &self.all {
            let ids = ids(*number);
            let counts: Vec<u64> = ids.iter().map(|id| stored.get(id).copied().unwrap_or(0)).collect();
            if let Some(at) = counts.iter().position(|count| *count > 1) {
                return Err(format!("{} is stored {} times", ids[at], counts[at]));
            }
            let there = counts.iter().filter(|count| **count == 1).count();
            if there != ids.len() && self.acknowledged.contains(number) {
                return Err(format!(
                    "batch {number} was acknowledged and {there} of its {number} events are stored"
                ));
            }
            if there != 0 && there != ids.len() {
                return Err(format!("{there} of the {number} events of batch {number} are stored"));
            }
        }
        let known: usize = self.all.iter().map(|number| ids(*number).len()).sum();
        match stored.len() <= known {
            true => Ok(()),
            false => Err(format!("{} ids are stored and {known} were sent", stored.len())),
        }
    }

    /// Starts the server without faults, checks, sends everything again as an SDK would, and checks again.
    pub fn verify(mut self, folder: &Path, settings: &[(&str, &str)], what: &str) {
        let mut server = Process::start(folder, settings);
        let client = server.client();
        let check = |sent: &Self, when: &str| {
            let stored = client.id_counts(PROJECT, "b");
            sent.check(&stored)
                .unwrap_or_else(|error| panic!("{what}, {when}: {error}"));
        };
        check(&self, "after the start");
        for number in self.all.clone() {
            assert_eq!(
                self.post(&client, number),
                Answer::Acknowledged,
                "{what}: batch {number} sent again"
            );
        }
        check(&self, "after everything was sent again");
        server.kill();
    }
}

/// Waits until a counter of `/metrics` has reached `least`; `None` when the server is gone before.
pub fn wait_metric(client: &Client, name: &str, least: u64, limit: Duration) -> Option<u64> {
    wait_metric_with(client, name, least, limit, |_| {})
}

/// As [`wait_metric`]; calls `meanwhile` with the time waited between two looks.
pub fn wait_metric_with(
    client: &Client,
    name: &str,
    least: u64,
    limit: Duration,
    mut meanwhile: impl FnMut(Duration),
) -> Option<u64> {
    let started = Instant::now();
    loop {
        let value = metric(client, name)?;
        if value >= least {
            return Some(value);
        }
        assert!(
            started.elapsed() < limit,
            "{name} is {value} and not {least} after {limit:?}"
        );
        meanwhile(started.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A counter of `/metrics`; `None` when the server does not answer.
pub fn metric(client: &Client, name: &str) -> Option<u64> {
    let reply = client.try_send("GET", "/metrics", &[], None).ok()?;
    let text = reply.text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse::<f64>().ok().map(|value| value as u64)
}

/// Waits until the server answers or has ended; whether it answers.
pub fn is_ready(server: &mut Process, client: &Client) -> bool {
    let started = Instant::now();
    while server.is_running() {
        let ready = client.try_send("GET", "/readyz", &[], None);
        if ready.is_ok_and(|reply| reply.status == 200) {
            return true;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "neither ready nor ended: {}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Bytes on disk of the write-ahead log of a server in `folder`.
pub fn wal_bytes(folder: &Path) -> u64 {
    fn all(path: &Path) -> u64 {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let bytes = |path: &Path| match path.is_dir() {
            true => all(path),
            // What is allocated: journals are made larger than their content.
            false => path.metadata().map_or(0, |metadata| metadata.blocks() * 512),
        };
        entries.map(|path| bytes(&path)).sum()
    }
    all(&folder.join("data/wal"))
}
