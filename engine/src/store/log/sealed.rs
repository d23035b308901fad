//! The object store as the table log sees it: what is written there is sealed, what is read there is verified.

use super::seal::{self, LogFile};
use crate::error::Error;
use crate::store::remembered::Remembered;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::ops::Range;
use std::sync::Arc;

/// Checkpoints remembered as right: a table that stays open writes new ones for ever, and the newest is read.
const CHECKPOINTS_MAX: usize = 64;

/// A store whose table logs are sealed. Everything else passes through.
#[derive(Debug)]
pub struct SealedLogs {
    inner: Arc<dyn ObjectStore>,
    /// Checkpoints that were verified since the table was opened.
    checkpoints: Remembered<Path>,
}

impl std::fmt::Display for SealedLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedLogs({})", self.inner)
    }
}

fn failed(error: Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "SealedLogs",
        source: Box::new(error),
    }
}

fn whole(payload: &PutPayload) -> Vec<u8> {
    payload
        .iter()
        .fold(Vec::with_capacity(payload.content_length()), |mut all, bytes| {
            all.extend_from_slice(bytes);
            all
        })
}

impl SealedLogs {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            checkpoints: Remembered::new(CHECKPOINTS_MAX),
        })
    }

    /// Reads an entry or the pointer and verifies it.
    async fn get_sealed(&self, location: &Path, options: GetOptions, file: LogFile) -> Result<GetResult> {
        let result = self.inner.get_opts(location, options).await?;
        let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let bytes = result.bytes().await?;
        match seal::check(location, &bytes) {
            Ok(_) => {}
            // Without the pointer the log is listed: slower, and right.
            Err(error) if file == LogFile::Pointer => {
                tracing::warn!(%error, "the log is read without it; the next checkpoint writes it anew");
                return Err(object_store::Error::NotFound {
                    path: location.to_string(),
                    source: Box::new(error),
                });
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(GetResult {
            payload: GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed()),
            meta,
            range,
            attributes,
        })
    }

    /// Verifies a checkpoint before its first byte is given away.
    async fn verify_checkpoint(&self, location: &Path) -> Result<()> {
        if self.checkpoints.contains(location) {
            return Ok(());
        }
        let expected = match self.inner.get(&seal::sidecar(location)).await {
            Ok(found) => Some(found.bytes().await?),
            // Another program's checkpoint.
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(expected) = expected {
            let mut bytes = self.inner.get(location).await?.into_stream();
            let mut hasher = blake3::Hasher::new();
            while let Some(bytes) = bytes.try_next().await? {
                hasher.update(&bytes);
            }
            seal::check_checkpoint(location, &hasher.finalize(), &expected).map_err(failed)?;
        }
        self.checkpoints.insert(location.clone());
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for SealedLogs {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let payload = match LogFile::of(location) {
            Some(LogFile::Pointer) => seal::seal_pointer(&whole(&payload)).into(),
            Some(LogFile::Checkpoint(_)) => {
                let hash = blake3::hash(&whole(&payload));
                put_sidecar(&self.inner, location, &hash).await?;
                payload
            }
            _ => payload,
        };
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        if !matches!(LogFile::of(location), Some(LogFile::Checkpoint(_))) {
            return Ok(inner);
        }
        Ok(Box::new(CheckpointUpload {
            inner,
            hasher: blake3::Hasher::new(),
            store: Arc::clone(&self.inner),
            location: location.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_whole = options.range.is_none() && !options.head;
        match LogFile::of(location) {
            Some(file @ (LogFile::Entry(_) | LogFile::Pointer)) if is_whole => {
                self.get_sealed(location, options, file).await
            }
            Some(LogFile::Checkpoint(_)) if !options.head => {
                self.verify_checkpoint(location).await?;
                self.inner.get_opts(location, options).await
            }
            _ => self.inner.get_opts(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(LogFile::Checkpoint(_)) = LogFile::of(location) {
            self.verify_checkpoint(location).await?;
        }
        self.inner.get_ranges(location, ranges).await
    }

    /// With a checkpoint goes its hash.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let with_sidecars = locations.flat_map(|location| {
            let sidecar = match &location {
                Ok(path) if matches!(LogFile::of(path), Some(LogFile::Checkpoint(_))) => Some(Ok(seal::sidecar(path))),
                _ => None,
            };
            // The hash first: who deletes one object looks no further than that object's answer.
            futures::stream::iter([sidecar, Some(location)].into_iter().flatten())
        });
        let is_sidecar = |path: &str| path.ends_with(seal::SIDECAR_SUFFIX);
        let deleted = self.inner.delete_stream(with_sidecars.boxed());
        let told = deleted.filter(move |result| {
            let is_told = match result {
                Ok(path) => !is_sidecar(path.as_ref()),
                Err(object_store::Error::NotFound { path, .. }) => !is_sidecar(path),
                Err(_) => true,
            };
            futures::future::ready(is_told)
        });
        told.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

async fn put_sidecar(store: &Arc<dyn ObjectStore>, checkpoint: &Path, hash: &blake3::Hash) -> Result<()> {
    let text = hash.to_hex().to_string();
    store.put(&seal::sidecar(checkpoint), text.into()).await?;
    Ok(())
}

/// A large checkpoint, sent in parts.
#[derive(Debug)]
struct CheckpointUpload {
    inner: Box<dyn MultipartUpload>,
    hasher: blake3::Hasher,
    store: Arc<dyn ObjectStore>,
    location: Path,
}

#[async_trait]
impl MultipartUpload for CheckpointUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        data.iter().for_each(|bytes| {
            self.hasher.update(bytes);
        });
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        put_sidecar(&self.store, &self.location, &self.hasher.finalize()).await?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
