//! Where the table log's entries go: the object store, by put-if-absent, sealed, told apart from a rival's by their bytes.

pub mod history;
pub mod seal;
mod sealed;

use async_trait::async_trait;
use blake3::Hash;
use bytes::Bytes;
use deltalake_core::kernel::Version;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::{
    CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef, StorageConfig, commit_uri_from_version, default_logstore,
};
use deltalake_core::{DeltaResult, DeltaTableError};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parking_lot::Mutex;
use sealed::SealedLogs;
use std::sync::Arc;
use url::Url;
use uuid::Uuid;

/// Tries of one entry when the store says "exists" and then "does not": a conflict without a winner.
const PUT_TRIES_MAX: usize = 5;

/// The library's log store with two differences. Whether a newer version exists is asked by name and not by listing a
/// folder that grows with every commit. And when a put is refused, the entry that is there is read: a retry inside the
/// HTTP client may have met its own success.
pub struct TableLogStore {
    inner: LogStoreRef,
    /// The newest entry this process wrote, and its hash.
    newest: Mutex<Option<(Version, Hash)>>,
}

impl TableLogStore {
    /// The log of the table at `root` of `store`.
    ///
    /// # Errors
    /// When `root` makes no URL, which its characters exclude.
    pub fn open(store: &Arc<dyn ObjectStore>, root: &Path) -> DeltaResult<LogStoreRef> {
        let url = Url::parse(&format!("memory:///{root}/"))
            .map_err(|error| DeltaTableError::InvalidTableLocation(format!("{root}: {error}")))?;
        let sealed: Arc<dyn ObjectStore> = SealedLogs::new(Arc::clone(store));
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&sealed), root.clone()));
        let inner = default_logstore(prefixed, sealed, &url, &StorageConfig::default());
        Ok(Arc::new(Self {
            inner,
            newest: Mutex::default(),
        }))
    }

    /// The hash of the entry before `version`, if there is one.
    async fn previous(&self, version: Version) -> Result<Option<Hash>, TransactionError> {
        let Some(before) = version.checked_sub(1) else {
            return Ok(None);
        };
        let known = self.newest.lock().filter(|(newest, _)| *newest == before);
        if let Some((_, hash)) = known {
            return Ok(Some(hash));
        }
        let store = self.inner.object_store(None);
        match store.get(&commit_uri_from_version(Some(before))).await {
            Ok(found) => Ok(Some(blake3::hash(&found.bytes().await?))),
            // Removed with the entries that a checkpoint replaces.
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put_entry(&self, version: Version, entry: Bytes) -> Result<(), TransactionError> {
        let store = self.inner.object_store(None);
        let name = commit_uri_from_version(Some(version));
        let entry = Bytes::from(seal::seal_entry(&entry, self.previous(version).await?));
        let written = || *self.newest.lock() = Some((version, blake3::hash(&entry)));
        for _ in 0..PUT_TRIES_MAX {
            let put = store
                .put_opts(&name, entry.clone().into(), PutOptions::from(PutMode::Create))
                .await;
            match put {
                Ok(_) => {
                    written();
                    return Ok(());
                }
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match store.get(&name).await {
                Ok(found) => {
                    if found.bytes().await? == entry {
                        written();
                        return Ok(());
                    }
                    break;
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if version == 0 {
            // The library would read the table that somebody made meanwhile and add to it without looking for conflicts.
            let text = "another commit made the table at the same time";
            return Err(TransactionError::LogStoreError {
                msg: text.to_owned(),
                source: text.into(),
            });
        }
        Err(TransactionError::VersionAlreadyExists(version))
    }
}

#[async_trait]
impl LogStore for TableLogStore {
    fn name(&self) -> String {
        // The library gives the entry's bytes to stores of this name, and a temporary file to others.
        self.inner.name()
    }

    async fn read_commit_entry(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    async fn write_commit_entry(
        &self,
        version: Version,
        commit_or_bytes: CommitOrBytes,
        operation_id: Uuid,
    ) -> Result<(), TransactionError> {
        match commit_or_bytes {
            CommitOrBytes::LogBytes(entry) => self.put_entry(version, entry).await,
            other => self.inner.write_commit_entry(version, other, operation_id).await,
        }
    }

    async fn abort_commit_entry(
        &self,
        version: Version,
        commit_or_bytes: CommitOrBytes,
        operation_id: Uuid,
    ) -> Result<(), TransactionError> {
        self.inner
            .abort_commit_entry(version, commit_or_bytes, operation_id)
            .await
    }

    async fn get_latest_version(&self, start_version: Version) -> DeltaResult<Version> {
        let store = self.inner.object_store(None);
        let mut latest = start_version;
        loop {
            match store.head(&commit_uri_from_version(Some(latest + 1))).await {
                Ok(_) => latest += 1,
                Err(object_store::Error::NotFound { .. }) => return Ok(latest),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.object_store(operation_id)
    }

    fn root_object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.root_object_store(operation_id)
    }

    fn config(&self) -> &LogStoreConfig {
        self.inner.config()
    }
}

#[cfg(test)]
mod tests;
