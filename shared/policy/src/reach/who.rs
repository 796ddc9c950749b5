//! One tool or prompt, and every key that reaches it.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::{Caller, DefinitionStanding, Refused, Thing, approval, group, judge};
use crate::Reason;
use crate::access::Rules;
use crate::compile::Snapshot;
use crate::compile::model::Candidate;
use crate::decide::judge::Ground;
use crate::resource::{CallApproval, Grant, Name};
use crate::rule::{DefinitionKind, Rule};
use crate::snapshot::SnapshotVersion;

/// Nothing has the name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no {} is named {name:?}: write its name at /mcp, such as crm_find, or SERVER/NAME with the upstream's own", kind.as_str()
)]
pub struct Unknown {
    kind: DefinitionKind,
    name: String,
}

/// One tool or prompt, and who reaches it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolReach {
    /// What was asked about.
    #[serde(flatten)]
    pub thing: Thing,
    /// Its zone, or its server's.
    pub zone: Name,
    /// How it stands, whoever asks.
    pub state: DefinitionStanding,
    /// `per-call` where a person has to approve each call, whoever calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<CallApproval>,
    /// The snapshot that answers.
    pub snapshot_version: SnapshotVersion,
    /// The keys that reach it, by name.
    pub items: Vec<WhoReaches>,
    /// The keys that a grant would let reach it, and that another rule keeps from it; by name.
    pub denied: Vec<WhoReaches>,
    /// How many keys no grant lets reach it.
    pub not_granted: usize,
}

/// One key's way to a tool, or what stands in it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoReaches {
    /// The key.
    #[serde(flatten)]
    pub caller: Caller,
    /// What the grant names: `server crm` or `bundle support`; none where the key itself opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The rule: of those that reach it the grant, of others what denies it.
    pub rule: Rule,
    /// Why it is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Snapshot {
    /// Every key that reaches a tool or prompt: by its exposed name, or as `SERVER/NAME`.
    ///
    /// # Errors
    /// [`Unknown`]
    pub fn who_can(&self, kind: DefinitionKind, name: &str, now_unix_ms: u64) -> Result<ToolReach, Unknown> {
        let unknown = || Unknown { kind, name: name.chars().take(200).collect() };
        let candidate = self.named(kind, name).ok_or_else(unknown)?;
        let only = HashSet::from([candidate.server.uid()]);
        let (groups, others) = group::about(self, &candidate.server);
        let mut reach = ToolReach {
            thing: Thing::of(candidate),
            zone: candidate.zone.entry.name.clone(),
            state: DefinitionStanding::of(&candidate.state),
            approval: approval(candidate),
            snapshot_version: self.version(),
            items: Vec::new(),
            denied: Vec::new(),
            not_granted: others,
        };
        for group in groups {
            let rules = group.access.rules_about(self, Some(&only));
            let judged = judge::definition(&rules, group.holder, candidate);
            if let Err((Reason::ToolNotGranted, _)) = judged {
                reach.not_granted += group.keys.len();
                continue;
            }
            for key in group.keys {
                let refused = |(reason, ground): (Reason, Ground<'_>)| Refused {
                    reason,
                    rule: ground.rule(&key.key_name),
                };
                let judged = match judge::alive(key, now_unix_ms) {
                    Ok(()) => judged.map_err(refused),
                    Err(refusal) => Err(refused(refusal)),
                };
                let caller = Caller::of(key);
                match judged {
                    Ok(at) => reach.items.push(WhoReaches {
                        via: via(&rules, &group.access.grants, at),
                        rule: rules.ground(at).rule(&caller.key),
                        caller,
                        reason: None,
                    }),
                    Err(refused) => reach.denied.push(WhoReaches {
                        caller,
                        via: None,
                        rule: refused.rule,
                        reason: Some(refused.reason),
                    }),
                }
            }
        }
        for list in [&mut reach.items, &mut reach.denied] {
            list.sort_by(|a, b| a.caller.key.cmp(&b.caller.key));
        }
        Ok(reach)
    }

    /// By the exposed name, or as `SERVER/NAME`: no exposed name holds a slash.
    fn named(&self, kind: DefinitionKind, name: &str) -> Option<&Candidate> {
        match name.split_once('/') {
            Some((server, own)) => {
                let server = self.server(server)?;
                let offer: &Arc<_> = self.offer(server.uid())?;
                offer.find(kind, own)
            }
            None => self.exposed(kind, name),
        }
    }
}

/// What a grant names, or which bundle the key's team has.
pub(super) fn via(rules: &Rules, grants: &[Grant], at: u32) -> Option<String> {
    if let Ground::Team(bundle, _) = rules.ground(at) {
        return Some(format!("bundle {bundle}"));
    }
    Some(match grants.get(usize::try_from(at).ok()?)? {
        Grant::Bundle(grant) => format!("bundle {}", grant.bundle),
        Grant::Server(grant) => format!("server {}", grant.server),
    })
}
