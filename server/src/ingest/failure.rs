//! A request that is refused as a whole, and how the refusal looks on the wire.

use axum::http::StatusCode;
use engine::{Error, ErrorKind};

/// Why a whole request is refused. A bad event inside a good request is never a failure: it is rejected with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Status of the reply.
    pub status: StatusCode,
    /// Machine-readable name of the failure, stable.
    pub code: &'static str,
    /// What is wrong, with the value and the remedy.
    pub message: String,
    /// Methods the route is there for, when the method was wrong.
    pub allowed: Vec<&'static str>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            allowed: Vec::new(),
        }
    }

    /// 400: the body as a whole cannot be decoded.
    pub fn undecodable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "undecodable_body", message)
    }

    /// 401: no project takes events with this key.
    pub fn unknown_key(key: Option<&str>, hint: &str) -> Self {
        let message = match key {
            Some(key) => format!(
                "unknown write key `{}`: no project on this server has it; {hint}",
                beginning(key, 64)
            ),
            None => format!("no write key in the request; {hint}"),
        };
        Self::new(StatusCode::UNAUTHORIZED, "unknown_write_key", message)
    }

    /// 404: no protocol has this route.
    pub fn no_route(method: &str, path: &str) -> Self {
        let message = format!("Cannot {} {}", beginning(method, 32), beginning(path, 200));
        Self::new(StatusCode::NOT_FOUND, "no_such_route", message)
    }

    /// 405: the route is there, for other methods.
    pub fn method(method: &str, allowed: Vec<&'static str>) -> Self {
        let message = format!(
            "method {} is not served here, use {}",
            beginning(method, 32),
            allowed.join(" or ")
        );
        Self {
            allowed,
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        }
    }

    /// 408: the body did not come in time.
    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body came too slowly")
    }

    /// 413: more bytes or events than one request may hold.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 415: a content coding that is not served.
    pub fn coding(coding: &str) -> Self {
        let message = format!(
            "content-encoding `{}` is not served: send the body plain or as gzip",
            beginning(coding, 64)
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message)
    }

    /// Seconds after which the client should try again, on a failure that may pass.
    pub fn retry_after_seconds(&self) -> Option<u16> {
        (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(crate::error::RETRY_AFTER_SECONDS)
    }

    /// The reply's body.
    pub fn body(&self) -> String {
        let mut body = super::json::ObjectWriter::default();
        body.text("error", &self.message);
        body.text("code", self.code);
        body.finish().unwrap_or_default()
    }
}

impl From<Error> for Failure {
    /// Overload and storage trouble are 503, never 429: several SDKs drop the event on any 4xx.
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let (status, code) = match kind {
            ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::Storage | ErrorKind::Timeout => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
            }
            ErrorKind::Fenced => (StatusCode::SERVICE_UNAVAILABLE, "not_the_writer"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let message = crate::error::client_text(&error).to_owned();
        Self::new(status, code, message)
    }
}

/// The first `chars` characters of `text`, for a message.
pub(crate) fn beginning(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
