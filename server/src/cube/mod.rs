//! The Cube API: existing Cube clients ask here as they asked Cube.
//!
//! A request goes `token → parameters (wire) → queries in normal form (batch, normalize, validate) → members found
//! (members) → engine → rows → answer (load)`. Where we answer differently from Cube on purpose stands in
//! `DIFFERENCES.md`.

pub mod batch;
pub mod cache;
pub mod error;
pub mod normalize;

mod act;
mod annotation;
mod ask;
mod cubesql;
mod dry_run;
mod formats;
pub mod graphql;
mod jobs;
mod json_text;
mod load;
mod members;
mod meta;
mod pending;
mod pivot;
mod refused;
pub mod routes;
mod rows;
pub mod socket;
mod sql;
mod transformed;
mod validate;
mod wire;

use crate::app::{App, SharedApp};
use crate::auth::jwt::AuthError;
use crate::auth::{Scope, SecurityContext};
use act::perform;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use error::{ApiError, ApiResult, json_response};
use normalize::Defaults;
use routes::{Action, Route};
use wire::{Params, Room};

/// Request headers that pages of other origins may send.
const ALLOW_HEADERS: &str = "authorization,x-cube-authorization,content-type,x-request-id,traceparent";

/// What a client with a long query reads; it asks again at once.
const CONTINUE_WAIT: &str = "{\"error\":\"Continue wait\"}";

/// The routes of the Cube API under the path `base`, which starts with a slash and ends without one.
pub fn router(base: &str) -> Router<SharedApp> {
    let handler = |State(app): State<SharedApp>, request: Request| handle(app, request);
    Router::new()
        .route(&format!("{base}/{{*rest}}"), any(handler))
        // Playgrounds ask here whether they are welcome; a server in production has nothing there.
        .route("/cubejs-system/{*rest}", any(handler))
        .route(base, any(handler))
}

/// Answers one request; a path or method that does not exist gets the page that Cube shows for it.
async fn handle(app: SharedApp, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let base = app.settings.base_path.as_str();
    let inside = path.strip_prefix(base).map(|rest| rest.trim_end_matches('/'));
    let route = inside.and_then(Route::find);
    let asked = if method == Method::HEAD {
        Method::GET
    } else {
        method.clone()
    };
    let mut response = match route {
        Some(_) if method == Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Some(route) if route.methods.contains(&asked) => act(&app, route, asked, request)
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

async fn act(app: &SharedApp, route: &Route, method: Method, request: Request) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    // Before the body is read, so that a stranger cannot make the server buffer one.
    let context = authorize(app, &parts.headers).await;
    let context = match context.and_then(|context| may(context, route.scope)) {
        Ok(context) => context,
        Err(refusal) => {
            wire::discard(body).await;
            return Err(refusal);
        }
    };
    // Held until the answer is written: the memory of the request counts against the budget.
    let (params, _room) = Params::read(Room::of(app), &method, &parts.uri, &parts.headers, body).await?;
    match route.action {
        Action::GraphQl => return graphql::answer(app, &context, &params).await,
        Action::CubeSql => {
            let defaults = Defaults::of(&app.settings, app.engine.clock().now_micros());
            return cubesql::cubesql(app, &context, &params, &defaults).await;
        }
        _ => {}
    }
    let answered = perform(app, &context, route.action, &params).await?;
    let body = answered.unwrap_or_else(|| Bytes::from_static(CONTINUE_WAIT.as_bytes()));
    Ok(json_response(StatusCode::OK, body))
}

/// Refuses what the token is not good for.
fn may(context: SecurityContext, scope: Option<Scope>) -> ApiResult<SecurityContext> {
    match scope.filter(|scope| !context.may(*scope)) {
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
