//! Servers: where they may be, what is presented to them, their bounds, and the aliases of their tools.

use std::collections::BTreeMap;
use std::time::Duration;

use url::{Host, Url};

use super::{Findings, FindingsOf, ResourceSet, metering, text};
use crate::address;
use crate::exposed::valid_exposed_name;
use crate::resource::{
    Auth, Hosting, Kind, LimitSettings, McpServerSpec, Name, Resource, Spec, Stdio, ToolOverride, Transport,
    TrustZoneSpec,
};

const MAX_TIMEOUT: Duration = Duration::from_secs(3_600);
const MAX_BYTES: u64 = 1 << 30;
const MAX_CONCURRENCY: u32 = 100_000;
const MAX_INSTANCES: u16 = 16;
const MAX_OVERRIDES: usize = 10_000;
const MAX_ARGS: usize = 1_024;
/// The longest URL, command, argument or value of a variable.
const MAX_TEXT: usize = 8_192;

/// Headers that HTTP or MCP itself owns: a credential under one of these names would change what the request means.
const RESERVED_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn check(spec: &McpServerSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    way("spec", &spec.transport, &spec.auth, spec.hosting, of);
    if let Some(sandbox) = &spec.sandbox {
        way("spec.sandbox", &sandbox.transport, &sandbox.auth, spec.hosting, of);
        if sandbox.transport == spec.transport {
            of.add(
                "spec.sandbox.transport",
                "this is the server itself: give the way to a twin with synthetic data",
            );
        }
    }
    limits(&spec.limits, of);
    if let Some(rollout) = &spec.rollout {
        of.reference("spec.rollout.policy", Kind::RolloutPolicy, &rollout.policy, set);
    }
    if let Some(owner) = &spec.owner {
        let fields = [("spec.owner.team", &owner.team), ("spec.owner.contact", &owner.contact)];
        for (field, value) in fields {
            if value.as_ref().is_some_and(|value| !text::short(value, 1, 256)) {
                of.add(field, "it has 1 to 256 characters and no control characters");
            }
        }
    }
    of.reference("spec.zone", Kind::TrustZone, &spec.zone, set);
    hosting("spec.zone", &spec.zone, spec, set, of);
    classes("spec.dataClasses", &spec.data_classes, &spec.zone, set, of);
    overrides(spec, set, of);
}

/// Judges a way to a server: the field that holds it, how it is reached, and what is presented there.
fn way(field: &str, transport: &Transport, credential: &Auth, hosting: Hosting, of: &mut FindingsOf<'_>) {
    match transport {
        Transport::StreamableHttp(http) => {
            if let Err(message) = url(&http.url, hosting) {
                of.add(&format!("{field}.transport.streamableHttp.url"), message);
            }
        }
        Transport::Stdio(stdio) => child(field, stdio, credential, hosting, of),
    }
    auth(field, credential, of);
}

/// Judges the URL of a server.
///
/// # Errors
/// A sentence that says what would be right.
pub(super) fn url(text: &str, hosting: Hosting) -> Result<(), String> {
    if text.len() > MAX_TEXT {
        return Err(format!("a URL has at most {MAX_TEXT} bytes"));
    }
    if text.chars().any(|c| c.is_control() || c == ' ' || c == '\\') {
        return Err("a URL holds no spaces, backslashes or control characters".to_owned());
    }
    let url = Url::parse(text).map_err(|error| {
        format!("this is no URL ({error}): write an absolute one, such as https://mcp.example.com/mcp")
    })?;
    match (url.scheme(), hosting) {
        ("https", _) | ("http", Hosting::SelfHosted) => {}
        ("http", Hosting::Vendor) => {
            return Err(
                "a vendor's server is reached by https only; plain http needs hosting: self".to_owned()
            );
        }
        (scheme, _) => return Err(format!("the scheme is https or http, not {scheme}")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL holds no user and password: put the credential into auth".to_owned());
    }
    if url.fragment().is_some() {
        return Err("a URL to call has no fragment (#…)".to_owned());
    }
    if url.port() == Some(0) {
        return Err("the port is 0".to_owned());
    }
    let Some(host) = url.host() else { return Err("the URL names no host".to_owned()) };
    match host {
        Host::Ipv4(address) => address::judge(address.into(), hosting).map_err(|error| error.to_string())?,
        Host::Ipv6(address) => address::judge(address.into(), hosting).map_err(|error| error.to_string())?,
        Host::Domain(name) => {
            if hosting == Hosting::Vendor && !public_name(name) {
                return Err(format!(
                    "{name} is no public name; a vendor's server has one (hosting: self allows others)"
                ));
            }
        }
    }
    // Odd spellings of a host (`0x7f.1`, upper case, escapes, a third slash) are read in different ways by different readers.
    let written = url
        .host_str()
        .and_then(|host| text.strip_prefix(&format!("{}://{host}", url.scheme())))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '?']));
    if written { Ok(()) } else { Err(format!("write the host plainly: {}", url.as_str())) }
}

