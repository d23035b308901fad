//! Operations on how long data lives: retention, erasure, the past.

use super::Job;
use chrono::{DateTime, SecondsFormat};
use engine::clock::Micros;
use engine::ingest::{EraseRequest, ErasedTable};
use engine::{Error, ProjectId, Subject};
use serde::Deserialize;
use serde_json::{Value, json};

/// Versions that are told at the most.
const VERSIONS_MAX: usize = 100_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    #[serde(default)]
    dry_run: bool,
}

/// `retention`.
pub(super) async fn retention(job: Job) -> engine::Result<Value> {
    let wanted: Retention = job.parameters()?;
    job.app.apply_life();
    let done = job.app.engine.expire(wanted.dry_run).await?;
    Ok(json!({ "expired": done }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    project: String,
    #[serde(default = "some_versions")]
    count: usize,
}

fn some_versions() -> usize {
    20
}

/// `history`.
pub(super) async fn history(job: Job) -> engine::Result<Value> {
    let wanted: History = job.parameters()?;
    let project = known(&job, &wanted.project)?;
    let versions = job.app.engine.history(&project, wanted.count.min(VERSIONS_MAX)).await?;
    let told: Vec<Value> = versions
        .into_iter()
        .map(|version| {
            json!({
                "version": version.version,
                "at": instant(version.at),
                "operation": version.operation,
                "rows": version.rows,
                "files": version.files,
                "bytes": version.bytes,
                "readable": version.is_readable,
            })
        })
        .collect();
    Ok(json!({ "versions": told }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Erase {
    projects: Option<Vec<String>>,
    visitor: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    mentions: bool,
    #[serde(default)]
    count_mentions: bool,
    #[serde(default)]
    dry_run: bool,
    received_until: Option<String>,
}

/// `erase`.
pub(super) async fn erase(job: Job) -> engine::Result<Value> {
    let wanted: Erase = job.parameters()?;
    let projects = match &wanted.projects {
        None => None,
        Some(ids) => Some(
            ids.iter()
                .map(|id| known(&job, id))
                .collect::<engine::Result<Vec<_>>>()?,
        ),
    };
    let request = EraseRequest {
        projects,
        subject: subject(&wanted)?,
        count_mentions: wanted.count_mentions,
        received_until: wanted.received_until.as_deref().map(parse).transpose()?,
        dry_run: wanted.dry_run,
    };
    let progress = job.progress.clone();
    let erased = job.app.engine.erase(&request, move |words| progress.tell(words)).await;
    // Whatever came of it, rows may be gone.
    if !wanted.dry_run {
        job.app.answers.clear();
    }
    let erased = erased?;
    let sum = |tables: &[ErasedTable], count: fn(&ErasedTable) -> u64| tables.iter().map(count).sum::<u64>();
    let looked = if wanted.dry_run {
        &erased.tables
    } else {
        &erased.verified
    };
    Ok(json!({
        "started_at": instant(erased.started_at),
        "ended_at": instant(erased.ended_at),
        "tables": erased.tables,
        "rows": sum(&erased.tables, |table| table.rows + table.old_rows),
        "mentions": sum(&erased.tables, |table| table.mentions),
        "remaining": sum(looked, ErasedTable::remaining),
        "later": sum(looked, |table| table.later),
        "verified_files": erased.verified_files,
    }))
}

fn subject(wanted: &Erase) -> engine::Result<Subject> {
    match (&wanted.visitor, &wanted.from, &wanted.to) {
        (Some(id), None, None) => Ok(Subject::Visitor {
            id: id.clone(),
            mentions: wanted.mentions,
        }),
        (None, Some(from), Some(to)) => Ok(Subject::Range {
            from: parse(from)?,
            to: parse(to)?,
        }),
        _ => Err(Error::invalid("name either a visitor, or both ends of a range")),
    }
}

/// A project that was added, or that has data without having been added.
pub(super) fn known(job: &Job, id: &str) -> engine::Result<ProjectId> {
    let project = ProjectId::new(id)?;
    let projects = job.app.projects.list();
    if projects.iter().any(|known| known.id == project) {
        return Ok(project);
    }
    let ids: Vec<&str> = projects.iter().map(|known| known.id.as_str()).collect();
    Err(Error::invalid(format!(
        "there is no project `{id}`; there are: {}",
        ids.join(", ")
    )))
}

pub(super) fn parse(text: &str) -> engine::Result<Micros> {
    let instant = DateTime::parse_from_rfc3339(text)
        .map_err(|_| Error::invalid(format!("`{text}` is no instant such as 2026-01-31T12:00:00Z")))?;
    Ok(instant.timestamp_micros())
}

pub(super) fn instant(at: Micros) -> String {
    let time = DateTime::from_timestamp_micros(at).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
