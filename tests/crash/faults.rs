//! Disks that fail and go on: the n-th call of each kind fails once or for a while, and a disk that is really full.
//!
//! Never a panic, never a false acknowledgement, nothing lost or doubled; when the fault is over, writes are accepted
//! again within five seconds and without a restart. By default every 31st n; all with `TALLY_CRASH_FAULTS=all`, every
//! k-th with `=k`.

use crate::scenario::{Answer, PROJECT, Sent, is_ready, metric, wait_metric_with};
use crate::strace;
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::wait_for;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SETTINGS: &[(&str, &str)] = &[("flush_interval_ms", "50"), ("memory", "256MiB"), ("disk_reserve", "0")];
const WAIT: Duration = Duration::from_secs(60);
/// How long a fault may come back after it was met.
const FAULT_MAX: Duration = Duration::from_secs(3);
/// The promise, which is asked of a release build (`TALLY_BIN`); one for debugging, beside other tests, may take longer.
fn resume_max() -> Duration {
    Duration::from_secs(if std::env::var_os("TALLY_BIN").is_some() { 5 } else { 45 })
}
/// Longer than the retries of the log and of a flush.
const POINTS_MAX: u64 = 2_000;

/// Calls, the errors they may give, and whether only the log's journals are meant: a `write` is also what logs and
/// wake-ups are made of.
const FAULTS: &[(&str, &[&str], bool)] = &[
    ("fdatasync", &["EIO", "ENOSPC", "EINTR"], false),
    ("fsync", &["EIO", "EINTR"], false),
    ("write", &["EIO", "ENOSPC", "EINTR"], true),
    ("ftruncate", &["EIO", "ENOSPC"], false),
    ("rename", &["EIO", "ENOSPC"], false),
    ("linkat", &["EIO", "ENOSPC"], false),
    ("unlink", &["EIO"], false),
    ("mkdir", &["ENOSPC"], false),
];

fn every() -> u64 {
    match std::env::var("TALLY_CRASH_FAULTS").as_deref() {
        Err(_) => 31,
        Ok("all") => 1,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("TALLY_CRASH_FAULTS={text} is no number")),
    }
}

/// The arguments of strace that make a call fail.
fn fault(folder: &Path, call: &str, error: &str, when: &str, is_journal: bool) -> Vec<String> {
    let mut arguments = vec![
        "-o".to_owned(),
        folder.join("trace").to_string_lossy().into_owned(),
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:error={error}:when={when}"),
    ];
    if is_journal {
        for journal in ["wal.new/0.jnl", "wal/0.jnl", "wal/0.new", "wal/1.jnl"] {
            arguments.extend([
                "-P".to_owned(),
                folder.join("data").join(journal).to_string_lossy().into_owned(),
            ]);
        }
    }
    arguments
}

fn spawn(folder: &Path, arguments: &[String], further: &[&str]) -> Process {
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(further.iter().copied())
        .collect();
    strace::spawn(folder, SETTINGS, &arguments)
}

fn assert_no_panic(folder: &Path, what: &str) {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap();
    let panic = log.lines().find(|line| line.contains("panicked at"));
    assert_eq!(panic, None, "{what}:\n{log}");
}

/// Whether strace has made a call fail.
fn is_met(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("trace")).is_ok_and(|text| text.contains("(INJECTED)"))
}

