//! `explain`: why a call is permitted or denied.

use std::io::Read as _;

use portcullis_proto::admin::v1 as api;
use serde_json::Value;

use crate::args::ExplainArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table};

pub(crate) async fn run(args: ExplainArgs) -> Result<(), Failure> {
    let arguments = arguments(&args.arguments)?;
    check(&args.endpoint, &arguments)?;
    let (client_name, client_version) = program(args.client.as_deref().unwrap_or_default());
    let client = Client::connect(&args.server).await?;
    let request = api::ExplainRequest {
        key: args.key,
        tool: args.tool,
        endpoint: args.endpoint,
        arguments_json: arguments,
        assume: args.assume,
        network: args.network.map(|address| address.to_string()).unwrap_or_default(),
        era: args.era.unwrap_or_default(),
        client_name,
        client_version,
        plane: args.plane.unwrap_or_default(),
    };
    let reply = client.policy().explain(request).await?.into_inner();
    let value: Value = serde_json::from_str(&reply.json).map_err(|error| Failure::of("the answer", error))?;
    output::print(args.output.output, &value, || explanation(&value))
}

/// The largest arguments that are read from a file, in bytes; the control plane takes no larger ones.
const MAX_ARGUMENTS: u64 = 16 << 20;

/// The arguments themselves, or what is in the file that `@FILE` names: a shell passes on no more than 128 KiB at once.
fn arguments(text: &str) -> Result<String, Failure> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let failed = |error| Failure::usage_of(format!("--arguments: {path}"), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut read = String::new();
    file.take(MAX_ARGUMENTS + 1).read_to_string(&mut read).map_err(failed)?;
    if read.len() as u64 > MAX_ARGUMENTS {
        return Err(Failure::usage(format!("--arguments: {path} has more than 16 MiB")));
    }
    Ok(read)
}

/// A program and its version: names hold slashes too, and versions begin with a digit.
fn program(text: &str) -> (String, String) {
    match text.rsplit_once('/') {
        Some((name, version)) if !name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()) => {
            (name.to_owned(), version.to_owned())
        }
        _ => (text.to_owned(), String::new()),
    }
}

/// What the control plane would refuse whatever it knows.
fn check(endpoint: &str, arguments: &str) -> Result<(), Failure> {
    let parts: Vec<_> = endpoint.trim_start_matches('/').split('/').collect();
    if !matches!(parts.as_slice(), ["mcp"] | ["bundles" | "servers", _, "mcp"]) {
        return Err(Failure::usage(format!(
            "--endpoint {endpoint:?} is none: an endpoint is /mcp, /bundles/NAME/mcp or /servers/NAME/mcp"
        )));
    }
    if arguments.is_empty() {
        return Ok(());
    }
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(Failure::usage("--arguments: write one JSON object, such as {\"text\": \"hello\"}")),
        Err(error) => Err(Failure::usage(format!("--arguments: this is no JSON: {error}"))),
    }
}

fn explanation(value: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let steps = value.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    // An approval, or a stage, changes without the document of the server that it is of.
    let version = |step: &Value| {
        let own = step.get("approvalVersion").or_else(|| step.get("stateVersion"));
        let found = own.or_else(|| step.pointer("/resource/version"));
        found.and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |version| version.to_string())
    };
    let rows = steps.iter().map(|step| {
        [text(step, "step"), text(step, "outcome"), text(step, "rule"), version(step), text(step, "detail")]
    });
    let mut out = table(&["STEP", "OUTCOME", "RULE", "VERSION", "DETAIL"], rows);
    out.push_str(&format!("\n\n{}", text(value, "decision")));
    for (label, name) in [("reason", "reason"), ("rule", "rule")] {
        let found = text(value, name);
        if !found.is_empty() {
            out.push_str(&format!(", {label} {found}"));
        }
    }
    if let Some(approval) = value.get("approval") {
        out.push_str(&format!(", approval {} is {}", text(approval, "id"), text(approval, "state")));
    }
    if let Some(version) = value.get("snapshotVersion") {
        out.push_str(&format!(", snapshot {version}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_name_and_perhaps_a_version() {
        for (text, name, version) in [
            ("", "", ""),
            ("cursor", "cursor", ""),
            ("cursor/1.2", "cursor", "1.2"),
            ("@org/tool", "@org/tool", ""),
            ("@org/tool/0.1", "@org/tool", "0.1"),
        ] {
            assert_eq!(program(text), (name.to_owned(), version.to_owned()), "{text}");
        }
    }
}
