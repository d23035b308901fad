//! One object from one store into another, verified on the way.

use super::manifest::FileEntry;
use crate::error::{Error, Result};
use crate::store::checksum::damaged;
use crate::store::verify::hash_of;
use blake3::Hash;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It was copied.
    Now,
    /// The right bytes were there.
    Before,
}

/// What is done when the target holds other bytes under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// They are replaced: what an interrupted copy or damage left.
    Replace,
    /// It is an error: they belong to another table.
    Refuse,
}

/// Copies `path`. `expected` is the hash that it must have, where somebody knows; `known` is what an earlier backup copied
/// under this name.
///
/// # Errors
/// `NotFound` when the source lacks it; `Storage` when it cannot be copied or has another hash than expected; `Invalid`
/// when the target holds another object and that is refused.
pub async fn copy(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    path: &Path,
    expected: Option<Hash>,
    known: Option<&FileEntry>,
    other: Other,
) -> Result<(Copied, FileEntry)> {
    let there = match to.head(path).await {
        Ok(meta) => Some(meta.size),
        Err(object_store::Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let (Some(size), Some(known)) = (there, known) {
        let is_same = expected.is_none_or(|hash| hash.to_hex().as_str() == known.blake3);
        if size == known.size && is_same {
            return Ok((Copied::Before, known.clone()));
        }
    }
    if there.is_some() {
        let (found, size) = hash_of(to, path).await?;
        let wanted = match expected {
            Some(hash) => hash,
            None => hash_of(from, path).await?.0,
        };
        if found == wanted {
            return Ok((Copied::Before, entry(path, size, &found)));
        }
        if other == Other::Refuse {
            return Err(Error::invalid(format!(
                "the target holds another {path}: it belongs to another table. Choose a new folder or prefix"
            )));
        }
    }
    let (hash, size) = send(from, to, path, expected).await?;
    Ok((Copied::Now, entry(path, size, &hash)))
}

fn entry(path: &Path, size: u64, hash: &Hash) -> FileEntry {
    FileEntry {
        path: path.to_string(),
        size,
        blake3: hash.to_hex().to_string(),
    }
}

async fn send(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    path: &Path,
    expected: Option<Hash>,
) -> Result<(Hash, u64)> {
    let mut bytes = from.get(path).await?.into_stream();
    let mut sink = BufWriter::new(Arc::clone(to), path.clone());
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    let sent = async {
        while let Some(part) = bytes.try_next().await? {
            hasher.update(&part);
            size += part.len() as u64;
            sink.put(part).await?;
        }
        let hash = hasher.finalize();
        match expected {
            // Nothing has its name yet, so a damaged file does not become a copy.
            Some(expected) if expected != hash => Err(damaged(path, "it has other bytes than were written")),
            _ => Ok(hash),
        }
    };
    match sent.await {
        Ok(hash) => {
            sink.shutdown().await?;
            Ok((hash, size))
        }
        Err(error) => {
            // What was sent in parts would otherwise stay for ever.
            if let Err(left) = sink.abort().await {
                tracing::debug!(%path, error = %left, "an unfinished upload could not be aborted");
            }
            Err(error)
        }
    }
}
