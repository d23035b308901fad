//! A commit against others that came between the reading of the log and its own entry.

use crate::error::{Error, Result};
use crate::limits;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;

/// Tries of one commit.
///
/// While the fence holds, no other writer of ours is behind it: it is a commit of this process whose answer was lost and that
/// arrives long after the log was read again, or another program's. The library refuses a commit that meets one before it
/// writes anything, so it can be tried as it is.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Lets a commit that failed with `error` be tried again, of which the log says that it did not happen, if it
    /// `is_repeatable` as it is and met another one.
    ///
    /// # Errors
    /// `error` where it met none, else `Storage`, which names it.
    pub(super) fn again(&mut self, error: Error, is_repeatable: bool) -> Result<()> {
        if !is_conflict(&error) {
            return Err(error);
        }
        self.0 += 1;
        if is_repeatable && self.0 < limits::COMMIT_TRIES_MAX {
            tracing::debug!(%error, "a commit is tried again");
            return Ok(());
        }
        let text = format!("{}: another commit came first; try again", error.message());
        Err(Error::storage(text).with_source(error))
    }
}

/// Whether a commit failed for no other reason than that another one was there before it.
fn is_conflict(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    match source {
        Some(DeltaTableError::VersionAlreadyExists(_)) => true,
        Some(DeltaTableError::Transaction { source }) => matches!(
            source,
            TransactionError::CommitConflict(_)
                | TransactionError::MaxCommitAttempts(_)
                // Our own log store's, for the first entry of a table.
                | TransactionError::LogStoreError { .. }
        ),
        _ => false,
    }
}
