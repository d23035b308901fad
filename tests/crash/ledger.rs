//! The list of acknowledged ids, on disk before anybody relies on it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// An append-only file of ids, one a line.
pub struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
}

impl Ledger {
    /// A new ledger.
    pub fn create(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: Mutex::new(File::create_new(path).unwrap()),
        }
    }

    /// Writes the ids and syncs them.
    pub fn acknowledge(&self, ids: &[String]) {
        let mut lines = ids.join("\n");
        lines.push('\n');
        let mut file = self.file.lock().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        file.sync_data().unwrap();
    }

    /// All ids, from the disk.
    pub fn read(&self) -> Vec<String> {
        BufReader::new(File::open(&self.path).unwrap())
            .lines()
            .map(Result::unwrap)
            .collect()
    }
}
