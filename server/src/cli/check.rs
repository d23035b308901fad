//! `tally check`: the settings, the models and the funnels, every problem as `file:line: message`.

use super::output::{say, say_error};
use super::{Context, Failed, Outcome};

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
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.is_error());
    for warning in warnings {
        say_error(&warning.to_string());
    }
    if errors.is_empty() {
        say(&format!("{}: models and funnels are right", folder.display()));
        return Ok(());
    }
    Err(Failed::Problems(errors.iter().map(ToString::to_string).collect()))
}
