//! What the documents may say one day, and nothing enforces yet: refused by name, so that nothing is accepted and ignored.

use crate::resource::Kind;

/// Kinds that are known and not built.
pub(super) const KINDS: &[&str] =
    &["Guardrail", "Detection", "Middleware", "AuditSink", "Secret", "IdentityProvider"];

/// Fields that are known and not enforced. `[]` stands for any place in a list.
pub(super) const fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::McpServer => &[
            "spec.transport.sse",
            "spec.transport.openapi",
            "spec.auth.oauthClientCredentials",
            "spec.auth.tokenExchange",
            "spec.auth.perUserOAuth",
            "spec.auth.mtls",
        ],
        Kind::Client => &["spec.match.oauthClientIds", "spec.match.certificates"],
        Kind::ToolBundle => &["spec.members.groups"],
        Kind::TrustZone
        | Kind::Customer
        | Kind::Team
        | Kind::VirtualKey
        | Kind::TierDefaults
        | Kind::ApprovalRule
        | Kind::RolloutPolicy
        | Kind::Role
        | Kind::RoleBinding
        | Kind::AccessPolicy => &[],
    }
}

/// Values that are known and not enforced: the field, and the value.
pub(super) const fn values(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::TrustZone => &[("spec.audit", "durable")],
        _ => &[],
    }
}
