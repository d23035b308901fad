//! Who did it.
//!
//! `visitor_id` is the user id, else the anonymous id, else the network id, else a hash of project, address, user agent
//! and host under a salt that is thrown away every UTC day. The hash lets sessions and funnels work for visitors who gave
//! no consent to an id, and nobody can turn it back or follow it into the next day.
//!
//! **Events from a backend** that name no user are visitors of their own, one per event: the address of the request is
//! the customer's server, and hashing it would make all of its users one visitor. Where such an event states the user's
//! address, that is hashed as a browser's would be.

use super::hex;
use engine::clock::{DAY_MICROS, Micros};
use engine::event::{Column, Event};
use engine::{Error, ProjectId, Result};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The salt of the current UTC day. Yesterday's is forgotten, in memory and on disk.
#[derive(Debug)]
pub struct IdentitySalt {
    file: Option<PathBuf>,
    today: RwLock<Salt>,
}

#[derive(Clone, Copy)]
struct Salt {
    day: i64,
    key: [u8; 32],
}

impl std::fmt::Debug for Salt {
    /// Without the key: whoever has it can recompute the day's hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salt").field("day", &self.day).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Days since 1970-01-01.
    day: i64,
    /// The key in hexadecimal.
    salt: String,
}

impl IdentitySalt {
    /// The day's salt from `file`, or a new one where the file is not there or of another day. Without a file the salt
    /// lives in memory only, and a restart makes anonymous visitors new ones.
    ///
    /// # Errors
    /// `Storage` when the file cannot be written or the system gives no randomness.
    pub fn open(file: Option<PathBuf>, now: Micros) -> Result<Self> {
        let day = now.div_euclid(DAY_MICROS);
        let stored = file.as_deref().and_then(read).filter(|salt| salt.day == day);
        let today = match stored {
            Some(salt) => salt,
            None => {
                let salt = Salt { day, key: random()? };
                if let Some(file) = &file {
                    write(file, salt)?;
                }
                salt
            }
        };
        Ok(Self {
            file,
            today: RwLock::new(today),
        })
    }

    /// The salt for an event received at `now`. A new day makes a new salt; time never goes back to an old one.
    fn key(&self, now: Micros) -> [u8; 32] {
        let day = now.div_euclid(DAY_MICROS);
        let salt = *self.today.read();
        if day <= salt.day {
            return salt.key;
        }
        let mut today = self.today.write();
        if day > today.day {
            match random() {
                Ok(key) => *today = Salt { day, key },
                Err(error) => {
                    tracing::error!(%error, "no randomness for the day's identity salt; yesterday's stays in use");
                    return today.key;
                }
            }
            if let Some(file) = &self.file
                && let Err(error) = write(file, *today)
            {
                tracing::warn!(%error, file = %file.display(), "the day's identity salt is not on disk; a restart will make anonymous visitors new ones");
            }
        }
        today.key
    }
}

fn read(file: &Path) -> Option<Salt> {
    let text = std::fs::read_to_string(file).ok()?;
    let stored: Stored = serde_json::from_str(&text).ok()?;
    let hex = stored.salt.as_bytes();
    let mut key = [0u8; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Salt { day: stored.day, key })
}

/// Replaces the file as a whole, readable by its owner only.
fn write(file: &Path, salt: Salt) -> Result<()> {
    use std::io::Write;
    let stored = Stored {
        day: salt.day,
        salt: hex(&salt.key),
    };
    let text = serde_json::to_string(&stored).map_err(|e| Error::internal(format!("salt as JSON: {e}")))?;
    let fresh = file.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let saved = (|| {
        let mut out = options.open(&fresh)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&fresh, file)
    })();
    saved.map_err(|e| Error::storage(format!("cannot write the identity salt to {}: {e}", file.display())).with_source(e))
}

pub(super) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| Error::storage(format!("the system gives no randomness: {e}")))?;
    Ok(bytes)
}

/// What an event without an id is told apart by.
pub(super) struct Source<'a> {
    pub(super) project: &'a ProjectId,
    /// The visitor's whole address; hashed, never stored.
    pub(super) ip: Option<IpAddr>,
    /// Host of the page that sent the request, where the event names none.
    pub(super) host: Option<&'a str>,
    pub(super) received_at: Micros,
}

/// Sets the visitor, and the hash where it is the visitor.
pub(super) fn enrich(event: &mut Event, source: &Source<'_>, salt: &IdentitySalt) {
    const IDS: [Column; 3] = [Column::UserId, Column::AnonymousId, Column::NetworkUserId];
    if let Some(id) = IDS.into_iter().find_map(|column| event.text(column)) {
        let id = id.to_owned();
        event.set(Column::VisitorId, id);
        return;
    }
    match source.ip {
        Some(ip) => {
            let hash = daily_hash(event, source, ip, &salt.key(source.received_at));
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

fn daily_hash(event: &Event, source: &Source<'_>, ip: IpAddr, salt: &[u8; 32]) -> String {
    let mut hasher = blake3::Hasher::new_keyed(salt);
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
