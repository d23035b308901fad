//! A row as an event.

use super::PROTOCOL;
use super::mapping::{Mapping, Source, Target};
use crate::ingest::enrich::{self, Draft, Enricher, Origin, RequestFacts};
use crate::ingest::json::{Json, ObjectWriter};
use crate::ingest::{Env, Parts, native};
use axum::http::{HeaderMap, Method};
use engine::ProjectId;
use engine::clock::{DAY_MICROS, Micros};
use engine::event::{Column, Event, Kind, RejectReason, Value};
use engine::maintenance::{Field, InputFormat, Row};

/// Why a row is no event.
type Refusal = (RejectReason, String);

/// Columns whose text is JSON, and the ones that must be objects.
const JSON_COLUMNS: &[Column] = &[
    Column::Properties,
    Column::UserTraits,
    Column::GroupTraits,
    Column::Contexts,
    Column::Items,
    Column::UaHints,
    Column::Extra,
];

/// Makes events of the rows of one file.
pub(super) struct Translator<'a> {
    mapping: &'a Mapping,
    project: &'a ProjectId,
    enricher: &'a Enricher,
    salt: [u8; 32],
    /// Whether texts have apostrophes in front of what a spreadsheet would run, as the export writes CSV.
    has_apostrophes: bool,
    parts: Parts,
}

/// What a row said, before it is completed.
#[derive(Default)]
struct Said {
    event: Event,
    when: Option<Micros>,
    name: Option<String>,
    properties: ObjectWriter,
    traits: ObjectWriter,
    extra: ObjectWriter,
    origin: Option<Origin>,
}

impl<'a> Translator<'a> {
    /// For the rows of a file with these columns. `salt` hides addresses of visitors without an id.
    pub(super) fn new(
        mapping: &'a Mapping,
        format: InputFormat,
        project: &'a ProjectId,
        enricher: &'a Enricher,
        salt: [u8; 32],
    ) -> Self {
        Self {
            mapping,
            project,
            enricher,
            salt,
            has_apostrophes: mapping.source == Source::Native && format == InputFormat::Csv,
            parts: Parts {
                method: Method::POST,
                path: String::new(),
                query: String::new(),
                headers: HeaderMap::new(),
                client_ip: None,
            },
        }
    }

    /// The event of a row; `now` is the time of the import.
    ///
    /// # Errors
    /// The reason why the row is none.
    pub(super) fn event(&self, row: &Row, now: Micros) -> Result<Event, Refusal> {
        let mut said = Said::default();
        for (name, field) in &row.fields {
            match field {
                Field::Text(text) if self.has_apostrophes => {
                    take(
                        &mut said,
                        name,
                        &Field::Text(without_apostrophe(text).to_owned()),
                        self.mapping,
                    )?;
                }
                _ => take(&mut said, name, field, self.mapping)?,
            }
        }
        let id = match said.event.text(Column::EventId) {
            Some(_) => None,
            None => Some(content_id(row)),
        };
        if let Some(id) = id {
            said.event.set(Column::EventId, id);
        }
        match self.mapping.source {
            Source::Native => self.native(said),
            Source::Jitsu | Source::Snowplow => self.foreign(said, now),
        }
    }

    /// Tally's own rows are complete: what they say is what they were.
    fn native(&self, said: Said) -> Result<Event, Refusal> {
        let Said { mut event, when, .. } = said;
        if let Some(when) = when {
            event.set_ts(Column::Ts, when);
        }
        let Some(ts) = event.micros(Column::Ts) else {
            return Err(missing(Column::Ts));
        };
        if event.get(Column::ReceivedAt).is_none() {
            event.set_ts(Column::ReceivedAt, ts);
        }
        if event.get(Column::Protocol).is_none() {
            event.set(Column::Protocol, PROTOCOL);
        }
        if event.get(Column::Properties).is_none()
            && let Some(properties) = said.properties.finish()
        {
            event.set(Column::Properties, properties);
        }
        if event.get(Column::EventType).is_none() && event.get(Column::EventName).is_some() {
            event.set(Column::EventType, "track");
        }
        match event.text(Column::EventType) {
            None => return Err(missing(Column::EventType)),
            Some(kind) if native::TYPES.contains(&kind) => {}
            Some(kind) => {
                let start: String = kind.chars().take(60).collect();
                return Err((
                    RejectReason::UnsupportedType,
                    format!(
                        "`event_type` is `{start}`: it must be one of {}",
                        native::TYPES.join(", ")
                    ),
                ));
            }
        }
        settle_visitor(&mut event);
        Ok(event)
    }

