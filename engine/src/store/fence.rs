//! Who may write to a store: the one process that took the highest epoch.
//!
//! A process that opens a store for writing puts `writers/<epoch>.json`, one above the highest there is, and only if it is
//! absent. From then on whoever holds a lower epoch is fenced. It finds out in three ways, each before it could do harm:
//! its next group of the log meets a seal (see [`super::wal`]), its next commit looks for a higher epoch first, and a
//! commit that was on its way when the epoch changed meets the new writer's entry in the table's log, which carries the
//! epoch as a mark and excludes any other entry with that mark.

use super::create::{Created, create};
use super::log::seal;
use super::paths;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// Rivals that may be faster at taking an epoch before this process says that something is wrong.
const RIVALS_MAX: u32 = 100;

/// Name under which commits carry their epoch in a table's log.
pub const EPOCH_MARK: &str = "tally-epoch";

/// Where a writer keeps its write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalPlace {
    /// In its data folder.
    Local,
    /// In the store.
    Store,
}

/// What a writer says of itself when it takes an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Writer {
    /// Random; tells two claims of one epoch apart.
    id: uuid::Uuid,
    /// For people: host and process.
    instance: String,
    wal: WalPlace,
    since_micros: Micros,
}

/// A writer of an earlier epoch whose entry is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predecessor {
    /// Its epoch.
    pub epoch: u64,
    /// Where its log is.
    pub wal: WalPlace,
}

/// The writer that took a store last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What it calls itself: host and process.
    pub instance: String,
    /// When it took the store, microseconds.
    pub since: Micros,
    /// Whether it has stopped in peace since.
    pub is_gone: bool,
}

/// The writer that took `store` last; `None` when there was none or its entry cannot be read.
///
/// # Errors
/// `Storage` when the store cannot be read.
pub async fn holder(store: &Arc<dyn ObjectStore>) -> Result<Option<Holder>> {
    let Some(epoch) = epochs(store, None).await?.last().copied() else {
        return Ok(None);
    };
    let Some(writer) = read(store, epoch).await? else {
        return Ok(None);
    };
    let is_gone = match store.head(&paths::writer_end(epoch)).await {
        Ok(_) => true,
        Err(object_store::Error::NotFound { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Holder {
        instance: writer.instance,
        since: writer.since_micros,
        is_gone,
    }))
}

/// The right of this process to write to a store, until another takes it.
pub struct Fence {
    store: Arc<dyn ObjectStore>,
    epoch: u64,
    lost: OnceLock<String>,
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fence")
            .field("epoch", &self.epoch)
            .field("lost", &self.lost.get())
            .finish_non_exhaustive()
    }
}

impl Fence {
    /// Takes the next epoch of `store`, and returns those who had it before, the oldest first. `instance` tells people
    /// who this is.
    ///
    /// # Errors
    /// `Storage` when the store cannot be read or written.
    pub async fn take(
        store: &Arc<dyn ObjectStore>,
        instance: &str,
        wal: WalPlace,
        now: Micros,
    ) -> Result<(Arc<Self>, Vec<Predecessor>)> {
        let me = Writer {
            id: uuid::Uuid::new_v4(),
            instance: instance.to_owned(),
            wal,
            since_micros: now,
        };
        let bytes = serde_json::to_vec(&me).map_err(|error| Error::internal(format!("a writer's entry: {error}")))?;
        let bytes = Bytes::from(seal::seal_pointer(&bytes));
        for _ in 0..RIVALS_MAX {
            let before = epochs(store, None).await?;
            let epoch = before.last().map_or(1, |last| last + 1);
            let gives_up = |tries| tries >= limits::PUT_TRIES_MAX;
            match create(store, &paths::writer(epoch), &bytes, gives_up).await? {
                // Somebody started at the same time and was faster. It is fenced by the next round.
                Created::Theirs(_) => continue,
                Created::Ours => {}
            }
            let fence = Self {
                store: Arc::clone(store),
                epoch,
                lost: OnceLock::new(),
            };
            let mut predecessors = Vec::with_capacity(before.len());
            for epoch in before {
                // An entry that cannot be read is taken for one whose log must be sealed.
                let wal = read(store, epoch).await?.map_or(WalPlace::Store, |writer| writer.wal);
                predecessors.push(Predecessor { epoch, wal });
            }
            return Ok((Arc::new(fence), predecessors));
        }
        Err(Error::storage(format!(
            "{RIVALS_MAX} other processes took the store one after another while this one tried: stop them"
        )))
    }

