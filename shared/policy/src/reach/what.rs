//! One key, and everything that it reaches.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::who::via;
use super::{Caller, ReachKind, Refused, Thing, approval, judge};
use crate::Reason;
use crate::access::{Rules, ServerRules};
use crate::compile::Snapshot;
use crate::compile::model::{Candidate, Principal};
use crate::decide::judge::Refusal;
use crate::resource::{CallApproval, Name, Uid};
use crate::rule::{DefinitionKind, Rule};
use crate::snapshot::SnapshotVersion;
use crate::standpoint::Holder;
use crate::view::EndpointRef;

/// One key and what it reaches.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReach {
    /// The key.
    #[serde(flatten)]
    pub caller: Caller,
    /// Why the key opens nothing, where it does not: then all that it is granted is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Refused>,
    /// The snapshot that answers.
    pub snapshot_version: SnapshotVersion,
    /// What it reaches: by kind, server and name.
    pub items: Vec<Reached>,
    /// What a grant names and another rule keeps from it, likewise.
    pub denied: Vec<Reached>,
}

/// One thing that a key reaches, or would by its grants.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// What.
    #[serde(flatten)]
    pub thing: Thing,
    /// Its zone, or its server's.
    pub zone: Name,
    /// `per-call` where a person has to approve each call, whoever calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<CallApproval>,
    /// Its name at each endpoint where the key finds it; of resources the endpoints alone.
    pub endpoints: Endpoints,
    /// What the grant names: `server crm` or `bundle support`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The rule: of what is reached the grant, of what is not what denies it.
    pub rule: Rule,
    /// Why it is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Names by the path of the endpoint.
pub type Endpoints = BTreeMap<String, Arc<str>>;

/// Names at endpoints by kind, server and the upstream's name.
type Names = BTreeMap<(DefinitionKind, Uid, Arc<str>), Endpoints>;

impl Snapshot {
    /// Everything that a key reaches; `None` when there is no such key.
    #[must_use]
    pub fn what_can(&self, key: &str, now_unix_ms: u64) -> Option<KeyReach> {
        let principal = self.key_by_name(key)?;
        let rules = principal.access.rules(self);
        let closed = judge::alive(principal, now_unix_ms).err();
        let look = Look { principal, rules, names: names(self, principal), closed };
        let mut reach = KeyReach {
            caller: Caller::of(principal),
            closed: closed.map(|refusal| look.refused(refusal)),
            snapshot_version: self.version(),
            items: Vec::new(),
            denied: Vec::new(),
        };
        for of in &rules.servers {
            look.server(of, &mut reach);
        }
        for list in [&mut reach.items, &mut reach.denied] {
            list.sort_by(|a, b| a.thing.cmp(&b.thing));
        }
        Some(reach)
    }
}

/// What each endpoint of the key lists, and under which name.
fn names(snapshot: &Snapshot, principal: &Principal) -> Names {
    let rules = principal.access.rules(snapshot);
    let bundles = rules.bundles.keys().map(|name| EndpointRef::Bundle(name.as_str()));
    let servers = rules.servers.iter().map(|of| EndpointRef::Server(of.offer.server.name().as_str()));
    let mut names = Names::new();
    for endpoint in std::iter::once(EndpointRef::All).chain(bundles).chain(servers) {
        let Some(view) = snapshot.view(&principal.access, endpoint) else { continue };
        let path = view.endpoint().to_string();
        let asker = judge::asker(rules, view.place(), Holder::new(&rules.standpoints, principal));
        for kind in [DefinitionKind::Tool, DefinitionKind::Prompt] {
            for (name, definition, _) in view.permitted(kind, &asker, &mut judge::Anyhow) {
                let key = (kind, definition.server.uid(), Arc::clone(&definition.name));
                names.entry(key).or_default().insert(path.clone(), name);
            }
        }
    }
    names
}

/// One key, looked at server by server.
struct Look<'a> {
    principal: &'a Principal,
    rules: &'a Arc<Rules>,
    names: Names,
    /// Why the key opens nothing.
    closed: Option<Refusal<'static>>,
}

impl Look<'_> {
    fn server(&self, of: &ServerRules, reach: &mut KeyReach) {
        let offer = &of.offer;
        for candidate in offer.tools.iter().chain(&offer.prompts) {
            let judged = judge::definition(self.rules, self.holder(), candidate);
            let what = (Thing::of(candidate), &candidate.zone.entry.name, approval(candidate));
            self.sort(reach, what, judged, || self.endpoints(candidate));
        }
        let server = offer.server.name();
        for (pattern, at) in of.chosen.placed_resources() {
            let thing = Thing {
                kind: ReachKind::Resources,
                server: server.clone(),
                name: pattern.as_str().into(),
                exposed: None,
            };
            let judged = judge::server(self.rules, self.holder(), of).map(|_| at);
            self.sort(reach, (thing, &offer.server.entry.zone, None), judged, || {
                let own = ["/mcp".to_owned(), format!("/servers/{server}/mcp")];
                let held = self.rules.bundles.iter().filter(|(_, (_, bundle))| {
                    let held = bundle.of(of.offer.server.uid());
                    held.is_some_and(|held| held.chosen.resources().contains(pattern))
                });
                let bundles = held.map(|(name, _)| format!("/bundles/{name}/mcp"));
                own.into_iter().chain(bundles).map(|path| (path, pattern.as_str().into())).collect()
            });
        }
    }

    fn holder(&self) -> Holder<'_> {
        Holder::new(&self.rules.standpoints, self.principal)
    }

    fn endpoints(&self, candidate: &Candidate) -> Endpoints {
        let key = (candidate.kind, candidate.server.uid(), Arc::clone(&candidate.name));
        self.names.get(&key).cloned().unwrap_or_default()
    }

    fn sort(
        &self,
        reach: &mut KeyReach,
        (thing, zone, approval): (Thing, &Name, Option<CallApproval>),
        judged: Result<u32, Refusal<'_>>,
        endpoints: impl FnOnce() -> Endpoints,
    ) {
        let zone = zone.clone();
        let judged = match (judged, self.closed) {
            // What nobody granted is nothing that a rule keeps from the key.
            (Err((Reason::ToolNotGranted, _)), _) => return,
            (_, Some(closed)) => Err(closed),
            (judged, None) => judged,
        };
        match judged {
            Ok(at) => reach.items.push(Reached {
                thing,
                zone,
                approval,
                endpoints: endpoints(),
                via: via(self.rules, &self.principal.access.grants, at),
                rule: self.rules.ground(at).rule(&self.principal.key_name),
                reason: None,
            }),
            Err(refusal) => {
                let Refused { reason, rule } = self.refused(refusal);
                reach.denied.push(Reached {
                    thing,
                    zone,
                    approval,
                    endpoints: Endpoints::new(),
                    via: None,
                    rule,
                    reason: Some(reason),
                });
            }
        }
    }

    fn refused(&self, (reason, ground): Refusal<'_>) -> Refused {
        Refused { reason, rule: ground.rule(&self.principal.key_name) }
    }
}
