//! Counters for Prometheus.

use crate::app::SharedApp;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

/// All counters of the engine in the Prometheus text format. They count and name no project, so no token is asked for.
pub(super) async fn counters(State(app): State<SharedApp>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.engine.metrics().render())
}
