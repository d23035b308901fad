//! Bounds of the network edge, with the unit in the name and the reason beside it.

use std::time::Duration;

/// Time a client gets for the head of a request. Without it a silent connection is kept for ever.
pub const HEADER_READ_MAX: Duration = Duration::from_secs(10);
/// Time a kept-alive connection may be idle between two requests.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// Time a client gets for the whole body.
pub const BODY_READ_MAX: Duration = Duration::from_secs(30);
/// After this time the body must have come at [`BODY_RATE_BYTES_PER_SECOND_MIN`] on average.
pub const BODY_RATE_GRACE: Duration = Duration::from_secs(5);
/// Slower bodies are cut off: they only hold a connection.
pub const BODY_RATE_BYTES_PER_SECOND_MIN: u64 = 1024;
/// Bytes that are read and thrown away of a body whose request is answered without it, so that the client gets to read the
/// answer. After more the connection is closed.
pub const UNWANTED_BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Time a write to the client may make no progress: a client that does not read its answer.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
pub const ACCEPT_BACKLOG: u32 = 4096;
/// Connections in all. Each costs a descriptor and some kilobytes.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of one address; a page's browser opens 6, a proxy some dozens.
pub const CONNECTIONS_PER_PEER_MAX: usize = 256;

/// Header fields of one request; more are answered with 431.
pub const HEADERS_MAX: usize = 100;
/// Bytes of one request's head; more are answered with 431.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Bytes of an ingest body as it is sent. A batch of 1,000 events of an SDK is 1 to 2.5 MB.
pub const INGEST_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an ingest body after decompression.
pub const INGEST_DECODED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Decompressed bytes for each compressed one: batches of equal events reach 100, bombs 1,000.
pub const INGEST_DECODED_RATIO_MAX: usize = 200;
/// Bytes of a query's body that are read without asking for room in memory: nearly all bodies.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of memory for each value of a JSON text: the value, its place in a list or a map, its allocation.
pub const JSON_NODE_BYTES: usize = 96;
/// Bytes of a token; more is not looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// WebSocket connections in all; the others of [`CONNECTIONS_MAX`] are left to requests.
pub const SOCKETS_MAX: usize = 2048;
/// Subscriptions of all WebSocket connections together. Each is a task and the query it asks.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Subscriptions of one WebSocket connection: a page with many charts has some dozens.
pub const SOCKET_SUBSCRIPTIONS_MAX: usize = 250;
/// Calls of one WebSocket connection that run at the same time; more wait in the network.
pub const SOCKET_CALLS_MAX: usize = 32;
/// Messages that wait for a WebSocket client to read. Answers among them share their bytes with the kept answers.
pub const SOCKET_QUEUE_MESSAGES: usize = 32;
/// Time in which a WebSocket client must take a message.
pub const SOCKET_SEND_MAX: Duration = Duration::from_secs(30);
/// Time between two pings: proxies close what is silent for a minute.
pub const SOCKET_PING_INTERVAL: Duration = Duration::from_secs(25);
/// Time after which a WebSocket client that neither sends nor answers pings is gone.
pub const SOCKET_SILENCE_MAX: Duration = Duration::from_secs(90);
/// Time in which a WebSocket client must say who it is.
pub const SOCKET_HANDSHAKE_MAX: Duration = Duration::from_secs(60);
/// Time between two answers to one subscription at the least, however fast events come.
pub const PUSH_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Time after which a subscription is looked at even without events: ranges such as "last hour" move. Cube looks every
/// 5 seconds.
pub const PUSH_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Time that a query runs on when nobody asks for it any more; clients ask again at once.
pub const DETACHED_QUERY_MAX: Duration = Duration::from_secs(60);
/// Time that a finished answer waits for a client that was told to ask again.
pub const UNFETCHED_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Queries that run on without a connection. Each holds its answer until somebody asks.
pub const DETACHED_QUERIES_MAX: usize = 32;
