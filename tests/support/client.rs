//! An HTTP client that fails on nothing but a broken connection, and the Cube calls the tests make.

use super::SECRET;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply of the server.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header fields, names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The first header field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The text of `{"error": …}`.
    pub fn error(&self) -> String {
        self.json()["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error text in {self:?}"))
            .to_owned()
    }
}

/// A client of one server. Connections are kept.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .max_redirects(0)
            .build();
        Self {
            address,
            agent: config.new_agent(),
        }
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request; `Err` when the connection broke.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Reply, ureq::Error> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let body = response
            .body_mut()
            .with_config()
            .limit(256 * 1024 * 1024)
            .read_to_vec()?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        Ok(Reply {
            status: response.status().as_u16(),
            headers,
            body,
        })
    }

    /// Sends a request.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// GET.
    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], None)
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            Some(body.to_string().as_bytes()),
        )
    }

    /// POST of native events with a project's write key.
    pub fn ingest(&self, write_key: &str, events: &Value) -> Reply {
        let (path, headers) = super::events::native_request(write_key);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("POST", &path, &headers, Some(events.to_string().as_bytes()))
    }

    /// POST `/v1/load` of one query in a project's name.
    pub fn load(&self, project: &str, query: &Value) -> Reply {
        self.cube("load", &token(project), &json!({ "query": query }))
    }

    /// As [`Self::load`], asked until the answer is final: a query whose client was told to wait runs on.
    pub fn load_final(&self, project: &str, query: &Value) -> Reply {
        loop {
            let reply = self.load(project, query);
            if !reply.text().contains("Continue wait") {
                return reply;
            }
        }
    }

    /// POST of one of the Cube calls with this token.
    pub fn cube(&self, call: &str, token: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json"), ("authorization", token)];
        self.send(
            "POST",
            &format!("/cubejs-api/v1/{call}"),
            &headers,
            Some(body.to_string().as_bytes()),
        )
    }

    /// The rows of a query that must succeed.
    pub fn rows(&self, project: &str, query: &Value) -> Vec<Value> {
        let reply = self.load(project, query);
        assert_eq!(reply.status, 200, "{query} answered {}", reply.text());
        reply.json()["data"]
            .as_array()
            .unwrap_or_else(|| panic!("no data in {reply:?}"))
            .clone()
    }

    /// `TrackedEvents.count` of a project.
    pub fn count(&self, project: &str) -> u64 {
        let rows = self.rows(project, &json!({"measures": ["TrackedEvents.count"]}));
        number(&rows[0]["TrackedEvents.count"])
    }

    /// How often each event id that starts with `prefix` is stored. Reads page by page.
    pub fn id_counts(&self, project: &str, prefix: &str) -> HashMap<String, u64> {
        const PAGE: usize = 50_000;
        let mut counts = HashMap::new();
        loop {
            let rows = self.rows(
                project,
                &json!({
                    "dimensions": ["TrackedEvents.eventId"], "measures": ["TrackedEvents.count"],
                    "filters": [{"member": "TrackedEvents.eventId", "operator": "startsWith", "values": [prefix]}],
                    "order": {"TrackedEvents.eventId": "asc"}, "limit": PAGE, "offset": counts.len(),
                }),
            );
            for row in &rows {
                let id = row["TrackedEvents.eventId"].as_str().unwrap().to_owned();
                let earlier = counts.insert(id, number(&row["TrackedEvents.count"]));
                assert_eq!(earlier, None, "an id came twice: {row}");
            }
            if rows.len() < PAGE {
                return counts;
            }
        }
    }
}

/// A measure's value: numbers travel as strings.
pub fn number(cell: &Value) -> u64 {
    cell.as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{cell} is no whole number in a string"))
}

/// A token as GitLab makes it.
pub fn token(project: &str) -> String {
    token_with(
        &json!({"appId": project, "iat": now_seconds(), "exp": now_seconds() + 180}),
        SECRET,
    )
}

/// A token with these claims, signed with this secret.
pub fn token_with(claims: &Value, secret: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// Seconds since the epoch.
pub fn now_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Sends bytes as they are and reads until the server closes or `limit` passes; for what no client library would send.
/// `None` when no whole head came back.
pub fn raw(address: SocketAddr, bytes: &[u8], limit: Duration) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.set_write_timeout(Some(limit)).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    parse(&received)
}

/// Reads a whole reply out of received bytes.
fn parse(received: &[u8]) -> Option<Reply> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    Some(Reply {
        status,
        headers: headers.collect(),
        body: received[end + 4..].to_vec(),
    })
}
