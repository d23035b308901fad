//! One Snowplow event: short names to columns.

use super::contexts;
use super::embedded;
use crate::ingest::enrich::{Draft, Origin, amount, parse_time, size, time_from_number};
use crate::ingest::json::{Json, Object, ObjectWriter, depth};
use crate::ingest::sink::{Reject, Sink};
use crate::ingest::{EVENT_DEPTH_MAX, failure};
use engine::clock::Micros;
use engine::event::{Column, RejectReason, Value};
use std::borrow::Cow;

/// What is the same for all events of a request.
pub(super) struct Call<'a> {
    /// The visitor asked for no network data.
    pub(super) anonymous: bool,
    /// The collector's cookie, where the browser sent one.
    pub(super) network_user_id: Option<&'a str>,
}

/// Members that are plain texts of one column.
const TEXTS: &[(&str, Column)] = &[
    ("eid", Column::EventId),
    ("aid", Column::AppId),
    ("url", Column::PageUrl),
    ("page", Column::PageTitle),
    ("refr", Column::Referrer),
    ("duid", Column::AnonymousId),
    ("uid", Column::UserId),
    ("sid", Column::ClientSessionId),
    ("nuid", Column::NetworkUserId),
    ("tnuid", Column::NetworkUserId),
    ("ua", Column::UserAgent),
    ("lang", Column::Language),
    ("cs", Column::Charset),
    ("tz", Column::TzName),
    ("se_ca", Column::Category),
    ("se_ac", Column::Action),
    ("se_la", Column::Label),
    ("se_pr", Column::Property),
    ("tr_id", Column::OrderId),
    ("ti_id", Column::OrderId),
    ("tr_cu", Column::Currency),
    ("ti_cu", Column::Currency),
];

/// Members that are whole numbers of 32 bits.
const NUMBERS: &[(&str, Column)] = &[
    ("vid", Column::SessionIndex),
    ("cd", Column::ColorDepth),
    ("pp_mix", Column::ScrollXMin),
    ("pp_max", Column::ScrollXMax),
    ("pp_miy", Column::ScrollYMin),
    ("pp_may", Column::ScrollYMax),
];

/// Members that are sizes such as `1280x720`.
const SIZES: &[(&str, Column, Column)] = &[
    ("res", Column::ScreenW, Column::ScreenH),
    ("vp", Column::ViewportW, Column::ViewportH),
    ("ds", Column::DocW, Column::DocH),
];

/// Members whose amount fills the revenue column; the member itself is kept as a property.
const AMOUNTS: &[&str] = &["tr_tt", "ti_pr"];

struct Reading<'a> {
    draft: Draft,
    kind: Option<Cow<'a, str>>,
    self_describing: Option<Cow<'a, str>>,
    contexts: Option<Cow<'a, str>>,
    properties: ObjectWriter,
    extra: ObjectWriter,
}

impl Call<'_> {
    /// Reads one event.
    pub(super) fn event(&self, sink: &mut Sink<'_>, object: &Object<'_>) -> Result<Draft, Reject> {
        let mut reading = Reading {
            draft: Draft::new(Origin::Server, object.len()),
            kind: None,
            self_describing: None,
            contexts: None,
            properties: ObjectWriter::default(),
            extra: ObjectWriter::default(),
        };
        reading.draft.anonymous = self.anonymous;
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            reading.member(name, value)?;
        }
        let id = self.network_user_id;
        if reading.draft.event.get(Column::NetworkUserId).is_none() {
            reading.draft.event.set_text(Column::NetworkUserId, id);
        }
        let mut draft = reading.finish()?;
        if draft.event.get(Column::EventId).is_none() && draft.client_ts.or(draft.true_ts).is_some() {
            draft.event.set(Column::EventId, sink.content_id(object, &["stm"]));
        }
        Ok(draft)
    }
}

