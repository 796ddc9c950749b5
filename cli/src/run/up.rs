//! `portcullis up`: both planes in one process, on the embedded store.
//!
//! The planes talk over the loopback gRPC port as they would across a network; nothing is short-cut.

use std::time::Duration;

use portcullis_control_plane as control_plane;
use portcullis_data_plane as data_plane;
use portcullis_data_plane::sync::Live;
use portcullis_policy::resource::Name;
use portcullis_policy::{Circumstances, EndpointRef, Snapshot};
use portcullis_proto::admin::v1 as api;
use portcullis_seal::token;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, read_token};
use crate::commands::sources;
use crate::demo;
use crate::failure::{Failure, problem_line};
use crate::output;
use crate::run::settings::{Given, Settings, UpArgs};
use crate::run::{control_plane as control, data_plane as plane, ready, shutdown, start_logging};

/// How long the demo's tools may take to be probed and streamed.
const DEMO_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(args: UpArgs, given: &Given) -> Result<(), Failure> {
    let mut settings = Settings::read(args.common.config.as_deref(), given)?;
    let common = settings.common(&args.common)?;
    let plane_settings = settings.plane(&args.plane)?;
    let control_settings = settings.control(&args.control);
    settings.note_unused();
    if args.common.print_config {
        return settings.print();
    }
    plane::check_plain(&common, &plane_settings)?;
    // Read before anything starts, so that a wrong path costs nothing.
    let files = sources::read(&args.files)?;
    let _telemetry = start_logging(&common.log, "portcullis")?;
    let shutdown = shutdown::on_signal()?;
    // The control plane outlives the data plane, which reports to it until its last call is answered.
    let control_shutdown = CancellationToken::new();
    let mut config = control::config(&common, &control_settings);
    config.local_listener = true;
    config.new_vault = args.control.new_vault;
    let control = control_plane::start(config, control_shutdown.clone())
        .await
        .map_err(|error| Failure::of("control plane", error))?;
    let local = control.local_addr;
    let name: Name = "local".parse().map_err(|error| Failure::of("data plane", error))?;
    let token = control.plane_token(&name).await.map_err(|error| Failure::of("control plane", error))?;
    let mut config = plane::config(&common, &plane_settings, name, format!("http://{local}"), token);
    config.allow_stdio = true;
    config.abort = shutdown.abort.clone();
    let running = data_plane::start(config, shutdown.graceful.clone()).await.map_err(plane::start_failure)?;

    // Without the file nothing can be applied here; what was applied before is served all the same.
    let client = if args.demo || !files.is_empty() {
        let admin_token = match std::env::var("PORTCULLIS_TOKEN") {
            Ok(token) if !token.trim().is_empty() && !control.admin_token_file.exists() => {
                token.trim().to_owned()
            }
            _ => read_token(&control.admin_token_file)?,
        };
        Some(Client::open(&format!("http://{local}"), &admin_token, None).await?)
    } else {
        None
    };
    if let Some(client) = &client {
        apply(client, files, "portcullis up -f").await?;
    }
    let mut urls = plane::urls(&common, &running);
    let mcp_url = urls.get("mcpUrl").and_then(|url| url.as_str()).unwrap_or_default().to_owned();
    let scheme = if common.tls.is_some() { "https" } else { "http" };
    if let Some(urls) = urls.as_object_mut() {
        urls.insert("grpcUrl".to_owned(), json!(format!("{scheme}://{}", control.grpc_addr)));
        urls.insert("httpUrl".to_owned(), json!(format!("{scheme}://{}", control.http_addr)));
        urls.insert("adminTokenFile".to_owned(), json!(control.admin_token_file));
    }
    output::line(&format!("Portcullis serves MCP at {mcp_url}"))?;
    output::line(&format!("  administrator's token   {}", control::token_place(&control.admin_token_file)))?;
    output::line(&format!("  control plane (gRPC)    {scheme}://{}", control.grpc_addr))?;
    let pages = control_settings.public_url.unwrap_or_else(|| format!("{scheme}://{}", control.http_addr));
    output::line(&format!("  control plane (HTTP)    {pages}"))?;
    if let Some(client) = client.as_ref().filter(|_| args.demo) {
        let secret = start_demo(client, &running.live).await?;
        print_demo(&mcp_url, &secret)?;
        if let Some(urls) = urls.as_object_mut() {
            urls.insert("demoKey".to_owned(), json!(secret));
        }
    }
    let ready = common.ready_file.as_deref().map(|file| ready::write(file, &urls)).transpose()?;
    running.wait().await;
    control_shutdown.cancel();
    control.wait().await.map_err(|error| Failure::of("control plane", error))?;
    shutdown::finish(&shutdown, ready);
    Ok(())
}

