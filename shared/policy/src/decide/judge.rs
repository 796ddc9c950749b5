//! The predicate: may this set of grants, in this zone, at this endpoint, use this definition of this server?
//!
//! One function for calling, listing and explaining. It keeps the order of the reasons, and tells each step to a recorder that
//! is nothing at all when nobody explains.

mod client;
mod conditions;

use std::sync::Arc;

use portcullis_conditions::Caller;

use crate::Reason;
use crate::access::{Rules, ServerRules};
use crate::circumstances::Circumstances;
use crate::compile::model::{Candidate, CandidateState, Definition, Server, Zone};
use crate::opening;
use crate::resource::{Kind, Name};
use crate::rule::{DefinitionKind, Rule, RulePath};
use crate::snapshot::Opening;
use crate::standpoint::Met;
use crate::view::Place;

/// What a step rests on, without the key's name: judgements are shared between keys.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ground<'a> {
    Closed,
    Grant(u32),
    KeyField(&'static str),
    Member(&'a Name, u32),
    /// A team that a bundle names, by its place there.
    Team(&'a Name, u32),
    BundleField(&'a Name, &'static str),
    ZoneField(&'a Name, &'static str),
    ClientField(&'a Name, &'static str),
    Policy(&'a Name),
    Policies,
    ServerField(&'a Name, &'static str),
    Approval(&'a Candidate),
    /// What holds calls back, each until a person approved it.
    PerCall(&'a Rule),
}

impl Ground<'_> {
    /// The rule, for the key of this name.
    pub(crate) fn rule(self, key: &Name) -> Rule {
        let of = |kind, name: &Name, path| Rule::of(kind, name.clone(), path);
        match self {
            Self::Closed => Rule::closed(),
            Self::Grant(at) => of(Kind::VirtualKey, key, RulePath::Grant(at)),
            Self::KeyField(field) => of(Kind::VirtualKey, key, RulePath::Field(field)),
            Self::Member(bundle, at) => of(Kind::ToolBundle, bundle, RulePath::Member(at)),
            Self::Team(bundle, at) => of(Kind::ToolBundle, bundle, RulePath::Team(at)),
            Self::BundleField(bundle, field) => of(Kind::ToolBundle, bundle, RulePath::Field(field)),
            Self::ZoneField(zone, field) => of(Kind::TrustZone, zone, RulePath::Field(field)),
            Self::ClientField(client, field) => of(Kind::Client, client, RulePath::Field(field)),
            Self::Policy(policy) => of(Kind::AccessPolicy, policy, RulePath::Field("spec.cedar")),
            Self::Policies => {
                Rule { kind: Some(Kind::AccessPolicy), name: None, path: RulePath::Field("spec.cedar") }
            }
            Self::ServerField(server, field) => of(Kind::McpServer, server, RulePath::Field(field)),
            Self::Approval(candidate) => {
                let path = RulePath::Approval(candidate.kind, Arc::clone(&candidate.name));
                of(Kind::McpServer, candidate.server.name(), path)
            }
            Self::PerCall(rule) => rule.clone(),
        }
    }
}

/// The steps of a call, in their order. A decision is made from `Key` to `Conditions`; what comes before and after is known to the
/// data plane that serves the call, and foretold by `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Whether the data plane has anything to decide by.
    Snapshot,
    /// Whether the key is known, in time and not revoked.
    Key,
    /// Whether the key reaches the endpoint.
    Endpoint,
    /// Whether the request is one of HTTP and of MCP.
    Request,
    /// Whether the data plane has room for one more.
    Load,
    /// Whether anything has the name.
    Name,
    /// Whether a grant names it.
    Grant,
    /// Whether the endpoint's bundle holds it.
    Bundle,
    /// Whether it is approved and unchanged.
    Approval,
    /// Whether the server is open for this key, at the stage that it has reached.
    Stage,
    /// Whether the zone may be reached, from there and like this, and allows the data classes.
    Zone,
    /// Whether the `Client`s let the caller's program reach it.
    Client,
    /// Whether no policy forbids it.
    Conditions,
    /// Whether the server takes a request of this size.
    Size,
    /// Whether there is a place for the audit record, where the zone requires one.
    Record,
    /// Whether its limits and budgets let it pass.
    Limits,
    /// Whether a person approved exactly this call, where each needs that.
    CallApproval,
    /// Whether the server takes one more call at once.
    Concurrency,
    /// Whether the server is there and answers.
    Upstream,
    /// Whether it answers in time.
    Timeout,
    /// Whether its answer is small enough, and can be passed on.
    Answer,
}

/// Hears each step.
pub(crate) trait Steps {
    /// `detail` is a sentence; neither it nor the rule is made when nobody listens.
    fn step(&mut self, step: Step, passed: bool, ground: Ground<'_>, detail: impl FnOnce() -> String);

    /// A rule asks for something that is not known of the call. Says whether to go on as if it held; a decision never does.
    fn unknown(&mut self, step: Step, ground: Ground<'_>, detail: impl FnOnce() -> String) -> bool;

    /// As [`Steps::unknown`], where only policies in shadow mode ask: whatever it is, they let the call through.
    fn unknown_in_shadow(&mut self, step: Step, ground: Ground<'_>, detail: impl FnOnce() -> String) -> bool {
        self.unknown(step, ground, detail)
    }

    /// A policy in shadow mode would have denied.
    fn shadow(&mut self, policy: &Name);
}

/// Hears nothing.
pub(crate) struct Silent;

impl Steps for Silent {
    fn step(&mut self, _: Step, _: bool, _: Ground<'_>, _: impl FnOnce() -> String) {}

    fn unknown(&mut self, _: Step, _: Ground<'_>, _: impl FnOnce() -> String) -> bool {
        false
    }

    fn shadow(&mut self, _: &Name) {}
}

/// Keeps the names of policies that would have denied, and nothing else.
#[derive(Default)]
pub(crate) struct Noting {
    pub(crate) shadow: Vec<Name>,
}

impl Steps for Noting {
    fn step(&mut self, _: Step, _: bool, _: Ground<'_>, _: impl FnOnce() -> String) {}

    fn unknown(&mut self, _: Step, _: Ground<'_>, _: impl FnOnce() -> String) -> bool {
        false
    }

    fn shadow(&mut self, policy: &Name) {
        self.shadow.push(policy.clone());
    }
}

/// Who asks, and how.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// What the key's grants reach.
    pub(crate) rules: &'a Rules,
    /// Where it asks.
    pub(crate) place: &'a Place,
    /// The places of the `Client`s that name the key.
    pub(crate) keyed: &'a [u32],
    /// The principal as policies see it; `None` where there are none, or where nobody in particular asks.
    pub(crate) caller: Option<&'a Caller>,
    /// Whether it asks what there is, and not for one call.
    pub(crate) listing: bool,
    /// What else is known.
    pub(crate) circumstances: Circumstances<'a>,
}

/// A refusal before it knows whose it is.
pub(crate) type Refusal<'a> = (Reason, Ground<'a>);

/// Judges a tool or a prompt: grant, bundle, approval, stage, zone, client, conditions. Yields the definition and the place of the
/// grant.
pub(crate) fn definition<'a>(
    asker: &Asker<'a>,
    candidate: &'a Candidate,
    steps: &mut impl Steps,
) -> Result<(&'a Arc<Definition>, u32), Refusal<'a>> {
    let Asker { rules, place, .. } = *asker;
    let name: &str = &candidate.name;
    let server = &candidate.server;
    let Some(grant) = rules.server(server.uid()).and_then(|rules| granted(rules, candidate)) else {
        let ground = Ground::KeyField("spec.grants");
        steps.step(Step::Grant, false, ground, || format!("no grant names {name} of {}", server.name()));
        return Err((Reason::ToolNotGranted, ground));
    };
    steps.step(Step::Grant, true, rules.ground(grant), || format!("names {name} of {}", server.name()));
    in_bundle(place, candidate, steps)?;
    let definition = approved(candidate, steps)?;
    stage(rules, server, steps)?;
    zone(asker, &candidate.zone, candidate.refused_class.as_deref(), steps)?;
    client::judge(asker, server, &candidate.zone, steps)?;
    conditions::definition(asker, candidate, steps)?;
    Ok((definition, grant))
}

fn granted(rules: &ServerRules, candidate: &Candidate) -> Option<u32> {
    match candidate.kind {
        DefinitionKind::Tool => rules.chosen.tool(&candidate.name),
        DefinitionKind::Prompt => rules.chosen.prompt(&candidate.name),
    }
}

fn in_bundle<'a>(place: &'a Place, candidate: &Candidate, steps: &mut impl Steps) -> Result<(), Refusal<'a>> {
    let Place::Bundle(bundle) = place else { return Ok(()) };
    let name = &bundle.entry.name;
    let member = bundle.member(candidate);
    if let Some(at) = member {
        steps.step(Step::Bundle, true, Ground::Member(name, at), || {
            format!("{name} holds {}", candidate.name)
        });
        return Ok(());
    }
    let ground = Ground::BundleField(name, "spec.tools");
    steps.step(Step::Bundle, false, ground, || format!("{name} does not hold {}", candidate.name));
    Err((Reason::ToolNotGranted, ground))
}

fn approved<'a>(
    candidate: &'a Candidate,
    steps: &mut impl Steps,
) -> Result<&'a Arc<Definition>, Refusal<'a>> {
    let ground = Ground::Approval(candidate);
    let (reason, detail) = match &candidate.state {
        CandidateState::Usable(definition) => {
            steps.step(Step::Approval, true, ground, || format!("approved as {}", definition.pin));
            return Ok(definition);
        }
        CandidateState::Pending => (Reason::ToolNotApproved, "nobody approved its definition"),
        CandidateState::Quarantined => {
            (Reason::ToolQuarantined, "the upstream's definition no longer matches the approved one")
        }
        CandidateState::Invalid(why) => (Reason::ToolNotApproved, &**why),
    };
    steps.step(Step::Approval, false, ground, || detail.to_owned());
    Err((reason, ground))
}

/// Judges a server as a whole: may these grants speak to it at all?
pub(crate) fn server<'a>(
    asker: &Asker<'a>,
    server: &'a Server,
    steps: &mut impl Steps,
) -> Result<u32, Refusal<'a>> {
    let Asker { rules, place, .. } = *asker;
    let Some(found) = rules.server(server.uid()) else {
        let ground = Ground::KeyField("spec.grants");
        steps.step(Step::Grant, false, ground, || format!("no grant names anything of {}", server.name()));
        return Err((Reason::ToolNotGranted, ground));
    };
    steps.step(Step::Grant, true, rules.ground(found.first), || format!("names {}", server.name()));
    if !place.holds(server) {
        let ground = match place {
            Place::Bundle(bundle) => Ground::BundleField(&bundle.entry.name, "spec.tools"),
            _ => Ground::Closed,
        };
        steps.step(Step::Bundle, false, ground, || format!("{} is not at this endpoint", server.name()));
        return Err((Reason::ToolNotGranted, ground));
    }
    stage(rules, server, steps)?;
    zone(asker, &server.zone, server.refused_class.as_deref(), steps)?;
    client::judge(asker, server, &server.zone, steps)?;
    Ok(found.first)
}

