//! The Cube API: existing Cube clients ask here as they asked Cube.
//!
//! A request goes `token → parameters (wire) → queries in normal form (batch, normalize, validate) → members found
//! (members) → engine → rows → answer (load)`. Where we answer differently from Cube on purpose stands in
//! `DIFFERENCES.md`.

pub mod batch;
pub mod cache;
pub mod error;
pub mod normalize;

mod annotation;
mod ask;
mod cubesql;
mod dry_run;
mod formats;
mod json_text;
mod load;
mod members;
mod meta;
mod pending;
mod pivot;
mod refused;
mod rows;
mod sql;
mod transformed;
mod validate;
mod wire;

use crate::app::{App, SharedApp};
use crate::auth::jwt::AuthError;
use crate::auth::{Scope, SecurityContext};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use batch::Batch;
use error::{ApiError, ApiResult, json_response};
use normalize::Defaults;
use wire::Params;

/// What a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Load,
    Sql,
    DryRun,
    Meta,
    /// Cron jobs of older installations still call it; there is nothing to refresh.
    RefreshNothing,
    /// Rollups that are to be built; there are none.
    Jobs,
    /// SQL over cubes and views.
    CubeSql,
    /// From SQL to the query language.
    ConvertQuery,
}

/// The paths after the base, with their methods. `HEAD` goes with `GET`, `OPTIONS` with all.
const ROUTES: &[(&str, &[Method], Action)] = &[
    ("/v1/load", &[Method::GET, Method::POST], Action::Load),
    ("/v1/subscribe", &[Method::GET, Method::POST], Action::Load),
    ("/v1/sql", &[Method::GET, Method::POST], Action::Sql),
    ("/v1/dry-run", &[Method::GET, Method::POST], Action::DryRun),
    ("/v1/meta", &[Method::GET], Action::Meta),
    (
        "/v1/run-scheduled-refresh",
        &[Method::GET, Method::POST],
        Action::RefreshNothing,
    ),
    ("/v1/pre-aggregations/jobs", &[Method::POST], Action::Jobs),
    ("/v1/cubesql", &[Method::POST], Action::CubeSql),
    ("/v1/convert-query", &[Method::POST], Action::ConvertQuery),
];

/// Request headers that pages of other origins may send.
const ALLOW_HEADERS: &str = "authorization,x-cube-authorization,content-type,x-request-id,traceparent";

/// What a client with a long query reads; it asks again at once.
const CONTINUE_WAIT: &str = "{\"error\":\"Continue wait\"}";

/// The routes of the Cube API under the path `base`, which starts with a slash and ends without one.
pub fn router(base: &str) -> Router<SharedApp> {
    let handler = |State(app): State<SharedApp>, request: Request| handle(app, request);
    Router::new()
        .route(&format!("{base}/{{*rest}}"), any(handler.clone()))
        // Playgrounds ask here whether they are welcome; a server in production has nothing there.
        .route("/cubejs-system/{*rest}", any(handler.clone()))
        .route(base, any(handler))
}

/// Answers one request; a path or method that does not exist gets the page that Cube shows for it.
async fn handle(app: SharedApp, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let base = app.settings.base_path.as_str();
    let inside = path.strip_prefix(base).map(|rest| rest.trim_end_matches('/'));
    let route = inside.and_then(|rest| ROUTES.iter().find(|(known, _, _)| *known == rest));
    let asked = if method == Method::HEAD {
        Method::GET
    } else {
        method.clone()
    };
    let mut response = match route {
        Some(_) if method == Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Some((_, methods, action)) if methods.contains(&asked) => act(&app, *action, asked, request)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        _ => error::not_found(&method, &path),
    };
    allow_any_origin(response.headers_mut());
    response
}

fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(ALLOW_HEADERS),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"),
    );
}

async fn act(app: &SharedApp, action: Action, method: Method, request: Request) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    // Before the body is read, so that a stranger cannot make the server buffer one.
    let context = authorize(app, &parts.headers).await;
    let context = match context.and_then(|context| may(context, action)) {
        Ok(context) => context,
        Err(refusal) => {
            wire::discard(body).await;
            return Err(refusal);
        }
    };
    let model = || app.engine.model(context.project());
    let defaults = Defaults::of(&app.settings, app.engine.clock().now_micros());
    let params = Params::read(&method, &parts.uri, &parts.headers, body).await?;
    let batch = || Batch::new(&params.query()?, params.cache(), defaults);
    let body = match action {
        Action::Load => {
            let answered = ask::ask(app, &context, batch()?, params.multi()).await?;
            let body = answered.unwrap_or_else(|| Bytes::from_static(CONTINUE_WAIT.as_bytes()));
            return Ok(json_response(StatusCode::OK, body));
        }
        Action::Sql if params.text("format") == Some("sql") => {
            cubesql::sql(app, &context, &params, &defaults).await?.to_string()
        }
        Action::Sql => sql::sql(&app.engine, &context, &batch()?).await?.to_string(),
        Action::DryRun => dry_run::dry_run(&model(), &batch()?)?.to_string(),
        Action::Meta => {
            let only_views = params.text("onlyViews") == Some("true");
            let body = meta::body(&model(), &context.asker(), params.has("extended"), only_views);
            return Ok(json_response(StatusCode::OK, body));
        }
        Action::RefreshNothing => "{\"finished\":true}".to_owned(),
        Action::Jobs => "[]".to_owned(),
        Action::CubeSql => return cubesql::cubesql(app, &context, &params, &defaults).await,
        Action::ConvertQuery => cubesql::convert(app, &context, &params, &defaults).await?.to_string(),
    };
    Ok(json_response(StatusCode::OK, body))
}

impl Action {
    /// What a token must be good for.
    fn scope(self) -> Option<Scope> {
        match self {
            Action::Load | Action::DryRun | Action::CubeSql => Some(Scope::Data),
            Action::Sql | Action::ConvertQuery => Some(Scope::Sql),
            Action::Meta => Some(Scope::Meta),
            Action::Jobs => Some(Scope::Jobs),
            Action::RefreshNothing => None,
        }
    }
}

/// Refuses what the token is not good for.
fn may(context: SecurityContext, action: Action) -> ApiResult<SecurityContext> {
    match action.scope().filter(|scope| !context.may(*scope)) {
        None => Ok(context),
        Some(scope) => Err(missing_scope(scope)),
    }
}

/// 403 in Cube's words.
pub fn missing_scope(scope: Scope) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, format!("API scope is missing: {}", scope.name()))
}

async fn authorize(app: &App, headers: &HeaderMap) -> ApiResult<SecurityContext> {
    let now = app.engine.clock().now_micros();
    let context = app.tokens.authorize(headers, now, || only_project(app)).await;
    context.map_err(refused)
}

/// The only project there is, for tokens that name none.
pub fn only_project(app: &App) -> Option<engine::ProjectId> {
    match app.projects.list().as_slice() {
        [only] => Some(only.id.clone()),
        _ => None,
    }
}

/// The answer to a token that is not accepted.
pub fn refused(error: AuthError) -> ApiError {
    let status = match error {
        AuthError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    };
    ApiError::new(status, error.to_string())
}
