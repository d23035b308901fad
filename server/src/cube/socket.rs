//! Cube's WebSocket: the calls of the HTTP API over one connection, and answers that come again when their data changes.
//!
//! Any path is accepted, as by Cube. The first message brings the token; it is verified again before each answer, so that
//! access ends with the token. Everything that a client can make the server hold is bounded: connections, calls in
//! flight, subscriptions, the size of a message, the answers that wait for a client that does not read them.

mod message;
mod subscription;

use super::error::{ApiError, ApiResult};
use super::wire::Params;
use super::{Action, CONTINUE_WAIT, authorize, may, perform};
use crate::app::SharedApp;
use crate::auth::SecurityContext;
use crate::limits;
use crate::listen::Stopping;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine::metrics::{Metric, Metrics};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use message::{Defect, Message, MessageId, Method};
use parking_lot::RwLock;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// Codes of the close frame (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;

/// How many there are of something, bounded and shown as a gauge.
#[derive(Debug, Default)]
struct Count(AtomicUsize);

/// One of them, given back when dropped.
struct Place {
    sockets: Arc<Sockets>,
    of: fn(&Sockets) -> (&Count, &Metric),
}

impl Drop for Place {
    fn drop(&mut self) {
        let (count, gauge) = (self.of)(&self.sockets);
        let left = count.0.fetch_sub(1, Ordering::AcqRel) - 1;
        gauge.set(left as u64);
    }
}

/// How many connections and subscriptions are open.
#[derive(Debug)]
pub struct Sockets {
    connections: Count,
    subscriptions: Count,
    metrics: Arc<Metrics>,
}

impl Sockets {
    /// None are open.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            connections: Count::default(),
            subscriptions: Count::default(),
            metrics,
        })
    }

    fn take(self: &Arc<Self>, of: fn(&Sockets) -> (&Count, &Metric), max: usize) -> Option<Place> {
        let (count, gauge) = of(self);
        let more = |now: usize| (now < max).then_some(now + 1);
        let before = count.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        gauge.set(before as u64 + 1);
        Some(Place {
            sockets: Arc::clone(self),
            of,
        })
    }

    fn connection(self: &Arc<Self>) -> Option<Place> {
        self.take(|s| (&s.connections, &s.metrics.sockets), limits::SOCKETS_MAX)
    }

    fn subscription(self: &Arc<Self>) -> Option<Place> {
        self.take(
            |s| (&s.subscriptions, &s.metrics.subscriptions),
            limits::SUBSCRIPTIONS_MAX,
        )
    }
}

/// Takes requests that want to become a WebSocket, whatever their path; the others go on.
pub async fn accept(State(app): State<SharedApp>, request: Request, next: Next) -> Response {
    if !app.settings.web_sockets || !wants_socket(request.headers()) {
        return next.run(request).await;
    }
    let (mut parts, _) = request.into_parts();
    let stopping = parts.extensions.get::<Stopping>().cloned();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Some(place) = app.sockets.connection() else {
        let text = "Error: too many WebSocket connections are open; try again in a few seconds";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let bytes_max = app.settings.request_bytes_max;
    upgrade
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .on_upgrade(move |socket| async move {
            Session::run(app, socket, stopping).await;
            drop(place);
        })
}

fn wants_socket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("websocket")))
}

/// What goes to the client. Answers are put into their envelope only when they are sent, so that those that wait share
/// their bytes with the cache.
#[derive(Debug)]
enum Outgoing {
    Text(String),
    Answer {
        id: Option<Value>,
        status: StatusCode,
        body: Bytes,
    },
    Ping,
    Close(u16, &'static str),
}

impl Outgoing {
    fn refusal(id: Option<Value>, error: &ApiError) -> Self {
        Outgoing::Answer {
            id,
            status: error.status(),
            body: Bytes::from(error.body().to_string()),
        }
    }

    fn processed(id: &MessageId) -> Self {
        Outgoing::Text(json!({"messageProcessedId": id.json()}).to_string())
    }

    fn into_frame(self) -> Frame {
        match self {
            Outgoing::Text(text) => Frame::text(text),
            Outgoing::Answer { id, status, body } => {
                let id = id.map(|id| format!("\"messageId\":{id},")).unwrap_or_default();
                // The body was written by serde_json, so it is UTF-8.
                let body = String::from_utf8_lossy(&body);
                Frame::text(format!("{{{id}\"message\":{body},\"status\":{}}}", status.as_u16()))
            }
            Outgoing::Ping => Frame::Ping(Bytes::new()),
            Outgoing::Close(code, reason) => Frame::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            })),
        }
    }
}