    /// Rows of other systems are completed as the events of their SDKs are.
    fn foreign(&self, said: Said, now: Micros) -> Result<Event, Refusal> {
        let Said {
            mut event,
            when,
            name,
            properties,
            traits,
            extra,
            origin,
        } = said;
        let received = event.remove(Column::ReceivedAt).and_then(instant_of);
        let client = event.remove(Column::ClientTs).and_then(instant_of);
        let Some(ts) = when.or(client).or(received) else {
            return Err(missing(Column::Ts));
        };
        let received = received.unwrap_or(ts).min(now.max(ts));
        for (column, members) in [
            (Column::Properties, properties),
            (Column::UserTraits, traits),
            (Column::Extra, extra),
        ] {
            if event.get(column).is_none()
                && let Some(members) = members.finish()
            {
                event.set(column, members);
            }
        }
        if event.get(Column::EventName).is_none() {
            event.set_text(Column::EventName, name.as_deref());
        }
        if event.get(Column::EventType).is_none() {
            event.set(Column::EventType, "track");
        }
        let mut draft = Draft::new(origin.unwrap_or(Origin::Browser), event.values().len());
        if let Some(Value::Text(ip)) = event.remove(Column::Ip) {
            draft.set_ip(&ip);
        }
        draft.sent_at = event.remove(Column::SentAt).and_then(instant_of);
        draft.client_ts = client;
        draft.true_ts = Some(ts);
        let hashed = event.text(Column::HashedAnonymousId).map(str::to_owned);
        let has_id = [Column::UserId, Column::AnonymousId, Column::NetworkUserId]
            .into_iter()
            .any(|column| event.get(column).is_some());
        draft.event = event;
        let env = Env {
            received_at: received,
            salt: self.salt_of(ts),
            enricher: self.enricher,
            project_of: &|_: &str| None,
            // History is what an import is for; retention takes what is too old in its turn.
            kept_from: &|_: &ProjectId| None,
        };
        let facts = RequestFacts::new(&self.parts);
        let mut event = enrich::finish(draft, self.mapping.source_protocol(), self.project, &facts, &env);
        // What the row says of the time is the truth, however old it is.
        event.set_ts(Column::Ts, ts);
        if let Some(hashed) = hashed.filter(|_| !has_id) {
            event.set(Column::VisitorId, hashed.clone());
            event.set(Column::HashedAnonymousId, hashed);
        }
        Ok(event)
    }

    /// Visitors without an id are told apart within a day and not beyond it, as for events of SDKs.
    fn salt_of(&self, ts: Micros) -> [u8; 32] {
        *blake3::keyed_hash(&self.salt, &ts.div_euclid(DAY_MICROS).to_le_bytes()).as_bytes()
    }
}

impl Mapping {
    fn source_protocol(&self) -> &'static str {
        match self.source {
            Source::Native => PROTOCOL,
            Source::Jitsu => "jitsu1",
            Source::Snowplow => "snowplow",
        }
    }
}

