//! Tally's own format: `POST /v1/events`.
//!
//! The body is one event (a JSON object), an array of events, or events on lines of their own (NDJSON); plain or gzip.
//! The write key stands in `Authorization: Bearer <key>`, in `X-Write-Key: <key>` or in `?key=<key>`.
//!
//! ```json
//! {"event": "signup", "user_id": "u-42", "timestamp": "2026-11-23T09:00:00Z", "properties": {"plan": "pro"}}
//! {"type": "page", "page_url": "https://shop.example/cart?utm_source=mail", "anonymous_id": "a1", "event_id": "7c1e…"}
//! ```
//!
//! * A member is named like its column of the events table (`page_url`, `user_id`, `revenue`, …), or by a shorter name:
//!   `type` = `event_type`, `event` or `name` = `event_name`, `timestamp` = when it happened, `url` = `page_url`,
//!   `title` = `page_title`, `traits` = `user_traits`. `schemas/event.schema.json` lists all of them.
//! * `type` is `track` when the event has a name, else it must be there.
//! * An event with an `event_id` is stored once, however often it is sent. Without one but with a `timestamp` the id is made
//!   from the event's content, so a repeated request is harmless too; with neither, every sending counts.
//! * `timestamp` is the sender's clock; with `sent_at` beside it, its error is taken out. `ts` is a statement and is left as it is
//!   (for imports).
//! * Times are ISO 8601 or numbers of seconds, milliseconds or microseconds. Without one, the time of arrival counts.
//! * Members with other names are kept in `properties`. A known member with a value of the wrong type makes its event
//!   rejected; the others of the batch are stored.
//! * The reply is `200 {"status":"ok","stored":n,"duplicate":n,"rejected":[{"index":0,"reason":"…","detail":"…"}]}`.
//!
//! `origin` says whose request this is: `browser` and `mobile` (address and user agent of the request are the visitor's) or
//! `server` (they are not). Where it is absent, a request with a browser's `Origin` or `Sec-Fetch-Mode` header is `browser`,
//! any other `server`.

use super::enrich::{Draft, Origin, parse_time, time_from_number};
use super::json::{Json, Object, ObjectWriter};
use super::sink::{Reject, Sink, elements};
use super::{Failure, Input, Outcome, Parts, Path, Protocol, Reply};
use axum::http::Method;
use engine::clock::Micros;
use engine::event::{Column, Kind, RejectReason, Value};
use std::borrow::Cow;

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "native",
    routes: &[(&[Method::POST], Path::Is("/v1/events"))],
    key,
    key_hint: "send it as `Authorization: Bearer <key>`, as `X-Write-Key: <key>` or as `?key=<key>`",
    translate,
    alone: |event| format!("[{event}]"),
    reply,
};

/// The values of `event_type`.
pub(crate) const TYPES: &[&str] = &[
    "page",
    "screen",
    "track",
    "identify",
    "group",
    "alias",
    "ping",
    "leave",
    "engagement",
    "click",
    "error",
    "performance",
];

/// Columns the server decides; a client's value for them is kept in `extra`.
const SERVER_COLUMNS: &[Column] = &[
    Column::VisitorId,
    Column::Protocol,
    Column::ReceivedAt,
    Column::HashedAnonymousId,
];

/// Columns that hold JSON, and whether it is an object (else an array or an object).
const JSON_COLUMNS: &[(Column, bool)] = &[
    (Column::UserTraits, true),
    (Column::GroupTraits, true),
    (Column::Extra, true),
    (Column::Contexts, false),
    (Column::Items, false),
    (Column::UaHints, false),
];

/// Text columns that also take a number.
const ID_COLUMNS: &[Column] = &[
    Column::EventId,
    Column::UserId,
    Column::AnonymousId,
    Column::PreviousId,
    Column::DeviceId,
    Column::NetworkUserId,
    Column::ClientSessionId,
    Column::OrderId,
    Column::GroupId,
];

fn key(parts: &Parts) -> Option<Cow<'_, str>> {
    let bearer = parts.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    bearer
        .or_else(|| parts.header("x-write-key"))
        .map(Cow::Borrowed)
        .or_else(|| parts.parameter("key"))
}

