//! Looking for what other processes have committed.

use super::Table;
use crate::error::Result;
use crate::limits;
use deltalake_core::kernel::EagerSnapshot;
use deltalake_core::logstore::commit_uri_from_version;
use deltalake_core::table::state::DeltaTableState;
use object_store::ObjectStoreExt;

impl Table {
    /// Looks for commits of other processes. Returns whether there were any; costs one request when there were none, and now
    /// and then two.
    ///
    /// # Errors
    /// `Storage` when the log cannot be read; the table is then as before.
    pub async fn refresh(&mut self) -> Result<bool> {
        let known = self.snapshot.version;
        if self.has_entry(self.next_version()).await? {
            match self.advanced().await {
                Some(state) => {
                    let snapshot = self.read_snapshot(&state)?;
                    self.take(Some(state), snapshot, None);
                }
                None => self.reload().await?,
            }
            return Ok(true);
        }
        self.quiet_looks = self.quiet_looks.wrapping_add(1);
        let is_due = self.quiet_looks.is_multiple_of(limits::FOLLOW_QUIET_LOOKS);
        let Some(version) = known.filter(|_| is_due) else {
            return Ok(false);
        };
        // An erasure makes the log begin at its own entry: who is some commits behind finds no next one.
        if self.has_entry(version).await? {
            return Ok(false);
        }
        self.reload().await?;
        Ok(self.snapshot.version != known)
    }

    async fn has_entry(&self, version: u64) -> Result<bool> {
        let entry = commit_uri_from_version(Some(version));
        match self.log.object_store(None).head(&entry).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest state, read from the known one on: only entries that are new. `None` where the log is better read anew: when
    /// that fails, and after a checkpoint, because a state has what was read in as many pieces as there were commits.
    async fn advanced(&self) -> Option<EagerSnapshot> {
        let known = self.state.as_ref()?;
        let mut table = DeltaTableState::new(known.clone());
        if let Err(error) = table.update(self.log.as_ref(), None).await {
            tracing::debug!(%error, table = %self.root, "the log is read anew");
            return None;
        }
        let state = table.snapshot();
        let period = |state: &EagerSnapshot| state.version() / limits::CHECKPOINT_COMMITS;
        (period(state) == period(known)).then(|| state.clone())
    }
}
