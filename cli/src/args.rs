//! The command line: every command and flag, and nothing of what they do.

pub(crate) mod admin;
pub(crate) mod usage;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::run::settings::{ControlPlaneArgs, DataPlaneArgs, UpArgs};

/// The governed way into every MCP server of an organisation.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run both planes in one process, apply resources, and print how to connect.
    Up(Box<UpArgs>),
    /// Run a control plane.
    ControlPlane(Box<ControlPlaneArgs>),
    /// Run a data plane.
    DataPlane(Box<DataPlaneArgs>),
    /// Run the small MCP server that `up --demo` registers; over stdio unless an address is given.
    DemoServer(DemoServerArgs),
    /// Apply resources: all of them, or none.
    Apply(ApplyArgs),
    /// Say what an apply would change; change nothing.
    Plan(PlanArgs),
    /// List the resources of a kind, or show one.
    Get(GetArgs),
    /// Show everything that is known of one resource.
    Describe(NamedArgs),
    /// Delete one resource.
    Delete(DeleteArgs),
    /// List changes, the newest first.
    History(HistoryArgs),
    /// Make a new version that equals an old one.
    Rollback(RollbackArgs),
    /// Create, rotate and revoke the secrets of virtual keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// List and show what waits for a person.
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Approve what waits.
    Approve(DecideArgs),
    /// Deny what waits.
    Deny(DecideArgs),
    /// Stop a server at once: nothing of it may be used until it is resumed.
    Suspend(MoveServerArgs),
    /// Let a suspended server go on from where it was.
    Resume(MoveServerArgs),
    /// End a server for good: nothing of it may be used again.
    Retire(MoveServerArgs),
    /// Open a server to the next stage of its rollout, if the checks of the present one hold.
    Promote(PromoteArgs),
    /// Say why a call is permitted or denied, step by step.
    Explain(ExplainArgs),
    /// List the keys that reach a tool, and by which grant.
    WhoCan(WhoCanArgs),
    /// List the tools, prompts and resources that a key reaches, and by which grant.
    WhatCan(WhatCanArgs),
    /// List data planes and manage their tokens.
    #[command(subcommand)]
    Planes(PlanesCommand),
    /// Tell how budgets stand, and correct what was used of them.
    Usage(Box<usage::UsageArgs>),
    /// Keep values that resources refer to by name.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Show the snapshot in force.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Read audit records.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Manage who administers.
    #[command(subcommand)]
    Admin(admin::AdminCommand),
}

/// What admits to the control plane.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccessArgs {
    /// An administrator's token; read from DATA_DIR/admin.token when not given.
    #[arg(long, env = "PORTCULLIS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Where a control plane on this machine keeps its state.
    #[arg(long, env = "PORTCULLIS_DATA_DIR", default_value = "./portcullis-data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The certificate authority of the control plane's certificate, in PEM.
    #[arg(long, env = "PORTCULLIS_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// Where the control plane is, and who asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The control plane's gRPC address.
    #[arg(long, env = "PORTCULLIS_SERVER", default_value = "http://127.0.0.1:7410", value_name = "URL")]
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// YAML.
    Yaml,
    /// JSON, stable.
    Json,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// What a command takes that asks the control plane and prints the answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What the history will say of a change.
#[derive(Debug, Args)]
pub(crate) struct MessageArgs {
    /// Why, for the history.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) message: String,
}

/// Where documents are read from.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// A file, a directory (its *.yaml, *.yml and *.json), or - for standard input.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
}

