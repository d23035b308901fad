//! Cube's WebSocket: the protocol, pushes when data changes, and everything that ends access or a connection.

use crate::server::{Server, Wanted};
use crate::support::SECRET;
use crate::support::client::{now_seconds, token, token_with};
use crate::support::events::page_views;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A client, driven step by step.
struct Socket {
    runtime: tokio::runtime::Runtime,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    fn open(server: &Server, path: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let url = format!("ws://{}{path}", server.address());
        let (stream, _) = runtime.block_on(tokio_tungstenite::connect_async(url)).unwrap();
        Self { runtime, stream }
    }

    /// Connected and authorised for `shop`.
    fn authorised(server: &Server) -> Self {
        let mut socket = Self::open(server, "/cubejs-api/v1/ws");
        socket.send(&json!({"authorization": token("shop")}));
        assert_eq!(socket.next(), json!({"handshake": true}));
        socket
    }

    fn send(&mut self, message: &Value) {
        self.send_text(message.to_string());
    }

    fn send_text(&mut self, text: String) {
        self.runtime.block_on(self.stream.send(Message::text(text))).unwrap();
    }

    /// The next frame that is no ping; `None` when nothing comes in time.
    fn frame(&mut self, limit: Duration) -> Option<Message> {
        let stream = &mut self.stream;
        let next = async {
            loop {
                match stream.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(message)) => return message,
                    Some(Err(_)) | None => return Message::Close(None),
                }
            }
        };
        self.runtime
            .block_on(async { tokio::time::timeout(limit, next).await })
            .ok()
    }

    /// The next message.
    fn next(&mut self) -> Value {
        match self.frame(Duration::from_secs(30)) {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Nothing comes for a while.
    fn silent(&mut self, limit: Duration) {
        let frame = self.frame(limit);
        assert!(frame.is_none(), "{frame:?} instead of silence");
    }

    /// The code of the close frame, which must be the next.
    fn closed(&mut self) -> Option<u16> {
        match self.frame(Duration::from_secs(10)) {
            Some(Message::Close(close)) => close.map(|close| u16::from(close.code)),
            other => panic!("{other:?} instead of the end"),
        }
    }
}

fn call(id: Value, method: &str, params: Value) -> Value {
    json!({"messageId": id, "requestId": "r-span-1", "method": method, "params": params})
}

fn counting() -> Value {
    json!({"measures": ["TrackedEvents.count"]})
}

/// The count in a pushed answer.
fn count(message: &Value) -> u64 {
    let cell = &message["message"]["results"][0]["data"][0]["TrackedEvents.count"];
    let cell = cell.as_str().unwrap_or_else(|| panic!("no count in {message}"));
    cell.parse().unwrap()
}

#[test]
fn calls_are_answered_as_over_http() {
    let server = Server::start();
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("ws-", 7, 0)));
    for path in ["/", "/cubejs-api/v1/ws", "/anything?x=1"] {
        let mut socket = Socket::open(&server, path);
        socket.send(&json!({"authorization": token("shop")}));
        assert_eq!(socket.next(), json!({"handshake": true}), "{path}");
        for (method, id) in [
            ("load", json!("1")),
            ("sql", json!(2)),
            ("dry-run", json!("3")),
            ("meta", json!(4)),
        ] {
            let params = match method {
                "meta" => json!({}),
                _ => json!({"query": counting()}),
            };
            socket.send(&call(id.clone(), method, params));
            let over_http = match method {
                "meta" => client.send("GET", "/cubejs-api/v1/meta", &[("authorization", &token("shop"))], None),
                _ => client.cube(method, &token("shop"), &json!({"query": counting()})),
            };
            let reply = socket.next();
            assert_eq!(reply["messageId"], id, "{reply}");
            assert_eq!(reply["status"], 200, "{reply}");
            assert_eq!(reply["message"], over_http.json(), "{method}");
            assert_eq!(socket.next(), json!({"messageProcessedId": id}));
        }
    }
}

#[test]
fn what_is_not_allowed_is_refused() {
    let server = Server::start();
    let mut socket = Socket::open(&server, "/");
    socket.send(&json!({}));
    assert_eq!(
        socket.next(),
        json!({"message": {"error": "method: Invalid input"}, "status": 400})
    );
    socket.send(&call(json!("1"), "load", json!({"query": counting()})));
    assert_eq!(
        socket.next(),
        json!({"messageId": "1", "message": {"error": "Not authorized"}, "status": 403})
    );
    socket
        .send(&json!({"authorization": token_with(&json!({"appId": "shop"}), "another-secret-of-thirty-two-bytes!!")}));
    assert_eq!(
        socket.next(),
        json!({"message": {"error": "Invalid token"}, "status": 403})
    );
    socket.send(&json!({"authorization": token("shop")}));
    assert_eq!(socket.next(), json!({"handshake": true}));
    socket.send(&call(json!("2"), "load", json!({"query": {"measures": ["Nope.x"]}})));
    let reply = socket.next();
    assert_eq!(
        (&reply["status"], &reply["messageId"]),
        (&json!(400), &json!("2")),
        "{reply}"
    );
    assert_eq!(socket.next(), json!({"messageProcessedId": "2"}));
    socket.send_text("{\"messageId\": 5,".to_owned());
    assert_eq!(socket.next()["status"], 400);
    socket.send(&call(json!("3"), "load", json!({"query": counting(), "extra": 1})));
    let reply = socket.next();
    assert_eq!(
        reply["message"]["error"], "params: Unrecognized key: \"extra\"",
        "{reply}"
    );
}

