//! The secrets of this server: those that sign tokens, and the salt of anonymous visitors' ids.

use crate::config::{Secret, Settings};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a generated secret before it is written as hex.
const SECRET_BYTES: usize = 32;
/// A secret shorter than this can be guessed from a captured token; it is accepted, with a warning.
pub const SECRET_BYTES_RECOMMENDED: usize = 32;

/// The secrets, opened once at start.
#[derive(Debug)]
pub struct Secrets {
    signing: Secret,
    previous: Vec<Secret>,
    salt_path: PathBuf,
    salt: Mutex<Option<DailySalt>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DailySalt {
    /// UTC days since 1970-01-01.
    day: i64,
    salt_hex: String,
}

impl Secrets {
    /// The secrets of the settings; a missing one is made and written to `<data_dir>/secret` with mode 0600.
    ///
    /// # Errors
    /// When the file can be neither read nor written; the message names it.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        let signing = match &settings.api_secret {
            Some(secret) => secret.clone(),
            None => read_or_make(&settings.data_dir.join("secret"), settings.read_only)?,
        };
        Ok(Self {
            signing,
            previous: settings.api_secrets_previous.clone(),
            salt_path: settings.data_dir.join("salt.json"),
            salt: Mutex::new(None),
        })
    }

    /// The secret that new tokens are signed with.
    pub fn signing(&self) -> &Secret {
        &self.signing
    }

    /// All secrets a token may be verified with, the signing one first.
    pub fn verifying(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.signing).chain(&self.previous)
    }

    /// The random salt of the UTC day that `now_micros` lies in. It is kept in a file so that a restart does not split
    /// a visitor in two; the next day's replaces it, after which yesterday's ids cannot be recomputed by anybody.
    ///
    /// # Errors
    /// When no random bytes are to be had or the file cannot be written.
    pub fn daily_salt(&self, now_micros: i64) -> io::Result<[u8; SECRET_BYTES]> {
        let day = now_micros.div_euclid(engine::clock::DAY_MICROS);
        let mut kept = self.salt.lock();
        // A request that came just before midnight may be read just after: it must not bring the old day back.
        let known = kept.clone().or_else(|| read_json(&self.salt_path));
        let current = match known.filter(|known| known.day >= day) {
            Some(known) => known,
            None => {
                let mut bytes = [0; SECRET_BYTES];
                fill_random(&mut bytes)?;
                let fresh = DailySalt {
                    day,
                    salt_hex: hex(&bytes),
                };
                write_private(&self.salt_path, &serde_json::to_vec(&fresh)?)?;
                fresh
            }
        };
        let salt = unhex(&current.salt_hex).ok_or_else(|| {
            io::Error::other(format!(
                "{} is damaged: delete it to have it made anew",
                self.salt_path.display()
            ))
        })?;
        *kept = Some(current);
        Ok(salt)
    }
}

fn read_or_make(path: &Path, read_only: bool) -> io::Result<Secret> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(io::Error::other(format!(
            "{} is empty: delete it to have a secret made, or write one into it",
            path.display()
        ))),
        Ok(text) => Ok(Secret::new(text.trim())),
        // Tokens are made with the writer's secret: one of its own would only make them fail later.
        Err(error) if error.kind() == io::ErrorKind::NotFound && read_only => Err(io::Error::other(format!(
            "a server that only reads needs the secret of the one that writes: set api_secret to it, or name its data \
             folder (there is no {}), or set `wal: store` when the writer has that",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; SECRET_BYTES];
            fill_random(&mut bytes)?;
            let secret = hex(&bytes);
            write_private(path, format!("{secret}\n").as_bytes())?;
            Ok(Secret::new(secret))
        }
        Err(error) => Err(in_file(path, &error)),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Fills `bytes` from the system's random source.
pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(format!("no random bytes from the system: {error}")))
}

/// `bytes` as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let mut bytes = [0; SECRET_BYTES];
    if text.len() != SECRET_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Replaces a file so that after a crash it is either the old or the new one, readable by its owner alone.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        #[cfg(unix)]
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(|error| {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&temporary);
        in_file(path, &error)
    })
}

/// The same error with the file's name in front.
pub(crate) fn in_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
