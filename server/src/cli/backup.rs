//! `tally backup` and `tally restore`: the whole server, or its data, into another place and back.

use super::output::say;
use super::store::{self, Unit, size};
use super::{Context, Failed, Outcome, runtime};
use crate::app::{App, make_folder};
use crate::auth::secrets::write_private;
use crate::config::Settings;
use crate::restoring::Restoring;
use clap::Args;
use engine::ProjectId;
use engine::clock::{Clock, Micros, SystemClock};
use engine::maintenance::{Extra, Manifest, Progress, Store, Wanted};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The file of projects and write keys.
const PROJECTS: &str = "projects.json";
/// The file of the secret.
const SECRET: &str = "secret";
/// The folder of models, wherever the settings have it.
const MODELS: &str = "models";

#[derive(Debug, Args)]
pub(super) struct BackupOptions {
    /// A folder or the URL of a store: s3://bucket/prefix. What is there from an earlier backup is not copied again
    destination: String,
    /// The tables of this project only; may be given several times
    #[arg(long, value_name = "PROJECT")]
    project: Vec<String>,
    /// Puts the secret that signs tokens into the backup: whoever can read it can then read all data
    #[arg(long)]
    with_secret: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreOptions {
    /// The folder or URL that `tally backup` was given
    source: String,
    /// The backup to restore, by its name; the newest without this
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
    /// Every table as it was at this time: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    as_of: Option<Micros>,
    /// The events of --project as of this version of their table
    #[arg(long, value_name = "VERSION", requires = "project", conflicts_with = "as_of")]
    version: Option<u64>,
    /// The project of --version
    #[arg(long, value_name = "PROJECT", requires = "version")]
    project: Option<String>,
    /// Lists the backups and what can be restored, and restores nothing
    #[arg(long)]
    list: bool,
}

/// Takes a backup.
pub(super) fn backup(context: &Context, options: &BackupOptions) -> Outcome {
    let settings = &context.settings;
    store::settle(context)?;
    let extras = extras(settings, options.with_secret)?;
    let done = runtime()?.block_on(async {
        let from = store::open(settings).await?;
        let to = store::open_named(settings, &options.destination).await?;
        let projects = store::projects(&from, &options.project).await?;
        let progress = Arc::new(Progress::default());
        let now = SystemClock.now_micros();
        let backup = from.backup(&to, &projects, &extras, now, &progress);
        Ok::<_, Failed>(store::watched("Backing up", Unit::Bytes, &progress, backup).await?)
    })?;
    say(&format!(
        "{}: {} tables with {} rows; {} copied ({} objects), {} were there ({} objects)",
        done.name,
        done.tables,
        done.rows,
        size(done.copied.1),
        done.copied.0,
        size(done.kept.1),
        done.kept.0,
    ));
    Ok(())
}

/// The files of the data folder that belong to a backup.
fn extras(settings: &Settings, with_secret: bool) -> Result<Vec<Extra>, Failed> {
    let mut extras = Vec::new();
    let mut add = |name: String, path: &Path| match std::fs::read(path) {
        Ok(bytes) => {
            extras.push(Extra { name, bytes });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failed::Message(format!("{}: {error}", path.display()))),
    };
    add(PROJECTS.to_owned(), &settings.data_dir.join(PROJECTS))?;
    if with_secret {
        add(SECRET.to_owned(), &settings.data_dir.join(SECRET))?;
    }
    let models = settings.models_dir();
    for path in files_in(&models)? {
        let inside = path.strip_prefix(&models).unwrap_or(&path);
        let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
        add(format!("{MODELS}/{}", parts.join("/")), &path)?;
    }
    Ok(extras)
}

/// All files below a folder.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let at = |path: &Path, error: io::Error| Failed::Message(format!("{}: {error}", path.display()));
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| at(&folder, error))?;
            let kind = entry.file_type().map_err(|error| at(&entry.path(), error))?;
            if kind.is_dir() {
                left.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Restores a backup into the empty places that the settings name.
pub(super) fn restore(context: &Context, options: &RestoreOptions) -> Outcome {
    let settings = &context.settings;
    let wanted = Wanted {
        backup: options.backup.clone(),
        as_of: options.as_of,
        version: match (&options.project, options.version) {
            (Some(project), Some(version)) => Some((ProjectId::new(project)?, version)),
            _ => None,
        },
    };
    runtime()?.block_on(async {
        let from = store::open_named(settings, &options.source).await?;
        if options.list {
            return list(&from).await;
        }
        let manifest = from.choose_backup(&wanted).await?;
        make_folder(&settings.data_dir)?;
        let what = format!("{} {:?}", manifest.name(), wanted);
        let restoring = Restoring::begin(&settings.data_dir, &what)?;
        let to = store::open(settings).await?;
        if !restoring.is_resumed() {
            refuse_what_is_used(settings, &to).await.inspect_err(|_| restoring.forget())?;
        }
        let progress = Arc::new(Progress::default());
        let copy = from.restore(&to, &manifest, &wanted, &progress);
        let restored = store::watched("Restoring", Unit::Bytes, &progress, copy).await?;
        let mut has_secret = false;
        for file in &restored.files {
            has_secret |= file.name == SECRET;
            write_extra(settings, file)?;
        }
        let remembered = remember(settings).await?;
        restoring.end()?;
        say(&format!(
            "Restored {} of {}: {} tables with {} rows, {} in {} objects, all right by their checksums. {} event ids of \
             the last days are known again.",
            manifest.name(),
            options.source,
            restored.tables,
            restored.rows,
            size(restored.objects.1),
            restored.objects.0,
            remembered,
        ));
        if !has_secret && settings.api_secret.is_none() {
            say("The backup holds no secret: the next start makes a new one, and tokens of the old one are refused.");
        }
        Ok(())
    })
}

async fn list(from: &Store) -> Outcome {
    for name in from.backups().await? {
        let manifest: Manifest = from
            .choose_backup(&Wanted {
                backup: Some(name.clone()),
                ..Wanted::default()
            })
            .await?;
        say(&name);
        for table in &manifest.tables {
            let oldest = table.restorable.last().map_or(table.version, |(version, _)| *version);
            say(&format!(
                "  {}/{}  {} rows, versions {oldest} to {}",
                table.project, table.table, table.rows, table.version
            ));
        }
    }
    Ok(())
}

/// A restore must not mix its data with other data.
async fn refuse_what_is_used(settings: &Settings, to: &Store) -> Outcome {
    let folder = &settings.data_dir;
    let used = ["wal", PROJECTS, SECRET]
        .into_iter()
        .find(|name| folder.join(name).exists());
    if let Some(name) = used {
        return Err(Failed::Message(format!(
            "{} holds a server's `{name}` already: restore into an empty folder, named with --data-dir",
            folder.display()
        )));
    }
    if !to.is_empty().await? {
        return Err(Failed::Message(format!(
            "the store {} holds a server's data already: restore into an empty one, named with --store",
            settings.store_url()?
        )));
    }
    Ok(())
}

fn write_extra(settings: &Settings, file: &Extra) -> Outcome {
    let name = Path::new(&file.name);
    let is_plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain {
        return Err(Failed::Message(format!(
            "the backup names the file `{}`, which lies outside of the data folder",
            file.name
        )));
    }
    let path = match name.strip_prefix(MODELS) {
        Ok(inside) => settings.models_dir().join(inside),
        Err(_) => settings.data_dir.join(name),
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    write_private(&path, &file.bytes)?;
    Ok(())
}

/// SDKs send events again for days; what the tables have must be known as theirs.
async fn remember(settings: &Settings) -> Result<u64, Failed> {
    let app = App::open_unfinished(settings.clone(), Arc::new(SystemClock)).await?;
    let remembered = app.engine.remember_event_ids().await;
    app.engine.close().await?;
    Ok(remembered?)
}

/// Reads `2026-01-31T12:00:00Z`.
pub(super) fn instant(text: &str) -> Result<Micros, String> {
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_micros())
        .map_err(|_| "write a time such as 2026-01-31T12:00:00Z".to_owned())
}
