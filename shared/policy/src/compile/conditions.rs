//! `AccessPolicy`s: read again here, whatever the control plane checked, with what they name.

use std::collections::BTreeMap;

use portcullis_conditions::{Compiled, Policy};

use super::notes::Notes;
use crate::check::policy::{refers, text};
use crate::conditions::Conditions;
use crate::resource::Kind;
use crate::snapshot::PolicyEntry;

/// Reads the entries, which are in the order of their names. `known` tells whether a resource is there.
pub(super) fn conditions(
    entries: &[PolicyEntry],
    known: impl Fn(Kind, &str) -> bool,
    notes: &mut Notes,
) -> Conditions {
    // Most organisations have none, and reading the schema takes longer than compiling a small snapshot.
    if entries.is_empty() {
        return Conditions::default();
    }
    let mut policies = BTreeMap::new();
    for entry in entries {
        if policies.insert(entry.name.clone(), entry.spec.clone()).is_some() {
            notes.duplicate("policy names", &entry.name, "another policy".to_owned(), entry.uid.to_string());
        }
    }
    let texts: Vec<Policy<'_>> = entries.iter().map(|entry| text(&entry.name, &entry.spec)).collect();
    match Compiled::new(&texts) {
        Ok(compiled) => {
            for mention in compiled.mentions() {
                let Some((kind, name)) = refers(mention).filter(|(kind, name)| !known(*kind, name)) else {
                    continue;
                };
                notes.dangling(format!("AccessPolicy/{}", mention.policy), "cedar", kind.as_str(), name);
            }
            Conditions::new(compiled, policies)
        }
        Err(problems) => {
            for problem in problems {
                let (line, column, what) = (problem.line, problem.column, problem.message);
                let message = format!("line {line}, column {column} of the text: {what}");
                notes.invalid(format!("AccessPolicy/{}", problem.policy), message);
            }
            // The errors end the compilation: nothing is ever asked of this.
            Conditions::default()
        }
    }
}
