//! `tally config`: every setting, its value and where it came from.

use super::output::{say, style};
use super::{Context, Outcome};
use crate::config::{Origin, Setting};

/// Prints the settings.
pub(super) fn run(context: &Context) -> Outcome {
    let file = match &context.layers.file {
        Some(path) => format!("# Settings file: {}", path.display()),
        None => "# No settings file (`tally.yml` in this folder, --config or $TALLY_CONFIG would be read).".to_owned(),
    };
    say(&file);
    say("# Later wins: default < file < environment < flag.");
    for entry in &context.resolved {
        let Some(setting) = Setting::find(entry.key) else {
            continue;
        };
        let shown = match entry.text.as_str() {
            "" => "(not set)".to_owned(),
            _ if setting.secret => "(hidden)".to_owned(),
            text => text.to_owned(),
        };
        let effective = effective(context, entry.key)
            .map(|value| format!(" = {value}"))
            .unwrap_or_default();
        let origin = match &entry.origin {
            Origin::Default => "default".to_owned(),
            origin => style(&origin.to_string(), "32"),
        };
        say(&format!("\n{}: {shown}{effective}   [{origin}]", style(entry.key, "1")));
        say(&format!("    {}", setting.help));
        say(&format!("    --{}, ${}", setting.flag(), setting.env.join(", $")));
    }
    for name in context.layers.unknown_env() {
        say(&format!("\n{} ${name} is set but is no setting", style("note:", "33")));
    }
    Ok(())
}

/// What a relative or missing value comes to.
fn effective(context: &Context, key: &str) -> Option<String> {
    let settings = &context.settings;
    match key {
        "memory" => Some(format!("{} MiB", settings.memory_bytes / (1024 * 1024))),
        "query_threads" => Some(settings.query_threads.to_string()),
        "data_dir" => Some(std::path::absolute(&settings.data_dir).ok()?.display().to_string()),
        "models_dir" if settings.models_dir.is_none() => Some(settings.models_dir().display().to_string()),
        "store" if settings.store.is_none() => settings.store_url().ok(),
        "api_secret" if settings.api_secret.is_none() => {
            Some(format!("the file {}", settings.data_dir.join("secret").display()))
        }
        "public_url" if settings.public_url.is_none() => Some(settings.base_url()),
        _ => None,
    }
}
