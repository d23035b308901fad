//! History from elsewhere: the rows of files of other systems, or of Tally's own export, into a project.
//!
//! A row goes the way of an event: its columns are named ([`mapping`]), it is completed as an SDK's event is
//! ([`translate`]), and appended durably with back-pressure. A row that cannot be an event is kept as rejected, with the
//! reason; it never ends the import. The id of an event is the row's own, else a hash of the row, so an import can be
//! repeated; and what was done is noted in the data folder after each batch, so that one that was broken off goes on.

pub mod mapping;
mod progress;
mod translate;

#[cfg(test)]
mod tests;

pub use mapping::{Mapping, Source};
pub use translate::raw;

use crate::app::App;
use engine::clock::Micros;
use engine::error::Result;
use engine::event::{Event, RejectReason, Rejected};
use engine::ingest::Batch;
use engine::limits::REJECTED_RAW_BYTES_MAX;
use engine::maintenance::{InputFormat, Row, Rows};
use engine::{Error, ErrorKind, ProjectId};
use progress::Noted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use translate::Translator;

/// Rows of one append: enough to share an fsync, few enough for the buffer's bound.
const BATCH_ROWS: usize = 2_000;
/// How long to wait when the engine asks to slow down.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(20);
/// Rows that are looked at before the meaning of the columns is settled.
const SAMPLE_ROWS: usize = 200;
/// Stored as the protocol of rows that name none.
pub const PROTOCOL: &str = "import";

/// What is to be imported.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Into which project.
    pub project: String,
    /// The file, absolute.
    pub file: PathBuf,
    /// Its format, where its ending does not say it.
    #[serde(default)]
    pub format: Option<String>,
    /// Where the rows come from, where their columns do not say it: `native`, `jitsu`, `snowplow`.
    #[serde(default)]
    pub source: Option<String>,
    /// Columns that mean something else than the source says: name in the file → column of Tally, `properties` or
    /// `ignore`.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Begins at the first row although an earlier import of the file has noted how far it came.
    #[serde(default)]
    pub again: bool,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows of the file, read by this run or an earlier one.
    pub rows: u64,
    /// Stored.
    pub stored: u64,
    /// Stored before, by their id.
    pub duplicate: u64,
    /// Kept as rejected.
    pub rejected: u64,
    /// Rows that an earlier run had done.
    pub skipped: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows: {} stored, {} known already, {} rejected",
            self.rows, self.stored, self.duplicate, self.rejected
        )
    }
}

impl Wanted {
    fn format(&self) -> Result<InputFormat> {
        match &self.format {
            Some(name) => name.parse(),
            None => InputFormat::of(&self.file).ok_or_else(|| {
                Error::invalid(format!(
                    "{}: its ending names no format: write --format parquet, ndjson, csv, tsv or arrow",
                    self.file.display()
                ))
            }),
        }
    }

    /// What the columns of the file mean, and its first rows.
    ///
    /// # Errors
    /// `Invalid` when the file cannot be read, or a column is said to mean something that does not exist.
    pub fn preview(&self) -> Result<(Mapping, Vec<Row>)> {
        let rows = open(&self.file, self.format()?)?;
        let mut sample = Vec::new();
        for row in rows.take(SAMPLE_ROWS) {
            if let Ok(row) = row? {
                sample.push(row);
            }
        }
        let names = sample.iter().flat_map(|row| row.fields.iter().map(|(name, _)| &**name));
        let mapping = Mapping::new(names, self.source.as_deref(), &self.columns)?;
        Ok((mapping, sample))
    }
}

/// Opens a file whose reader may panic over what is in it.
fn open(file: &Path, format: InputFormat) -> Result<Rows> {
    let opened = std::panic::catch_unwind(|| Rows::open(file, format));
    opened.unwrap_or_else(|_| {
        Err(Error::invalid(format!(
            "{}: it is damaged and cannot be read",
            file.display()
        )))
    })
}

