//! From what an SDK said to the canonical event: time, address, page, device and visitor.

mod amount;
mod identity;
mod ip;
mod time;
mod url;
mod user_agent;

pub(crate) use amount::amount;
pub(crate) use time::number as time_from_number;
pub(crate) use time::parse as parse_time;
pub(crate) use url::{UTM, host};

use super::{Env, Parts};
use crate::auth::secrets::{fill_random, hex};
use engine::ProjectId;
use engine::clock::Micros;
use engine::event::{Column, Event};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use user_agent::UserAgents;

/// What enrichment keeps between requests: the cache of user agents and a source of ids.
#[derive(Debug)]
pub struct Enricher {
    user_agents: Arc<UserAgents>,
    id_seed: [u8; 32],
    id_count: AtomicU64,
}

impl Enricher {
    /// An enricher with an empty cache.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> std::io::Result<Self> {
        let mut id_seed = [0; 32];
        fill_random(&mut id_seed)?;
        Ok(Self {
            user_agents: Arc::default(),
            id_seed,
            id_count: AtomicU64::new(0),
        })
    }

    /// The same with ids that are made of `id_seed` and always the same.
    pub fn with_ids_of(&self, id_seed: [u8; 32]) -> Self {
        Self {
            user_agents: Arc::clone(&self.user_agents),
            id_seed,
            id_count: AtomicU64::new(0),
        }
    }

    /// A new id that no other event has.
    pub fn new_id(&self) -> String {
        let count = self.id_count.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::keyed_hash(&self.id_seed, &count.to_le_bytes());
        hex(&hash.as_bytes()[..16])
    }
}

/// Where an event was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A page in a browser: headers and address of the request are the visitor's.
    Browser,
    /// A backend: headers and address of the request are the customer's server, never the visitor's.
    Server,
    /// An app: address and headers are the visitor's.
    Mobile,
}

impl Origin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Origin::Browser => "browser",
            Origin::Server => "server",
            Origin::Mobile => "mobile",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Origin::Browser, Origin::Server, Origin::Mobile]
            .into_iter()
            .find(|o| o.name() == name)
    }
}

/// An event on its way: the columns its protocol filled, and what enrichment still has to resolve.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) event: Event,
    pub(crate) origin: Origin,
    /// The client's clock at the event.
    pub(crate) client_ts: Option<Micros>,
    /// The client's clock at sending.
    pub(crate) sent_at: Option<Micros>,
    /// The caller's own statement of when it happened; wins over clocks.
    pub(crate) true_ts: Option<Micros>,
    /// The visitor's address where the event itself states it.
    pub(crate) ip: Option<IpAddr>,
    /// The visitor asked for no network data: no address and no network id is stored.
    pub(crate) anonymous: bool,
}

impl Draft {
    /// A draft of an event that is sent with so many members.
    pub(crate) fn new(origin: Origin, members: usize) -> Self {
        // Enrichment adds some twenty columns; room that is never used would be held until the next flush.
        Self {
            event: Event::with_capacity(members.min(40) + 20),
            origin,
            client_ts: None,
            sent_at: None,
            true_ts: None,
            ip: None,
            anonymous: false,
        }
    }

    /// Takes an address the event states; text that is none is ignored.
    pub(crate) fn set_ip(&mut self, text: &str) {
        self.ip = ip::parse(text);
    }
}

/// What is the same for all events of one request.
#[derive(Debug)]
pub(crate) struct RequestFacts<'a> {
    client_ip: Option<IpAddr>,
    user_agent: Option<&'a str>,
    language: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> RequestFacts<'a> {
    pub(crate) fn new(parts: &'a Parts) -> Self {
        let language = parts
            .header("accept-language")
            .and_then(|l| l.split([',', ';']).next())
            .map(str::trim);
        Self {
            client_ip: parts.client_ip,
            user_agent: parts.header("user-agent"),
            language: language.filter(|l| !l.is_empty() && *l != "*" && l.len() <= 35),
            host: parts
                .header("origin")
                .or_else(|| parts.header("referer"))
                .and_then(url::host_of),
        }
    }
}

/// Completes a draft: every column that follows from others or from the request.
pub(crate) fn finish(
    draft: Draft,
    protocol: &str,
    project: &ProjectId,
    facts: &RequestFacts<'_>,
    env: &Env<'_>,
) -> Event {
    let Draft {
        mut event,
        origin,
        client_ts,
        sent_at,
        true_ts,
        ip: stated_ip,
        anonymous,
    } = draft;
    event.set(Column::Protocol, protocol);
    event.set(Column::Origin, origin.name());
    event.set_ts(Column::ReceivedAt, env.received_at);
    let times = time::Times {
        client: client_ts,
        sent: sent_at,
        stated: true_ts,
        received: env.received_at,
    };
    times.write(&mut event);
    url::enrich(&mut event);

    let own_request = origin != Origin::Server;
    if own_request {
        for (column, value) in [
            (Column::UserAgent, facts.user_agent),
            (Column::Language, facts.language),
        ] {
            if event.get(column).is_none() {
                event.set_text(column, value);
            }
        }
    }
    env.enricher.user_agents.enrich(&mut event, own_request);

    let ip = stated_ip.or(facts.client_ip.filter(|_| own_request));
    if anonymous {
        event.remove(Column::NetworkUserId);
    } else if let Some(ip) = ip {
        event.set(Column::Ip, ip::truncated(ip));
    }
    if event.get(Column::EventId).is_none() {
        event.set(Column::EventId, env.enricher.new_id());
    }
    let source = identity::Source {
        project,
        ip,
        host: facts.host,
        salt: &env.salt,
    };
    identity::enrich(&mut event, &source);
    event
}

/// Reads `1280x720`. Sizes beyond 31 bits and below zero are nobody's.
pub(crate) fn size(text: &str) -> Option<(i64, i64)> {
    let (width, height) = text.trim().split_once(['x', 'X'])?;
    let side = |text: &str| text.trim().parse::<i32>().ok().filter(|n| *n >= 0).map(i64::from);
    Some((side(width)?, side(height)?))
}

#[cfg(test)]
mod tests;
