//! What became of a call that is only asked about: looked up by what its approval would be bound to, and never written.

use portcullis_policy::compile::{Definition, Principal};
use portcullis_policy::explain::Asked;
use portcullis_seal::{Fingerprint, canonical_json, sha256};
use serde_json::value::RawValue;

use super::stored::{Binding, CallState, HELD_CALL, StoredCall, object_name};
use super::{Calls, HeldCall};

impl Calls {
    /// The approval of a call of this tool with these arguments and nothing else, as long as it waits or its decision holds.
    pub(crate) fn known(
        &self,
        principal: &Principal,
        tool: &Definition,
        arguments: &RawValue,
    ) -> Option<HeldCall> {
        // As a data plane tells what the server would be sent.
        let input = canonical_json(format!("{{\"arguments\":{arguments}}}").as_bytes()).ok()?;
        let binding = Binding {
            key: principal.key_uid,
            principal_kind: principal.kind.as_str(),
            principal: &principal.subject,
            server: principal.way(&tool.server).uid(),
            tool: &tool.name,
            pin: tool.pin,
            input: Fingerprint::from_bytes(sha256(input.as_bytes())),
        };
        let state = self.0.store.state();
        let object = state.get(HELD_CALL, &object_name(&principal.key_uid, &binding.fingerprint()))?;
        let call = self.shown(&state, StoredCall::read(object)?, self.0.clock.now_unix_ms());
        call.asked().is_some().then_some(call)
    }
}

impl HeldCall {
    /// What it means for the next call like it; none where that would be asked for anew.
    pub(crate) const fn asked(&self) -> Option<Asked> {
        match self.state {
            CallState::Pending => Some(Asked::Waits),
            CallState::Approved => Some(Asked::Approved),
            CallState::Denied => Some(Asked::Denied),
            CallState::Expired | CallState::Used => None,
        }
    }
}
