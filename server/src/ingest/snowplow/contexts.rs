//! The contexts of a Snowplow event: kept as sent, and read where a column wants what they say.

use crate::ingest::enrich::{Draft, size};
use crate::ingest::json::{Json, Object};
use crate::ingest::sink::Reject;
use engine::event::{Column, RejectReason};

/// `iglu:vendor/name/format/version` in parts; what cannot be split is its own name.
pub(super) fn vendor_and_name(schema: &str) -> (&str, &str) {
    let mut parts = schema.strip_prefix("iglu:").unwrap_or(schema).split('/');
    match (parts.next(), parts.next()) {
        (Some(vendor), Some(name)) => (vendor, name),
        _ => ("", schema),
    }
}

/// Reads `{"schema": "iglu:…/contexts/…", "data": [{"schema": …, "data": …}, …]}` into the draft.
pub(super) fn read(draft: &mut Draft, text: &str) -> Result<(), Reject> {
    let all = Json::parse(text)
        .ok()
        .and_then(Json::object)
        .and_then(|outer| outer.get("data"));
    let Some((all, list)) = all.and_then(|all| Some((all, all.array()?))) else {
        let detail = "the contexts are no object with an array under `data`";
        return Err(Reject::new(RejectReason::InvalidField, detail));
    };
    if list.is_empty() {
        return Ok(());
    }
    draft.event.set(Column::Contexts, all.raw());
    for context in list {
        let Some(context) = context.object() else { continue };
        if let (Some(schema), Some(data)) = (context.get("schema").and_then(Json::text), context.get("data")) {
            one(draft, vendor_and_name(&schema), data);
        }
    }
    Ok(())
}

fn one(draft: &mut Draft, schema: (&str, &str), data: Json<'_>) {
    let members = data.object().unwrap_or_default();
    let event = &mut draft.event;
    let mut text = |name: &str, column: Column| {
        if event.get(column).is_none() {
            event.set_text(column, members.get(name).and_then(Json::text).as_deref());
        }
    };
    match schema {
        ("com.snowplowanalytics.snowplow", "web_page") => text("id", Column::PageViewId),
        ("com.snowplowanalytics.snowplow", "client_session") => {
            text("sessionId", Column::ClientSessionId);
            if event.get(Column::SessionIndex).is_none() {
                int(event, &members, "sessionIndex", Column::SessionIndex);
            }
        }
        ("com.snowplowanalytics.snowplow", "browser_context") => {
            text("browserLanguage", Column::Language);
            text("documentLanguage", Column::DocumentLanguage);
            text("tabId", Column::WindowId);
            browser(event, &members);
        }
        ("org.ietf", "http_client_hints") => event.set(Column::UaHints, data.raw()),
        ("com.gitlab", "user_context") if data.is_object() && !data.is_empty() => {
            event.set(Column::UserTraits, data.raw());
        }
        _ => {}
    }
}

fn browser(event: &mut engine::event::Event, members: &Object<'_>) {
    let sizes = [
        ("resolution", Column::ScreenW, Column::ScreenH),
        ("viewport", Column::ViewportW, Column::ViewportH),
        ("documentSize", Column::DocW, Column::DocH),
    ];
    for (name, width, height) in sizes {
        let read = members.get(name).and_then(Json::text).as_deref().and_then(size);
        if let Some((w, h)) = read.filter(|_| event.get(width).is_none()) {
            event.set_int(width, w);
            event.set_int(height, h);
        }
    }
    if event.get(Column::ColorDepth).is_none() {
        int(event, members, "colorDepth", Column::ColorDepth);
    }
    if let Some(ratio) = members.get("devicePixelRatio").and_then(Json::f64) {
        event.set(Column::PixelRatio, ratio);
    }
    if members.get("webdriver").and_then(Json::bool) == Some(true) {
        event.set(Column::IsBot, true);
    }
}

fn int(event: &mut engine::event::Event, members: &Object<'_>, name: &str, column: Column) {
    let number = members
        .get(name)
        .and_then(Json::i64)
        .filter(|n| i32::try_from(*n).is_ok());
    if let Some(number) = number {
        event.set_int(column, number);
    }
}
