//! Commands that work on the data of a folder: asked of the server that holds it, or done here when none does.
//!
//! A serving process writes `<data_dir>/server.json` with its address. Whether one serves is not told by that file,
//! which a crash leaves behind, but by the lock of the folder: [`operate`] tries to open the engine, and asks the address
//! only when somebody else holds the lock.

use super::output::{is_terminal, say_error};
use super::store::options as store_options;
use super::{Context, Failed, runtime};
use crate::admin::operations::PREFIX;
use crate::admin::{Operation, Progress};
use crate::app::{App, make_folder};
use crate::auth::secrets::write_private;
use crate::auth::{Secrets, operator};
use crate::config::{Settings, Wal};
use engine::ErrorKind;
use engine::clock::{Clock, SystemClock};
use engine::maintenance::Store;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait for a server that holds the folder and does not answer yet, or for another command to end.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// Time between two tries.
const BUSY_LOOK: Duration = Duration::from_millis(200);
/// Time to reach a server on this machine.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where a serving process can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    pid: u32,
    address: SocketAddr,
}

/// The file that says where this process serves, as long as it is kept.
#[derive(Debug)]
pub(super) struct Announced {
    path: PathBuf,
    running: Running,
}

/// Says in the data folder that this process serves it at `address`. To be called by who holds the folder.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn announce(data_dir: &Path, address: SocketAddr) -> io::Result<Announced> {
    let running = Running {
        pid: std::process::id(),
        address: reachable(address),
    };
    let path = file(data_dir);
    write_private(&path, &serde_json::to_vec(&running)?)?;
    Ok(Announced { path, running })
}

