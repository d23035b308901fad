use super::*;
use axum::http::HeaderValue;

const BYTES_MAX: usize = 1024 * 1024;

async fn read(method: Method, uri: &str, kind: &'static str, body: &str) -> ApiResult<Params> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let room = Room {
        engine: None,
        bytes_max: BYTES_MAX,
        values_bytes_max: 64 * BYTES_MAX,
    };
    let uri = uri.parse().unwrap();
    let read = Params::read(room, &method, &uri, &headers, Body::from(body.to_owned()));
    read.await.map(|(params, _)| params)
}

#[tokio::test]
async fn a_get_reads_the_query_string_and_never_the_body() {
    let params = read(
        Method::GET,
        "/x?query=%7B%22a%22%3A1%7D&queryType=multi",
        "application/json",
        "{not json",
    )
    .await;
    let params = params.unwrap();
    assert_eq!(params.query().unwrap(), serde_json::json!({"a": 1}));
    assert!(params.multi());
}

#[tokio::test]
async fn a_post_reads_json_and_ignores_other_bodies() {
    let params = read(
        Method::POST,
        "/x",
        "application/json; charset=utf-8",
        "{\"query\": \"{}\"}",
    )
    .await
    .unwrap();
    assert_eq!(params.query().unwrap(), serde_json::json!({}));
    let form = read(Method::POST, "/x", "application/x-www-form-urlencoded", "query=%7B%7D")
        .await
        .unwrap();
    assert_eq!(form.query().unwrap_err().body()["error"], "Query param is required");
    let broken = read(Method::POST, "/x", "application/json", "{\"query\": {")
        .await
        .unwrap_err();
    assert_eq!(
        broken.body()["error"],
        "SyntaxError: Expected property name or '}' in JSON at position 11"
    );
}

#[tokio::test]
async fn bodies_over_the_bound_are_refused() {
    let large = "x".repeat(BYTES_MAX + 1);
    let error = read(Method::POST, "/x", "application/json", &large).await.unwrap_err();
    assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
