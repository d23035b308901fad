//! After a restart: the log's records that are in no table yet come back into the buffer, within the memory bound.

use super::Shared;
use super::flusher::Which;
use crate::error::{Error, Result};
use crate::wal::{Record, Seq};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Records read ahead of their use.
const AHEAD_RECORDS: usize = 4;

/// Replays the log. When the rows reach a quarter of ingest's memory bound they are flushed before more are read, so a
/// log of any length replays in the memory that ingest has.
///
/// # Errors
/// `Storage` when the log or a table cannot be read, or a flush on the way fails.
pub async fn replay(shared: &Shared) -> Result<()> {
    let (sender, mut records) = mpsc::channel::<(Seq, Record)>(AHEAD_RECORDS);
    let wal = Arc::clone(&shared.wal);
    let reader = tokio::task::spawn_blocking(move || {
        wal.replay(&mut |seq, record| {
            let stopped = |_| Error::internal("the replay of the write-ahead log was stopped");
            sender.blocking_send((seq, record)).map_err(stopped)
        })
    });
    let mut marks: HashMap<crate::project::ProjectId, (Seq, Seq)> = HashMap::new();
    let bytes_max = shared.admission.bytes_max() / 4;
    let now = shared.clock.now_micros();
    while let Some((seq, mut record)) = records.recv().await {
        let project = shared.projects.get(&record.project);
        let (events_mark, rejected_mark) = match marks.get(&record.project) {
            Some(marks) => *marks,
            None => {
                let mut guard = project.tables.lock().await;
                let tables = project.open_tables(&mut guard, &shared.store).await?;
                let writer = shared.wal.writer_id();
                let found = (tables.events.mark(writer).await?, tables.rejected.mark(writer).await?);
                marks.insert(record.project.clone(), found);
                found
            }
        };
        if seq <= events_mark {
            record.events.clear();
        }
        if seq <= rejected_mark {
            record.rejected.clear();
        }
        shared.applied_seq.fetch_max(seq, Ordering::AcqRel);
        if record.events.is_empty() && record.rejected.is_empty() {
            continue;
        }
        shared.metrics.replayed.add(record.events.len() as u64);
        let bytes = project.push(seq, record.events, record.rejected, now);
        shared.admission.hold(bytes);
        if shared.admission.held_bytes() > bytes_max {
            shared.flush_round(Which::All).await?;
        }
    }
    match reader.await {
        Ok(result) => result?,
        Err(error) => {
            return Err(Error::internal("the replay of the write-ahead log was interrupted").with_source(error));
        }
    }
    shared.trim().await
}
