//! A kill at the n-th system call of each kind that changes the disk, for n = 1 and so on until the server gets through.
//!
//! Each of a process's threads counts for itself, so the n-th call of the thread that comes first is hit. By default every
//! 31st n; all with `TALLY_CRASH_SYSCALLS=all`, every k-th with `=k`. The states between all calls of a recorded run
//! are looked at in `power_loss`.

use crate::scenario::{Answer, Sent, is_ready, wait_metric};
use crate::strace;
use crate::support::client::Client;
use crate::support::process::Process;
use std::path::Path;
use std::time::{Duration, Instant};

const SETTINGS: &[(&str, &str)] = &[("flush_interval_ms", "50"), ("memory", "256MiB"), ("disk_reserve", "0")];
const CALLS: &[&str] = &[
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "linkat",
    "unlink",
    "unlinkat",
    "ftruncate",
    "mkdir",
];
/// A bound that is never reached: the calls of a scenario are a few dozen for each thread.
const POINTS_MAX: u64 = 2_000;
const WAIT: Duration = Duration::from_secs(60);

/// Every how many points are tried.
fn every() -> u64 {
    match std::env::var("TALLY_CRASH_SYSCALLS").as_deref() {
        Err(_) => 31,
        Ok("all") => 1,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("TALLY_CRASH_SYSCALLS={text} is no number")),
    }
}

/// Posts three batches, each flushed, and ends the server. `None` when the server dies in between.
fn scenario(server: &mut Process, client: &Client, sent: &mut Sent) -> Option<()> {
    is_ready(server, client).then_some(())?;
    for (flushes, number) in (11..=13).enumerate() {
        if sent.post(client, number) != Answer::Acknowledged {
            return None;
        }
        wait_metric(client, "tally_flushes_total", flushes as u64 + 1, WAIT)?;
    }
    server.signal("TERM");
    server.wait_end(WAIT).success().then_some(())
}

/// Whether the server got through.
fn kill_at(folder: &Path, call: &str, n: u64) -> bool {
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:signal=SIGKILL:when={n}"),
    );
    // With `--seccomp-bpf`, strace 6.1 injects no signal.
    let mut server = strace::spawn(folder, SETTINGS, &["-o", "/dev/null", "-e", &trace, "-e", &inject]);
    let client = server.client();
    let mut sent = Sent::default();
    let is_through = scenario(&mut server, &client, &mut sent).is_some();
    server.wait_end(WAIT);
    sent.verify(folder, SETTINGS, &format!("killed at {call} number {n}"));
    is_through
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn a_kill_at_each_system_call_loses_nothing_acknowledged() {
    if !strace::is_available("kills at system calls") {
        return;
    }
    let (started, every) = (Instant::now(), every());
    let mut killed = 0;
    let mut counts = Vec::new();
    for (at, call) in CALLS.iter().enumerate() {
        // Where the series begins differs, so that the short version is not always at the same places.
        let points = (1 + at as u64 % every..POINTS_MAX).step_by(every as usize);
        let mut last = 0;
        for n in points {
            let folder = tempfile::tempdir().unwrap();
            last = n;
            if kill_at(folder.path(), call, n) {
                break;
            }
            killed += 1;
        }
        counts.push(format!("{call} {last}"));
    }
    assert!(
        killed >= 2 * CALLS.len() as u64 / every,
        "{killed} kills are too few: {}",
        counts.join(", ")
    );
    println!(
        "{killed} kills, every {every}; through at: {}; {:?}",
        counts.join(", "),
        started.elapsed()
    );
}
