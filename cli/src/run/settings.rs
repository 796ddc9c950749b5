//! Settings of the long-running commands, with one precedence: flag, then variable, then configuration file, then default.
//!
//! `--print-config` shows what is in force and where each value came from.

mod args;
mod file;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use portcullis_data_plane::metering::MeteringConfig;
use portcullis_data_plane::serve::Doors;
use portcullis_policy::resource::{HumanDuration, Network};
use serde_json::{Value, json};

use self::args::{CommonArgs, ControlArgs, PlaneArgs, RemoteArgs};
pub(crate) use self::args::{ControlPlaneArgs, DataPlaneArgs, UpArgs};
use self::file::FileSettings;
use crate::failure::Failure;
use crate::output;

/// The longest that calls may be told to wait for units of a budget.
const MAX_BUDGET_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Where each value of the command line came from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given(BTreeMap<String, &'static str>);

impl Given {
    /// Of one command.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let source = |id: &clap::Id| {
            let source = match matches.value_source(id.as_str())? {
                ValueSource::EnvVariable => "variable",
                _ => "flag",
            };
            Some((id.as_str().replace('_', "-"), source))
        };
        Self(matches.ids().filter_map(source).collect())
    }

    fn source(&self, name: &str) -> &'static str {
        self.0.get(name).copied().unwrap_or("flag")
    }
}

/// Settings in force, and where each came from, for `--print-config`.
#[derive(Debug)]
pub(crate) struct Settings {
    file: FileSettings,
    /// The keys that the file names.
    keys: Vec<String>,
    given: Given,
    shown: Vec<(&'static str, Value, &'static str)>,
}

/// Settings of every long-running command, in force.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) data_dir: PathBuf,
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) log: Log,
}

/// What is logged.
#[derive(Debug)]
pub(crate) struct Log {
    /// The filter.
    pub(crate) filter: String,
    /// The flag, variable or setting that said so.
    pub(crate) from: &'static str,
}

/// Settings of a data plane, in force.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) listen: SocketAddr,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) insecure_listen: bool,
    pub(crate) drain_timeout: std::time::Duration,
    pub(crate) budget_wait: std::time::Duration,
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
    pub(crate) public_url: Option<String>,
}

impl Settings {
    /// Reads the configuration file, if one is named. `given` tells a flag from a variable.
    pub(crate) fn read(config: Option<&Path>, given: &Given) -> Result<Self, Failure> {
        let (file, keys) = config.map(file::read).transpose()?.unwrap_or_default();
        Ok(Self { file, keys, given: given.clone(), shown: Vec::new() })
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
            (Some(value), _) => (Some(value), self.given.source(name)),
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
            _ => return Err(Failure::usage("--tls-cert and --tls-key belong together: give both, or none")),
        };
        let log = self.log(args);
        Ok(Common { data_dir, ready_file, tls, log })
    }

    /// What is logged. `RUST_LOG`, which concerns every Rust program, comes after everything that is said to this one.
    fn log(&mut self, args: &CommonArgs) -> Log {
        let said = |text: &String| !text.is_empty();
        self.file.log = self.file.log.take().filter(said);
        let filter = self.optional("log", args.log.clone().filter(said), |f| &f.log, |v| json!(v));
        let source = self.shown.last().map_or("default", |(_, _, source)| *source);
        let (filter, source, from) = match (filter, std::env::var("RUST_LOG").ok().filter(said)) {
            (Some(filter), _) if source == "variable" => (filter, source, "PORTCULLIS_LOG"),
            (Some(filter), _) if source == "file" => (filter, source, "log in the configuration file"),
            (Some(filter), _) => (filter, source, "--log"),
            (None, Some(filter)) => (filter, "variable", "RUST_LOG"),
            (None, None) => ("info".to_owned(), "default", "the default"),
        };
        if let Some(shown) = self.shown.last_mut() {
            *shown = ("log", json!(filter), source);
        }
        Log { filter, from }
    }

    pub(crate) fn plane(&mut self, args: &PlaneArgs) -> Result<Plane, Failure> {
        let address = |address: &SocketAddr| json!(address);
        let list = |list: &Vec<String>| json!(list);
        let plane = Plane {
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
            trusted_proxies: self.or(
                "trusted-proxy",
                args.trusted_proxy.clone(),
                |f| &f.trusted_proxy,
                |v| json!(v),
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
            budget_wait: self
                .or(
                    "budget-wait",
                    args.budget_wait,
                    |f| &f.budget_wait,
                    |v| json!(v),
                    HumanDuration(MeteringConfig::default().empty_wait),
                )
                .0,
        };
        if plane.budget_wait > MAX_BUDGET_WAIT {
            let wait = HumanDuration(plane.budget_wait);
            return Err(Failure::usage(format!(
                "--budget-wait: {wait} is longer than 1s, the most that a call waits"
            )));
        }
        Doors::new(plane.listen, &plane.allowed_origins, &plane.allowed_hosts)
            .map_err(|error| Failure::usage_of("--allowed-origin", error))?;
        Ok(plane)
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
        let missing = |flag: &str, what: &str| Failure::usage(format!("a data plane needs {flag}: {what}"));
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
            public_url: self.optional("public-url", args.public_url.clone(), |f| &f.public_url, |v| json!(v)),
        }
    }

    /// Names keys of the file that this command has no use for, once it has read its settings. One file serves all commands,
    /// so that they are no error; but nobody should think that they do something here.
    pub(crate) fn note_unused(&self) {
        let unused: Vec<_> =
            self.keys.iter().filter(|key| self.shown.iter().all(|(name, ..)| name != key)).cloned().collect();
        if !unused.is_empty() {
            output::note(&format!(
                "the configuration file's {} is not used by this command",
                unused.join(", ")
            ));
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
mod tests;
