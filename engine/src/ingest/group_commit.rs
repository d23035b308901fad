//! Making batches durable, many at a time: one thread takes whatever waits, writes it with one fsync, and tells everybody.
//!
//! While one group is on its way to the disk the next one gathers by itself, so a busy server has large groups and an
//! idle one answers at once.

use super::{Batch, Receipt, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Column, Event, RejectReason, Rejected, Value};
use crate::health::{Part, Severity};
use crate::limits;
use crate::project::ProjectId;
use crate::wal::record::{self, EncodedEvents};
use crate::wal::{EventKey, Seq};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// A batch on its way, with the work done that needs no order.
struct Request {
    project: ProjectId,
    events: EncodedEvents,
    keys: Vec<EventKey>,
    rejected: Vec<Rejected>,
    reply: oneshot::Sender<Result<Receipt>>,
}

/// The committer: a queue and the thread behind it.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Request>,
}

impl Committer {
    /// Starts the thread. It ends when every clone of the committer is dropped and the queue is empty.
    ///
    /// # Errors
    /// `Storage` when no thread can be started.
    pub fn start(shared: Arc<Shared>) -> Result<(Self, JoinHandle<()>)> {
        let runtime = Handle::current();
        let (queue, requests) = mpsc::channel(limits::GROUP_QUEUE_REQUESTS_MAX);
        let thread = std::thread::Builder::new()
            .name("tally-commit".to_owned())
            .spawn(move || run(&shared, requests, &runtime))?;
        Ok((Self { queue }, thread))
    }

    /// Makes `batch` durable and visible; returns after the fsync.
    ///
    /// # Errors
    /// `Storage` when it could not be made durable.
    pub async fn append(&self, shared: &Shared, project: &ProjectId, batch: Batch) -> Result<Receipt> {
        let stopped = || Error::storage("the write-ahead log is stopped; send the events again after the restart");
        let (reply, answer) = oneshot::channel();
        let request = prepare(shared, project, batch, reply);
        self.queue.send(request).await.map_err(|_| stopped())?;
        // The group goes on without the request, and its events are then stored: sent again they are duplicates.
        let late = |_| Error::storage("the store takes no events at the moment; send them again in a while");
        let patience = Duration::from_millis(limits::APPEND_WAIT_MS_MAX);
        let answer = tokio::time::timeout(patience, answer).await.map_err(late)?;
        answer.map_err(|_| stopped())?
    }
}

/// Sorts out the events that cannot be stored, and encodes the others. Runs on the caller's thread.
fn prepare(shared: &Shared, project: &ProjectId, batch: Batch, reply: oneshot::Sender<Result<Receipt>>) -> Request {
    let Batch {
        mut events,
        mut rejected,
    } = batch;
    if events.iter().any(|event| defect(event).is_some()) {
        let now = shared.clock.now_micros();
        let (bad, good): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| defect(event).is_some());
        events = good;
        rejected.extend(bad.iter().map(|event| reject(event, now)));
    }
    let now = shared.clock.now_micros();
    shared.life.reject_old(project, now, &mut events, &mut rejected);
    for row in &mut rejected {
        row.received_at = row.received_at.clamp(limits::TS_MICROS_MIN, limits::TS_MICROS_MAX);
    }
    let key = |event: &Event| EventKey::new(project, event.text(Column::EventId).unwrap_or_default());
    Request {
        project: project.clone(),
        keys: events.iter().map(key).collect(),
        // In this form until the flush: the events themselves take several times as much.
        events: EncodedEvents::new(&events),
        rejected,
        reply,
    }
}

/// The column for which an event cannot be stored: what [`Event::defect`] finds, an id without a character (all such
/// events would be taken for one), or a day that has no name as a partition.
fn defect(event: &Event) -> Option<Column> {
    let is_empty = |column: &Column| event.text(*column).is_some_and(str::is_empty);
    let is_dated = |micros| (limits::TS_MICROS_MIN..=limits::TS_MICROS_MAX).contains(&micros);
    event
        .defect()
        .or_else(|| [Column::EventId, Column::VisitorId].into_iter().find(is_empty))
        .or_else(|| {
            event
                .micros(Column::Ts)
                .filter(|micros| !is_dated(*micros))
                .map(|_| Column::Ts)
        })
}