/// Judges one resource.
pub(crate) fn resource<'a>(
    asker: &Asker<'a>,
    server: &'a Server,
    uri: &str,
    steps: &mut impl Steps,
) -> Result<u32, Refusal<'a>> {
    let Asker { rules, place, .. } = *asker;
    let Some(grant) = rules.server(server.uid()).and_then(|rules| rules.chosen.resource(uri)) else {
        let ground = Ground::KeyField("spec.grants");
        steps.step(Step::Grant, false, ground, || {
            format!("no pattern matches a resource of {}", server.name())
        });
        return Err((Reason::ToolNotGranted, ground));
    };
    steps.step(Step::Grant, true, rules.ground(grant), || format!("names it at {}", server.name()));
    match place {
        Place::Bundle(bundle) => {
            let name = &bundle.entry.name;
            let member = bundle.of(server.uid()).and_then(|held| held.chosen.resource(uri));
            let ground =
                member.map_or(Ground::BundleField(name, "spec.tools"), |at| Ground::Member(name, at));
            let holds = if member.is_some() { "holds" } else { "does not hold" };
            steps.step(Step::Bundle, member.is_some(), ground, || format!("{name} {holds} it"));
            member.ok_or((Reason::ToolNotGranted, ground))?;
        }
        Place::All => {}
        Place::Server(_) if place.holds(server) => {}
        Place::Server(_) => {
            let ground = Ground::Closed;
            steps.step(Step::Bundle, false, ground, || "this endpoint holds no such resource".to_owned());
            return Err((Reason::ToolNotGranted, ground));
        }
    }
    stage(rules, server, steps)?;
    zone(asker, &server.zone, server.refused_class.as_deref(), steps)?;
    client::judge(asker, server, &server.zone, steps)?;
    conditions::resource(asker, server, uri, steps)?;
    Ok(grant)
}

