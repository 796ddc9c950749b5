//! Why a tool is or is not callable, step by step: the same run as [`crate::decide`], with a recorder that keeps each step.

use serde::Serialize;

use crate::Reason;
use crate::compile::Snapshot;
use crate::decide::judge::{self, Ground, Steps};
use crate::decide::{Step, resolve};
use crate::resource::Name;
use crate::rule::{DefinitionKind, Rule};
use crate::snapshot::SnapshotVersion;
use crate::view::EndpointRef;

/// A decision with every step that led to it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// Why, when it was denied.
    pub reason: Option<Reason>,
    /// What decided.
    pub rule: Rule,
    /// The snapshot that decided.
    pub snapshot_version: SnapshotVersion,
    /// The server, as far as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// The upstream's name of the tool, as far as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The steps, in their order; the last one decided.
    pub steps: Vec<ExplainedStep>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may be called.
    Permit,
    /// It may not.
    Deny,
}

/// One step of a decision.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedStep {
    /// Which.
    pub step: Step,
    /// How it came out.
    pub outcome: Outcome,
    /// What it rests on.
    pub rule: Rule,
    /// A sentence for a person.
    pub detail: String,
}

/// How a step came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The next step is asked.
    Pass,
    /// The decision is made.
    Deny,
}

struct Recorder {
    key: Name,
    steps: Vec<ExplainedStep>,
}

impl Steps for Recorder {
    fn step(&mut self, step: Step, passed: bool, ground: Ground<'_>, detail: impl FnOnce() -> String) {
        let outcome = if passed { Outcome::Pass } else { Outcome::Deny };
        self.steps.push(ExplainedStep { step, outcome, rule: ground.rule(&self.key), detail: detail() });
    }
}

/// Explains what a call of a tool by a key at an endpoint would come to at `now_unix_ms`.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    key_name: &str,
    endpoint: EndpointRef<'_>,
    tool: &str,
    now_unix_ms: u64,
) -> Explanation {
    explain_definition(snapshot, key_name, endpoint, DefinitionKind::Tool, tool, now_unix_ms)
}

/// [`explain`] for a tool or a prompt.
#[must_use]
pub fn explain_definition(
    snapshot: &Snapshot,
    key_name: &str,
    endpoint: EndpointRef<'_>,
    kind: DefinitionKind,
    name: &str,
    now_unix_ms: u64,
) -> Explanation {
    let mut explanation = Explanation {
        decision: Decision::Deny,
        reason: None,
        rule: Rule::closed(),
        snapshot_version: snapshot.version(),
        server: None,
        tool: None,
        steps: Vec::new(),
    };
    let Some(principal) = snapshot.key_by_name(key_name) else {
        explanation.reason = Some(Reason::Unauthenticated);
        explanation.steps.push(ExplainedStep {
            step: Step::Key,
            outcome: Outcome::Deny,
            rule: Rule::closed(),
            detail: "no key has this name".to_owned(),
        });
        return explanation;
    };
    let key = principal.key_name.clone();
    let mut recorder = Recorder { key: key.clone(), steps: Vec::new() };
    let outcome =
        run(snapshot, principal, endpoint, kind, name, now_unix_ms, &mut recorder, &mut explanation);
    match outcome {
        Ok(rule) => {
            explanation.decision = Decision::Permit;
            explanation.rule = rule;
        }
        Err((reason, rule)) => {
            explanation.reason = Some(reason);
            explanation.rule = rule;
        }
    }
    explanation.steps = recorder.steps;
    explanation
}

#[allow(clippy::too_many_arguments, reason = "one call site; the parts are what a decision is made of")]
fn run(
    snapshot: &Snapshot,
    principal: &crate::compile::Principal,
    endpoint: EndpointRef<'_>,
    kind: DefinitionKind,
    name: &str,
    now_unix_ms: u64,
    recorder: &mut Recorder,
    explanation: &mut Explanation,
) -> Result<Rule, (Reason, Rule)> {
    let key = principal.key_name.clone();
    if let Err((reason, ground)) = principal.alive(now_unix_ms) {
        recorder.step(Step::Key, false, ground, || match reason {
            Reason::KeyRevoked => "the key was revoked".to_owned(),
            _ => "the key's time is over".to_owned(),
        });
        return Err((reason, ground.rule(&key)));
    }
    recorder.step(Step::Key, true, Ground::KeyField("spec"), || {
        format!("{key} is known, in time and not revoked")
    });
    let Some(view) = snapshot.view(&principal.access, endpoint) else {
        let ground = Ground::Closed;
        recorder
            .step(Step::Endpoint, false, ground, || "no such endpoint, or no grant reaches it".to_owned());
        return Err((Reason::UnknownEndpoint, ground.rule(&key)));
    };
    recorder.step(Step::Endpoint, true, Ground::KeyField("spec.grants"), || {
        format!("reaches {}", view.endpoint())
    });
    let candidate = resolve(snapshot, view.place(), kind, name, recorder)
        .map_err(|(reason, ground)| (reason, ground.rule(&key)))?;
    explanation.server = Some(candidate.server.name().clone());
    explanation.tool = Some(candidate.name.to_string());
    let rules = principal.access.rules(snapshot);
    match judge::definition(rules, view.place(), candidate, recorder) {
        Ok((_, grant)) => Ok(Ground::Grant(grant).rule(&key)),
        Err((reason, ground)) => Err((reason, ground.rule(&key))),
    }
}

#[cfg(test)]
mod tests;
