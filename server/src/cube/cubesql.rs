//! SQL over cubes and views: `/v1/cubesql` answers it, `/v1/sql?format=sql` shows what would run, `/v1/convert-query`
//! writes it as a query of the query language.

use super::cache::{Asked as Request, Lasting, Written};
use super::error::{ApiError, ApiResult, json_response};
use super::load::instant;
use super::normalize::{Defaults, zone};
use super::pending::Key;
use super::validate::CACHE_MODES;
use super::wire::Params;
use crate::app::SharedApp;
use crate::auth::SecurityContext;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use chrono_tz::Tz;
use engine::query::sql_api::{Asked, SqlAnswer, SqlKind, describe};
use engine::query::{Cell, Query};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What `current_user` is, as Cube's default name of the SQL user.
const USER: &str = "cube";
/// Rows of one line of data.
const ROWS_PER_LINE: usize = 1_000;
/// The mode that wants an answer computed in any case.
const NO_CACHE: &str = "no-cache";

/// The statement that the parameters ask.
fn asked(context: &SecurityContext, params: &Params, defaults: &Defaults) -> ApiResult<Asked> {
    let sql = match params.text("query") {
        Some(sql) if !sql.trim().is_empty() => sql.to_owned(),
        _ => return Err(ApiError::bad_request("Query param is required")),
    };
    Ok(Asked {
        sql,
        asker: Query {
            security_context: Arc::clone(context.claims()),
            groups: Arc::clone(context.groups()),
            roles: Arc::clone(context.roles()),
            timezone: timezone(params, defaults)?,
            ..Query::default()
        },
        user: USER.to_owned(),
        rows_max: defaults.limit_rows_max,
    })
}

fn timezone(params: &Params, defaults: &Defaults) -> ApiResult<Tz> {
    match params.text("timezone") {
        None | Some("") => Ok(defaults.timezone),
        Some(name) => zone(name).ok_or_else(|| {
            let shown: String = name.chars().take(100).collect();
            ApiError::bad_request(format!("\"timezone\" must be a valid IANA time zone, got \"{shown}\""))
        }),
    }
}

/// Whether the answer must be computed in any case.
fn anew(params: &Params) -> ApiResult<bool> {
    match params.cache() {
        None => Ok(false),
        Some(Value::String(mode)) if CACHE_MODES.contains(&mode.as_str()) => Ok(mode == NO_CACHE),
        Some(_) => Err(ApiError::bad_request(format!(
            "\"cache\" must be one of [{}]",
            CACHE_MODES.join(", ")
        ))),
    }
}

/// `/v1/cubesql`: a line with the columns, then lines of rows. Clients that do not say that they understand
/// `Continue wait` wait as long as it takes.
///
/// # Errors
/// 400 with a text for SQL that cannot be answered; nothing is sent before everything is known.
pub async fn cubesql(
    app: &SharedApp,
    context: &SecurityContext,
    params: &Params,
    defaults: &Defaults,
) -> ApiResult<Response> {
    let asked = asked(context, params, defaults)?;
    let anew = anew(params)?;
    let patient = !params.truth("throwContinueWait");
    let engine = &app.engine;
    // Before anything is read: rows that come from now on make another version.
    let version = engine.data_version(context.project());
    let model = engine.model(context.project()).version.clone();
    let request = Request {
        key: key(context, &model, &asked),
        version,
        now: engine.clock().now_micros(),
        anew,
    };
    loop {
        let work = || {
            let (app, project, asked) = (Arc::clone(app), context.project().clone(), asked.clone());
            let model = model.clone();
            async move {
                let answer = app.engine.sql(&project, &asked).await?;
                let lasting = match app.engine.model(&project).version == model {
                    false => Lasting::No,
                    true if answer.reads_clock => Lasting::Moments,
                    true => Lasting::WhileRowsStay,
                };
                Ok(Written {
                    body: lines(&answer)?,
                    lasting,
                })
            }
        };
        if let Some(body) = app.answers.answer(request, work).await? {
            return Ok(json_response(StatusCode::OK, body));
        }
        if !patient {
            return Ok(json_response(
                StatusCode::OK,
                Bytes::from_static(super::CONTINUE_WAIT.as_bytes()),
            ));
        }
    }
}

