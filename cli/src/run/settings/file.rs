//! The configuration file: YAML whose keys are the flags' names without the dashes in front. One file serves all commands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_policy::resource::{HumanDuration, Network};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::failure::Failure;

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileSettings {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) ready_file: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) log: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) ops_listen: Option<SocketAddr>,
    pub(super) allowed_origin: Option<Vec<String>>,
    pub(super) allowed_host: Option<Vec<String>>,
    pub(super) trusted_proxy: Option<Vec<Network>>,
    pub(super) insecure_listen: Option<bool>,
    pub(super) drain_timeout: Option<HumanDuration>,
    pub(super) budget_wait: Option<HumanDuration>,
    pub(super) control_plane: Option<String>,
    pub(super) plane_token_file: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) allow_stdio: Option<bool>,
    pub(super) grpc_listen: Option<SocketAddr>,
    pub(super) http_listen: Option<SocketAddr>,
    pub(super) public_url: Option<String>,
}

/// Reads the file: its settings, and the keys that it names.
pub(super) fn read(path: &Path) -> Result<(FileSettings, Vec<String>), Failure> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::of(format!("--config {shown}"), error))?;
    if text.trim().is_empty() {
        return Ok((FileSettings::default(), Vec::new()));
    }
    let refuse = |error: &dyn std::fmt::Display| {
        // The first line says what and where; what follows is advice for programmers.
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        Failure::usage(format!("--config {shown}: {}", first.trim_start_matches("error: ")))
    };
    let settings = serde_saphyr::from_str(&text).map_err(|error| refuse(&error))?;
    let keys: BTreeMap<String, IgnoredAny> = serde_saphyr::from_str(&text).map_err(|error| refuse(&error))?;
    Ok((settings, keys.into_keys().collect()))
}