impl<'a> Reading<'a> {
    fn member(&mut self, name: &str, value: Json<'a>) -> Result<(), Reject> {
        if self.plain(name, value) {
            return Ok(());
        }
        match name {
            "e" => self.kind = value.text(),
            "ue_pr" => self.self_describing = Some(embedded(name, value, false)?),
            "ue_px" => self.self_describing = Some(embedded(name, value, true)?),
            "co" => self.contexts = Some(embedded(name, value, false)?),
            "cx" => self.contexts = Some(embedded(name, value, true)?),
            "p" => match value.text().as_deref() {
                Some("web") => self.draft.origin = Origin::Browser,
                Some("mob") => self.draft.origin = Origin::Mobile,
                _ => self.extra.raw(name, value.raw()),
            },
            "ip" => match value.text() {
                Some(ip) => self.draft.set_ip(&ip),
                None => self.extra.raw(name, value.raw()),
            },
            "tv" => match value.text() {
                Some(tracker) => self.library(&tracker),
                None => self.extra.raw(name, value.raw()),
            },
            _ if name.starts_with("tr_") || name.starts_with("ti_") => {
                if AMOUNTS.contains(&name)
                    && let Some(revenue) = value.id().and_then(|text| amount(&text))
                {
                    self.draft.event.set(Column::Revenue, Value::Decimal(revenue));
                }
                self.properties.raw(name, value.raw());
            }
            _ => self.extra.raw(name, value.raw()),
        }
        Ok(())
    }

    /// Takes a member that is one typed value; `false` when it is none or does not convert.
    fn plain(&mut self, name: &str, value: Json<'_>) -> bool {
        let event = &mut self.draft.event;
        if let Some((_, column)) = TEXTS.iter().find(|(n, _)| *n == name) {
            let Some(text) = value.id() else { return false };
            event.set_text(*column, Some(&text));
            return true;
        }
        if let Some((_, column)) = NUMBERS.iter().find(|(n, _)| *n == name) {
            let number = value.i64().filter(|n| i32::try_from(*n).is_ok());
            number.inspect(|n| event.set_int(*column, *n));
            return number.is_some();
        }
        if let Some((_, width, height)) = SIZES.iter().find(|(n, ..)| *n == name) {
            let read = value.text().as_deref().and_then(size);
            if let Some((w, h)) = read {
                event.set_int(*width, w);
                event.set_int(*height, h);
            }
            return read.is_some();
        }
        let slot = match name {
            "dtm" => &mut self.draft.client_ts,
            "stm" => &mut self.draft.sent_at,
            "ttm" => &mut self.draft.true_ts,
            "se_va" => {
                let number = value.f64();
                number.inspect(|n| event.set(Column::NumericValue, *n));
                return number.is_some();
            }
            _ => return false,
        };
        *slot = milliseconds(value);
        slot.is_some()
    }

    /// `js-4.10.1`: the tracker and its version.
    fn library(&mut self, tracker: &str) {
        let (name, version) = match tracker.split_once('-') {
            Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => (name, Some(version)),
            _ => (tracker, None),
        };
        self.draft
            .event
            .set_text(Column::LibraryName, Some(&format!("snowplow-{name}")));
        self.draft.event.set_text(Column::LibraryVersion, version);
    }

    fn finish(mut self) -> Result<Draft, Reject> {
        if let Some(all) = self.contexts.take() {
            self.checked_depth("contexts", &all)?;
            contexts::read(&mut self.draft, &all)?;
        }
        let Some(kind) = self.kind.take() else {
            return Err(Reject::new(
                RejectReason::MissingField,
                "the event has no `e`, the kind of event",
            ));
        };
        let event = &mut self.draft.event;
        match kind.as_ref() {
            "pv" => event.set(Column::EventType, "page"),
            "pp" => event.set(Column::EventType, "ping"),
            "se" => {
                event.set(Column::EventType, "track");
                let action = event.text(Column::Action).map(str::to_owned);
                event.set_text(Column::EventName, action.as_deref());
                event.set(Column::EventSchema, "iglu:com.google.analytics/event/jsonschema/1-0-0");
            }
            "tr" | "ti" => {
                let name = if kind == "tr" {
                    "transaction"
                } else {
                    "transaction_item"
                };
                event.set(Column::EventType, "track");
                event.set(Column::EventName, name);
            }
            "ue" => {
                let Some(text) = self.self_describing.take() else {
                    return Err(Reject::new(
                        RejectReason::MissingField,
                        "the event has neither `ue_pr` nor `ue_px`",
                    ));
                };
                self.checked_depth("the self-describing event", &text)?;
                self.self_describing(&text)?;
            }
            other => {
                let start = failure::beginning(other, 20);
                let detail = format!("`e` is `{start}`: it must be pv, pp, se, ue, tr or ti");
                return Err(Reject::new(RejectReason::UnsupportedType, detail));
            }
        }
        let event = &mut self.draft.event;
        for (column, text) in [
            (Column::Properties, self.properties.finish()),
            (Column::Extra, self.extra.finish()),
        ] {
            if let Some(text) = text {
                event.set(column, text);
            }
        }
        Ok(self.draft)
    }

