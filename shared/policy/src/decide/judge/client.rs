//! The step of the `Client`s: may the program that sends this call reach this server?
//!
//! A deny list that means the caller and names the target denies. An allow list is complete in both directions: what it names
//! is reached by those alone whom an allow list means, and those whom it means reach nothing that no allow list names.

use super::{Asker, Ground, Refusal, Step, Steps};
use crate::Reason;
use crate::compile::model::{Server, Zone};
use crate::standpoint::{ClientRule, List, Met};

pub(super) fn judge<'a>(
    asker: &Asker<'a>,
    server: &Server,
    zone: &Zone,
    steps: &mut impl Steps,
) -> Result<(), Refusal<'a>> {
    let rules = &asker.rules.standpoints.clients;
    let hint = asker.circumstances.client;
    // What lets the call through, what would if the caller's program were known, and what keeps it out.
    let (mut allows, mut may_allow, mut refuses) = (None, None, None);
    let mut depends = false;
    for (at, rule) in (0..).zip(rules) {
        let named = rule.targets.name(server.uid(), zone.entry.uid);
        let meant = rule.means(at, asker.keyed, hint);
        let ground = |field| Ground::ClientField(&rule.name, field);
        match (rule.list, named, meant.met) {
            (List::Deny, true, Met::Yes) => {
                return deny(ground("spec.deny"), steps, || said(asker, rule, "may not reach", server));
            }
            (List::Deny, true, Met::Unknown) => {
                let ground = ground("spec.match.clientInfo");
                let detail = || unknown(rule, "may not reach", server);
                if !steps.unknown(Step::Client, ground, detail) {
                    return deny(ground, steps, detail);
                }
                depends = true;
            }
            (List::Allow, true, Met::Yes) => allows = allows.or(Some(rule)),
            (List::Allow, true, Met::Unknown) => may_allow = may_allow.or(Some(rule)),
            (List::Allow, true, Met::No) => refuses = refuses.or(Some((rule, meant.field))),
            (List::Allow, false, _) if meant.bound => refuses = refuses.or(Some((rule, "spec.allow"))),
            (List::Allow, false, Met::Unknown) => {
                // It would bind a caller that says it is meant; one that says nothing of itself is bound by its key alone.
                let ground = ground("spec.allow");
                depends |=
                    steps.unknown(Step::Client, ground, || unknown(rule, "may reach nothing like", server));
            }
            (List::Deny, ..) | (List::Allow, false, _) => {}
        }
    }
    if let Some(rule) = allows {
        if !depends {
            steps.step(Step::Client, true, Ground::ClientField(&rule.name, "spec.allow"), || {
                said(asker, rule, "may reach", server)
            });
        }
        return Ok(());
    }
    if let Some(rule) = may_allow {
        let ground = Ground::ClientField(&rule.name, "spec.match.clientInfo");
        let detail = || unknown(rule, "may reach", server);
        return if steps.unknown(Step::Client, ground, detail) {
            Ok(())
        } else {
            deny(ground, steps, detail)
        };
    }
    if let Some((rule, field)) = refuses {
        let ground = Ground::ClientField(&rule.name, field);
        return deny(ground, steps, || match field {
            "spec.allow" => said(asker, rule, "may not reach", server),
            _ => format!(
                "{} is reached by the clients that {} means, and by others that are allowed, and this is none of them",
                server.name(),
                rule.name
            ),
        });
    }
    if !depends {
        steps.step(Step::Client, true, Ground::Closed, || {
            format!("no Client says anything of this caller and {}", server.name())
        });
    }
    Ok(())
}

fn deny<'a>(
    ground: Ground<'a>,
    steps: &mut impl Steps,
    detail: impl FnOnce() -> String,
) -> Result<(), Refusal<'a>> {
    steps.step(Step::Client, false, ground, detail);
    Err((Reason::ClientDenied, ground))
}

fn said(asker: &Asker<'_>, rule: &ClientRule, what: &str, server: &Server) -> String {
    let who = asker.circumstances.client.map_or("this caller", |hint| hint.name);
    format!("{who} is one of {}, which {what} {}", rule.name, server.name())
}

fn unknown(rule: &ClientRule, what: &str, server: &Server) -> String {
    format!(
        "{} {what} {}, and goes by what a program says of itself, which is not known of this caller",
        rule.name,
        server.name()
    )
}
