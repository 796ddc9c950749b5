//! One document to one resource: what is not enforced is named first, then the types are asked.

use serde::de::DeserializeOwned;

use super::known;
use super::read::{At, Path, ReadError};
use super::tree::{Member, Node, Tree};
use crate::resource::{API_VERSION, Kind, Metadata, Resource, Spec, Uid};

/// More problems of one document than these help nobody.
const MAX_PROBLEMS: usize = 32;

/// What is wrong with a document at one place.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) field: String,
    pub(super) message: String,
}

/// `Kind/name`, as far as they can be read.
pub(super) fn label(document: &Node) -> String {
    let text = |node: Option<&Member>| node.and_then(|member| member.value.text()).map(short);
    let name = text(document.get("metadata").and_then(|metadata| metadata.value.get("name")));
    match (text(document.get("kind")), name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        (Some(kind), None) => kind,
        (None, Some(name)) => name,
        (None, None) => String::new(),
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What a document says of the resource that is there: what `get` shows beside the resource itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) uid: Option<Uid>,
    pub(super) version: Option<u64>,
}

/// Reads a document that a person wrote, or got and changed: it may name the uid and the version of what it means, and hold
/// the `status` that was shown with it.
pub(super) fn read_written(document: &Node) -> Result<(Resource, Given), Vec<Fault>> {
    let mut own = document.clone();
    let mut faults = Vec::new();
    let given = take_given(&mut own, &mut faults);
    match read(&own) {
        Ok(resource) if faults.is_empty() => Ok((resource, given)),
        Ok(_) => Err(faults),
        Err(more) => {
            faults.extend(more);
            faults.sort_by_key(|fault| fault.line);
            Err(faults)
        }
    }
}

fn take_given(document: &mut Node, faults: &mut Vec<Fault>) -> Given {
    let mut given = Given::default();
    let mut fault = |member: &Member, field: &str, message: &str| {
        faults.push(Fault { line: member.line, field: field.to_owned(), message: message.to_owned() });
    };
    if let Some(status) = document.take("status")
        && !matches!(status.value.value, Tree::Map(_))
    {
        fault(&status, "status", "a status is a mapping that get shows and nobody writes: leave it out");
    }
    let Tree::Map(members) = &mut document.value else { return given };
    let Some(metadata) = members.iter_mut().find(|member| member.name == "metadata") else { return given };
    if let Some(uid) = metadata.value.take("uid") {
        given.uid = uid.value.text().and_then(|text| text.parse().ok());
        if given.uid.is_none() {
            let message = "this is no uid: write the one that get shows, or leave it out";
            fault(&uid, "metadata.uid", message);
        }
    }
    if let Some(version) = metadata.value.take("version") {
        given.version = match &version.value.value {
            Tree::Number(number) => number.as_u64(),
            _ => None,
        };
        if given.version.is_none() {
            let message = "this is no version: write the whole number that get shows, or leave it out";
            fault(&version, "metadata.version", message);
        }
    }
    given
}

/// Reads a document.
pub(super) fn read(document: &Node) -> Result<Resource, Vec<Fault>> {
    let mut faults = Vec::new();
    let Some(kind) = envelope(document, &mut faults) else { return Err(faults) };
    let mut pruned = document.clone();
    let removed = not_enforced(kind, &mut pruned, &mut faults);
    let metadata = part::<Metadata>(&mut pruned, "metadata", &[], &mut faults);
    let spec = match kind {
        Kind::TrustZone => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::TrustZone),
        Kind::Customer => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::Customer),
        Kind::Team => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::Team),
        Kind::RolloutPolicy => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::RolloutPolicy),
        Kind::TierDefaults => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::TierDefaults),
        Kind::McpServer => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::McpServer),
        Kind::ToolBundle => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::ToolBundle),
        Kind::VirtualKey => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::VirtualKey),
        Kind::Role => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::Role),
        Kind::RoleBinding => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::RoleBinding),
        Kind::ApprovalRule => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::ApprovalRule),
        Kind::Client => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::Client),
        Kind::AccessPolicy => part(&mut pruned, "spec", &removed, &mut faults).map(Spec::AccessPolicy),
    };
    match (metadata, spec) {
        (Some(metadata), Some(spec)) if faults.is_empty() => Ok(Resource { metadata, spec }),
        _ => {
            faults.sort_by_key(|fault| fault.line);
            Err(faults)
        }
    }
}

