//! Another try for a rejected event: what was kept of it goes through its dialect once more, after a repair of the
//! dialect, or of the settings.
//!
//! What was sent around the event is not kept: no headers, no address. An event that names no visitor is therefore a
//! visitor of its own. An event without an id gets one that is made of what was kept, so that a second replay finds it.

use super::{Env, PROTOCOLS, Parts, Path, translate};
use crate::app::App;
use axum::http::{HeaderName, HeaderValue, Method};
use engine::event::Event;
use engine::limits::REJECTED_RAW_BYTES_MAX;
use engine::{ProjectId, RejectedRow};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Headers in which the dialects expect a write key.
const KEY_HEADERS: &[&str] = &["x-write-key", "x-auth-token", "x-gitlab-appid"];
/// A write key that stands for the project.
const KEY: HeaderValue = HeaderValue::from_static("replay");

/// What came of another try.
#[derive(Debug)]
pub enum Again {
    /// It is an event now.
    Event(Box<Event>),
    /// It is rejected again, with this reason's code.
    Rejected(String),
    /// It cannot be tried again, and why.
    Not(&'static str),
}

/// Tries a rejected event again, for its own project whatever key it was sent with.
///
/// # Errors
/// `Storage` when the salt of anonymous ids cannot be had.
pub fn again(app: &App, project: &ProjectId, row: &RejectedRow) -> engine::Result<Again> {
    if row.raw.is_empty() {
        return Ok(Again::Not("nothing of it was kept"));
    }
    let Some(protocol) = PROTOCOLS.iter().find(|protocol| protocol.name == row.protocol) else {
        return Ok(Again::Not("its dialect is not known"));
    };
    let Ok(value) = serde_json::from_str::<Value>(&row.raw) else {
        let is_cut = row.raw.len() + 4 > REJECTED_RAW_BYTES_MAX;
        return Ok(Again::Not(match is_cut {
            true => "only its beginning was kept",
            false => "it is no JSON",
        }));
    };
    // The engine keeps what it rejects itself in the form of the table, which is no dialect's.
    if value.get("received_at").is_some() && value.get("protocol").is_some() {
        return Ok(Again::Not("it was decoded already when it was rejected"));
    }
    let parts = Parts {
        method: Method::POST,
        path: path_of(protocol.routes),
        query: String::new(),
        // Where the dialects look for a key; which one does not matter, the project is known.
        headers: KEY_HEADERS
            .iter()
            .map(|name| (HeaderName::from_static(name), KEY))
            .collect(),
        client_ip: None,
    };
    let seed = blake3::hash(format!("{row:?}").as_bytes());
    let enricher = app.enricher.with_ids_of(*seed.as_bytes());
    let env = Env {
        received_at: row.received_at,
        salt: app.secrets.daily_salt(row.received_at)?,
        enricher: &enricher,
        kept_from: &|project| app.engine.kept_from(project),
        project_of: &|_| Some(project.clone()),
    };
    let body = (protocol.alone)(&row.raw);
    let translated = match translate(protocol, &parts, &body, &env) {
        Ok(translated) => translated,
        Err(failure) => return Ok(Again::Rejected(failure.code.to_owned())),
    };
    if let Some(rejection) = translated.rejected.first() {
        return Ok(Again::Rejected(rejection.reason.code().to_owned()));
    }
    let events = translated.batches.into_iter().flat_map(|batch| batch.events);
    match events.collect::<Vec<_>>().as_mut_slice() {
        [event] => Ok(Again::Event(Box::new(std::mem::take(event)))),
        _ => Ok(Again::Not("it makes no event")),
    }
}

/// A path of the dialect's POST.
fn path_of(routes: &[(&[Method], Path)]) -> String {
    let posts = routes.iter().filter(|(methods, _)| methods.contains(&Method::POST));
    let paths = posts.map(|(_, path)| match path {
        Path::Is(exact) => (*exact).to_owned(),
        Path::Begins(start) => format!("{start}event"),
        Path::VendorVersion => "/com.snowplowanalytics.snowplow/tp2".to_owned(),
    });
    paths.into_iter().next().unwrap_or_default()
}
