//! Addresses of pages: host, path, query, fragment, campaign and click ids; the host of the referrer.
//!
//! Addresses are split, not validated: a page's address is kept even when a strict parser would refuse it.

use crate::ingest::decode::percent;
use engine::event::{Column, Event};
use std::borrow::Cow;

/// Campaign parameters as they stand in an address (after `utm_`), and their columns.
pub(crate) const UTM: &[(&str, Column)] = &[
    ("source", Column::UtmSource),
    ("medium", Column::UtmMedium),
    ("campaign", Column::UtmCampaign),
    ("term", Column::UtmTerm),
    ("content", Column::UtmContent),
    ("id", Column::UtmId),
];

/// Click ids of advertising networks. Where an address has several, the first of this list is kept.
const CLICK_IDS: &[&str] = &[
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "fbclid",
    "msclkid",
    "ttclid",
    "twclid",
    "li_fat_id",
    "yclid",
    "rdt_cid",
    "sccid",
    "epik",
];

/// An address in parts. All borrowed, nothing decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) host: Option<&'a str>,
    pub(crate) path: Option<&'a str>,
    pub(crate) query: Option<&'a str>,
    pub(crate) fragment: Option<&'a str>,
}

/// Splits an absolute address, one without scheme (`//host/path`) or one without host (`/path`).
pub(crate) fn split(address: &str) -> Address<'_> {
    let address = address.trim();
    let (rest, fragment) = cut(address, b'#');
    let (rest, query) = cut(rest, b'?');
    let scheme =
        |s: &str| !s.is_empty() && s.len() <= 32 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    // No scheme has a colon, so that only the first can end one.
    let authority = match cut(rest, b':') {
        (before, Some(after)) if after.starts_with("//") && scheme(before) => Some(&after[2..]),
        _ => rest.strip_prefix("//"),
    };
    let (host, path) = match authority {
        Some(authority) => {
            let at = memchr::memchr(b'/', authority.as_bytes()).unwrap_or(authority.len());
            let (host, path) = authority.split_at(at);
            (Some(bare_host(host)), if path.is_empty() { "/" } else { path })
        }
        None if rest.starts_with('/') => (None, rest),
        None => {
            return Address {
                query,
                fragment,
                ..Address::default()
            };
        }
    };
    Address {
        host: host.filter(|h| !h.is_empty()),
        path: Some(path),
        query,
        fragment,
    }
}

/// What stands before the first `at`, an ASCII character, and what after it. With `str::split_once` the splitting of an
/// address took twice the instructions, and every event has two.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr::memchr(at, text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The host without user, password and port.
fn bare_host(authority: &str) -> &str {
    let host = memchr::memrchr(b'@', authority.as_bytes()).map_or(authority, |at| &authority[at + 1..]);
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    cut(host, b':').0
}

/// The host of an address.
pub(crate) fn host_of(address: &str) -> Option<&str> {
    split(address).host
}

/// The host of an address in lower case.
pub(crate) fn host(address: &str) -> Option<String> {
    host_of(address).map(str::to_ascii_lowercase)
}

/// Fills the page, campaign, click id and referrer columns that are still empty.
pub(super) fn enrich(event: &mut Event) {
    if let Some(page) = event.text(Column::PageUrl).map(str::to_owned) {
        let address = split(&page);
        let host = address.host.map(str::to_ascii_lowercase);
        let parts = [
            (Column::PageHost, host.as_deref()),
            (Column::PagePath, address.path),
            (Column::PageQuery, address.query),
            (Column::PageFragment, address.fragment),
        ];
        for (column, value) in parts {
            if value.is_some_and(|v| !v.is_empty()) && event.get(column).is_none() {
                event.set_text(column, value);
            }
        }
    }
    if let Some(query) = event.text(Column::PageQuery).map(str::to_owned) {
        campaign(event, &query);
    }
    if event.get(Column::ReferrerHost).is_none()
        && let Some(host) = event.text(Column::Referrer).and_then(host)
    {
        event.set(Column::ReferrerHost, host);
    }
}

fn campaign(event: &mut Event, query: &str) {
    let mut click: Option<(usize, Cow<'_, [u8]>)> = None;
    for pair in query.trim_start_matches('?').split('&') {
        let (name, Some(value)) = cut(pair, b'=') else {
            continue;
        };
        if value.is_empty() {
            continue;
        }
        if let Some(utm) = name.strip_prefix("utm_") {
            if let Some((_, column)) = UTM.iter().find(|(n, _)| *n == utm)
                && event.get(*column).is_none()
            {
                event.set_text(*column, Some(&String::from_utf8_lossy(&percent(value.as_bytes()))));
            }
        } else if let Some(rank) = CLICK_IDS.iter().position(|id| name.eq_ignore_ascii_case(id))
            && click.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            click = Some((rank, percent(value.as_bytes())));
        }
    }
    if let Some((rank, id)) = click
        && event.get(Column::ClickId).is_none()
        && let Some(kind) = CLICK_IDS.get(rank)
    {
        event.set(Column::ClickIdType, *kind);
        event.set_text(Column::ClickId, Some(&String::from_utf8_lossy(&id)));
    }
}
