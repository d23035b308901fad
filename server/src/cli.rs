//! The command line: what `tally` can be asked to do, and how it says what went wrong.

mod backup;
mod check;
mod demo;
mod erase;
mod explain;
mod export;
mod import;
mod life;
mod operate;
mod output;
mod project;
mod rejected;
mod serve;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod token;
mod wiring;

use crate::app::make_folder;
use crate::auth::Kept;
use crate::config::{Layers, Problem, Resolved, SettingFlags, Settings, Wal};
use clap::{Args, Parser, Subcommand};
use output::{say_error, style};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Product analytics in one binary and one bucket.
///
/// SDKs of Jitsu, Snowplow and GitLab post events to it unchanged, events are kept as Parquet, cubes and funnels are
/// YAML, and Cube clients query it by changing one URL.
#[derive(Debug, Parser)]
#[command(
    name = "tally",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Try it: `tally demo` starts a server with a demo site and prints what to do next."
)]
struct Cli {
    #[command(subcommand)]
    command: Action,
    #[command(flatten)]
    place: Place,
}

/// Where settings come from.
#[derive(Debug, Args)]
struct Place {
    /// Settings file [default: tally.yml, if there is one] [env: TALLY_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Does what a command is to do with the data though another server may write to the store, and stops that one from
    /// writing
    #[arg(long, global = true)]
    take_over: bool,
    #[command(flatten)]
    flags: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts the server
    Serve,
    /// Starts a server with a demo site: 30 days of events and a checkout funnel
    Demo,
    /// Checks the settings, the models and the funnels, and names every problem with its file and line; with --data every
    /// file of the tables
    Check(check::Options),
    /// Copies all data, projects and models into a folder or bucket; works while the server runs
    Backup(backup::BackupOptions),
    /// Restores a backup, or an earlier state that it holds, into empty places
    // Its own `--version` is a version of a table.
    #[command(disable_version_flag = true)]
    Restore(backup::RestoreOptions),
    /// Writes events as Parquet, NDJSON, CSV or an Arrow stream; works while the server runs
    Export(export::Options),
    /// Reads events of other systems, or of an export, into a project: Parquet, NDJSON, CSV, TSV, Arrow
    Import(import::Options),
    /// Shows every setting, its value and where it came from
    Config,
    /// Adds, changes and lists projects; works while the server runs
    #[command(subcommand)]
    Project(project::Action),
    /// Writes everything that is buffered to the tables
    Flush,
    /// Merges the files that are worth merging now; the server does the same in time
    Compact,
    /// Shows how long events are kept, and deletes older ones
    Retention(life::RetentionOptions),
    /// Erases a visitor or a stretch of time from everything that is kept
    #[command(subcommand)]
    Erase(erase::Action),
    /// Lists what could not be accepted, and tries it again
    #[command(subcommand)]
    Rejected(rejected::Action),
    /// Lists the versions of a project's events, which `asOf` of a query can ask
    History(life::HistoryOptions),
    /// Prints a token for queries
    Token(token::Options),
    /// Prints how to connect SDKs, Cube clients and GitLab, keys included
    Wiring(wiring::Options),
    /// Prints the version
    Version,
}

/// Why a command could not be done; already said in words for the user.
#[derive(Debug)]
enum Failed {
    /// One thing went wrong.
    Message(String),
    /// Several did, each with its place.
    Problems(Vec<String>),
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Message(error.to_string())
    }
}

/// What a command ends with.
type Outcome = Result<(), Failed>;

/// The settings of this run, and where each came from.
#[derive(Debug)]
struct Context {
    settings: Settings,
    resolved: Vec<Resolved>,
    layers: Layers,
    /// Whether a command may stop another writer.
    take_over: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = act(cli);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Message(message)) => {
            say_error(&format!("{} {message}", style("error:", "1;31")));
            ExitCode::FAILURE
        }
        Err(Failed::Problems(problems)) => {
            for problem in problems {
                say_error(&problem);
            }
            ExitCode::FAILURE
        }
    }
}

fn act(cli: Cli) -> Outcome {
    let take_over = cli.place.take_over;
    let mut layers = layers(cli.place);
    if let Action::Version = cli.command {
        output::say(&format!("tally {}", env!("CARGO_PKG_VERSION")));
        return Ok(());
    }
    if let Action::Demo = cli.command {
        layers.defaults = vec![("data_dir", demo::DATA_DIR.to_owned())];
    }
    let (settings, resolved) = layers.resolve().map_err(|problems| as_failed(&problems))?;
    let context = Context {
        settings,
        resolved,
        layers,
        take_over,
    };
    let kept = kept(&context, &cli.command)?;
    match cli.command {
        Action::Serve => serve::run(&context),
        Action::Demo => demo::run(&context),
        Action::Check(options) => check::run(&context, &options),
        Action::Backup(options) => backup::backup(&context, &options),
        Action::Restore(options) => backup::restore(&context, &options),
        Action::Export(options) => export::run(&context, &options),
        Action::Import(options) => import::run(&context, &options),
        Action::Config => explain::run(&context),
        Action::Project(action) => {
            project::run(&context, action)?;
            match kept {
                Some((runtime, kept)) => Ok(runtime.block_on(kept.sync())?),
                None => Ok(()),
            }
        }
        Action::Flush => tables::flush(&context),
        Action::Compact => tables::compact(&context),
        Action::Retention(options) => life::retention(&context, &options),
        Action::Erase(action) => erase::run(&context, action),
        Action::Rejected(action) => rejected::run(&context, action),
        Action::History(options) => life::history(&context, &options),
        Action::Token(options) => token::run(&context, &options),
        Action::Wiring(options) => wiring::run(&context, &options),
        Action::Version => Ok(()),
    }
}

/// Brings what the store keeps of the data folder into it, for the commands that read projects and secrets from there.
fn kept(context: &Context, command: &Action) -> Result<Option<(tokio::runtime::Runtime, Arc<Kept>)>, Failed> {
    let reads_folder = matches!(
        command,
        Action::Project(_)
            | Action::Token(_)
            | Action::Wiring(_)
            | Action::History(_)
            | Action::Erase(_)
            | Action::Rejected(_)
    );
    if !reads_folder {
        return Ok(None);
    }
    if context.settings.wal == Wal::Local {
        return Ok(None);
    }
    make_folder(&context.settings.data_dir)?;
    let runtime = runtime()?;
    let kept = runtime.block_on(Kept::open(&context.settings))?;
    Ok(kept.map(|kept| (runtime, kept)))
}

fn layers(place: Place) -> Layers {
    let named = place.config.or_else(|| {
        std::env::var_os("TALLY_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    });
    let usual = || Some(PathBuf::from("tally.yml")).filter(|path| path.exists());
    // Variables that are not Unicode cannot be settings of ours.
    let unicode =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Layers {
        file: named.or_else(usual),
        env: unicode.collect(),
        flags: place.flags,
        defaults: Vec::new(),
    }
}

fn as_failed(problems: &[Problem]) -> Failed {
    Failed::Problems(problems.iter().map(ToString::to_string).collect())
}

/// A runtime for commands that open the engine.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tally")
        .thread_keep_alive(engine::limits::BLOCKING_THREAD_IDLE)
        .build()
}
