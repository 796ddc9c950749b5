//! Approval rules: which one is about a change, who may approve by it, and how many of them it takes.

use portcullis_policy::resource::{
    AcceptedRisk, ApprovalMatch, ApprovalRuleSpec, Approver, ChangeClass, Environment, Kind, McpServerSpec,
    Name, Resource, Right, Spec, Tier,
};
use serde::Deserialize as _;
use serde_json::Value;

use super::identity::{Identity, person_of};
use crate::review::{Risk, Severity};
use crate::store::{Object, State};

/// What is to be approved, as far as rules look at it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Matter {
    /// What kinds of change it is; a rule is about it when it is about one of them.
    pub(crate) classes: Vec<ChangeClass>,
    /// The zones that it is about.
    pub(crate) zones: Vec<Name>,
    /// The servers that it is about.
    pub(crate) servers: Vec<Name>,
    /// Their tiers.
    pub(crate) tiers: Vec<Tier>,
    /// Their environments.
    pub(crate) environments: Vec<Environment>,
    /// Their data classes.
    pub(crate) data_classes: Vec<String>,
}

impl Matter {
    /// What is said of a server's definitions, or of changes of it.
    pub(crate) fn add_server(&mut self, name: &str, document: &Value) {
        self.servers.extend(name.parse::<Name>());
        let spec = document.get("spec").and_then(|spec| McpServerSpec::deserialize(spec).ok());
        let Some(spec) = spec else { return };
        self.zones.push(spec.zone);
        self.tiers.push(spec.tier);
        self.environments.push(spec.environment);
        self.data_classes.extend(spec.data_classes);
        self.data_classes.extend(spec.tools.overrides.into_iter().flat_map(|one| one.data_classes));
    }

    /// A server of the registry, whatever happens to it.
    pub(crate) fn of_server(object: &Object) -> Self {
        let mut matter = Self::default();
        matter.add_server(&object.name, &object.body);
        matter
    }

    /// The same matter, as a change of this kind.
    pub(crate) fn class(&self, class: ChangeClass) -> Self {
        Self { classes: vec![class], ..self.clone() }
    }

    fn fits(&self, matches: &ApprovalMatch) -> bool {
        fn one<T: PartialEq>(wanted: &Option<Vec<T>>, mine: &[T]) -> bool {
            wanted.as_ref().is_none_or(|wanted| mine.iter().any(|item| wanted.contains(item)))
        }
        let class = self.classes.iter().any(|class| match &matches.changes {
            None => class.is_definition(),
            Some(wanted) => {
                wanted.contains(class) || (class.is_proposal() && wanted.contains(&ChangeClass::Proposal))
            }
        });
        class
            && one(&matches.zones, &self.zones)
            && one(&matches.servers, &self.servers)
            && one(&matches.tiers, &self.tiers)
            && one(&matches.environments, &self.environments)
            && one(&matches.data_classes, &self.data_classes)
    }
}

/// An approval rule with its name.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: Name,
    pub(crate) spec: ApprovalRuleSpec,
}

impl Rule {
    /// Whether the rule lets this person approve, the author or not.
    pub(crate) fn names(&self, identity: &Identity) -> bool {
        identity.rights.has(Right::ApprovalsDecide)
            && self.spec.approvers.iter().any(|approver| match approver {
                Approver::Role(role) => identity.roles.contains(role.as_str()),
                Approver::Identity(person) => *person == identity.person,
            })
    }

    /// Whom it lets approve, in words.
    pub(crate) fn approvers(&self) -> Vec<String> {
        self.spec.approvers.iter().map(ToString::to_string).collect()
    }