    /// Deletes the entries of earlier writers. Only after their logs are sealed: later starts look for no log of theirs.
    pub async fn forget(&self, predecessors: &[Predecessor]) {
        for before in predecessors {
            // The entry last: without it nobody would look for the other.
            for name in [paths::writer_end(before.epoch), paths::writer(before.epoch)] {
                if let Err(error) = self.store.delete(&name).await
                    && !matches!(error, object_store::Error::NotFound { .. })
                {
                    tracing::debug!(%name, %error, "an earlier writer's entry stays until the next start");
                    break;
                }
            }
        }
    }

    /// Leaves word that this writer has stopped and may be followed by any.
    pub async fn end(&self) {
        let name = paths::writer_end(self.epoch);
        if self.lost().is_none()
            && let Err(error) = self.store.put(&name, "ended".into()).await
        {
            tracing::debug!(%name, %error, "no word is left of the end; commands ask whether this server has stopped");
        }
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Why this process may not write any more; `None` while it may, as far as it knows.
    pub fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    /// Whether this process may write, as far as it knows. Without IO.
    ///
    /// # Errors
    /// `Fenced` when another process has taken over.
    pub fn holds(&self) -> Result<()> {
        match self.lost() {
            None => Ok(()),
            Some(reason) => Err(Error::new(ErrorKind::Fenced, reason)),
        }
    }

    /// Asks the store whether this process may still write.
    ///
    /// # Errors
    /// `Fenced` when another process has taken over, `Storage` when the store does not answer.
    pub async fn check(&self) -> Result<()> {
        self.holds()?;
        match epochs(&self.store, Some(self.epoch)).await?.last() {
            None => Ok(()),
            Some(newer) => {
                let who = read(&self.store, *newer).await.ok().flatten();
                self.lose(*newer, who.map(|who| who.instance).as_deref());
                self.holds()
            }
        }
    }

    /// Gives up the right to write: a newer epoch was seen. The first reason stays.
    pub fn lose(&self, newer: u64, who: Option<&str>) {
        let (epoch, who) = (self.epoch, who.unwrap_or("unknown"));
        let reason = format!(
            "another process has taken over this store as its writer (epoch {newer}, this one had {epoch}); this one \
             writes no more, and everything it acknowledged is kept"
        );
        if self.lost.set(reason).is_ok() {
            tracing::error!(
                epoch,
                newer,
                by = who,
                "fenced: another process has taken over the store; this one writes no more. Stop it, or start it again \
                 to take the store back"
            );
        }
    }
}

/// The epochs in the store above `after`, in order.
async fn epochs(store: &Arc<dyn ObjectStore>, after: Option<u64>) -> Result<Vec<u64>> {
    let folder = paths::writers();
    let listed = match after {
        None => store.list(Some(&folder)),
        Some(epoch) => store.list_with_offset(Some(&folder), &paths::writer(epoch)),
    };
    let names: Vec<Path> = listed.map_ok(|object| object.location).try_collect().await?;
    let mut epochs: Vec<u64> = names.iter().filter_map(paths::writer_epoch).collect();
    epochs.retain(|epoch| after.is_none_or(|after| *epoch > after));
    epochs.sort_unstable();
    Ok(epochs)
}

async fn read(store: &Arc<dyn ObjectStore>, epoch: u64) -> Result<Option<Writer>> {
    let found = match store.get(&paths::writer(epoch)).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Damage is as good as no entry: who reads it assumes the worst then.
    let is_right = seal::check(&paths::writer(epoch), &found).is_ok();
    Ok(is_right.then(|| serde_json::from_slice(&found).ok()).flatten())
}
