//! How many connections are open, in all and for each peer.

use crate::config::IpNetwork;
use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The count of open connections.
#[derive(Debug)]
pub(super) struct Connections {
    trusted_proxies: Vec<IpNetwork>,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    peer: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Connections {
    pub(super) fn new(trusted_proxies: Vec<IpNetwork>) -> Self {
        Self {
            trusted_proxies,
            open: Arc::default(),
        }
    }

    /// A slot for a connection from `address`, unless a bound is reached. A trusted proxy stands for many peers and is
    /// only counted in all.
    pub(super) fn take(&self, address: IpAddr) -> Option<Slot> {
        let is_proxy = self.trusted_proxies.iter().any(|network| network.contains(address));
        let peer = counted_as(address);
        let mut open = self.open.lock();
        let of_peer = open.by_peer.get(&peer).copied().unwrap_or(0);
        if open.all >= CONNECTIONS_MAX || (!is_proxy && of_peer >= CONNECTIONS_PER_PEER_MAX) {
            return None;
        }
        open.all += 1;
        open.by_peer.insert(peer, of_peer + 1);
        Some(Slot {
            peer,
            open: Arc::clone(&self.open),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.all -= 1;
        if let Some(count) = open.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

impl Connections {
    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.lock().all == 0
    }
}

/// Who an address is for counting: an IPv6 host has the whole of its /64 to itself.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}
