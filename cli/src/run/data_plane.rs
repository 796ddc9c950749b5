//! `portcullis data-plane`.

use std::collections::BTreeMap;

use portcullis_data_plane as data_plane;
use portcullis_data_plane::sync::BadControlPlane;
use portcullis_listen::TlsFiles;
use portcullis_policy::resource::Name;
use serde_json::{Value, json};

use crate::commands::planes::parse_labels;
use crate::failure::Failure;
use crate::output;
use crate::run::settings::{Common, DataPlaneArgs, Given, Plane, Settings};
use crate::run::{ready, refuse_plain, shutdown, start_logging};

pub(crate) async fn run(args: DataPlaneArgs, given: &Given) -> Result<(), Failure> {
    let mut settings = Settings::read(args.common.config.as_deref(), given)?;
    let common = settings.common(&args.common)?;
    let plane = settings.plane(&args.plane)?;
    let remote = settings.remote(&args.remote);
    settings.note_unused();
    if args.common.print_config {
        return settings.print();
    }
    let remote = remote?;
    let token = std::fs::read_to_string(&remote.plane_token_file).map_err(|error| {
        Failure::of(format!("--plane-token-file {}", remote.plane_token_file.display()), error)
    })?;
    let name: Name = remote.name.parse().map_err(|error| Failure::usage_of("--name", error))?;
    let mut config = config(&common, &plane, name, remote.control_plane, token.trim().to_owned());
    check_plain(&common, &plane)?;
    config.labels = parse_labels(&remote.labels)?.into_iter().collect();
    config.ca_file = remote.ca;
    config.allow_stdio = remote.allow_stdio;
    let _telemetry = start_logging(&common.log, "portcullis-data-plane")?;
    let shutdown = shutdown::on_signal()?;
    config.abort = shutdown.abort.clone();
    let running = data_plane::start(config, shutdown.graceful.clone()).await.map_err(start_failure)?;
    let urls = urls(&common, &running);
    output::note(&format!(
        "data plane: MCP at {}, operations at {}",
        text(&urls, "mcpUrl"),
        text(&urls, "opsUrl")
    ));
    let ready = common.ready_file.as_deref().map(|file| ready::write(file, &urls)).transpose()?;
    running.wait().await;
    shutdown::finish(&shutdown, ready);
    Ok(())
}

/// The operations port tells no secrets, but it has no credential either.
pub(crate) fn check_plain(common: &Common, plane: &Plane) -> Result<(), Failure> {
    if common.tls.is_some() || plane.insecure_listen {
        return Ok(());
    }
    refuse_plain(
        "--ops-listen",
        plane.ops_listen,
        "give --tls-cert and --tls-key, say --insecure-listen when something in front of it encrypts, or ",
    )
}

/// Why a data plane did not start: what can never start is wrong usage.
pub(crate) fn start_failure(error: data_plane::StartError) -> Failure {
    use data_plane::StartError;
    match error {
        StartError::ControlPlane(BadControlPlane::Url(_) | BadControlPlane::PlainText(_)) => {
            Failure::usage_of("--control-plane", error)
        }
        other => Failure::of("data plane", other),
    }
}

fn text<'a>(urls: &'a Value, name: &str) -> &'a str {
    urls.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The addresses of a running data plane, as the ready file has them.
pub(crate) fn urls(common: &Common, running: &data_plane::Running) -> Value {
    let scheme = if common.tls.is_some() { "https" } else { "http" };
    json!({
        "mcpUrl": format!("{scheme}://{}/mcp", running.mcp_addr),
        "opsUrl": format!("{scheme}://{}", running.ops_addr),
    })
}

/// The settings as the data plane takes them.
pub(crate) fn config(
    common: &Common,
    plane: &Plane,
    name: Name,
    control_plane: String,
    token: String,
) -> data_plane::Config {
    let tls = common.tls.clone().map(|(cert, key)| TlsFiles { cert, key });
    let mut config = data_plane::Config::new(common.data_dir.join("data"), name, control_plane, token);
    config.listen = plane.listen;
    config.ops_listen = plane.ops_listen;
    config.tls.clone_from(&tls);
    config.ops_tls = tls;
    config.allowed_origins.clone_from(&plane.allowed_origins);
    config.allowed_hosts.clone_from(&plane.allowed_hosts);
    config.trusted_proxies.clone_from(&plane.trusted_proxies);
    config.insecure_listen = plane.insecure_listen;
    config.drain_timeout = plane.drain_timeout;
    config.metering.empty_wait = plane.budget_wait;
    config.stdio_env = stdio_env();
    config
}

/// What stdio children get of this process's environment: PATH, HOME, TMPDIR and LANG, nothing else.
fn stdio_env() -> BTreeMap<String, String> {
    ["PATH", "HOME", "TMPDIR", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| (name.to_owned(), value)))
        .collect()
}
