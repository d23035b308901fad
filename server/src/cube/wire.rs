//! From an HTTP request to its parameters: the query string of a GET, the JSON body of a POST.

use super::error::{ApiError, ApiResult};
use super::json_text;
use crate::limits::QUERY_BODY_BYTES_MAX;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// Bytes of a refused request's body that are still read; a larger one costs its client the connection.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// The parameters of a request, whichever way they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params {
    fields: Map<String, Value>,
}

impl Params {
    /// Reads the parameters. The body of a GET is never looked at: Cube's JavaScript client announces JSON there and
    /// sends nothing.
    ///
    /// # Errors
    /// 400 when the body is no JSON, 413 when it is too large.
    pub async fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: Body) -> ApiResult<Self> {
        if method != Method::POST {
            return Self::from_query(uri.query().unwrap_or_default());
        }
        if !is_json(headers) {
            return Ok(Self::default());
        }
        Self::from_body(&bounded(body).await?)
    }

    /// The parameters of a query string. Of a repeated one the first counts.
    fn from_query(query: &str) -> ApiResult<Self> {
        if query.len() > QUERY_BODY_BYTES_MAX {
            return Err(too_large());
        }
        let mut fields = Map::new();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            fields
                .entry(key.into_owned())
                .or_insert_with(|| Value::String(value.into_owned()));
        }
        Ok(Self { fields })
    }

    fn from_body(body: &[u8]) -> ApiResult<Self> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("The body is not UTF-8"))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // The body parser in front of Cube gives its error no status.
        let syntax = |text| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("SyntaxError: {text}"));
        match json_text::parse(text).map_err(syntax)? {
            Value::Object(fields) => Ok(Self { fields }),
            _ => Err(ApiError::bad_request("The body must be a JSON object")),
        }
    }

    /// The text of a parameter.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    /// Whether a parameter is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// The request's own cache mode.
    pub fn cache(&self) -> Option<&Value> {
        self.fields.get("cache").filter(|mode| !mode.is_null())
    }

    /// Whether a parameter is set: `true` in a body, the text `true` in a query string.
    pub fn truth(&self, key: &str) -> bool {
        match self.fields.get(key) {
            Some(Value::Bool(value)) => *value,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    /// Whether the client understands several results in one answer.
    pub fn multi(&self) -> bool {
        self.text("queryType") == Some("multi")
    }

    /// The `query` parameter: JSON, or a text that holds JSON.
    ///
    /// # Errors
    /// 400 with Cube's text.
    pub fn query(&self) -> ApiResult<Value> {
        match self.fields.get("query") {
            None | Some(Value::Null) => Err(ApiError::bad_request("Query param is required")),
            Some(Value::String(text)) if text.is_empty() => Err(ApiError::bad_request("Query param is required")),
            Some(Value::String(text)) => json_text::parse(text).map_err(|error| {
                ApiError::bad_request(format!("Unable to decode query param as JSON, error: {error}"))
            }),
            Some(other) => Ok(other.clone()),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn too_large() -> ApiError {
    let text = format!("PayloadTooLargeError: request entity too large, at most {QUERY_BODY_BYTES_MAX} bytes are read");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

async fn bounded(body: Body) -> ApiResult<Bytes> {
    match Limited::new(body, QUERY_BODY_BYTES_MAX).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(ApiError::bad_request("The body was cut off")),
    }
}

/// Reads a small body to its end without keeping it, so that the connection can be used again: a client that finds it
/// closed would take that for a broken server.
pub async fn discard(mut body: Body) {
    let mut left = DISCARDED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
