//! What leaves this plane in a caller's hands and comes back: sealed, bound to the principal, and short-lived.
//!
//! State of multi round-trip requests, ids of server requests, cursors. All of it is hostile input when it returns
//! (2026-07-28, multi round-trip requests): only what opens for this principal and purpose, in time, is believed.

use portcullis_policy::Server;
use portcullis_policy::resource::Uid;
use portcullis_seal::{Sealer, sha256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Pipeline;
use super::context::{Admitted, Request};
use crate::upstream::UpstreamSessionRef;

const REQUEST_STATE: &str = "request-state";
const HELD_CALL: &str = "held-call";
const SERVER_REQUEST: &str = "server-request";

/// How long a caller may take to gather input.
const LIFETIME_MS: u64 = 60 * 60 * 1000;

/// Sealing failed for want of a key or of randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be sealed now")]
pub(crate) struct CannotSeal;

#[derive(Serialize, Deserialize)]
struct State {
    server: Uid,
    digest: [u8; 32],
    until: u64,
    inner: String,
}

/// What a state is bound to beside its principal: the method and what it names.
fn digest(method: &str, name: &str) -> [u8; 32] {
    sha256(format!("{method}\0{name}").as_bytes())
}

/// Who and what a `requestState` belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateScope<'a> {
    pub(crate) principal: Uid,
    pub(crate) server: Uid,
    pub(crate) method: &'a str,
    pub(crate) name: &'a str,
    pub(crate) now_unix_ms: u64,
}

impl<'a> StateScope<'a> {
    /// Of what this caller asks of this server, now.
    pub(super) fn of(
        pipeline: &Pipeline,
        admitted: &Admitted,
        server: &Server,
        request: &'a Request,
    ) -> Self {
        Self {
            principal: admitted.principal.key_uid,
            server: server.uid(),
            method: request.method.as_str(),
            name: request.name.as_deref().or(request.uri.as_deref()).unwrap_or_default(),
            now_unix_ms: pipeline.clock().unix_ms(),
        }
    }
}

/// Seals the `requestState` of an upstream.
pub(crate) fn seal_state(sealer: &Sealer, scope: StateScope<'_>, inner: &str) -> Result<String, CannotSeal> {
    seal_as(REQUEST_STATE, sealer, scope, inner)
}

/// Seals a `requestState` of our own: that of a call which waits for a person. It gives no right; it
/// only tells our state from an upstream's.
pub(crate) fn seal_held(sealer: &Sealer, scope: StateScope<'_>, inner: &str) -> Result<String, CannotSeal> {
    seal_as(HELD_CALL, sealer, scope, inner)
}

fn seal_as(
    purpose: &'static str,
    sealer: &Sealer,
    scope: StateScope<'_>,
    inner: &str,
) -> Result<String, CannotSeal> {
    let state = State {
        server: scope.server,
        digest: digest(scope.method, scope.name),
        until: scope.now_unix_ms.saturating_add(LIFETIME_MS),
        inner: inner.to_owned(),
    };
    let plain = serde_json::to_vec(&state).map_err(|_| CannotSeal)?;
    sealer.seal(purpose, scope.principal.0.as_bytes(), &plain).map_err(|_| CannotSeal)
}

/// Opens it again; `None` for a state that is forged, another's, of another request, or too old.
pub(crate) fn open_state(sealer: &Sealer, scope: StateScope<'_>, token: &str) -> Option<String> {
    open_as(REQUEST_STATE, sealer, scope, token)
}

/// Opens one of our own again.
pub(crate) fn open_held(sealer: &Sealer, scope: StateScope<'_>, token: &str) -> Option<String> {
    open_as(HELD_CALL, sealer, scope, token)
}

fn open_as(purpose: &'static str, sealer: &Sealer, scope: StateScope<'_>, token: &str) -> Option<String> {
    let plain = sealer.open(purpose, scope.principal.0.as_bytes(), token).ok()?;
    let state: State = serde_json::from_slice(&plain).ok()?;
    let fits = state.server == scope.server
        && state.digest == digest(scope.method, scope.name)
        && scope.now_unix_ms < state.until;
    fits.then_some(state.inner)
}

/// The request of a legacy server that a client was given, as it comes back in the client's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServerRequest {
    /// The session in which the server asked.
    pub(crate) session: UpstreamSessionRef,
    /// The server's own id.
    pub(crate) id: Box<RawValue>,
    until: u64,
}

