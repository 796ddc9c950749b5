//! One definition as the control plane keeps it, and the states that follow from it.
//!
//! What is kept are facts: what the upstream offers now, what was approved, what was denied. The state is never stored; it
//! follows from the facts and the server's rules, so that a rule that changes takes effect without rewriting anything.

use portcullis_policy::resource::{ChangeClass, ChangedTools, NewTools, ToolRules, Uid};
use portcullis_seal::{Fingerprint, sha256};
use serde::{Deserialize, Serialize};

use crate::review::{Risk, Subject};

/// The kind of the objects in the store that hold a [`StoredDefinition`].
pub const DEFINITION: &str = "Definition";

/// How many fingerprints are remembered of what was denied, and of what an upstream no longer offers.
const MAX_REMEMBERED: usize = 32;

/// What is pinned: each is approved on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefinitionKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// `instructions` and `serverInfo` of a server.
    Identity,
}

impl DefinitionKind {
    /// The kind as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Identity => "identity",
        }
    }

    /// What it is to the review.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::Tool => Subject::Tool,
            Self::Prompt => Subject::Prompt,
            Self::Identity => Subject::Identity,
        }
    }
}

/// The name under which a server's identity is kept. The API shows the server's name instead.
pub(crate) const IDENTITY_NAME: &str = "identity";

/// The name of a definition's object: `{server uid}/{kind}/{name}`.
#[must_use]
pub fn object_name(server: &Uid, kind: DefinitionKind, name: &str) -> String {
    format!("{server}/{}/{name}", kind.as_str())
}

/// The body of a `Definition` object. Definitions are kept as texts in canonical JSON, since a number in a JSON value would
/// lose the text that its fingerprint was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StoredDefinition {
    /// The server that offers it.
    pub server: Uid,
    /// What it is.
    pub kind: DefinitionKind,
    /// The upstream's name; `identity` for the identity.
    pub name: String,
    /// What the upstream offers now; absent once it no longer does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Offered>,
    /// When it was last seen, once it is no longer offered; milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_unix_ms: Option<u64>,
    /// What was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
    /// What was denied, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denied>,
    /// What waited and is no longer offered, the newest last: so that its id can be answered with a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<Fingerprint>,
    /// Who approved what is offered now, where it takes more people; gone as soon as another definition is offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Verdict>,
    /// When what is offered now was opened again, after it waited for too long; milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened_unix_ms: Option<u64>,
}

/// What an upstream offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Offered {
    /// The fingerprint of the whole definition.
    pub fingerprint: Fingerprint,
    /// Since when, milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// The definition in canonical JSON; absent where it is the approved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// What the review found when it was seen first, or when a rule was about to approve it; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Approved {
    /// The fingerprint of the whole definition.
    pub pin: Fingerprint,
    /// The definition in canonical JSON.
    pub definition: String,
    /// Who, when and why.
    pub verdict: Verdict,
}

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Denied {
    /// The fingerprint of what was denied.
    pub fingerprint: Fingerprint,
    /// Who, when and why.
    pub verdict: Verdict,
}

/// Who decided, when and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Verdict {
    /// An administrator, or a rule: `rule newTools: approve`.
    pub by: String,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// In the decider's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What follows from a definition and the rules of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The upstream does not offer it, or a rule leaves it out.
    Absent,
    /// The approved definition is served.
    Served,
    /// Nobody approved it yet, or somebody denied it.
    Pending,
    /// It no longer matches its pin.
    Quarantined,
}

impl StoredDefinition {
    /// A definition that nobody saw before.
    #[must_use]
    pub const fn new(server: Uid, kind: DefinitionKind, name: String) -> Self {
        Self {
            server,
            kind,
            name,
            offered: None,
            gone_unix_ms: None,
            approved: None,
            denied: Vec::new(),
            superseded: Vec::new(),
            votes: Vec::new(),
            reopened_unix_ms: None,
        }
    }

    /// The name of its object.
    #[must_use]
    pub fn object_name(&self) -> String {
        object_name(&self.server, self.kind, &self.name)
    }

    /// What data planes are told of it.
    ///
    /// An identity that changed is never quarantined: nothing of it is called, and what a model reads of it stays what was
    /// approved. Nor does `newTools: ignore` hide it, since a server without one would have no other way to get one.
    #[must_use]
    pub fn standing(&self, rules: &ToolRules) -> Standing {
        let Some(offered) = &self.offered else { return Standing::Absent };
        match &self.approved {
            Some(approved) if approved.pin == offered.fingerprint => Standing::Served,
            Some(_) if self.kind == DefinitionKind::Identity => Standing::Served,
            Some(_) if rules.changed_tools == ChangedTools::KeepPinned => Standing::Served,
            Some(_) => Standing::Quarantined,
            None if self.is_ignored(rules) => Standing::Absent,
            None => Standing::Pending,
        }
    }

