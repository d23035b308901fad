//! The log: to standard error, as text for people or JSON for machines.

use crate::config::{LogFormat, Settings};
use std::io::IsTerminal;
use tracing_subscriber::Layer;
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

/// Starts logging as the settings say. Does nothing when it has been started already.
pub fn start(settings: &Settings) {
    let filter = filter(&settings.log);
    let registry = tracing_subscriber::registry();
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error only means that a test has installed its own.
    let _ = match settings.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let output = output.with_target(false).with_ansi(colours).compact();
            registry.with(output.with_filter(filter)).try_init()
        }
        LogFormat::Json => registry
            .with(output.json().flatten_event(true).with_filter(filter))
            .try_init(),
    };
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
