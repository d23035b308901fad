//! The visitor's address: read where an event states it, shortened before it is stored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads an address, with or without port and brackets. IPv4 written as IPv6 is IPv4.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    plain
        .parse::<IpAddr>()
        .ok()
        .or_else(with_port)
        .map(|ip| ip.to_canonical())
}

/// The address with its last 8 bits (IPv4) or 80 bits (IPv6) zero: the only form that is ever stored.
pub(super) fn truncated(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).to_string()
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
    }
}
