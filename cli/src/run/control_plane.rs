//! `portcullis control-plane`.

use std::path::Path;

use portcullis_control_plane as control_plane;
use portcullis_listen::TlsFiles;
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::run::settings::{Common, Control, ControlPlaneArgs, Given, Settings};
use crate::run::{ready, shutdown, start_logging};

pub(crate) async fn run(args: ControlPlaneArgs, given: &Given) -> Result<(), Failure> {
    let mut settings = Settings::read(args.common.config.as_deref(), given)?;
    let common = settings.common(&args.common)?;
    let control = settings.control(&args.control);
    settings.note_unused();
    if args.common.print_config {
        return settings.print();
    }
    let _telemetry = start_logging(&common.log, "portcullis-control-plane")?;
    let shutdown = shutdown::on_signal()?;
    let mut config = config(&common, &control);
    config.new_vault = args.control.new_vault;
    let running = control_plane::start(config, shutdown.graceful.clone())
        .await
        .map_err(|error| Failure::of("control plane", error))?;
    let scheme = if common.tls.is_some() { "https" } else { "http" };
    let grpc_url = format!("{scheme}://{}", running.grpc_addr);
    let http_url = format!("{scheme}://{}", running.http_addr);
    output::note(&format!(
        "control plane: gRPC at {grpc_url}, HTTP at {http_url}, administrator's token: {}",
        token_place(&running.admin_token_file)
    ));
    let content =
        json!({ "grpcUrl": grpc_url, "httpUrl": http_url, "adminTokenFile": running.admin_token_file });
    let ready = common.ready_file.as_deref().map(|file| ready::write(file, &content)).transpose()?;
    running.wait().await.map_err(|error| Failure::of("control plane", error))?;
    shutdown::finish(&shutdown, ready);
    Ok(())
}

/// Where the administrator's token is, or how to go on without the file.
pub(crate) fn token_place(file: &Path) -> String {
    let file_name = file.display();
    if file.exists() {
        return file_name.to_string();
    }
    format!(
        "{file_name} is gone, and it is written at the first start alone; whoever kept the token gives it with \
         PORTCULLIS_TOKEN, or puts it back there (chmod 600)"
    )
}

/// The settings as the control plane takes them.
pub(crate) fn config(common: &Common, control: &Control) -> control_plane::Config {
    control_plane::Config {
        grpc_listen: control.grpc_listen,
        http_listen: control.http_listen,
        public_url: control.public_url.clone(),
        tls: common.tls.clone().map(|(cert, key)| TlsFiles { cert, key }),
        ..control_plane::Config::new(&common.data_dir)
    }
}
