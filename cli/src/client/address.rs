//! The control plane's address, judged before anything is sent to it.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::failure::Failure;

/// Parses `--server`: a scheme, a host and a port, nothing else; plain text for loopback alone.
pub(super) fn parse(url: &str, ca: Option<&Path>) -> Result<http::Uri, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::usage(format!("--server {url:?}: {why}"));
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(bad(&"an address begins with http:// or https://"));
    }
    let uri: http::Uri = url.parse().map_err(|error| bad(&error))?;
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(bad(&"an address holds no user; the token is given with --token or PORTCULLIS_TOKEN"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad(&"an address is http(s)://HOST:PORT, without path and query"));
    }
    if uri.scheme_str() == Some("http") {
        if !is_loopback(&uri) {
            return Err(bad(&"a token is not sent in plain text; use https, or http to a loopback address"));
        }
        if let Some(ca) = ca {
            let why = format!("--ca {} is for https; plain http checks no certificate", ca.display());
            return Err(bad(&why));
        }
    }
    Ok(uri)
}

fn is_loopback(uri: &http::Uri) -> bool {
    uri.host().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Reads `--ca`: at least one certificate, or connections would fail with a reason that misleads.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, Failure> {
    let pem = std::fs::read(path).map_err(|error| Failure::of(format!("--ca {}", path.display()), error))?;
    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => Ok(pem),
        _ => {
            Err(Failure::new(format!("--ca {}: there is no certificate (PEM) in this file", path.display())))
        }
    }
}

/// What this machine trusts; nothing when it has no roots, and then a connection says that nobody vouches.
pub(super) fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
