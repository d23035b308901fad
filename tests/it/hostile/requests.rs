//! Hostile requests as bytes: heads that no client library would send, query strings, and handshakes.

use crate::support::client::token;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::time::Duration;

/// Bytes to send, and the statuses they may be answered with. No answer, a closed connection, is right for all of them.
pub struct Request {
    /// What it is.
    pub name: String,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What may come back.
    pub statuses: &'static [u16],
    /// How long the next bytes are waited for.
    pub patience: Duration,
}

/// Anything that puts the fault with the client, and 200 for what is harmless.
const MILD: &[u16] = &[
    100, 200, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 426, 431, 501, 505,
];

fn request(name: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Request {
    Request {
        name: name.into(),
        bytes: bytes.into(),
        statuses,
        patience: Duration::from_secs(20),
    }
}

/// A GET with these further header lines.
fn get(path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n").into_bytes()
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer shop-key\r\n{lines}\r\n{body}").into_bytes()
}

/// Every request.
pub fn all() -> Vec<Request> {
    [heads(), bodies(), queries(), pixels(), handshakes()]
        .into_iter()
        .flatten()
        .collect()
}

fn heads() -> Vec<Request> {
    let fields = |n: usize| (0..n).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    vec![
        request("100,000 header fields", get("/livez", &fields(100_000)), &[400, 431]),
        request("101 header fields", get("/livez", &fields(101)), &[400, 431]),
        request(
            "a header of 32 MB",
            get("/livez", &format!("X: {}\r\n", "a".repeat(32 << 20))),
            &[400, 431],
        ),
        request(
            "a header's name of 1 MB",
            get("/livez", &format!("{}: x\r\n", "X".repeat(1 << 20))),
            &[400, 431],
        ),
        request("a header without a name", get("/livez", ": x\r\n"), &[400]),
        request("a header without a colon", get("/livez", "nonsense\r\n"), &[400]),
        request("a header that is folded", get("/livez", "X: a\r\n b\r\n"), MILD),
        request("NUL in a header", get("/livez", "X: a\0b\r\n"), &[400]),
        request("a control character in a name", get("/livez", "X\x01Y: a\r\n"), &[400]),
        request(
            "lines that end in LF alone",
            "GET /livez HTTP/1.1\nHost: x\nConnection: close\n\n",
            MILD,
        ),
        request(
            "two lengths",
            get("/livez", "Content-Length: 1\r\nContent-Length: 2\r\n"),
            MILD,
        ),
        request("no host", "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", MILD),
        request("two hosts", get("/livez", "Host: y\r\n"), MILD),
        request("HTTP/0.9", "GET /livez\r\n\r\n", &[400]),
        request(
            "HTTP/2 without being asked",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[400, 505],
        ),
        request("HTTP/9.9", "GET /livez HTTP/9.9\r\nHost: x\r\n\r\n", &[400, 505]),
        request(
            "a whole URL as path",
            "GET http://elsewhere/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            MILD,
        ),
        request(
            "CONNECT",
            "CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            MILD,
        ),
        request(
            "TRACE",
            "TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            MILD,
        ),
        request(
            "a method of 100 KB",
            format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(100_000)),
            &[400, 405, 414, 431],
        ),
        request(
            "cookies of 30 KB",
            get("/livez", &format!("Cookie: {}\r\n", "a=b; ".repeat(6_000))),
            MILD,
        ),
        request(
            "a thousand forwarders",
            get(
                "/livez",
                &format!("X-Forwarded-For: {}1.1.1.1\r\n", "1.1.1.1, ".repeat(1_000)),
            ),
            MILD,
        ),
        request(
            "a forwarder that is no address",
            get("/livez", "X-Forwarded-For: <script>, 999.1.1.1, ::::\r\n"),
            MILD,
        ),
        request(
            "ten thousand ranges",
            get("/livez", &format!("Range: bytes={}0-1\r\n", "0-1,".repeat(5_000))),
            MILD,
        ),
        request(
            "an origin of 20 KB",
            get("/livez", &format!("Origin: http://{}\r\n", "a".repeat(20_000))),
            MILD,
        ),
        request(
            "a new line in an origin",
            get("/livez", "Origin: http://a%0d%0aX: b\r\n"),
            MILD,
        ),
        request(
            "two tokens",
            get("/cubejs-api/v1/meta", "Authorization: a\r\nAuthorization: b\r\n"),
            &[400, 403],
        ),
        request(
            "a token that is not UTF-8",
            [
                &b"GET /cubejs-api/v1/meta HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: \xff\xfe\r\n\r\n"
                    [..],
            ]
            .concat(),
            &[400, 403],
        ),
    ]
}