/// An event with a [`defect`], as a rejected one.
fn reject(event: &Event, now: i64) -> Rejected {
    let column = defect(event);
    let name = column.map_or("", Column::name);
    let is_missing = match column.and_then(|column| event.get(column)) {
        None => true,
        Some(Value::Text(text)) => text.is_empty(),
        Some(_) => false,
    };
    let (reason, detail) = if is_missing {
        (RejectReason::MissingField, format!("`{name}` has no value"))
    } else {
        (
            RejectReason::InvalidField,
            format!("`{name}` has a value of another type or out of range"),
        )
    };
    let mut raw = to_json(event).to_string();
    raw.truncate(raw.floor_char_boundary(limits::REJECTED_RAW_BYTES_MAX));
    Rejected {
        received_at: event.micros(Column::ReceivedAt).unwrap_or(now),
        protocol: event.text(Column::Protocol).unwrap_or_default().to_owned(),
        reason,
        detail,
        raw: Bytes::from(raw),
    }
}

/// The event by its columns. What the client sent is not known here any more.
fn to_json(event: &Event) -> serde_json::Value {
    let entry = |(column, value): &(Column, Value)| {
        let value = match value {
            Value::Text(text) => serde_json::Value::from(text.as_str()),
            Value::Int(number) | Value::Timestamp(number) => serde_json::Value::from(*number),
            Value::Float(number) => serde_json::Value::from(*number),
            Value::Bool(flag) => serde_json::Value::from(*flag),
            Value::Decimal(millionths) => serde_json::Value::from(millionths.to_string()),
        };
        (column.name().to_owned(), value)
    };
    event.values().iter().map(entry).collect()
}

fn run(shared: &Shared, mut requests: mpsc::Receiver<Request>, runtime: &Handle) {
    let interval = shared.wal.group_interval();
    let mut begun: Option<Instant> = None;
    while let Some(first) = requests.blocking_recv() {
        let mut bytes = first.events.size_bytes();
        let mut group = vec![first];
        if let Some(begun) = begun.filter(|begun| begun.elapsed() < interval) {
            runtime.block_on(gather(&mut requests, &mut group, &mut bytes, begun + interval));
        }
        while bytes < limits::GROUP_BYTES_MAX {
            let Ok(next) = requests.try_recv() else { break };
            bytes += next.events.size_bytes();
            group.push(next);
        }
        begun = Some(Instant::now());
        commit(shared, group);
    }
}