/// The text that the export put an apostrophe in front of.
fn without_apostrophe(text: &str) -> &str {
    let plain = text.strip_prefix('\'');
    plain
        .filter(|plain| plain.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']))
        .unwrap_or(text)
}

fn instant_of(value: Value) -> Option<Micros> {
    match value {
        Value::Timestamp(micros) => Some(micros),
        _ => None,
    }
}

fn missing(column: Column) -> Refusal {
    (
        RejectReason::MissingField,
        format!("no column of the row says `{}`", column.name()),
    )
}

/// The visitor of a row that names none, by the rule of the SDKs.
fn settle_visitor(event: &mut Event) {
    if event.get(Column::VisitorId).is_some() {
        return;
    }
    const IDS: [Column; 4] = [
        Column::UserId,
        Column::AnonymousId,
        Column::NetworkUserId,
        Column::HashedAnonymousId,
    ];
    let id = IDS.into_iter().find_map(|column| event.text(column)).map(str::to_owned);
    let id = id.unwrap_or_else(|| format!("event:{}", event.text(Column::EventId).unwrap_or_default()));
    event.set(Column::VisitorId, id);
}

fn take(said: &mut Said, name: &str, field: &Field, mapping: &Mapping) -> Result<(), Refusal> {
    let is_native = mapping.source == Source::Native;
    match mapping.target(name) {
        Target::Ignore => {}
        Target::To(column) => {
            let known = said.event.get(column).is_some();
            if let Some(value) = value(name, column, field, is_native)?
                && !known
            {
                said.event.set(column, value);
            }
        }
        Target::When => {
            let at = instant(field).ok_or_else(|| wrong(name, field, "a time"))?;
            // Snowplow's `true_tstamp` is stated by the caller.
            if said.when.is_none() || name == "true_tstamp" {
                said.when = Some(at);
            }
        }
        Target::JitsuType => {
            let (kind, custom) = match text(field).as_str() {
                "pageview" | "page" => ("page", None),
                "user_identify" | "identify" => ("identify", None),
                custom => ("track", Some(custom.to_owned())),
            };
            said.event.set(Column::EventType, kind);
            said.name = custom;
        }
        Target::SnowplowType => {
            let kind = match text(field).as_str() {
                "page_view" => "page",
                "page_ping" => "ping",
                _ => "track",
            };
            said.event.set(Column::EventType, kind);
        }
        Target::Size(width, height) => {
            if let Some((w, h)) = enrich::size(&text(field)) {
                said.event.set_int(width, w);
                said.event.set_int(height, h);
            }
        }
        Target::JsOffset => {
            if let Ok(minutes) = text(field).parse::<i64>() {
                said.event.set(Column::TzOffsetMin, Value::Int(-minutes));
            }
        }
        Target::Platform => {
            said.origin = Some(match text(field).as_str() {
                "web" => Origin::Browser,
                "mob" => Origin::Mobile,
                _ => Origin::Server,
            });
        }
        Target::ClickId(kind) => {
            if said.event.get(Column::ClickId).is_none() {
                said.event.set_text(Column::ClickIdType, Some(kind));
                said.event.set_text(Column::ClickId, Some(&text(field)));
            }
        }
        Target::Properties => merge(&mut said.properties, name, field),
        Target::Traits => merge(&mut said.traits, name, field),
        Target::Property => member(&mut said.properties, name, field),
        Target::Trait => {
            let name = name.strip_prefix("eventn_ctx_").unwrap_or(name);
            member(&mut said.traits, name.strip_prefix("user_").unwrap_or(name), field);
        }
        Target::Extra => member(&mut said.extra, name, field),
    }
    Ok(())
}

/// Adds the members of an object; what is none is one member.
fn merge(members: &mut ObjectWriter, name: &str, field: &Field) {
    let text = text(field);
    match Json::parse(&text).ok().and_then(Json::object) {
        Some(object) => object.iter().for_each(|(name, value)| members.raw(name, value.raw())),
        None => member(members, name, field),
    }
}

fn member(members: &mut ObjectWriter, name: &str, field: &Field) {
    match field {
        Field::Text(text) => members.text(name, text),
        Field::Number(json) | Field::Json(json) => members.raw(name, json),
        Field::Bool(flag) => members.raw(name, if *flag { "true" } else { "false" }),
        Field::Instant(micros) => members.text(name, &rfc3339(*micros)),
    }
}

fn rfc3339(micros: Micros) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

fn text(field: &Field) -> String {
    match field {
        Field::Text(text) | Field::Number(text) | Field::Json(text) => text.clone(),
        Field::Bool(flag) => flag.to_string(),
        Field::Instant(micros) => rfc3339(*micros),
    }
}

fn instant(field: &Field) -> Option<Micros> {
    match field {
        Field::Instant(micros) => Some(*micros),
        Field::Text(text) | Field::Number(text) => enrich::parse_time(text),
        Field::Bool(_) | Field::Json(_) => None,
    }
}

fn wrong(name: &str, field: &Field, allowed: &str) -> Refusal {
    let start: String = text(field).chars().take(60).collect();
    (
        RejectReason::InvalidField,
        format!("`{name}` is `{start}`: it must be {allowed}"),
    )
}

/// A field as a value of its column; nothing for an empty text.
fn value(name: &str, column: Column, field: &Field, is_native: bool) -> Result<Option<Value>, Refusal> {
    let content = text(field);
    if content.is_empty() && !(is_native && column.kind() == Kind::Text) {
        return Ok(None);
    }
    let wrong = |allowed: &str| wrong(name, field, allowed);
    let value = match column.kind() {
        Kind::Text if JSON_COLUMNS.contains(&column) && !is_native => {
            if !Json::parse(&content).is_ok_and(|json| json.is_object() || json.is_array()) {
                return Err(wrong("JSON"));
            }
            Value::Text(content)
        }
        Kind::Text => Value::Text(content),
        Kind::Int32 | Kind::Int64 => {
            let whole = content.parse::<i64>().ok().map(Value::Int);
            whole
                .filter(|n| n.fits(column.kind()))
                .ok_or_else(|| wrong("a whole number"))?
        }
        Kind::Float64 => {
            let number = content.parse::<f64>().ok().filter(|n| n.is_finite());
            Value::Float(number.ok_or_else(|| wrong("a number"))?)
        }
        Kind::Bool => match content.as_str() {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return Err(wrong("true or false")),
        },
        Kind::Timestamp => Value::Timestamp(instant(field).ok_or_else(|| wrong("a time"))?),
        Kind::Decimal => Value::Decimal(enrich::amount(&content).ok_or_else(|| wrong("an amount"))?),
    };
    Ok(Some(value))
}

/// An id for a row that has none: a hash of what it says, so that the same row has the same id.
fn content_id(row: &Row) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, field) in &row.fields {
        for part in [name.as_bytes(), text(field).as_bytes()] {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part);
        }
    }
    let mut short = [0u8; 16];
    hasher.finalize_xof().fill(&mut short);
    crate::auth::secrets::hex(&short)
}

/// A row as JSON, for what is kept of a rejected one.
pub fn raw(row: &Row) -> String {
    let mut members = ObjectWriter::default();
    row.fields
        .iter()
        .for_each(|(name, field)| member(&mut members, name, field));
    members.finish().unwrap_or_else(|| "{}".to_owned())
}