    /// Whether what is offered waits for a person.
    #[must_use]
    pub fn waits(&self, rules: &ToolRules) -> bool {
        self.offered.as_ref().is_some_and(|offered| {
            !self.is_approved(&offered.fingerprint)
                && self.denial(&offered.fingerprint).is_none()
                && !self.is_ignored(rules)
        })
    }

    /// Whether a rule leaves it out: nobody ever approved it, and new ones are ignored.
    #[must_use]
    pub fn is_ignored(&self, rules: &ToolRules) -> bool {
        self.approved.is_none()
            && self.kind != DefinitionKind::Identity
            && rules.new_tools == NewTools::Ignore
    }

    /// Whether exactly this is the approved definition.
    #[must_use]
    pub fn is_approved(&self, fingerprint: &Fingerprint) -> bool {
        self.approved.as_ref().is_some_and(|approved| approved.pin == *fingerprint)
    }

    /// The denial of exactly this.
    #[must_use]
    pub fn denial(&self, fingerprint: &Fingerprint) -> Option<&Denied> {
        self.denied.iter().find(|denied| denied.fingerprint == *fingerprint)
    }

    /// What kind of change its approval would be.
    #[must_use]
    pub const fn change_class(&self) -> ChangeClass {
        match (self.kind, &self.approved) {
            (DefinitionKind::Identity, _) => ChangeClass::Identity,
            (_, None) => ChangeClass::New,
            (_, Some(_)) => ChangeClass::Changed,
        }
    }

    /// The text of what is offered now.
    #[must_use]
    pub fn offered_definition(&self) -> Option<&str> {
        let offered = self.offered.as_ref()?;
        offered.definition.as_deref().or_else(|| {
            let approved = self.approved.as_ref()?;
            (approved.pin == offered.fingerprint).then_some(approved.definition.as_str())
        })
    }

    /// Whether the review has to look at what a prober saw before [`Self::sight`] takes it in: it is new, or a rule is about to
    /// approve it.
    #[must_use]
    pub fn needs_look(&self, fingerprint: &Fingerprint, rules: &ToolRules, by_rule: bool) -> bool {
        if self.is_approved(fingerprint) || self.is_ignored(rules) {
            return false;
        }
        let known = self.offered.as_ref().filter(|offered| offered.fingerprint == *fingerprint);
        match known.and_then(|offered| offered.risk) {
            None => true,
            // What it may be taken for depends on what other servers offer, and may have been harmless when it was seen first.
            Some(risk) => by_rule && !risk.needs_person() && !self.is_held(),
        }
    }

    /// Takes in what a prober saw, and what the rules say to it. `risk` is what the review found of it just now. A rule
    /// approves nothing that nobody looked at, and nothing that a person should look at.
    pub fn observe(
        &mut self,
        fingerprint: Fingerprint,
        definition: &str,
        risk: Option<Risk>,
        rules: &ToolRules,
        now_unix_ms: u64,
    ) {
        self.sight(fingerprint, definition, risk, now_unix_ms);
        if let Some(rule) = self.approving_rule(rules) {
            self.approve_by_rule(rule, risk, now_unix_ms);
        }
    }

    /// Takes in what a prober saw, and what the review found of it just now.
    pub fn sight(
        &mut self,
        fingerprint: Fingerprint,
        definition: &str,
        risk: Option<Risk>,
        now_unix_ms: u64,
    ) {
        match &mut self.offered {
            Some(offered) if offered.fingerprint == fingerprint => offered.risk = risk.or(offered.risk),
            _ => {
                self.supersede();
                self.superseded.retain(|old| *old != fingerprint);
                let definition = (!self.is_approved(&fingerprint)).then(|| definition.to_owned());
                self.offered = Some(Offered { fingerprint, since_unix_ms: now_unix_ms, definition, risk });
                self.gone_unix_ms = None;
            }
        }
    }

    /// Approves what is offered now in the name of a rule, unless a person said no, or should look first: nothing that nobody
    /// looked at, and nothing that the review warns of.
    pub fn approve_by_rule(&mut self, rule: &str, risk: Option<Risk>, now_unix_ms: u64) {
        let approved = self.offered.as_ref().is_none_or(|offered| self.is_approved(&offered.fingerprint));
        let may = risk.is_some_and(|risk| !risk.needs_person());
        if !approved && !self.is_held() && may {
            self.approve(Verdict { by: rule.to_owned(), unix_ms: now_unix_ms, message: String::new() });
        }
    }

