//! `portcullis control-plane`.

use portcullis_control_plane as control_plane;
use portcullis_listen::TlsFiles;
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::run::settings::{Common, Control, ControlPlaneArgs, Settings};
use crate::run::{ready, shutdown, start_logging};

pub(crate) async fn run(args: ControlPlaneArgs) -> Result<(), Failure> {
    let mut settings = Settings::read(args.common.config.as_deref())?;
    let common = settings.common(&args.common)?;
    let control = settings.control(&args.control);
    if args.common.print_config {
        return settings.print();
    }
    let _telemetry = start_logging(&common.log, "portcullis-control-plane")?;
    let shutdown = shutdown::on_signal()?;
    let running = control_plane::start(config(&common, &control), shutdown)
        .await
        .map_err(|error| Failure::of("control plane", error))?;
    let scheme = if common.tls.is_some() { "https" } else { "http" };
    let grpc_url = format!("{scheme}://{}", running.grpc_addr);
    let http_url = format!("{scheme}://{}", running.http_addr);
    output::note(&format!(
        "control plane: gRPC at {grpc_url}, HTTP at {http_url}, administrator's token in {}",
        running.admin_token_file.display()
    ));
    if let Some(file) = &common.ready_file {
        let content =
            json!({ "grpcUrl": grpc_url, "httpUrl": http_url, "adminTokenFile": running.admin_token_file });
        ready::write(file, &content)?;
    }
    running.wait().await.map_err(|error| Failure::of("control plane", error))
}

/// The settings as the control plane takes them.
pub(crate) fn config(common: &Common, control: &Control) -> control_plane::Config {
    control_plane::Config {
        grpc_listen: control.grpc_listen,
        http_listen: control.http_listen,
        tls: common.tls.clone().map(|(cert, key)| TlsFiles { cert, key }),
        ..control_plane::Config::new(&common.data_dir)
    }
}
