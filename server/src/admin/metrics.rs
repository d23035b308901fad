//! Metrics for Prometheus.

use super::process;
use crate::app::SharedApp;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

/// All metrics in the Prometheus text format. They count and name no project, so no token is asked for.
pub(super) async fn page(State(app): State<SharedApp>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    app.engine.observe();
    process::observe(app.engine.metrics());
    ([(header::CONTENT_TYPE, content_type)], app.engine.metrics().render())
}