    /// When what was opened then is too old; none when never.
    pub(crate) fn expires_unix_ms(&self, opened_unix_ms: u64) -> Option<u64> {
        let after = self.spec.expires_after?;
        Some(opened_unix_ms.saturating_add(u64::try_from(after.0.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Whether this definition, as canonical JSON, needs no person, where the review found this much in it.
    pub(crate) fn approves_by_itself(&self, definition: &str, risk: Risk) -> bool {
        let Some(auto) = &self.spec.auto_approve else { return false };
        let asked = auto.read_only_hint || auto.risk.is_some();
        asked
            && auto.risk.is_none_or(|accepted| accepts(accepted, risk))
            && (!auto.read_only_hint || only_reads(definition))
    }

    /// The votes that count now, one for each person: of people who may still approve by this rule and are not among those
    /// whom four eyes leave out. `votes` are authors of the history.
    pub(crate) fn count<'v>(
        &self,
        state: &State,
        votes: impl IntoIterator<Item = &'v str>,
        left_out: &[String],
        now_unix_ms: u64,
    ) -> Vec<&'v str> {
        let mut counted: Vec<&str> = Vec::new();
        for vote in votes {
            let person = person_of(vote);
            let again = counted.iter().any(|other| person_of(other) == person);
            let may =
                Identity::of_author(state, vote, now_unix_ms).is_some_and(|identity| self.names(&identity));
            if may && !again && !self.leaves_out(person, left_out) {
                counted.push(vote);
            }
        }
        counted
    }

    /// Whether four eyes leave this person out; `authors` are those of the history.
    pub(crate) fn leaves_out(&self, person: &str, authors: &[String]) -> bool {
        self.spec.four_eyes && authors.iter().any(|author| person_of(author) == person)
    }

    /// Judges one more approval by this person.
    ///
    /// # Errors
    /// A sentence that says why it does not count, and whose would.
    pub(crate) fn vote<'v>(
        &self,
        state: &State,
        identity: &Identity,
        votes: impl IntoIterator<Item = &'v str>,
        authors: &[String],
        now_unix_ms: u64,
    ) -> Result<Ballot, String> {
        let name = &self.name;
        self.must_name(identity)?;
        if self.leaves_out(&identity.person, authors) {
            return Err(format!(
                "ApprovalRule/{name} asks for four eyes, and {} is behind what is to be approved: somebody else of {} must \
                 approve it",
                identity.person,
                self.approvers().join(", ")
            ));
        }
        let mut counted = self.count(state, votes, authors, now_unix_ms);
        if counted.iter().any(|vote| person_of(vote) == identity.person) {
            let missing = u64::from(self.spec.required).saturating_sub(counted.len() as u64);
            return Err(format!(
                "{} has approved this already; ApprovalRule/{name} wants {missing} more",
                identity.person
            ));
        }
        let author = identity.author();
        counted.push(&author);
        let enough = counted.len() as u64 >= u64::from(self.spec.required);
        Ok(if enough { Ballot::Carried(counted.join(", ")) } else { Ballot::Open })
    }

    /// Refuses whoever the rule does not let decide.
    ///
    /// # Errors
    /// A sentence that names those whom it lets.
    pub(crate) fn must_name(&self, identity: &Identity) -> Result<(), String> {
        if self.names(identity) {
            return Ok(());
        }
        Err(format!(
            "ApprovalRule/{} lets {} decide this, and {} is none of them",
            self.name,
            self.approvers().join(", "),
            identity.author()
        ))
    }
}

/// Whether the review found nothing worse than what is accepted.
fn accepts(accepted: AcceptedRisk, risk: Risk) -> bool {
    let worst = match accepted {
        AcceptedRisk::None => None,
        AcceptedRisk::Info => Some(Severity::Info),
        AcceptedRisk::Warn => Some(Severity::Warn),
    };
    risk.highest <= worst
}

/// Whether a definition says that it only reads. The upstream may lie.
fn only_reads(definition: &str) -> bool {
    let parsed: Value = serde_json::from_str(definition).unwrap_or_default();
    let hint = |name: &str| parsed.pointer("/annotations").and_then(|hints| hints.get(name)?.as_bool());
    hint("readOnlyHint") == Some(true) && hint("destructiveHint") != Some(true)
}

/// What one more approval comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ballot {
    /// It is enough; these approved, as history names them.
    Carried(String),
    /// More people are needed.
    Open,
}

/// The approval rules of a state, the one that counts most first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rulebook(Vec<Rule>);

impl Rulebook {
    /// The rules of this state.
    pub(crate) fn of(state: &State) -> Self {
        let read = |object: &std::sync::Arc<Object>| match Resource::from_json(&object.body).ok()? {
            Resource { metadata, spec: Spec::ApprovalRule(spec) } => {
                Some(Rule { name: metadata.name, spec: *spec })
            }
            _ => None,
        };
        let mut rules: Vec<Rule> = state.list(Kind::ApprovalRule.as_str()).filter_map(read).collect();
        // The most specific one first; of equals the stricter one; of equals the first by name.
        rules.sort_by(|a, b| {
            let rank = |rule: &Rule| (rule.spec.matches.criteria(), rule.spec.required);
            rank(b).cmp(&rank(a)).then_with(|| a.name.cmp(&b.name))
        });
        Self(rules)
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rule that is about this.
    pub(crate) fn rule(&self, matter: &Matter) -> Option<&Rule> {
        self.0.iter().find(|rule| matter.fits(&rule.spec.matches))
    }
}

#[cfg(test)]
mod tests;
