//! `tally import`: events of other systems, or of an export, into a project.

use super::operate::operate;
use super::output::say;
use super::{Context, Failed, Outcome};
use crate::import::{self, Summary, Wanted};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows that `--dry-run` shows.
const ROWS_SHOWN: usize = 3;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Files to read, one after another
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The project's id
    #[arg(long, short)]
    project: String,
    /// `parquet`, `ndjson` (also JSONEachRow), `csv`, `tsv` (TabSeparatedWithNames) or `arrow`; without it the ending says it
    #[arg(long)]
    format: Option<String>,
    /// `native` (an export of Tally), `jitsu` or `snowplow` (also GitLab's ClickHouse); without it the columns say it
    #[arg(long)]
    source: Option<String>,
    /// A YAML file that says what columns mean: `columns: {name in the file: column of Tally, other: ignore}`
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Shows what the columns mean and the first rows, and imports nothing
    #[arg(long)]
    dry_run: bool,
    /// Reads a file from its beginning although it was imported before. Events that are there are not stored twice
    #[arg(long)]
    again: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Map {
    source: Option<String>,
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

/// Imports.
pub(super) fn run(context: &Context, options: &Options) -> Outcome {
    let map = match &options.map {
        Some(path) => read_map(path)?,
        None => Map::default(),
    };
    let mut all = Vec::new();
    for file in &options.files {
        all.push(Wanted {
            project: options.project.clone(),
            file: std::path::absolute(file)?,
            format: options.format.clone(),
            source: options.source.clone().or_else(|| map.source.clone()),
            columns: map.columns.clone(),
            again: options.again,
        });
    }
    if options.dry_run {
        return all.iter().try_for_each(preview);
    }
    for wanted in &all {
        let done = operate(context, "import", &serde_json::to_value(wanted)?)?;
        let summary: Summary = serde_json::from_value(done)?;
        say(&format!("{}: {summary}", wanted.file.display()));
        if summary.skipped == summary.rows && summary.rows > 0 {
            say("The file was imported before; --again reads it from its beginning.");
        }
    }
    Ok(())
}

fn preview(wanted: &Wanted) -> Outcome {
    let (mapping, rows) = wanted.preview()?;
    say(&format!(
        "{}: columns of {}",
        wanted.file.display(),
        mapping.source.name()
    ));
    let described = mapping.described();
    let width = described.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, meaning) in described {
        say(&format!("  {name:width$}  {meaning}"));
    }
    for row in rows.iter().take(ROWS_SHOWN) {
        say(&import::raw(row));
    }
    Ok(())
}

fn read_map(path: &Path) -> Result<Map, Failed> {
    let at = |what: String| Failed::Message(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| at(error.to_string()))
}