/// The members around metadata and spec.
fn envelope(document: &Node, faults: &mut Vec<Fault>) -> Option<Kind> {
    let mut fault = |line, field: &str, message: String| {
        faults.push(Fault { line, field: field.to_owned(), message });
    };
    let Tree::Map(members) = &document.value else {
        let message = "a document is a mapping with apiVersion, kind, metadata and spec".to_owned();
        fault(document.line, "", message);
        return None;
    };
    for member in members {
        if !["apiVersion", "kind", "metadata", "spec"].contains(&member.name.as_str()) {
            let message =
                "no such field is known here; known are: apiVersion, kind, metadata, spec".to_owned();
            fault(member.line, &short(&member.name), message);
        }
    }
    match document.get("apiVersion") {
        None => fault(document.line, "apiVersion", format!("it is missing: write apiVersion: {API_VERSION}")),
        Some(member) if member.value.text() != Some(API_VERSION) => {
            fault(member.line, "apiVersion", format!("it must be {API_VERSION}"));
        }
        Some(_) => {}
    }
    let kinds = || Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    let Some(member) = document.get("kind") else {
        fault(document.line, "kind", format!("it is missing: write one of {}", kinds()));
        return None;
    };
    let written = member.value.text().unwrap_or_default();
    let kind = Kind::ALL.iter().copied().find(|kind| kind.as_str() == written);
    if kind.is_none() {
        let message = if known::KINDS.contains(&written) {
            format!("the kind {written} is known but not enforced by this version, and is therefore refused")
        } else {
            format!("there is no kind {:?}; write one of {}", short(written), kinds())
        };
        fault(member.line, "kind", message);
    }
    kind
}

/// Takes out what is known and not enforced, a fault for each. Returns the places that were emptied.
fn not_enforced(kind: Kind, document: &mut Node, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut removed = Vec::new();
    for field in known::fields(kind) {
        remove(document, field, &Path::Root, &mut |path, member| {
            faults.push(Fault {
                line: member.line,
                field: path.clone(),
                message: "this field is known but not enforced by this version, and is therefore refused: leave it out"
                    .to_owned(),
            });
            removed.push(path);
            true
        });
    }
    for (field, value) in known::values(kind) {
        remove(document, field, &Path::Root, &mut |path, member| {
            let found = member.value.text() == Some(*value);
            if found {
                faults.push(Fault {
                    line: member.line,
                    field: path.clone(),
                    message: format!(
                        "the value {value} is known but not enforced by this version, and is therefore refused"
                    ),
                });
                removed.push(path);
            }
            found
        });
    }
    removed
}

/// Walks a field such as `spec.tools.overrides[].approval` and removes what `judge` says yes to.
fn remove(node: &mut Node, field: &str, path: &Path<'_>, judge: &mut dyn FnMut(String, &Member) -> bool) {
    let (first, rest) = match field.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (field, None),
    };
    let (name, list) = match first.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (first, false),
    };
    let Tree::Map(members) = &mut node.value else { return };
    let here = Path::Key(path, name);
    let Some(rest) = rest else {
        members.retain(|member| member.name != name || !judge(here.to_string(), member));
        return;
    };
    let Some(member) = members.iter_mut().find(|member| member.name == name) else { return };
    match (&mut member.value.value, list) {
        (Tree::List(items), true) => {
            for (at, item) in items {
                remove(item, rest, &Path::Index(&here, *at), judge);
            }
        }
        (_, false) => remove(&mut member.value, rest, &here, judge),
        _ => {}
    }
}

