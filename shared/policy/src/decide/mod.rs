//! The one function that decides, for each thing that a caller can ask: pure, synchronous, without IO or clock.
//!
//! Order: key, endpoint, name, grant, bundle, approval and pin, stage, zone, client, conditions. The first step that fails gives the
//! reason. What all of them let through is held back where a person has to approve each call: nobody is asked for what is denied
//! anyway.

pub(crate) mod judge;
mod permit;

use std::sync::Arc;

use portcullis_seal::Fingerprint;

pub use judge::Step;
pub use permit::{Denial, Permit, Permitted, Shadow, Target};

use self::judge::{Asker, Ground, Noting, Refusal, Silent, Steps};
use crate::Reason;
use crate::access::Rules;
use crate::circumstances::Circumstances;
use crate::compile::Snapshot;
use crate::compile::model::{Candidate, Definition, Principal, Server};
use crate::resource::Name;
use crate::rule::{DefinitionKind, Rule};
use crate::view::{EndpointRef, Place, View};

impl Principal {
    /// Whether it may still call at `now`.
    pub(crate) fn alive(&self, now_unix_ms: u64) -> Result<(), Refusal<'static>> {
        if self.revoked {
            return Err((Reason::KeyRevoked, Ground::KeyField("status.revoked")));
        }
        if self.expires_unix_ms.is_some_and(|end| now_unix_ms >= end) {
            return Err((Reason::KeyExpired, Ground::KeyField("spec.expiresAt")));
        }
        Ok(())
    }
}

