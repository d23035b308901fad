//! Projects, secret and salt when the data folder may be lost: kept as documents in the store, and mirrored in the folder.
//!
//! The folder's files stay what the server and the command line read and write. At a start they come from the store; a
//! file that changed goes there, and a newer version of another process comes back. One process adds projects at a time
//! in practice; two that do so at once have their additions put together.

use super::projects::merged;
use super::secrets::{fill_random, hex, write_private};
use crate::config::{Settings, Wal};
use engine::{Documents, Error, Result};
use parking_lot::Mutex;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

const PROJECTS: &str = "projects";
const SECRET: &str = "secret";
const SALT: &str = "salt";
/// Tries to put the projects while others do so.
const TRIES_MAX: u32 = 20;
/// Time between two looks at the store.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The mirror of one data folder.
#[derive(Debug)]
pub struct Kept {
    documents: Documents,
    folder: PathBuf,
    is_secret_set: bool,
    read_only: bool,
    /// Held for a whole round, so that two of them do not undo each other.
    known: tokio::sync::Mutex<Known>,
    /// The day whose salt is in the store.
    salt_day: Mutex<Option<u64>>,
}

/// The version of the projects that the folder's file was last equal to.
#[derive(Debug, Default)]
struct Known {
    version: u64,
    bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Salt {
    day: u64,
}

impl Kept {
    /// The mirror of these settings' data folder; `None` when the folder is to be kept itself. Brings what the store has
    /// into the folder, and what only the folder has into the store.
    ///
    /// # Errors
    /// When the store cannot be read or written, or the folder not be written.
    pub async fn open(settings: &Settings) -> Result<Option<Arc<Self>>> {
        if settings.wal == Wal::Local {
            return Ok(None);
        }
        let options: Vec<_> = settings
            .store_options
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        let kept = Self {
            documents: Documents::open(&settings.store_url()?, &options).await?,
            folder: settings.data_dir.clone(),
            is_secret_set: settings.api_secret.is_some(),
            read_only: settings.read_only,
            known: tokio::sync::Mutex::default(),
            salt_day: Mutex::default(),
        };
        kept.pull_secret().await?;
        kept.pull_salt().await?;
        kept.sync().await?;
        Ok(Some(Arc::new(kept)))
    }

    /// One round: the projects both ways, the salt of a new day into the store.
    ///
    /// # Errors
    /// When the store cannot be read or written, or the folder not be written.
    pub async fn sync(&self) -> Result<()> {
        self.sync_projects().await?;
        if !self.read_only {
            self.push_salt().await?;
        }
        Ok(())
    }

    /// Keeps in step until the last other reference is gone.
    pub fn spawn(self: &Arc<Self>) {
        let weak: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut failures: u32 = 0;
            loop {
                tokio::time::sleep(SYNC_INTERVAL).await;
                let Some(kept) = weak.upgrade() else { return };
                match kept.sync().await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        if failures.is_power_of_two() {
                            tracing::warn!(%error, failures, "projects and salt are not in step with the store; tried again");
                        }
                    }
                }
            }
        });
    }

    async fn sync_projects(&self) -> Result<()> {
        let path = self.folder.join("projects.json");
        let mut known = self.known.lock().await;
        for _ in 0..TRIES_MAX {
            let mut newest = None;
            if known.version == 0 {
                newest = self.documents.latest(PROJECTS).await?;
            }
            // Versions are asked for by name: a list costs ten times as much.
            let mut version = newest.as_ref().map_or(known.version, |(version, _)| *version);
            while let Some(bytes) = self.documents.get(PROJECTS, version + 1).await? {
                version += 1;
                newest = Some((version, bytes));
            }
            let local = read(&path)?;
            let is_changed = local.as_ref().is_some_and(|local| *local != known.bytes) && !self.read_only;
            let wanted = match (&newest, local) {
                (None, Some(local)) if is_changed => local,
                (None, _) => return Ok(()),
                (Some((_, theirs)), Some(local)) if is_changed && *theirs != local => merged(theirs, &local)?,
                (Some((_, theirs)), local) => {
                    if local.as_deref() != Some(theirs.as_ref()) {
                        write_private(&path, theirs)?;
                    }
                    (known.version, known.bytes) = (version, theirs.to_vec());
                    return Ok(());
                }
            };
            if let Some((version, theirs)) = &newest
                && *theirs == wanted
            {
                write_private(&path, &wanted)?;
                (known.version, known.bytes) = (*version, wanted);
                return Ok(());
            }
            let there = self.documents.put(PROJECTS, version + 1, wanted.clone().into()).await?;
            if there == wanted {
                if read(&path)?.as_ref() != Some(&wanted) {
                    write_private(&path, &wanted)?;
                }
                (known.version, known.bytes) = (version + 1, wanted);
                return Ok(());
            }
        }
        Err(Error::storage(
            "the projects are changed by others faster than this process can add its own",
        ))
    }

    async fn pull_secret(&self) -> Result<()> {
        if self.is_secret_set {
            return Ok(());
        }
        let path = self.folder.join(SECRET);
        let local = read(&path)?.filter(|text| !text.trim_ascii().is_empty());
        let kept = if self.read_only {
            self.documents.get(SECRET, 1).await?
        } else {
            let mine = match &local {
                Some(text) => text.clone(),
                None => {
                    let mut bytes = [0; 32];
                    fill_random(&mut bytes)?;
                    format!("{}\n", hex(&bytes)).into_bytes()
                }
            };
            Some(self.documents.put(SECRET, 1, mine.into()).await?)
        };
        if let Some(kept) = kept
            && local.as_deref() != Some(kept.as_ref())
        {
            write_private(&path, &kept)?;
        }
        Ok(())
    }

    async fn pull_salt(&self) -> Result<()> {
        let Some((day, kept)) = self.documents.latest(SALT).await? else {
            return Ok(());
        };
        let path = self.folder.join("salt.json");
        if day_of(&path).is_none_or(|local| local <= day) {
            write_private(&path, &kept)?;
        }
        *self.salt_day.lock() = Some(day);
        Ok(())
    }

    /// The salt of a day is made where events come in; the store has it some seconds later.
    async fn push_salt(&self) -> Result<()> {
        let path = self.folder.join("salt.json");
        let (Some(day), Some(bytes)) = (day_of(&path), read(&path)?) else {
            return Ok(());
        };
        if *self.salt_day.lock() == Some(day) {
            return Ok(());
        }
        self.documents.put(SALT, day, bytes.into()).await?;
        // With the salt of a day its anonymous visitors' ids could be computed again.
        self.documents.delete_before(SALT, day).await?;
        *self.salt_day.lock() = Some(day);
        Ok(())
    }
}

fn day_of(path: &Path) -> Option<u64> {
    let salt: Salt = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(salt.day)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::storage(format!("{}: {error}", path.display())).with_source(error)),
    }
}

#[cfg(test)]
mod tests;
