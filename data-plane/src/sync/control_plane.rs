//! Where the control plane is, and how it is reached: TLS, or plain text on loopback.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use rustls::RootCertStore;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often the connection is tried when it is idle, and how long an answer may take: a lost control plane is seen in 6 s.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// The address of a control plane, checked.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    uri: Uri,
    ca_file: Option<PathBuf>,
}

/// The control plane cannot be addressed so. A fault of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum BadControlPlane {
    /// No such URL.
    #[error("{0:?} is no control plane: https://HOST:PORT, or http://HOST:PORT where HOST is loopback")]
    Url(String),
    /// Plain text would leave the machine.
    #[error(
        "the control plane {0:?} is not on this machine, and plain text is for loopback only: use https:// (and --ca FILE for a \
         private certificate authority)"
    )]
    PlainText(String),
    /// The certificate authority cannot be read.
    #[error("cannot read the certificate authority {path}: {source}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS to the control plane cannot be set up: {0}")]
    Tls(String),
}

impl ControlPlane {
    /// Checks the URL, and that plain text stays on this machine.
    ///
    /// # Errors
    /// See [`BadControlPlane`].
    pub fn new(url: &str, ca_file: Option<PathBuf>) -> Result<Self, BadControlPlane> {
        let bad = || BadControlPlane::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(bad()),
        };
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if has_user || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad());
        }
        if plain && !is_loopback(host) {
            return Err(BadControlPlane::PlainText(url.to_owned()));
        }
        Ok(Self { uri, ca_file })
    }

    /// How to connect; the certificate authority is read each time, so that a new one is taken without a restart.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, BadControlPlane> {
        let endpoint = Endpoint::from(self.uri.clone())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            .user_agent(concat!("portcullis-data-plane/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| BadControlPlane::Tls(error.to_string()))?;
        if self.uri.scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let tls = ClientTlsConfig::new().timeout(CONNECT);
        let tls = match &self.ca_file {
            Some(path) => tls.ca_certificate(ca(path)?),
            None => tls.trust_anchors(machine_roots()?.roots),
        };
        endpoint.tls_config(tls).map_err(|error| BadControlPlane::Tls(with_causes(&error)))
    }
}

fn ca(path: &Path) -> Result<Certificate, BadControlPlane> {
    let pem = std::fs::read(path).map_err(|source| BadControlPlane::Ca { path: path.to_owned(), source })?;
    Ok(Certificate::from_pem(pem))
}

fn machine_roots() -> Result<RootCertStore, BadControlPlane> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(BadControlPlane::Tls(
            "this machine has no root certificates; give one with --ca".to_owned(),
        ));
    }
    Ok(roots)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An error with what led to it: transport errors say little by themselves.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{BadControlPlane, ControlPlane};

    #[test]
    fn plain_text_stays_on_loopback() {
        for url in [
            "http://127.0.0.1:7410",
            "http://[::1]:7410",
            "http://localhost:1/",
            "https://control.example:7410",
        ] {
            ControlPlane::new(url, None).unwrap();
        }
        for url in [
            "http://10.0.0.1:7410",
            "http://control.example",
            "http://[2001:db8::1]:1",
            "http://0.0.0.0:7410",
        ] {
            let refused = ControlPlane::new(url, None).unwrap_err();
            assert!(matches!(refused, BadControlPlane::PlainText(_)), "{url}: {refused}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in
            ["", "control:7410", "ftp://x", "https://", "https://a@b", "https://a/path", "https://a/?q"]
        {
            let refused = ControlPlane::new(url, None).unwrap_err();
            assert!(matches!(refused, BadControlPlane::Url(_)), "{url}: {refused}");
        }
    }

    #[test]
    fn a_missing_certificate_authority_is_named() {
        let plane = ControlPlane::new("https://127.0.0.1:1", Some("/nowhere/ca.pem".into())).unwrap();
        let error = plane.endpoint().unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
