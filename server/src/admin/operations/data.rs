//! Operations on the tables as a whole.

use super::Job;
use serde::Deserialize;
use serde_json::{Value, json};

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `flush`.
pub(super) async fn flush(job: Job) -> engine::Result<Value> {
    let Nothing {} = job.parameters()?;
    let rows = &job.app.engine.metrics().flushed_rows;
    let before = rows.get();
    job.app.engine.flush().await?;
    Ok(json!({ "rows": rows.get() - before }))
}

/// `compact`.
pub(super) async fn compact(job: Job) -> engine::Result<Value> {
    let Nothing {} = job.parameters()?;
    job.progress.tell("merging files");
    let merges = job.app.engine.compact().await?;
    Ok(json!({ "merges": merges }))
}
