//! The accept loop: every connection has a deadline for whatever it is doing, and there is a bound on how many there are.
//!
//! `axum::serve` installs no timer, so that a silent connection, half a head or half a body is held for ever. Here
//! [`timed`] watches the socket (head 10 s, idle 60 s, a stalled write 30 s), [`body`] the request's body (30 s, and a
//! least rate), and [`connections`] counts. A panic in a handler is answered with 500 and ends nothing else.

mod body;
mod connections;
mod peer;
mod timed;

#[cfg(test)]
mod tests;

pub use body::BodyTooSlow;
pub use peer::Peer;

use crate::config::IpNetwork;
use crate::error::{Failure, INTERNAL_TEXT};
use crate::limits::{self, HEADER_BYTES_MAX, HEADERS_MAX};
use axum::Router;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use body::{DeadlineBody, FinishingBody};
use connections::{Connections, Slot};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timed::{Phase, TimedStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long to wait before accepting again after the system refused a connection, for want of descriptors for instance.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often the connections of other protocols are counted while the server stops.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Tells handlers that keep a connection that the server stops; an extension of every request.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Ends when the server begins to stop.
    pub async fn stopped(mut self) {
        stopped(&mut self.0).await;
    }
}

/// What the accept loop needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Networks whose `X-Forwarded-For` is believed; their connections are not counted per peer.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Time that running requests get to end after the stop.
    pub drain: Duration,
    /// Time that clients get.
    pub deadlines: Deadlines,
}

/// How long a client may take for each thing it does.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the head of a request.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the whole body.
    pub body: Duration,
    /// For the body before its rate counts.
    pub body_grace: Duration,
    /// For reading some of the answer.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: limits::HEADER_READ_MAX,
            idle: limits::IDLE_MAX,
            body: limits::BODY_READ_MAX,
            body_grace: limits::BODY_RATE_GRACE,
            write: limits::WRITE_STALL_MAX,
        }
    }
}

/// Serves `router` on `listener` until `stop` turns true; then accepts no more, lets running requests end within
/// [`Options::drain`] and cuts off the rest.
pub async fn serve(listener: TcpListener, router: Router, options: Options, mut stop: watch::Receiver<bool>) {
    let connections = Connections::new(options.trusted_proxies.clone());
    let shared = Arc::new(Shared {
        router,
        trusted_proxies: options.trusted_proxies,
        deadlines: options.deadlines,
    });
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(slot) = connections.take(address.ip()) else {
                    tracing::debug!(%address, "connection refused: too many are open");
                    continue;
                };
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                tasks.spawn(async move {
                    connection(stream, address, shared, slot, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    let drained = async {
        while tasks.join_next().await.is_some() {}
        // Those that another protocol has taken over are told to end by [`Stopping`].
        while !connections.is_empty() {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    };
    if tokio::time::timeout(options.drain, drained).await.is_err() {
        tracing::warn!(
            seconds = options.drain.as_secs(),
            "requests still running after the drain time are cut off"
        );
    }
}

/// Ends when `stop` turns true, or when nobody can turn it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

struct Shared {
    router: Router,
    trusted_proxies: Vec<IpNetwork>,
    deadlines: Deadlines,
}

async fn connection(
    stream: TcpStream,
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    slot: Slot,
    mut stop: watch::Receiver<bool>,
) {
    // Without it small answers wait for the client's delayed acknowledgement; a failure only costs that.
    let _ = stream.set_nodelay(true);
    let phase = Arc::new(Phase::default());
    let io = TokioIo::new(TimedStream::new(stream, Arc::clone(&phase), shared.deadlines, slot));
    let stopping = Stopping(stop.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let (shared, phase) = (Arc::clone(&shared), Arc::clone(&phase));
        request.extensions_mut().insert(stopping.clone());
        async move { Ok::<_, Infallible>(answer(request, address, &shared, phase).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended early");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    address: std::net::SocketAddr,
    shared: &Shared,
    phase: Arc<Phase>,
) -> Response<FinishingBody> {
    let started = Instant::now();
    let finishing = phase.busy();
    let (mut head, body) = request.into_parts();
    if let Some(uri) = without_double_slashes(&head.uri) {
        head.uri = uri;
    }
    head.extensions
        .insert(Peer::new(address, &head.headers, &shared.trusted_proxies));
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let body = DeadlineBody::new(body, &head.headers, shared.deadlines);
    let request = Request::from_parts(head, axum::body::Body::new(body));
    let handled = AssertUnwindSafe(shared.router.clone().oneshot(request))
        .catch_unwind()
        .await;
    let response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_panic) => {
            tracing::error!(%method, path, "a handler panicked");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_TEXT).into_response()
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        phase.hand_over();
    }
    // The query string is left out: it may hold a write key.
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(%method, path, status, ?elapsed, "answered");
    response.map(|body| FinishingBody::new(body, finishing))
}

/// The same address with every run of slashes in the path made one, or `None` when there is none. Clients that join a
/// base that ends in a slash with a path that begins with one ask for `//cubejs-api/v1/load`.
fn without_double_slashes(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}
