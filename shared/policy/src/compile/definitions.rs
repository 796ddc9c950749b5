//! Tools and prompts: their names at every endpoint, and whether they may be served.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::HeaderParam;
use super::build::MeteredTools;
use super::header_params::header_params;
use super::model::{Candidate, CandidateState, Definition, Offer, Server, Zone};
use super::notes::Notes;
use crate::exposed::exposed_name;
use crate::metering::{Cost, Metered, cost_of};
use crate::render::members;
use crate::resource::{HeldBy, Kind, Name, Transport, Uid};
use crate::rule::{DefinitionKind, Rule, RulePath};
use crate::snapshot::{DefinitionEntry, DefinitionState};

/// Candidates by their exposed names.
pub(super) type Names = HashMap<Arc<str>, Arc<Candidate>>;

/// What each server offers, and what has which exposed name.
pub(super) fn definitions(
    entries: Vec<(DefinitionKind, Arc<DefinitionEntry>)>,
    servers: &HashMap<Name, Arc<Server>>,
    zones: &HashMap<Name, Arc<Zone>>,
    metered: &MeteredTools,
    notes: &mut Notes,
) -> (HashMap<Uid, Arc<Offer>>, Names, Names) {
    let mut offers: HashMap<Uid, Offer> = servers
        .values()
        .map(|server| {
            let offer = Offer { server: Arc::clone(server), tools: Vec::new(), prompts: Vec::new() };
            (server.uid(), offer)
        })
        .collect();
    let mut tools = Names::with_capacity(entries.len());
    let mut prompts = Names::new();
    for (kind, entry) in entries {
        let Some(offer) = offers.get_mut(&entry.server) else {
            let from = format!("{} {}", kind.as_str(), entry.name);
            notes.dangling(from, "server", "McpServer", entry.server);
            continue;
        };
        let zone = match &entry.zone {
            None => Arc::clone(&offer.server.zone),
            Some(name) => match zones.get(name) {
                Some(zone) => Arc::clone(zone),
                None => {
                    let from = format!("{} {} of {}", kind.as_str(), entry.name, offer.server.name());
                    notes.dangling(from, "zone", "TrustZone", name);
                    continue;
                }
            },
        };
        let metered = metered.get(&entry.server).and_then(|tools| tools.get(&entry.name));
        let metered = metered.filter(|_| kind == DefinitionKind::Tool).cloned();
        let candidate = Arc::new(candidate(kind, &entry, &offer.server, zone, metered, notes));
        let (list, names, what) = match kind {
            DefinitionKind::Tool => (&mut offer.tools, &mut tools, "exposed tool names"),
            DefinitionKind::Prompt => (&mut offer.prompts, &mut prompts, "exposed prompt names"),
        };
        if let Some(last) = list.last().filter(|last: &&Arc<Candidate>| last.name == candidate.name) {
            notes.duplicate("names at one server", &candidate.name, last.label(), candidate.label());
        }
        if let Some(name) = &candidate.exposed
            && let Some(other) = names.insert(Arc::clone(name), Arc::clone(&candidate))
        {
            notes.duplicate(what, name, other.label(), candidate.label());
        }
        list.push(candidate);
    }
    (offers.into_iter().map(|(uid, offer)| (uid, Arc::new(offer))).collect(), tools, prompts)
}

