//! `tally check`: the settings, the models and the funnels, every problem as `file:line: message`.

use super::output::{say, say_error};
use super::{Context, Failed, Outcome};
use engine::model::Problem;

/// Checks. The settings have been read already: a wrong one ended the program before.
pub(super) fn run(context: &Context) -> Outcome {
    let settings = &context.settings;
    if let Some(file) = &context.layers.file {
        say(&format!("{}: settings are right", file.display()));
    }
    let folder = settings.models_dir();
    if settings.models_dir.is_none() && !folder.exists() {
        say(&format!("{}: no models yet", folder.display()));
        return Ok(());
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
        return Ok(());
    }
    Err(Failed::Problems(errors.into_iter().map(in_folder).collect()))
}