/// What makes two statements the same.
fn key(context: &SecurityContext, model: &str, asked: &Asked) -> Key {
    let mut hasher = blake3::Hasher::new();
    let parts = [
        "cubesql",
        &context.identity(),
        model,
        asked.asker.timezone.name(),
        &asked.sql,
    ];
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The first line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    schema: Vec<Column<'a>>,
    last_refresh_time: String,
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    column_type: &'static str,
}

/// A line of rows.
#[derive(Serialize)]
struct Data<'a> {
    data: Vec<Vec<Option<&'a str>>>,
}

/// The answer as lines of JSON. Without rows there still is a line of data: clients tell an answer from an error by the
/// body not being one document.
fn lines(answer: &SqlAnswer) -> ApiResult<Bytes> {
    let columns = answer.columns.iter().map(|column| Column {
        name: &column.name,
        column_type: column.kind.name(),
    });
    let head = Head {
        schema: columns.collect(),
        last_refresh_time: instant(answer.as_of),
    };
    let mut body = Vec::new();
    line(&mut body, &head)?;
    let chunks = answer.rows.chunks(ROWS_PER_LINE);
    let empty: &[Vec<Cell>] = &[];
    let nothing = answer.rows.is_empty().then_some(empty);
    for rows in nothing.into_iter().chain(chunks) {
        let data = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        line(&mut body, &Data { data })?;
    }
    Ok(Bytes::from(body))
}

fn line(body: &mut Vec<u8>, value: &impl Serialize) -> ApiResult<()> {
    let failed = |error| engine::Error::internal("cannot write an answer").with_source(error);
    serde_json::to_writer(&mut *body, value).map_err(failed)?;
    body.push(b'\n');
    Ok(())
}

/// Every cell is a text or null.
fn cell(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Null => None,
        Cell::Bool(true) => Some("true"),
        Cell::Bool(false) => Some("false"),
        Cell::Number(text) | Cell::Text(text) | Cell::Time(text) => Some(text),
    }
}

/// `/v1/sql?format=sql`: the plan as SQL where one query answers the statement, else why there is none. Whatever a query
/// can say is never post-processed here, so `disable_post_processing` has nothing to change.
///
/// # Errors
/// 400 when there is no statement; a statement that cannot be answered is no error of the request.
pub async fn sql(app: &SharedApp, context: &SecurityContext, params: &Params, defaults: &Defaults) -> ApiResult<Value> {
    let asked = asked(context, params, defaults)?;
    let described = match app.engine.sql_plan(context.project(), &asked).await {
        Ok(plan) if plan.kind == SqlKind::PostProcessing => json!({
            "status": "error",
            "error": "Provided query can not be executed without post-processing.",
            "query_type": plan.kind.name(),
        }),
        // The values of filters stand in the text as literals, so there are no parameters.
        Ok(plan) => json!({"status": "ok", "sql": [plan.text, []], "query_type": plan.kind.name()}),
        Err(error) => {
            let refused = ApiError::from(error);
            if refused.status().is_server_error() {
                return Err(refused);
            }
            json!({"status": "error", "error": refused.message(), "query_type": "regular"})
        }
    };
    Ok(json!({ "sql": described }))
}

/// `/v1/convert-query`: a statement as a query of the query language.
///
/// # Errors
/// 400 when the parameters are wrong; a statement that is no query of the language is no error of the request.
pub async fn convert(
    app: &SharedApp,
    context: &SecurityContext,
    params: &Params,
    defaults: &Defaults,
) -> ApiResult<Value> {
    for (name, known) in [("input", "sql"), ("output", "rest")] {
        match params.text(name) {
            Some(value) if value == known => {}
            other => {
                let other: String = other.unwrap_or_default().chars().take(100).collect();
                let text = format!("\"{name}\" must be \"{known}\", got \"{other}\"");
                return Err(ApiError::bad_request(text));
            }
        }
    }
    let asked = asked(context, params, defaults)?;
    let error = |text: String| json!({"status": "error", "error": text});
    Ok(match app.engine.sql_plan(context.project(), &asked).await {
        Ok(plan) => match (plan.kind, plan.queries.as_slice()) {
            (SqlKind::Regular, [query]) => json!({"status": "ok", "query": describe(query)}),
            (kind, _) => error(format!(
                "Provided sql query can not be converted to rest query: it is answered by {}",
                kind.name()
            )),
        },
        Err(failed) => {
            let refused = ApiError::from(failed);
            if refused.status().is_server_error() {
                return Err(refused);
            }
            error(refused.message().to_owned())
        }
    })
}
