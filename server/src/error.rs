//! From the engine's errors to HTTP: one match from kind to status, and the body `{"error": "…"}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Error, ErrorKind};

/// The text of an answer whose cause is none of the client's business; the log has it.
pub const INTERNAL_TEXT: &str = "Internal error. The server's log has the details.";
/// Seconds after which an overloaded server is asked again.
pub const RETRY_AFTER_SECONDS: u16 = 2;

/// The status that a kind of error is answered with.
///
/// Overload is 503 and not 429, because SDKs drop an event for good on any 4xx.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid | ErrorKind::Execution => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::Fenced => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Model | ErrorKind::Storage | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The text a client may see; anything else is logged and replaced by [`INTERNAL_TEXT`].
pub fn client_text(error: &Error) -> &str {
    if error.kind().is_client_safe() {
        return error.message();
    }
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(kind = ?error.kind(), %error, cause, "a request failed");
    INTERNAL_TEXT
}

/// An error as an answer.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    /// An answer with this status and `{"error": text}`.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(status(error.kind()), client_text(&error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(serde_json::json!({ "error": self.text }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
