//! A query that is answered again when its data changes.

use super::super::error::ApiError;
use super::super::{Action, CONTINUE_WAIT};
use super::message::MessageId;
use super::{Access, Outgoing, answer};
use crate::app::SharedApp;
use crate::cube::wire::Params;
use crate::limits;
use axum::body::Bytes;
use axum::http::StatusCode;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a client subscribed to.
pub(super) struct Subscription {
    pub(super) app: SharedApp,
    pub(super) access: Arc<Access>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) id: MessageId,
    pub(super) params: Params,
}

/// What a client knows already.
type Fingerprint = blake3::Hash;

impl Subscription {
    /// Sends the answer, and again whenever it is another, until the connection ends or the token does.
    ///
    /// New events wake it, but not more often than once in [`limits::PUSH_INTERVAL_MIN`]; what came meanwhile is answered
    /// together. Ranges such as "last hour" move without events, so it looks every [`limits::PUSH_LOOK_INTERVAL`] too,
    /// which costs a look into the kept answers.
    pub(super) async fn follow(self) {
        let mut known: Option<Fingerprint> = None;
        let mut first = true;
        loop {
            let started = Instant::now();
            let context = match self.access.context(&self.app).await {
                Ok(context) => context,
                // Where keys are fetched from cannot be reached at the moment; nobody knows that access has ended.
                Err(error) if !first && error.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    tokio::time::sleep(limits::PUSH_LOOK_INTERVAL).await;
                    continue;
                }
                Err(error) => return self.refuse(&error).await,
            };
            // Before the query runs: what comes while it does is news.
            let mut changes = self.app.engine.changes(context.project());
            let waiting = self.push(&mut known, first).await;
            if first {
                let _ = self.outgoing.send(Outgoing::processed(&self.id)).await;
                first = false;
            }
            if self.outgoing.is_closed() {
                return;
            }
            if waiting {
                // The query runs on; the next look finds it.
                continue;
            }
            tokio::select! {
                news = changes.next() => if news.is_none() {
                    return;
                },
                () = tokio::time::sleep(limits::PUSH_LOOK_INTERVAL) => {}
            }
            tokio::time::sleep_until(started + limits::PUSH_INTERVAL_MIN).await;
        }
    }

    /// Answers once; true when the answer is not there yet.
    async fn push(&self, known: &mut Option<Fingerprint>, first: bool) -> bool {
        let (status, body) = match answer(&self.app, &self.access, Action::Load, &self.params).await {
            Ok(Some(body)) => (StatusCode::OK, body),
            Ok(None) => {
                if first {
                    let body = Bytes::from_static(CONTINUE_WAIT.as_bytes());
                    self.send(StatusCode::OK, body).await;
                }
                return true;
            }
            // Too much at once is no answer; the next look tries again.
            Err(error) if !first && error.status() == StatusCode::SERVICE_UNAVAILABLE => return false,
            Err(error) => (error.status(), Bytes::from(error.body().to_string())),
        };
        let print = fingerprint(&body);
        if *known != Some(print) {
            *known = Some(print);
            self.send(status, body).await;
            if !first {
                self.app.engine.metrics().pushes.add(1);
            }
        }
        false
    }

    async fn send(&self, status: StatusCode, body: Bytes) {
        let reply = Outgoing::Answer {
            id: Some(self.id.json().clone()),
            status,
            body,
        };
        // Waits for a client that does not read. A failure means that the connection has ended.
        let _ = self.outgoing.send(reply).await;
    }

    async fn refuse(&self, error: &ApiError) {
        let reply = Outgoing::refusal(Some(self.id.json().clone()), error);
        let _ = self.outgoing.send(reply).await;
    }
}

/// The key whose value says when an answer was made, which is no news.
const REFRESHED: &[u8] = b"\"lastRefreshTime\":\"";
/// Bytes of that value: `2024-06-15T12:34:56.000Z`.
const REFRESHED_BYTES: usize = 24;

/// Equal for two answers that tell the same. In a text of the data the quotes of the key would be escaped.
fn fingerprint(body: &[u8]) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    let mut rest = body;
    while let Some(at) = find(rest, REFRESHED) {
        let end = (at + REFRESHED.len() + REFRESHED_BYTES).min(rest.len());
        hasher.update(&rest[..at]);
        rest = &rest[end..];
    }
    hasher.update(rest);
    hasher.finalize()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_of_an_answer_is_no_news() {
        let body = |time: &str, count: u8| {
            format!(r#"{{"results":[{{"lastRefreshTime":"{time}","data":[{{"c":"{count}"}}]}}]}}"#)
        };
        let (a, b) = ("2024-06-15T12:34:56.000Z", "2024-06-15T12:34:57.123Z");
        assert_eq!(fingerprint(body(a, 1).as_bytes()), fingerprint(body(b, 1).as_bytes()));
        assert_ne!(fingerprint(body(a, 1).as_bytes()), fingerprint(body(a, 2).as_bytes()));
        let hostile = |time: &str| serde_json::json!({"d": format!("\"lastRefreshTime\":\"{time}")}).to_string();
        assert_ne!(fingerprint(hostile(a).as_bytes()), fingerprint(hostile(b).as_bytes()));
    }
}
