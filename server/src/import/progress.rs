//! How far an import came, in a file of the data folder.

use super::{Summary, Wanted};
use crate::auth::secrets::write_private;
use engine::error::Result;
use std::path::{Path, PathBuf};

/// The note of one file and project.
#[derive(Debug)]
pub(super) struct Noted {
    path: PathBuf,
    summary: Summary,
}

impl Noted {
    /// Finds the note of an earlier run over the same file. A file that has grown or was replaced is another one.
    ///
    /// # Errors
    /// When the file or the folder of notes cannot be used.
    pub(super) fn open(data_dir: &Path, wanted: &Wanted) -> Result<Self> {
        let metadata = std::fs::metadata(&wanted.file)?;
        let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH);
        let modified = modified.map_or(0, |since| since.as_nanos());
        let what = format!(
            "{}\0{}\0{}\0{modified}",
            wanted.project,
            wanted.file.display(),
            metadata.len()
        );
        let name = blake3::hash(what.as_bytes()).to_hex();
        let folder = data_dir.join("imports");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", name.get(..32).unwrap_or_default()));
        let known = || serde_json::from_slice(&std::fs::read(&path).ok()?).ok();
        let summary = if wanted.again { None } else { known() };
        Ok(Self {
            path,
            summary: summary.unwrap_or_default(),
        })
    }

    /// What earlier runs did.
    pub(super) fn summary(&self) -> Summary {
        self.summary
    }

    /// Notes what is done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note(&self, summary: &Summary) -> Result<()> {
        let text = serde_json::to_vec(summary).map_err(std::io::Error::other)?;
        write_private(&self.path, &text)?;
        Ok(())
    }
}