async fn apply(
    client: &Client,
    files: Vec<api::SourceFile>,
    message: &str,
) -> Result<Vec<api::NewKey>, Failure> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let request = api::ApplyRequest { files, dry_run: false, message: message.to_owned(), full: false };
    let reply = client.resources().apply(request).await?.into_inner();
    for warning in &reply.warnings {
        output::note(&format!("warning: {}", problem_line(warning)));
    }
    for key in reply.keys.iter().filter(|key| key.name != demo::resources::NAME) {
        output::line(&format!("key {}: {} (shown once, kept nowhere: store it now)", key.name, key.secret))?;
    }
    Ok(reply.keys)
}

/// Applies the demo's resources and waits until its tools are in force. Each start has a new secret for the demo's key.
async fn start_demo(client: &Client, live: &Live) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::of("this program's path", error))?;
    let created = apply(client, vec![demo::resources::documents(&program)], "portcullis up --demo").await?;
    let secret = match created.into_iter().find(|key| key.name == demo::resources::NAME) {
        Some(key) => key.secret,
        None => {
            let request = api::RotateKeyRequest { name: demo::resources::NAME.to_owned(), grace_seconds: 0 };
            client.keys().rotate_key(request).await?.into_inner().key.unwrap_or_default().secret
        }
    };
    let mut versions = live.subscribe();
    let in_force =
        versions.wait_for(|_| live.load().is_some_and(|snapshot| permits_demo(&snapshot, &secret)));
    match tokio::time::timeout(DEMO_PATIENCE, in_force).await {
        Ok(Ok(_)) => Ok(secret),
        Ok(Err(_)) | Err(_) => Err(Failure::new("the demo server did not come up; see the log above")),
    }
}

/// Whether a snapshot lets this very secret call the demo's tools. The one that a data plane starts with from disk does not
/// know it, and knows the last start's instead.
fn permits_demo(snapshot: &Snapshot, secret: &str) -> bool {
    let now = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    let Some(hash) = token::hash(token::VIRTUAL_KEY, secret) else { return false };
    let Ok(principal) = snapshot.authenticate(&hash, now) else { return false };
    let Ok(view) = snapshot.endpoint(&principal, EndpointRef::All) else { return false };
    snapshot.decide_tool(&principal, &view, "demo_echo", &Circumstances::at(now)).is_ok()
}

fn print_demo(mcp_url: &str, secret: &str) -> Result<(), Failure> {
    let config = json!({
        "mcpServers": {
            "portcullis": { "type": "http", "url": mcp_url, "headers": { "Authorization": format!("Bearer {secret}") } }
        }
    });
    let config = serde_json::to_string_pretty(&config).map_err(|error| Failure::of("JSON", error))?;
    output::line(&format!("  demo key                {secret}"))?;
    output::line("\nFor Claude Code:\n")?;
    output::line(&format!(
        "  claude mcp add --transport http portcullis {mcp_url} --header \"Authorization: Bearer {secret}\""
    ))?;
    output::line("\nFor Cursor and others, in mcp.json:\n")?;
    output::line(&config)?;
    output::line("\nThe key grants echo, add and count of the demo server, not wipe. Ctrl-C ends it all.")
}