fn bodies() -> Vec<Request> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let small_chunks = format!("{}0\r\n\r\n", "1\r\n[\r\n".repeat(50_000));
    vec![
        request(
            "a chunk of 2^64 bytes",
            post(chunked, "ffffffffffffffff\r\n[]\r\n"),
            &[400, 408, 413],
        ),
        request(
            "a chunk's size of 10,000 digits",
            post(chunked, &format!("{}\r\n", "0".repeat(10_000))),
            MILD,
        ),
        request(
            "a chunk's extension of 1 MB",
            post(chunked, &format!("1;{}\r\n[\r\n0\r\n\r\n", "x".repeat(1 << 20))),
            MILD,
        ),
        request("chunks of one byte", post(chunked, &small_chunks), MILD),
        request(
            "trailers without an end",
            post(chunked, &format!("2\r\n[]\r\n0\r\n{}\r\n", "X: y\r\n".repeat(50_000))),
            MILD,
        ),
        request(
            "chunked twice",
            post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            MILD,
        ),
        request(
            "an unknown transfer coding",
            post("Transfer-Encoding: gzip\r\n", "abc"),
            MILD,
        ),
        request("a length that is text", post("Content-Length: ten\r\n", "[]"), &[400]),
        request("a length with a sign", post("Content-Length: +2\r\n", "[]"), MILD),
        request(
            "a length of 2^64",
            post("Content-Length: 18446744073709551616\r\n", "[]"),
            &[400, 413],
        ),
        request(
            "an expectation",
            post("Expect: 100-continue\r\nContent-Length: 2\r\n", "[]"),
            MILD,
        ),
        request(
            "another expectation",
            post("Expect: a-miracle\r\nContent-Length: 2\r\n", "[]"),
            MILD,
        ),
        request(
            "five codings",
            post(
                "Content-Encoding: gzip, gzip, gzip, gzip, gzip\r\nContent-Length: 2\r\n",
                "[]",
            ),
            MILD,
        ),
        request(
            "zstd",
            post("Content-Encoding: zstd\r\nContent-Length: 12\r\n", "\x50*M\x18aaaaaaaa"),
            &[400, 415],
        ),
        request(
            "deflate",
            post("Content-Encoding: deflate\r\nContent-Length: 2\r\n", "[]"),
            MILD,
        ),
        request(
            "a content type of 20 KB",
            post(
                &format!("Content-Type: {}\r\nContent-Length: 2\r\n", "a".repeat(20_000)),
                "[]",
            ),
            MILD,
        ),
        request(
            "another character set",
            post(
                "Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n",
                "[]",
            ),
            MILD,
        ),
        request(
            "multipart without an end",
            post(
                "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 3\r\n",
                "--x",
            ),
            MILD,
        ),
        request(
            "a request inside a request",
            post("Content-Length: 2\r\n", "[]GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            MILD,
        ),
    ]
}

/// Queries in the query string of a GET.
fn queries() -> Vec<Request> {
    let token = token("shop");
    let load = |name: &str, query: &str| {
        let path = format!("/cubejs-api/v1/load?{query}");
        request(name, get(&path, &format!("Authorization: {token}\r\n")), MILD)
    };
    vec![
        load("no query", ""),
        load("an empty query", "query="),
        load("a query that is no JSON", "query=%7B"),
        load("a query twice", "query=%7B%7D&query=%5B%5D"),
        load("per cent without digits", "query=%&%zz=%1"),
        load("NUL in a query", "query=%00"),
        load("20,000 parameters", &"a=b&".repeat(5_000)),
        load(
            "brackets",
            "query[measures][]=TrackedEvents.count&query[__proto__][x]=1",
        ),
        load("an overlong UTF-8", "query=%c0%af%c0%ae"),
        load("an array 2,000 deep", &format!("query={}", "%5B".repeat(2_000))),
        load("a query type of text", "queryType=nonsense&query=%7B%7D"),
    ]
}

