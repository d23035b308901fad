//! `tally rejected`: what could not be accepted, why, and another try.

use super::erase::{end_instant, first_instant};
use super::life::{project_of, text};
use super::operate::operate;
use super::output::say;
use super::{Context, Failed, Outcome};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Counts rejected events by reason and shows the newest
    List {
        #[command(flatten)]
        wanted: Wanted,
        /// How many are shown
        #[arg(long, default_value_t = 5)]
        samples: usize,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Tries rejected events again, after a repair of what sent them, of the settings, or an update; what has become an event is rejected no more
    Replay {
        #[command(flatten)]
        wanted: Wanted,
        /// Tells what would become of them and stores nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// The project's id; may be left out when there is only one
    #[arg(long, short)]
    project: Option<String>,
    /// Received on this day (2026-01-31) or instant (2026-01-31T12:00:00Z) or later
    #[arg(long)]
    from: Option<String>,
    /// Received on this day or earlier, or before this instant
    #[arg(long)]
    to: Option<String>,
    /// Code of a reason, such as `invalid_field`; several times for several
    #[arg(long)]
    reason: Vec<String>,
}

impl Wanted {
    fn parameters(&self, context: &Context) -> Result<Value, Failed> {
        let mut parameters = json!({
            "project": project_of(context, self.project.as_deref())?.as_str(),
            "reasons": self.reason,
        });
        if let Some(from) = &self.from {
            parameters["from"] = json!(first_instant(from)?);
        }
        if let Some(to) = &self.to {
            parameters["to"] = json!(end_instant(to)?);
        }
        Ok(parameters)
    }
}

/// Does it.
pub(super) fn run(context: &Context, action: Action) -> Outcome {
    match action {
        Action::List { wanted, samples, json } => {
            let mut parameters = wanted.parameters(context)?;
            parameters["samples"] = json!(samples);
            let told = operate(context, "rejected-list", &parameters)?;
            if json {
                say(&told.to_string());
                return Ok(());
            }
            list(&told);
        }
        Action::Replay { wanted, dry_run } => {
            let mut parameters = wanted.parameters(context)?;
            parameters["dry_run"] = json!(dry_run);
            let told = operate(context, "rejected-replay", &parameters)?;
            let would = if dry_run { "would be stored" } else { "stored" };
            say(&format!("{} {would}, {} duplicates", told["stored"], told["duplicate"]));
            counts("rejected again", told["rejected"].as_object());
            counts("not replayable", told["not_replayable"].as_object());
        }
    }
    Ok(())
}

fn list(told: &Value) {
    if told["total"] == json!(0) {
        say("no rejected events");
        return;
    }
    say(&format!(
        "{} rejected events, received from {} to {}",
        told["total"],
        text(&told["first"]),
        text(&told["last"])
    ));
    for (reason, count) in told["reasons"].as_object().into_iter().flatten() {
        say(&format!("{count:>10}  {reason}"));
    }
    for sample in told["samples"].as_array().map(Vec::as_slice).unwrap_or_default() {
        say(&format!(
            "\n{}  {}  {}: {}\n{}",
            text(&sample["received_at"]),
            text(&sample["protocol"]),
            text(&sample["reason"]),
            text(&sample["detail"]),
            text(&sample["raw"])
        ));
    }
}

fn counts(what: &str, counted: Option<&Map<String, Value>>) {
    for (reason, count) in counted.into_iter().flatten() {
        say(&format!("{count} {what}: {reason}"));
    }
}
