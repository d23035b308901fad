//! Who did it.
//!
//! `visitor_id` is the user id, else the anonymous id, else the network id, else a hash of project, address, user agent
//! and host under a salt that is thrown away every UTC day. The hash lets sessions and funnels work for visitors who gave
//! no consent to an id, and nobody can turn it back or follow it into the next day.
//!
//! **Events from a backend** that name no user are visitors of their own, one per event: the address of the request is
//! the customer's server, and hashing it would make all of its users one visitor. Where such an event states the user's
//! address, that is hashed as a browser's would be.

use crate::auth::secrets::hex;
use engine::ProjectId;
use engine::event::{Column, Event};
use std::net::IpAddr;

/// What an event without an id is told apart by.
pub(super) struct Source<'a> {
    pub(super) project: &'a ProjectId,
    /// The visitor's whole address; hashed, never stored.
    pub(super) ip: Option<IpAddr>,
    /// Host of the page that sent the request, where the event names none.
    pub(super) host: Option<&'a str>,
    /// Random for the UTC day; see [`crate::auth::Secrets::daily_salt`].
    pub(super) salt: &'a [u8; 32],
}

/// Sets the visitor, and the hash where it is the visitor.
pub(super) fn enrich(event: &mut Event, source: &Source<'_>) {
    const IDS: [Column; 3] = [Column::UserId, Column::AnonymousId, Column::NetworkUserId];
    if let Some(id) = IDS.into_iter().find_map(|column| event.text(column)) {
        let id = id.to_owned();
        event.set(Column::VisitorId, id);
        return;
    }
    match source.ip {
        Some(ip) => {
            let hash = daily_hash(event, source, ip);
            event.set(Column::HashedAnonymousId, hash.clone());
            event.set(Column::VisitorId, hash);
        }
        None => {
            let event_id = event.text(Column::EventId).unwrap_or_default();
            let once = format!("event:{event_id}");
            event.set(Column::VisitorId, once);
        }
    }
}

fn daily_hash(event: &Event, source: &Source<'_>, ip: IpAddr) -> String {
    let mut hasher = blake3::Hasher::new_keyed(source.salt);
    let mut part = |bytes: &[u8]| {
        hasher.update(&bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    part(source.project.as_str().as_bytes());
    match ip {
        IpAddr::V4(v4) => part(&v4.octets()),
        IpAddr::V6(v6) => part(&v6.octets()),
    }
    part(event.text(Column::UserAgent).unwrap_or_default().as_bytes());
    let host = event.text(Column::PageHost).or(source.host).unwrap_or_default();
    part(host.to_ascii_lowercase().as_bytes());
    let mut short = [0u8; 16];
    hasher.finalize_xof().fill(&mut short);
    hex(&short)
}
