//! Giving up what nobody will ask for again.

use crate::exec::KeptFooters;
use crate::ingest::Shared;
use crate::limits;
use std::sync::Weak;
use std::time::Duration;

/// The background task, until the engine is gone.
pub(super) async fn run(shared: Weak<Shared>, footers: KeptFooters) {
    loop {
        tokio::time::sleep(Duration::from_millis(limits::TIDY_INTERVAL_MS)).await;
        let Some(shared) = shared.upgrade() else { return };
        tidy(&shared, &footers);
    }
}

/// Gives up what is kept of files that no table holds any more.
fn tidy(shared: &Shared, footers: &KeptFooters) {
    footers.retain(&shared.projects.data_files());
}

#[cfg(test)]
mod tests;
