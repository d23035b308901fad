//! Operations on rejected events: what was rejected and why, and another try.

use super::Job;
use super::life::{instant, known, parse};
use crate::ingest::replay::{Again, again};
use engine::ingest::Batch;
use engine::{RejectedFilter, RejectedKey, RejectedRow};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Samples that are told at the most.
const SAMPLES_MAX: usize = 1_000;
/// Events of one append.
const BATCH_EVENTS: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    project: String,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    samples: usize,
    #[serde(default)]
    dry_run: bool,
}

impl Wanted {
    fn filter(&self) -> engine::Result<RejectedFilter> {
        let known = engine::event::RejectReason::ALL;
        if let Some(unknown) = self
            .reasons
            .iter()
            .find(|code| known.iter().all(|reason| reason.code() != code.as_str()))
        {
            let codes: Vec<&str> = known.iter().map(|reason| reason.code()).collect();
            return Err(engine::Error::invalid(format!(
                "there is no reason `{unknown}`; there are: {}",
                codes.join(", ")
            )));
        }
        Ok(RejectedFilter {
            from: self.from.as_deref().map(parse).transpose()?,
            to: self.to.as_deref().map(parse).transpose()?,
            reasons: self.reasons.clone(),
        })
    }
}

/// `rejected-list`.
pub(super) async fn list(job: Job) -> engine::Result<Value> {
    let wanted: Wanted = job.parameters()?;
    let project = known(&job, &wanted.project)?;
    let samples_max = wanted.samples.min(SAMPLES_MAX);
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let mut samples = Vec::new();
    let mut received: Option<(i64, i64)> = None;
    let mut total = 0u64;
    let each = |rows: Vec<RejectedRow>| {
        for row in rows {
            total += 1;
            *reasons.entry(row.reason.clone()).or_default() += 1;
            let at = row.received_at;
            received = Some(received.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            // The newest are of more use than the oldest.
            samples.push(row);
            if samples.len() > samples_max {
                samples.remove(0);
            }
        }
        std::future::ready(Ok(true))
    };
    job.app.engine.rejected(&project, &wanted.filter()?, each).await?;
    let samples: Vec<Value> = samples.iter().rev().map(sample).collect();
    Ok(json!({
        "total": total,
        "reasons": reasons,
        "first": received.map(|(first, _)| instant(first)),
        "last": received.map(|(_, last)| instant(last)),
        "samples": samples,
    }))
}

fn sample(row: &RejectedRow) -> Value {
    json!({
        "received_at": instant(row.received_at),
        "protocol": row.protocol,
        "reason": row.reason,
        "detail": row.detail,
        "raw": row.raw,
    })
}

/// What became of a replay.
#[derive(Debug, Default)]
struct Replayed {
    stored: u64,
    duplicate: u64,
    rejected: BTreeMap<String, u64>,
    not_replayable: BTreeMap<&'static str, u64>,
    /// Rows that have become events.
    done: HashSet<RejectedKey>,
}

/// `rejected-replay`.
pub(super) async fn replay(job: Job) -> engine::Result<Value> {
    let wanted: Wanted = job.parameters()?;
    let project = known(&job, &wanted.project)?;
    let replayed = Arc::new(parking_lot::Mutex::new(Replayed::default()));
    let each = |rows: Vec<RejectedRow>| {
        let (app, project, replayed, dry_run) = (
            Arc::clone(&job.app),
            project.clone(),
            Arc::clone(&replayed),
            wanted.dry_run,
        );
        let progress = job.progress.clone();
        async move {
            for rows in rows.chunks(BATCH_EVENTS) {
                let mut batch = Batch::default();
                let mut keys = Vec::new();
                for row in rows {
                    let mut replayed = replayed.lock();
                    match again(&app, &project, row)? {
                        Again::Event(event) => {
                            batch.events.push(*event);
                            keys.push(row.key());
                        }
                        Again::Rejected(reason) => *replayed.rejected.entry(reason).or_default() += 1,
                        Again::Not(why) => *replayed.not_replayable.entry(why).or_default() += 1,
                    }
                }
                store(&app, &project, batch, keys, dry_run, &replayed).await?;
                progress.tell(format!("{} of the events are stored", replayed.lock().stored));
            }
            Ok(true)
        }
    };
    job.app.engine.rejected(&project, &wanted.filter()?, each).await?;
    let done = std::mem::take(&mut replayed.lock().done);
    let taken = match wanted.dry_run || done.is_empty() {
        true => 0,
        // What has become an event is no rejected one any more, so that another replay finds only what is left.
        false => job.app.engine.take_rejected(&project, &done).await?,
    };
    let replayed = replayed.lock();
    Ok(json!({
        "stored": replayed.stored,
        "duplicate": replayed.duplicate,
        "rejected": replayed.rejected,
        "not_replayable": replayed.not_replayable,
        "taken_out": taken,
    }))
}

async fn store(
    app: &crate::app::SharedApp,
    project: &engine::ProjectId,
    batch: Batch,
    keys: Vec<RejectedKey>,
    dry_run: bool,
    replayed: &parking_lot::Mutex<Replayed>,
) -> engine::Result<()> {
    if batch.events.is_empty() {
        return Ok(());
    }
    if dry_run {
        replayed.lock().stored += batch.events.len() as u64;
        return Ok(());
    }
    let receipt = app.engine.append(project, batch).await?;
    let mut replayed = replayed.lock();
    replayed.stored += receipt.stored;
    replayed.duplicate += receipt.duplicate;
    if receipt.rejected > 0 {
        // Which of them it was is not told; they stay where they are, and the others are duplicates next time.
        *replayed.rejected.entry("rejected_again".to_owned()).or_default() += receipt.rejected;
    } else {
        replayed.done.extend(keys);
    }
    Ok(())
}
