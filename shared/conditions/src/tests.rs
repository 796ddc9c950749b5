//! What policies say of calls, as tables; and that slicing changes nothing.

mod judge;
mod refused;
mod sliced;

use crate::{Annotations, CallFacts, Compiled, Mode, Policy, PrincipalFacts, TargetFacts, TargetKind};

/// A Friday, 14:30 UTC.
pub(crate) const FRIDAY: u64 = 1_795_185_000_000;

pub(crate) fn agent<'a>() -> PrincipalFacts<'a> {
    PrincipalFacts {
        kind: "agent",
        subject: "support-bot",
        key: "support-bot-key",
        team: Some("support-team"),
        customer: Some("acme"),
        zone: "internal",
        groups: &["on-call"],
    }
}

pub(crate) fn refund<'a>() -> TargetFacts<'a> {
    TargetFacts {
        kind: TargetKind::Tool,
        server: "crm",
        name: "refund",
        zone: "internal",
        data_classes: &["customer-data"],
        environment: "prod",
        hosting: "self",
        tier: "gold",
        annotations: Annotations::default(),
    }
}

pub(crate) fn call<'a>() -> CallFacts<'a> {
    CallFacts {
        now_unix_ms: FRIDAY,
        network: Some("10.1.2.3".parse().unwrap()),
        era: Some("modern"),
        clients: &["assistant"],
        arguments: Some("{}"),
    }
}

pub(crate) fn enforce<'a>(name: &'a str, cedar: &'a str) -> Policy<'a> {
    Policy { name, cedar, mode: Mode::Enforce }
}

/// One policy alone.
pub(crate) fn one(cedar: &str) -> Compiled {
    Compiled::new(&[enforce("p", cedar)]).unwrap_or_else(|problems| panic!("{cedar}: {problems:?}"))
}
