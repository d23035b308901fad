//! Errors as Cube words them: the status and body of every refusal.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::ErrorKind;
use serde_json::{Value, json};

/// The content type of every JSON answer, exactly as Cube sends it.
pub const JSON: &str = "application/json; charset=utf-8";

/// Seconds after which an overloaded server may be asked again.
const RETRY_AFTER_SECONDS: u64 = 5;

/// A refusal: a status and a text that is safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    /// Errors of the query planner carry `"type":"UserError"`; those of the gateway do not.
    planner: bool,
}

/// `Result` with [`ApiError`].
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// Any status with a text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            planner: false,
        }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 in the form of a schema violation.
    pub fn format(message: impl AsRef<str>) -> Self {
        Self::bad_request(format!("Invalid query format: {}", message.as_ref()))
    }

    /// 400 in the form of the planner: a member that does not exist and the like.
    pub fn planner(message: impl Into<String>) -> Self {
        Self {
            planner: true,
            ..Self::bad_request(message)
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    pub fn body(&self) -> Value {
        match self.planner {
            true => json!({"type": "UserError", "error": self.message}),
            false => json!({"error": self.message}),
        }
    }
}

impl From<engine::Error> for ApiError {
    /// One row per kind. Texts that may name paths or causes go to the log only.
    fn from(error: engine::Error) -> Self {
        let message = error.message();
        match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotFound => Self::planner(message),
            ErrorKind::Execution => Self::bad_request(format!("Error: {message}")),
            ErrorKind::Forbidden => Self::new(StatusCode::FORBIDDEN, message),
            ErrorKind::Overloaded | ErrorKind::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("Error: {message}"))
            }
            ErrorKind::Timeout => Self::new(StatusCode::GATEWAY_TIMEOUT, format!("Error: {message}")),
            ErrorKind::Model => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Error: Compile errors:\n{message}"),
            ),
            ErrorKind::Storage | ErrorKind::Fenced | ErrorKind::Internal => {
                tracing::error!(kind = ?error.kind(), source = ?std::error::Error::source(&error), "query failed: {message}");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Error: the server failed to answer; its log says why",
                )
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.body().to_string());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

/// A response with a JSON text as its body.
pub fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// The 404 page of a path or method that does not exist, as Express writes it.
pub fn not_found(method: &axum::http::Method, path: &str) -> Response {
    let path: String = path.chars().take(200).collect();
    let path = path
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n\
         <pre>Cannot {method} {path}</pre>\n</body>\n</html>\n"
    );
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
