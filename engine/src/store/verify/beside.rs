//! The check of what a store holds beside its tables: the log in the store, ids of events, writers' entries, and the
//! server's documents. All of them carry their own hash.

use super::Report;
use crate::error::{Error, Result};
use crate::store::log::seal::{self, Seal};
use crate::store::{documents, paths, wal};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// What one object holds, or what is wrong with it.
type Check = fn(&Path, &Bytes, &mut Report) -> Result<()>;

/// Reads every object in the folders beside the tables.
///
/// # Errors
/// `Storage` when the store does not answer.
pub async fn check(store: &Arc<dyn ObjectStore>, report: &mut Report) -> Result<()> {
    let folders: [(Path, Check); 4] = [
        (paths::wal(), group),
        (paths::event_ids(), |path, bytes, _| wal::check_ids(path, bytes)),
        (paths::writers(), writer),
        (paths::documents(), |path, bytes, _| {
            documents::opened(path, bytes).map(drop)
        }),
    ];
    for (folder, check) in folders {
        let mut listed = store.list(Some(&folder));
        while let Some(object) = listed.try_next().await? {
            let bytes = match store.get(&object.location).await {
                Ok(found) => found.bytes().await?,
                // A server that runs has dropped it since.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            report.objects += 1;
            if let Err(error) = check(&object.location, &bytes, report) {
                report.damage(error.message());
            }
        }
    }
    if report.pending > 0 {
        report.note(format!(
            "{} records of the write-ahead log in the store may not be in the tables yet: the next start, or `tally flush`, \
             writes them there",
            report.pending
        ));
    }
    Ok(())
}

fn group(path: &Path, bytes: &Bytes, report: &mut Report) -> Result<()> {
    report.pending += wal::check_group(path, bytes)?;
    Ok(())
}

fn writer(path: &Path, bytes: &Bytes, _: &mut Report) -> Result<()> {
    if paths::writer_epoch(path).is_none() {
        // The word that it has stopped, which has nothing in it.
        return Ok(());
    }
    match seal::check(path, bytes) {
        Ok(Seal::Right { .. }) => Ok(()),
        _ => Err(Error::storage(format!(
            "the writer's entry {path} is damaged. Nothing is lost by that: the next start does without it and deletes it"
        ))),
    }
}
