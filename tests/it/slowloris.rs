//! Many connections that send as little as they can: normal requests notice nothing of them, and all are closed in time.
//!
//! Slow connections: 200, or as many as `TALLY_SLOW_CLIENTS` says. They come from several addresses, because one may only
//! hold some hundred.

use crate::support::client::{Client, now_seconds};
use crate::support::events::page_view;
use crate::support::process::Process;
use crate::support::wait_for;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Connections from one address.
const PER_ADDRESS: usize = 200;
/// The promise: nobody holds a connection longer than this by being slow.
const CLOSED_MAX: Duration = Duration::from_secs(15);
/// How long normal requests are measured.
const MEASURED: Duration = Duration::from_secs(2);
/// Time between two bytes of a slow connection, as many milliseconds. The connections are spread over it: they come from
/// machines that know nothing of each other.
const DRIP_MS: u64 = 700;

async fn connect(server: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let address = Ipv4Addr::new(127, 0, 1, 1 + (number / PER_ADDRESS) as u8);
    socket.bind((address, 0).into())?;
    socket.connect(server).await
}

/// One slow connection, until the server closes it; how long that took.
async fn be_slow(server: SocketAddr, number: usize) -> Duration {
    let started = Instant::now();
    let Ok(mut stream) = connect(server, number).await else {
        return started.elapsed();
    };
    let (start, drip) = match number % 4 {
        0 => ("", ""),
        1 => ("POST /v1/events HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"),
        2 => (
            "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer shop-key\r\nContent-Length: 4000000\r\n\r\n[",
            " ",
        ),
        _ => ("GET /li", "v"),
    };
    let _ = stream.write_all(start.as_bytes()).await;
    let (mut reading, mut writing) = stream.into_split();
    let drip = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(number as u64 * 7919 % DRIP_MS)).await;
        while writing.write_all(drip.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(DRIP_MS)).await;
        }
    });
    let mut sink = Vec::new();
    // A reset is a close as well.
    let _ = tokio::time::timeout(CLOSED_MAX * 2, reading.read_to_end(&mut sink)).await;
    drip.abort();
    started.elapsed()
}

/// The 99th percentile of the times of normal requests, one after the other.
fn p99(client: &Client) -> Duration {
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < MEASURED {
        let started = Instant::now();
        let id = format!("n{}-{started:?}", times.len());
        let events = json!([page_view(&id, "v", "/", now_seconds())]);
        assert_eq!(client.ingest("shop-key", &events).status, 200);
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn slow_connections_are_closed_in_time_and_harm_nobody() {
    let slow: usize = std::env::var("TALLY_SLOW_CLIENTS").map_or(200, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(folder.path(), &[("memory", "256MiB")]);
    let client = server.client();
    p99(&client);
    let idle = p99(&client);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let address = client.address();
    let waiting: Vec<_> = (0..slow)
        .map(|number| runtime.spawn(be_slow(address, number)))
        .collect();
    let open = wait_for("all connections to be open", Duration::from_secs(9), || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count();
        (open > slow).then_some(open)
    });
    // As above: what was just begun, here all connections at once, is another question.
    p99(&client);
    let besieged = p99(&client);
    let lives: Vec<Duration> = waiting
        .into_iter()
        .map(|slow| runtime.block_on(slow).unwrap())
        .collect();
    let longest = lives.iter().max().unwrap();
    println!(
        "{slow} slow connections ({open} files open): p99 of a post {idle:?} idle and {besieged:?} with them; all closed after {longest:?}"
    );
    assert!(*longest < CLOSED_MAX, "a slow connection was open for {longest:?}");
    // A debug build on a busy machine: the figure is for people, and this for what stands still.
    assert!(
        besieged < idle * 2 + Duration::from_secs(2),
        "{besieged:?} instead of {idle:?}"
    );
    assert!(server.is_running());
}
