//! From stored definitions to the approvals that they stand for, and from an id back to what it means.

use std::collections::BTreeSet;

use portcullis_policy::resource::{Kind, ToolRules, Uid};
use portcullis_seal::Fingerprint;
use serde::Deserialize as _;

use super::{Approval, ApprovalChange, ApprovalState};
use crate::catalog::{DEFINITION, DefinitionKind, StoredDefinition, Verdict, approval_id, server_rules};
use crate::review::{Definition, Names, Review, review};
use crate::store::{Object, State};

/// How many approvals of one definition are kept while more are needed.
const MAX_VOTES: usize = 64;

/// One stored definition with what is needed to speak of it.
pub(super) struct Candidate {
    pub(super) stored: StoredDefinition,
    /// The uid of its object.
    pub(super) uid: Uid,
    server: String,
    rules: ToolRules,
}

/// What an id means.
pub(super) enum Meaning {
    Approval(Approval),
    /// It meant something that is offered no longer; the sentence says so.
    Superseded(String),
}

/// The definitions of one server, or of all, in the order of server names.
pub(super) fn candidates(state: &State, server: Option<&str>) -> Vec<Candidate> {
    let kind = Kind::McpServer.as_str();
    let one = server.and_then(|name| state.get(kind, name));
    let all = state.list(kind).filter(|_| server.is_none());
    one.into_iter().chain(all).flat_map(|object| of_server(state, object)).collect()
}

fn of_server(state: &State, server: &Object) -> Vec<Candidate> {
    let Some(rules) = server_rules(state, server) else { return Vec::new() };
    let prefix = format!("{}/", server.uid);
    state
        .list_prefix(DEFINITION, &prefix)
        .filter_map(|object| {
            Some(Candidate {
                stored: StoredDefinition::deserialize(&object.body).ok()?,
                uid: object.uid,
                server: server.name.as_ref().to_owned(),
                rules: rules.clone(),
            })
        })
        .collect()
}

