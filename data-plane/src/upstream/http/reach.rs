//! Which addresses may be dialled for a server: the guard against requests forged towards the inside (SSRF).
//!
//! The rule follows from who hosts the server. It is applied to the addresses that a name resolves to and to the peer of
//! every connection, so that the address judged is the address spoken to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_policy::resource::Hosting;

/// What may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Any address but link-local ones.
    Inside,
    /// Public addresses only.
    Public,
}

impl Reach {
    /// The rule for a hosting.
    pub(crate) const fn of(hosting: Hosting) -> Self {
        match hosting {
            Hosting::SelfHosted => Self::Inside,
            Hosting::Vendor => Self::Public,
        }
    }

    /// Whether the address may be dialled.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        let address = plain(address);
        if matches_any(&LINK_LOCAL, address) {
            return false;
        }
        match self {
            Self::Inside => true,
            Self::Public => !matches_any(&NOT_PUBLIC, address),
        }
    }
}

/// An IPv4 address that travels inside an IPv6 one, taken out; any other address as it is.
///
/// Covers IPv4-mapped, the well-known NAT64 prefix (RFC 6052) and 6to4 (RFC 3056): each of them leads to the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into();
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => join(g, h),
        [0x2002, ..] => join(b, c),
        _ => address,
    }
}

fn matches_any(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix))
}

/// Never dialled: where clouds keep their metadata and hosts configure themselves. The last one is a metadata service that
/// lives in unique local space.
static LINK_LOCAL: [IpNet; 3] = [
    v4(169, 254, 0, 0, 16),
    v6(0xfe80, 0, 0, 10),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)),
];

/// What the IANA special-purpose registries (RFC 6890) say is not globally reachable, and multicast.
static NOT_PUBLIC: [IpNet; 25] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v6(0, 0, 0, 96),
    v6(0x64, 0xff9b, 1, 48),
    v6(0x100, 0, 0, 64),
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
    v6(0x5f00, 0, 0, 16),
    v6(0xfc00, 0, 0, 7),
    v6(0xfec0, 0, 0, 10),
    v6(0xff00, 0, 0, 8),
];

#[cfg(test)]
mod tests;
