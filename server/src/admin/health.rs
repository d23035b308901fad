//! Whether the server is there, in the words of Cube's own endpoints: `/livez` says that it lives, `/readyz` whether
//! everything that clients ask for can be done, and what is wrong.

use crate::app::SharedApp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use engine::Role;
use engine::health::{Part, Severity, Trouble};
use serde_json::{Value, json};

/// Problems of models that are counted; more are only "many".
const MODEL_PROBLEMS_MAX: usize = 1_000;

/// `{"health":"HEALTH"}`: the process lives and answers. Nothing else is asked, so that a supervisor does not kill a server
/// whose store is away for a while.
pub(crate) async fn alive() -> impl IntoResponse {
    answer(StatusCode::OK, &json!({"health": "HEALTH"}))
}

/// 200 and `HEALTH`, or 503 and `DOWN`; `problems` lists what is wrong when something is, warnings included. `role` is
/// there when this server is not the writer; a follower says for how long it has not seen the store.
pub(super) async fn ready(State(app): State<SharedApp>) -> Response {
    let mut troubles = app.engine.health().troubles();
    troubles.extend(of_models(&app));
    let role = app.engine.role();
    if let Role::Fenced { reason } = &role {
        let now = app.clock().now_micros();
        troubles.push(Trouble {
            part: Part::Writer,
            severity: Severity::NotReady,
            reason: reason.clone(),
            since: now,
            last: now,
        });
    }
    let (status, mut body) = told(&troubles);
    match role {
        // As Cube says it, and no more.
        Role::Writer { .. } => {}
        Role::Fenced { .. } => body["role"] = json!("fenced"),
        Role::Follower { looked_at } => {
            body["role"] = json!("follower");
            body["behind_ms"] = json!((app.clock().now_micros() - looked_at).max(0) / 1000);
        }
    }
    answer(status, &body)
}

/// The answer of `/readyz` while these troubles last.
pub(crate) fn readiness(troubles: &[Trouble]) -> Response {
    let (status, body) = told(troubles);
    answer(status, &body)
}

fn told(troubles: &[Trouble]) -> (StatusCode, Value) {
    let is_ready = troubles.iter().all(|trouble| trouble.severity < Severity::NotReady);
    let (status, health) = match is_ready {
        true => (StatusCode::OK, "HEALTH"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "DOWN"),
    };
    let mut body = json!({ "health": health });
    if !troubles.is_empty() {
        body["problems"] = troubles.iter().map(problem).collect();
    }
    (status, body)
}

fn problem(trouble: &Trouble) -> Value {
    let since = DateTime::from_timestamp_micros(trouble.since);
    json!({
        "part": trouble.part.name(),
        "severity": trouble.severity.name(),
        "reason": trouble.reason,
        "since": since.map(|since| since.to_rfc3339_opts(SecondsFormat::Secs, true)),
    })
}

/// Files of models that have errors: their last good version is served, so this is a warning.
fn of_models(app: &SharedApp) -> Option<Trouble> {
    let mut count = 0;
    for project in app.projects.list() {
        let problems = app.engine.model_problems(&project.id);
        count += problems
            .iter()
            .filter(|problem| problem.severity == engine::model::Severity::Error)
            .count();
        if count >= MODEL_PROBLEMS_MAX {
            break;
        }
    }
    let now = app.clock().now_micros();
    (count > 0).then(|| Trouble {
        part: Part::Models,
        severity: Severity::Warning,
        reason: "model files have errors; their last good versions are served: `tally check` lists them".to_owned(),
        since: now,
        last: now,
    })
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json; charset=utf-8"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (status, headers, body.to_string()).into_response()
}
