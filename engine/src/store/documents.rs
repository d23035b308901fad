//! Small documents that the server keeps in the store when the data folder may be lost: numbered versions, each put once
//! and followed by its hash.
//!
//! ```text
//! object = document "\nblake3 " hash(64 hexadecimal digits) "\n"
//! ```

use super::create::{Created, create};
use super::{object, paths};
use crate::error::{Error, Result};
use crate::limits;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

const LABEL: &[u8] = b"\nblake3 ";
/// Bytes behind the document: the label, the hash and a line's end.
const SEAL_BYTES: usize = LABEL.len() + 64 + 1;

/// A document with its hash.
fn sealed(document: &[u8]) -> Bytes {
    let hash = blake3::hash(document).to_hex();
    Bytes::from([document, LABEL, hash.as_bytes(), b"\n"].concat())
}

/// The document in the bytes of an object.
///
/// # Errors
/// `Storage`, naming the object, when they are not those that were put.
pub fn opened(path: &Path, bytes: &Bytes) -> Result<Bytes> {
    let document = bytes.slice(..bytes.len().saturating_sub(SEAL_BYTES));
    if sealed(&document) == *bytes {
        return Ok(document);
    }
    Err(Error::storage(format!(
        "the object {path} is damaged: it has other bytes than were written. Delete it when an older version lies beside \
         it, else put it back from a copy"
    )))
}

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
    /// `Storage` when the store does not answer, or the document is damaged.
    pub async fn get(&self, name: &str, version: u64) -> Result<Option<Bytes>> {
        let path = paths::document_version(name, version);
        match self.store.get(&path).await {
            Ok(found) => opened(&path, &found.bytes().await?).map(Some),
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
        match create(&self.store, &path, &sealed(&bytes), gives_up).await? {
            Created::Ours => Ok(bytes),
            Created::Theirs(found) => opened(&path, &found),
        }
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
