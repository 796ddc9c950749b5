//! Schemas that accept anything, and schemas that accept more than what was approved did.

use super::super::finding::{Code, Findings, Severity};
use super::super::tree::{Tree, step};

/// Members that say what a value is.
const SAYS: &[&str] = &[
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "not",
    "properties",
    "items",
    "if",
    "$dynamicRef",
];
/// Members that narrow what a value may be.
const NARROWS: &[&str] = &[
    "pattern",
    "format",
    "maxLength",
    "minLength",
    "maximum",
    "minimum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "multipleOf",
    "maxProperties",
];

/// Looks at a tool's input schema, and at what was approved of it.
pub(in super::super) fn check(offered: &Tree, approved: Option<&Tree>, findings: &mut Findings) {
    let Some(schema) = offered.get("inputSchema") else { return };
    root(schema, findings);
    if let Some(properties) = schema.get("properties") {
        for (name, property) in properties.members() {
            typeless(property, &step("/inputSchema/properties", name), findings);
        }
    }
    if let Some(before) = approved.and_then(|approved| approved.get("inputSchema")) {
        opened(before, schema, "/inputSchema", findings);
    }
}

fn root(schema: &Tree, findings: &mut Findings) {
    let composed = ["anyOf", "oneOf", "allOf", "$ref", "patternProperties"]
        .iter()
        .any(|name| schema.get(name).is_some());
    let empty = schema.get("properties").is_none_or(|properties| properties.members().is_empty());
    let others = schema.get("additionalProperties");
    let path = "/inputSchema";
    match others {
        Some(others) if open(Some(others)) && empty && !composed => {
            let says = "It takes any arguments at all, and says so.";
            let path = &step(path, "additionalProperties");
            findings.add(Code::AcceptsAnything, Severity::Warn, path, &others.written(), says);
        }
        Some(others) if open(Some(others)) => {
            let says = "It takes arguments that it does not name.";
            let path = &step(path, "additionalProperties");
            findings.add(Code::AcceptsAnything, Severity::Info, path, &others.written(), says);
        }
        None if empty && !composed => {
            let says = "It names no arguments, and forbids none.";
            findings.add(Code::AcceptsAnything, Severity::Info, path, &schema.written(), says);
        }
        _ => {}
    }
}

/// Whether members that are not named are accepted, where the schema says so itself.
fn open(additional: Option<&Tree>) -> bool {
    match additional {
        None => true,
        Some(Tree::Object(members)) => members.is_empty(),
        Some(other) => other.truth() == Some(true),
    }
}

fn typeless(property: &Tree, path: &str, findings: &mut Findings) {
    let says_nothing = match property {
        Tree::Object(_) => SAYS.iter().all(|name| property.get(name).is_none()),
        other => other.truth() == Some(true),
    };
    if says_nothing {
        let says = "It does not say what this may be.";
        findings.add(Code::AcceptsAnything, Severity::Info, path, &property.written(), says);
    }
    for (name, below) in property.get("properties").map(Tree::members).unwrap_or_default() {
        typeless(below, &step(&step(path, "properties"), name), findings);
    }
}

fn opened(before: &Tree, after: &Tree, path: &str, findings: &mut Findings) {
    let mut add = |severity, name: &str, says: &str| {
        let was = before.get(name).map(Tree::written).unwrap_or_default();
        findings.add(Code::SchemaOpened, severity, &step(path, name), &was, says);
    };
    let is_object = |schema: &Tree| {
        schema.get("properties").is_some() || schema.get("type").and_then(Tree::text) == Some("object")
    };
    if is_object(before)
        && !open(before.get("additionalProperties"))
        && open(after.get("additionalProperties"))
    {
        add(
            Severity::Warn,
            "additionalProperties",
            "It takes members that it did not take when it was approved.",
        );
    }
    for name in ["type", "enum", "const"] {
        if before.get(name).is_some() && after.get(name).is_none() && !composed(after) {
            add(Severity::Warn, name, "What this may be is no longer said.");
        }
    }
    for name in NARROWS {
        if before.get(name).is_some() && after.get(name).is_none() {
            add(Severity::Info, name, "A bound is gone.");
        }
    }
    for (group, below) in before.members() {
        let Some(now) = after.get(group) else { continue };
        let path = step(path, group);
        match group.as_str() {
            "properties" | "$defs" | "definitions" => {
                for (name, before) in below.members() {
                    if let Some(after) = now.get(name) {
                        opened(before, after, &step(&path, name), findings);
                    }
                }
            }
            "items" | "additionalProperties" | "not" => opened(below, now, &path, findings),
            "anyOf" | "oneOf" | "allOf" => {
                for (at, (before, after)) in below.items().iter().zip(now.items()).enumerate() {
                    opened(before, after, &step(&path, &at.to_string()), findings);
                }
            }
            _ => {}
        }
    }
}

fn composed(schema: &Tree) -> bool {
    ["anyOf", "oneOf", "allOf", "$ref", "enum", "const", "type"].iter().any(|name| schema.get(name).is_some())
}
