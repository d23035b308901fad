//! What is done with a store without an engine: checking it, copying it, taking rows out of it. All of it only reads the
//! store it works on, and so works beside a server that writes.

use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::project::ProjectId;
use crate::store::{backup, export, fence, object, verify};
use crate::wal::{LocalWal, Wal};
use object_store::ObjectStore;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub use crate::store::TableKind;
pub use crate::store::backup::manifest::Manifest;
pub use crate::store::backup::restore::{Restored, Wanted};
pub use crate::store::backup::{Done, Extra};
pub use crate::store::export::{Format, Selection};
pub use crate::store::fence::Holder;
pub use crate::store::import::{BadRow, Field, InputFormat, Row, Rows};
pub use crate::store::progress::Progress;
pub use crate::store::verify::{Finding, Report, Severity};

/// An object store that is open.
#[derive(Debug, Clone)]
pub struct Store(Arc<dyn ObjectStore>);

impl Store {
    /// Opens the store at `url`, as the engine does.
    ///
    /// # Errors
    /// `Invalid` for a URL or option that is not understood, `Storage` when the store does not answer.
    pub async fn open(url: &str, options: &[(String, String)]) -> Result<Self> {
        object::open(url, options).await.map(Self)
    }

    /// As [`Store::open`], to read only: the store is not put to the test.
    ///
    /// # Errors
    /// `Invalid` for a URL or option that is not understood.
    pub fn open_to_read(url: &str, options: &[(String, String)]) -> Result<Self> {
        object::open_to_read(url, options).map(Self)
    }

    /// The writer that took the store last; `None` when there was none.
    ///
    /// # Errors
    /// `Storage` when the store cannot be read.
    pub async fn holder(&self) -> Result<Option<Holder>> {
        fence::holder(&self.0).await
    }

    /// The projects that have tables.
    ///
    /// # Errors
    /// `Storage` when the store cannot be listed.
    pub async fn projects(&self) -> Result<Vec<ProjectId>> {
        verify::projects_in(&self.0).await
    }

    /// Reads every file of the tables of `projects` and compares it with what was written.
    ///
    /// # Errors
    /// `Storage` when the store does not answer. Damage is no error: it is in the report.
    pub async fn check(&self, projects: &[ProjectId], progress: &Progress) -> Result<Report> {
        verify::check(&self.0, projects, progress).await
    }

    /// Copies the tables of `projects` and the `extras` into `to`.
    ///
    /// # Errors
    /// `Storage` when something cannot be copied or is damaged, `Invalid` when `to` holds tables of another origin.
    pub async fn backup(
        &self,
        to: &Store,
        projects: &[ProjectId],
        extras: &[Extra],
        now: Micros,
        progress: &Progress,
    ) -> Result<Done> {
        backup::backup(&self.0, &to.0, projects, extras, now, progress).await
    }

    /// The manifest of the backup in this store that is wanted.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Storage` when it cannot be read.
    pub async fn choose_backup(&self, wanted: &Wanted) -> Result<Manifest> {
        backup::restore::choose(&self.0, wanted).await
    }

    /// The names of the backups in this store, the oldest first.
    ///
    /// # Errors
    /// `Storage` when the store cannot be listed.
    pub async fn backups(&self) -> Result<Vec<String>> {
        backup::manifest::names(&self.0).await
    }

    /// Copies a backup in this store into `to`, verified.
    ///
    /// # Errors
    /// `Invalid` for a version that the backup cannot restore, `Storage` when something cannot be copied or is damaged.
    pub async fn restore(
        &self,
        to: &Store,
        manifest: &Manifest,
        wanted: &Wanted,
        progress: &Progress,
    ) -> Result<Restored> {
        backup::restore::restore(&self.0, &to.0, manifest, wanted, progress).await
    }

    /// Whether the store holds no table, and no projects and secret of a server.
    ///
    /// # Errors
    /// `Storage` when it cannot be listed.
    pub async fn is_empty(&self) -> Result<bool> {
        backup::restore::is_empty(&self.0).await
    }

    /// An export of a project's table as it is now.
    ///
    /// # Errors
    /// `Storage` when the table's log cannot be read.
    pub async fn export(&self, project: &ProjectId, selection: Selection) -> Result<Export> {
        export::Export::open(&self.0, project, selection).await.map(Export)
    }
}

/// Rows of one version of a table, to be written.
#[derive(Debug)]
pub struct Export(export::Export);

impl Export {
    /// The version of the table; `None` when nothing was ever written to it.
    pub fn version(&self) -> Option<u64> {
        self.0.version()
    }

    /// The UTC days with rows, in order, each with its rows.
    pub fn days(&self) -> Vec<(String, u64)> {
        self.0.days().map(|(day, rows)| (day.to_owned(), rows)).collect()
    }

    /// The name of the file for one day.
    pub fn file_name(&self, kind: TableKind, day: &str, format: Format) -> String {
        export::file_name(kind, day, format)
    }

    /// Writes the rows of `days` to `sink`, which is given back with their number.
    ///
    /// # Errors
    /// `Storage` when a file cannot be read or is damaged, or the sink does not take more.
    pub async fn write<W: Write + Send + 'static>(
        &self,
        days: &[String],
        format: Format,
        sink: W,
        progress: &Arc<Progress>,
    ) -> Result<(W, u64)> {
        self.0.write(days, format, sink, progress).await
    }
}

/// What is known of a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalState {
    /// There is none in the folder.
    Absent,
    /// A server holds it.
    InUse,
    /// All of it could be read.
    Right {
        /// Records that are not in the tables yet.
        records: u64,
    },
}

/// Reads the write-ahead log in `data_dir` unless a server holds it.
///
/// # Errors
/// `Storage` when it is damaged; the message names it.
pub fn check_wal(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<WalState> {
    if !data_dir.join("wal").is_dir() {
        return Ok(WalState::Absent);
    }
    let read = || {
        let wal = match LocalWal::open(data_dir, clock) {
            Err(error) if error.kind() == ErrorKind::Fenced => return Ok(WalState::InUse),
            opened => opened?,
        };
        let mut records = 0;
        wal.replay(&mut |_, _| {
            records += 1;
            Ok(())
        })?;
        Ok(WalState::Right { records })
    };
    // A reader may panic over a damaged file.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::storage(format!(
            "the write-ahead log in {} is damaged: put the folder back from a backup of the machine, or move it away and \
             lose what was not yet in the tables",
            data_dir.join("wal").display()
        )))
    })
}
