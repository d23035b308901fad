//! Who is at the other end.

use crate::config::IpNetwork;
use axum::http::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The socket's address: a proxy's, if there is one.
    pub socket: SocketAddr,
    /// The client's address: the socket's, or what a trusted proxy forwarded. Never stored untruncated.
    pub client: IpAddr,
}

impl Peer {
    /// The peer at `socket`. `X-Forwarded-For` counts only as far as it was written by `trusted` proxies: it is read
    /// from its end, and the first address that is no trusted proxy is the client.
    pub(super) fn new(socket: SocketAddr, headers: &HeaderMap, trusted: &[IpNetwork]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let mut client = socket.ip().to_canonical();
        let lists = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.rsplit(','));
        for hop in hops {
            if !is_trusted(client) {
                break;
            }
            match address_of(hop.trim()) {
                Some(address) => client = address.to_canonical(),
                None => break,
            }
        }
        Self { socket, client }
    }
}

/// The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn address_of(hop: &str) -> Option<IpAddr> {
    let plain = hop.trim_start_matches('[').trim_end_matches(']');
    (plain.parse().ok()).or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}
