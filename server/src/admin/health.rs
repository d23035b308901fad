//! Whether the server is there, in the words of Cube's own endpoints.

use axum::Json;
use serde_json::{Value, json};

/// `{"health":"HEALTH"}`. The engine is opened before the port is, so a server that answers is ready.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "health": "HEALTH" }))
}