/// Takes what comes until an instant, or until the group is full.
async fn gather(requests: &mut mpsc::Receiver<Request>, group: &mut Vec<Request>, bytes: &mut usize, until: Instant) {
    while *bytes < limits::GROUP_BYTES_MAX {
        match tokio::time::timeout_at(until.into(), requests.recv()).await {
            Ok(Some(next)) => {
                *bytes += next.events.size_bytes();
                group.push(next);
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// A request after the look-up of its ids.
struct Checked {
    request: Request,
    /// The events that are new.
    kept: EncodedEvents,
    has_record: bool,
}

fn commit(shared: &Shared, group: Vec<Request>) {
    let started = Instant::now();
    let (checked, records, keys) = match check(shared, group) {
        Ok(checked) => checked,
        Err((group, error)) => return fail(shared, group, &error),
    };
    let bytes: usize = records.iter().map(Vec::len).sum();
    let first = match shared.wal.write(records, &keys) {
        Ok(first) => first,
        Err(error) => {
            return fail(
                shared,
                checked.into_iter().map(|checked| checked.request).collect(),
                &error,
            );
        }
    };
    shared.health.clear(Part::Wal);
    shared.metrics.groups.add(1);
    shared.metrics.wal_written_bytes.add(bytes as u64);
    shared.metrics.group_micros.add_duration(started.elapsed());
    let now = shared.clock.now_micros();
    let mut seq = first;
    let mut answers = Vec::with_capacity(checked.len());
    for checked in checked {
        let has_record = checked.has_record;
        answers.push(apply(shared, checked, seq, now));
        seq += Seq::from(has_record);
    }
    // Before the answers: whoever has one may count on a flush that covers it.
    shared.applied_seq.store(seq.saturating_sub(1), Ordering::Release);
    shared.metrics.held_bytes.set(shared.admission.held_bytes() as u64);
    for (reply, receipt) in answers {
        // A client that has gone away loses only the answer.
        let _ = reply.send(Ok(receipt));
    }
}

type CheckedGroup = (Vec<Checked>, Vec<Vec<u8>>, Vec<EventKey>);

/// Leaves out the events whose ids are known, and makes the records of the others.
fn check(shared: &Shared, group: Vec<Request>) -> std::result::Result<CheckedGroup, (Vec<Request>, Error)> {
    let mut seen = HashSet::new();
    let mut plans = Vec::with_capacity(group.len());
    for request in &group {
        let mut kept = Vec::with_capacity(request.keys.len());
        for (at, key) in request.keys.iter().enumerate() {
            if seen.contains(key) {
                continue;
            }
            match shared.wal.contains(key) {
                Ok(true) => {}
                Ok(false) => {
                    seen.insert(*key);
                    kept.push(at);
                }
                Err(error) => return Err((group, error)),
            }
        }
        plans.push(kept);
    }
    let mut records = Vec::with_capacity(group.len());
    let mut checked = Vec::with_capacity(group.len());
    for (request, kept) in group.into_iter().zip(plans) {
        let has_record = !kept.is_empty() || !request.rejected.is_empty();
        let kept = if kept.len() == request.events.len() {
            request.events.clone()
        } else {
            request.events.kept(&kept)
        };
        if has_record {
            records.push(record::encode(&request.project, &kept, &request.rejected));
        }
        checked.push(Checked {
            request,
            kept,
            has_record,
        });
    }
    Ok((checked, records, seen.into_iter().collect()))
}

/// Shows a durable request to queries.
fn apply(shared: &Shared, checked: Checked, seq: Seq, now: i64) -> (oneshot::Sender<Result<Receipt>>, Receipt) {
    let Checked {
        request,
        kept,
        has_record,
    } = checked;
    let receipt = Receipt {
        stored: kept.len() as u64,
        duplicate: (request.keys.len() - kept.len()) as u64,
        rejected: request.rejected.len() as u64,
    };
    let project = shared.projects.get(&request.project);
    if has_record {
        let bytes = project.push(seq, kept, request.rejected, now);
        shared.admission.hold(bytes);
    }
    project.count(&receipt, now);
    shared.metrics.events_stored.add(receipt.stored);
    shared.metrics.events_duplicate.add(receipt.duplicate);
    shared.metrics.events_rejected.add(receipt.rejected);
    if shared.is_full(&project) {
        shared.flush_soon.notify_one();
    }
    (request.reply, receipt)
}

fn fail(shared: &Shared, group: Vec<Request>, error: &Error) {
    shared.metrics.group_failures.add(1);
    let reason = "the write-ahead log cannot be written: events are refused; the server's log says why";
    if error.kind() != ErrorKind::Fenced {
        shared.health.report(Part::Wal, Severity::NotReady, reason);
    }
    for request in group {
        let _ = request.reply.send(Err(Error::new(error.kind(), error.message())));
    }
}

/// The same on the caller's thread, for simulations in which everything has its order.
#[cfg(test)]
pub(super) fn append_now(shared: &Shared, project: &ProjectId, batch: Batch) -> Result<Receipt> {
    let (reply, mut answer) = oneshot::channel();
    commit(shared, vec![prepare(shared, project, batch, reply)]);
    let lost = |_| Error::internal("a group was not answered");
    answer.try_recv().map_err(lost)?
}
