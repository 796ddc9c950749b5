//! The last thing that policy asks of a call: that no `AccessPolicy` forbids it.

use std::sync::Arc;

use portcullis_conditions::{Cause, Denied, Slice};

use super::{Asker, Ground, Refusal, Step, Steps};
use crate::Reason;
use crate::compile::model::{Candidate, Server};
use crate::conditions::{Unknown, ask};

pub(super) fn definition<'a>(
    asker: &Asker<'a>,
    candidate: &Candidate,
    steps: &mut impl Steps,
) -> Result<(), Refusal<'a>> {
    let conditions = &asker.rules.standpoints.conditions;
    if conditions.is_empty() {
        return Ok(());
    }
    judge(asker, conditions.of_definition(asker.caller, candidate), steps)
}

pub(super) fn resource<'a>(
    asker: &Asker<'a>,
    server: &Server,
    uri: &str,
    steps: &mut impl Steps,
) -> Result<(), Refusal<'a>> {
    let conditions = &asker.rules.standpoints.conditions;
    if conditions.is_empty() {
        return Ok(());
    }
    judge(asker, conditions.of_resource(asker.caller, server, uri), steps)
}

fn judge<'a>(
    asker: &Asker<'a>,
    slice: Result<Option<Arc<Slice>>, Unknown>,
    steps: &mut impl Steps,
) -> Result<(), Refusal<'a>> {
    let slice = match slice {
        Ok(Some(slice)) => slice,
        Ok(None) => {
            steps.step(Step::Conditions, true, Ground::Policies, || "no policy can apply".to_owned());
            return Ok(());
        }
        Err(Unknown) => {
            let detail = || "policies may apply, and who asks is not known".to_owned();
            if steps.unknown(Step::Conditions, Ground::Policies, detail) {
                return Ok(());
            }
            return Err((Reason::PolicyDenied, Ground::Policies));
        }
    };
    let standpoints = &asker.rules.standpoints;
    let clients = if slice.reads_clients() {
        standpoints.clients_of(asker.keyed, asker.circumstances.client)
    } else {
        Vec::new()
    };
    let ask = |listing| ask(&slice, &asker.circumstances, &clients, listing);
    let named = |denied: &Denied| standpoints.conditions.name(&denied.policy);
    let refuse = |denied: Denied, steps: &mut _| {
        let ground = named(&denied).map_or(Ground::Policies, Ground::Policy);
        Steps::step(steps, Step::Conditions, false, ground, || match &denied.cause {
            Cause::Forbids => format!("{} forbids it", denied.policy),
            Cause::Unevaluable(why) => format!("{} cannot be evaluated, and denies: {why}", denied.policy),
        });
        Err((Reason::PolicyDenied, ground))
    };
    let unknown = unknown(asker, &slice);
    // What holds of every call holds of this one too.
    if unknown == ["arguments"]
        && let Some(denied) = ask(true).denied
    {
        return refuse(denied, steps);
    }
    let outcome = ask(asker.listing);
    if !unknown.is_empty() {
        let detail =
            || format!("{} read what is not known of the call: {}", names(&slice), unknown.join(", "));
        // What is enforced and lacks something denies; names of `Client`s alone are never lacking, but fewer than they may be.
        let enforced = outcome.denied.is_some() || unknown.contains(&"clients");
        let go_on = if enforced {
            steps.unknown(Step::Conditions, Ground::Policies, detail)
        } else {
            steps.unknown_in_shadow(Step::Conditions, Ground::Policies, detail)
        };
        if go_on {
            return Ok(());
        }
    }
    outcome.shadow.iter().filter_map(named).for_each(|policy| steps.shadow(policy));
    if let Some(denied) = outcome.denied {
        return refuse(denied, steps);
    }
    steps.step(Step::Conditions, true, Ground::Policies, || {
        let shadow: Vec<&str> = outcome.shadow.iter().map(|denied| &*denied.policy).collect();
        let asked = names(&slice);
        if shadow.is_empty() {
            format!("none of {asked} forbids it")
        } else {
            format!(
                "none of {asked} forbids it; in shadow mode, and so not enforced, these would: {}",
                shadow.join(", ")
            )
        }
    });
    Ok(())
}

/// What policies read of a call and nobody knows of it.
fn unknown(asker: &Asker<'_>, slice: &Slice) -> Vec<&'static str> {
    let known = &asker.circumstances;
    let clients = !asker.rules.standpoints.clients.is_empty();
    [
        ("arguments", slice.reads_arguments() && !asker.listing && known.arguments.is_none()),
        ("network", slice.reads_network() && known.network.is_none()),
        ("era", slice.reads_era() && known.era.is_none()),
        ("clients", slice.reads_clients() && clients && known.client.is_none()),
    ]
    .into_iter()
    .filter_map(|(part, unknown)| unknown.then_some(part))
    .collect()
}

fn names(slice: &Slice) -> String {
    slice.policies().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}
