//! Settings of the long-running commands, with one precedence: flag, then variable, then configuration file, then default.
//!
//! The configuration file is YAML whose keys are the flags' names without the dashes in front; one file serves all three
//! commands. `--print-config` shows what is in force and where each value came from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::resource::HumanDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;

/// Flags of every long-running command.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CommonArgs {
    /// A configuration file (YAML): keys are these flags' names.
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings in force, without secrets, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Where state is kept. [default: ./portcullis-data]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write one JSON object with the addresses when the process serves.
    #[arg(long, env = "PORTCULLIS_READY_FILE", value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The certificate chain of every listener, in PEM; read again when it changes.
    #[arg(long, env = "PORTCULLIS_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, env = "PORTCULLIS_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// What is logged, such as info or portcullis=debug. [default: info]
    #[arg(long, env = "PORTCULLIS_LOG", value_name = "FILTER")]
    log: Option<String>,
}

/// Flags of a data plane.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaneArgs {
    /// Where MCP clients connect. [default: 127.0.0.1:7400]
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where /metrics, /healthz, /readyz and /snapshot are. [default: 127.0.0.1:7401]
    #[arg(long, env = "PORTCULLIS_OPS_LISTEN", value_name = "ADDRESS")]
    ops_listen: Option<SocketAddr>,
    /// An origin whose browsers may connect, such as https://app.example.com; may be repeated.
    #[arg(
        long = "allowed-origin",
        env = "PORTCULLIS_ALLOWED_ORIGIN",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    allowed_origin: Option<Vec<String>>,
    /// A host name under which clients reach this data plane; may be repeated.
    #[arg(
        long = "allowed-host",
        env = "PORTCULLIS_ALLOWED_HOST",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    allowed_host: Option<Vec<String>>,
    /// Serve plain MCP on an address that is not loopback: something in front of it has to do TLS.
    #[arg(long, env = "PORTCULLIS_INSECURE_LISTEN", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    insecure_listen: Option<bool>,
    /// How long calls may run on after SIGTERM. [default: 30s]
    #[arg(long, env = "PORTCULLIS_DRAIN_TIMEOUT", value_name = "DURATION")]
    drain_timeout: Option<HumanDuration>,
}

/// Flags of a data plane that runs apart from its control plane.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RemoteArgs {
    /// The control plane's gRPC address: https, or http to a loopback address.
    #[arg(long, env = "PORTCULLIS_CONTROL_PLANE", value_name = "URL")]
    control_plane: Option<String>,
    /// A file with the token that `planes token create` printed.
    #[arg(long, env = "PORTCULLIS_PLANE_TOKEN_FILE", value_name = "FILE")]
    plane_token_file: Option<PathBuf>,
    /// The certificate authority of the control plane's certificate, in PEM.
    #[arg(long, env = "PORTCULLIS_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// This data plane's name: a DNS label. [default: the machine's name]
    #[arg(long, env = "PORTCULLIS_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Labels of this data plane: key=value, several by commas.
    #[arg(long, env = "PORTCULLIS_LABELS", value_delimiter = ',', value_name = "KEY=VALUE")]
    labels: Option<Vec<String>>,
    /// Let the control plane's registry start programs on this machine.
    #[arg(long, env = "PORTCULLIS_ALLOW_STDIO", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    allow_stdio: Option<bool>,
}

/// Flags of a control plane.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ControlArgs {
    /// Where the gRPC APIs are. [default: 127.0.0.1:7410]
    #[arg(long, env = "PORTCULLIS_GRPC_LISTEN", value_name = "ADDRESS")]
    grpc_listen: Option<SocketAddr>,
    /// Where the console, /metrics, /healthz and /readyz are. [default: 127.0.0.1:7411]
    #[arg(long, env = "PORTCULLIS_HTTP_LISTEN", value_name = "ADDRESS")]
    http_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
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
pub(crate) struct ControlPlaneArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DataPlaneArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) plane: PlaneArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct FileSettings {
    data_dir: Option<PathBuf>,
    ready_file: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    log: Option<String>,
    listen: Option<SocketAddr>,
    ops_listen: Option<SocketAddr>,
    allowed_origin: Option<Vec<String>>,
    allowed_host: Option<Vec<String>>,
    insecure_listen: Option<bool>,
    drain_timeout: Option<HumanDuration>,
    control_plane: Option<String>,
    plane_token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    name: Option<String>,
    labels: Option<Vec<String>>,
    allow_stdio: Option<bool>,
    grpc_listen: Option<SocketAddr>,
    http_listen: Option<SocketAddr>,
}

