//! Which addresses an upstream may have: by its hosting, at apply for addresses that are written down, and again by the data
//! plane for those that a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

use crate::resource::Hosting;

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedAddress {
    /// Never, whoever hosts.
    #[error("{0} is link-local, multicast or unspecified; no server may be there")]
    Never(IpAddr),
    /// Not for vendors.
    #[error("{0} is not a public address; a vendor's server must be at one (hosting: self allows others)")]
    NotPublic(IpAddr),
}

/// Ranges that no server may be in.
const NEVER: &[&str] =
    &["0.0.0.0/32", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "::/128", "fe80::/10", "ff00::/8"];

/// Ranges that are not public, after the special-purpose registries of IANA (RFC 6890 and its updates).
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fec0::/10",
];

static NEVER_NETS: LazyLock<Vec<IpNet>> = LazyLock::new(|| nets(NEVER));
static NOT_PUBLIC_NETS: LazyLock<Vec<IpNet>> = LazyLock::new(|| nets(NOT_PUBLIC));

/// A test makes sure that each of the constants is read.
fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Judges one address.
///
/// # Errors
/// Why a server of this hosting may not be there.
pub fn judge(address: IpAddr, hosting: Hosting) -> Result<(), RefusedAddress> {
    let meant = embedded(address);
    let within = |nets: &[IpNet]| {
        nets.iter()
            .any(|net| net.contains(&address) || meant.is_some_and(|meant| net.contains(&IpAddr::V4(meant))))
    };
    if within(&NEVER_NETS) {
        return Err(RefusedAddress::Never(address));
    }
    if hosting == Hosting::Vendor && within(&NOT_PUBLIC_NETS) {
        return Err(RefusedAddress::NotPublic(address));
    }
    Ok(())
}

/// The IPv4 address within an IPv6 one that carries traffic to it: mapped and compatible addresses (RFC 4291), NAT64 (RFC
/// 6052) and 6to4 (RFC 3056). Judging the outside alone would let the inside pass.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let low = || Some(from_segments(g, h));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => low(),
        [0, 0, 0, 0, 0, 0] if address != Ipv6Addr::UNSPECIFIED && address != Ipv6Addr::LOCALHOST => low(),
        [0x2002, high, low, ..] => Some(from_segments(high, low)),
        _ => None,
    }
}

const fn from_segments(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests;
