//! Clients that hold a connection without using it are shown out; others notice nothing.

use crate::server::{Server, Wanted};
use crate::support::wait_for;
use server::listen::Deadlines;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(400);
const SLACK: Duration = Duration::from_secs(10);

fn impatient() -> Server {
    let deadlines = Deadlines {
        head: SHORT,
        idle: SHORT,
        body: SHORT,
        body_grace: SHORT,
        write: SHORT,
    };
    Server::start_with(Wanted {
        deadlines,
        ..Wanted::default()
    })
}

/// Sends `bytes` and nothing more; what comes until the server closes.
fn stall(server: &Server, bytes: &[u8]) -> (Duration, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(SLACK)).unwrap();
    stream.write_all(bytes).unwrap();
    let started = Instant::now();
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server did not close within {SLACK:?}: {error}"),
    }
    (started.elapsed(), received)
}

#[test]
fn a_silent_connection_is_closed() {
    stall(&impatient(), b"");
}

#[test]
fn half_a_head_is_closed() {
    let (_, received) = stall(&impatient(), b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    let text = String::from_utf8_lossy(&received);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
}

#[test]
fn half_a_body_is_closed() {
    let head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer shop-key\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n[";
    let server = impatient();
    let (_, received) = stall(&server, head.as_bytes());
    let text = String::from_utf8_lossy(&received);
    assert!(
        !text.starts_with("HTTP/1.1 2"),
        "half a body is never acknowledged: {text}"
    );
    assert_eq!(server.client().count("shop"), 0);
}

#[test]
fn an_idle_connection_is_closed_after_its_answer() {
    let (_, received) = stall(&impatient(), b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(received.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn drip_feeding_does_not_extend_the_deadline_of_the_head() {
    let server = impatient();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let closed = || stream.write_all(b"X-A: b\r\n").is_err().then_some(());
    let mut closed = closed;
    wait_for("the end of a dripping connection", SLACK, || {
        std::thread::sleep(SHORT / 10);
        closed()
    });
}

#[test]
fn two_hundred_slow_clients_do_not_stop_a_quick_one() {
    let server = impatient();
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(b"POST /v1/events HTTP/1.1\r\nHost: x\r\n").unwrap();
            stream
        })
        .collect();
    let client = server.client();
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(client.get("/livez").status, 200);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "a quick client waited {:?}",
            started.elapsed()
        );
    }
    for mut stream in slow {
        stream.set_read_timeout(Some(SLACK)).unwrap();
        let mut sink = Vec::new();
        // A reset is a close as well; only a timeout is not.
        if let Err(error) = stream.read_to_end(&mut sink) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
}
