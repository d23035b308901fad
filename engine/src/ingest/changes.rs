//! Which rows an answer was made from, as one cheap number, and news when it changes.

use tokio::sync::watch;

/// The state of a project's rows: two equal versions of one project have the same rows, so that what was computed under
/// one is right under the other. Moving rows from the buffer into files changes no row and therefore no version. Only
/// meaningful within the life of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct DataVersion(pub(super) u64);

impl DataVersion {
    /// The version of this number, as an earlier [`DataVersion::number`] gave it.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number behind it, for cache keys and logs.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// News of one project's rows. It costs nothing while nothing changes, and keeps the project in memory.
#[derive(Debug, Clone)]
pub struct Changes(pub(super) watch::Receiver<DataVersion>);

impl Changes {
    /// Waits until the rows are others than at the last call, or than when this was made. Several changes in a row are
    /// told as one. `None` when the engine is gone.
    pub async fn next(&mut self) -> Option<DataVersion> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }

    /// The version now; [`Changes::next`] then waits for a later one.
    pub fn current(&mut self) -> DataVersion {
        *self.0.borrow_and_update()
    }
}