    fn checked_depth(&self, what: &str, json: &str) -> Result<(), Reject> {
        let depth = depth(json);
        if depth <= EVENT_DEPTH_MAX {
            return Ok(());
        }
        let detail = format!("{what} is nested {depth} deep: {EVENT_DEPTH_MAX} at most");
        Err(Reject::new(RejectReason::TooDeep, detail))
    }

    /// `{"schema": "iglu:…/unstruct_event/…", "data": {"schema": "iglu:vendor/name/format/version", "data": {…}}}`.
    fn self_describing(&mut self, text: &str) -> Result<(), Reject> {
        let outer = Json::parse(text).ok().and_then(Json::object);
        let inner = outer.and_then(|outer| outer.get("data")?.object());
        let parts = inner
            .as_ref()
            .and_then(|inner| Some((inner.get("schema")?.text()?, inner.get("data")?)));
        let Some((schema, data)) = parts else {
            let detail = "the self-describing event has no `data.schema` and `data.data`";
            return Err(Reject::new(RejectReason::InvalidField, detail));
        };
        let event = &mut self.draft.event;
        event.set_text(Column::EventSchema, Some(&schema));
        let (vendor, name) = contexts::vendor_and_name(&schema);
        let members = data.object().unwrap_or_default();
        match (vendor, name) {
            ("com.gitlab", "custom_event") => {
                event.set(Column::EventType, "track");
                event.set_text(Column::EventName, members.get("name").and_then(Json::text).as_deref());
                self.keep(&members, &["name"], &["props"]);
            }
            ("com.snowplowanalytics.snowplow", "link_click") => {
                event.set(Column::EventType, "click");
                event.set(Column::EventName, name);
                let taken = take(
                    event,
                    &members,
                    &[("targetUrl", Column::TargetUrl), ("elementId", Column::ElementId)],
                );
                self.keep(&members, &taken, &[]);
            }
            ("com.snowplowanalytics.snowplow", "application_error") => {
                event.set(Column::EventType, "error");
                event.set(Column::EventName, name);
                let columns = [
                    ("exceptionName", Column::ErrorType),
                    ("message", Column::ErrorMessage),
                    ("stackTrace", Column::ErrorStack),
                ];
                let taken = take(event, &members, &columns);
                self.keep(&members, &taken, &[]);
            }
            (_, "screen_view") => {
                event.set(Column::EventType, "screen");
                event.set_text(Column::EventName, members.get("name").and_then(Json::text).as_deref());
                self.keep(&members, &["name"], &[]);
            }
            _ => {
                event.set(Column::EventType, "track");
                event.set_text(Column::EventName, Some(name));
                match members.len() {
                    0 if !data.is_empty() => self.properties.raw("data", data.raw()),
                    _ => self.keep(&members, &[], &[]),
                }
            }
        }
        Ok(())
    }

    /// Keeps the members as properties, without those in `taken`. An object under a name in `opened` is replaced by its
    /// members.
    fn keep(&mut self, members: &Object<'_>, taken: &[&str], opened: &[&str]) {
        for (name, value) in members.iter().filter(|(name, _)| !taken.contains(name)) {
            match value.object() {
                Some(inner) if opened.contains(&name) => {
                    inner
                        .iter()
                        .for_each(|(name, value)| self.properties.raw(name, value.raw()));
                }
                _ => self.properties.raw(name, value.raw()),
            }
        }
    }
}

/// Moves text members into columns and gives the names of those that moved.
fn take<'n>(event: &mut engine::event::Event, members: &Object<'_>, columns: &[(&'n str, Column)]) -> Vec<&'n str> {
    let mut taken = Vec::new();
    for (name, column) in columns {
        if let Some(text) = members.get(name).and_then(Json::text) {
            event.set_text(*column, Some(&text));
            taken.push(*name);
        }
    }
    taken
}

fn milliseconds(value: Json<'_>) -> Option<Micros> {
    match value.text() {
        Some(text) => parse_time(&text),
        None => value.f64().and_then(time_from_number),
    }
}