/// Events in the query string of a GET, as pixels send them.
fn pixels() -> Vec<Request> {
    let pixel = |name: &str, query: &str| request(name, get(&format!("/i?{query}"), ""), MILD);
    let deep = URL_SAFE.encode(super::nested("[", "", "]", 10_000));
    let bomb = STANDARD
        .encode(super::gzip(&vec![b'0'; 20_000_000]))
        .replace('+', "%2B");
    vec![
        pixel("a pixel with nothing", ""),
        pixel("a pixel without a key", "e=pv"),
        pixel(
            "a pixel of 60 KB",
            &format!("e=pv&aid=shop-key&url={}", "a".repeat(20_000)),
        ),
        pixel(
            "5,000 parameters",
            &format!("e=pv&aid=shop-key&{}", "a=b&".repeat(5_000)),
        ),
        pixel(
            "the same parameter 5,000 times",
            &format!("aid=shop-key&{}", "e=pv&".repeat(5_000)),
        ),
        pixel("a time that is text", "e=pv&aid=shop-key&dtm=NaN"),
        pixel("the year 275760", "e=pv&aid=shop-key&dtm=8640000000000001"),
        pixel("a time below all", "e=pv&aid=shop-key&dtm=-99999999999999999999"),
        pixel(
            "a screen of 2^63",
            "e=pv&aid=shop-key&res=9223372036854775807x9223372036854775807",
        ),
        pixel("a screen below nothing", "e=pv&aid=shop-key&res=-1x-1&vp=x&ds=1x"),
        pixel("bad base64", "e=ue&aid=shop-key&ue_px=%25%25%25&cx====="),
        pixel("depth in base64", &format!("e=ue&aid=shop-key&ue_px={deep}&cx={deep}")),
        pixel("gzip in base64", &format!("e=ue&aid=shop-key&ue_px={bomb}")),
        pixel("not UTF-8", "e=pv&aid=shop-key&url=%ff%fe%fd&page=%c0%af"),
        pixel("NUL", "e=pv%00&aid=shop-key&url=%00"),
        pixel(
            "a URL that is none",
            "e=pv&aid=shop-key&url=javascript:alert(1)&refr=%3Cscript%3E",
        ),
        pixel("an address that is none", "e=pv&aid=shop-key&ip=999.999.999.999"),
        pixel("a formula", "e=pv&aid=shop-key&page=%3Dcmd%7C%27%2Fc%20calc%27%21A1"),
        pixel(
            "a transaction of infinity",
            "e=tr&aid=shop-key&tr_tt=Infinity&tr_id=1&tr_tx=1e400&tr_sh=-0",
        ),
    ]
}

/// Beginnings of WebSocket connections, and frames that follow a whole one.
fn handshakes() -> Vec<Request> {
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let shake = |name: &str, lines: &str, frames: &[u8]| {
        let mut bytes = format!("GET /cubejs-api/v1/ws HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes();
        bytes.extend(frames);
        Request {
            // The connection of a good handshake stays open.
            patience: Duration::from_millis(80),
            ..request(name, bytes, &[101, 200, 400, 403, 404, 426])
        }
    };
    let whole = format!("{UPGRADE}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    // A final text frame of 2^63 - 1 bytes, a frame without a mask, a reserved opcode, a fragment of nothing, a ping of 4 KB.
    let ping = [&[0x89, 0xfe, 0x10, 0x00, 0, 0, 0, 0][..], &[0; 4096]].concat();
    vec![
        shake("an upgrade without a key", UPGRADE, b""),
        shake("an upgrade of version 99", &whole.replace("13", "99"), b""),
        shake(
            "a key of 20 KB",
            &format!(
                "{UPGRADE}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
                "A".repeat(20_000)
            ),
            b"",
        ),
        shake(
            "a frame of 2^63 bytes",
            &whole,
            &[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ),
        shake("a frame without a mask", &whole, &[0x81, 0x02, b'{', b'}']),
        shake("a frame of no kind", &whole, &[0x8f, 0x80, 0, 0, 0, 0]),
        shake("a fragment that continues nothing", &whole, &[0x80, 0x80, 0, 0, 0, 0]),
        shake("a ping of 4 KB", &whole, &ping),
        shake(
            "frames that are no JSON",
            &whole,
            &[0x81, 0x81, 0, 0, 0, 0, b'{', 0x88, 0x80, 0, 0, 0, 0],
        ),
        shake("bytes that are no frames", &whole, &[0xff; 64]),
    ]
}
