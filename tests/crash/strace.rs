//! The server under `strace`, which records what it does or makes its system calls fail.

use crate::support::process::{Process, command, free_address};
use crate::support::wait_for;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Whether processes can be traced here. When not, says so loudly: a test that did not run has shown nothing.
#[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn is_available(test: &str) -> bool {
    let traced = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let why = match traced {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!(
            "strace cannot trace: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) => format!("strace cannot be run ({error}); install it: apt-get install strace"),
    };
    eprintln!("\n=== SKIPPED: {test}\n=== {why}\n");
    false
}

/// Starts `tally serve` on `<folder>/data` under strace with these arguments and does not wait. The process is the
/// server's own; its tracer lives beside it.
pub fn spawn(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Process {
    let data_dir = folder.join("data");
    if !data_dir.join("projects.json").exists() {
        crate::support::write_projects(&data_dir);
    }
    let address = free_address();
    let plain = command(&data_dir, address, settings);
    let mut traced = Command::new("strace");
    traced
        .args(["-D", "-f"])
        .args(arguments)
        .arg(plain.get_program())
        .arg("serve");
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    Process::run(traced, address, folder.join("server.log"))
}

/// Ends the tracing of a running server, which goes on without it. For one that was
/// spawned with `-I 1`, so that strace can be told to end, and without `--seccomp-bpf`, whose filter would stay.
pub fn detach(server: &Process) {
    let tracer = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("TracerPid:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    let pid = tracer();
    assert_ne!(pid, 0, "the server is traced");
    let status = Command::new("kill").arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill {pid}");
    wait_for("the end of the tracing", Duration::from_secs(10), || {
        (tracer() == 0).then_some(())
    });
}

/// The log that strace wrote, once the process `id` has ended.
pub fn log(path: &Path, id: u32) -> String {
    wait_for("the end of strace's log", Duration::from_secs(60), || {
        let text = std::fs::read_to_string(path).ok()?;
        let end = text.lines().rev().find(|line| line.contains("+++"))?;
        (end.starts_with(&id.to_string()) && text.ends_with('\n')).then_some(text)
    })
}
