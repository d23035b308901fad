//! Where a protocol puts its events: bounds, projects, enrichment and rejection in one place for all dialects.

use super::enrich::{Draft, Enricher, RequestFacts, finish};
use super::json::{self, Json, Object};
use super::{EVENT_BYTES_MAX, EVENT_DEPTH_MAX, EVENT_PROPERTIES_MAX, Failure, Parts, Protocol, REQUEST_EVENTS_MAX};
use bytes::Bytes;
use engine::ProjectId;
use engine::clock::Micros;
use engine::event::{Column, Event, RejectReason, Rejected};
use engine::limits::REJECTED_RAW_BYTES_MAX;
use std::borrow::Cow;
use std::collections::HashMap;

/// What translation needs from the server around it.
pub struct Env<'a> {
    /// When the request arrived.
    pub received_at: Micros,
    /// The salt of anonymous visitors' ids on the day of `received_at`.
    pub salt: [u8; 32],
    /// Caches and ids.
    pub enricher: &'a Enricher,
    /// The first instant that a project's events are kept from, when they are not kept for ever.
    pub kept_from: &'a dyn Fn(&ProjectId) -> Option<Micros>,
    /// The project that takes events with a write key.
    pub project_of: &'a dyn Fn(&str) -> Option<ProjectId>,
}

impl std::fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env")
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

/// Events of one request for one project.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectBatch {
    /// The project.
    pub project: ProjectId,
    /// Events to store.
    pub events: Vec<Event>,
    /// Events that could not be accepted.
    pub rejected: Vec<Rejected>,
}

/// A rejected event as the reply names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Place in the request, from 0.
    pub index: usize,
    /// Why.
    pub reason: RejectReason,
    /// What exactly.
    pub detail: String,
}

/// A translated request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Translated {
    /// Events by project; almost always one batch.
    pub batches: Vec<ProjectBatch>,
    /// All rejections in the order of the request.
    pub rejected: Vec<Rejection>,
}

/// Why a protocol cannot accept one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) reason: RejectReason,
    pub(crate) detail: String,
}

impl Reject {
    pub(crate) fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// A field whose value cannot be used; says what was there and what is allowed.
    pub(crate) fn field(name: &str, value: &str, allowed: &str) -> Self {
        let start = super::failure::beginning(value, 60);
        Self::new(
            RejectReason::InvalidField,
            format!("`{name}` is `{start}`: it must be {allowed}"),
        )
    }
}

