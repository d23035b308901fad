use super::*;
use crate::config::Layers;
use engine::clock::FixedClock;
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use std::io::Write;
use tower::ServiceExt;

/// A server over a memory store, with the project `p` and its write key `key`.
struct Server {
    app: SharedApp,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layers = Layers {
            defaults: vec![
                ("data_dir", folder.path().display().to_string()),
                ("store", "memory:".to_owned()),
            ],
            ..Layers::default()
        };
        let (settings, _) = layers.resolve().unwrap();
        let app = App::open(settings, FixedClock::new(1_795_403_700_000_000))
            .await
            .unwrap();
        let project = engine::ProjectId::new("p").unwrap();
        app.projects
            .add(&project, "P", &["key".to_owned()], "2026-11-23T00:00:00Z")
            .unwrap();
        Self { app, _folder: folder }
    }

    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = crate::app::router(Arc::clone(&self.app))
            .oneshot(request)
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}

#[tokio::test]
async fn events_are_stored_once_and_counted() {
    let server = Server::start().await;
    let body = "{\"event\":\"a\",\"event_id\":\"1\"}\n{\"event\":\"b\",\"event_id\":\"2\"}\n{\"event\":3}";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    let first = server
        .send("POST", "/v1/events?key=key", &[("content-encoding", "gzip")], packed)
        .await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
    assert_eq!(
        (first.json()["stored"].as_u64(), first.json()["duplicate"].as_u64()),
        (Some(2), Some(0))
    );
    assert_eq!(first.json()["rejected"][0]["index"], 2);
    let again = server.send("POST", "/v1/events?key=key", &[], body).await;
    assert_eq!(
        (again.json()["stored"].as_u64(), again.json()["duplicate"].as_u64()),
        (Some(0), Some(2))
    );
}

#[tokio::test]
async fn large_bodies_are_read_on_another_thread_with_the_same_result() {
    let server = Server::start().await;
    let event = |n: usize| {
        format!(
            r#"{{"event":"e","event_id":"{n}","properties":{{"text":"{}"}}}}"#,
            "x".repeat(200)
        )
    };
    let body = format!("[{}]", (0..1_000).map(event).collect::<Vec<_>>().join(","));
    assert!(body.len() > INLINE_BYTES_MAX);
    let answer = server.send("POST", "/v1/events", &[("x-write-key", "key")], body).await;
    assert_eq!(answer.json()["stored"], 1_000);
}

#[tokio::test]
async fn browsers_are_let_in_from_everywhere_with_their_headers() {
    let server = Server::start().await;
    let origin = ("origin", "https://shop.example");
    let asked = (
        "access-control-request-headers",
        "content-type,sp-anonymous,x-gitlab-appid",
    );
    for path in [
        "/v1/events",
        "/api/v1/event?token=key",
        "/api.x1?p_2=key",
        "/com.acme/tp2",
        "/i",
    ] {
        let answer = server.send("OPTIONS", path, &[origin, asked], "").await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), origin.1);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("access-control-allow-headers"), asked.1);
        assert_eq!(answer.header("access-control-max-age"), "86400");
        assert_eq!(answer.header("vary"), "Origin");
    }
    let refused = server.send("POST", "/v1/events?key=no", &[origin], "{}").await;
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (401, origin.1)
    );
    assert_eq!(server.send("OPTIONS", "/no/such", &[origin], "").await.status, 404);
}

#[tokio::test]
async fn a_full_buffer_is_503_before_the_body_is_read() {
    let server = Server::start().await;
    let held = server.app.engine.admit(usize::MAX / 2).unwrap();
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = server
        .send("POST", "/v1/events?key=key", &[("origin", "https://a.example")], never)
        .await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "2"));
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    assert!(answer.json()["error"].as_str().unwrap().contains("full"));
    drop(held);
    assert_eq!(
        server
            .send("POST", "/v1/events?key=key", &[], r#"{"event":"a"}"#)
            .await
            .status,
        200
    );
}

/// Nothing is known of a chunked body before it comes, so it has to find room on its way.
#[tokio::test]
async fn a_body_that_finds_no_room_on_its_way_is_503() {
    let server = Server::start().await;
    let app = Arc::clone(&server.app);
    let pieces = futures::stream::iter(0..8).map(move |n| {
        // Others take all the room when the first piece is there, and keep it.
        for bytes in (0..40).rev().map(|power| 1 << power).filter(|_| n == 1) {
            while let Ok(permit) = app.engine.admit(bytes) {
                std::mem::forget(permit);
            }
        }
        Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 8 * 1024]))
    });
    let answer = server
        .send("POST", "/v1/events?key=key", &[], Body::from_stream(pieces))
        .await;
    assert_eq!(answer.status, 503, "{}", answer.json());
}

#[tokio::test]
async fn refusals_have_their_status_and_a_json_body() {
    let server = Server::start().await;
    let large = vec![b' '; INGEST_BODY_BYTES_MAX + 1];
    for (method, target, body, status) in [
        ("POST", "/v1/events", b"{}".to_vec(), 401),
        ("POST", "/v1/events?key=key", b"{".to_vec(), 400),
        ("POST", "/v1/events?key=key", large, 413),
        ("GET", "/v1/events?key=key", Vec::new(), 405),
        ("POST", "/nowhere", Vec::new(), 404),
        ("POST", "/no/where", Vec::new(), 404),
        ("POST", "/com.acme/tp2", b"[]".to_vec(), 400),
    ] {
        let answer = server.send(method, target, &[], body).await;
        assert_eq!(answer.status, status, "{method} {target}");
        assert!(answer.json()["error"].is_string());
    }
    let wrong = server.send("DELETE", "/i", &[], "").await;
    assert_eq!(wrong.header("allow"), "GET, HEAD");
    let broken = futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
    let answer = server
        .send("POST", "/v1/events?key=key", &[], Body::from_stream(broken))
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn pixels_are_43_bytes_and_never_cached() {
    let server = Server::start().await;
    let answer = server.send("GET", "/i?e=pv&aid=key&eid=1", &[], "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/gif"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.body.len(), 43);
    let post = server
        .send(
            "POST",
            "/com.snowplowanalytics.snowplow/tp2",
            &[],
            r#"{"data":[{"e":"pv","aid":"key","eid":"1"}]}"#,
        )
        .await;
    assert_eq!((post.status, post.body.as_ref()), (200, b"ok".as_slice()));
    let project = engine::ProjectId::new("p").unwrap();
    let stats = server.app.engine.stats(&project);
    assert_eq!((stats.stored, stats.duplicate), (1, 1));
}
