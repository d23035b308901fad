//! Whether the server is there, in the words of Cube's own endpoints.

use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE};
use axum::response::IntoResponse;

/// `{"health":"HEALTH"}`. The engine is opened before the port is, so a server that answers is ready.
pub(super) async fn alive() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "application/json; charset=utf-8"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, r#"{"health":"HEALTH"}"#)
}