/// Settings in force, and where each came from, for `--print-config`.
#[derive(Debug)]
pub(crate) struct Settings {
    file: FileSettings,
    shown: Vec<(&'static str, Value, &'static str)>,
}

/// Settings of every long-running command, in force.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) data_dir: PathBuf,
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) log: String,
}

/// Settings of a data plane, in force.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) listen: SocketAddr,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) insecure_listen: bool,
    pub(crate) drain_timeout: std::time::Duration,
}

/// Settings of a data plane that runs apart, in force.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) control_plane: String,
    pub(crate) plane_token_file: PathBuf,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) allow_stdio: bool,
}

/// Settings of a control plane, in force.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) grpc_listen: SocketAddr,
    pub(crate) http_listen: SocketAddr,
}

impl Settings {
    /// Reads the configuration file, if one is named.
    pub(crate) fn read(config: Option<&Path>) -> Result<Self, Failure> {
        let file = match config {
            None => FileSettings::default(),
            Some(path) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::of(format!("--config {shown}"), error))?;
                if text.trim().is_empty() {
                    FileSettings::default()
                } else {
                    serde_saphyr::from_str(&text)
                        .map_err(|error| Failure::new(format!("--config {shown}: {error}")))?
                }
            }
        };
        Ok(Self { file, shown: Vec::new() })
    }

    /// One setting: what was given, else what the file says, else nothing.
    fn optional<T: Clone>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        in_file: impl Fn(&FileSettings) -> &Option<T>,
        show: impl Fn(&T) -> Value,
    ) -> Option<T> {
        let (value, source) = match (given, in_file(&self.file).clone()) {
            (Some(value), _) => (Some(value), "flag or variable"),
            (None, Some(value)) => (Some(value), "file"),
            (None, None) => (None, "default"),
        };
        self.shown.push((name, value.as_ref().map_or(Value::Null, show), source));
        value
    }

    /// One setting with a default.
    fn or<T: Clone>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        in_file: impl Fn(&FileSettings) -> &Option<T>,
        show: impl Fn(&T) -> Value,
        default: T,
    ) -> T {
        let value = self.optional(name, given, in_file, &show).unwrap_or_else(|| default.clone());
        if let Some((_, shown, _)) = self.shown.last_mut() {
            *shown = show(&value);
        }
        value
    }

    pub(crate) fn common(&mut self, args: &CommonArgs) -> Result<Common, Failure> {
        let path = |path: &PathBuf| json!(path);
        let data_dir = self.or(
            "data-dir",
            args.data_dir.clone(),
            |f| &f.data_dir,
            path,
            PathBuf::from("./portcullis-data"),
        );
        let ready_file = self.optional("ready-file", args.ready_file.clone(), |f| &f.ready_file, path);
        let cert = self.optional("tls-cert", args.tls_cert.clone(), |f| &f.tls_cert, path);
        let key = self.optional("tls-key", args.tls_key.clone(), |f| &f.tls_key, path);
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(Failure::new("--tls-cert and --tls-key belong together: give both, or none")),
        };
        let log = self.or("log", args.log.clone(), |f| &f.log, |v| json!(v), "info".to_owned());
        Ok(Common { data_dir, ready_file, tls, log })
    }

    pub(crate) fn plane(&mut self, args: &PlaneArgs) -> Plane {
        let address = |address: &SocketAddr| json!(address);
        let list = |list: &Vec<String>| json!(list);
        Plane {
            listen: self.or("listen", args.listen, |f| &f.listen, address, ([127, 0, 0, 1], 7400).into()),
            ops_listen: self.or(
                "ops-listen",
                args.ops_listen,
                |f| &f.ops_listen,
                address,
                ([127, 0, 0, 1], 7401).into(),
            ),
            allowed_origins: self.or(
                "allowed-origin",
                args.allowed_origin.clone(),
                |f| &f.allowed_origin,
                list,
                Vec::new(),
            ),
            allowed_hosts: self.or(
                "allowed-host",
                args.allowed_host.clone(),
                |f| &f.allowed_host,
                list,
                Vec::new(),
            ),
            insecure_listen: self.or(
                "insecure-listen",
                args.insecure_listen,
                |f| &f.insecure_listen,
                |v| json!(v),
                false,
            ),
            drain_timeout: self
                .or(
                    "drain-timeout",
                    args.drain_timeout,
                    |f| &f.drain_timeout,
                    |v| json!(v),
                    HumanDuration(std::time::Duration::from_secs(30)),
                )
                .0,
        }
    }

    pub(crate) fn remote(&mut self, args: &RemoteArgs) -> Result<Remote, Failure> {
        let path = |path: &PathBuf| json!(path);
        let control_plane =
            self.optional("control-plane", args.control_plane.clone(), |f| &f.control_plane, |v| json!(v));
        let plane_token_file =
            self.optional("plane-token-file", args.plane_token_file.clone(), |f| &f.plane_token_file, path);
        let ca = self.optional("ca", args.ca.clone(), |f| &f.ca, path);
        let name = self.or("name", args.name.clone(), |f| &f.name, |v| json!(v), machine_name());
        let labels = self.or("labels", args.labels.clone(), |f| &f.labels, |v| json!(v), Vec::new());
        let allow_stdio = self.or("allow-stdio", args.allow_stdio, |f| &f.allow_stdio, |v| json!(v), false);
        let missing = |flag: &str, what: &str| Failure::new(format!("a data plane needs {flag}: {what}"));
        Ok(Remote {
            control_plane: control_plane
                .ok_or_else(|| missing("--control-plane", "the control plane's gRPC address"))?,
            plane_token_file: plane_token_file.ok_or_else(|| {
                missing(
                    "--plane-token-file",
                    "a file with the token that `portcullis planes token create` prints",
                )
            })?,
            ca,
            name,
            labels,
            allow_stdio,
        })
    }

    pub(crate) fn control(&mut self, args: &ControlArgs) -> Control {
        let address = |address: &SocketAddr| json!(address);
        Control {
            grpc_listen: self.or(
                "grpc-listen",
                args.grpc_listen,
                |f| &f.grpc_listen,
                address,
                ([127, 0, 0, 1], 7410).into(),
            ),
            http_listen: self.or(
                "http-listen",
                args.http_listen,
                |f| &f.http_listen,
                address,
                ([127, 0, 0, 1], 7411).into(),
            ),
        }
    }

    /// Prints the settings in force as a configuration file, with where each came from.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        for (name, value, source) in &self.shown {
            output::line(&format!("{name}: {value} # {source}"))?;
        }
        Ok(())
    }
}

