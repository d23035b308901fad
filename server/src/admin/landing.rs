//! The page at `/`: what this is and where to go. It holds no key and no data.

use crate::app::SharedApp;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};

/// What Cube 1.6 says at `/`. Probes of installations that ran Cube look for it.
const CUBE_PAGE: &str = "<html><body>Cube.js server is running in production mode. <a href=\"https://cube.dev/docs/deployment/production-checklist\">Learn more about production mode</a>.</body></html>";

/// The page for browsers, which ask for HTML; everybody else reads what Cube says.
pub(super) async fn page(State(app): State<SharedApp>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return Html(for_people(&app)).into_response();
    }
    ([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], Html(CUBE_PAGE)).into_response()
}

fn for_people(app: &SharedApp) -> String {
    let base = &app.settings.base_path;
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tally</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}code{{background:#8882;padding:.1em .3em}}td{{padding:.2em 1em .2em 0;vertical-align:top}}</style>
<h1>Tally</h1>
<p>Product analytics in one binary and one bucket. This server, version {version}, is running.</p>
<table>
<tr><td><code>POST /v1/events</code><td>events as JSON
<tr><td><code>POST /api/v1/event</code><td>events of the Jitsu SDKs
<tr><td><code>POST /com.snowplowanalytics.snowplow/tp2</code><td>events of the Snowplow and GitLab SDKs
<tr><td><code>{base}/v1/load</code>, <code>/meta</code>, <code>/sql</code>, <code>/dry-run</code><td>queries of Cube clients, with a token
<tr><td><code>/readyz</code>, <code>/livez</code><td>health
<tr><td><code>{base}/graphql</code><td>the same over GraphQL; WebSockets of Cube clients under any path
<tr><td><code>/openapi.json</code><td>every route
<tr><td><code>/metrics</code><td>counters for Prometheus
</table>
<p>On the machine it runs on: <code>tally project list</code> shows the write keys, <code>tally token</code> makes a token,
<code>tally config</code> explains the settings, <code>tally --help</code> the rest.</p>
"#
    )
}
