//! The policies that can apply to one principal and one target, and what they say of a call.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, EntityUid, PolicySet, Request, Response,
    RestrictedExpression,
};
use chrono::{DateTime, Datelike as _, SecondsFormat, Timelike as _, Utc};

use crate::Mode;
use crate::arguments::{self, Arguments};
use crate::facts::{Annotations, CallFacts};
use crate::foresee::Truth;
use crate::outcome::{Cause, Denied, Outcome};
use crate::plan::{Group, Plan};
use crate::reads::Parts;
use crate::vocabulary::Vocabulary;

/// The policies that can apply to one principal and one target, with everything about the two that they may read.
#[derive(Debug)]
pub struct Slice {
    pub(crate) ground: Result<Ground, String>,
}

/// What a call is judged on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) plan: Arc<Plan>,
    pub(crate) entities: Entities,
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) environment: Arc<str>,
    pub(crate) annotations: Annotations,
    pub(crate) vocabulary: Arc<Vocabulary>,
}

impl Slice {
    /// Decides one call.
    #[must_use]
    pub fn judge(&self, call: &CallFacts<'_>) -> Outcome {
        let ground = match &self.ground {
            Ok(ground) => ground,
            Err(why) => return unevaluable(why),
        };
        let mut found = Vec::new();
        for group in &ground.plan.groups {
            ground.group(group, call, &mut found);
        }
        ground.plan.outcome(found)
    }

    /// What holds of every call, whatever its arguments and its time: a denial here means that the target is not listed.
    /// `now_unix_ms` and `arguments` of `call` are not looked at, and nothing is said of policies in shadow mode.
    #[must_use]
    pub fn foresee(&self, call: &CallFacts<'_>) -> Outcome {
        let ground = match &self.ground {
            Ok(ground) => ground,
            Err(why) => return unevaluable(why),
        };
        let foreseen = ground.plan.foreseen();
        let mut said = HashMap::new();
        match ground.ask(&foreseen.set, foreseen.parts, call, None) {
            Ok(response) => {
                let held = response.diagnostics().reason();
                said.extend(held.map(|id| (id.to_string(), Truth::True)));
                for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
                    said.insert(error.policy_id().to_string(), Truth::Error(error.inner().to_string()));
                }
                for (id, parts) in &foreseen.needs {
                    if let Some(why) = lacking(*parts, call) {
                        said.insert(id.clone(), Truth::Error(why.to_owned()));
                    }
                }
            }
            Err(why) => {
                let all = foreseen.needs.iter().map(|(id, _)| (id.clone(), Truth::Error(why.clone())));
                said.extend(all);
            }
        }
        let causes = foreseen.denies(&said).into_iter().map(|(policy, truth)| match truth {
            Truth::Error(why) => (policy, Cause::Unevaluable(why)),
            _ => (policy, Cause::Forbids),
        });
        ground.plan.outcome(causes.collect())
    }

    /// Whether a policy of the slice reads the arguments: nobody needs to have them at hand otherwise.
    #[must_use]
    pub fn reads_arguments(&self) -> bool {
        self.ground.as_ref().is_ok_and(|ground| ground.plan.parts.arguments)
    }

    /// Whether a policy of the slice reads the caller's network.
    #[must_use]
    pub fn reads_network(&self) -> bool {
        self.ground.as_ref().is_ok_and(|ground| ground.plan.parts.network)
    }

    /// Whether a policy of the slice reads the era.
    #[must_use]
    pub fn reads_era(&self) -> bool {
        self.ground.as_ref().is_ok_and(|ground| ground.plan.parts.era)
    }

    /// Whether a policy of the slice reads the names of `Client`s.
    #[must_use]
    pub fn reads_clients(&self) -> bool {
        self.ground.as_ref().is_ok_and(|ground| ground.plan.parts.clients)
    }

    /// Whether what the slice says of a call may change with the time.
    #[must_use]
    pub fn reads_time(&self) -> bool {
        self.ground.as_ref().is_ok_and(|ground| ground.plan.parts.time || ground.plan.parts.clock)
    }

    /// The policies that are evaluated, by name, with their modes.
    pub fn policies(&self) -> impl Iterator<Item = (&str, Mode)> {
        let names = self.ground.iter().flat_map(|ground| ground.plan.names());
        names.map(|known| (&*known.name, known.mode))
    }
}

/// What is denied when nothing can be asked: this crate's own mistake, or a caller and a target of another snapshot.
fn unevaluable(why: &str) -> Outcome {
    let denied = Denied { policy: Arc::from("*"), cause: Cause::Unevaluable(why.to_owned()) };
    Outcome { denied: Some(denied), shadow: Vec::new() }
}

