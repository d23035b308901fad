//! The log: to standard error or to a file of bounded size, as text for people or JSON for machines. Lines that repeat
//! are counted instead of written.

mod file;
mod limit;
#[cfg(test)]
mod tests;

use crate::config::{LogFormat, Settings};
use file::RotatingFile;
use limit::Limit;
use parking_lot::Mutex;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries whose own chatter is of no use to an operator unless it is asked for by name.
const QUIET: &[&str] = &[
    "buoyant_kernel",
    "delta_kernel",
    "deltalake_core",
    "fjall",
    "lsm_tree",
    "hyper",
    "object_store",
    "datafusion",
];

/// Where lines go.
#[derive(Clone)]
enum Output {
    Stderr,
    File(Arc<Mutex<RotatingFile>>),
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stderr => io::stderr().write(line),
            Output::File(file) => file.lock().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stderr => io::stderr().flush(),
            Output::File(file) => file.lock().flush(),
        }
    }
}

/// Starts logging as the settings say. Does nothing when it has been started already. A log file that cannot be opened is
/// told on standard error, which is then used in its place.
pub fn start(settings: &Settings) {
    let opened = settings
        .log_file
        .as_ref()
        .map(|path| RotatingFile::open(path, settings.log_file_bytes));
    let (output, failed) = match opened {
        None => (Output::Stderr, None),
        Some(Ok(file)) => (Output::File(Arc::new(Mutex::new(file))), None),
        Some(Err(error)) => (Output::Stderr, Some(error)),
    };
    let colours =
        matches!(output, Output::Stderr) && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let registry = tracing_subscriber::registry();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || output.clone());
    // The last is asked first: what the setting leaves out is not counted.
    let (limit, filter) = (Limit::start(), filter(&settings.log));
    // An error only means that a test has installed its own.
    let _ = match settings.log_format {
        LogFormat::Text => {
            let lines = lines.with_target(false).with_ansi(colours).compact();
            registry.with(lines).with(limit).with(filter).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            registry.with(lines).with(limit).with(filter).try_init()
        }
    };
    if let (Some(error), Some(path)) = (failed, &settings.log_file) {
        tracing::error!(path = %path.display(), %error, "the log file cannot be opened; the log goes to standard error");
    }
}

/// The setting's filter, with [`QUIET`] libraries at `warn` unless it names them.
fn filter(text: &str) -> Targets {
    // The text was checked when the settings were read.
    let asked: Targets = text.parse().unwrap_or_default();
    let quiet = QUIET.iter().filter(|library| !text.contains(**library));
    let level = asked
        .default_level()
        .unwrap_or(LevelFilter::ERROR)
        .min(LevelFilter::WARN);
    quiet.fold(asked, |filter, library| filter.with_target(*library, level))
}
