//! Flags and variables of the long-running commands. What is not given stays open: the configuration file may say it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use portcullis_policy::resource::{HumanDuration, Network};

/// Flags of every long-running command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings of every long-running command")]
pub(crate) struct CommonArgs {
    /// A configuration file (YAML): keys are these flags' names.
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings in force, without secrets, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Where state is kept. [default: ./portcullis-data]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Write one JSON object with the addresses when the process serves.
    #[arg(long, env = "PORTCULLIS_READY_FILE", value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// The certificate chain of every listener, in PEM; read again when it changes.
    #[arg(long, env = "PORTCULLIS_TLS_CERT", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, env = "PORTCULLIS_TLS_KEY", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// What is logged, such as info or portcullis=debug. [default: RUST_LOG, or info]
    #[arg(long, env = "PORTCULLIS_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
}

/// Flags of a data plane.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Serving MCP")]
pub(crate) struct PlaneArgs {
    /// Where MCP clients connect. [default: 127.0.0.1:7400]
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Where /metrics, /healthz, /readyz and /snapshot are. [default: 127.0.0.1:7401]
    #[arg(long, env = "PORTCULLIS_OPS_LISTEN", value_name = "ADDRESS")]
    pub(super) ops_listen: Option<SocketAddr>,
    /// An origin whose browsers may connect, such as https://app.example.com; may be repeated.
    #[arg(
        long = "allowed-origin",
        env = "PORTCULLIS_ALLOWED_ORIGIN",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    pub(super) allowed_origin: Option<Vec<String>>,
    /// A host name under which clients reach this data plane; may be repeated.
    #[arg(
        long = "allowed-host",
        env = "PORTCULLIS_ALLOWED_HOST",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub(super) allowed_host: Option<Vec<String>>,
    /// A network of proxies that are believed about whom they forward for (X-Forwarded-For), such as 10.0.0.0/8; may be
    /// repeated. Without it the caller is whoever connects.
    #[arg(
        long = "trusted-proxy",
        env = "PORTCULLIS_TRUSTED_PROXY",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub(super) trusted_proxy: Option<Vec<Network>>,
    /// Serve plain HTTP on addresses that are not loopback: something in front of them has to do TLS.
    #[arg(long, env = "PORTCULLIS_INSECURE_LISTEN", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(super) insecure_listen: Option<bool>,
    /// How long calls may run on after SIGTERM. [default: 30s]
    #[arg(long, env = "PORTCULLIS_DRAIN_TIMEOUT", value_name = "DURATION")]
    pub(super) drain_timeout: Option<HumanDuration>,
    /// How long a call may wait for the control plane where all that this plane holds of a budget is used; 1s at most. [default: 20ms]
    #[arg(long, env = "PORTCULLIS_BUDGET_WAIT", value_name = "DURATION")]
    pub(super) budget_wait: Option<HumanDuration>,
}

/// Flags of a data plane that runs apart from its control plane.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Reaching the control plane")]
pub(crate) struct RemoteArgs {
    /// The control plane's gRPC address: https, or http to a loopback address.
    #[arg(long, env = "PORTCULLIS_CONTROL_PLANE", value_name = "URL")]
    pub(super) control_plane: Option<String>,
    /// A file with the token that `planes token create` printed.
    #[arg(long, env = "PORTCULLIS_PLANE_TOKEN_FILE", value_name = "FILE")]
    pub(super) plane_token_file: Option<PathBuf>,
    /// The certificate authority of the control plane's certificate, in PEM.
    #[arg(long, env = "PORTCULLIS_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// This data plane's name: a DNS label. [default: the machine's name]
    #[arg(long, env = "PORTCULLIS_NAME", value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Labels of this data plane: key=value, several by commas.
    #[arg(long, env = "PORTCULLIS_LABELS", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub(super) labels: Option<Vec<String>>,
    /// Let the control plane's registry start programs on this machine.
    #[arg(long, env = "PORTCULLIS_ALLOW_STDIO", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(super) allow_stdio: Option<bool>,
}

/// Flags of a control plane.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Serving administrators and data planes")]
pub(crate) struct ControlArgs {
    /// Where the gRPC APIs are. [default: 127.0.0.1:7410]
    #[arg(long, env = "PORTCULLIS_GRPC_LISTEN", value_name = "ADDRESS")]
    pub(super) grpc_listen: Option<SocketAddr>,
    /// Where the pages of approvals, /metrics, /healthz and /readyz are. [default: 127.0.0.1:7411]
    #[arg(long, env = "PORTCULLIS_HTTP_LISTEN", value_name = "ADDRESS")]
    pub(super) http_listen: Option<SocketAddr>,
    /// Under which URL people reach that, such as https://portcullis.example.com: links to approvals begin with it. [default: the
    /// address of --http-listen]
    #[arg(long, env = "PORTCULLIS_PUBLIC_URL", value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// Give up a vault that was lost, and make a new one: data planes need new tokens then, secrets must be set again.
    #[arg(long)]
    pub(crate) new_vault: bool,
}

#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub(crate) struct UpArgs {
    /// Resources to apply: a file, a directory, or - for standard input; may be repeated.
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    /// Register the demo server, with a zone, a bundle and a key.
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) plane: PlaneArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub(crate) struct ControlPlaneArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub(crate) struct DataPlaneArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) plane: PlaneArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
