//! The whole way of a call in the order in which a data plane takes it.

use std::sync::Arc;

use super::{Asked, Decision, ExplainedStep, Explanation, Outcome, Question};
use crate::Reason;
use crate::compile::Snapshot;
use crate::compile::model::{Definition, Principal, Server, Zone};
use crate::decide::judge::{self, Asker, Ground, Refusal, Steps};
use crate::decide::{Step, resolve};
use crate::live;
use crate::metering::{CallMetering, Measure};
use crate::resource::{AuditMode, Kind, Name};
use crate::rule::{DefinitionKind, Rule, RulePath};
use crate::size::Carried;
use crate::view::EndpointRef;

/// A step that ended the call, with what is said of it.
struct Ended {
    decision: Decision,
    reason: Reason,
    rule: Rule,
}

type Way<T> = Result<T, Ended>;

/// One call on its way.
pub(super) struct Chain<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question<'a>,
    key: Option<Name>,
    server: Option<Name>,
    tool: Option<String>,
    steps: Vec<ExplainedStep>,
}

impl Steps for Chain<'_> {
    fn step(&mut self, step: Step, passed: bool, ground: Ground<'_>, detail: impl FnOnce() -> String) {
        let outcome = if passed { Outcome::Pass } else { Outcome::Deny };
        let rule = self.rule(ground);
        self.push(step, outcome, rule, detail());
    }

    fn unknown(&mut self, step: Step, ground: Ground<'_>, detail: impl FnOnce() -> String) -> bool {
        let rule = self.rule(ground);
        self.push(step, Outcome::Live, rule, detail());
        true
    }

    // The step that asks policies says which.
    fn shadow(&mut self, _: &Name) {}
}

impl<'a> Chain<'a> {
    pub(super) const fn new(snapshot: &'a Snapshot, question: &'a Question<'a>) -> Self {
        Self { snapshot, question, key: None, server: None, tool: None, steps: Vec::new() }
    }

    pub(super) fn run(mut self) -> Explanation {
        let (decision, reason, rule) = match self.walk() {
            Ok(rule) => (Decision::Permit, None, rule),
            Err(ended) => (ended.decision, Some(ended.reason), ended.rule),
        };
        Explanation {
            decision,
            reason,
            rule,
            snapshot_version: self.snapshot.version(),
            server: self.server,
            tool: self.tool,
            steps: self.steps,
        }
    }

    /// Every step until one ends the call; the rule that permits it, if none does.
    fn walk(&mut self) -> Way<Rule> {
        let snapshot = self.snapshot;
        self.live(Step::Snapshot, &[Reason::SnapshotStale], "the data plane must hold a snapshot", None)?;
        let principal = self.principal()?;
        let Some(view) = snapshot.view(&principal.access, self.question.endpoint) else {
            let ground = Ground::Closed;
            self.step(Step::Endpoint, false, ground, || {
                "no such endpoint, or no grant reaches it".to_owned()
            });
            return Err(self.denied((Reason::UnknownEndpoint, ground)));
        };
        let rules = principal.access.rules(snapshot);
        let reached = match self.question.endpoint {
            EndpointRef::Bundle(name) => rules.bundles.get(name).map(|(at, _)| rules.ground(*at)),
            EndpointRef::All | EndpointRef::Server(_) => None,
        };
        self.step(Step::Endpoint, true, reached.unwrap_or(Ground::KeyField("spec.grants")), || {
            format!("reaches {}", view.endpoint())
        });
        let form = "headers and body must be those of a request that the protocol knows";
        self.live(Step::Request, &[Reason::MalformedRequest], form, None)?;
        let room = "the data plane serves a bounded number of requests at once";
        self.live(Step::Load, &[Reason::Overloaded], room, None)?;

        let (kind, name) = (self.question.kind, self.question.name);
        let candidate =
            resolve(snapshot, view.place(), kind, name, self).map_err(|refusal| self.denied(refusal))?;
        self.server = Some(candidate.server.name().clone());
        self.tool = Some(candidate.name.to_string());
        let asker = Asker {
            rules,
            place: view.place(),
            keyed: &principal.client_rules,
            caller: rules.standpoints.caller(principal).map(|caller| &**caller),
            listing: false,
            circumstances: self.question.circumstances,
        };
        let (definition, grant) =
            judge::definition(&asker, candidate, self).map_err(|refusal| self.denied(refusal))?;
        let granted = self.rule(rules.ground(grant));
        self.beyond_policy(principal, definition, &granted)?;
        Ok(granted)
    }