fn translate(sink: &mut Sink<'_>, input: Input<'_>) -> Result<(), Failure> {
    if sink.default_project().is_none() {
        return Err(Failure::unknown_key(None, PROTOCOL.key_hint));
    }
    let Input::Body(body) = input else {
        return Ok(());
    };
    let parts = sink.parts();
    let from_browser = parts.header("origin").is_some() || parts.header("sec-fetch-mode").is_some();
    let origin = if from_browser { Origin::Browser } else { Origin::Server };
    for element in elements(body)? {
        let draft = sink.open(element).and_then(|object| event(sink, &object, origin));
        sink.put(None, element.raw(), draft)?;
    }
    Ok(())
}

fn event(sink: &mut Sink<'_>, object: &Object<'_>, origin: Origin) -> Result<Draft, Reject> {
    let mut draft = Draft::new(origin, object.len());
    let mut unknown: Vec<(&str, Json<'_>)> = Vec::new();
    let mut server_owned = ObjectWriter::default();
    let mut properties = None;
    for (name, value) in object.iter() {
        if value.is_null() {
            continue;
        }
        match name {
            "timestamp" | "client_ts" => draft.client_ts = Some(time(name, value)?),
            "ts" => draft.true_ts = Some(time(name, value)?),
            "sent_at" => draft.sent_at = Some(time(name, value)?),
            "properties" if value.is_object() => properties = Some(value),
            "properties" => return Err(Reject::field(name, value.raw(), "an object")),
            "origin" => {
                let stated = value.text().and_then(|text| Origin::from_name(&text));
                draft.origin = stated.ok_or_else(|| Reject::field(name, value.raw(), "browser, server or mobile"))?;
            }
            "ip" => draft.set_ip(
                &value
                    .text()
                    .ok_or_else(|| Reject::field(name, value.raw(), "an address"))?,
            ),
            _ => match column(name) {
                Some(column) if SERVER_COLUMNS.contains(&column) => server_owned.raw(name, value.raw()),
                Some(column) => set(&mut draft, column, name, value)?,
                None => unknown.push((name, value)),
            },
        }
    }
    kind(&mut draft)?;
    if let Some(properties) = merged(properties, &unknown)? {
        draft.event.set(Column::Properties, properties);
    }
    if draft.event.get(Column::Extra).is_none()
        && let Some(extra) = server_owned.finish()
    {
        draft.event.set(Column::Extra, extra);
    }
    if draft.event.get(Column::EventId).is_none() && draft.client_ts.or(draft.true_ts).is_some() {
        let id = sink.content_id(object, &["sent_at"]);
        draft.event.set(Column::EventId, id);
    }
    Ok(draft)
}

/// The column a member names.
fn column(name: &str) -> Option<Column> {
    match name {
        "type" => Some(Column::EventType),
        "event" | "name" => Some(Column::EventName),
        "url" => Some(Column::PageUrl),
        "title" => Some(Column::PageTitle),
        "traits" => Some(Column::UserTraits),
        _ => Column::from_name(name),
    }
}

fn time(name: &str, value: Json<'_>) -> Result<Micros, Reject> {
    let read = match value.text() {
        Some(text) => parse_time(&text),
        None if value.is_number() => parse_time(value.raw()).or_else(|| value.f64().and_then(time_from_number)),
        None => None,
    };
    read.ok_or_else(|| {
        Reject::field(
            name,
            value.raw(),
            "an ISO 8601 time or a number of seconds, milliseconds or microseconds",
        )
    })
}

fn set(draft: &mut Draft, column: Column, name: &str, value: Json<'_>) -> Result<(), Reject> {
    if let Some((_, object)) = JSON_COLUMNS.iter().find(|(c, _)| *c == column) {
        if value.is_object() || (!object && value.is_array()) {
            draft.event.set(column, value.raw());
            return Ok(());
        }
        let allowed = if *object { "an object" } else { "an array or an object" };
        return Err(Reject::field(name, value.raw(), allowed));
    }
    let wrong = |allowed: &str| Reject::field(name, value.raw(), allowed);
    match column.kind() {
        Kind::Text => {
            let text = if ID_COLUMNS.contains(&column) {
                value.id()
            } else {
                value.text()
            };
            let text = text.ok_or_else(|| wrong("a text"))?;
            draft.event.set_text(column, Some(&text));
        }
        Kind::Int32 | Kind::Int64 => {
            let number = Value::Int(
                value
                    .i64()
                    .filter(|_| value.is_number())
                    .ok_or_else(|| wrong("a whole number"))?,
            );
            if !number.fits(column.kind()) {
                return Err(wrong("a whole number of 32 bits"));
            }
            draft.event.set(column, number);
        }
        Kind::Float64 => {
            let number = value
                .f64()
                .filter(|_| value.is_number())
                .ok_or_else(|| wrong("a finite number"))?;
            draft.event.set(column, number);
        }
        Kind::Bool => draft
            .event
            .set(column, value.bool().ok_or_else(|| wrong("true or false"))?),
        Kind::Timestamp => draft.event.set_ts(column, time(name, value)?),
        Kind::Decimal => {
            let text = value.id().ok_or_else(|| wrong("an amount"))?;
            let amount =
                super::enrich::amount(&text).ok_or_else(|| wrong("an amount of at most 14 digits before the point"))?;
            draft.event.set(column, Value::Decimal(amount));
        }
    }
    Ok(())
}

/// Settles the type of the event.
fn kind(draft: &mut Draft) -> Result<(), Reject> {
    match draft.event.text(Column::EventType) {
        Some(kind) if TYPES.contains(&kind) => Ok(()),
        Some("pageview" | "page_view") => {
            draft.event.set(Column::EventType, "page");
            Ok(())
        }
        Some(kind) => {
            let detail = format!(
                "`type` is `{}`: it must be one of {}",
                super::failure::beginning(kind, 60),
                TYPES.join(", ")
            );
            Err(Reject::new(RejectReason::UnsupportedType, detail))
        }
        None if draft.event.get(Column::EventName).is_some() => {
            draft.event.set(Column::EventType, "track");
            Ok(())
        }
        None => Err(Reject::new(
            RejectReason::MissingField,
            "the event has neither `type` nor `event`",
        )),
    }
}

/// The caller's properties with the unknown members added. Where both have a name, `properties` wins.
fn merged(properties: Option<Json<'_>>, unknown: &[(&str, Json<'_>)]) -> Result<Option<String>, Reject> {
    let Some(properties) = properties.filter(|p| !p.is_empty()) else {
        let mut all = ObjectWriter::default();
        unknown.iter().for_each(|(name, value)| all.raw(name, value.raw()));
        return Ok(all.finish());
    };
    if unknown.is_empty() {
        return Ok(Some(properties.raw().to_owned()));
    }
    let own = properties.object().unwrap_or_default();
    if own.len() + unknown.len() > super::EVENT_PROPERTIES_MAX {
        let detail = format!("the event has more than {} properties", super::EVENT_PROPERTIES_MAX);
        return Err(Reject::new(RejectReason::TooManyProperties, detail));
    }
    let mut all = ObjectWriter::default();
    own.iter().for_each(|(name, value)| all.raw(name, value.raw()));
    for (name, value) in unknown.iter().filter(|(name, _)| own.get(name).is_none()) {
        all.raw(name, value.raw());
    }
    Ok(all.finish())
}

fn reply(_parts: &Parts, outcome: &Outcome) -> Reply {
    let mut rejected = String::from("[");
    for (at, rejection) in outcome.rejected.iter().enumerate() {
        if at > 0 {
            rejected.push(',');
        }
        let mut one = ObjectWriter::default();
        one.raw("index", &rejection.index.to_string());
        one.text("reason", rejection.reason.code());
        one.text("detail", &rejection.detail);
        rejected.push_str(&one.finish().unwrap_or_default());
    }
    rejected.push(']');
    let mut body = ObjectWriter::default();
    body.text("status", "ok");
    body.raw("stored", &outcome.stored.to_string());
    body.raw("duplicate", &outcome.duplicate.to_string());
    body.raw("rejected", &rejected);
    Reply::Json(body.finish().unwrap_or_default())
}