    /// The rule that approves what is offered without a person.
    #[must_use]
    pub fn approving_rule(&self, rules: &ToolRules) -> Option<&'static str> {
        match self.approved {
            None if rules.new_tools == NewTools::Approve => Some("rule newTools: approve"),
            Some(_) if rules.changed_tools == ChangedTools::Approve => Some("rule changedTools: approve"),
            _ => None,
        }
    }

    /// Takes in that the upstream no longer offers it. What was approved stays approved, for when it comes back unchanged.
    pub fn vanish(&mut self, now_unix_ms: u64) {
        if self.offered.is_some() {
            self.supersede();
            self.offered = None;
            self.gone_unix_ms = Some(now_unix_ms);
        }
    }

    /// Approves what is offered now; does nothing where nothing is.
    pub fn approve(&mut self, verdict: Verdict) {
        let Some(definition) = self.offered_definition().map(str::to_owned) else { return };
        let Some(offered) = &mut self.offered else { return };
        offered.definition = None;
        let pin = offered.fingerprint;
        self.denied.retain(|denied| denied.fingerprint != pin);
        self.approved = Some(Approved { pin, definition, verdict });
        self.forget_votes();
    }

    /// Denies exactly this, and takes its approval back where it had one.
    pub fn deny(&mut self, fingerprint: Fingerprint, verdict: Verdict) {
        if self.is_approved(&fingerprint)
            && let Some(approved) = self.approved.take()
            && let Some(offered) = &mut self.offered
            && offered.fingerprint == fingerprint
        {
            offered.definition = Some(approved.definition);
        }
        self.denied.retain(|denied| denied.fingerprint != fingerprint);
        self.denied.push(Denied { fingerprint, verdict });
        drop_oldest(&mut self.denied);
        self.forget_votes();
    }

    /// Takes back an approval that was given since `then` and serves what was not served then under these rules. Says whether
    /// it did. What the upstream offers stays a fact, what was denied since stays denied, and what was served then and is
    /// served by a newer approval stays so. Identities stay as they are: nothing is decided by them.
    pub fn return_to(&mut self, then: Option<&Self>, rules: &ToolRules) -> bool {
        let served = |stored: &Self| stored.standing(rules) == Standing::Served;
        if self.kind == DefinitionKind::Identity || then.is_some_and(served) || !served(self) {
            return false;
        }
        let approved = then.and_then(|then| then.approved.clone());
        let pin = |approved: &Option<Approved>| approved.as_ref().map(|approved| approved.pin);
        if pin(&approved) == pin(&self.approved) {
            return false;
        }
        let text = self.offered_definition().map(str::to_owned);
        self.approved = approved;
        if let Some(offered) = &mut self.offered {
            let is_pinned = pin(&self.approved) == Some(offered.fingerprint);
            offered.definition = text.filter(|_| !is_pinned);
        }
        true
    }

    /// Whether nothing of it is worth keeping.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offered.is_none() && self.approved.is_none() && self.denied.is_empty()
    }

    /// Whether a person denied some version of it since the last approval. Then rules approve nothing any more, or an
    /// upstream could get around a denial by changing one byte.
    fn is_held(&self) -> bool {
        let since = self.approved.as_ref().map_or(0, |approved| approved.verdict.unix_ms);
        self.denied.iter().any(|denied| denied.verdict.unix_ms >= since)
    }

    /// Votes are for one fingerprint, and end with the decision.
    fn forget_votes(&mut self) {
        self.votes.clear();
        self.reopened_unix_ms = None;
    }

    fn supersede(&mut self) {
        self.forget_votes();
        if let Some(offered) = &self.offered {
            let old = offered.fingerprint;
            if !self.is_approved(&old) && self.denial(&old).is_none() {
                self.superseded.retain(|other| *other != old);
                self.superseded.push(old);
                drop_oldest(&mut self.superseded);
            }
        }
    }
}

fn drop_oldest<T>(list: &mut Vec<T>) {
    list.drain(..list.len().saturating_sub(MAX_REMEMBERED));
}

/// The id of an approval: `a-` and the first 20 hex digits of the SHA-256 of what it names exactly.
#[must_use]
pub fn approval_id(server: &Uid, kind: DefinitionKind, name: &str, fingerprint: &Fingerprint) -> String {
    let mut text = format!("portcullis approval v1\0{server}\0{}\0{name}\0", kind.as_str()).into_bytes();
    text.extend_from_slice(fingerprint.as_bytes());
    let hex = Fingerprint::from_bytes(sha256(&text)).to_hex();
    format!("a-{}", hex.get(..20).unwrap_or(&hex))
}

#[cfg(test)]
mod tests;