/// The machine's name as a DNS label; `data-plane` where it is none.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    if name.parse::<portcullis_policy::resource::Name>().is_ok() { name } else { "data-plane".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Probe {
        #[command(flatten)]
        control: ControlArgs,
    }

    fn settings(text: &str) -> Result<Settings, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Settings::read(Some(file.path()))
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let mut settings = settings("grpc-listen: 127.0.0.1:1\nhttp-listen: 127.0.0.1:2\n").unwrap();
        let flags = Probe::parse_from(["probe", "--grpc-listen", "127.0.0.1:9"]);
        let control = settings.control(&flags.control);
        assert_eq!(control.grpc_listen.port(), 9);
        assert_eq!(control.http_listen.port(), 2);
        let sources: Vec<_> = settings.shown.iter().map(|(name, _, source)| (*name, *source)).collect();
        assert_eq!(sources, [("grpc-listen", "flag or variable"), ("http-listen", "file")]);
        let control = Settings::read(None).unwrap().control(&ControlArgs::default());
        assert_eq!(control.grpc_listen.port(), 7410);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let failure = settings("grpc-lisen: 127.0.0.1:1\n").unwrap_err().to_string();
        assert!(failure.contains("grpc-lisen"), "{failure}");
    }

    #[test]
    fn half_of_a_tls_pair_is_refused() {
        let args = CommonArgs { tls_cert: Some("cert.pem".into()), ..CommonArgs::default() };
        assert!(Settings::read(None).unwrap().common(&args).unwrap_err().to_string().contains("--tls-key"));
    }
}
