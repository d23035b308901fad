//! The ids of events whose groups are dropped from the log: kept by the hour in objects of their own, for as long as an
//! id is remembered, so that a machine with an empty disk knows them too. They take 16 bytes an event.
//!
//! Every drop of groups makes an object. Those of one hour are merged, so that a start has few to read.

use super::object;
use crate::error::Result;
use crate::limits;
use crate::store::paths;
use crate::wal::index::is_old;
use crate::wal::{EventKey, Hour, ScratchIndex};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The objects of ids that are known, by hour.
#[derive(Debug, Default)]
pub(super) struct IdObjects {
    hours: BTreeMap<Hour, Vec<(Path, u64)>>,
}

impl IdObjects {
    /// Reads all ids that are still remembered into `index`. An object that is damaged is named in the log and left out: a
    /// repeat that is stored twice is the lesser harm.
    ///
    /// # Errors
    /// `Storage` when the objects cannot be listed or read.
    pub(super) async fn load(store: &Arc<dyn ObjectStore>, index: &Arc<ScratchIndex>, now: Hour) -> Result<Self> {
        let listed: Vec<_> = store.list(Some(&paths::event_ids())).try_collect().await?;
        let mut known = Self::default();
        let mut wanted = Vec::new();
        for object in listed {
            let Some(hour) = paths::event_ids_hour(&object.location) else {
                continue;
            };
            known.add(hour, object.location.clone(), object.size);
            if !is_old(hour, now) {
                wanted.push((hour, object.location));
            }
        }
        let mut read = futures::stream::iter(wanted)
            .map(|(hour, name)| async move {
                let bytes = get(store, &name).await?;
                Ok::<_, crate::Error>((hour, name, bytes))
            })
            .buffered(limits::WAL_IDS_READS_AT_ONCE);
        while let Some((hour, name, bytes)) = read.try_next().await? {
            // A writer that is fenced since may have merged it into another, which is listed as well or was before.
            let Some(bytes) = bytes else { continue };
            let index = Arc::clone(index);
            let load = move || match object::decode_ids(&name, hour, &bytes) {
                Ok(keys) => index.load(&keys, hour),
                Err(error) => {
                    tracing::error!(%error, "its events are stored again when they are sent again");
                    Ok(())
                }
            };
            crate::blocking::blocking("reading event ids", load).await?;
        }
        Ok(known)
    }

    fn add(&mut self, hour: Hour, name: Path, bytes: u64) {
        self.hours.entry(hour).or_default().push((name, bytes));
    }

    /// Puts ids of some hours.
    ///
    /// # Errors
    /// `Storage` when one cannot be put.
    pub(super) async fn save(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        keys: BTreeMap<Hour, Vec<EventKey>>,
    ) -> Result<()> {
        for (hour, mut keys) in keys {
            keys.sort_unstable();
            keys.dedup();
            for keys in keys.chunks(limits::WAL_IDS_OBJECT_KEYS_MAX) {
                let bytes = object::encode_ids(hour, keys);
                let (name, size) = (paths::new_event_ids(hour), bytes.len() as u64);
                store.put(&name, bytes.into()).await?;
                self.add(hour, name, size);
            }
        }
        Ok(())
    }

    /// Deletes hours that are forgotten, and merges the small objects of one hour when there are many or the hour is over.
    ///
    /// # Errors
    /// `Storage` when an object cannot be read or written; nothing is lost.
    pub(super) async fn tidy(&mut self, store: &Arc<dyn ObjectStore>, now: Hour) -> Result<()> {
        let old: Vec<Hour> = self.hours.keys().copied().filter(|hour| is_old(*hour, now)).collect();
        for hour in old {
            for (name, _) in self.hours.remove(&hour).unwrap_or_default() {
                delete(store, &name).await?;
            }
        }
        let hours: Vec<Hour> = self.hours.keys().copied().collect();
        for hour in hours {
            while let Some(merged) = self.to_merge(hour, now) {
                self.merge(store, hour, merged).await?;
            }
        }
        Ok(())
    }

    /// Small objects of an hour that fit into one, when merging them is worth it.
    fn to_merge(&self, hour: Hour, now: Hour) -> Option<Vec<Path>> {
        let bytes_max = limits::WAL_IDS_OBJECT_KEYS_MAX as u64 * 16;
        let mut small: Vec<&(Path, u64)> = self.hours.get(&hour)?.iter().collect();
        small.retain(|(_, bytes)| *bytes <= bytes_max / 2);
        small.sort_by_key(|(_, bytes)| *bytes);
        let count_min = if hour < now { 2 } else { limits::WAL_IDS_OBJECTS_MAX };
        if small.len() < count_min {
            return None;
        }
        let mut bytes = 0;
        let fits = small.into_iter().take_while(|(_, size)| {
            bytes += size;
            bytes <= bytes_max
        });
        Some(fits.map(|(name, _)| name.clone()).collect())
    }

    async fn merge(&mut self, store: &Arc<dyn ObjectStore>, hour: Hour, names: Vec<Path>) -> Result<()> {
        let mut keys = Vec::new();
        for name in &names {
            let Some(bytes) = get(store, name).await? else { continue };
            match object::decode_ids(name, hour, &bytes) {
                Ok(read) => keys.extend(read),
                Err(error) => tracing::error!(%error, "its events are stored again when they are sent again"),
            }
        }
        self.save(store, BTreeMap::from([(hour, keys)])).await?;
        if let Some(known) = self.hours.get_mut(&hour) {
            known.retain(|(name, _)| !names.contains(name));
        }
        for name in &names {
            delete(store, name).await?;
        }
        Ok(())
    }
}

pub(super) async fn get(store: &Arc<dyn ObjectStore>, name: &Path) -> Result<Option<Bytes>> {
    match store.get(name).await {
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn delete(store: &Arc<dyn ObjectStore>, name: &Path) -> Result<()> {
    match store.delete(name).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
