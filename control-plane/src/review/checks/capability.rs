//! What a tool may do: what its hints say, what its name and words say, and whether both became more than was approved.

use std::collections::BTreeSet;

use super::super::finding::{Code, Findings, Severity};
use super::super::tree::{Tree, step};

const DESTROYS: &[&str] = &[
    "delete",
    "remove",
    "drop",
    "truncate",
    "destroy",
    "purge",
    "wipe",
    "erase",
    "kill",
    "terminate",
    "revoke",
    "uninstall",
    "overwrite",
    "deletes",
    "removes",
    "drops",
    "truncates",
    "destroys",
    "purges",
    "wipes",
    "erases",
    "kills",
    "terminates",
    "revokes",
    "uninstalls",
    "overwrites",
];
const WRITES: &[&str] = &[
    "write",
    "update",
    "insert",
    "patch",
    "merge",
    "push",
    "upload",
    "publish",
    "deploy",
    "send",
    "modify",
    "rename",
    "transfer",
    "pay",
    "edit",
    "writes",
    "updates",
    "inserts",
    "patches",
    "merges",
    "pushes",
    "uploads",
    "publishes",
    "deploys",
    "sends",
    "modifies",
    "renames",
    "transfers",
    "pays",
    "edits",
    "forward",
    "forwards",
];
/// Verbs that say so of some tools and not of others: worth knowing, no contradiction to a read-only hint.
const MAYBE: &[&str] = &[
    "create", "add", "set", "put", "post", "move", "run", "execute", "exec", "submit", "approve", "assign",
    "save", "creates", "adds", "sets", "posts", "moves", "runs", "executes", "submits", "saves",
];
/// Parameters that hand over what is done.
const COMMANDS: &[&str] = &["command", "cmd", "shell", "script", "exec", "eval", "sudo", "code"];

/// Looks at a tool, and at what was approved of it.
pub(in super::super) fn check(name: &str, offered: &Tree, approved: Option<&Tree>, findings: &mut Findings) {
    let reads = hint(offered, "readOnlyHint").unwrap_or(false);
    if let Some(approved) = approved {
        hints_changed(offered, approved, findings);
        words_gained(offered, approved, findings);
        parameters_gained(offered, approved, findings);
    }
    let Some(verb) = words(name).into_iter().next() else { return };
    let destroys = DESTROYS.contains(&verb.as_str());
    if reads && (destroys || WRITES.contains(&verb.as_str())) {
        let says = "Its name says that it changes something, and its hint that it only reads.";
        findings.add(Code::ReadOnlyDoubted, Severity::Warn, "/name", name, says);
    } else if !reads && destroys && hint(offered, "destructiveHint") == Some(false) {
        let says = "Its name says that it destroys something, and its hint that it does not.";
        findings.add(Code::ReadOnlyDoubted, Severity::Warn, "/name", name, says);
    } else if !reads && [DESTROYS, WRITES, MAYBE].iter().any(|verbs| verbs.contains(&verb.as_str())) {
        findings.add(Code::Writes, Severity::Info, "/name", name, "Its name says that it changes something.");
    }
    let description = offered.get("description").and_then(Tree::text).unwrap_or_default();
    if reads
        && let Some(first) = words(description).into_iter().next()
        && (DESTROYS.contains(&first.as_str()) || WRITES.contains(&first.as_str()))
        && !destroys
    {
        let says = "Its description says that it changes something, and its hint that it only reads.";
        findings.add(Code::ReadOnlyDoubted, Severity::Warn, "/description", &first, says);
    }
}

fn hint(tool: &Tree, name: &str) -> Option<bool> {
    tool.get("annotations")?.get(name)?.truth()
}

fn hints_changed(offered: &Tree, approved: &Tree, findings: &mut Findings) {
    // What a hint means where it is absent is what the specification says: not read-only, destructive, open world.
    let table = [
        (
            "readOnlyHint",
            true,
            Code::ReadOnlyDropped,
            Severity::High,
            "It was approved as a tool that only reads, and is none now.",
        ),
        (
            "destructiveHint",
            false,
            Code::DestructiveGained,
            Severity::High,
            "It was approved as a tool that destroys nothing, and says so no longer.",
        ),
        (
            "openWorldHint",
            false,
            Code::OpenWorldGained,
            Severity::Warn,
            "It was approved as a tool of a closed world, and is none now.",
        ),
        (
            "idempotentHint",
            true,
            Code::CapabilityGained,
            Severity::Info,
            "Calling it twice is no longer the same as once.",
        ),
    ];
    for (name, was, code, severity, says) in table {
        if hint(approved, name) == Some(was) && hint(offered, name) != Some(was) {
            let now = hint(offered, name).map_or("absent", |now| if now { "true" } else { "false" });
            findings.add(
                code,
                severity,
                &format!("/annotations/{name}"),
                &format!("{name}: {was} → {now}"),
                says,
            );
        }
    }
}

fn words_gained(offered: &Tree, approved: &Tree, findings: &mut Findings) {
    for member in ["title", "description"] {
        let of = |tool: &Tree| words(tool.get(member).and_then(Tree::text).unwrap_or_default());
        let before: BTreeSet<String> = of(approved).into_iter().collect();
        let gained: BTreeSet<String> =
            of(offered).into_iter().filter(|word| !before.contains(word)).collect();
        for word in gained {
            let severity = match word.as_str() {
                word if DESTROYS.contains(&word) => Severity::Warn,
                word if WRITES.contains(&word) || MAYBE.contains(&word) => Severity::Info,
                _ => continue,
            };
            let says = "It speaks of doing more than what was approved spoke of.";
            findings.add(Code::CapabilityGained, severity, &step("", member), &word, says);
        }
    }
}

fn parameters_gained(offered: &Tree, approved: &Tree, findings: &mut Findings) {
    let of = |tool: &Tree| {
        let properties = tool.get("inputSchema").and_then(|schema| schema.get("properties"));
        properties.map(|properties| {
            properties.members().iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
        })
    };
    let before = of(approved).unwrap_or_default();
    for name in of(offered).unwrap_or_default().difference(&before) {
        if words(name).iter().any(|word| COMMANDS.contains(&word.as_str())) {
            let says = "It takes something to execute, which it did not when it was approved.";
            findings.add(
                Code::CapabilityGained,
                Severity::Warn,
                &step("/inputSchema/properties", name),
                name,
                says,
            );
        }
    }
}

/// Plain words in lower case; a capital after a small letter begins one.
fn words(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut before = ' ';
    for character in text.chars() {
        let hump = character.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (hump || !character.is_ascii_alphanumeric()) && out.last().is_some_and(|word| !word.is_empty()) {
            out.push(String::new());
        }
        if character.is_ascii_alphanumeric()
            && let Some(word) = out.last_mut()
        {
            word.push(character.to_ascii_lowercase());
        }
        before = character;
    }
    out.retain(|word| !word.is_empty());
    out
}
