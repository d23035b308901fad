use super::*;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server on a free port with a few routes, and the switch that stops it.
async fn server() -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route(
            "/echo",
            post(|body: axum::body::Bytes| async move { body.len().to_string() }),
        )
        .route("/refuse", post(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route(
            "/slow",
            get(|| async { tokio::time::sleep(Duration::from_millis(300)).await }),
        )
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("on purpose")
                }
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let options = Options {
        trusted_proxies: Vec::new(),
        drain: Duration::from_secs(5),
        deadlines: Deadlines {
            head: Duration::from_millis(200),
            idle: Duration::from_millis(600),
            body: Duration::from_secs(2),
            body_grace: Duration::from_millis(400),
            ..Deadlines::default()
        },
    };
    let task = tokio::spawn(serve(listener, router, options, stopped));
    (address, stop, task)
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn doubled_slashes_reach_the_same_route() {
    let (address, _stop, _task) = server().await;
    let answer = exchange(
        address,
        "GET //hello?a=//b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_panic_is_answered_and_the_server_lives() {
    let (address, _stop, _task) = server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = vec![0; 2000];
    let read = stream.read(&mut buffer).await.unwrap();
    let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.contains("Internal error"),
        "{answer}"
    );
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("hello"), "{rest}");
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let (address, _stop, _task) = server().await;
    let many: String = (0..HEADERS_MAX + 10).map(|n| format!("h{n}: v\r\n")).collect();
    let large = format!("h: {}\r\n", "v".repeat(HEADER_BYTES_MAX + 1000));
    for headers in [many, large] {
        let answer = exchange(address, &format!("GET /hello HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn the_stop_lets_a_running_request_end() {
    let (address, stop, task) = server().await;
    let running = tokio::spawn(async move { exchange(address, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(true).unwrap();
    assert!(running.await.unwrap().starts_with("HTTP/1.1 200"));
    tokio::time::timeout(Duration::from_secs(2), task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_that_is_refused_can_send_to_the_end_and_read_its_answer() {
    let (address, _stop, _task) = server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let bytes = 8_000_000;
    for _ in 0..2 {
        // As clients do that look for the answer only when they have sent all.
        let head = format!("POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; bytes]).await.unwrap();
        let mut buffer = vec![0; 2000];
        let read = stream.read(&mut buffer).await.unwrap();
        let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    // Nobody has to read what is too long.
    let head = "POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 99000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

async fn closed_after(stream: &mut TcpStream) -> u128 {
    let started = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    started.elapsed().as_millis()
}

#[tokio::test]
async fn slow_clients_are_closed_in_time() {
    let (address, _stop, _task) = server().await;
    let cases: [(&[u8], u128); 4] = [
        (b"", 200),
        (b"GET /hello HTTP/1.1\r\nhos", 200),
        (b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n", 600),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc", 400),
    ];
    for (sent, millis) in cases {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let elapsed = closed_after(&mut stream).await;
        assert!(elapsed + 20 >= millis, "{sent:?} was closed after only {elapsed} ms");
        assert!(elapsed < millis + 3_000, "{sent:?} was open for {elapsed} ms");
    }
}

#[tokio::test]
async fn a_trickled_head_does_not_gain_time() {
    let (address, _stop, _task) = server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    while stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(started.elapsed() < Duration::from_secs(3), "the head is read for ever");
    }
}

#[test]
fn forwarded_addresses_count_only_behind_trusted_proxies() {
    let client = |socket: &str, forwarded: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = [
            IpNetwork::parse_all("10.0.0.0/8").unwrap(),
            IpNetwork::parse_all("loopback").unwrap(),
        ]
        .concat();
        Peer::new(socket.parse().unwrap(), &headers, &trusted)
            .client
            .to_string()
    };
    assert_eq!(client("192.0.2.1:1", &["203.0.113.9"]), "192.0.2.1");
    assert_eq!(client("10.0.0.1:1", &["203.0.113.9"]), "203.0.113.9");
    assert_eq!(client("10.0.0.1:1", &["1.2.3.4, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
    assert_eq!(client("10.0.0.1:1", &["1.2.3.4", "[2001:db8::7]:443"]), "2001:db8::7");
    assert_eq!(client("127.0.0.1:1", &["unknown"]), "127.0.0.1");
}

#[test]
fn a_peer_cannot_take_every_connection() {
    let connections = Connections::new(IpNetwork::parse_all("10.0.0.1").unwrap());
    let peer = "192.0.2.1".parse().unwrap();
    let held: Vec<_> = (0..crate::limits::CONNECTIONS_PER_PEER_MAX)
        .map(|_| connections.take(peer).unwrap())
        .collect();
    assert!(connections.take(peer).is_none());
    assert!(connections.take("192.0.2.2".parse().unwrap()).is_some());
    drop(held);
    assert!(connections.take(peer).is_some());
    let proxy = "10.0.0.1".parse().unwrap();
    let all: Vec<_> = std::iter::from_fn(|| connections.take(proxy)).collect();
    assert_eq!(all.len(), crate::limits::CONNECTIONS_MAX);
}
