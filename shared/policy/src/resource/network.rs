//! A network range as people write it: an address and the length of its prefix.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A range of network addresses, such as `10.0.0.0/8` or `2001:db8::/32` (RFC 4632, RFC 4291).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// The text is no network range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Not an address and a length.
    #[error(
        "{0:?} is no network range: write an address and the length of its prefix, such as 10.0.0.0/8; one address \
         alone is 10.1.2.3/32"
    )]
    Form(String),
    /// The address goes on behind the prefix: nobody knows which of the two was meant.
    #[error("{written} has digits behind its prefix: write {meant}, or a longer prefix")]
    Beyond {
        /// As it was written.
        written: IpNet,
        /// The range that it is in.
        meant: IpNet,
    },
}

impl Network {
    /// Whether an address is in the range. An IPv4 address within an IPv6 one is taken for what it stands for.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether every address of another range is in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let written: IpNet = text.parse().map_err(|_| BadNetwork::Form(text.chars().take(80).collect()))?;
        let meant = written.trunc();
        if meant == written { Ok(Self(written)) } else { Err(BadNetwork::Beyond { written, meant }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_addresses_however_they_are_written() {
        let range: Network = "10.0.0.0/8".parse().unwrap();
        for (address, inside) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("::1", false),
        ] {
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert_eq!(serde_json::to_string(&range).unwrap(), "\"10.0.0.0/8\"");
    }

    #[test]
    fn a_range_covers_itself_and_what_lies_within_it() {
        for (wide, narrow, covers) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("::/0", "10.0.0.0/8", false),
        ] {
            let [wide, narrow] = [wide, narrow].map(|text| text.parse::<Network>().unwrap());
            assert_eq!(wide.covers(&narrow), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn what_is_no_range_says_what_would_be() {
        for (text, words) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("office", "10.0.0.0/8"),
            ("10.1.2.3/8", "write 10.0.0.0/8"),
            ("10.0.0.0/33", "is no network range"),
            ("", "is no network range"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
