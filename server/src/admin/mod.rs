//! What operators ask: is it alive, how is it doing, what is this.

mod health;
mod landing;
mod metrics;

use crate::app::SharedApp;
use axum::Router;
use axum::routing::get;

/// The routes `/`, `/livez`, `/readyz` and `/metrics`. None needs a token, none shows data.
pub fn router() -> Router<SharedApp> {
    Router::new()
        .route("/", get(landing::page))
        .route("/metrics", get(metrics::counters))
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::alive))
}
