//! The format of a data folder, written into it, so that an older Tally does not misread what a newer one wrote.

use crate::auth::secrets::write_private;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The format of this version. It is raised when an older version would lose or misread something.
pub const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    format: u32,
    /// The version that wrote it, for people.
    tally: String,
}

/// Reads the folder's format, and writes it into a folder that has none.
///
/// # Errors
/// When a newer version wrote the folder; the message names both. When the file cannot be read or written.
pub fn check(data_dir: &Path) -> io::Result<()> {
    let path = data_dir.join("format.json");
    let at = |what: String| io::Error::other(format!("{}: {what}", path.display()));
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let written = Written {
                format: FORMAT,
                tally: env!("CARGO_PKG_VERSION").to_owned(),
            };
            return write_private(&path, &serde_json::to_vec(&written)?);
        }
        Err(error) => return Err(at(error.to_string())),
    };
    let written: Written = serde_json::from_slice(&text).map_err(|error| {
        at(format!(
            "it is damaged ({error}): put it back from a backup, or delete it if no newer Tally ran here"
        ))
    })?;
    if written.format <= FORMAT {
        return Ok(());
    }
    Err(at(format!(
        "the folder has format {}, written by Tally {}; this is Tally {}, which reads format {FORMAT}: start that version or \
         a newer one",
        written.format,
        written.tally,
        env!("CARGO_PKG_VERSION")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_folder_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        check(folder.path()).unwrap();
        let path = folder.path().join("format.json");
        std::fs::write(&path, r#"{"format":2,"tally":"9.9.9"}"#).unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        for part in ["9.9.9", env!("CARGO_PKG_VERSION"), "format 2", "format 1"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        std::fs::write(&path, "{").unwrap();
        assert!(check(folder.path()).unwrap_err().to_string().contains("format.json"));
    }
}
