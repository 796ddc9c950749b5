//! From a prober's report to what can be compared: every definition is judged on its own, so that a malformed one is refused
//! and named, and never breaks the others. What comes in here was written by an upstream and is believed in nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::ProbeReport;
use portcullis_seal::{Fingerprint, canonical_json, sha256, to_canonical_json};
use serde::Serialize;
use serde_json::value::RawValue;

use super::definition::{DefinitionKind, IDENTITY_NAME};
use super::observation::Observation;
use super::shape;
use crate::review::Risk;

/// The largest definition, in bytes of JSON.
pub const MAX_DEFINITION_BYTES: usize = 256 * 1024;
/// The largest definition as a text inside another JSON text, in bytes: two of them and more go into one object of the store.
const MAX_ESCAPED_BYTES: usize = 480 * 1024;
/// How many tools and prompts one server may offer.
pub const MAX_DEFINITIONS: usize = 10_000;
/// The largest `capabilities`, in bytes of JSON.
const MAX_CAPABILITIES_BYTES: usize = 64 * 1024;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// How many problems are kept of one report; the rest is counted.
const MAX_PROBLEMS: usize = 50;
/// How much of an upstream's text is repeated in a message, in characters.
const MAX_QUOTED: usize = 80;

/// One definition as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    /// SHA-256 of the canonical form.
    pub fingerprint: Fingerprint,
    /// The canonical form.
    pub definition: String,
    /// What the review found of it; absent until somebody looked.
    pub risk: Option<Risk>,
}

/// What one server offers: only what is well formed.
#[derive(Debug)]
pub(super) struct Offer {
    /// The server.
    pub server: Uid,
    /// Its definitions by kind and name; the identity among them where it is well formed.
    pub definitions: BTreeMap<(DefinitionKind, String), Sighting>,
    /// Facts about its protocol.
    pub observation: Observation,
    /// What was refused and why.
    pub problems: Problems,
}

/// What was refused of a report, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problems {
    /// The first of them.
    pub messages: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

impl Problems {
    /// Adds one.
    pub fn add(&mut self, message: String) {
        if self.messages.len() < MAX_PROBLEMS {
            self.messages.push(message);
        } else {
            self.more += 1;
        }
    }
}

/// Why a whole report was refused. The fault is the plane's that sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReport {
    /// The uid is none.
    #[error("{0:?} is no uid of a server")]
    Uid(String),
    /// The era is unknown.
    #[error("{0:?} is no era: \"modern\" or \"legacy\"")]
    Era(String),
    /// The revision is none.
    #[error("{0:?} is no protocol revision: YYYY-MM-DD")]
    Revision(String),
}

/// Reads the uid of a report.
///
/// # Errors
/// When it is none.
pub(super) fn server_uid(report: &ProbeReport) -> Result<Uid, BadReport> {
    report.server_uid.parse().map_err(|_| BadReport::Uid(quoted(&report.server_uid)))
}

/// Judges a report of a server that answered.
///
/// # Errors
/// When the report itself, not what it says of single definitions, makes no sense.
pub(super) fn judge(report: &ProbeReport) -> Result<Offer, BadReport> {
    let server = server_uid(report)?;
    let modern = match report.era.as_str() {
        "modern" => true,
        "legacy" => false,
        other => return Err(BadReport::Era(quoted(other))),
    };
    if !is_revision(&report.protocol_version) {
        return Err(BadReport::Revision(quoted(&report.protocol_version)));
    }
    let mut problems = Problems::default();
    let capabilities = capabilities(&report.capabilities_json).unwrap_or_else(|why| {
        problems.add(format!("capabilities: {why}"));
        "{}".to_owned()
    });
    let mut definitions = BTreeMap::new();
    match identity(report) {
        Ok(sighting) => {
            definitions.insert((DefinitionKind::Identity, IDENTITY_NAME.to_owned()), sighting);
        }
        Err(why) => problems.add(format!("identity: {why}")),
    }
    collect(DefinitionKind::Tool, &report.tools_json, MAX_DEFINITIONS, &mut definitions, &mut problems);
    let room = MAX_DEFINITIONS.saturating_sub(report.tools_json.len());
    collect(DefinitionKind::Prompt, &report.prompts_json, room, &mut definitions, &mut problems);
    Ok(Offer {
        server,
        definitions,
        observation: Observation { modern, protocol_version: report.protocol_version.clone(), capabilities },
        problems,
    })
}

