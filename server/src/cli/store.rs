//! What the commands that work on a store share: opening it, having everything written to it, showing how far they are.

use super::operate::operate;
use super::output::is_error_terminal;
use super::{Context, Failed, Outcome};
use crate::config::{Settings, Wal};
use engine::ProjectId;
use engine::maintenance::{Progress, Store};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks at the progress.
const LOOK: Duration = Duration::from_millis(100);

/// Opens the store of the settings.
pub(super) async fn open(settings: &Settings) -> engine::Result<Store> {
    Store::open(&settings.store_url()?, &options(settings)).await
}

/// Opens the store that a user named: a folder or a URL. Options are those of the settings.
pub(super) async fn open_named(settings: &Settings, place: &str) -> Result<Store, Failed> {
    let url = if place.contains("://") || place == "memory:" {
        place.to_owned()
    } else {
        let folder = std::path::absolute(Path::new(place))?;
        let url = url::Url::from_file_path(&folder);
        url.map_err(|()| Failed::Message(format!("`{place}` is no folder that a URL can name")))?
            .to_string()
    };
    Ok(Store::open(&url, &options(settings)).await?)
}

pub(super) fn options(settings: &Settings) -> Vec<(String, String)> {
    let options = settings.store_options.iter();
    options
        .map(|(key, value)| (key.clone(), value.expose().to_owned()))
        .collect()
}

/// The projects that a user named, or all that the store has tables of.
pub(super) async fn projects(store: &Store, named: &[String]) -> Result<Vec<ProjectId>, Failed> {
    if named.is_empty() {
        return Ok(store.projects().await?);
    }
    let ids = named.iter().map(|id| ProjectId::new(id));
    Ok(ids.collect::<engine::Result<Vec<_>>>()?)
}

/// Has everything that is acknowledged put into the tables, by the server that holds the data folder or here. The folder then
/// holds what belongs there: where it may be lost, projects and secret come from the store. Where a folder that is kept is not
/// there, there is nothing to put.
pub(super) fn settle(context: &Context) -> Outcome {
    let settings = &context.settings;
    if settings.wal == Wal::Store || settings.data_dir.is_dir() {
        operate(context, "flush", &json!({}))?;
    }
    Ok(())
}

/// Runs `work` and shows on a terminal how far it is. `unit` says what is counted: bytes are shown as such.
pub(super) async fn watched<T>(
    what: &'static str,
    unit: Unit,
    progress: &Arc<Progress>,
    work: impl Future<Output = T>,
) -> T {
    let bar = if is_error_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    let template = match unit {
        Unit::Bytes => "{prefix}  {bar:30}  {bytes} of {total_bytes}  {eta}  {msg}",
        Unit::Rows => "{prefix}  {bar:30}  {pos} of {len} rows  {eta}  {msg}",
    };
    // The template is a constant that is known to parse.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(done) => {
                bar.finish_and_clear();
                return done;
            }
            Err(_) => {
                bar.set_length(progress.total());
                bar.set_position(progress.done());
                bar.set_message(progress.at());
            }
        }
    }
}

/// What a progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes.
    Bytes,
    /// Rows.
    Rows,
}

/// `1.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
