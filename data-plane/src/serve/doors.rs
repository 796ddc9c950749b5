//! Who may knock at all: `Origin` and `Host`, judged before anything else (DNS rebinding, 2026-07-28 transport page).

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, Uri, header};

/// Which values of `Origin` and `Host` are valid.
#[derive(Debug, Clone)]
pub struct Doors {
    bound: IpAddr,
    origins: Vec<Origin>,
    hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// The text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin: write scheme://host or scheme://host:port, such as https://mcp.example.com")]
pub struct BadOrigin(pub String);

impl Doors {
    /// For a listener at `bound`, with the values of `--allowed-origin`, whose hosts are valid in `Host` too, and further names
    /// that are.
    ///
    /// # Errors
    /// [`BadOrigin`] for a value that is none.
    pub fn new(
        bound: SocketAddr,
        allowed_origins: &[String],
        allowed_hosts: &[String],
    ) -> Result<Self, BadOrigin> {
        let origins = allowed_origins
            .iter()
            .map(|text| Origin::parse(text).ok_or_else(|| BadOrigin(text.clone())))
            .collect::<Result<_, _>>()?;
        let hosts = allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self { bound: bound.ip(), origins, hosts })
    }

    /// Whether a request with these headers may come in.
    #[must_use]
    pub fn admits(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.origin_is_valid(headers) && self.host_is_valid(uri, headers)
    }

    fn origin_is_valid(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::ORIGIN).iter();
        let Some(value) = values.next() else { return true };
        let origin = value.to_str().ok().and_then(Origin::parse);
        match (origin, values.next()) {
            (Some(origin), None) => {
                self.origins.contains(&origin) || (self.bound.is_loopback() && is_loopback_name(&origin.host))
            }
            _ => false,
        }
    }

    fn host_is_valid(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::HOST).iter();
        let host = match (values.next(), values.next()) {
            (None, _) => match uri.authority() {
                None => return true,
                Some(authority) => Some(authority.host().to_ascii_lowercase()),
            },
            (Some(value), None) => value.to_str().ok().and_then(host_of),
            (Some(_), Some(_)) => None,
        };
        let Some(host) = host else { return false };
        // HTTP/2 may carry both, and then both must be valid.
        let authority_agrees =
            uri.authority().is_none_or(|authority| authority.host().eq_ignore_ascii_case(&host));
        authority_agrees && self.knows(&host)
    }

    fn knows(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        (self.bound.is_loopback() && is_loopback_name(host))
            || address == Some(self.bound)
            // No name is resolved to reach an address literal, so that there is nothing to rebind.
            || (self.bound.is_unspecified() && address.is_some())
            || self.origins.iter().any(|origin| origin.host == host)
            || self.hosts.iter().any(|known| known == host)
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().ok()?;
        if authority.as_str().contains('@') || authority.host().is_empty() || scheme.is_empty() {
            return None;
        }
        let default = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = match authority.port() {
            Some(port) => Some(port.as_str().parse().ok()?),
            None => default,
        };
        Some(Self { scheme, host: authority.host().to_ascii_lowercase(), port })
    }
}

fn host_of(value: &str) -> Option<String> {
    let authority: Authority = value.trim().parse().ok()?;
    (!authority.as_str().contains('@')).then(|| authority.host().to_ascii_lowercase())
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