/// Judges whether a server is open for the key: who is not let in must not even know that it is there.
fn stage<'a>(rules: &Rules, server: &'a Server, steps: &mut impl Steps) -> Result<(), Refusal<'a>> {
    let opening = &server.entry.opening;
    if rules.admitted.to(server) {
        let ground = Ground::ServerField(server.name(), opening::STAGE);
        steps.step(Step::Stage, true, ground, || match (opening, server.twin.is_some()) {
            (_, true) if rules.admitted.sandbox => {
                format!("{}'s sandbox is open for this key", server.name())
            }
            (Opening::General, _) => format!("{} is open to all", server.name()),
            _ => format!("{} lets this key in at its stage", server.name()),
        });
        return Ok(());
    }
    let field = opening::field(opening);
    let ground = Ground::ServerField(server.name(), field);
    steps.step(Step::Stage, false, ground, || opening::closed(opening));
    Err((Reason::ToolNotApproved, ground))
}

/// Judges the crossing of zones, the data classes that the zone allows, and from where and how it may be called.
fn zone<'a>(
    asker: &Asker<'a>,
    zone: &'a Zone,
    refused_class: Option<&str>,
    steps: &mut impl Steps,
) -> Result<(), Refusal<'a>> {
    let (name, from) = (&zone.entry.name, &asker.rules.zone);
    let ground = Ground::ZoneField(name, "spec.reachableFrom");
    if !zone.reachable_from(from) {
        steps.step(Step::Zone, false, ground, || format!("{name} is not reachable from {from}"));
        return Err((Reason::ZoneDenied, ground));
    }
    if let Some(class) = refused_class {
        let ground = Ground::ZoneField(name, "spec.allowedDataClasses");
        steps.step(Step::Zone, false, ground, || format!("{name} does not allow the data class {class}"));
        return Err((Reason::ZoneDenied, ground));
    }
    let Circumstances { network, era, plane, .. } = asker.circumstances;
    let served = zone.served_by(plane);
    let known = [
        circumstance(zone, "spec.servedBy", served, steps, || match served {
            Met::Unknown => {
                format!(
                    "{name} is served by some data planes only, and which one serves the call is not known"
                )
            }
            _ => format!("{name} is served by other data planes"),
        })?,
        circumstance(zone, "spec.callerNetworks", zone.called_from(network), steps, || match network {
            Some(address) => format!("{name} may not be called from {address}"),
            None => format!("{name} may be called from some networks only, and the caller's is not known"),
        })?,
        circumstance(zone, "spec.allowedEras", zone.spoken_to(era), steps, || match era {
            Some(era) => format!("{name} takes no calls of {era} clients"),
            None => format!("{name} takes calls of one era only, and the caller's is not known"),
        })?,
    ];
    if known == [true; 3] {
        steps.step(Step::Zone, true, ground, || format!("{name} is reachable from {from}"));
    }
    Ok(())
}

/// One thing that a zone asks of a call's circumstances. Says whether it is known to hold.
fn circumstance<'a>(
    zone: &'a Zone,
    field: &'static str,
    met: Met,
    steps: &mut impl Steps,
    detail: impl Fn() -> String,
) -> Result<bool, Refusal<'a>> {
    let ground = Ground::ZoneField(&zone.entry.name, field);
    match met {
        Met::Yes => return Ok(true),
        Met::Unknown if steps.unknown(Step::Zone, ground, &detail) => return Ok(false),
        Met::No | Met::Unknown => {}
    }
    steps.step(Step::Zone, false, ground, detail);
    Err((Reason::ZoneDenied, ground))
}