/// The token of a connection. A client may bring a new one at any time; subscriptions go on with it.
#[derive(Debug, Default)]
struct Access(RwLock<Option<HeaderMap>>);

impl Access {
    /// Who the token that counts now stands for.
    async fn context(&self, app: &SharedApp) -> ApiResult<SecurityContext> {
        let headers = self.0.read().clone();
        let headers = headers.ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, "Not authorized"))?;
        authorize(app, &headers).await
    }

    async fn set(&self, app: &SharedApp, token: &str) -> ApiResult<()> {
        let value = HeaderValue::from_str(token);
        let value = value.map_err(|_| ApiError::new(StatusCode::FORBIDDEN, "Invalid token"))?;
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        authorize(app, &headers).await?;
        *self.0.write() = Some(headers);
        Ok(())
    }

    fn is_set(&self) -> bool {
        self.0.read().is_some()
    }
}

/// One connection.
struct Session {
    app: SharedApp,
    access: Arc<Access>,
    outgoing: mpsc::Sender<Outgoing>,
    /// Calls and subscriptions; all end with the connection.
    tasks: JoinSet<()>,
    subscriptions: HashMap<String, AbortHandle>,
    calls: Arc<Semaphore>,
    opened_at: Instant,
    heard_at: Instant,
}

impl Session {
    async fn run(app: SharedApp, socket: WebSocket, stopping: Option<Stopping>) {
        let (sink, stream) = socket.split();
        let (outgoing, frames) = mpsc::channel(limits::SOCKET_QUEUE_MESSAGES);
        let writer = tokio::spawn(write(sink, frames));
        let now = Instant::now();
        let mut session = Self {
            app,
            access: Arc::default(),
            outgoing,
            tasks: JoinSet::new(),
            subscriptions: HashMap::new(),
            calls: Arc::new(Semaphore::new(limits::SOCKET_CALLS_MAX)),
            opened_at: now,
            heard_at: now,
        };
        let ended = session.read(stream, stopping).await;
        session.tasks.abort_all();
        if let Some(close) = ended {
            // A writer that is stuck ends by its own deadline, and takes the connection with it.
            let _ = session.outgoing.try_send(close);
        }
        drop(session);
        let _ = writer.await;
    }

