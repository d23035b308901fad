//! `tally check`: the settings, the models and the funnels, every problem as `file:line: message`; with `--data` every byte
//! of the tables as well.

use super::output::{say, say_error};
use super::store::{self, Unit};
use super::{Context, Failed, Outcome, runtime};
use clap::Args;
use engine::clock::SystemClock;
use engine::maintenance::{Progress, Severity, WalState, check_wal};
use engine::model::Problem;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Reads every file of the tables and of their logs, compares it with its checksum, and names what is damaged. Works
    /// while the server runs
    #[arg(long)]
    data: bool,
    /// Checks the data of this project only; may be given several times
    #[arg(long, value_name = "PROJECT", requires = "data")]
    project: Vec<String>,
}

/// Checks. The settings have been read already: a wrong one ended the program before.
pub(super) fn run(context: &Context, options: &Options) -> Outcome {
    let mut problems = settings_and_models(context)?;
    if options.data {
        problems.extend(data(context, options)?);
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failed::Problems(problems))
}

/// The errors of the models.
fn settings_and_models(context: &Context) -> Result<Vec<String>, Failed> {
    let settings = &context.settings;
    if let Some(file) = &context.layers.file {
        say(&format!("{}: settings are right", file.display()));
    }
    let folder = settings.models_dir();
    if settings.models_dir.is_none() && !folder.exists() {
        say(&format!("{}: no models yet", folder.display()));
        return Ok(Vec::new());
    }
    let problems = engine::check_models(&folder)?;
    // Places are relative to the folder; with it in front, editors find them.
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.is_error());
    let in_folder = |problem: &Problem| folder.join(problem.to_string()).display().to_string();
    for warning in warnings {
        say_error(&in_folder(warning));
    }
    if errors.is_empty() {
        say(&format!("{}: models and funnels are right", folder.display()));
    }
    Ok(errors.into_iter().map(in_folder).collect())
}

/// The damage of the data.
fn data(context: &Context, options: &Options) -> Result<Vec<String>, Failed> {
    let settings = &context.settings;
    let mut damage = Vec::new();
    match check_wal(&settings.data_dir, Arc::new(SystemClock)) {
        Ok(WalState::Absent) => {}
        Ok(WalState::InUse) => say("write-ahead log: a server holds it, which has read it at its start"),
        Ok(WalState::Right { records }) => say(&format!(
            "write-ahead log: right, {records} records wait for the tables"
        )),
        Err(error) => damage.push(format!("damage: {error}")),
    }
    let report = runtime()?.block_on(async {
        let store = store::open(settings).await?;
        let projects = store::projects(&store, &options.project).await?;
        let progress = Arc::new(Progress::default());
        let check = store.check(&projects, &progress);
        Ok::<_, Failed>(store::watched("Checking", Unit::Bytes, &progress, check).await?)
    })?;
    let (damaged, notes): (Vec<_>, Vec<_>) = report
        .findings
        .iter()
        .partition(|finding| finding.severity == Severity::Damage);
    notes.iter().for_each(|note| say_error(&note.to_string()));
    damage.extend(damaged.iter().map(ToString::to_string));
    say(&format!(
        "{} tables: {} files of {} with {} rows, {} files of their logs, {} objects beside them: {}",
        report.tables,
        report.files,
        store::size(report.bytes),
        report.rows,
        report.log_files,
        report.objects,
        if damage.is_empty() {
            "all right".to_owned()
        } else {
            format!("{} damaged", damage.len())
        }
    ));
    Ok(damage)
}