/// Reads one part of a document, again and again until nothing new is wrong: an unknown member is taken out, and anything else
/// that is wrong is moved behind all that was not read yet. So one run names as much as possible.
fn part<T: DeserializeOwned>(
    document: &mut Node,
    name: &'static str,
    removed: &[String],
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let path = Path::Key(&Path::Root, name);
    let line = document.get(name).map_or(document.line, |member| member.line);
    let mut node = match document.get(name) {
        // An empty `spec:` is one that says nothing.
        Some(member) if matches!(member.value.value, Tree::Null) => {
            Node { line: member.line, value: Tree::Map(Vec::new()) }
        }
        Some(member) => member.value.clone(),
        None => Node { line, value: Tree::Map(Vec::new()) },
    };
    let mut named: Vec<String> = Vec::new();
    // How often in a row nothing new was wrong: after a whole round there is nothing more to find.
    let mut repeats = 0;
    while named.len() < MAX_PROBLEMS && repeats <= named.len() {
        let error = match T::deserialize(At { node: &node, line, path: &path }) {
            // Nothing more is wrong, and something was.
            Ok(_) if !named.is_empty() => return None,
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let ReadError { path: place, line, message, unknown, .. } = error;
        let place = place.unwrap_or_else(|| name.to_owned());
        let within = place.strip_prefix(name).unwrap_or_default();
        put_last(&mut node, within.strip_prefix('.').unwrap_or(within), unknown);
        if named.contains(&place) {
            repeats += 1;
            continue;
        }
        repeats = 0;
        if !removed.iter().any(|gone| follows(&place, gone)) {
            faults.push(Fault { line, field: place.clone(), message: hint(&place, message) });
        }
        named.push(place);
    }
    None
}

/// Whether a fault at `place` may come of taking out `gone`: it speaks of the same place or of one around it.
fn follows(place: &str, gone: &str) -> bool {
    gone.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Moves what stands at a path behind its siblings, and each thing around it likewise; or takes it out.
fn put_last(node: &mut Node, path: &str, take_out: bool) {
    if path.is_empty() {
        return;
    }
    match &mut node.value {
        Tree::Map(members) => {
            // The longest name that the path begins with: names may hold dots.
            let rest_of = |member: &Member| {
                let rest = path.strip_prefix(member.name.as_str())?;
                (rest.is_empty() || rest.starts_with(['.', '[']))
                    .then(|| rest.strip_prefix('.').unwrap_or(rest))
            };
            let found = (0..)
                .zip(members.iter())
                .filter_map(|(at, member)| rest_of(member).map(|rest| (at, member.name.len(), rest)))
                .max_by_key(|(_, length, _)| *length);
            let Some((at, _, rest)) = found else { return };
            let mut member = members.remove(at);
            if rest.is_empty() && take_out {
                return;
            }
            put_last(&mut member.value, rest, take_out);
            members.push(member);
        }
        Tree::List(items) => {
            let number = path.strip_prefix('[').and_then(|path| path.split_once(']'));
            let Some((number, rest)) = number else { return };
            let Ok(number) = number.parse::<usize>() else { return };
            let Some(at) = items.iter().position(|(place, _)| *place == number) else { return };
            let (_, mut item) = items.remove(at);
            put_last(&mut item, rest.strip_prefix('.').unwrap_or(rest), take_out);
            items.push((number, item));
        }
        _ => {}
    }
}

/// Adds what would be right where the library that reads the value does not say it.
fn hint(place: &str, message: String) -> String {
    match place {
        "spec.expiresAt" => {
            format!("{message}; write a time as in RFC 3339, such as \"2027-01-01T00:00:00Z\"")
        }
        "spec.transport" if message.contains("required and missing") => {
            "this field is required and missing: write { streamableHttp: { url: … } } or { stdio: { command: … } }"
                .to_owned()
        }
        "spec.principal" if message.contains("required and missing") => {
            "this field is required and missing: write { kind: human|agent|workload, subject: … }".to_owned()
        }
        "metadata.name" if message.contains("required and missing") => {
            "this field is required and missing: every resource has a name".to_owned()
        }
        _ => message,
    }
}