/// How much of what would change for callers is told by name.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// Name all that would gain or lose something, instead of the first few.
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// Validate, print what would change and for whom, change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) why: MessageArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// Decide again the calls that were recorded for so long, such as 24h, and say whose outcome would change: those of the
    /// connected data planes, and of one that kept its records in DATA_DIR.
    #[arg(long, value_name = "DURATION")]
    pub(crate) replay: Option<portcullis_policy::resource::HumanDuration>,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The kind: McpServer or servers, TrustZone or zones, ….
    pub(crate) kind: String,
    /// Only this one.
    pub(crate) name: Option<String>,
    /// Go on printing what changes.
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// The kind.
    pub(crate) kind: String,
    /// The name.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The kind.
    pub(crate) kind: String,
    /// The name.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) why: MessageArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only this kind.
    pub(crate) kind: Option<String>,
    /// Only this name.
    pub(crate) name: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The version, as `history` lists it.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version: u64,
    /// Validate, print what would change and for whom, change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) why: MessageArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MoveServerArgs {
    /// The MCP server's name.
    #[arg(value_name = "SERVER")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) why: MessageArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The MCP server's name.
    #[arg(value_name = "SERVER")]
    pub(crate) name: String,
    /// The stage to open it to; the next one of its policy when not given.
    #[arg(long, value_parser = ["limited", "general"], value_name = "STAGE")]
    pub(crate) to: Option<String>,
    /// Go on although checks fail, or over a stage. Needs --message.
    #[arg(long, requires = "message")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) why: MessageArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key and print its secret once; without a file it grants nothing.
    Create {
        /// The key's name.
        name: String,
        /// A file with one VirtualKey document of that name.
        #[arg(short, long, value_name = "FILE|-")]
        file: Option<PathBuf>,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Make a new secret and print it once; the old one ends after the grace.
    Rotate {
        /// The key's name.
        name: String,
        /// How long the old secret stays valid, such as 24h.
        #[arg(long, default_value = "24h", value_name = "DURATION")]
        grace: portcullis_policy::resource::HumanDuration,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// End all secrets of a key for good.
    Revoke {
        /// The key's name.
        name: String,
        #[command(flatten)]
        why: MessageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List what waits.
    List {
        /// Only of this MCP server; the same as --server NAME.
        #[arg(long, value_name = "NAME")]
        server_name: Option<String>,
        /// Decided ones too.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Open again what waited for too long; who had approved it has to do it again.
    Reopen {
        /// The approvals' ids.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Show one with its definitions, or with what is asked for.
    Show {
        /// The approval's id.
        id: String,
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// Commands about approvals: `--server` may name an MCP server, so that the control plane has a flag of its own.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Only those of this MCP server. An http(s) URL is taken as the control plane's address.
    #[arg(long = "server", value_name = "NAME|URL")]
    pub(crate) servers: Vec<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// The control plane's gRPC address.
    #[arg(
        long = "control-plane",
        env = "PORTCULLIS_SERVER",
        default_value = "http://127.0.0.1:7410",
        value_name = "URL"
    )]
    pub(crate) control_plane: String,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The approvals' ids.
    #[arg(conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// All definitions that wait; proposals and calls are named by their ids.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) why: MessageArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The name of the virtual key.
    #[arg(long, value_name = "NAME")]
    pub(crate) key: String,
    /// The tool's exposed name.
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: String,
    /// The endpoint's path.
    #[arg(long, default_value = "/mcp", value_name = "PATH")]
    pub(crate) endpoint: String,
    /// The arguments as JSON, as they would be sent, or @FILE to read them from. Without them nothing that rests on arguments
    /// is judged.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "JSON")]
    pub(crate) arguments: String,
    /// What the data plane is taken to meet; several times for several. What the call meets first counts, and a denial of
    /// policy before it wins.
    #[arg(long, value_parser = live_reasons(), value_name = "REASON")]
    pub(crate) assume: Vec<String>,
    /// The caller's network address. Without it, as without --era and --client, steps that depend on it say so.
    #[arg(long, value_name = "IP")]
    pub(crate) network: Option<std::net::IpAddr>,
    /// How the caller speaks: modern (2026-07-28 and later) or legacy.
    #[arg(long, value_parser = ["modern", "legacy"], value_name = "ERA")]
    pub(crate) era: Option<String>,
    /// What the caller's program says of itself (clientInfo). What follows the last / is the version if it begins with a digit.
    #[arg(long, value_name = "NAME[/VERSION]")]
    pub(crate) client: Option<String>,
    /// The data plane that the call comes to, as planes list names it. Without it, steps that depend on its labels say so.
    #[arg(long, value_name = "NAME")]
    pub(crate) plane: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhoCanArgs {
    /// The tool: its name at /mcp, such as crm_find, or SERVER/NAME with the upstream's own.
    pub(crate) tool: String,
    /// The name is a prompt's.
    #[arg(long)]
    pub(crate) prompt: bool,
    /// List the keys as well that are granted it and kept from it, with the reason.
    #[arg(long)]
    pub(crate) why: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhatCanArgs {
    /// The key's name.
    pub(crate) key: String,
    /// List as well what the key is granted and kept from, with the reason.
    #[arg(long)]
    pub(crate) why: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// The reasons that only a data plane knows at the time of a call.
fn live_reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(portcullis_policy::live::REASONS.iter().map(|reason| reason.code()))
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanesCommand {
    /// List data planes.
    List(AskArgs),
    /// Manage the tokens with which data planes connect.
    #[command(subcommand)]
    Token(PlaneTokenCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlaneTokenCommand {
    /// Make a token and print it once.
    Create {
        /// Labels of planes with this token: key=value, several by commas.
        #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE")]
        labels: Vec<String>,
        /// Only a plane of this name may use it.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
        name: String,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// List tokens, without their secrets.
    List(AskArgs),
    /// End a token and the connections made with it.
    Revoke {
        /// The token's id.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Keep a value: read from standard input, or from a file.
    Set {
        /// Its name.
        name: String,
        /// The file that holds the value; standard input when not given. One newline at the end is taken off.
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List names.
    List(AskArgs),
    /// Forget a value.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Show version, digest and what is in it.
    Show(AskArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Read records from the directory of a data plane, the oldest first.
    Query(AuditQueryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditQueryArgs {
    /// The data directory that the data plane was started with.
    #[arg(long, env = "PORTCULLIS_DATA_DIR", default_value = "./portcullis-data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Only since: a time (RFC 3339), or how long ago, such as 1h.
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) since: Option<String>,
    /// Only calls with this key.
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Only calls of this tool: the upstream's name or the exposed one.
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// Only calls to this server.
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// Only calls with this reason.
    #[arg(long, value_name = "CODE")]
    pub(crate) reason: Option<String>,
    /// Only this request.
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<uuid::Uuid>,
    /// The last so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoServerArgs {
    /// Serve Streamable HTTP on this address instead of stdio.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Write one JSON object with the URL when it serves.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) ready_file: Option<PathBuf>,
}
