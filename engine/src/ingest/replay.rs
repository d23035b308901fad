//! After a restart: the log's records that are in no table yet come back into the buffer, within the memory bound.

use super::Shared;
use super::buffer::{Files, Project};
use super::flusher::Which;
use crate::blocking::blocking;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::project::ProjectId;
use crate::store::TableKind;
use crate::wal::{EncodedEvents, EncodedRecord, Record, Seq, Wal};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes of records that go from thread to thread at once: handing over single ones takes longer than checking them when
/// they are small.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks read ahead of their use.
const AHEAD_CHUNKS: usize = 2;
/// Chunks that are checked at the same time.
const CHECKED_AT_ONCE: usize = 2;

/// Records in the order of the log.
type Chunk<R> = Vec<(Seq, R)>;

/// The last number of each table whose rows are in its files, and whether the table is claimed: then nobody can move it.
type Marks = HashMap<(ProjectId, TableKind), (Seq, bool)>;

/// Whether the rows of record `seq` are in a project's table.
async fn is_stored(shared: &Shared, marks: &mut Marks, project: &Project, kind: TableKind, seq: Seq) -> Result<bool> {
    let key = (project.id.clone(), kind);
    let known = marks.get(&key).copied();
    // A mark only grows. So it is believed at once when it says yes, and after a claim when it says no.
    if let Some((mark, is_claimed)) = known
        && (seq <= mark || is_claimed)
    {
        return Ok(seq <= mark);
    }
    let mut guard = project.tables.lock().await;
    let tables = project.open_tables(&mut guard, &shared.store).await?;
    let table = match kind {
        TableKind::Events => &mut tables.events,
        TableKind::Rejected => &mut tables.rejected,
    };
    let writer = shared.wal.writer_id();
    let mut mark = table.mark(writer).await?;
    let mut is_claimed = !shared.wal.leaves_late_commits();
    if seq > mark && !is_claimed {
        table.claim(shared.clock.now_micros().div_euclid(1000)).await?;
        mark = table.mark(writer).await?;
        is_claimed = true;
        project.rows.lock().files = Some(Files {
            events: Arc::clone(tables.events.snapshot()),
            rejected: Arc::clone(tables.rejected.snapshot()),
        });
    }
    marks.insert(key, (mark, is_claimed));
    Ok(seq <= mark)
}

/// At most one flush that goes on while more is read.
#[derive(Debug)]
struct Flushing<'a> {
    shared: &'a Arc<Shared>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Flushing<'_> {
    fn is_going_on(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    async fn start(&mut self) -> Result<()> {
        self.end().await?;
        let shared = Arc::clone(self.shared);
        self.task = Some(tokio::spawn(async move { shared.flush_round(Which::All).await }));
        Ok(())
    }

    /// Waits until nothing is being flushed.
    async fn end(&mut self) -> Result<()> {
        match self.task.take() {
            Some(task) => task
                .await
                .map_err(|error| Error::internal("a flush of a replay was interrupted").with_source(error))?,
            None => Ok(()),
        }
    }
}

/// Replays the log. Of one that does not fit into ingest's memory bound, rows beyond half of it are flushed while more is
/// read, and near the bound nothing is read until there is room; so a log of any length replays in the memory that ingest
/// has. One that fits is left to the flusher: the sooner events are taken again.
///
/// # Errors
/// `Storage` when the log or a table cannot be read, or a flush on the way fails.
pub async fn replay(shared: &Arc<Shared>) -> Result<()> {
    let (sender, mut chunks) = mpsc::channel(AHEAD_CHUNKS);
    let wal = Arc::clone(&shared.wal);
    let reader = tokio::task::spawn_blocking(move || read(&*wal, &sender));
    let checked = stream::poll_fn(move |context| chunks.poll_recv(context))
        .map(|chunk| blocking("checking the write-ahead log", move || check(chunk)))
        .buffered(CHECKED_AT_ONCE);
    let mut flushing = Flushing { shared, task: None };
    let applied = apply(shared, pin!(checked), &mut flushing).await;
    // It holds the log and the folder, whatever became of the rest.
    let flushed = flushing.end().await;
    applied.and(flushed)?;
    match reader.await {
        Ok(result) => result?,
        Err(error) => {
            return Err(Error::internal("the replay of the write-ahead log was interrupted").with_source(error));
        }
    }
    shared.trim().await
}

/// Reads the log to its end, or until nobody takes the chunks any more.
fn read(wal: &dyn Wal, sender: &mpsc::Sender<Chunk<EncodedRecord>>) -> Result<()> {
    let send = |chunk| {
        let stopped = |_| Error::internal("the replay of the write-ahead log was stopped");
        sender.blocking_send(chunk).map_err(stopped)
    };
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    wal.replay_encoded(&mut |seq, record| {
        bytes += record.size_bytes();
        chunk.push((seq, record));
        if bytes < CHUNK_BYTES {
            return Ok(());
        }
        bytes = 0;
        send(std::mem::take(&mut chunk))
    })?;
    if chunk.is_empty() { Ok(()) } else { send(chunk) }
}

fn check(chunk: Chunk<EncodedRecord>) -> Result<Chunk<Record>> {
    let decode = |(seq, record): (Seq, EncodedRecord)| Ok((seq, record.decode()?));
    chunk.into_iter().map(decode).collect()
}

async fn apply(
    shared: &Arc<Shared>,
    mut chunks: impl Stream<Item = Result<Chunk<Record>>> + Unpin,
    flushing: &mut Flushing<'_>,
) -> Result<()> {
    let mut marks = Marks::new();
    let some = shared.admission.bytes_max() / 2;
    let most = shared.admission.bytes_max() / 8 * 7;
    let mut left = usize::try_from(shared.wal.size_bytes()).unwrap_or(usize::MAX);
    let now = shared.clock.now_micros();
    while let Some(chunk) = chunks.try_next().await? {
        for (seq, record) in chunk {
            left = left.saturating_sub(record.events.size_bytes());
            apply_record(shared, &mut marks, seq, record, now).await?;
            let held = shared.admission.held_bytes();
            if held > some && held.saturating_add(left) > most && !flushing.is_going_on() {
                flushing.start().await?;
            }
            if held > most {
                flushing.end().await?;
            }
        }
    }
    Ok(())
}

/// Buffers what of a record is in no table yet.
async fn apply_record(shared: &Shared, marks: &mut Marks, seq: Seq, mut record: Record, now: Micros) -> Result<()> {
    let project = shared.projects.get(&record.project);
    if !record.events.is_empty() && is_stored(shared, marks, &project, TableKind::Events, seq).await? {
        record.events = EncodedEvents::default();
    }
    if !record.rejected.is_empty() && is_stored(shared, marks, &project, TableKind::Rejected, seq).await? {
        record.rejected.clear();
    }
    shared.applied_seq.fetch_max(seq, Ordering::AcqRel);
    if record.events.is_empty() && record.rejected.is_empty() {
        return Ok(());
    }
    shared.metrics.replayed.add(record.events.len() as u64);
    let bytes = project.push(seq, record.events, record.rejected, now);
    shared.admission.hold(bytes);
    Ok(())
}