#[test]
fn subscriptions_are_pushed_when_their_answer_changes_and_only_then() {
    let server = Server::start();
    let client = server.client();
    let mut socket = Socket::authorised(&server);
    let params = json!({"query": counting(), "queryType": "multi"});
    socket.send(&call(json!("1"), "subscribe", params));
    assert_eq!(count(&socket.next()), 0);
    assert_eq!(socket.next(), json!({"messageProcessedId": "1"}));
    let started = Instant::now();
    client.ingest("shop-key", &json!(page_views("a-", 5, 0)));
    assert_eq!(count(&socket.next()), 5);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "pushed after {:?}",
        started.elapsed()
    );
    // Another project's events, and moving rows into files, are no news.
    client.ingest("blog-key", &json!(page_views("b-", 5, 0)));
    server.flush();
    socket.silent(Duration::from_secs(3));
    // Many batches in a row come as few answers, and the last one is whole.
    let mut sent = 5;
    for batch in 0..20 {
        client.ingest("shop-key", &json!(page_views(&format!("c{batch}-"), 3, 0)));
        sent += 3;
    }
    let (mut pushes, mut last) = (0, 0);
    while last < sent {
        last = count(&socket.next());
        pushes += 1;
    }
    assert_eq!(last, sent);
    assert!(pushes <= 10, "{pushes} answers for 20 batches");
    socket.send(&json!({"unsubscribe": "1"}));
    // Messages are read in order: when this one is answered, the other has been read.
    socket.send(&call(json!("2"), "load", json!({"query": counting()})));
    while socket.next() != json!({"messageProcessedId": "2"}) {}
    client.ingest("shop-key", &json!(page_views("d-", 1, 0)));
    socket.silent(Duration::from_secs(3));
}

#[test]
fn access_ends_with_the_token() {
    let clock = engine::clock::FixedClock::new(i64::try_from(now_seconds()).unwrap() * 1_000_000);
    let wanted = Wanted {
        clock: std::sync::Arc::clone(&clock) as std::sync::Arc<dyn engine::clock::Clock>,
        ..Wanted::default()
    };
    let server = Server::start_with(wanted);
    let client = server.client();
    let mut socket = Socket::open(&server, "/");
    let expiring = |seconds: u64| token_with(&json!({"appId": "shop", "exp": now_seconds() + seconds}), SECRET);
    socket.send(&json!({"authorization": expiring(60)}));
    assert_eq!(socket.next(), json!({"handshake": true}));
    socket.send(&call(
        json!("1"),
        "subscribe",
        json!({"query": counting(), "queryType": "multi"}),
    ));
    assert_eq!(count(&socket.next()), 0);
    socket.next();
    clock.set((i64::try_from(now_seconds()).unwrap() + 200) * 1_000_000);
    client.ingest("shop-key", &json!(page_views("late-", 2, 0)));
    let reply = socket.next();
    assert_eq!(
        reply,
        json!({"messageId": "1", "message": {"error": "Invalid token"}, "status": 403})
    );
    socket.send(&call(json!("2"), "load", json!({"query": counting()})));
    assert_eq!(socket.next()["status"], 403);
    // A new token opens it again.
    socket.send(&json!({"authorization": expiring(600)}));
    assert_eq!(socket.next(), json!({"handshake": true}));
    socket.send(&call(
        json!("3"),
        "load",
        json!({"query": counting(), "queryType": "multi"}),
    ));
    assert_eq!(count(&socket.next()), 2);
}

#[test]
fn bounds_are_kept() {
    let mut wanted = Wanted::default();
    wanted.settings.request_bytes_max = 4096;
    let server = Server::start_with(wanted);
    let mut socket = Socket::authorised(&server);
    // Subscriptions of one connection.
    let refused = (0..300).find_map(|id| {
        socket.send(&call(json!(id), "subscribe", json!({"query": counting()})));
        loop {
            let reply = socket.next();
            if reply.get("messageProcessedId") == Some(&json!(id)) {
                return None;
            }
            if reply["messageId"] == json!(id) && reply["status"] == 400 {
                return Some((id, reply));
            }
        }
    });
    let (id, reply) = refused.expect("any number of subscriptions is taken");
    assert_eq!(id, 250, "{reply}");
    // The size of a message.
    socket.send_text(format!("{{\"authorization\":\"{}\"}}", "x".repeat(5000)));
    assert_eq!(socket.closed(), Some(1009));
}

#[test]
fn the_setting_turns_it_off() {
    let mut wanted = Wanted::default();
    wanted.settings.web_sockets = false;
    let server = Server::start_with(wanted);
    let url = format!("ws://{}/", server.address());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert!(runtime.block_on(tokio_tungstenite::connect_async(url)).is_err());
}
