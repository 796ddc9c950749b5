//! `TierDefaults`: what the servers of a tier have where they say nothing themselves.
//!
//! A field of a server may be left out, and then its tier gives the value, and then Portcullis. This file is the one place that
//! knows the order.

use serde::{Deserialize, Serialize};

use super::server::{
    CallApproval, ChangedTools, HeldBy, Limits, McpServerSpec, NewTools, Rollout, Tier, ToolRules,
};
use super::{ByteSize, HumanDuration, Name};

/// The spec of a `TierDefaults`, whose name is that of the tier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierDefaultsSpec {
    /// How definitions are treated.
    #[serde(default, skip_serializing_if = "TierTools::is_empty")]
    pub tools: TierTools,
    /// Bounds on each call.
    #[serde(default, skip_serializing_if = "LimitSettings::is_empty")]
    pub limits: LimitSettings,
    /// The stages that a new server goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// How definitions of a tier's servers are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TierTools {
    /// Definitions that nobody saw before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tools: Option<NewTools>,
    /// Definitions that no longer match their pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_tools: Option<ChangedTools>,
    /// Whether a person has to approve each call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<CallApproval>,
}

impl TierTools {
    const fn is_empty(&self) -> bool {
        self.new_tools.is_none() && self.changed_tools.is_none() && self.approval.is_none()
    }
}

/// Bounds on each call, as far as they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LimitSettings {
    /// How long an answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// How large a request may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<ByteSize>,
    /// How large an answer may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_response_bytes: Option<ByteSize>,
    /// How many calls may run at once on one data plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl LimitSettings {
    /// Whether none is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The server says it.
    Server,
    /// Its tier says it.
    Tier(Tier),
    /// Nobody says it: what Portcullis does.
    BuiltIn,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server => f.write_str("McpServer"),
            Self::Tier(tier) => write!(f, "TierDefaults/{}", tier.as_str()),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// A value with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Who said so.
    pub from: Origin,
}

/// What holds of a server: each value with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Definitions that nobody saw before.
    pub new_tools: Sourced<NewTools>,
    /// Definitions that no longer match their pin.
    pub changed_tools: Sourced<ChangedTools>,
    /// Whether a person has to approve each call of tools of which nothing is said one by one.
    pub approval: Sourced<CallApproval>,
    /// How long an answer may take.
    pub timeout: Sourced<HumanDuration>,
    /// How large a request may be.
    pub max_request_bytes: Sourced<ByteSize>,
    /// How large an answer may be.
    pub max_response_bytes: Sourced<ByteSize>,
    /// How many calls may run at once on one data plane.
    pub concurrency: Sourced<u32>,
    /// The name of its `RolloutPolicy`; none where it is open to all once approved.
    pub rollout: Sourced<Option<Name>>,
}

impl Effective {
    /// What holds of a server whose tier says this; `None` where nobody wrote defaults of that tier.
    #[must_use]
    pub fn of(server: &McpServerSpec, tier: Option<&TierDefaultsSpec>) -> Self {
        fn pick<T>(own: Option<T>, of_tier: Option<T>, tier: Tier, built_in: T) -> Sourced<T> {
            match (own, of_tier) {
                (Some(value), _) => Sourced { value, from: Origin::Server },
                (None, Some(value)) => Sourced { value, from: Origin::Tier(tier) },
                (None, None) => Sourced { value: built_in, from: Origin::BuiltIn },
            }
        }
        let none = TierDefaultsSpec::default();
        let theirs = tier.unwrap_or(&none);
        let (own, tier, built_in) = (&server.limits, server.tier, Limits::default());
        let limits = &theirs.limits;
        let policy = |rollout: &Option<Rollout>| rollout.as_ref().map(|rollout| Some(rollout.policy.clone()));
        Self {
            new_tools: pick(server.tools.new_tools, theirs.tools.new_tools, tier, NewTools::default()),
            changed_tools: pick(
                server.tools.changed_tools,
                theirs.tools.changed_tools,
                tier,
                ChangedTools::default(),
            ),
            approval: pick(server.tools.approval, theirs.tools.approval, tier, CallApproval::default()),
            timeout: pick(own.timeout, limits.timeout, tier, built_in.timeout),
            max_request_bytes: pick(
                own.max_request_bytes,
                limits.max_request_bytes,
                tier,
                built_in.max_request_bytes,
            ),
            max_response_bytes: pick(
                own.max_response_bytes,
                limits.max_response_bytes,
                tier,
                built_in.max_response_bytes,
            ),
            concurrency: pick(own.concurrency, limits.concurrency, tier, built_in.concurrency),
            rollout: pick(policy(&server.rollout), policy(&theirs.rollout), tier, None),
        }
    }