/// What a statement reads and nobody knows of the call.
const fn lacking(parts: Parts, call: &CallFacts<'_>) -> Option<&'static str> {
    if parts.network && call.network.is_none() {
        return Some("it reads the caller's network, which is not known");
    }
    if parts.era && call.era.is_none() {
        return Some("it reads the era of the protocol, which is not known");
    }
    None
}

impl Ground {
    fn group(&self, group: &Group, call: &CallFacts<'_>, found: &mut Vec<(usize, Cause)>) {
        let arguments = if group.parts.arguments {
            match call.arguments {
                Some(json) => arguments::read(json, &group.shape),
                None => Err("it reads the arguments, which are not known".to_owned()),
            }
        } else {
            Ok(Arguments::default())
        };
        let response = self.ask(&group.set, group.parts, call, arguments.as_ref().ok());
        for statement in &group.members {
            let parts = statement.reads.parts;
            let why = match (&response, &arguments) {
                (Err(why), _) => Some(why.clone()),
                (Ok(_), Err(why)) if parts.arguments => Some(why.clone()),
                (Ok(_), Ok(arguments)) => {
                    let looks_at = |path: &[String]| statement.reads.shape.looks_at(path);
                    let bad = arguments.mismatches.iter().find(|mismatch| looks_at(&mismatch.path));
                    bad.map(ToString::to_string)
                }
                _ => None,
            };
            let why = why.or_else(|| lacking(parts, call).map(str::to_owned));
            let cause = match why {
                Some(why) => Some(Cause::Unevaluable(why)),
                None => response.as_ref().ok().and_then(|response| said(response, statement.cedar.id())),
            };
            found.extend(cause.map(|cause| (statement.policy, cause)));
        }
    }

    /// Evaluates policies with as much context as they read.
    fn ask(
        &self,
        set: &PolicySet,
        parts: Parts,
        call: &CallFacts<'_>,
        arguments: Option<&Arguments>,
    ) -> Result<Response, String> {
        let context = self.context(parts, call, arguments)?;
        let request =
            Request::new(self.principal.clone(), self.action.clone(), self.resource.clone(), context, None);
        let request = request.map_err(|error| error.to_string())?;
        Ok(Authorizer::new().is_authorized(&request, set, &self.entities))
    }

    fn context(
        &self,
        parts: Parts,
        call: &CallFacts<'_>,
        arguments: Option<&Arguments>,
    ) -> Result<Context, String> {
        let mut pairs: Vec<(String, RestrictedExpression)> = Vec::with_capacity(8);
        let mut add = |name: &str, value| pairs.push((name.to_owned(), value));
        if parts.time || parts.clock {
            self::time(parts, call.now_unix_ms, &mut add)?;
        }
        if parts.environment {
            add("environment", RestrictedExpression::new_string(self.environment.as_ref().to_owned()));
        }
        if let (true, Some(network)) = (parts.network, call.network) {
            // An IPv4 address that came over an IPv6 socket is what it is.
            add("network", RestrictedExpression::new_ip(network.to_canonical().to_string()));
        }
        if let (true, Some(era)) = (parts.era, call.era) {
            add("era", RestrictedExpression::new_string(era.to_owned()));
        }
        if parts.clients {
            let of = |name: &&str| RestrictedExpression::new_entity_uid(self.vocabulary.client(name));
            add("clients", RestrictedExpression::new_set(call.clients.iter().map(of)));
        }
        if parts.annotations {
            add("annotations", record(annotations(self.annotations))?);
        }
        if let (true, Some(arguments)) = (parts.arguments, arguments) {
            add("arguments", record(arguments.members.iter().cloned())?);
        }
        Context::from_pairs(pairs).map_err(|error| error.to_string())
    }
}

/// What Cedar said of one statement.
fn said(response: &Response, id: &cedar_policy::PolicyId) -> Option<Cause> {
    if response.diagnostics().reason().any(|held| held == id) {
        return Some(Cause::Forbids);
    }
    response.diagnostics().errors().find_map(|AuthorizationError::PolicyEvaluationError(error)| {
        (error.policy_id() == id).then(|| Cause::Unevaluable(error.inner().to_string()))
    })
}

fn record(
    fields: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(fields).map_err(|error| error.to_string())
}

fn time(
    parts: Parts,
    now_unix_ms: u64,
    add: &mut impl FnMut(&str, RestrictedExpression),
) -> Result<(), String> {
    let now = i64::try_from(now_unix_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    let now = now.ok_or("it reads the time, which is out of range")?;
    if parts.time {
        add("time", RestrictedExpression::new_datetime(now.to_rfc3339_opts(SecondsFormat::Millis, true)));
    }
    if parts.clock {
        add("hour", RestrictedExpression::new_long(now.hour().into()));
        add("minute", RestrictedExpression::new_long(now.minute().into()));
        add("weekday", RestrictedExpression::new_long(now.weekday().number_from_monday().into()));
    }
    Ok(())
}

/// The hints, with what MCP takes for those that a tool does not give.
fn annotations(of: Annotations) -> [(String, RestrictedExpression); 4] {
    let hint = |name: &str, given: Option<bool>, otherwise: bool| {
        (name.to_owned(), RestrictedExpression::new_bool(given.unwrap_or(otherwise)))
    };
    [
        hint("readOnlyHint", of.read_only, false),
        hint("destructiveHint", of.destructive, true),
        hint("idempotentHint", of.idempotent, false),
        hint("openWorldHint", of.open_world, true),
    ]
}
