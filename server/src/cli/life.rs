//! `tally retention` and `tally history`: how long data lives, and what of the past can be asked.

use super::operate::operate;
use super::output::say;
use super::token::only_project;
use super::{Context, Failed, Outcome};
use crate::auth::{Projects, Retention};
use clap::Args;
use engine::ProjectId;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(super) struct RetentionOptions {
    /// Deletes what is past its time now; the server does so every hour
    #[arg(long)]
    apply: bool,
}

/// `tally retention`.
pub(super) fn retention(context: &Context, options: &RetentionOptions) -> Outcome {
    let told = operate(context, "retention", &json!({"dry_run": !options.apply}))?;
    let general = match context.settings.retention_days {
        Some(days) => format!("{days} days"),
        None => "for ever".to_owned(),
    };
    say(&format!(
        "events are kept {general} unless their project says otherwise"
    ));
    for project in Projects::open(&context.settings.data_dir)?.list() {
        if let Some(own) = project.retention {
            say(&format!("{}: {}", project.id, in_words(own)));
        }
    }
    let expired = told["expired"].as_array().map(Vec::as_slice).unwrap_or_default();
    let what = if options.apply {
        "deleted"
    } else {
        "past their time, deleted within an hour"
    };
    for table in expired {
        say(&format!(
            "{}, {}: {} rows in {} files are {what}",
            text(&table["project"]),
            text(&table["table"]),
            table["rows"],
            table["files"],
        ));
    }
    if expired.is_empty() {
        say("nothing is past its time");
    }
    Ok(())
}

/// A rule in words.
pub(super) fn in_words(retention: Retention) -> String {
    match retention {
        Retention::Forever => "kept for ever".to_owned(),
        Retention::Days(days) => format!("kept {days} days"),
    }
}

#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    /// The project's id; may be left out when there is only one
    #[arg(long, short)]
    project: Option<String>,
    /// Versions to show, the newest first
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// `tally history`.
pub(super) fn history(context: &Context, options: &HistoryOptions) -> Outcome {
    let project = project_of(context, options.project.as_deref())?;
    let told = operate(
        context,
        "history",
        &json!({"project": project.as_str(), "count": options.limit}),
    )?;
    if options.json {
        say(&told["versions"].to_string());
        return Ok(());
    }
    let versions = told["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.is_empty() {
        say(&format!(
            "project `{project}` has no versions: nothing was written to its table yet"
        ));
        return Ok(());
    }
    say(&format!(
        "{:>8}  {:<27}  {:<9}  {:>12}  {:>7}  asOf",
        "version", "committed", "by", "rows", "files"
    ));
    for version in versions {
        let can = if version["readable"] == json!(true) {
            "yes"
        } else {
            "no"
        };
        say(&format!(
            "{:>8}  {:<27}  {:<9}  {:>12}  {:>7}  {can}",
            version["version"].to_string(),
            text(&version["at"]),
            text(&version["operation"]),
            version["rows"].to_string(),
            version["files"].to_string(),
        ));
    }
    Ok(())
}

/// The project of this id, or the only one.
pub(super) fn project_of(context: &Context, id: Option<&str>) -> Result<ProjectId, Failed> {
    match id {
        Some(id) => Ok(ProjectId::new(id)?),
        None => only_project(&Projects::open(&context.settings.data_dir)?, &context.settings),
    }
}

/// A text of an answer.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