    /// The key, known and alive.
    fn principal(&mut self) -> Way<&'a Arc<Principal>> {
        let Some(principal) = self.snapshot.key_by_name(self.question.key) else {
            self.step(Step::Key, false, Ground::Closed, || "no key has this name".to_owned());
            return Err(self.denied((Reason::Unauthenticated, Ground::Closed)));
        };
        let key = &principal.key_name;
        self.key = Some(key.clone());
        if let Err((reason, ground)) = principal.alive(self.question.circumstances.now_unix_ms) {
            self.step(Step::Key, false, ground, || match reason {
                Reason::KeyRevoked => "the key was revoked".to_owned(),
                _ => "the key's time is over".to_owned(),
            });
            return Err(self.denied((reason, ground)));
        }
        self.step(Step::Key, true, Ground::KeyField("spec"), || {
            format!("{key} is known, in time and not revoked")
        });
        Ok(principal)
    }

    /// What a call meets that policy permits: the bounds of its server, its record, and the server itself.
    fn beyond_policy(
        &mut self,
        principal: &Arc<Principal>,
        definition: &Arc<Definition>,
        granted: &Rule,
    ) -> Way<()> {
        let server = &*definition.server;
        let limits = &server.entry.limits;
        let of = Some((server, granted));
        self.size(server)?;
        self.record(&definition.zone)?;
        self.limits(principal, definition)?;
        self.call_approval(definition)?;
        let at_once = format!("at most {} calls at once on one data plane", limits.concurrency);
        self.live(Step::Concurrency, &[Reason::ConcurrencyExceeded], &at_once, of)?;
        let there = format!("{} must answer, and answer well", server.name());
        self.live(Step::Upstream, &[Reason::UpstreamUnavailable, Reason::UpstreamError], &there, of)?;
        let in_time = format!("at most {} for an answer, and between its messages", limits.timeout);
        self.live(Step::Timeout, &[Reason::UpstreamTimeout], &in_time, of)?;
        let small = format!("at most {}, in a form that can be passed on", limits.max_response_bytes);
        self.live(Step::Answer, &[Reason::ResponseTooLarge, Reason::Internal], &small, of)
    }

    fn size(&mut self, server: &Server) -> Way<()> {
        let limits = &server.entry.limits;
        let met = live::met(Reason::ArgumentsInvalid, Some(server));
        let rule = met.rule.unwrap_or_else(Rule::closed);
        let most = limits.max_request_bytes;
        let Some(arguments) = self.question.circumstances.arguments else {
            self.push(
                Step::Size,
                Outcome::Live,
                rule,
                format!("at most {most} of arguments; none were given"),
            );
            return Ok(());
        };
        let carried = Carried::of_arguments(arguments);
        let fits = carried.fits(limits);
        let outcome = if fits { Outcome::Pass } else { Outcome::Deny };
        let detail = format!("the arguments have {} bytes, of at most {most}", carried.bytes);
        self.push(Step::Size, outcome, rule.clone(), detail);
        if fits {
            return Ok(());
        }
        Err(Ended { decision: met.decision, reason: Reason::ArgumentsInvalid, rule })
    }

    /// The place of the audit record, where the zone of what is called asks for one.
    fn record(&mut self, zone: &Zone) -> Way<()> {
        let rule = Rule::of(Kind::TrustZone, zone.entry.name.clone(), RulePath::Field("spec.audit"));
        let reason = Reason::AuditUnavailable;
        let (outcome, detail) = match zone.entry.audit {
            AuditMode::BestEffort => {
                (Outcome::Pass, "the call goes out with or without a place for its audit record".to_owned())
            }
            AuditMode::Required => {
                let detail = "a place for the audit record must be free before the call goes out";
                if self.question.assume.contains(&reason) {
                    (Outcome::Deny, format!("{detail}; taken not to hold: {reason}"))
                } else {
                    (Outcome::Live, detail.to_owned())
                }
            }
        };
        self.push(Step::Record, outcome, rule.clone(), detail);
        match outcome {
            Outcome::Deny => Err(Ended { decision: Decision::Deny, reason, rule }),
            _ => Ok(()),
        }
    }

    /// What meters the call: how much of it is left only data planes and the control plane's books know.
    fn limits(&mut self, principal: &Arc<Principal>, definition: &Arc<Definition>) -> Way<()> {
        let tool = Some(definition).filter(|_| self.question.kind == DefinitionKind::Tool);
        let Some(metering) = CallMetering::of(principal, principal.way(&definition.server), tool) else {
            return Ok(());
        };
        for Measure { reason, rule, text } in metering.measures() {
            if !self.question.assume.contains(&reason) {
                self.push(Step::Limits, Outcome::Live, rule, text);
                continue;
            }
            self.push(Step::Limits, Outcome::Deny, rule.clone(), format!("{text}; taken to be used up"));
            return Err(Ended { decision: Decision::Deny, reason, rule });
        }
        Ok(())
    }

    /// Where each call needs a person it is held back, unless exactly this one was approved or denied.
    fn call_approval(&mut self, definition: &Definition) -> Way<()> {
        let Some(rule) = definition.held_by.clone() else { return Ok(()) };
        let denied = self.question.assume.contains(&Reason::ApprovalDenied);
        let (reason, detail) = match self.question.asked {
            _ if denied => (Reason::ApprovalDenied, "taken to be denied by a person"),
            None => (
                Reason::ApprovalRequired,
                "a person has to approve exactly this call, which then goes through once",
            ),
            Some(Asked::Waits) => (Reason::ApprovalRequired, "exactly this call waits for a person already"),
            Some(Asked::Denied) => (Reason::ApprovalDenied, "a person denied exactly this call"),
            Some(Asked::Approved) => {
                let detail = "a person approved exactly this call, which goes through once";
                self.push(Step::CallApproval, Outcome::Pass, rule, detail.to_owned());
                return Ok(());
            }
        };
        self.push(Step::CallApproval, Outcome::Deny, rule.clone(), detail.to_owned());
        Err(Ended { decision: Decision::Deny, reason, rule })
    }

    /// A step of which only the data plane knows how it comes out: it ends the call where one of its reasons is assumed.
    /// `of` is the server and what permitted the call, from where both are known.
    fn live(
        &mut self,
        step: Step,
        reasons: &[Reason],
        detail: &str,
        of: Option<(&Server, &Rule)>,
    ) -> Way<()> {
        let (server, granted) = of.unzip();
        let ruled = |reason| {
            let met = live::met(reason, server);
            (met.decision, met.rule.or_else(|| granted.cloned()).unwrap_or_else(Rule::closed))
        };
        let Some(reason) = reasons.iter().copied().find(|reason| self.question.assume.contains(reason))
        else {
            let bound = reasons.iter().find_map(|reason| live::met(*reason, server).rule);
            let reached = || server.map(|server| live::of_server(server.name(), "spec.transport"));
            let rule = bound.or_else(reached).unwrap_or_else(Rule::closed);
            self.push(step, Outcome::Live, rule, detail.to_owned());
            return Ok(());
        };
        let (decision, rule) = ruled(reason);
        let outcome = match decision {
            Decision::Permit => Outcome::Fail,
            Decision::Deny => Outcome::Deny,
        };
        self.push(step, outcome, rule.clone(), format!("{detail}; taken not to hold: {reason}"));
        Err(Ended { decision, reason, rule })
    }

    fn push(&mut self, step: Step, outcome: Outcome, rule: Rule, detail: String) {
        self.steps.push(ExplainedStep { step, outcome, rule, detail });
    }

    fn denied(&self, (reason, ground): Refusal<'_>) -> Ended {
        Ended { decision: Decision::Deny, reason, rule: self.rule(ground) }
    }

    fn rule(&self, ground: Ground<'_>) -> Rule {
        self.key.as_ref().map_or_else(Rule::closed, |key| ground.rule(key))
    }
}