impl Snapshot {
    /// Finds who presents a secret, by its hash (see [`crate::secret::key_hash`]).
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`], [`Reason::KeyRevoked`] or [`Reason::KeyExpired`]. The caller is told none of them.
    pub fn authenticate(&self, hash: &Fingerprint, now_unix_ms: u64) -> Result<Arc<Principal>, Denial> {
        let Some(principal) = self.principal_by_hash(hash) else {
            return Err(self.denial((Reason::Unauthenticated, Ground::Closed), None, None));
        };
        match principal.alive(now_unix_ms) {
            Ok(()) => Ok(Arc::clone(principal)),
            Err(refusal) => Err(self.denial(refusal, Some(&principal.key_name), None)),
        }
    }

    /// The view that a principal has of an endpoint. Unknown and unreachable are one answer.
    ///
    /// # Errors
    /// [`Reason::UnknownEndpoint`], and those of [`Snapshot::authenticate`] for a principal of an older snapshot.
    pub fn endpoint(&self, principal: &Principal, endpoint: EndpointRef<'_>) -> Result<Arc<View>, Denial> {
        let Some(principal) = self.current(principal) else { return Err(self.gone()) };
        self.view(&principal.access, endpoint).ok_or_else(|| {
            self.denial((Reason::UnknownEndpoint, Ground::Closed), Some(&principal.key_name), None)
        })
    }

    /// What a caller sees of a view from where it stands: itself, in a snapshot whose lists look at grants and zone alone.
    /// A view that this was not asked for shows what a caller of whom nothing is known may see.
    #[must_use]
    pub fn seen(
        &self,
        principal: &Principal,
        view: &Arc<View>,
        circumstances: &Circumstances<'_>,
    ) -> Arc<View> {
        if self.standpoints.is_one() {
            return Arc::clone(view);
        }
        let Some(principal) = self.current(principal) else { return Arc::clone(view) };
        view.seen_from(principal, circumstances)
    }

    pub(crate) fn view(
        &self,
        access: &crate::access::Access,
        endpoint: EndpointRef<'_>,
    ) -> Option<Arc<View>> {
        match endpoint {
            EndpointRef::All => Some(access.all(self)),
            EndpointRef::Bundle(name) => access.bundle(self, name),
            EndpointRef::Server(name) => access.server(self, name),
        }
    }

    /// Decides one call of a tool, by the name that it has at the view's endpoint.
    ///
    /// # Errors
    /// The first step that fails, with its reason.
    pub fn decide_tool(
        &self,
        principal: &Arc<Principal>,
        view: &View,
        name: &str,
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Denial> {
        self.decide_definition(DefinitionKind::Tool, principal, view, name, circumstances)
    }

    /// The pin of the tool that has this name at a view's endpoint, whoever may call it; none where none is approved.
    #[must_use]
    pub fn pin(&self, view: &View, name: &str) -> Option<Fingerprint> {
        let candidate = resolve(self, view.place(), DefinitionKind::Tool, name, &mut Silent).ok()?;
        candidate.usable().map(|definition| definition.pin)
    }

    /// Decides one prompt, by the name that it has at the view's endpoint.
    ///
    /// # Errors
    /// The first step that fails, with its reason.
    pub fn decide_prompt(
        &self,
        principal: &Arc<Principal>,
        view: &View,
        name: &str,
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Denial> {
        self.decide_definition(DefinitionKind::Prompt, principal, view, name, circumstances)
    }

    fn decide_definition(
        &self,
        kind: DefinitionKind,
        principal: &Arc<Principal>,
        view: &View,
        name: &str,
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Denial> {
        let asked = self.ask(principal, view, circumstances)?;
        let key = &asked.principal.key_name;
        let place = asked.place();
        let found = resolve(self, place, kind, name, &mut Silent);
        let candidate = found.map_err(|refusal| self.denial(refusal, Some(key), None))?;
        let mut noting = Noting::default();
        match judge::definition(&asked.asker(circumstances), candidate, &mut noting) {
            Ok((definition, grant)) => {
                if let Some(rule) = holding(definition, circumstances) {
                    let subject = Some(Subject::Definition(candidate));
                    let held = (Reason::ApprovalRequired, Ground::PerCall(rule));
                    let denial = self.denial(held, Some(key), subject);
                    return Err(Denial { shadow: noting.shadow.into(), ..denial });
                }
                let target = match kind {
                    DefinitionKind::Tool => Target::Tool(Arc::clone(definition)),
                    DefinitionKind::Prompt => Target::Prompt(Arc::clone(definition)),
                };
                let server = asked.rules.way(&definition.server);
                Ok(self.permit(server, target, asked.rules.ground(grant), asked.principal, noting))
            }
            Err(refusal) => {
                let denial = self.denial(refusal, Some(key), Some(Subject::Definition(candidate)));
                Err(Denial { shadow: noting.shadow.into(), ..denial })
            }
        }
    }

    /// Decides one resource of a server by the grants' patterns. A URI with dot segments or an encoded `/` matches none.
    ///
    /// # Errors
    /// The first step that fails, with its reason.
    pub fn decide_resource(
        &self,
        principal: &Arc<Principal>,
        view: &View,
        server: &str,
        uri: &str,
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Denial> {
        self.decide_at(principal, view, server, circumstances, |asker, server, noting| {
            let grant = judge::resource(asker, server, uri, noting)?;
            Ok((Target::Resource { uri: uri.into() }, grant))
        })
    }

    /// Decides whether a principal may speak to a server at all.
    ///
    /// # Errors
    /// The first step that fails, with its reason.
    pub fn decide_server(
        &self,
        principal: &Arc<Principal>,
        view: &View,
        server: &str,
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Denial> {
        self.decide_at(principal, view, server, circumstances, |asker, server, noting| {
            let grant = judge::server(asker, server, noting)?;
            Ok((Target::Server, grant))
        })
    }

    fn decide_at(
        &self,
        principal: &Arc<Principal>,
        view: &View,
        server: &str,
        circumstances: &Circumstances<'_>,
        judge: impl for<'a> FnOnce(&Asker<'a>, &'a Server, &mut Noting) -> Result<(Target, u32), Refusal<'a>>,
    ) -> Result<Permit, Denial> {
        let asked = self.ask(principal, view, circumstances)?;
        let key = &asked.principal.key_name;
        let Some(server) = self.server(server) else {
            return Err(self.denial((Reason::ToolUnknown, Ground::Closed), Some(key), None));
        };
        let mut noting = Noting::default();
        match judge(&asked.asker(circumstances), server, &mut noting) {
            Ok((target, grant)) => {
                let grant = asked.rules.ground(grant);
                Ok(self.permit(asked.rules.way(server), target, grant, asked.principal, noting))
            }
            Err(refusal) => {
                let denial = self.denial(refusal, Some(key), Some(Subject::Server(server)));
                Err(Denial { shadow: noting.shadow.into(), ..denial })
            }
        }
    }

    /// Who asks, by this snapshot: a principal or a view of another one is looked up again, so that an open stream is judged
    /// by what holds now.
    fn ask<'a>(
        &'a self,
        principal: &'a Arc<Principal>,
        view: &'a View,
        circumstances: &Circumstances<'_>,
    ) -> Result<Asked<'a>, Denial> {
        let Some(principal) = self.current_arc(principal) else { return Err(self.gone()) };
        principal
            .alive(circumstances.now_unix_ms)
            .map_err(|refusal| self.denial(refusal, Some(&principal.key_name), None))?;
        let rules = principal.access.rules(self);
        let view = if view.is_of(rules) {
            Seen::Same(view)
        } else {
            Seen::Again(self.endpoint(principal, view.endpoint().as_ref())?)
        };
        Ok(Asked { principal, rules, view })
    }

    fn gone(&self) -> Denial {
        self.denial((Reason::Unauthenticated, Ground::Closed), None, None)
    }

    fn permit(
        &self,
        server: &Arc<Server>,
        target: Target,
        ground: Ground<'_>,
        principal: &Arc<Principal>,
        noting: Noting,
    ) -> Permit {
        let rule = ground.rule(&principal.key_name);
        Permit::new(
            Arc::clone(server),
            target,
            rule,
            self.version(),
            Arc::clone(principal),
            noting.shadow.into(),
        )
    }

    fn denial(&self, refusal: Refusal<'_>, key: Option<&Name>, subject: Option<Subject<'_>>) -> Denial {
        let (reason, ground) = refusal;
        let (server, tool, zone) = match subject {
            None => (None, None, None),
            Some(Subject::Server(server)) => (Some(server), None, Some(&server.entry.zone)),
            Some(Subject::Definition(candidate)) => {
                (Some(&*candidate.server), Some(&candidate.name), Some(&candidate.zone.entry.name))
            }
        };
        Denial {
            reason,
            rule: key.map_or_else(Rule::closed, |key| ground.rule(key)),
            snapshot: self.version(),
            server: server.map(|server| server.name().clone()),
            tool: tool.map(Arc::clone),
            zone: zone.cloned(),
            shadow: Shadow::default(),
        }
    }
}

/// A principal with its rules and its view, all of one snapshot.
struct Asked<'a> {
    principal: &'a Arc<Principal>,
    rules: &'a Arc<Rules>,
    view: Seen<'a>,
}

enum Seen<'a> {
    Same(&'a View),
    Again(Arc<View>),
}

impl Asked<'_> {
    fn asker<'a>(&'a self, circumstances: &Circumstances<'a>) -> Asker<'a> {
        Asker {
            rules: self.rules,
            place: self.place(),
            keyed: &self.principal.client_rules,
            caller: self.rules.standpoints.caller(self.principal).map(|caller| &**caller),
            listing: false,
            circumstances: *circumstances,
        }
    }

    fn place(&self) -> &Place {
        match &self.view {
            Seen::Same(view) => view.place(),
            Seen::Again(view) => view.place(),
        }
    }
}

/// What a call waits for a person by. An approval is one of the definition that the person saw.
fn holding<'a>(definition: &'a Definition, circumstances: &Circumstances<'_>) -> Option<&'a Rule> {
    definition.held_by.as_ref().filter(|_| circumstances.released != Some(&definition.pin))
}

/// What a denial speaks of.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Server(&'a Server),
    Definition(&'a Candidate),
}

/// Finds what has a name at an endpoint.
pub(crate) fn resolve<'a>(
    snapshot: &'a Snapshot,
    place: &'a Place,
    kind: DefinitionKind,
    name: &str,
    steps: &mut impl Steps,
) -> Result<&'a Candidate, Refusal<'a>> {
    let found = match place {
        Place::All => snapshot.exposed(kind, name),
        Place::Bundle(bundle) => {
            let own = bundle.aliased(kind, name);
            own.or_else(|| snapshot.exposed(kind, name).filter(|candidate| !bundle.hides(candidate)))
        }
        Place::Server(offer) => offer.find(kind, name),
    };
    let Some(candidate) = found else {
        steps.step(Step::Name, false, Ground::Closed, || unknown(snapshot, place, kind, name));
        return Err((Reason::ToolUnknown, Ground::Closed));
    };
    steps.step(Step::Name, true, Ground::Approval(candidate), || {
        format!("{} {} of {}", kind.as_str(), candidate.name, candidate.server.name())
    });
    Ok(candidate)
}

/// Why nothing has a name: for a person, never for the caller.
fn unknown(snapshot: &Snapshot, place: &Place, kind: DefinitionKind, name: &str) -> String {
    let renamed = match place {
        Place::Bundle(bundle) => snapshot
            .exposed(kind, name)
            .and_then(|candidate| bundle.alias(candidate).map(|alias| (alias, &bundle.entry.name))),
        Place::All | Place::Server(_) => None,
    };
    match renamed {
        Some((alias, bundle)) => format!("ToolBundle/{bundle} calls this {} {alias}", kind.as_str()),
        None => format!("no {} has this name here", kind.as_str()),
    }
}

#[cfg(test)]
mod tests;
