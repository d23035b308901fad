//! Files that a local store had begun when its process died: under the name they should get, `#` and a number.
//!
//! No list shows them, so nothing finds them again but a look at the folder itself.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use url::Url;

/// The folder of a local store's URL.
pub fn local_folder(url: &str) -> Option<PathBuf> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "file")?;
    url.to_file_path().ok()
}

/// Deletes the begun files below `folder`. To be called while nobody writes there.
///
/// # Errors
/// `Storage` when the folder cannot be read or a file not be deleted.
pub fn forget_staged(folder: &Path) -> Result<u64> {
    delete(folder, &is_staged)
}

/// Deletes all blocks of a cache's folder, which may be done at any time.
///
/// # Errors
/// As [`forget_staged`].
pub fn forget_blocks(folder: &Path) -> Result<u64> {
    delete(folder, &|_| true)
}

/// Deletes the files below `folder` whose names are chosen.
fn delete(folder: &Path, is_chosen: &dyn Fn(&str) -> bool) -> Result<u64> {
    let at = |error: std::io::Error| {
        Error::storage(format!(
            "begun files in {} cannot be deleted: {error}",
            folder.display()
        ))
        .with_source(error)
    };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(at)?,
    };
    let mut deleted = 0;
    for entry in entries {
        let entry = entry.map_err(at)?;
        if entry.file_type().map_err(at)?.is_dir() {
            deleted += delete(&entry.path(), is_chosen)?;
        } else if is_chosen(&entry.file_name().to_string_lossy()) {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
                _ => deleted += 1,
            }
        }
    }
    Ok(deleted)
}

fn is_staged(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_begun_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        for name in ["x.parquet", "x.parquet#12", "y#", "z#1a"] {
            std::fs::write(inner.join(name), "x").unwrap();
        }
        assert_eq!(forget_staged(folder.path()).unwrap(), 1);
        assert!(!inner.join("x.parquet#12").exists() && inner.join("x.parquet").exists());
        assert_eq!(forget_staged(&folder.path().join("none")).unwrap(), 0);
        assert_eq!(local_folder("file:///var/lib/x"), Some(PathBuf::from("/var/lib/x")));
        assert_eq!(local_folder("s3://bucket/x"), None);
    }
}
