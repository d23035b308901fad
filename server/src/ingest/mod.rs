//! Events in: from the bytes of any SDK to canonical events on disk.
//!
//! A request runs through one straight line: route → [`PROTOCOLS`] row → write key → admission → [`decode`] → the row's
//! `translate` → [`enrich`] → `Engine::append` → the row's `reply`. To add an SDK dialect, write one file with its
//! `translate` and add one row here.

pub mod decode;
mod edge;
pub mod enrich;
pub mod failure;
mod jitsu1;
pub(crate) mod json;
pub(crate) mod native;
pub mod replay;
mod sink;
mod snowplow;

pub use edge::router;
pub use failure::Failure;
pub use sink::{Env, ProjectBatch, Rejection, Sink, Translated};

use axum::http::{HeaderMap, Method};
use std::borrow::Cow;
use std::net::IpAddr;

/// Events of one request. More are refused, since a rejected `1,` costs fifty times its two bytes.
pub const REQUEST_EVENTS_MAX: usize = 10_000;
/// Bytes of one event as sent; larger ones are rejected and the batch goes on.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Nesting of one event's JSON; the limit keeps every later reader's stack safe.
pub const EVENT_DEPTH_MAX: usize = 32;
/// Members of one event's object at the top, or of its `properties`.
pub const EVENT_PROPERTIES_MAX: usize = 1_000;
/// Bytes of a query string that carries an event.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The method.
    pub method: Method,
    /// The path as [`normal_path`] gives it.
    pub path: String,
    /// The query string without the question mark.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The client's address, as trusted proxies tell it.
    pub client_ip: Option<IpAddr>,
}

impl Parts {
    /// The first value of a header, if it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)?
            .to_str()
            .ok()
            .map(str::trim)
            .filter(|v| !v.is_empty())
    }

    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.parameters()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
            .filter(|v| !v.is_empty())
    }

    /// All query parameters, decoded.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        url::form_urlencoded::parse(self.query.as_bytes())
    }
}

/// What a protocol's `translate` reads.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// The decoded body of a POST: JSON text.
    Body(&'a str),
    /// A GET: everything is in the query of [`Parts`].
    Query,
}

/// What became of a request's events, for the reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events stored by this request.
    pub stored: u64,
    /// Events that were stored before.
    pub duplicate: u64,
    /// Events rejected, in the order of the request.
    pub rejected: Vec<Rejection>,
}

/// The body of a reply with status 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A JSON document.
    Json(String),
    /// Plain text.
    Text(&'static str),
    /// A transparent image of one pixel, never cached.
    Pixel,
}

/// How a route's path is recognised.
#[derive(Debug, Clone, Copy)]
pub enum Path {
    /// Exactly this path.
    Is(&'static str),
    /// This beginning and one more segment's rest.
    Begins(&'static str),
    /// `/<vendor>/<version>` where the vendor is a domain name backwards, as Snowplow's trackers send.
    VendorVersion,
}

impl Path {
    fn matches(self, path: &str) -> bool {
        match self {
            Path::Is(exact) => path == exact,
            Path::Begins(start) => path
                .strip_prefix(start)
                .is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
            Path::VendorVersion => {
                let mut segments = path.split('/').skip(1);
                let (vendor, version, rest) = (segments.next(), segments.next(), segments.next());
                let vendor = vendor.unwrap_or_default();
                rest.is_none()
                    && version.is_some_and(|v| !v.is_empty())
                    && vendor.contains('.')
                    && !vendor.starts_with('.')
            }
        }
    }
}

/// One SDK dialect.
pub struct Protocol {
    /// Stored in the `protocol` column; for ever.
    pub name: &'static str,
    /// Methods and paths it is served at.
    pub routes: &'static [(&'static [Method], Path)],
    /// The write key where it stands outside the body, so that it can be checked before the body is read.
    pub key: fn(&Parts) -> Option<Cow<'_, str>>,
    /// Told to a client that sent no usable key.
    pub key_hint: &'static str,
    /// Reads the events and hands each to the sink, as accepted or rejected.
    pub translate: fn(&mut Sink<'_>, Input<'_>) -> Result<(), Failure>,
    /// A body that holds one event and nothing else, for another try of a rejected one.
    pub alone: fn(&str) -> String,
    /// The reply its SDKs take as delivered. The status is always 200.
    pub reply: fn(&Parts, &Outcome) -> Reply,
}

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Protocol").field(&self.name).finish()
    }
}

/// Every SDK dialect that is served. The first row with a matching route takes the request.
pub static PROTOCOLS: &[Protocol] = &[native::PROTOCOL, jitsu1::PROTOCOL, snowplow::PROTOCOL];

/// The protocol for a request's path and method.
///
/// # Errors
/// 404 when no row has the path, 405 when one has it for other methods.
pub fn find(method: &Method, path: &str) -> Result<&'static Protocol, Failure> {
    let allowed = methods(path);
    let found = allowed.iter().find(|(allowed, _)| *allowed == method);
    match found {
        Some((_, protocol)) => Ok(protocol),
        None if allowed.is_empty() => Err(Failure::no_route(method.as_str(), path)),
        None => {
            let allowed = allowed.iter().map(|(allowed, _)| allowed.as_str()).collect();
            Err(Failure::method(method.as_str(), allowed))
        }
    }
}

/// The methods a path is served for, each with its protocol. None when no protocol has the path.
pub fn methods(path: &str) -> Vec<(&'static Method, &'static Protocol)> {
    let routes = PROTOCOLS
        .iter()
        .flat_map(|protocol| protocol.routes.iter().map(move |route| (route, protocol)));
    let here = routes.filter(|((_, at), _)| at.matches(path));
    here.flat_map(|((methods, _), protocol)| methods.iter().map(move |method| (method, protocol)))
        .collect()
}

/// The path with runs of slashes made one and without a slash at the end: SDKs join hosts and paths carelessly.
pub fn normal_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Translates one request into canonical events, without any effect outside: the pure heart of the edge.
///
/// `body` is the decoded body of a POST and ignored for a GET.
///
/// # Errors
/// A [`Failure`] when the request as a whole is refused: an unknown write key, a body that is not what the protocol sends.
pub fn translate(protocol: &'static Protocol, parts: &Parts, body: &str, env: &Env<'_>) -> Result<Translated, Failure> {
    let key = (protocol.key)(parts);
    let mut sink = Sink::new(protocol, parts, env, key.as_deref());
    if let Some(key) = key
        && sink.default_project().is_none()
    {
        return Err(Failure::unknown_key(Some(&key), protocol.key_hint));
    }
    let by_query = parts.method == Method::GET || parts.method == Method::HEAD;
    if by_query {
        (protocol.translate)(&mut sink, Input::Query)?;
        return Ok(sink.finish());
    }
    match (protocol.translate)(&mut sink, Input::Body(body)) {
        Err(failure) if failure.code == UNPARSABLE => match decode::clean_non_numbers(body) {
            Some(cleaned) => {
                let mut sink = Sink::new(protocol, parts, env, (protocol.key)(parts).as_deref());
                (protocol.translate)(&mut sink, Input::Body(&cleaned))?;
                Ok(sink.finish())
            }
            None => Err(failure),
        },
        Err(failure) => Err(failure),
        Ok(()) => Ok(sink.finish()),
    }
}

const UNPARSABLE: &str = "undecodable_body";

#[cfg(test)]
pub(crate) mod tests;
