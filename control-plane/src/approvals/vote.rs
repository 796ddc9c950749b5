//! Who may decide what, and how many of them it takes: approval rules over stored definitions.

use std::collections::HashMap;

use portcullis_policy::resource::{Kind, Right};

use super::find::Candidate;
use super::{Approval, ApprovalState, Needs};
use crate::catalog::Verdict;
use crate::governance::{Ballot, Identity, Matter, Rule, Rulebook, Scope, authors};
use crate::store::State;

/// What is known of a server, read once.
struct Server {
    matter: Matter,
    scope: Scope,
    authors: Vec<String>,
}

/// Judges decisions against one state.
pub(super) struct Desk<'a> {
    state: &'a State,
    book: Rulebook,
    now_unix_ms: u64,
    servers: HashMap<String, Server>,
}

/// What a decision comes to.
pub(super) enum Step {
    /// It is decided, with this verdict.
    Decided(Verdict),
    /// It is one approval of several.
    Vote(Verdict),
    /// It is so already.
    Nothing,
}

/// Why somebody cannot decide something.
pub(super) struct Objection {
    /// Whether it is a right that they lack.
    pub(super) denied: bool,
    pub(super) message: String,
}

impl<'a> Desk<'a> {
    pub(super) fn new(state: &'a State, now_unix_ms: u64) -> Self {
        Self { state, book: Rulebook::of(state), now_unix_ms, servers: HashMap::new() }
    }

    fn server(&mut self, name: &str) -> &Server {
        let state = self.state;
        self.servers.entry(name.to_owned()).or_insert_with(|| {
            let Some(object) = state.get(Kind::McpServer.as_str(), name) else {
                return Server { matter: Matter::default(), scope: Scope::default(), authors: Vec::new() };
            };
            Server {
                matter: Matter::of_server(object),
                scope: Scope::of_object(Kind::McpServer, object),
                authors: authors(state, &object.uid),
            }
        })
    }

    fn rule(&mut self, candidate: &Candidate) -> Option<Rule> {
        if self.book.is_empty() {
            return None;
        }
        let matter = self.server(candidate.server()).matter.class(candidate.stored.change_class());
        self.book.rule(&matter).cloned()
    }

    /// Says by which rule an approval is to be decided, who approved so far, and whether it waited for too long.
    pub(super) fn tell(&mut self, candidate: &Candidate, approval: &mut Approval) {
        if approval.state != ApprovalState::Pending {
            return;
        }
        let Some(rule) = self.rule(candidate) else { return };
        let authors = self.server(candidate.server()).authors.clone();
        let votes = candidate.stored.votes.iter().map(|vote| vote.by.as_str());
        let counted = rule.count(self.state, votes, &authors, self.now_unix_ms);
        let opened = candidate.stored.reopened_unix_ms.unwrap_or(approval.opened_unix_ms);
        let expires = rule.expires_unix_ms(opened);
        if expires.is_some_and(|end| self.now_unix_ms >= end) {
            approval.state = ApprovalState::Expired;
        }
        approval.needs = Some(Box::new(Needs {
            rule: rule.name.as_str().to_owned(),
            required: rule.spec.required,
            approvers: rule.approvers(),
            approved_by: counted.into_iter().map(str::to_owned).collect(),
            expires_unix_ms: expires.unwrap_or(0),
        }));
    }

    /// Judges a decision of one who asks; none for the process itself, which decides alone.
    pub(super) fn judge(
        &mut self,
        by: Option<&Identity>,
        candidate: &Candidate,
        approval: &Approval,
        approve: bool,
        verdict: &Verdict,
    ) -> Result<Step, Objection> {
        let decided = matches!(approval.state, ApprovalState::Approved | ApprovalState::Denied);
        if decided && (approval.state == ApprovalState::Approved) == approve {
            return Ok(Step::Nothing);
        }
        let Some(by) = by else { return Ok(Step::Decided(verdict.clone())) };
        let what = format!("decide {} of server {}", approval.name, approval.server);
        let server = self.server(candidate.server());
        by.must_have(Right::ApprovalsDecide, &server.scope, &what)
            .map_err(|message| Objection { denied: true, message })?;
        let authors = server.authors.clone();
        let Some(rule) = self.rule(candidate) else { return Ok(Step::Decided(verdict.clone())) };
        let refuse = |message| Objection { denied: false, message };
        if !approve {
            rule.must_name(by).map_err(refuse)?;
            return Ok(Step::Decided(verdict.clone()));
        }
        if approval.state == ApprovalState::Expired {
            return Err(refuse(format!(
                "{} waited for too long (ApprovalRule/{}); look at it again and open it with `approvals reopen {}`",
                approval.name, rule.name, approval.id
            )));
        }
        let votes = candidate.stored.votes.iter().map(|vote| vote.by.as_str());
        match rule.vote(self.state, by, votes, &authors, self.now_unix_ms).map_err(refuse)? {
            Ballot::Open => Ok(Step::Vote(verdict.clone())),
            Ballot::Carried(all) => Ok(Step::Decided(Verdict { by: all, ..verdict.clone() })),
        }
    }

    /// Whether one who asks may open this again.
    pub(super) fn may_reopen(&mut self, by: Option<&Identity>, approval: &Approval) -> Result<(), Objection> {
        let Some(by) = by else { return Ok(()) };
        let what = format!("open {} of server {} again", approval.name, approval.server);
        let scope = &self.server(&approval.server).scope;
        // Who changes a server may ask again, as who decides may.
        by.must_have(Right::ResourcesWrite, scope, &what)
            .or_else(|_| by.must_have(Right::ApprovalsDecide, scope, &what))
            .map_err(|message| Objection { denied: true, message })
    }
}
