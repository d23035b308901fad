//! `/v1/load` and `/v1/subscribe`: run the queries, write the answer.

use super::annotation::annotation;
use super::batch::{Batch, QueryType};
use super::error::{ApiError, ApiResult};
use super::members::{Members, hidden_member};
use super::normalize::Normalized;
use super::pending::Key;
use super::pivot::pivot_query;
use super::refused;
use super::rows::{Extra, Rows};
use crate::auth::SecurityContext;
use engine::Engine;
use engine::clock::Micros;
use engine::query::Answer;
use serde::Serialize;
use serde_json::{Map, Value};

/// The SQL dialect that `/v1/sql` shows. DataFusion reads PostgreSQL's.
const DB_TYPE: &str = "postgres";

/// One result on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueryResult<'a> {
    query: Map<String, Value>,
    last_refresh_time: String,
    annotation: &'a Value,
    data_source: &'static str,
    db_type: &'static str,
    external: bool,
    slow_query: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    data: Rows<'a>,
}

/// Several results on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    query_type: &'static str,
    results: Vec<QueryResult<'a>>,
    pivot_query: Map<String, Value>,
    slow_query: bool,
}

/// Refuses several queries when the client reads only one result.
///
/// # Errors
/// 400 with Cube's text.
pub fn check_client(batch: &Batch, multi: bool) -> ApiResult<()> {
    if batch.kind == QueryType::Regular || multi {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "'{}' query type is not supported by the client.Please update the client.",
        batch.kind.name()
    )))
}

/// What makes two requests the same: who asks, of which version of the model, what, and in which form.
pub fn key(context: &SecurityContext, model: &str, batch: &Batch, multi: bool) -> Key {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(context.identity().as_bytes());
    part(model.as_bytes());
    part(&[u8::from(multi)]);
    part(batch.kind.name().as_bytes());
    for query in &batch.queries {
        // `Debug` shows everything that is executed, the echo everything that is only repeated.
        part(format!("{:?}", query.to_query(context)).as_bytes());
        part(Value::Object(query.echo()).to_string().as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// A query's answer, with what its members are called and how they are shown.
#[derive(Debug)]
pub struct Answered {
    /// Titles, types and formats of the members, as in the body's `annotation`.
    pub annotation: Value,
    /// The rows.
    pub answer: Answer,
}

/// Answers the queries of `batch` for `context`, one result for each, in their order. Every way in (HTTP, WebSocket,
/// GraphQL, SQL) goes through here, so that all see the same members and the same rows.
///
/// # Errors
/// As Cube words them.
pub async fn answers(engine: &Engine, context: &SecurityContext, batch: &Batch) -> ApiResult<Vec<Answered>> {
    let project = context.project();
    let model = engine.model(project);
    let asker = context.asker();
    let mut described = Vec::with_capacity(batch.queries.len());
    for query in &batch.queries {
        let members = Members::find(&model, query)?;
        refused::by_planner(query)?;
        refused::by_database(&model, query)?;
        members.check_visible()?;
        let denied = members.denied(&asker);
        described.push((annotation(&model, &members.granted(&asker)), denied));
    }
    let mut answered = Vec::with_capacity(described.len());
    // One after the other: the admission of the engine decides how much runs at once.
    for (query, (annotation, denied)) in batch.queries.iter().zip(described) {
        let answer = engine.query(project, &query.to_query(context)).await?;
        // As Cube, which notices while it writes the rows: an answer without rows is one.
        if let Some(path) = denied.filter(|_| !answer.rows.is_empty()) {
            return Err(hidden_member(&path));
        }
        answered.push(Answered { annotation, answer });
    }
    Ok(answered)
}

/// A body, written.
#[derive(Debug)]
pub struct Loaded {
    /// JSON.
    pub body: String,
    /// Whether the model's SQL reads the clock, so that the body is only right for a moment.
    pub reads_clock: bool,
}

/// The body that answers `batch` for `context`; `multi` says whether the client understands several results.
///
/// # Errors
/// As [`answers`].
pub async fn load(engine: &Engine, context: &SecurityContext, batch: &Batch, multi: bool) -> ApiResult<Loaded> {
    let answered = answers(engine, context, batch).await?;
    let results = batch.queries.iter().zip(&answered);
    let mut results: Vec<QueryResult<'_>> = results
        .map(|(query, answered)| result(batch.kind, query, answered))
        .collect();
    let written = match multi {
        true => serde_json::to_string(&Envelope {
            query_type: batch.kind.name(),
            results,
            pivot_query: pivot_query(batch),
            slow_query: false,
        }),
        false => serde_json::to_string(&results.pop()),
    };
    let body = written.map_err(|error| engine::Error::internal("cannot write an answer").with_source(error))?;
    Ok(Loaded {
        body,
        reads_clock: answered.iter().any(|one| one.answer.reads_clock),
    })
}

fn result<'a>(kind: QueryType, query: &Normalized, answered: &'a Answered) -> QueryResult<'a> {
    let Answered { annotation, answer } = answered;
    let extra = match kind {
        QueryType::Regular => Extra::None,
        QueryType::CompareDateRange => Extra::CompareDateRange,
        QueryType::Blending => Extra::BlendedTime,
    };
    QueryResult {
        query: query.echo(),
        last_refresh_time: instant(answer.as_of),
        annotation,
        data_source: "default",
        db_type: DB_TYPE,
        external: false,
        slow_query: false,
        total: answer.total,
        data: Rows::new(answer, query, extra),
    }
}

/// The form that JavaScript's `toISOString` gives.
pub(super) fn instant(micros: Micros) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
