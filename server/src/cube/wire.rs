//! From an HTTP request to its parameters: the query string of a GET, the JSON body of a POST.

use super::error::{ApiError, ApiResult};
use super::json_text;
use crate::app::App;
use crate::limits::{JSON_NODE_BYTES, SMALL_BODY_BYTES_MAX};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use engine::Engine;
use engine::ingest::Permit;
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

/// How much memory requests may take.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    engine: Option<&'a Engine>,
    /// Bytes of one body.
    bytes_max: usize,
    /// Bytes of the values of one body.
    values_bytes_max: usize,
}

impl<'a> Room<'a> {
    /// What the settings allow and the engine has.
    pub fn of(app: &'a App) -> Self {
        Self {
            engine: Some(&app.engine),
            bytes_max: app.settings.request_bytes_max,
            // More than the engine ever gives to requests.
            values_bytes_max: app.settings.memory_bytes / 4,
        }
    }

    /// Room for a large body; small ones need none.
    fn take(&self, bytes: usize) -> ApiResult<Vec<Permit>> {
        match self.engine {
            Some(engine) if bytes > SMALL_BODY_BYTES_MAX => Ok(vec![engine.admit(bytes)?]),
            _ => Ok(Vec::new()),
        }
    }
}

impl Params {
    /// The parameters of a message that came otherwise.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self { fields }
    }

    /// Reads the parameters, and takes the room in memory that a large body needs; it is given back when dropped. The
    /// body of a GET is never looked at: Cube's JavaScript client announces JSON there and sends nothing.
    ///
    /// # Errors
    /// 400 when the body is no JSON, 413 when it is too large, 503 when there is no room for it now.
    pub async fn read(
        room: Room<'_>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body,
    ) -> ApiResult<(Self, Vec<Permit>)> {
        if method != Method::POST {
            return Ok((Self::from_query(uri.query().unwrap_or_default())?, Vec::new()));
        }
        if !is_json(headers) {
            return Ok((Self::default(), Vec::new()));
        }
        let bytes_max = room.bytes_max;
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse().ok());
        let announced: usize = announced.unwrap_or(bytes_max);
        if headers.contains_key(header::CONTENT_LENGTH) && announced > bytes_max {
            discard(body).await;
            return Err(too_large(bytes_max));
        }
        let mut taken = room.take(announced)?;
        let body = bounded(body, bytes_max).await?;
        if body.len() > SMALL_BODY_BYTES_MAX {
            let weight = weight(&body);
            if weight > room.values_bytes_max {
                return Err(too_large(bytes_max));
            }
            taken.extend(room.take(weight)?);
        }
        Ok((Self::from_body(&body)?, taken))
    }

    /// The parameters of a query string. Of a repeated one the first counts.
    fn from_query(query: &str) -> ApiResult<Self> {
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
        let syntax = |text: String| match text.starts_with(json_text::TOO_DEEP) {
            // A bound of ours.
            true => ApiError::bad_request(format!("SyntaxError: {text}")),
            // The body parser in front of Cube gives its error no status.
            false => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("SyntaxError: {text}")),
        };
        match json_text::parse(text).map_err(syntax)? {
            Value::Object(fields) => Ok(Self { fields }),
            _ => Err(ApiError::bad_request("The body must be a JSON object")),
        }
    }

    /// The text of a parameter.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    /// Any parameter, unless it is null.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Whether a parameter is true, as a JSON value or as text.
    pub fn flag(&self, key: &str) -> bool {
        match self.fields.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
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

/// Bytes that the values of a JSON text take in memory at the most: one value for each comma and bracket.
fn weight(text: &[u8]) -> usize {
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    text.len() + values * JSON_NODE_BYTES
}

fn too_large(bytes_max: usize) -> ApiError {
    let text = format!("PayloadTooLargeError: request entity too large, at most {bytes_max} bytes are read");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

async fn bounded(body: Body, bytes_max: usize) -> ApiResult<Bytes> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
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