/// Collects the events of one request.
pub struct Sink<'a> {
    protocol: &'static Protocol,
    parts: &'a Parts,
    env: &'a Env<'a>,
    facts: RequestFacts<'a>,
    default: Option<ProjectId>,
    keys: HashMap<String, Option<ProjectId>>,
    contents: HashMap<[u8; 16], u32>,
    out: Translated,
    index: usize,
}

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("protocol", &self.protocol.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Sink<'a> {
    pub(crate) fn new(protocol: &'static Protocol, parts: &'a Parts, env: &'a Env<'a>, key: Option<&str>) -> Self {
        Self {
            protocol,
            parts,
            env,
            facts: RequestFacts::new(parts),
            default: key.and_then(|key| (env.project_of)(key)),
            keys: HashMap::new(),
            contents: HashMap::new(),
            out: Translated::default(),
            index: 0,
        }
    }

    /// The request without its body.
    pub(crate) fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// The project of the request's own write key, if it had one.
    pub(crate) fn default_project(&self) -> Option<&ProjectId> {
        self.default.as_ref()
    }

    /// Makes the project of `key` the one for events that name none.
    ///
    /// # Errors
    /// 401 when no project has the key.
    pub(crate) fn set_default_key(&mut self, key: Option<&str>) -> Result<(), Failure> {
        let project = key.and_then(|key| self.project(key));
        if project.is_none() {
            return Err(Failure::unknown_key(key, self.protocol.key_hint));
        }
        self.default = project;
        Ok(())
    }

    /// The project that takes events with `key`, asked once per request.
    pub(crate) fn project(&mut self, key: &str) -> Option<ProjectId> {
        if let Some(known) = self.keys.get(key) {
            return known.clone();
        }
        let project = (self.env.project_of)(key);
        self.keys.insert(key.to_owned(), project.clone());
        project
    }

    /// Checks the bounds of one element of a batch and reads its members.
    pub(crate) fn open<'t>(&self, element: Json<'t>) -> Result<Object<'t>, Reject> {
        let raw = element.raw();
        if raw.len() > EVENT_BYTES_MAX {
            let detail = format!("the event has {} bytes: {EVENT_BYTES_MAX} at most", raw.len());
            return Err(Reject::new(RejectReason::TooLarge, detail));
        }
        if let Some(depth) = json::deeper_than(raw, EVENT_DEPTH_MAX) {
            let detail = format!("the event is nested {depth} deep: {EVENT_DEPTH_MAX} at most");
            return Err(Reject::new(RejectReason::TooDeep, detail));
        }
        let Some(object) = element.object() else {
            let start = super::failure::beginning(raw, 40);
            return Err(Reject::new(
                RejectReason::NotAnObject,
                format!("`{start}` is no JSON object"),
            ));
        };
        if object.len() > EVENT_PROPERTIES_MAX {
            let detail = format!("the event has {} members: {EVENT_PROPERTIES_MAX} at most", object.len());
            return Err(Reject::new(RejectReason::TooManyProperties, detail));
        }
        Ok(object)
    }

    /// An id for an event that has none but a client time: the hash of its members without those in `unstable`, so that
    /// a resent event gets the same one. Equal events inside one request are told apart by their order.
    pub(crate) fn content_id(&mut self, object: &Object<'_>, unstable: &[&str]) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, value) in object.iter().filter(|(name, _)| !unstable.contains(name)) {
            // Lengths keep `{"a":12}` and `{"a1":2}` apart.
            hasher.update(&name.len().to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&value.raw().len().to_le_bytes());
            hasher.update(value.raw().as_bytes());
        }
        let mut short = [0u8; 16];
        hasher.finalize_xof().fill(&mut short);
        let nth = self.contents.entry(short).or_insert(0);
        *nth += 1;
        if *nth > 1 {
            hasher.update(&nth.to_le_bytes());
            hasher.finalize_xof().fill(&mut short);
        }
        crate::auth::secrets::hex(&short)
    }

    /// Takes one element's result: an accepted event for `project` (else the default one), or a rejection.
    ///
    /// # Errors
    /// 401 when the event has no project.
    pub(crate) fn put(
        &mut self,
        project: Option<&ProjectId>,
        raw: &str,
        draft: Result<Draft, Reject>,
    ) -> Result<(), Failure> {
        let Some(project) = project.or(self.default.as_ref()).cloned() else {
            return Err(Failure::unknown_key(None, self.protocol.key_hint));
        };
        let accepted = draft.and_then(|draft| {
            let event = finish(draft, self.protocol.name, &project, &self.facts, self.env);
            match event.defect() {
                None => self.not_too_old(&project, event),
                Some(column) => Err(Reject::new(
                    RejectReason::InvalidField,
                    format!("`{}` is missing or has a value of the wrong type", column.name()),
                )),
            }
        });
        let index = self.index;
        self.index += 1;
        let batch = self.batch(&project);
        match accepted {
            Ok(event) => batch.events.push(event),
            Err(reject) => {
                // What is too old to be kept is not kept as a rejected event either.
                let raw = if reject.reason == RejectReason::TooOld { "" } else { raw };
                let rejected = rejected(self.env.received_at, self.protocol.name, &reject, raw);
                self.batch(&project).rejected.push(rejected);
                self.out.rejected.push(Rejection {
                    index,
                    reason: reject.reason,
                    detail: reject.detail,
                });
            }
        }
        Ok(())
    }

    /// The event, unless its day lies further back than events of its project are kept.
    fn not_too_old(&self, project: &ProjectId, event: Event) -> Result<Event, Reject> {
        let kept_from = (self.env.kept_from)(project);
        match event.micros(Column::Ts).zip(kept_from) {
            Some((ts, kept_from)) if ts < kept_from => {
                let first = chrono::DateTime::from_timestamp_micros(kept_from).unwrap_or_default();
                let detail = format!(
                    "`ts` lies before {}, from which events of this project are kept",
                    first.date_naive()
                );
                Err(Reject::new(RejectReason::TooOld, detail))
            }
            _ => Ok(event),
        }
    }

    fn batch(&mut self, project: &ProjectId) -> &mut ProjectBatch {
        let batches = &mut self.out.batches;
        let at = batches
            .iter()
            .position(|b| b.project == *project)
            .unwrap_or(batches.len());
        if at == batches.len() {
            batches.push(ProjectBatch {
                project: project.clone(),
                events: Vec::new(),
                rejected: Vec::new(),
            });
        }
        &mut batches[at]
    }

    pub(crate) fn finish(self) -> Translated {
        self.out
    }
}

fn rejected(received_at: Micros, protocol: &str, reject: &Reject, raw: &str) -> Rejected {
    let mut end = raw.len().min(REJECTED_RAW_BYTES_MAX);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    Rejected {
        received_at,
        protocol: protocol.to_owned(),
        reason: reject.reason,
        detail: reject.detail.clone(),
        raw: Bytes::copy_from_slice(&raw.as_bytes()[..end]),
    }
}

/// The elements of a body that is one JSON object, an array, or objects on lines of their own.
///
/// # Errors
/// 400 when it is none of these, 413 when there are more events than allowed.
pub(crate) fn elements(text: &str) -> Result<Vec<Json<'_>>, Failure> {
    let mut elements = Vec::new();
    if text.starts_with('[') {
        elements = Json::parse_array(text).map_err(|e| not_json(&e))?;
    } else {
        for raw in serde_json::Deserializer::from_str(text).into_iter::<&serde_json::value::RawValue>() {
            elements.push(Json::from(raw.map_err(|e| not_json(&e))?));
            if elements.len() > REQUEST_EVENTS_MAX {
                break;
            }
        }
    }
    check_count(&elements)?;
    Ok(elements)
}

/// Refuses a request with more events than allowed, before any of them is read.
///
/// # Errors
/// 413.
pub(crate) fn check_count(elements: &[Json<'_>]) -> Result<(), Failure> {
    if elements.len() > REQUEST_EVENTS_MAX {
        return Err(Failure::too_large(format!(
            "the request has more than {REQUEST_EVENTS_MAX} events; send smaller batches"
        )));
    }
    Ok(())
}

pub(crate) fn not_json(error: &serde_json::Error) -> Failure {
    Failure::undecodable(format!("the body is not JSON: {error}"))
}

/// A value as text for a typed column, when it is text or a number.
pub(crate) fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
    text.filter(|t| !t.is_empty()).map(Cow::into_owned)
}
