//! The part of a table's log that is not needed any more.

use super::{Table, failed};
use crate::error::Result;
use crate::store::backup;
use deltalake_core::checkpoints;
use deltalake_core::logstore::LogStoreRef;
use object_store::path::Path;
use std::sync::Arc;

/// A table's log, to be shortened while the table is used.
#[derive(Debug)]
pub struct Past {
    root: Path,
    log: LogStoreRef,
    version: Option<u64>,
}

impl Table {
    /// The log up to the version now.
    pub fn past(&self) -> Past {
        Past {
            root: self.root.clone(),
            log: Arc::clone(&self.log),
            version: self.snapshot.version,
        }
    }
}

impl Past {
    /// Deletes entries and checkpoints from before `before_millis`, unless a later version is read from them or one of the
    /// commits that a backup holds. Returns their number.
    ///
    /// # Errors
    /// `Storage` when the log cannot be listed or an object not be deleted.
    pub async fn delete_before(&self, before_millis: i64) -> Result<u64> {
        let Some(version) = self.version else { return Ok(0) };
        let keep = version.saturating_sub(backup::COMMITS);
        let deleted = checkpoints::cleanup_expired_logs_for(keep, self.log.as_ref(), before_millis, None).await;
        let deleted = deleted.map_err(|error| failed(&self.root, "have its log shortened", error))?;
        Ok(deleted as u64)
    }
}
