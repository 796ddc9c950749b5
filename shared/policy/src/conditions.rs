//! The `AccessPolicy`s of a snapshot, joined with principals and with what they ask for.
//!
//! What a policy may say and how it is evaluated is `portcullis_conditions`' affair; this room hands it the facts of a snapshot,
//! made when they are first needed, and brings back names.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_conditions::{
    Annotations, CallFacts, Caller, Compiled, Outcome, PrincipalFacts, Slice, Target, TargetFacts, TargetKind,
};
use serde::Deserialize;

use crate::circumstances::Circumstances;
use crate::compile::model::{Candidate, CandidateState, Principal, Server};
use crate::resource::{AccessPolicySpec, Name};
use crate::rule::DefinitionKind;

/// All policies of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// `None`: there are none.
    compiled: Option<Compiled>,
    policies: BTreeMap<Name, AccessPolicySpec>,
    /// Whether a list depends on the caller's network, and whether on its era.
    list_reads: (bool, bool),
}

impl Conditions {
    pub(crate) fn new(compiled: Compiled, policies: BTreeMap<Name, AccessPolicySpec>) -> Self {
        let list_reads = compiled.list_reads();
        Self { compiled: Some(compiled).filter(|compiled| !compiled.is_empty()), policies, list_reads }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.compiled.is_none()
    }

    /// The name of a policy, as the snapshot holds it.
    pub(crate) fn name(&self, name: &str) -> Option<&Name> {
        self.policies.get_key_value(name).map(|(name, _)| name)
    }

    /// Whether the same policies say the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.policies == other.policies
    }

    /// A principal as policies see it.
    pub(crate) fn caller<'a>(&self, principal: &'a Principal) -> Option<&'a Arc<Caller>> {
        let compiled = self.compiled.as_ref()?;
        Some(principal.conditions.get_or_init(|| {
            Arc::new(compiled.caller(&PrincipalFacts {
                kind: principal.kind.as_str(),
                subject: &principal.subject,
                key: principal.key_name.as_str(),
                team: principal.team.as_ref().map(Name::as_str),
                customer: principal.customer.as_ref().map(Name::as_str),
                zone: principal.zone.as_str(),
                groups: &[],
            }))
        }))
    }

    /// The policies that can apply to a caller's use of a tool or a prompt. Of a caller that is not known, `Err` where any may.
    pub(crate) fn of_definition(
        &self,
        caller: Option<&Caller>,
        candidate: &Candidate,
    ) -> Result<Option<Arc<Slice>>, Unknown> {
        let Some(compiled) = &self.compiled else { return Ok(None) };
        let target = candidate.conditions.get_or_init(|| {
            let kind = match candidate.kind {
                DefinitionKind::Tool => TargetKind::Tool,
                DefinitionKind::Prompt => TargetKind::Prompt,
            };
            let of = Of { kind, name: &candidate.name, zone: &candidate.zone.entry.name };
            let annotations = match (&candidate.state, kind) {
                (CandidateState::Usable(definition), TargetKind::Tool) => hints(definition.definition.get()),
                _ => Annotations::default(),
            };
            let classes = candidate.server.entry.data_classes.iter().chain(&candidate.data_classes);
            Box::new(target(compiled, of, &candidate.server, classes, annotations))
        });
        slice(compiled, caller, target)
    }

    /// The policies that can apply to a caller's reading of a resource.
    pub(crate) fn of_resource(
        &self,
        caller: Option<&Caller>,
        server: &Server,
        uri: &str,
    ) -> Result<Option<Arc<Slice>>, Unknown> {
        let Some(compiled) = &self.compiled else { return Ok(None) };
        let of = Of { kind: TargetKind::Resource, name: uri, zone: &server.entry.zone };
        let target = target(compiled, of, server, server.entry.data_classes.iter(), Annotations::default());
        slice(compiled, caller, &target)
    }

    /// What tells the lists of two callers with equal grants apart, as far as policies go.
    pub(crate) fn key(&self, caller: &Caller, circumstances: &Circumstances<'_>, key: &mut Vec<u8>) {
        if caller.is_free() {
            return;
        }
        key.extend(caller.number().to_be_bytes());
        let (network, era) = self.list_reads;
        if network {
            key.extend(
                circumstances
                    .network
                    .map(|address| address.to_canonical().to_string())
                    .unwrap_or_default()
                    .into_bytes(),
            );
            key.push(0);
        }
        if era {
            key.push(circumstances.era.map_or(2, |era| era as u8));
        }
    }
}

/// The caller is not known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unknown;

struct Of<'a> {
    kind: TargetKind,
    name: &'a str,
    zone: &'a Name,
}

fn target<'a>(
    compiled: &Compiled,
    of: Of<'_>,
    server: &Server,
    classes: impl Iterator<Item = &'a String>,
    annotations: Annotations,
) -> Target {
    let classes: Vec<&str> = classes.map(String::as_str).collect();
    compiled.target(&TargetFacts {
        kind: of.kind,
        server: server.name().as_str(),
        name: of.name,
        zone: of.zone.as_str(),
        data_classes: &classes,
        environment: server.entry.environment.as_str(),
        hosting: server.entry.hosting.as_str(),
        tier: server.entry.tier.as_str(),
        annotations,
    })
}

fn slice(
    compiled: &Compiled,
    caller: Option<&Caller>,
    target: &Target,
) -> Result<Option<Arc<Slice>>, Unknown> {
    match caller {
        Some(caller) => Ok(compiled.slice(caller, target)),
        None if target.is_free() => Ok(None),
        None => Err(Unknown),
    }
}

/// Asks a slice about a call, or, for a list, about all calls.
pub(crate) fn ask(
    slice: &Slice,
    circumstances: &Circumstances<'_>,
    clients: &[&str],
    listing: bool,
) -> Outcome {
    let call = CallFacts {
        now_unix_ms: circumstances.now_unix_ms,
        network: circumstances.network,
        era: circumstances.era.map(crate::circumstances::Era::as_str),
        clients,
        arguments: circumstances.arguments.map(|arguments| arguments.get()),
    };
    if listing { slice.foresee(&call) } else { slice.judge(&call) }
}

/// The hints of a tool's definition. What is no boolean is no hint.
fn hints(definition: &str) -> Annotations {
    #[derive(Deserialize)]
    struct Definition {
        #[serde(default)]
        annotations: serde_json::Map<String, serde_json::Value>,
    }
    let Ok(Definition { annotations }) = serde_json::from_str(definition) else {
        return Annotations::default();
    };
    let hint = |name: &str| annotations.get(name).and_then(serde_json::Value::as_bool);
    Annotations {
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        idempotent: hint("idempotentHint"),
        open_world: hint("openWorldHint"),
    }
}

#[cfg(test)]
mod tests;