impl Drop for Announced {
    fn drop(&mut self) {
        if read(&self.path).as_ref() == Some(&self.running) {
            // What is left is known by the lock to be stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("server.json")
}

fn read(path: &Path) -> Option<Running> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// An address that this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Has the operation `name` of [`crate::admin::OPERATIONS`] done on the data folder of the settings: by the server that
/// holds it, else here. Shows on a terminal how far it is.
///
/// # Errors
/// What the operation says, or why the folder or its server cannot be reached.
pub(super) fn operate(context: &Context, name: &str, parameters: &Value) -> Result<Value, Failed> {
    let operation = Operation::find(name).ok_or_else(|| Failed::Message(format!("there is no operation `{name}`")))?;
    let settings = &context.settings;
    if settings.wal == Wal::Store {
        // It may have been lost, and everything that belongs there comes from the store.
        make_folder(&settings.data_dir)?;
    }
    if !settings.data_dir.is_dir() {
        return Err(Failed::Message(format!(
            "there is no data in {}: name the folder with --data-dir",
            settings.data_dir.display()
        )));
    }
    runtime()?.block_on(async {
        if !context.take_over {
            refuse_beside_another(settings).await?;
        }
        find(settings, operation, parameters).await
    })
}

/// Refuses when nobody holds the folder, but another machine may write to the store: what is done here would stop it.
async fn refuse_beside_another(settings: &Settings) -> Result<(), Failed> {
    if settings.store.is_none() || settings.read_only || is_held(&settings.data_dir) {
        return Ok(());
    }
    let store = Store::open_to_read(&settings.store_url()?, &store_options(settings))?;
    let Some(holder) = store.holder().await? else {
        return Ok(());
    };
    if holder.is_gone || !settings.may_run(&holder.instance) {
        return Ok(());
    }
    let since = chrono::DateTime::from_timestamp_micros(holder.since).unwrap_or_default();
    Err(Failed::Message(format!(
        "another server may be writing to this store: {} took it on {} and did not say that it stopped. Run the command \
         there with its settings. If it does not run any more, or may be stopped from writing, add --take-over",
        holder.instance,
        since.format("%Y-%m-%d %H:%M:%S UTC"),
    )))
}

/// Whether a process holds the data folder.
fn is_held(data_dir: &Path) -> bool {
    let lock = std::fs::File::options().write(true).open(data_dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

async fn find(settings: &Settings, operation: &Operation, parameters: &Value) -> Result<Value, Failed> {
    let started = Instant::now();
    loop {
        let held = match App::open(settings.clone(), Arc::new(SystemClock)).await {
            Ok(app) => return here(&app, operation, parameters).await,
            Err(error) if error.kind() == ErrorKind::Fenced => error,
            Err(error) => return Err(error.into()),
        };
        if let Some(running) = read(&file(&settings.data_dir)) {
            match there(settings, &running, operation, parameters).await {
                Err(Unreached::Nobody) => {}
                Err(Unreached::Failed(failed)) => return Err(failed),
                Ok(result) => return Ok(result),
            }
        }
        if started.elapsed() > BUSY_WAIT {
            return Err(Failed::Message(format!(
                "{held}. It answers no commands: if it is another `tally` command, wait until it has ended"
            )));
        }
        tokio::time::sleep(BUSY_LOOK).await;
    }
}

/// Runs it in this process, and closes the data folder whatever comes of it.
async fn here(app: &Arc<App>, operation: &Operation, parameters: &Value) -> Result<Value, Failed> {
    let (progress, mut told) = Progress::new();
    let shown = Shown::new();
    let run = operation.run(app, parameters.clone(), progress);
    let show = async {
        while told.changed().await.is_ok() {
            shown.tell(&told.borrow().clone());
        }
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = run => result,
        () = show => Err(engine::Error::internal("an operation without an end")),
    };
    drop(shown);
    let closed = app.engine.close().await;
    let result = result?;
    closed?;
    Ok(result)
}

/// Why a server gave no result.
enum Unreached {
    /// Nobody listens there.
    Nobody,
    Failed(Failed),
}

impl From<Failed> for Unreached {
    fn from(failed: Failed) -> Self {
        Unreached::Failed(failed)
    }
}

/// Asks the server at `running`.
async fn there(
    settings: &Settings,
    running: &Running,
    operation: &Operation,
    parameters: &Value,
) -> Result<Value, Unreached> {
    let failed = |text: String| Unreached::Failed(Failed::Message(text));
    let secrets = Secrets::open(settings).map_err(|error| failed(error.to_string()))?;
    let token =
        operator::mint(secrets.signing(), SystemClock.now_micros()).map_err(|error| failed(error.to_string()))?;
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_MAX)
        .no_proxy()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let url = format!("http://{}{PREFIX}{}", running.address, operation.name);
    let request = client
        .post(&url)
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(parameters.to_string());
    let broken = |error: reqwest::Error| {
        failed(format!(
            "the server at {} broke off: {error}. What it had begun it may have done: ask again",
            running.address
        ))
    };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Err(Unreached::Nobody),
        Err(error) => return Err(broken(error)),
    };
    if response.status() == reqwest::StatusCode::FORBIDDEN {
        return Err(failed(format!(
            "the server at {} has another secret than these settings: run this with the same settings file and \
             environment as the server, so that `api_secret` is the same",
            running.address
        )));
    }
    let shown = Shown::new();
    let mut buffer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Some(result) = understand(&line, &shown) {
                return Ok(result?);
            }
        }
    }
    match understand(&buffer, &shown) {
        Some(result) => Ok(result?),
        None => Err(failed(format!(
            "the server at {} ended its answer before it was whole; ask again",
            running.address
        ))),
    }
}

/// What a line of an answer ends it with, if it does.
fn understand(line: &[u8], shown: &Shown) -> Option<Result<Value, Failed>> {
    let mut line: Value = serde_json::from_slice(line).ok()?;
    if let Some(words) = line.get("progress").and_then(Value::as_str) {
        shown.tell(words);
    }
    if let Some(error) = line.get("error") {
        let text = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        return Some(Err(Failed::Message(text)));
    }
    line.get_mut("result").map(|result| Ok(result.take()))
}

/// A line on the terminal that says how far it is; nothing where no person looks.
struct Shown(Option<ProgressBar>);

impl Shown {
    fn new() -> Self {
        if !is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    fn tell(&self, words: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(words.to_owned());
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Asks on the terminal whether to go on, unless `yes`.
///
/// # Errors
/// When the answer is not yes, or when nobody can be asked.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failed> {
    use std::io::IsTerminal;
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failed::Message(format!(
            "{question} Nobody can be asked here: add --yes to do it"
        )));
    }
    say_error(&format!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failed::Message("nothing was done".to_owned())),
    }
}