/// Names that stand for this machine or a local network (RFC 6761, RFC 6762, RFC 8375, and `internal`).
fn public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let local =
        ["localhost", "local", "internal", "intranet", "lan", "home.arpa", "test", "invalid", "onion"];
    name.contains('.')
        && !local
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn child(at: &str, stdio: &Stdio, credential: &Auth, hosting: Hosting, of: &mut FindingsOf<'_>) {
    let field = |name: &str| format!("{at}.transport.stdio.{name}");
    if hosting == Hosting::Vendor {
        of.add("spec.hosting", "a child process runs on the data plane's machine: its hosting is self");
    }
    if matches!(credential, Auth::Header(_)) {
        of.add(
            &format!("{at}.auth"),
            "a child process takes no headers: give it what it needs in env, or auth: { none: {} }",
        );
    }
    let plain = |text: &str| text.len() <= MAX_TEXT && !text.contains('\0');
    if stdio.command.trim().is_empty() || !plain(&stdio.command) {
        of.add(&field("command"), "the command is a path, or a name to look up in PATH");
    }
    if stdio.args.len() > MAX_ARGS {
        of.add(&field("args"), format!("a command has at most {MAX_ARGS} arguments"));
    }
    for (at, arg) in stdio.args.iter().enumerate().filter(|(_, arg)| !plain(arg)) {
        of.add(&field(&format!("args[{at}]")), format!("{} bytes with a zero byte, or too many", arg.len()));
    }
    if stdio.env.len() > MAX_ARGS {
        of.add(&field("env"), format!("a command has at most {MAX_ARGS} variables"));
    }
    for (name, value) in &stdio.env {
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || name.len() > 256 || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            of.add(
                &field("env"),
                format!("{name:?} is no name of a variable: letters, digits and _, no digit first"),
            );
        }
        if !plain(value) {
            of.add(
                &field(&format!("env.{name}")),
                format!("a value has at most {MAX_TEXT} bytes and no zero byte"),
            );
        }
    }
    if !(1..=MAX_INSTANCES).contains(&stdio.instances) {
        of.add(&field("instances"), format!("1 to {MAX_INSTANCES} children share the calls"));
    }
}

fn auth(field: &str, auth: &Auth, of: &mut FindingsOf<'_>) {
    let Auth::Header(header) = auth else { return };
    let name = header.name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
        let message = "a header's name is letters, digits and -, such as Authorization";
        of.add(&format!("{field}.auth.header.name"), message);
    } else if RESERVED_HEADERS.contains(&name.as_str())
        || name.starts_with("mcp-")
        || name.starts_with("proxy-")
        || name.starts_with("sec-")
    {
        let message = format!("{} is set by Portcullis or by HTTP itself", header.name);
        of.add(&format!("{field}.auth.header.name"), message);
    }
}

pub(super) fn limits(limits: &LimitSettings, of: &mut FindingsOf<'_>) {
    if limits.timeout.is_some_and(|timeout| timeout.0.is_zero() || timeout.0 > MAX_TIMEOUT) {
        of.add("spec.limits.timeout", "it is more than 0 and at most 1h");
    }
    let sizes = [
        ("spec.limits.maxRequestBytes", limits.max_request_bytes),
        ("spec.limits.maxResponseBytes", limits.max_response_bytes),
    ];
    for (field, size) in sizes {
        if size.is_some_and(|size| !(1..=MAX_BYTES).contains(&size.0)) {
            of.add(field, "it is more than 0 and at most 1GiB");
        }
    }
    if limits.concurrency.is_some_and(|calls| !(1..=MAX_CONCURRENCY).contains(&calls)) {
        of.add("spec.limits.concurrency", format!("it is 1 to {MAX_CONCURRENCY}"));
    }
}

/// Each class has a form, and the server's zone allows it.
fn classes(field: &str, classes: &[String], zone: &Name, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    text::data_classes(field, classes, false, of);
    for (at, class) in refused_classes(classes, zone, set) {
        of.add(
            &format!("{field}[{at}]"),
            format!("the zone {zone} does not allow {class}: add it to its allowedDataClasses"),
        );
    }
}

