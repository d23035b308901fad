//! The check of a table's log: seals, the chain of the entries' hashes, and that no version is missing.

use super::{Report, hash_of};
use crate::error::Result;
use crate::store::log::history::LogFiles;
use crate::store::log::seal::{self, Seal};
use blake3::Hash;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// Checks the log of the table at `root`, whose version is `version` if it could be read.
pub async fn check(store: &Arc<dyn ObjectStore>, root: &Path, version: Option<u64>, report: &mut Report) -> Result<()> {
    let files = LogFiles::list(store, root).await?;
    report.log_files += (files.entries.len() + files.checkpoints.len() + files.sidecars.len()) as u64;
    report.log_files += u64::from(files.pointer.is_some());
    check_entries(store, &files, report).await?;
    check_gaps(root, &files, version, report);
    for (version, path) in &files.checkpoints {
        let (hash, _) = hash_of(store, path).await?;
        match files.sidecars.get(version) {
            Some(sidecar) => {
                let expected = store.get(sidecar).await?.bytes().await?;
                if let Err(error) = seal::check_checkpoint(path, &hash, &expected) {
                    report.damage(error.message());
                }
            }
            None => report.note(format!(
                "the checkpoint {path} has no checksum: another program wrote it"
            )),
        }
    }
    if let Some(path) = &files.pointer {
        let bytes = store.get(path).await?.bytes().await?;
        if let Err(error) = seal::check(path, &bytes) {
            report.damage(format!(
                "{}. It can be deleted as well: the log is read without it, and the next checkpoint writes it anew",
                error.message()
            ));
        }
    }
    Ok(())
}

async fn check_entries(store: &Arc<dyn ObjectStore>, files: &LogFiles, report: &mut Report) -> Result<()> {
    let mut before: Option<(u64, Option<Hash>)> = None;
    for (version, path) in &files.entries {
        let bytes = store.get(path).await?.bytes().await?;
        // A damaged entry breaks no chain: its seal has told already.
        let hash = match seal::check(path, &bytes) {
            Ok(seal) => {
                let expected = match before {
                    Some((last, hash)) if last + 1 == *version => hash,
                    _ => None,
                };
                match seal {
                    Seal::Right { previous } if expected.is_some() && previous != expected => {
                        report.damage(
                            seal::damaged(path, "the entry before it is not the one that it was written after")
                                .message(),
                        );
                    }
                    _ => {}
                }
                Some(blake3::hash(&bytes))
            }
            Err(error) => {
                report.damage(error.message());
                None
            }
        };
        before = Some((*version, hash));
    }
    Ok(())
}

/// Versions without an entry. Before a checkpoint they cost as-of reads, after the last one the table itself.
fn check_gaps(root: &Path, files: &LogFiles, version: Option<u64>, report: &mut Report) {
    let newest_checkpoint = files.checkpoints.keys().next_back().copied();
    let mut expected = match newest_checkpoint {
        Some(_) => files.entries.keys().next().copied().unwrap_or(0),
        None => 0,
    };
    let last = files.entries.keys().next_back().copied();
    let end = version.into_iter().chain(last).max();
    let mut missing = Vec::new();
    for present in files.entries.keys().copied().chain(end.map(|end| end + 1)) {
        if present > expected {
            missing.push((expected, present - 1));
        }
        expected = present + 1;
    }
    for (from, to) in missing {
        let text = format!("the log of {root} lacks the entries {from} to {to}");
        // A table may end at its checkpoint: the entries up to it have been cleaned up.
        if newest_checkpoint.is_some_and(|checkpoint| to <= checkpoint) {
            report.note(format!(
                "{text}: as-of reads of these versions fail, the table itself is whole"
            ));
        } else {
            report.damage(format!("{text}: put them back from a backup (`tally restore`)"));
        }
    }
}
