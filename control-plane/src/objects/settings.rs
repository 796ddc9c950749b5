//! What holds of a server where its document says nothing: its tier's defaults, and its rollout policy, found by name.

use std::sync::Arc;

use portcullis_policy::resource::{
    Effective, Kind, McpServerSpec, RolloutPolicySpec, Tier, TierDefaultsSpec, ToolRules,
};
use serde::Deserialize;
use serde_json::Value;

use crate::store::{Object, State};

/// The objects that say what holds of a server, beside its own. They are few and shared by all servers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings<'a> {
    /// The defaults of its tier, where somebody wrote them.
    pub(crate) tier: Option<&'a Arc<Object>>,
    /// Its rollout policy.
    pub(crate) policy: Option<&'a Arc<Object>>,
}

impl<'a> Settings<'a> {
    /// Finds them for a server by `get`, which looks up an object by kind and name.
    pub(crate) fn find(server: &Object, get: impl Fn(&str, &str) -> Option<&'a Arc<Object>>) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let tier = text(server.body.pointer("/spec/tier"));
        let tier = get(Kind::TierDefaults.as_str(), tier.as_deref().unwrap_or(Tier::default().as_str()));
        let of = |object: &Object| text(object.body.pointer("/spec/rollout/policy"));
        let policy = of(server).or_else(|| of(tier?));
        Self { tier, policy: policy.and_then(|name| get(Kind::RolloutPolicy.as_str(), &name)) }
    }

    /// Finds them for a server in a state.
    pub(crate) fn of(state: &'a State, server: &Object) -> Self {
        Self::find(server, |kind, name| state.get(kind, name))
    }

    /// What holds of the server; none where an object cannot be read.
    pub(crate) fn effective(&self, server: &McpServerSpec) -> Option<Effective> {
        let tier = match self.tier {
            Some(object) => Some(spec::<TierDefaultsSpec>(object)?),
            None => None,
        };
        Some(Effective::of(server, tier.as_ref()))
    }

    /// How the server's definitions are treated.
    pub(crate) fn rules(&self, server: &Object) -> Option<ToolRules> {
        let server = spec::<McpServerSpec>(server)?;
        Some(self.effective(&server)?.rules(&server))
    }

    /// Its rollout policy as it is written.
    pub(crate) fn rollout(&self) -> Option<RolloutPolicySpec> {
        spec(self.policy?)
    }
}

/// The spec of an object that is a resource.
fn spec<'a, T: Deserialize<'a>>(object: &'a Object) -> Option<T> {
    T::deserialize(object.body.get("spec")?).ok()
}
