//! Networks of trusted proxies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address with the number of its leading bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNetwork {
    address: IpAddr,
    prefix_bits: u8,
}

const LOOPBACK: &[IpNetwork] = &[
    IpNetwork::v4(Ipv4Addr::new(127, 0, 0, 0), 8),
    IpNetwork::v6(Ipv6Addr::LOCALHOST, 128),
];
const PRIVATE: &[IpNetwork] = &[
    IpNetwork::v4(Ipv4Addr::new(10, 0, 0, 0), 8),
    IpNetwork::v4(Ipv4Addr::new(172, 16, 0, 0), 12),
    IpNetwork::v4(Ipv4Addr::new(192, 168, 0, 0), 16),
    IpNetwork::v4(Ipv4Addr::new(169, 254, 0, 0), 16),
    IpNetwork::v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    IpNetwork::v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

impl IpNetwork {
    const fn v4(address: Ipv4Addr, prefix_bits: u8) -> Self {
        Self {
            address: IpAddr::V4(address),
            prefix_bits,
        }
    }

    const fn v6(address: Ipv6Addr, prefix_bits: u8) -> Self {
        Self {
            address: IpAddr::V6(address),
            prefix_bits,
        }
    }

    /// The networks that `text` names: an address, `address/bits`, `loopback` or `private`.
    ///
    /// # Errors
    /// When it is none of these; the message says what may be written.
    pub fn parse_all(text: &str) -> Result<Vec<IpNetwork>, String> {
        match text {
            "loopback" => return Ok(LOOPBACK.to_vec()),
            "private" => return Ok([LOOPBACK, PRIVATE].concat()),
            _ => {}
        }
        let wrong = || format!("`{text}` is no network: write an address, `10.0.0.0/8`, `loopback` or `private`");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.unwrap_or(bits_max);
        if prefix_bits > bits_max {
            return Err(wrong());
        }
        Ok(vec![IpNetwork { address, prefix_bits }])
    }

    /// Whether `address` lies in this network. An IPv4 address inside IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        let differing = u128::BITS - (ours ^ theirs).leading_zeros();
        differing <= width - u32::from(self.prefix_bits)
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}
