//! Small documents that the server keeps in the store when the data folder may be lost: numbered versions, each put once.

use super::create::{Created, create};
use super::{object, paths};
use crate::error::Result;
use crate::limits;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// The documents of one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Documents {
    store: Arc<dyn ObjectStore>,
}

impl Documents {
    /// The documents of the store at `url`. Nothing is written.
    ///
    /// # Errors
    /// `Invalid` for a URL or option that is not understood.
    pub async fn open(url: &str, options: &[(String, String)]) -> Result<Self> {
        Ok(Self {
            store: object::open_to_read(url, options)?,
        })
    }

    /// One version of a document.
    ///
    /// # Errors
    /// `Storage` when the store does not answer.
    pub async fn get(&self, name: &str, version: u64) -> Result<Option<Bytes>> {
        match self.store.get(&paths::document_version(name, version)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest version of a document, with its number.
    ///
    /// # Errors
    /// `Storage` when the store does not answer.
    pub async fn latest(&self, name: &str) -> Result<Option<(u64, Bytes)>> {
        let Some(version) = self.versions(name).await?.last().copied() else {
            return Ok(None);
        };
        Ok(self.get(name, version).await?.map(|bytes| (version, bytes)))
    }

    /// Puts a version unless there is one. Returns what is there now: `bytes`, or what somebody else put before.
    ///
    /// # Errors
    /// `Storage` when the store does not answer.
    pub async fn put(&self, name: &str, version: u64, bytes: Bytes) -> Result<Bytes> {
        let path = paths::document_version(name, version);
        let gives_up = |tries| tries >= limits::PUT_TRIES_MAX;
        Ok(match create(&self.store, &path, &bytes, gives_up).await? {
            Created::Ours => bytes,
            Created::Theirs(found) => found,
        })
    }

    /// Deletes the versions below `version`.
    ///
    /// # Errors
    /// `Storage` when the store does not answer.
    pub async fn delete_before(&self, name: &str, version: u64) -> Result<()> {
        let mut old = self.versions(name).await?;
        old.retain(|found| *found < version);
        for version in old {
            match self.store.delete(&paths::document_version(name, version)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn versions(&self, name: &str) -> Result<Vec<u64>> {
        let listed = self.store.list(Some(&paths::document(name)));
        let names: Vec<Path> = listed.map_ok(|object| object.location).try_collect().await?;
        let mut versions: Vec<u64> = names.iter().filter_map(paths::version_of_document).collect();
        versions.sort_unstable();
        Ok(versions)
    }
}