fn candidate(
    kind: DefinitionKind,
    entry: &DefinitionEntry,
    server: &Arc<Server>,
    zone: Arc<Zone>,
    metered: Option<Arc<Metered>>,
    notes: &mut Notes,
) -> Candidate {
    let label = format!("{} {} of {}", kind.as_str(), entry.name, server.name());
    let exposed = exposed_name(server.name(), &entry.name, entry.alias.as_deref());
    if exposed.is_none() {
        match &entry.alias {
            Some(alias) => {
                notes.invalid(label.clone(), format!("its alias {alias:?} is no valid exposed name"))
            }
            None => notes.report(format!(
                "{label} has no valid exposed name ({}_{} is longer than 64 or holds other characters than \
                 a-z, A-Z, 0-9, _ and -): it is served at /servers/{}/mcp only; give it an alias",
                server.name(),
                entry.name,
                server.name()
            )),
        }
    }
    let name: Arc<str> = entry.name.as_str().into();
    let exposed: Option<Arc<str>> = exposed.map(Into::into);
    let refused_class =
        zone.refused_class(server.entry.data_classes.iter().chain(&entry.data_classes)).cloned();
    if entry.zone.is_some() {
        hosted_where_it_may_be(&label, &zone, server, notes);
    }
    let state = match &entry.state {
        DefinitionState::Pending => CandidateState::Pending,
        DefinitionState::Quarantined => CandidateState::Quarantined,
        DefinitionState::Approved { pin, definition } => {
            if let Err(message) = names_itself(definition.get(), &name) {
                notes.invalid(label.clone(), message);
            }
            match params(kind, definition.get(), server) {
                Ok(header_params) => CandidateState::Usable(Arc::new(Definition {
                    server: Arc::clone(server),
                    name: Arc::clone(&name),
                    exposed: exposed.clone(),
                    pin: *pin,
                    definition: Arc::clone(definition),
                    zone: Arc::clone(&zone),
                    header_params,
                    held_by: entry.approval.map(|by| holding(by, server, &name)),
                    cost: match kind {
                        DefinitionKind::Tool => cost_of(&server.entry, &name),
                        DefinitionKind::Prompt => Cost::default(),
                    },
                    metered,
                })),
                Err(message) => {
                    notes.report(format!("{label} is left out: {message}"));
                    CandidateState::Invalid(format!("it breaks the rules of the protocol: {message}").into())
                }
            }
        }
    };
    Candidate {
        kind,
        server: Arc::clone(server),
        name,
        exposed,
        state,
        zone,
        refused_class,
        data_classes: entry.data_classes.as_slice().into(),
        conditions: OnceLock::new(),
    }
}

/// The place that says that a person has to approve each call of a tool.
fn holding(by: HeldBy, server: &Server, tool: &Arc<str>) -> Rule {
    let (own, field) = (Some(server.name().clone()), RulePath::Field("spec.tools.approval"));
    match by {
        HeldBy::Override => {
            Rule { kind: Some(Kind::McpServer), name: own, path: RulePath::CallApproval(Arc::clone(tool)) }
        }
        HeldBy::Server => Rule { kind: Some(Kind::McpServer), name: own, path: field },
        HeldBy::Tier => {
            // The names of tiers are names.
            let name = server.entry.tier.as_str().parse().ok();
            Rule { kind: Some(Kind::TierDefaults), name, path: field }
        }
    }
}

/// The control plane refuses this when it is applied; a snapshot that holds it all the same is not one of its making.
pub(super) fn hosted_where_it_may_be(label: &str, zone: &Zone, server: &Server, notes: &mut Notes) {
    let (allowed, hosting) = (&zone.entry.allowed_hosting, server.entry.hosting);
    if !allowed.is_empty() && !allowed.contains(&hosting) {
        let (zone, hosting) = (&zone.entry.name, hosting.as_str());
        let message =
            format!("its server has hosting: {hosting}, which TrustZone/{zone} spec.allowedHosting forbids");
        notes.invalid(label.to_owned(), message);
    }
}

/// A tool with annotations that break the rules must not be offered over Streamable HTTP; a child process knows no headers.
fn params(kind: DefinitionKind, definition: &str, server: &Server) -> Result<Vec<HeaderParam>, String> {
    match (kind, &server.entry.transport) {
        (DefinitionKind::Prompt, _) => Ok(Vec::new()),
        (DefinitionKind::Tool, Transport::StreamableHttp(_)) => header_params(definition),
        (DefinitionKind::Tool, Transport::Stdio(_)) => Ok(header_params(definition).unwrap_or_default()),
    }
}

/// A definition is an object whose `name` is the entry's: the list could not be rendered otherwise.
fn names_itself(definition: &str, name: &str) -> Result<(), String> {
    let members =
        members(definition).map_err(|error| format!("its definition is no JSON object: {error}"))?;
    let mut names = members.iter().filter(|(member, _)| member == "name").map(|(_, value)| value.get());
    let (Some(found), None) = (names.next(), names.next()) else {
        return Err("its definition needs exactly one member \"name\"".to_owned());
    };
    match serde_json::from_str::<String>(found) {
        Ok(found) if found == name => Ok(()),
        _ => Err(format!("its definition names itself {found}")),
    }
}
