//! The TLS settings that all upstreams share: the machine's authorities and those that the operator adds.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// A client configuration with HTTP/2 and HTTP/1.1 by ALPN. `None` when the cryptography offers no usable version.
///
/// Authorities that cannot be read are left out and logged: servers that need them then fail to connect, others do not.
pub(crate) fn client_config(extra_roots: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a certificate authority of this machine could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) =
        roots.add_parsable_certificates(native.certs.into_iter().chain(extra_roots.iter().cloned()));
    if ignored > 0 {
        tracing::warn!(ignored, "some certificate authorities could not be used");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .inspect_err(|error| tracing::error!(%error, "TLS towards upstreams cannot be set up"))
        .ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}
