//! Jitsu 1.x: the SDKs `@jitsu/sdk-js` 2.x and 3.x in browser and Node, their compatibility form, and the pixel.
//!
//! An event is one flat object: context under fixed names, and the caller's properties beside it. The SDK sends no event
//! id and resends whole batches after any status but 200, so the id is made from the content.
//!
//! **Policies.** `cookie_policy=strict|comply` leaves out the anonymous id (`comply` means it for visitors of the EU and UK;
//! as long as a visitor's country is not known, every visitor counts as one of them). `ip_policy` changes nothing, since no
//! address is ever stored whole.

use super::decode;
use super::enrich::{Draft, Origin, UTM, amount, host, parse_time, time_from_number};
use super::json::{Json, Object, ObjectWriter};
use super::sink::{Reject, Sink, check_count, elements, owned};
use super::{Failure, Input, Outcome, Parts, Path, Protocol, Reply};
use axum::http::Method;
use base64::Engine as _;
use engine::event::{Column, RejectReason, Value};
use std::borrow::Cow;

const POST: &[Method] = &[Method::POST];

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "jitsu1",
    routes: &[
        (POST, Path::Is("/api/v1/event")),
        (POST, Path::Is("/api/v1/events")),
        (POST, Path::Is("/api/v1/s2s/event")),
        (POST, Path::Is("/api/v1/s2s/events")),
        (POST, Path::Begins("/api.")),
        (&[Method::GET], Path::Is("/api/v1/p.gif")),
    ],
    key,
    key_hint: "send it as `?token=<key>`, in the header `X-Auth-Token`, or as `api_key` in the event",
    translate,
    alone: |event| format!("[{event}]"),
    reply,
};

/// Members that say when or how often the event was sent, not what it is.
const UNSTABLE: &[&str] = &["_timestamp", "sent_at", "retry_count"];

/// The key outside the body, in Jitsu's order of places.
fn key(parts: &Parts) -> Option<Cow<'_, str>> {
    let header = |name| parts.header(name).map(Cow::Borrowed);
    let random_name = || {
        let found = parts
            .parameters()
            .find(|(name, value)| name.starts_with("p_") && !value.is_empty());
        found.map(|(_, value)| value)
    };
    parts
        .parameter("token")
        .or_else(|| header("x-auth-token"))
        .or_else(|| header("api_key"))
        .or_else(random_name)
        .or_else(|| basic_user(parts).map(Cow::Owned))
}

fn basic_user(parts: &Parts) -> Option<String> {
    let (scheme, encoded) = parts.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, _) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    (!user.is_empty()).then(|| user.to_owned())
}

fn translate(sink: &mut Sink<'_>, input: Input<'_>) -> Result<(), Failure> {
    let pixel;
    let body = match input {
        Input::Body(body) => body,
        Input::Query => {
            pixel = pixel_event(sink.parts())?;
            pixel.as_str()
        }
    };
    let from_server = sink.parts().path.starts_with("/api/v1/s2s/");
    let call = Call {
        origin: if from_server { Origin::Server } else { Origin::Browser },
        drop_anonymous_id: matches!(
            sink.parts().parameter("cookie_policy").as_deref(),
            Some("strict" | "comply")
        ),
    };
    let (template, events) = batch(body)?;
    if sink.default_project().is_none() {
        let first = events.iter().chain(&template).find_map(|event| api_key(*event));
        sink.set_default_key(first.as_deref())?;
    }
    let template = template.and_then(Json::object);
    for element in events {
        let draft = sink.open(element).and_then(|object| {
            let object = match &template {
                Some(template) => object.over(template),
                None => object,
            };
            call.event(sink, &object)
        });
        sink.put(None, element.raw(), draft)?;
    }
    Ok(())
}

/// The elements of a body, and the template they lie over in `{"template": {…}, "events": […]}`.
fn batch(body: &str) -> Result<(Option<Json<'_>>, Vec<Json<'_>>), Failure> {
    let elements = elements(body)?;
    if let [one] = elements.as_slice()
        && body.starts_with('{')
        && let Some(object) = one.object()
        && let (Some(template), Some(events)) = (object.get("template"), object.get("events").and_then(Json::array))
        && template.is_object()
        && template.raw().len() <= super::EVENT_BYTES_MAX
        && super::json::depth(template.raw()) <= super::EVENT_DEPTH_MAX
    {
        check_count(&events)?;
        return Ok((Some(template), events));
    }
    Ok((None, elements))
}

fn api_key(event: Json<'_>) -> Option<String> {
    let object = event.object()?;
    let nested = || object.get("eventn_ctx").and_then(Json::object)?.get("api_key");
    owned(object.get("api_key").or_else(nested)?.text())
}

