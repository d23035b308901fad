//! Giving up what nobody will ask for again.

use super::Engine;
use crate::exec::KeptFooters;
use crate::ingest::Shared;
use crate::limits;
use std::sync::Weak;
use std::time::Duration;

impl Engine {
    /// Gives up what is kept of files that no table holds any more. The background does the same every minute.
    pub fn tidy(&self) {
        self.queries.footers().retain(&self.shared.projects.data_files());
    }
}

/// The background task, until the engine is gone.
pub(super) async fn run(shared: Weak<Shared>, footers: KeptFooters) {
    loop {
        tokio::time::sleep(Duration::from_millis(limits::TIDY_INTERVAL_MS)).await;
        let Some(shared) = shared.upgrade() else { return };
        footers.retain(&shared.projects.data_files());
    }
}
