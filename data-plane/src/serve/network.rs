//! The network address that a request comes from: the peer's, unless the peer is a proxy that the operator trusts.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use portcullis_policy::resource::Network;

/// Where proxies write for whom they forward: addresses, each hop's after those before it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word counts; none by default.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Proxies in these networks, as `--trusted-proxy` names them.
    #[must_use]
    pub const fn new(trusted: Vec<Network>) -> Self {
        Self(trusted)
    }

    /// The address of the caller. Behind trusted proxies it is the right-most address of `X-Forwarded-For` that is none of
    /// theirs: what stands further left was written by the caller, or by somebody whom nobody vouches for. `None` when a
    /// trusted proxy says something that is no address.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut caller = peer.to_canonical();
        if self.0.is_empty() {
            return Some(caller);
        }
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for hop in value.to_str().ok()?.rsplit(',') {
                if !self.trusts(caller) {
                    return Some(caller);
                }
                caller = address(hop.trim())?.to_canonical();
            }
        }
        Some(caller)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// An address, with a port or without: `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .ok()
        .or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn caller(trusted: &[&str], peer: &str, forwarded: &[&str]) -> Option<String> {
        let proxies = Proxies::new(trusted.iter().map(|text| text.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        proxies.caller(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn without_a_trusted_proxy_the_peer_is_the_caller_whatever_it_says() {
        assert_eq!(caller(&[], "203.0.113.9", &["10.0.0.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(caller(&["10.0.0.0/8"], "203.0.113.9", &["10.0.0.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(caller(&[], "::ffff:10.1.2.3", &[]).as_deref(), Some("10.1.2.3"));
    }

    #[test]
    fn behind_trusted_proxies_it_is_the_right_most_address_that_is_none_of_theirs() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (forwarded, expected) in [
            (&["198.51.100.7"][..], Some("198.51.100.7")),
            (&["1.2.3.4, 198.51.100.7"], Some("198.51.100.7")),
            (&["1.2.3.4, 198.51.100.7, 10.9.9.9"], Some("198.51.100.7")),
            (&["1.2.3.4", "198.51.100.7, 10.9.9.9", "[fd00::1]:443"], Some("198.51.100.7")),
            (&["nonsense, 198.51.100.7"], Some("198.51.100.7")),
            (&["198.51.100.7:5555"], Some("198.51.100.7")),
            (&["10.1.1.1, 10.2.2.2"], Some("10.1.1.1")),
            (&[], Some("10.0.0.1")),
            (&["198.51.100.7, nonsense"], None),
            (&["198.51.100.7,"], None),
            (&[""], None),
        ] {
            assert_eq!(caller(&trusted, "10.0.0.1", forwarded).as_deref(), expected, "{forwarded:?}");
        }
    }
}