/// The event of a pixel: JSON in `data` (base64 or plain), else the parameters themselves.
fn pixel_event(parts: &Parts) -> Result<String, Failure> {
    if parts.query.len() > super::QUERY_BYTES_MAX {
        return Err(Failure::too_large("the query string is longer than one event may be"));
    }
    if let Some(data) = parts.parameter("data") {
        return decode::body(data.as_bytes(), None).map(Cow::into_owned);
    }
    let mut event = ObjectWriter::default();
    for (name, value) in parts.parameters() {
        let is_policy = matches!(name.as_ref(), "token" | "cookie_policy" | "ip_policy") || name.starts_with("p_");
        if !is_policy {
            event.text(&name, &value);
        }
    }
    event
        .finish()
        .ok_or_else(|| Failure::undecodable("the pixel's query string holds no event"))
}

/// What is the same for all events of a call.
struct Call {
    origin: Origin,
    drop_anonymous_id: bool,
}

/// One event being read: the draft, and the members that no column takes.
struct Reading {
    draft: Draft,
    drop_anonymous_id: bool,
    properties: ObjectWriter,
    extra: ObjectWriter,
    traits: ObjectWriter,
    kind: Option<String>,
    doc: [Option<String>; 3],
}

impl Call {
    fn event(&self, sink: &mut Sink<'_>, object: &Object<'_>) -> Result<Draft, Reject> {
        let mut reading = Reading {
            draft: Draft::new(self.origin, object.len()),
            drop_anonymous_id: self.drop_anonymous_id,
            properties: ObjectWriter::default(),
            extra: ObjectWriter::default(),
            traits: ObjectWriter::default(),
            kind: None,
            doc: [const { None }; 3],
        };
        for (name, value) in object.iter() {
            if name == "eventn_ctx"
                && let Some(context) = value.object()
            {
                for (name, value) in context.iter() {
                    if !reading.context(name, value) {
                        reading.extra.raw(name, value.raw());
                    }
                }
                continue;
            }
            if !reading.context(name, value) {
                reading.properties.raw(name, value.raw());
                reading.measure(name, value);
            }
        }
        let mut draft = reading.finish()?;
        if draft.event.get(Column::EventId).is_none() && draft.client_ts.is_some() {
            draft.event.set(Column::EventId, sink.content_id(object, UNSTABLE));
        }
        Ok(draft)
    }
}

impl Reading {
    /// Takes a member of the context; `false` when it is none, or its value is not what the context has under that name
    /// (a caller's property may have the same one).
    fn context(&mut self, name: &str, value: Json<'_>) -> bool {
        if value.is_null() {
            return is_context(name);
        }
        let text_column = match name {
            "event_id" | "eventn_ctx_event_id" => Some(Column::EventId),
            "url" => Some(Column::PageUrl),
            "referer" => Some(Column::Referrer),
            "page_title" => Some(Column::PageTitle),
            "user_agent" => Some(Column::UserAgent),
            "user_language" => Some(Column::Language),
            "doc_encoding" => Some(Column::Charset),
            _ => None,
        };
        let event = &mut self.draft.event;
        if let Some(column) = text_column {
            let text = if column == Column::EventId {
                value.id()
            } else {
                value.text()
            };
            if let Some(text) = &text {
                event.set_text(column, Some(text));
            }
            return text.is_some();
        }
        match name {
            "event_type" => self.kind = owned(value.id()),
            "utc_time" | "eventn_ctx_utc_time" => return self.time(value),
            "local_tz_offset" => match value.i64().filter(|m| m.abs() <= 24 * 60) {
                // JavaScript counts minutes west of Greenwich.
                Some(west) => event.set_int(Column::TzOffsetMin, -west),
                None => return false,
            },
            "screen_resolution" => return size(&mut self.draft, value, Column::ScreenW, Column::ScreenH),
            "vp_size" => return size(&mut self.draft, value, Column::ViewportW, Column::ViewportH),
            "source_ip" => match value.text() {
                // Only a backend may speak for its user's address.
                Some(ip) if self.draft.origin == Origin::Server => self.draft.set_ip(&ip),
                Some(_) => {}
                None => return false,
            },
            "doc_host" | "doc_path" | "doc_search" => {
                let at = usize::from(name == "doc_path") + 2 * usize::from(name == "doc_search");
                self.doc[at] = owned(value.text());
                return value.text().is_some();
            }
            "api_key" | "src" => return value.text().is_some(),
            "src_payload" => self.extra.raw(name, value.raw()),
            "user" => return value.object().map(|user| self.user(&user)).is_some(),
            "ids" => {
                if !value.is_empty() {
                    self.extra.raw(name, value.raw());
                }
            }
            "utm" => return value.object().map(|utm| self.campaign(&utm)).is_some(),
            "click_id" => return value.object().map(|ids| self.click(&ids)).is_some(),
            _ => return false,
        }
        true
    }

    fn time(&mut self, value: Json<'_>) -> bool {
        let read = match value.text() {
            Some(text) => parse_time(&text),
            None => value.f64().and_then(time_from_number),
        };
        self.draft.client_ts = read;
        read.is_some()
    }

