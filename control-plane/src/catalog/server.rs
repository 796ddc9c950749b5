//! What the catalog reads of `McpServer` objects: which one a uid means, its rules and its overrides.

use std::sync::Arc;

use portcullis_policy::resource::{Kind, ToolRules, Transport, Uid};
use serde::Deserialize as _;

use crate::objects::Settings;
use crate::store::{Object, State};

/// The registered server of this uid.
pub(crate) fn by_uid<'a>(state: &'a State, uid: &Uid) -> Option<&'a Arc<Object>> {
    state.list(Kind::McpServer.as_str()).find(|object| object.uid == *uid)
}

/// How a server is reached.
pub(crate) fn transport(object: &Object) -> Option<Transport> {
    Transport::deserialize(object.body.get("spec")?.get("transport")?).ok()
}

/// How a server's definitions are treated, by itself or by its tier.
pub(crate) fn rules(state: &State, object: &Object) -> Option<ToolRules> {
    Settings::of(state, object).rules(object)
}
