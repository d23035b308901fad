//! The server before the engine is open: it lives, it is not ready, and it says so, while the write-ahead log is replayed.

use crate::admin::health;
use crate::error::Failure;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::clock::Clock;
use engine::health::{Part, Severity, Trouble};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use tower::ServiceExt;

/// Stands before the application's routes, which come later.
#[derive(Debug, Clone)]
pub struct Gate {
    routes: Arc<OnceLock<Router>>,
    starting: Arc<Mutex<Trouble>>,
}

impl Gate {
    /// A closed gate.
    pub fn new(clock: &dyn Clock) -> Self {
        let now = clock.now_micros();
        Self {
            routes: Arc::new(OnceLock::new()),
            starting: Arc::new(Mutex::new(Trouble {
                part: Part::Start,
                severity: Severity::NotReady,
                reason: "starting: the write-ahead log is read".to_owned(),
                since: now,
                last: now,
            })),
        }
    }

    /// Says in `/readyz` why it takes longer.
    pub fn tell(&self, reason: &str, clock: &dyn Clock) {
        let mut starting = self.starting.lock();
        reason.clone_into(&mut starting.reason);
        starting.last = clock.now_micros();
    }

    /// From now on requests reach `routes`. Only the first call counts.
    pub fn open(&self, routes: Router) {
        let _ = self.routes.set(routes);
    }

    /// What to serve.
    pub fn router(&self) -> Router {
        let gate = self.clone();
        Router::new().fallback(move |request: Request| {
            let gate = gate.clone();
            async move { gate.answer(request).await }
        })
    }

    async fn answer(&self, request: Request) -> Response {
        if let Some(routes) = self.routes.get() {
            let answered: Result<Response, std::convert::Infallible> = routes.clone().oneshot(request).await;
            return answered.unwrap_or_else(|never| match never {});
        }
        match request.uri().path() {
            "/livez" => health::alive().await.into_response(),
            "/readyz" => health::readiness(&[self.starting.lock().clone()]),
            _ => {
                let text = "Tally is starting; try again in a few seconds";
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use engine::clock::FixedClock;

    async fn ask(gate: &Gate, path: &str) -> (StatusCode, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = gate.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_closed_gate_lives_and_is_not_ready() {
        let gate = Gate::new(FixedClock::new(0).as_ref());
        assert_eq!(ask(&gate, "/livez").await.0, StatusCode::OK);
        let (status, body) = ask(&gate, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("\"part\":\"start\"") && body.contains("DOWN"), "{body}");
        assert_eq!(ask(&gate, "/v1/events").await.0, StatusCode::SERVICE_UNAVAILABLE);
        gate.open(Router::new().route("/v1/events", get(|| async { "there" })));
        assert_eq!(ask(&gate, "/v1/events").await, (StatusCode::OK, "there".to_owned()));
        assert_eq!(ask(&gate, "/nowhere").await.0, StatusCode::NOT_FOUND);
    }
}
