//! Throwaway certificates: an authority, and what it signs for loopback.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_data_plane::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;

/// An authority of one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its certificate as a file, in PEM.
    pub ca_file: PathBuf,
}

impl Authority {
    /// Makes one, with its certificate in a directory.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca_file = dir.join("ca.pem");
        std::fs::write(&ca_file, issuer.pem()).unwrap();
        Self { issuer, ca_file }
    }

    /// A certificate for loopback and its key, as files of this name.
    #[must_use]
    pub fn sign(&self, dir: &Path, name: &str) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = TlsFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        std::fs::write(&files.cert, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

/// TLS of a client that trusts this authority alone, or nobody.
pub(crate) fn client(trusted: Option<&Authority>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(authority) = trusted {
        roots.add(authority.issuer.der().clone()).unwrap();
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
