//! The certificate in use, and the watch over the files that it came from.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::TlsFiles;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The largest certificate or key file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong; never a part of the content.
        reason: String,
    },
    /// The key does not belong to the certificate, or is of a kind that is not supported.
    #[error("certificate {cert} and key {key} do not work together: {source}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate that follows its files. A broken new file changes nothing: the old certificate stays.
pub struct Certificates {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    changes: watch::Sender<u64>,
    first: Stamp,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    /// When one cannot be read or they do not work together.
    pub fn load(files: TlsFiles) -> Result<Self, CertificateError> {
        // The stamp first: a change while we read is then seen as one.
        let first = Stamp::of(&files);
        let config = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, config, changes: watch::Sender::new(0), first })
    }

    /// What a handshake that begins now uses.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Counts replacements.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Looks at the files once a second until the token is cancelled.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.first.clone();
        let mut complained = None;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looker = Arc::clone(&self);
            let before = seen.clone();
            let looked = tokio::task::spawn_blocking(move || looker.look(&before)).await;
            match looked {
                Ok(Ok(Some(stamp))) => {
                    tracing::info!(certificate = %self.files.cert.display(), "certificate replaced");
                    (seen, complained) = (stamp, None);
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    // Tried again each second, said once: files are often replaced one after the other.
                    let text = error.to_string();
                    if complained.as_ref() != Some(&text) {
                        tracing::error!(error = %text, "the changed certificate is not used; the one before stays");
                        complained = Some(text);
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn look(&self, seen: &Stamp) -> Result<Option<Stamp>, CertificateError> {
        let stamp = Stamp::of(&self.files);
        if stamp == *seen {
            return Ok(None);
        }
        self.config.store(Arc::new(read(&self.files)?));
        self.changes.send_modify(|count| *count += 1);
        Ok(Some(stamp))
    }
}

/// What tells one state of the files from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([Option<(u64, i64, i64, u64)>; 2]);

impl Stamp {
    fn of(files: &TlsFiles) -> Self {
        let of = |path: &Path| {
            fs::metadata(path).ok().map(|data| (data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
        };
        Self([of(&files.cert), of(&files.key)])
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, CertificateError> {
    let content =
        |path: &Path, what, reason: String| CertificateError::Content { path: path.to_owned(), what, reason };
    let chain = CertificateDer::pem_slice_iter(&bytes(&files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(&files.cert, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(content(&files.cert, "certificate", "there is no CERTIFICATE section".to_owned()));
    }
    // The error of a key file is not repeated: it may quote the file.
    let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?).map_err(|_| {
        content(&files.key, "private key", "there is no PEM section with a private key".to_owned())
    })?;
    let pair = |source| CertificateError::Pair { cert: files.cert.clone(), key: files.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = || {
        if fs::metadata(path)?.len() > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        fs::read(path)
    };
    read().map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}