/// Imports a file; `tell` is told how far it is. May be called again after it was broken off.
///
/// # Errors
/// `Invalid` when the file cannot be read or its columns have no meaning, `Storage` when rows cannot be stored. What was
/// stored until then stays.
pub async fn import(app: &App, wanted: &Wanted, mut tell: impl FnMut(&Summary)) -> Result<Summary> {
    let project = ProjectId::new(&wanted.project)?;
    if !app.projects.list().iter().any(|known| known.id == project) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no project `{project}`: add it with `tally project add`"),
        ));
    }
    let (mapping, _) = wanted.preview()?;
    let salt = app.secrets.daily_salt(app.clock().now_micros())?;
    let format = wanted.format()?;
    let translator = Translator::new(&mapping, format, &project, &app.enricher, salt);
    let noted = Noted::open(&app.settings.data_dir, wanted)?;
    let mut summary = noted.summary();
    summary.skipped = summary.rows;
    let mut rows = reader(wanted.file.clone(), format, summary.rows);
    while let Some(chunk) = rows.recv().await {
        let now = app.clock().now_micros();
        let mut batch = Batch::default();
        let chunk = chunk?;
        summary.rows += chunk.len() as u64;
        for row in chunk {
            match row {
                Ok(row) => match translator.event(&row, now) {
                    Ok(event) => batch.events.push(event),
                    Err((reason, detail)) => batch
                        .rejected
                        .push(rejected(now, reason, detail, &translate::raw(&row))),
                },
                Err(bad) => batch
                    .rejected
                    .push(rejected(now, RejectReason::BadEncoding, bad.detail, &bad.raw)),
            }
        }
        let receipt = append(app, &project, batch).await?;
        summary.stored += receipt.stored;
        summary.duplicate += receipt.duplicate;
        summary.rejected += receipt.rejected;
        noted.note(&summary)?;
        tell(&summary);
    }
    Ok(summary)
}

type Chunk = Vec<std::result::Result<Row, engine::maintenance::BadRow>>;

/// Reads the file on a thread of its own, a few batches ahead, without the first `skip` rows.
fn reader(file: PathBuf, format: InputFormat, skip: u64) -> tokio::sync::mpsc::Receiver<Result<Chunk>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let name = file.display().to_string();
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| -> Result<()> {
            let mut rows = Rows::open(&file, format)?;
            for _ in 0..skip {
                rows.next().transpose()?;
            }
            loop {
                let chunk: Chunk = rows.by_ref().take(BATCH_ROWS).collect::<Result<_>>()?;
                // Nobody listens when the import has failed.
                if chunk.is_empty() || sender.blocking_send(Ok(chunk)).is_err() {
                    return Ok(());
                }
            }
        }));
        let damaged = |_| {
            Err(Error::invalid(format!(
                "{name}: it is damaged and cannot be read further"
            )))
        };
        if let Err(error) = read.unwrap_or_else(damaged) {
            // As above.
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

async fn append(app: &App, project: &ProjectId, batch: Batch) -> Result<engine::ingest::Receipt> {
    let events: usize = batch.events.iter().map(Event::memory_bytes).sum();
    let rejected: usize = batch.rejected.iter().map(|row| row.raw.len() + row.detail.len()).sum();
    let permit = loop {
        match app.engine.admit(events + rejected) {
            Ok(permit) => break permit,
            Err(error) if error.kind() == ErrorKind::Overloaded => tokio::time::sleep(OVERLOAD_PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    let receipt = app.engine.append(project, batch).await?;
    drop(permit);
    Ok(receipt)
}

fn rejected(now: Micros, reason: RejectReason, detail: String, raw: &str) -> Rejected {
    let end = raw.floor_char_boundary(REJECTED_RAW_BYTES_MAX);
    Rejected {
        received_at: now,
        protocol: PROTOCOL.to_owned(),
        reason,
        detail,
        raw: raw.get(..end).unwrap_or_default().to_owned().into(),
    }
}