/// The classes that a zone does not allow, with their places.
fn refused_classes<'a>(classes: &'a [String], zone: &Name, set: &ResourceSet) -> Vec<(usize, &'a String)> {
    let Some(zone) = zone_spec(zone, set) else { return Vec::new() };
    let allowed = &zone.allowed_data_classes;
    if allowed.iter().any(|class| class == "*") {
        return Vec::new();
    }
    classes.iter().enumerate().filter(|(_, class)| !allowed.contains(class)).collect()
}

fn zone_spec<'a>(zone: &Name, set: &'a ResourceSet) -> Option<&'a TrustZoneSpec> {
    match set.get(Kind::TrustZone, zone).map(|resource| &resource.spec) {
        Some(Spec::TrustZone(spec)) => Some(spec),
        _ => None,
    }
}

/// Who hosts the server is somebody whom the zone allows.
fn hosting(field: &str, zone: &Name, spec: &McpServerSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let Some(allowed) = zone_spec(zone, set).map(|zone| &zone.allowed_hosting) else { return };
    if !allowed.is_empty() && !allowed.contains(&spec.hosting) {
        of.add(
            field,
            format!(
                "TrustZone/{zone} spec.allowedHosting forbids it: a server with hosting: {} cannot be in this zone; put \
                 it into another one, or allow such servers there",
                spec.hosting.as_str()
            ),
        );
    }
}

/// A tool in a zone of its own: the zone is there, and takes the server's host and all that the server handles.
fn own_zone(field: &str, zone: &Name, spec: &McpServerSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    of.reference(field, Kind::TrustZone, zone, set);
    hosting(field, zone, spec, set, of);
    for (_, class) in refused_classes(&spec.data_classes, zone, set) {
        of.add(
            field,
            format!("the zone {zone} does not allow {class}, which the server handles: add it to its allowedDataClasses"),
        );
    }
}

fn overrides(spec: &McpServerSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let overrides = &spec.tools.overrides;
    if overrides.len() > MAX_OVERRIDES {
        of.add("spec.tools.overrides", format!("a server has at most {MAX_OVERRIDES} overrides"));
        return;
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, of_one) in overrides.iter().enumerate() {
        let ToolOverride { name, alias, data_classes, zone, .. } = of_one;
        let field = format!("spec.tools.overrides[{at}]");
        metering::check(&format!("{field}."), metering::Of::Tool, &of_one.metering(), set, of);
        if !text::short(name, 1, 512) {
            of.add(&format!("{field}.name"), "the upstream's name of a tool has 1 to 512 characters");
        }
        if let Some(first) = seen.insert(name, at) {
            of.add(
                &format!("{field}.name"),
                format!("{name} is overridden twice; the other one is spec.tools.overrides[{first}]"),
            );
        }
        if let Some(alias) = alias.as_ref().filter(|alias| !valid_exposed_name(alias)) {
            of.add(
                &format!("{field}.alias"),
                format!(
                    "{:?} is no exposed name: 1 to 64 of a-z, A-Z, 0-9, _ and -",
                    alias.chars().take(80).collect::<String>()
                ),
            );
        }
        if let Some(zone) = zone {
            own_zone(&format!("{field}.zone"), zone, spec, set, of);
        }
        let zone = zone.as_ref().unwrap_or(&spec.zone);
        classes(&format!("{field}.dataClasses"), data_classes, zone, set, of);
    }
}

/// No two tools have one alias, and no alias begins like the default names of a server: the two could meet.
pub(super) fn aliases(set: &ResourceSet, findings: &mut Findings) {
    let servers = || {
        set.iter().filter_map(|resource| match &resource.spec {
            Spec::McpServer(spec) => Some((resource, &**spec)),
            _ => None,
        })
    };
    let mut claimed: BTreeMap<&str, (&Resource, usize)> = BTreeMap::new();
    for (resource, spec) in servers() {
        for (at, rule) in spec.tools.overrides.iter().enumerate() {
            let Some(alias) = rule.alias.as_deref().filter(|alias| valid_exposed_name(alias)) else {
                continue;
            };
            let field = format!("spec.tools.overrides[{at}].alias");
            if let Some((other, place)) = claimed.insert(alias, (resource, at)) {
                let other = other.name();
                let message =
                    format!("{alias} is the alias of McpServer/{other} spec.tools.overrides[{place}] too");
                findings.of(resource).add(&field, message);
            }
            // A server's name holds no underscore: only what stands before the first one can be a server.
            let owner = alias
                .split_once('_')
                .and_then(|(before, _)| before.parse().ok())
                .filter(|name| set.contains(Kind::McpServer, name));
            if let Some(owner) = owner {
                let message = format!(
                    "{alias} begins with {owner}_, as the default names of the tools of McpServer/{owner} do: \
                     choose another alias"
                );
                findings.of(resource).add(&field, message);
            }
        }
    }
}
