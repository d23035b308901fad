//! `tally export`: the rows of a table as files that anybody can read.

use super::output::{say, say_error};
use super::store::{self, Unit};
use super::{Context, Failed, Outcome, backup, runtime};
use clap::Args;
use engine::ProjectId;
use engine::clock::{DAY_MICROS, Micros};
use engine::maintenance::{Export, Format, Progress, Selection, TableKind};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A folder that gets a file a day, a file, or `-` for standard output
    target: PathBuf,
    /// The project's id
    #[arg(long, short)]
    project: String,
    /// `parquet`, `ndjson`, `csv` or `arrow` (a stream)
    #[arg(long, default_value = "parquet", value_parser = format)]
    format: Format,
    /// `events` or `rejected`
    #[arg(long, default_value = "events", value_parser = kind)]
    table: TableKind,
    /// From this day or time on: 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = start)]
    from: Option<Micros>,
    /// Up to this time, or to the end of this day
    #[arg(long, value_name = "TIME", value_parser = end)]
    to: Option<Micros>,
    /// Goes on with an export into a folder that was broken off: days whose file is there are left as they are
    #[arg(long)]
    resume: bool,
}

fn format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error: engine::Error| error.message().to_owned())
}

fn kind(text: &str) -> Result<TableKind, String> {
    let found = TableKind::ALL.iter().find(|kind| kind.folder() == text);
    found.copied().ok_or_else(|| "write `events` or `rejected`".to_owned())
}

fn start(text: &str) -> Result<Micros, String> {
    match chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(day) => Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()),
        Err(_) => backup::instant(text),
    }
}

fn end(text: &str) -> Result<Micros, String> {
    let micros = start(text)?;
    Ok(if text.contains('T') {
        micros
    } else {
        micros + DAY_MICROS
    })
}

/// Exports.
pub(super) fn run(context: &Context, options: &Options) -> Outcome {
    store::settle(context)?;
    let project = ProjectId::new(&options.project)?;
    let selection = Selection {
        kind: options.table,
        from: options.from,
        to: options.to,
    };
    runtime()?.block_on(async {
        let store = store::open(&context.settings).await?;
        let export = store.export(&project, selection).await?;
        if export.version().is_none() {
            return Err(Failed::Message(format!(
                "the project `{project}` has no table of {} in {}",
                options.table.folder(),
                context.settings.store_url()?
            )));
        }
        let days = export.days();
        let progress = Arc::new(Progress::default());
        progress.expect(days.iter().map(|(_, rows)| rows).sum());
        let days: Vec<String> = days.into_iter().map(|(day, _)| day).collect();
        let work = write(&export, &days, options, &progress);
        let (rows, place) = store::watched("Exporting", Unit::Rows, &progress, work).await?;
        say_error(&format!("{rows} rows of {} days {place}", days.len()));
        Ok(())
    })
}

async fn write(
    export: &Export,
    days: &[String],
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<(u64, String), Failed> {
    let target = &options.target;
    if target.as_os_str() == "-" {
        let (_, rows) = export.write(days, options.format, std::io::stdout(), progress).await?;
        return Ok((rows, "to standard output".to_owned()));
    }
    let is_folder = target.is_dir() || target.extension().is_none();
    if !is_folder {
        let rows = write_file(export, days, options, target, progress).await?;
        return Ok((rows, format!("to {}", target.display())));
    }
    std::fs::create_dir_all(target).map_err(|error| Failed::Message(format!("{}: {error}", target.display())))?;
    let mut rows = 0;
    for day in days {
        let path = target.join(export.file_name(options.table, day, options.format));
        progress.begin(day.clone());
        if path.exists() {
            if options.resume {
                continue;
            }
            return Err(Failed::Message(format!(
                "{} is there already: name an empty folder, or go on with a broken-off export by --resume",
                path.display()
            )));
        }
        rows += write_file(export, std::slice::from_ref(day), options, &path, progress).await?;
    }
    Ok((rows, format!("to {}", target.display())))
}

/// Writes a file that has its name only when it is whole.
async fn write_file(
    export: &Export,
    days: &[String],
    options: &Options,
    path: &Path,
    progress: &Arc<Progress>,
) -> Result<u64, Failed> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failed::Message(format!("{path}: {error}"))
    };
    let file = BufWriter::new(File::create(&part).map_err(at(&part))?);
    let (mut file, rows) = export.write(days, options.format, file, progress).await?;
    file.flush().map_err(at(&part))?;
    file.get_ref().sync_all().map_err(at(&part))?;
    drop(file);
    std::fs::rename(&part, path).map_err(at(path))?;
    if options.table == TableKind::Events && rows == 0 {
        say(&format!("{}: no rows in that time", path.display()));
    }
    Ok(rows)
}
