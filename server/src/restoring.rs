//! The mark of a restore that has not ended: a server must not start on half of its data.

use crate::auth::secrets::write_private;
use std::io;
use std::path::{Path, PathBuf};

/// A restore under way, marked by a file in the data folder.
#[derive(Debug)]
pub struct Restoring {
    path: PathBuf,
    is_resumed: bool,
}

fn mark(data_dir: &Path) -> PathBuf {
    data_dir.join("restore.unfinished")
}

impl Restoring {
    /// Marks the folder. A mark of the same restore that was broken off means that this one goes on.
    ///
    /// # Errors
    /// When the file cannot be written, or another restore was broken off here.
    pub fn begin(data_dir: &Path, what: &str) -> io::Result<Self> {
        let path = mark(data_dir);
        let is_resumed = match std::fs::read_to_string(&path) {
            Ok(known) if known == what => true,
            Ok(known) => {
                return Err(io::Error::other(format!(
                    "{}: a restore of {known} was broken off here: run that one again, or empty the folder and its store",
                    path.display()
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        write_private(&path, what.as_bytes())?;
        Ok(Self { path, is_resumed })
    }

    /// Whether an earlier run began this restore.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Takes the mark away: everything is there.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn end(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Takes the mark away because nothing was begun.
    pub fn forget(&self) {
        // What is left says at the next try what to do.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Refuses a data folder whose restore was broken off.
///
/// # Errors
/// When there is a mark; the message says what to do.
pub fn refuse_unfinished(data_dir: &Path) -> io::Result<()> {
    let path = mark(data_dir);
    match std::fs::read_to_string(&path) {
        Err(_) => Ok(()),
        Ok(what) => Err(io::Error::other(format!(
            "{}: the restore of {what} was broken off: run `tally restore` again as before, it goes on where it was",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_restore_is_finished_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        refuse_unfinished(folder.path()).unwrap();
        assert!(!Restoring::begin(folder.path(), "monday").unwrap().is_resumed());
        let error = refuse_unfinished(folder.path()).unwrap_err().to_string();
        assert!(error.contains("monday") && error.contains("tally restore"), "{error}");
        let error = Restoring::begin(folder.path(), "tuesday").unwrap_err().to_string();
        assert!(error.contains("monday"), "{error}");
        let again = Restoring::begin(folder.path(), "monday").unwrap();
        assert!(again.is_resumed());
        again.end().unwrap();
        refuse_unfinished(folder.path()).unwrap();
    }
}