impl Candidate {
    /// The server's name.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    fn id(&self, fingerprint: &Fingerprint) -> String {
        approval_id(&self.stored.server, self.stored.kind, &self.stored.name, fingerprint)
    }

    /// The fingerprint that waits for a person.
    pub(super) fn waiting(&self) -> Option<Fingerprint> {
        self.stored
            .offered
            .as_ref()
            .filter(|_| self.stored.waits(&self.rules))
            .map(|offered| offered.fingerprint)
    }

    /// Every fingerprint that an approval stands for: what waits, what was approved, what was denied.
    fn fingerprints(&self) -> BTreeSet<Fingerprint> {
        let offered = self.stored.offered.as_ref().map(|offered| offered.fingerprint);
        let approved = self.stored.approved.as_ref().map(|approved| approved.pin);
        let denied = self.stored.denied.iter().map(|denied| denied.fingerprint);
        offered.into_iter().chain(approved).chain(denied).collect()
    }

    /// The approvals that it stands for.
    pub(super) fn approvals(&self) -> Vec<Approval> {
        self.fingerprints().iter().filter_map(|fingerprint| self.approval(fingerprint)).collect()
    }

    /// The approval of one fingerprint.
    pub(super) fn approval(&self, fingerprint: &Fingerprint) -> Option<Approval> {
        let stored = &self.stored;
        let offered = stored.offered.as_ref().filter(|offered| offered.fingerprint == *fingerprint);
        let (state, verdict) = if let Some(approved) =
            stored.approved.as_ref().filter(|approved| approved.pin == *fingerprint)
        {
            (ApprovalState::Approved, Some(approved.verdict.clone()))
        } else if let Some(denied) = stored.denial(fingerprint) {
            (ApprovalState::Denied, Some(denied.verdict.clone()))
        } else if self.waiting() == Some(*fingerprint) {
            (ApprovalState::Pending, None)
        } else {
            return None;
        };
        let other_is_approved = stored.approved.as_ref().is_some_and(|approved| approved.pin != *fingerprint);
        Some(Approval {
            id: self.id(fingerprint),
            kind: stored.kind,
            server: self.server.clone(),
            name: match stored.kind {
                DefinitionKind::Identity => self.server.clone(),
                DefinitionKind::Tool | DefinitionKind::Prompt => stored.name.clone(),
            },
            change: if other_is_approved { ApprovalChange::Changed } else { ApprovalChange::New },
            state,
            fingerprint: *fingerprint,
            opened_unix_ms: offered.map_or(0, |offered| offered.since_unix_ms),
            verdict,
            risk: offered.and_then(|offered| offered.risk),
            needs: None,
        })
    }

    /// What a person reads of it.
    pub(super) fn review(&self, names: &Names) -> Option<Review> {
        let approved = self.stored.approved.as_ref().map(|approved| approved.definition.as_str());
        let (offered, approved) = match (self.stored.offered_definition(), approved) {
            (Some(offered), Some(approved)) if offered == approved => (offered, None),
            (Some(offered), approved) => (offered, approved),
            (None, approved) => (approved?, None),
        };
        let name = &self.stored.name;
        let subject = self.stored.kind.subject();
        Some(review(&Definition { subject, server: &self.server, name, offered, approved }, names))
    }

    /// What those of these ids mean that are about this definition.
    pub(super) fn meanings(&self, ids: &BTreeSet<&str>) -> Vec<(String, Meaning)> {
        let mut found = Vec::new();
        for fingerprint in self.fingerprints() {
            let id = self.id(&fingerprint);
            if ids.contains(id.as_str())
                && let Some(approval) = self.approval(&fingerprint)
            {
                found.push((id, Meaning::Approval(approval)));
            }
        }
        for fingerprint in &self.stored.superseded {
            let id = self.id(fingerprint);
            if ids.contains(id.as_str()) {
                found.push((id, Meaning::Superseded(self.superseded())));
            }
        }
        found
    }

    /// Why this approval cannot be decided so; `None` when it can.
    pub(super) fn refuses(&self, approval: &Approval, approve: bool) -> Option<String> {
        let offered = self.stored.offered.as_ref().map(|offered| offered.fingerprint);
        let decided = matches!(approval.state, ApprovalState::Approved | ApprovalState::Denied);
        let decided_so = decided && (approval.state == ApprovalState::Approved) == approve;
        // A denial may take back what was approved, also of something that is not offered now; what is approved has to be
        // what the server offers.
        let possible = decided_so || !approve || offered == Some(approval.fingerprint);
        (!possible).then(|| self.superseded())
    }

    /// Decides; does nothing where it is decided so already.
    pub(super) fn decide(&mut self, fingerprint: Fingerprint, approve: bool, verdict: &Verdict) {
        if approve && !self.stored.is_approved(&fingerprint) {
            self.stored.approve(verdict.clone());
        } else if !approve && self.stored.denial(&fingerprint).is_none() {
            self.stored.deny(fingerprint, verdict.clone());
        }
    }

    /// Takes in one approval of several; the oldest ones go where there are too many to count.
    pub(super) fn vote(&mut self, verdict: Verdict) {
        let votes = &mut self.stored.votes;
        votes.retain(|vote| vote.by != verdict.by);
        votes.push(verdict);
        votes.drain(..votes.len().saturating_sub(MAX_VOTES));
    }

    fn superseded(&self) -> String {
        let what = match self.stored.kind {
            DefinitionKind::Identity => format!("the identity of server {}", self.server),
            DefinitionKind::Tool | DefinitionKind::Prompt => {
                format!("{} {:?} of server {}", self.stored.kind.as_str(), self.stored.name, self.server)
            }
        };
        match &self.stored.offered {
            None => format!("{what} is no longer offered"),
            Some(offered) => {
                let id = self.id(&offered.fingerprint);
                format!("{what} changed since; what it is now is {id}: look at it with `approvals show {id}`")
            }
        }
    }
}
