//! Snowplow's tracker protocol `tp2`, and with it the GitLab SDKs, which are thin wrappers of Snowplow's.
//!
//! A POST holds `{"schema": …, "data": [event, …]}`, a GET one event in its query. An event is a flat object of texts under
//! short names; self-describing parts are JSON in text (`co`, `ue_pr`) or base64 (`cx`, `ue_px`). The project key is the
//! `aid` of the event, so it is known only after the body is read; the GitLab SDK repeats it in `X-GitLab-AppId`.

mod contexts;
mod event;

use super::json::{Json, ObjectWriter};
use super::sink::{Reject, Sink, check_count, not_json};
use super::{Failure, Input, Outcome, Parts, Path, Protocol, QUERY_BYTES_MAX, Reply};
use axum::http::Method;
use engine::ProjectId;
use engine::event::RejectReason;
use std::borrow::Cow;
use std::collections::HashSet;

const PIXEL: &[Method] = &[Method::GET, Method::HEAD];

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "snowplow",
    routes: &[
        (PIXEL, Path::Is("/i")),
        (PIXEL, Path::Is("/ice.png")),
        (&[Method::POST], Path::VendorVersion),
    ],
    key: |_| None,
    key_hint: "send the project's write key as the tracker's app id (`aid`, `appId`)",
    translate,
    alone: |event| format!("{{\"data\":[{event}]}}"),
    reply,
};

fn translate(sink: &mut Sink<'_>, input: Input<'_>) -> Result<(), Failure> {
    let anonymous = sink.parts().header("sp-anonymous").is_some();
    let call = event::Call {
        anonymous,
        network_user_id: if anonymous { None } else { cookie(sink.parts(), "sp") },
    };
    match input {
        Input::Query => pixel(sink, &call),
        Input::Body(body) => post(sink, &call, body),
    }
}

/// One event in the query. A query without any is a health check, and stores nothing.
fn pixel(sink: &mut Sink<'_>, call: &event::Call<'_>) -> Result<(), Failure> {
    let parts = sink.parts();
    if parts.query.len() > QUERY_BYTES_MAX {
        return Err(Failure::too_large("the query string is longer than one event may be"));
    }
    let mut event = ObjectWriter::default();
    let mut names = HashSet::new();
    for (name, value) in parts.parameters() {
        if names.insert(name.clone()) {
            event.text(&name, &value);
        }
    }
    if !names.contains("e") && !names.contains("aid") {
        return Ok(());
    }
    let Some(event) = event.finish() else {
        return Ok(());
    };
    let element = Json::parse(&event).map_err(|e| not_json(&e))?;
    default_key(sink, &[element])?;
    put(sink, call, element)
}

fn post(sink: &mut Sink<'_>, call: &event::Call<'_>, body: &str) -> Result<(), Failure> {
    let events = Json::parse(body)
        .map_err(|e| not_json(&e))?
        .object()
        .and_then(|payload| payload.get("data")?.array());
    let Some(events) = events else {
        return Err(Failure::undecodable(
            "the body is no Snowplow payload: it must be {\"schema\": \"iglu:…/payload_data/…\", \"data\": [event, …]}",
        ));
    };
    check_count(&events)?;
    if events.is_empty() {
        return Ok(());
    }
    default_key(sink, &events)?;
    for element in events {
        put(sink, call, element)?;
    }
    Ok(())
}

/// The request's key: the `aid` of its first event, else the header of GitLab's SDK.
fn default_key(sink: &mut Sink<'_>, events: &[Json<'_>]) -> Result<(), Failure> {
    let header = sink.parts().header("x-gitlab-appid");
    let first = events.iter().find_map(|event| app_id(*event));
    let known = first.as_deref().filter(|key| sink.project(key).is_some());
    match (known, header) {
        (Some(key), _) => sink.set_default_key(Some(key)),
        (None, Some(key)) => sink.set_default_key(Some(key)),
        (None, None) => sink.set_default_key(first.as_deref()),
    }
}

fn app_id(event: Json<'_>) -> Option<String> {
    super::sink::owned(event.object()?.get("aid")?.id())
}

fn put(sink: &mut Sink<'_>, call: &event::Call<'_>, element: Json<'_>) -> Result<(), Failure> {
    let mut project: Option<ProjectId> = None;
    let draft = sink.open(element).and_then(|object| {
        if let Some(aid) = object.get("aid").and_then(Json::id).filter(|aid| !aid.is_empty()) {
            project = sink.project(&aid);
            let has_header = sink.parts().header("x-gitlab-appid").is_some();
            if project.is_none() && !has_header {
                let start = super::failure::beginning(&aid, 60);
                let detail = format!("`aid` is `{start}`, which is no write key of any project on this server");
                return Err(Reject::new(RejectReason::InvalidField, detail));
            }
        }
        call.event(sink, &object)
    });
    sink.put(project.as_ref(), element.raw(), draft)
}

/// The value of a cookie.
fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let all = parts
        .headers
        .get_all("cookie")
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = all
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty() && value.len() <= 128)
}

fn reply(parts: &Parts, _outcome: &Outcome) -> Reply {
    if parts.method == Method::POST {
        Reply::Text("ok")
    } else {
        Reply::Pixel
    }
}

/// JSON inside a member: as text, or as base64.
fn embedded<'a>(name: &str, value: Json<'a>, is_base64: bool) -> Result<Cow<'a, str>, Reject> {
    let bad = |what: &str| Reject::new(RejectReason::BadEncoding, format!("`{name}` is not {what}"));
    let Some(text) = value.text() else {
        // Some trackers send the object itself where the text of it belongs.
        let is_plain = !is_base64 && (value.is_object() || value.is_array());
        return is_plain
            .then_some(Cow::Borrowed(value.raw()))
            .ok_or_else(|| bad("text"));
    };
    let text = if is_base64 {
        let bytes = super::decode::base64(&text).ok_or_else(|| bad("base64"))?;
        Cow::Owned(String::from_utf8(bytes).map_err(|_| bad("UTF-8 inside its base64"))?)
    } else {
        text
    };
    let text = super::decode::clean_surrogates(text);
    if Json::parse(&text).is_ok() {
        return Ok(text);
    }
    let cleaned = super::decode::clean_non_numbers(&text).filter(|cleaned| Json::parse(cleaned).is_ok());
    cleaned.map(Cow::Owned).ok_or_else(|| bad("JSON"))
}