fn collect(
    kind: DefinitionKind,
    texts: &[impl AsRef<[u8]>],
    room: usize,
    into: &mut BTreeMap<(DefinitionKind, String), Sighting>,
    problems: &mut Problems,
) {
    let label = kind.as_str();
    let mut claimed_twice = Vec::new();
    for (at, json) in texts.iter().take(room).enumerate() {
        let (name, sighting) = match definition(kind, json.as_ref()) {
            Ok(found) => found,
            Err(why) => {
                problems.add(format!("{label} {} of the list: {why}", at + 1));
                continue;
            }
        };
        match into.entry((kind, name)) {
            Entry::Vacant(free) => {
                free.insert(sighting);
            }
            // The same definition twice is one: pages of a list that changed meanwhile may overlap.
            Entry::Occupied(taken) if *taken.get() == sighting => {}
            Entry::Occupied(taken) => claimed_twice.push(taken.key().clone()),
        }
    }
    claimed_twice.sort();
    claimed_twice.dedup();
    for claim in claimed_twice {
        problems
            .add(format!("{label} {}: two definitions claim this name, both are refused", Quoted(&claim.1)));
        into.remove(&claim);
    }
    if texts.len() > room {
        problems.add(format!(
            "{} of the {label}s are left out: a server may offer {MAX_DEFINITIONS} definitions",
            texts.len() - room
        ));
    }
}

fn definition(kind: DefinitionKind, json: &[u8]) -> Result<(String, Sighting), String> {
    if json.len() > MAX_DEFINITION_BYTES {
        return Err(format!("larger than {MAX_DEFINITION_BYTES} bytes"));
    }
    // Canonical first: it refuses members that stand twice, so that what is judged below has one meaning.
    let definition = canonical_json(json).map_err(|error| error.to_string())?;
    let name = match kind {
        DefinitionKind::Prompt => shape::prompt_name(&definition),
        DefinitionKind::Tool | DefinitionKind::Identity => shape::tool_name(&definition),
    }
    .map_err(|error| format!("not as the protocol asks: {error}"))?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(format!(
            "the name {} is empty, longer than {MAX_NAME_BYTES} bytes, or holds control characters",
            Quoted(&name)
        ));
    }
    Ok((name, sighting(definition)?))
}

fn identity(report: &ProbeReport) -> Result<Sighting, String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Identity<'a> {
        instructions: Option<&'a str>,
        server_info: Option<&'a RawValue>,
    }
    if report.server_info_json.len() + report.instructions.len() > MAX_DEFINITION_BYTES {
        return Err(format!("larger than {MAX_DEFINITION_BYTES} bytes"));
    }
    let server_info = match report.server_info_json.as_ref() {
        [] => None,
        json => Some(serde_json::from_slice::<&RawValue>(json).map_err(|error| error.to_string())?),
    };
    if let Some(info) = server_info
        && !info.get().starts_with('{')
    {
        return Err("serverInfo is no object".to_owned());
    }
    let instructions = Some(report.instructions.as_str()).filter(|text| !text.is_empty());
    to_canonical_json(&Identity { instructions, server_info })
        .map_err(|error| error.to_string())
        .and_then(sighting)
}

fn capabilities(json: &[u8]) -> Result<String, String> {
    if json.is_empty() {
        return Ok("{}".to_owned());
    }
    if json.len() > MAX_CAPABILITIES_BYTES {
        return Err(format!("larger than {MAX_CAPABILITIES_BYTES} bytes"));
    }
    let text = canonical_json(json).map_err(|error| error.to_string())?;
    if text.starts_with('{') { Ok(text) } else { Err("not an object".to_owned()) }
}

fn sighting(definition: String) -> Result<Sighting, String> {
    // Each byte takes two at most when canonical JSON is escaped once more: only long texts need a closer look.
    if definition.len() > MAX_ESCAPED_BYTES / 2 && escaped_bytes(&definition) > MAX_ESCAPED_BYTES {
        return Err(format!("larger than {MAX_ESCAPED_BYTES} bytes where it is stored"));
    }
    Ok(Sighting {
        fingerprint: Fingerprint::from_bytes(sha256(definition.as_bytes())),
        definition,
        risk: None,
    })
}

/// How many bytes a text takes inside a JSON text.
fn escaped_bytes(text: &str) -> usize {
    text.bytes().map(|byte| if matches!(byte, b'"' | b'\\') { 2 } else { 1 }).sum()
}

fn is_revision(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

/// An upstream's text in a message: escaped and cut.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", quoted(self.0))
    }
}

#[cfg(test)]
mod tests;