    /// Until the connection ends; what to say last, if anybody still listens.
    async fn read(&mut self, mut stream: SplitStream<WebSocket>, stopping: Option<Stopping>) -> Option<Outgoing> {
        let mut heartbeat = tokio::time::interval(limits::SOCKET_PING_INTERVAL);
        heartbeat.tick().await;
        let mut stop = std::pin::pin!(async move {
            match stopping {
                Some(stopping) => stopping.stopped().await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Some(Outgoing::Close(GOING_AWAY, "the server stops")),
                () = self.outgoing.closed() => return None,
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                _ = heartbeat.tick() => if let Some(close) = self.heartbeat() {
                    return Some(close);
                },
                frame = stream.next(), if self.calls.available_permits() > 0 => match self.frame(frame).await {
                    Ok(()) => {}
                    Err(ended) => return ended,
                },
            }
        }
    }

    /// Asks whether the client is still there; a reason to close when it is not, or never said who it is.
    fn heartbeat(&mut self) -> Option<Outgoing> {
        if !self.access.is_set() && self.opened_at.elapsed() > limits::SOCKET_HANDSHAKE_MAX {
            return Some(Outgoing::Close(POLICY, "no authorization came"));
        }
        // While calls fill the connection nothing is read from it.
        if self.calls.available_permits() == 0 {
            self.heard_at = Instant::now();
        }
        if self.heard_at.elapsed() > limits::SOCKET_SILENCE_MAX {
            return Some(Outgoing::Close(GOING_AWAY, "nothing was heard"));
        }
        // A full queue means that the writer is at work; its own deadline watches it.
        let _ = self.outgoing.try_send(Outgoing::Ping);
        None
    }

    /// Takes what came; `Err` ends the connection.
    async fn frame(&mut self, frame: Option<Result<Frame, axum::Error>>) -> Result<(), Option<Outgoing>> {
        self.heard_at = Instant::now();
        let text = match frame {
            None | Some(Ok(Frame::Close(_))) => return Err(None),
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => return Ok(()),
            Some(Ok(Frame::Text(text))) => text.to_string(),
            Some(Ok(Frame::Binary(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(Err(error)) => {
                let is_large = error.to_string().contains("too long");
                return Err(is_large.then_some(Outgoing::Close(TOO_LARGE, "the message is too large")));
            }
        };
        let reply = match message::parse(&text) {
            Ok(message) => self.message(message).await,
            Err(Defect { id, text }) => Some(Outgoing::refusal(id, &ApiError::bad_request(text))),
        };
        match reply {
            // Waits for a client that does not read: nothing more is taken from it meanwhile.
            Some(reply) => self.outgoing.send(reply).await.map_err(|_| None),
            None => Ok(()),
        }
    }

    async fn message(&mut self, message: Message) -> Option<Outgoing> {
        match message {
            Message::Authorization(token) => Some(match self.access.set(&self.app, &token).await {
                Ok(()) => Outgoing::Text(json!({"handshake": true}).to_string()),
                Err(error) => Outgoing::refusal(None, &error),
            }),
            Message::Unsubscribe(id) => {
                self.unsubscribe(&id);
                None
            }
            Message::Call { id, method, params } => self.call(id, method, params).await,
        }
    }

    fn unsubscribe(&mut self, id: &MessageId) {
        if let Some(running) = self.subscriptions.remove(&id.key()) {
            running.abort();
        }
    }

    async fn call(&mut self, id: MessageId, method: Method, params: Map<String, Value>) -> Option<Outgoing> {
        if let Err(error) = self.access.context(&self.app).await {
            return Some(Outgoing::refusal(Some(id.json().clone()), &error));
        }
        let action = match method {
            Method::Load => Action::Load,
            Method::Sql => Action::Sql,
            Method::DryRun => Action::DryRun,
            Method::Meta => Action::Meta,
            Method::Subscribe => return self.subscribe(id, params),
            Method::Unsubscribe => {
                self.unsubscribe(&id);
                return Some(Outgoing::processed(&id));
            }
        };
        // There is one: otherwise nothing would have been read.
        let permit = Arc::clone(&self.calls).acquire_owned().await.ok()?;
        let (app, access, outgoing) = (Arc::clone(&self.app), Arc::clone(&self.access), self.outgoing.clone());
        self.tasks.spawn(async move {
            let answered = answer(&app, &access, action, &Params::new(params)).await;
            let reply = match answered {
                Ok(body) => Outgoing::Answer {
                    id: Some(id.json().clone()),
                    status: StatusCode::OK,
                    body: body.unwrap_or_else(|| Bytes::from_static(CONTINUE_WAIT.as_bytes())),
                },
                Err(error) => Outgoing::refusal(Some(id.json().clone()), &error),
            };
            // A failure means that the connection has ended.
            let _ = outgoing.send(reply).await;
            let _ = outgoing.send(Outgoing::processed(&id)).await;
            drop(permit);
        });
        None
    }

    /// Starts a subscription, in the place of an earlier one of the same id.
    fn subscribe(&mut self, id: MessageId, params: Map<String, Value>) -> Option<Outgoing> {
        self.unsubscribe(&id);
        self.subscriptions.retain(|_, running| !running.is_finished());
        let refuse =
            |status, text: String| Some(Outgoing::refusal(Some(id.json().clone()), &ApiError::new(status, text)));
        if self.subscriptions.len() >= limits::SOCKET_SUBSCRIPTIONS_MAX {
            let max = limits::SOCKET_SUBSCRIPTIONS_MAX;
            return refuse(
                StatusCode::BAD_REQUEST,
                format!("A connection can have {max} subscriptions; unsubscribe from some"),
            );
        }
        let Some(place) = self.app.sockets.subscription() else {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "Error: the server has too many subscriptions; try again later".to_owned(),
            );
        };
        let key = id.key();
        let subscription = subscription::Subscription {
            app: Arc::clone(&self.app),
            access: Arc::clone(&self.access),
            outgoing: self.outgoing.clone(),
            id,
            params: Params::new(params),
        };
        let running = self.tasks.spawn(async move {
            subscription.follow().await;
            drop(place);
        });
        self.subscriptions.insert(key, running);
        None
    }
}

/// The body of a call's answer; `None` when it takes too long.
async fn answer(app: &SharedApp, access: &Access, action: Action, params: &Params) -> ApiResult<Option<Bytes>> {
    let context = may(access.context(app).await?, action.scope())?;
    perform(app, &context, action, params).await
}

/// Sends what is put into the queue. Ends when the queue ends, after a close frame, and when the client does not read.
async fn write(mut sink: SplitSink<WebSocket, Frame>, mut frames: mpsc::Receiver<Outgoing>) {
    while let Some(outgoing) = frames.recv().await {
        let is_last = matches!(outgoing, Outgoing::Close(..));
        let sent = tokio::time::timeout(limits::SOCKET_SEND_MAX, sink.send(outgoing.into_frame())).await;
        if is_last || !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.close()).await;
}
