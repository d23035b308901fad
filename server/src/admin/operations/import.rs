//! The operation `import`.

use super::Job;
use crate::import::{self, Wanted};
use engine::Error;
use serde_json::Value;

/// `import`.
pub(super) async fn import(job: Job) -> engine::Result<Value> {
    let wanted: Wanted = job.parameters()?;
    let progress = job.progress.clone();
    let summary = import::import(&job.app, &wanted, |summary| progress.tell(summary.to_string())).await?;
    serde_json::to_value(summary).map_err(|error| Error::internal("a summary does not convert").with_source(error))
}
