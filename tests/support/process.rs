//! The real binary as a child process: start it, kill it, measure it.

use super::client::Client;
use super::{SECRET, wait_for, write_projects};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest time a start may take, replay included, in a debug build on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A server process on a folder that outlives it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts `tally serve` on `<folder>/data` with these settings (`flush_interval_ms` and so on) and waits until it is
    /// ready. Makes the projects when the folder is new.
    pub fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut process = Self::spawn(folder, address, settings);
        process.wait_ready();
        process
    }

    /// Starts the process and does not wait.
    pub fn spawn(folder: &Path, address: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let data_dir = folder.join("data");
        if !data_dir.join("projects.json").exists() {
            write_projects(&data_dir);
        }
        let mut command = command(&data_dir, address, settings);
        command.arg("serve");
        let log = folder.join("server.log");
        Self::run(command, address, log)
    }

    /// Runs a prepared command as the server at `address`, its output appended to `log`.
    pub fn run(mut command: Command, address: SocketAddr, log: PathBuf) -> Self {
        let output = File::options().create(true).append(true).open(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, address, log }
    }

    /// Waits until `/readyz` answers; the time that took.
    pub fn wait_ready(&mut self) -> Duration {
        let started = Instant::now();
        let client = self.client();
        let address = self.address;
        wait_for("an answer of /readyz", START_MAX, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            // A refused connection is no answer yet.
            std::net::TcpStream::connect(address).ok()?;
            client
                .try_send("GET", "/readyz", &[], None)
                .ok()
                .filter(|reply| reply.status == 200)
        });
        started.elapsed()
    }

    /// A client of this server.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`; returns when the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns when the process is gone.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        wait_for("the end after SIGTERM", Duration::from_secs(60), || {
            self.child.try_wait().unwrap()
        })
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id().to_string())
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name} {}", self.id());
    }

    /// Waits for the end of a process that is expected to end by itself.
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        wait_for("the end of the process", limit, || self.child.try_wait().unwrap())
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The end of what the server printed and logged.
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(8000)..]).into_owned()
    }

    /// Resident memory in KiB: now, and the most there ever was.
    pub fn memory_kib(&self) -> (u64, u64) {
        let [now, most] = self.status_kib(["VmRSS:", "VmHWM:"]);
        (now, most)
    }

    /// Resident memory in KiB that is the process's own, and that is pages of files: the binary's.
    pub fn memory_parts_kib(&self) -> (u64, u64) {
        let [anonymous, file] = self.status_kib(["RssAnon:", "RssFile:"]);
        (anonymous, file)
    }

    fn status_kib<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        names.map(|name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        })
    }

    /// Forgets the most memory there ever was: from now on it is counted anew.
    pub fn reset_memory_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5").unwrap();
    }

    /// CPU time used so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // The command's name may hold spaces; fields are counted from the parenthesis behind it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint_log(&self.log());
        }
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::print_stderr, reason = "the server's log explains a failed test")]
fn eprint_log(log: &str) {
    eprintln!("--- last lines of the server's log ---\n{log}");
}

/// The binary (of this build, or the one that `TALLY_BIN` names) with its data folder, address and settings in the
/// environment, and nothing of this process's own settings.
pub fn command(data_dir: &Path, address: SocketAddr, settings: &[(&str, &str)]) -> Command {
    let binary = std::env::var_os("TALLY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tally").into());
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars() {
        if name.starts_with("TALLY_") || name.starts_with("CUBEJS_") {
            command.env_remove(name);
        }
    }
    command
        .env("TALLY_DATA_DIR", data_dir)
        .env("TALLY_LISTEN", address.to_string())
        .env("TALLY_API_SECRET", SECRET);
    for (key, value) in settings {
        command.env(format!("TALLY_{}", key.to_uppercase()), value);
    }
    command
}

/// An address of this machine whose port was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}