fn binding(principal: Uid, session: Option<[u8; 16]>) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (head, tail) = bytes.split_at_mut(16);
    head.copy_from_slice(principal.0.as_bytes());
    tail.copy_from_slice(&session.unwrap_or_default());
    bytes
}

/// The id under which a client gets a server's request: a JSON string.
pub(crate) fn seal_server_request(
    sealer: &Sealer,
    principal: Uid,
    client_session: Option<[u8; 16]>,
    session: &UpstreamSessionRef,
    id: &RawValue,
    now_unix_ms: u64,
) -> Result<String, CannotSeal> {
    let until = now_unix_ms.saturating_add(LIFETIME_MS);
    let request = ServerRequest { session: session.clone(), id: id.to_owned(), until };
    let plain = serde_json::to_vec(&request).map_err(|_| CannotSeal)?;
    let token = sealer.seal(SERVER_REQUEST, &binding(principal, client_session), &plain);
    token.map_err(|_| CannotSeal)
}

/// Opens it again, for the same principal and session.
pub(crate) fn open_server_request(
    sealer: &Sealer,
    principal: Uid,
    client_session: Option<[u8; 16]>,
    token: &str,
    now_unix_ms: u64,
) -> Option<ServerRequest> {
    let plain = sealer.open(SERVER_REQUEST, &binding(principal, client_session), token).ok()?;
    let request: ServerRequest = serde_json::from_slice(&plain).ok()?;
    (now_unix_ms < request.until).then_some(request)
}

#[cfg(test)]
mod tests {
    use portcullis_seal::SealKey;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(vec![SealKey::new([1; 4], &[7; 32])])
    }

    fn uid(byte: u8) -> Uid {
        Uid(uuid::Uuid::from_bytes([byte; 16]))
    }

    #[test]
    fn a_state_opens_only_for_its_principal_request_and_hour() {
        let sealer = sealer();
        let scope = StateScope {
            principal: uid(1),
            server: uid(2),
            method: "tools/call",
            name: "ask",
            now_unix_ms: 5,
        };
        let token = seal_state(&sealer, scope, "inner \" state").unwrap();
        assert_eq!(open_state(&sealer, scope, &token).as_deref(), Some("inner \" state"));
        let others = [
            StateScope { principal: uid(9), ..scope },
            StateScope { server: uid(9), ..scope },
            StateScope { method: "prompts/get", ..scope },
            StateScope { name: "other", ..scope },
            StateScope { now_unix_ms: 5 + LIFETIME_MS, ..scope },
        ];
        for other in others {
            assert_eq!(open_state(&sealer, other, &token), None, "{other:?}");
        }
        assert_eq!(open_state(&sealer, scope, "inner"), None);
        assert_eq!(open_held(&sealer, scope, &token), None, "an upstream's state is none of ours");
        let held = seal_held(&sealer, scope, "c-1").unwrap();
        assert_eq!(
            (open_held(&sealer, scope, &held).as_deref(), open_state(&sealer, scope, &held)),
            (Some("c-1"), None)
        );
        assert_eq!(open_state(&sealer, scope, &format!("{token}A")), None);
    }

    #[test]
    fn a_server_request_comes_back_only_from_the_session_that_got_it() {
        let sealer = sealer();
        let session = UpstreamSessionRef {
            server: uid(3),
            session_id: Some("up".to_owned()),
            protocol_version: "2025-11-25".to_owned(),
        };
        let id = RawValue::from_string("\"x-1\"".to_owned()).unwrap();
        let token = seal_server_request(&sealer, uid(1), Some([4; 16]), &session, &id, 0).unwrap();
        let opened = open_server_request(&sealer, uid(1), Some([4; 16]), &token, 1).unwrap();
        assert_eq!((opened.id.get(), &opened.session), ("\"x-1\"", &session));
        assert!(open_server_request(&sealer, uid(2), Some([4; 16]), &token, 1).is_none());
        assert!(open_server_request(&sealer, uid(1), Some([5; 16]), &token, 1).is_none());
        assert!(open_server_request(&sealer, uid(1), None, &token, 1).is_none());
        assert!(open_server_request(&sealer, uid(1), Some([4; 16]), &token, LIFETIME_MS).is_none());
    }
}