    /// The bounds on each call.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout.value,
            max_request_bytes: self.max_request_bytes.value,
            max_response_bytes: self.max_response_bytes.value,
            concurrency: self.concurrency.value,
        }
    }

    /// How definitions are treated, with what the server says of single tools.
    #[must_use]
    pub fn rules(&self, server: &McpServerSpec) -> ToolRules {
        ToolRules {
            new_tools: self.new_tools.value,
            changed_tools: self.changed_tools.value,
            approval: match (self.approval.value, self.approval.from) {
                (CallApproval::None, _) => None,
                (CallApproval::PerCall, Origin::Tier(_)) => Some(HeldBy::Tier),
                (CallApproval::PerCall, Origin::Server | Origin::BuiltIn) => Some(HeldBy::Server),
            },
            overrides: server.tools.overrides.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(more: serde_json::Value) -> McpServerSpec {
        let mut body =
            json!({ "transport": { "streamableHttp": { "url": "http://x/mcp" } }, "tier": "gold" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_servers_own_word_wins_over_its_tier_and_the_tier_over_what_is_built_in() {
        let tier: TierDefaultsSpec = serde_json::from_value(json!({
            "tools": { "newTools": "ignore", "changedTools": "keep-pinned" },
            "limits": { "timeout": "5s", "concurrency": 7 }, "rollout": { "policy": "careful" } }))
        .unwrap();
        let own =
            server(json!({ "tools": { "newTools": "require-approval" }, "limits": { "timeout": "9s" } }));
        let effective = Effective::of(&own, Some(&tier));
        assert_eq!(effective.new_tools, Sourced { value: NewTools::RequireApproval, from: Origin::Server });
        let gold = Origin::Tier(Tier::Gold);
        assert_eq!(effective.changed_tools, Sourced { value: ChangedTools::KeepPinned, from: gold });
        assert_eq!(effective.timeout.value.to_string(), "9s");
        assert_eq!((effective.concurrency.value, effective.concurrency.from), (7, gold));
        assert_eq!(effective.max_request_bytes.from, Origin::BuiltIn);
        assert_eq!(effective.rollout.value.as_ref().map(Name::as_str), Some("careful"));
        assert_eq!(gold.to_string(), "TierDefaults/gold");
    }

    #[test]
    fn a_call_is_held_by_the_tool_or_else_the_server_or_else_the_tier_and_none_lifts_it() {
        let tools = |approval: Option<&str>| match approval {
            Some(word) => json!({ "approval": word }),
            None => json!({}),
        };
        let (none, held) = (Some("none"), Some("per-call"));
        for (of_tier, of_server, of_tool, expected) in [
            (None, None, None, None),
            (None, None, none, None),
            (None, None, held, Some(HeldBy::Override)),
            (None, held, None, Some(HeldBy::Server)),
            (None, held, none, None),
            (held, None, None, Some(HeldBy::Tier)),
            (held, None, none, None),
            (held, None, held, Some(HeldBy::Override)),
            (held, none, None, None),
            (held, none, held, Some(HeldBy::Override)),
            (held, held, None, Some(HeldBy::Server)),
            (none, held, None, Some(HeldBy::Server)),
            (none, None, None, None),
        ] {
            let tier: TierDefaultsSpec = serde_json::from_value(json!({ "tools": tools(of_tier) })).unwrap();
            let mut own = tools(of_server);
            let mut one = tools(of_tool);
            one["name"] = "pay".into();
            own["overrides"] = json!([one]);
            let own = server(json!({ "tools": own }));
            let rules = Effective::of(&own, Some(&tier)).rules(&own);
            let label = format!("tier {of_tier:?}, server {of_server:?}, tool {of_tool:?}");
            assert_eq!(rules.held_by(rules.overrides.first()), expected, "{label}");
            assert_eq!(rules.holds("pay"), expected.is_some(), "{label}");
            assert_eq!(rules.holds("find"), rules.approval.is_some(), "{label}");
            let again: McpServerSpec = serde_json::from_value(json!(own)).unwrap();
            assert_eq!(again, own, "what is written stays written: {label}");
        }
    }

    #[test]
    fn without_defaults_of_the_tier_all_is_as_it_is_built_in() {
        let effective = Effective::of(&server(json!({})), None);
        assert_eq!(effective.limits(), Limits::default());
        let rules = effective.rules(&server(json!({})));
        assert_eq!(rules, ToolRules::default());
        assert_eq!(effective.rollout.value, None);
    }
}
