//! What only a data plane knows at the time of a call: how full it is, and what the upstream does. One table for who meets it
//! and who foretells it: data planes write their records by it, and `explain --assume` answers by it.

use crate::Reason;
use crate::compile::Server;
use crate::decide::{Denial, Shadow};
use crate::explain::Decision;
use crate::resource::{Kind, Name};
use crate::rule::{Rule, RulePath};
use crate::snapshot::SnapshotVersion;

/// The reasons that only a data plane can meet, in the order in which a call can meet them.
pub const REASONS: &[Reason] = &[
    Reason::SnapshotStale,
    Reason::MalformedRequest,
    Reason::Overloaded,
    Reason::AuditUnavailable,
    Reason::RateLimited,
    Reason::ConcurrencyExceeded,
    Reason::BudgetExhausted,
    Reason::ApprovalDenied,
    Reason::UpstreamUnavailable,
    Reason::UpstreamError,
    Reason::UpstreamTimeout,
    Reason::ResponseTooLarge,
    Reason::Internal,
];

/// The live reason of a code; `None` for all other words.
#[must_use]
pub fn reason(code: &str) -> Option<Reason> {
    REASONS.iter().copied().find(|reason| reason.code() == code)
}

/// What is said of a reason: the same in the audit record and in `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Whether the call was let through before it was met.
    pub decision: Decision,
    /// The rule behind it; `None` where no rule of anybody's is: then what permitted the call is the rule.
    pub rule: Option<Rule>,
}

/// What is said of a call of this server that met a reason, beside what policy said of it. `server` is none where it is not
/// known yet, or where there are several.
#[must_use]
pub fn met(reason: Reason, server: Option<&Server>) -> Met {
    Met { decision: decision(reason), rule: rule(reason, server) }
}

/// The same as a denial, for who refuses.
#[must_use]
pub fn denial(reason: Reason, snapshot: SnapshotVersion, server: Option<&Server>) -> Denial {
    Denial {
        reason,
        rule: rule(reason, server).unwrap_or_else(Rule::closed),
        snapshot,
        server: server.map(|server| server.name().clone()),
        tool: None,
        zone: server.map(|server| server.entry.zone.clone()),
        shadow: Shadow::default(),
    }
}

/// What went out was permitted, however it ended.
const fn decision(reason: Reason) -> Decision {
    match reason {
        Reason::UpstreamUnavailable
        | Reason::UpstreamTimeout
        | Reason::UpstreamError
        | Reason::ResponseTooLarge
        | Reason::Internal => Decision::Permit,
        _ => Decision::Deny,
    }
}

fn rule(reason: Reason, server: Option<&Server>) -> Option<Rule> {
    let limit = |field| Some(of_server(server?.name(), field));
    match reason {
        Reason::SnapshotStale => Some(Rule::own(RulePath::Snapshot)),
        Reason::MalformedRequest => Some(Rule::own(RulePath::Protocol)),
        Reason::Overloaded => Some(Rule::own(RulePath::Bounds)),
        Reason::AuditUnavailable => {
            let zone = server?.entry.zone.clone();
            Some(Rule::of(Kind::TrustZone, zone, RulePath::Field("spec.audit")))
        }
        Reason::ArgumentsInvalid => limit("spec.limits.maxRequestBytes"),
        Reason::ConcurrencyExceeded => limit("spec.limits.concurrency"),
        Reason::UpstreamTimeout => limit("spec.limits.timeout"),
        Reason::ResponseTooLarge => limit("spec.limits.maxResponseBytes"),
        // What the server or Portcullis failed at is nobody's rule. Other reasons bring their own.
        _ => None,
    }
}

/// A field of a server.
pub(crate) fn of_server(name: &Name, field: &'static str) -> Rule {
    Rule::of(Kind::McpServer, name.clone(), RulePath::Field(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::with_keys;

    #[test]
    fn each_live_reason_has_one_decision_and_one_rule() {
        let snapshot = with_keys(vec![]);
        let crm = snapshot.server("crm").unwrap();
        let mut table = String::new();
        for reason in REASONS {
            let met = met(*reason, Some(crm));
            let rule = met.rule.map_or_else(|| "the grant".to_owned(), |rule| rule.to_string());
            table.push_str(&format!("{reason}: {:?} by {rule}\n", met.decision));
        }
        assert_eq!(
            table,
            "snapshot_stale: Deny by Default snapshot\n\
             malformed_request: Deny by Default protocol\n\
             overloaded: Deny by Default bounds\n\
             audit_unavailable: Deny by TrustZone/internal spec.audit\n\
             rate_limited: Deny by the grant\n\
             concurrency_exceeded: Deny by McpServer/crm spec.limits.concurrency\n\
             budget_exhausted: Deny by the grant\n\
             approval_denied: Deny by the grant\n\
             upstream_unavailable: Permit by the grant\n\
             upstream_error: Permit by the grant\n\
             upstream_timeout: Permit by McpServer/crm spec.limits.timeout\n\
             response_too_large: Permit by McpServer/crm spec.limits.maxResponseBytes\n\
             internal: Permit by the grant\n"
        );
        let denial = denial(Reason::ArgumentsInvalid, snapshot.version(), Some(crm));
        assert_eq!(denial.rule.to_string(), "McpServer/crm spec.limits.maxRequestBytes");
        assert_eq!((denial.server.unwrap().as_str(), denial.zone.unwrap().as_str()), ("crm", "internal"));
        assert_eq!(met(Reason::ConcurrencyExceeded, None).rule, None);
    }
}