    fn user(&mut self, user: &Object<'_>) {
        for (name, value) in user.iter().filter(|(_, value)| !value.is_null()) {
            let column = match name {
                "id" => Column::UserId,
                "anonymous_id" => Column::AnonymousId,
                _ => {
                    self.traits.raw(name, value.raw());
                    continue;
                }
            };
            match value.id() {
                Some(_) if column == Column::AnonymousId && self.drop_anonymous_id => {}
                Some(id) => self.draft.event.set_text(column, Some(&id)),
                None => self.traits.raw(name, value.raw()),
            }
        }
    }

    fn campaign(&mut self, utm: &Object<'_>) {
        let mut rest = ObjectWriter::default();
        for (name, value) in utm.iter() {
            match (UTM.iter().find(|(n, _)| *n == name), value.text()) {
                (Some((_, column)), Some(text)) => self.draft.event.set_text(*column, Some(&text)),
                _ => rest.raw(name, value.raw()),
            }
        }
        if let Some(rest) = rest.finish() {
            self.extra.raw("utm", &rest);
        }
    }

    fn click(&mut self, ids: &Object<'_>) {
        let mut rest = ObjectWriter::default();
        for (name, value) in ids.iter() {
            match value.text().filter(|id| !id.is_empty()) {
                Some(id) if self.draft.event.get(Column::ClickId).is_none() => {
                    self.draft.event.set_text(Column::ClickIdType, Some(name));
                    self.draft.event.set_text(Column::ClickId, Some(&id));
                }
                _ => rest.raw(name, value.raw()),
            }
        }
        if let Some(rest) = rest.finish() {
            self.extra.raw("click_id", &rest);
        }
    }

    /// Copies money and orders into their columns; the property stays as it is.
    fn measure(&mut self, name: &str, value: Json<'_>) {
        match name {
            "conversion" => {
                if let Some(conversion) = value.object() {
                    conversion
                        .iter()
                        .filter(|(name, _)| *name != "conversion")
                        .for_each(|(n, v)| self.measure(n, v));
                }
            }
            "revenue" => {
                if let Some(revenue) = value.id().and_then(|text| amount(&text)) {
                    self.draft.event.set(Column::Revenue, Value::Decimal(revenue));
                }
            }
            "currency" => self.draft.event.set_text(Column::Currency, value.text().as_deref()),
            "order_id" => self.draft.event.set_text(Column::OrderId, value.id().as_deref()),
            "products" if value.is_array() => self.draft.event.set(Column::Items, value.raw()),
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Draft, Reject> {
        let Some(kind) = self.kind.filter(|kind| !kind.is_empty()) else {
            return Err(Reject::new(RejectReason::MissingField, "the event has no `event_type`"));
        };
        let event = &mut self.draft.event;
        event.set(Column::LibraryName, "jitsu");
        match kind.as_str() {
            "pageview" | "page" => event.set(Column::EventType, "page"),
            "user_identify" | "identify" => event.set(Column::EventType, "identify"),
            name => {
                event.set(Column::EventType, "track");
                event.set(Column::EventName, name);
            }
        }
        if kind == "page" || kind == "identify" {
            self.extra.text("event_type", &kind);
        }
        let [doc_host, doc_path, doc_search] = self.doc;
        if event
            .get(Column::PageUrl)
            .and(event.text(Column::PageUrl).and_then(host))
            .is_none()
        {
            event.set_text(Column::PageHost, doc_host.map(|h| h.to_ascii_lowercase()).as_deref());
            event.set_text(Column::PagePath, doc_path.as_deref());
            event.set_text(
                Column::PageQuery,
                doc_search.as_deref().map(|q| q.trim_start_matches('?')),
            );
        }
        let json = [
            (Column::Properties, self.properties.finish()),
            (Column::UserTraits, self.traits.finish()),
            (Column::Extra, self.extra.finish()),
        ];
        for (column, text) in json {
            if let Some(text) = text {
                event.set(column, text);
            }
        }
        Ok(self.draft)
    }
}

/// Names of the context, whose explicit nulls mean nothing.
fn is_context(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "event_id",
        "url",
        "referer",
        "page_title",
        "user_agent",
        "user_language",
        "doc_encoding",
        "doc_host",
        "doc_path",
        "doc_search",
        "screen_resolution",
        "vp_size",
        "local_tz_offset",
        "utc_time",
        "user",
        "ids",
        "utm",
        "click_id",
        "api_key",
        "src",
        "source_ip",
    ];
    NAMES.contains(&name)
}

/// Reads `1280x720` into two columns.
fn size(draft: &mut Draft, value: Json<'_>, width: Column, height: Column) -> bool {
    let Some((w, h)) = value.text().as_deref().and_then(super::enrich::size) else {
        return false;
    };
    draft.event.set_int(width, w);
    draft.event.set_int(height, h);
    true
}

fn reply(parts: &Parts, _outcome: &Outcome) -> Reply {
    if parts.method == Method::GET {
        return Reply::Pixel;
    }
    // The SDK deletes its cookie when told so, which `comply` leaves to the server.
    match parts.parameter("cookie_policy").as_deref() {
        Some("comply") => Reply::Json(r#"{"status":"ok","delete_cookie":true}"#.to_owned()),
        _ => Reply::Json(r#"{"status":"ok"}"#.to_owned()),
    }
}
