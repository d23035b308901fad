//! The HTTP side of ingest: routes, CORS, admission, the body, and the reply.

use super::{
    Env, Failure, Outcome, PROTOCOLS, Parts, Path, Protocol, Reply, Translated, decode, find, methods, normal_path,
    translate,
};
use crate::limits::INGEST_BODY_BYTES_MAX;
use crate::listen::{BodyTooSlow, Peer};
use crate::{App, SharedApp};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use engine::clock::Micros;
use engine::ingest::{Batch, Permit};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::sync::Arc;

/// Bytes that there must be room for when a body's length is not told.
const UNTOLD_BODY_BYTES: usize = 64 * 1024;
/// Memory of a request's events for each byte of its text: the text, the columns, and the row on its way to the disk.
const MEMORY_PER_BYTE: usize = 3;
/// Bodies above this are read on a thread for blocking work, so that they hold up nobody's query.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_SECONDS: &str = "86400";
/// A transparent GIF of one pixel, the 43 bytes Snowplow's collector sends.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// The routes of all protocols.
pub fn router() -> Router<SharedApp> {
    let mut router = Router::new();
    let mut patterns: Vec<String> = Vec::new();
    for (_, path) in PROTOCOLS.iter().flat_map(|protocol| protocol.routes) {
        match path {
            Path::Is(path) => patterns.extend([(*path).to_owned(), format!("{path}/")]),
            Path::Begins(_) => patterns.push("/{segment}".to_owned()),
            Path::VendorVersion => patterns.push("/{vendor}/{version}".to_owned()),
        }
    }
    patterns.sort();
    patterns.dedup();
    for pattern in patterns {
        router = router.route(&pattern, any(handle));
    }
    router
}

async fn handle(State(app): State<SharedApp>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let parts = Parts {
        path: normal_path(head.uri.path()),
        query: head.uri.query().unwrap_or_default().to_owned(),
        method: head.method,
        headers: head.headers,
        client_ip: head.extensions.get::<Peer>().map(|peer| peer.client),
    };
    let cors = cors(&parts.headers);
    let mut response = if parts.method == Method::OPTIONS {
        preflight(&parts)
    } else {
        match receive(&app, parts, body).await {
            Ok(reply) => reply.into_response(),
            Err(failure) => failure.into_response(),
        }
    };
    response.headers_mut().extend(cors);
    response
}

/// One request from its route to its reply.
async fn receive(app: &SharedApp, parts: Parts, body: Body) -> Result<Reply, Failure> {
    let protocol = find(&parts.method, &parts.path)?;
    if let Some(key) = (protocol.key)(&parts)
        && app.projects.by_write_key(&key).is_none()
    {
        return Err(Failure::unknown_key(Some(&key), protocol.key_hint));
    }
    let told = parts
        .header("content-length")
        .and_then(|text| text.parse::<usize>().ok());
    let mut room = app
        .engine
        .admit_events(told.unwrap_or(UNTOLD_BODY_BYTES).min(INGEST_BODY_BYTES_MAX))?;
    let received_at = app.clock().now_micros();
    let body = read(app, body, told, &mut room).await?;

    let parts = Arc::new(parts);
    let work = {
        let (app, parts) = (Arc::clone(app), Arc::clone(&parts));
        move |body: &[u8]| understand(&app, protocol, &parts, body, received_at)
    };
    let (translated, _events_room) = if body.len() > INLINE_BYTES_MAX {
        let done = tokio::task::spawn_blocking(move || work(&body)).await;
        done.map_err(|error| Failure::from(engine::Error::internal(format!("reading a request's events: {error}"))))??
    } else {
        work(&body)?
    };
    let outcome = store(app, translated).await?;
    Ok((protocol.reply)(&parts, &outcome))
}

/// Decodes and translates; the permit stands for the memory of the events.
fn understand(
    app: &App,
    protocol: &'static Protocol,
    parts: &Parts,
    body: &[u8],
    received_at: Micros,
) -> Result<(Translated, Permit), Failure> {
    let text = if parts.method == Method::POST {
        decode::body(body, parts.header("content-encoding"))?
    } else {
        std::borrow::Cow::Borrowed("")
    };
    let room = app.engine.admit(text.len().max(parts.query.len()) * MEMORY_PER_BYTE)?;
    let env = Env {
        received_at,
        salt: app.secrets.daily_salt(received_at).map_err(engine::Error::from)?,
        enricher: &app.enricher,
        kept_from: &|project| app.engine.kept_from(project),
        project_of: &|key| app.projects.by_write_key(key),
    };
    Ok((translate(protocol, parts, &text, &env)?, room))
}

/// Reads the body within its bound. `room` grows with it.
async fn read(app: &App, mut body: Body, told: Option<usize>, room: &mut Permit) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::too_large(format!(
            "the body is larger than {INGEST_BODY_BYTES_MAX} bytes; send smaller batches, or gzip them"
        ))
    };
    if told.is_some_and(|bytes| bytes > INGEST_BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match caused_by::<BodyTooSlow>(&error) {
            true => Failure::too_slow(),
            false => Failure::undecodable(format!("the body broke off: {error}")),
        })?;
        // Else trailers, which nobody asked for.
        let Ok(piece) = frame.into_data() else { continue };
        let bytes = whole.len() + piece.len();
        if bytes > INGEST_BODY_BYTES_MAX {
            return Err(too_large());
        }
        app.engine.admit_more(room, bytes)?;
        if whole.is_empty() && body.is_end_stream() {
            return Ok(piece);
        }
        whole.reserve_exact(room.bytes().max(bytes) - whole.len());
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

/// Whether an error or one of its causes is an `E`.
fn caused_by<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<E>())
}

async fn store(app: &App, translated: Translated) -> Result<Outcome, Failure> {
    let mut outcome = Outcome {
        rejected: translated.rejected,
        ..Outcome::default()
    };
    for batch in translated.batches {
        let events = Batch {
            events: batch.events,
            rejected: batch.rejected,
        };
        let receipt = app.engine.append(&batch.project, events).await?;
        outcome.stored += receipt.stored;
        outcome.duplicate += receipt.duplicate;
    }
    Ok(outcome)
}

/// Browsers send credentials, so the origin is named and not `*`.
fn cors(request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = request.get(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    } else {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    headers
}

/// Allows what is asked: the headers an SDK sends are its own and its user's, and cannot be listed.
fn preflight(parts: &Parts) -> Response {
    let mut allowed: Vec<&str> = methods(&parts.path).iter().map(|(method, _)| method.as_str()).collect();
    if allowed.is_empty() {
        return Failure::no_route(parts.method.as_str(), &parts.path).into_response();
    }
    allowed.push("OPTIONS");
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(&allowed.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    if let Some(requested) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
    }
    if parts.headers.contains_key("access-control-request-private-network") {
        let name = HeaderName::from_static("access-control-allow-private-network");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static(PREFLIGHT_SECONDS),
    );
    response
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (content_type, body) = match self {
            Reply::Json(text) => ("application/json", Body::from(text)),
            Reply::Text(text) => ("text/plain; charset=utf-8", Body::from(text)),
            Reply::Pixel => ("image/gif", Body::from(PIXEL)),
        };
        let headers = [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-store"),
        ];
        (headers, body).into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        let mut response = (self.status, headers, self.body()).into_response();
        if let Ok(methods) = HeaderValue::from_str(&self.allowed.join(", "))
            && !self.allowed.is_empty()
        {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        if let Some(seconds) = self.retry_after_seconds() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests;
