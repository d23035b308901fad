//! The visitor's address: found behind trusted proxies, shortened before it is stored.

use crate::ingest::Parts;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses of a forwarding chain that are looked at; longer ones are made up.
const HOPS_MAX: usize = 32;

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32u32.saturating_sub(u32::from(self.bits));
                let prefix = |a: Ipv4Addr| u32::from(a).checked_shr(shift).unwrap_or(0);
                prefix(network) == prefix(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128u32.saturating_sub(u32::from(self.bits));
                let prefix = |a: Ipv6Addr| u128::from(a).checked_shr(shift).unwrap_or(0);
                prefix(network) == prefix(address)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network: write an address or a prefix such as `10.0.0.0/8` or `fd00::/8`");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(whole);
        if bits > whole {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Loopback, link-local and private networks.
pub(super) fn private_networks() -> Vec<Network> {
    const PRIVATE: [&str; 8] = [
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
    ];
    PRIVATE.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The visitor's address: the peer, or where that is a trusted proxy, the last address of the chain it forwards that is
/// not a trusted proxy itself.
pub(super) fn client(parts: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    let peer = plain(parts.peer?);
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
    if !is_trusted(peer) {
        return Some(peer);
    }
    let mut farthest = None;
    let headers = parts.headers.get_all("x-forwarded-for").into_iter().rev();
    let chain = headers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    for hop in chain.take(HOPS_MAX) {
        let Some(ip) = parse(hop) else { break };
        if !is_trusted(ip) {
            return Some(ip);
        }
        farthest = Some(ip);
    }
    farthest.or_else(|| parts.header("x-real-ip").and_then(parse)).or(Some(peer))
}

/// Reads an address, with or without port and brackets.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(plain(ip));
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok().map(plain);
    }
    text.split_once(':')?.0.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// An IPv4 address written as IPv6 is the IPv4 address.
fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The address with its last 8 bits (IPv4) or 80 bits (IPv6) zero: the only form that is ever stored.
pub(super) fn truncated(ip: IpAddr) -> String {
    match plain(ip) {
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