/// One fault; whether it was met, and the longest time without an acknowledgement.
fn fail_once(call: &str, error: &str, n: u64, is_journal: bool) -> (bool, Duration) {
    let what = format!("{error} from {call} number {n}");
    let folder = tempfile::tempdir().unwrap();
    let mut server = spawn(
        folder.path(),
        &fault(folder.path(), call, error, &n.to_string(), is_journal),
        &["-I", "1"],
    );
    let client = server.client();
    let mut sent = Sent::default();
    let mut longest = Duration::ZERO;
    let mut is_traced = true;
    if is_ready(&mut server, &client) {
        for (at, number) in [11, 13, 15].into_iter().enumerate() {
            if sent.post(&client, number) != Answer::Acknowledged {
                // A refused batch may be sent again at once; another one goes through as soon as the log is healed.
                let took = sent.post_until_acknowledged(&client, number + 10 * (at as u64 + 1), resume_max());
                longest = longest.max(took);
            }
            // It may be the query that meets the fault.
            client.load(PROJECT, &json!({"measures": ["TrackedEvents.count"]}));
            // Each thread of the server counts its calls for itself, and one that has nothing to do ends: a thread for each
            // retry would meet the fault each time. So the fault is over a while after it was met.
            wait_metric_with(&client, "tally_flushes_total", at as u64 + 1, WAIT, |waited| {
                if is_traced && waited > FAULT_MAX && is_met(folder.path()) {
                    strace::detach(&server);
                    is_traced = false;
                }
            });
        }
        assert!(server.is_running(), "{what}: {}", server.log());
        server.kill();
    } else {
        let status = server.wait_end(WAIT);
        assert!(
            status.code().is_some(),
            "{what}: a start that cannot go on ends with a code, and not {status}"
        );
    }
    if is_traced {
        wait_for("strace's log", WAIT, || {
            let text = std::fs::read_to_string(folder.path().join("trace")).unwrap();
            text.lines().any(|line| line.contains("+++")).then_some(())
        });
    }
    assert_no_panic(folder.path(), &what);
    sent.verify(folder.path(), SETTINGS, &what);
    assert_no_panic(folder.path(), &what);
    (is_met(folder.path()), longest)
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn one_failed_call_at_any_place_is_survived() {
    if !strace::is_available("failing system calls") {
        return;
    }
    let (started, every) = (Instant::now(), every());
    let (mut met, mut longest) = (0, Duration::ZERO);
    for (at, (call, errors, is_journal)) in FAULTS.iter().enumerate() {
        for error in *errors {
            for n in (1 + at as u64 % every..POINTS_MAX).step_by(every as usize) {
                let (is_met, took) = fail_once(call, error, n, *is_journal);
                if !is_met {
                    break;
                }
                met += 1;
                longest = longest.max(took);
            }
        }
    }
    println!(
        "{met} faults, every {every}; longest time without an acknowledgement {longest:?}; {:?}",
        started.elapsed()
    );
}

/// Faults that last: everything is refused, and once they are over writes resume without a restart.
#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn a_disk_that_fails_for_a_while_is_survived_without_a_restart() {
    if !strace::is_available("a disk that fails for a while") {
        return;
    }
    // A start and a flush make few of these calls from one thread; group commits all come from one, which also heals. In
    // the first case healing succeeds and the next group fails again, in the second healing fails too.
    for (call, error, when) in [("fdatasync", "EIO", "2+"), ("fdatasync,rename", "ENOSPC", "12+")] {
        let folder = tempfile::tempdir().unwrap();
        let mut sent = Sent::default();
        // Make the folder first: the fault is for a server that runs.
        let mut server = Process::start(folder.path(), SETTINGS);
        assert_eq!(sent.post(&server.client(), 11), Answer::Acknowledged);
        server.kill();
        let arguments = fault(folder.path(), call, error, when, false);
        let mut server = spawn(folder.path(), &arguments, &["-I", "1"]);
        server.wait_ready();
        let client = server.client();
        let mut number = 20;
        let mut refused = 0;
        while refused < 10 {
            number += 1;
            refused += u64::from(sent.post(&client, number) == Answer::Refused);
            assert!(number < 200, "{call} fails and nothing is refused");
        }
        assert!(metric(&client, "tally_wal_failures_total").unwrap() >= 1);
        let seen = client.rows(PROJECT, &json!({"measures": ["TrackedEvents.count"]}));
        assert_eq!(seen.len(), 1, "queries go on");
        strace::detach(&server);
        let took = sent.post_until_acknowledged(&client, number, resume_max());
        println!(
            "{error} from {call} for a while: {} batches refused, resumed after {took:?}",
            sent.all.len() - sent.acknowledged.len()
        );
        let stored = client.id_counts(PROJECT, "b");
        sent.check(&stored).unwrap_or_else(|error| panic!("{call}: {error}"));
        server.kill();
        assert_no_panic(folder.path(), call);
        sent.verify(folder.path(), SETTINGS, call);
    }
}

/// A mounted tmpfs of 8 MiB, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    #[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(at)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => return Some(Self(at.to_owned())),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("\n=== SKIPPED: a full disk\n=== a tmpfs cannot be mounted, which takes root: {why}\n");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Posts until nothing was acknowledged for a while; the number of the last batch.
fn fill(sent: &mut Sent, client: &Client, from: u64) -> u64 {
    let (mut number, mut refused) = (from, 0);
    while refused < 10 {
        number += 1;
        match sent.post(client, number) {
            Answer::Acknowledged => refused = 0,
            Answer::Refused => refused += 1,
            Answer::None => panic!("the server ended on a full disk"),
        }
        assert!(number < from + 2_000, "8 MiB are not full after 2,000 batches");
    }
    number
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn a_full_disk_refuses_and_resumes_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let Some(_small) = Small::mount(&data) else { return };
    let ballast = data.join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let mut server = Process::start(folder.path(), SETTINGS);
    let client = server.client();
    let mut sent = Sent::default();
    let last = fill(&mut sent, &client, 300);
    assert_eq!(
        client.count(PROJECT),
        sent.acknowledged.iter().sum::<u64>(),
        "queries go on and see what was acknowledged"
    );
    std::fs::remove_file(&ballast).unwrap();
    let took = sent.post_until_acknowledged(&client, last + 100, resume_max());
    println!(
        "a full disk of 8 MiB: {} batches acknowledged, {} refused, resumed {took:?} after there was room",
        sent.acknowledged.len(),
        sent.all.len() - sent.acknowledged.len()
    );
    assert!(server.is_running());
    let stored = client.id_counts(PROJECT, "b");
    sent.check(&stored)
        .unwrap_or_else(|error| panic!("on the full disk: {error}"));
    server.kill();
    assert_no_panic(folder.path(), "a full disk");
    server = Process::start(folder.path(), SETTINGS);
    let stored = server.client().id_counts(PROJECT, "b");
    sent.check(&stored)
        .unwrap_or_else(|error| panic!("after the full disk: {error}"));
}

#[test]
fn below_its_reserve_a_disk_takes_no_events_and_says_so_with_figures() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let Some(_small) = Small::mount(&data) else { return };
    let settings = [("memory", "256MiB"), ("disk_reserve", "3MiB")];
    let mut server = Process::start(folder.path(), &settings);
    let client = server.client();
    let mut sent = Sent::default();
    assert_eq!(sent.post(&client, 11), Answer::Acknowledged);
    let ballast = data.join("ballast");
    std::fs::write(&ballast, vec![1; 6 << 20]).unwrap();
    wait_for("a refusal", resume_max(), || {
        (sent.post(&client, 12) == Answer::Refused).then_some(())
    });
    let reply = client.ingest(crate::scenario::WRITE_KEY, &json!([]));
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("2")));
    assert!(
        reply.error().contains("the last 3 MiB are kept back (`disk_reserve`)"),
        "{}",
        reply.error()
    );
    assert_eq!(
        client.count(PROJECT),
        sent.acknowledged.iter().sum::<u64>(),
        "queries go on"
    );
    std::fs::remove_file(&ballast).unwrap();
    sent.post_until_acknowledged(&client, 20, resume_max());
    server.kill();
}
