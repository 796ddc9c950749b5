//! Calls of legacy sessions that run now, so that `notifications/cancelled` and DELETE can end them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

const SHARDS: usize = 64;

/// Calls of one session that can be cancelled at once; further ones run, and cannot be.
const PER_SESSION: usize = 256;

type Calls = HashMap<[u8; 16], HashMap<Box<str>, CancellationToken>>;

/// The calls that can be cancelled. Clones share them. Bounded by the calls that the plane serves at once.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<[Mutex<Calls>]>);

/// One of them; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Cancellable {
    calls: InFlight,
    session: [u8; 16],
    id: Box<str>,
    registered: bool,
    pub(super) token: CancellationToken,
}

impl Default for InFlight {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl InFlight {
    /// Session ids are random, so that sessions spread evenly.
    fn shard(&self, session: &[u8; 16]) -> Option<MutexGuard<'_, Calls>> {
        let at = usize::from(session.first().copied().unwrap_or(0)) % SHARDS;
        Some(self.0.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A call begins.
    pub(super) fn begin(&self, session: [u8; 16], id: &str) -> Cancellable {
        let token = CancellationToken::new();
        let id: Box<str> = id.into();
        let mut registered = false;
        if let Some(mut shard) = self.shard(&session) {
            let calls = shard.entry(session).or_default();
            // An id that is in use twice is the client's fault: the first one keeps it.
            if calls.len() < PER_SESSION && !calls.contains_key(&id) {
                calls.insert(id.clone(), token.clone());
                registered = true;
            }
        }
        Cancellable { calls: self.clone(), session, id, registered, token }
    }

    /// Cancels a call; whether it runs here.
    pub(super) fn cancel(&self, session: &[u8; 16], id: &str) -> bool {
        let Some(shard) = self.shard(session) else { return false };
        let token = shard.get(session).and_then(|calls| calls.get(id));
        token.inspect(|token| token.cancel()).is_some()
    }

    /// Cancels everything that a session runs here.
    pub(super) fn end(&self, session: &[u8; 16]) {
        let Some(shard) = self.shard(session) else { return };
        for token in shard.get(session).into_iter().flat_map(HashMap::values) {
            token.cancel();
        }
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        if !self.registered {
            return;
        }
        let Some(mut shard) = self.calls.shard(&self.session) else { return };
        if let Some(calls) = shard.get_mut(&self.session) {
            calls.remove(&self.id);
            if calls.is_empty() {
                shard.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_cancelled_by_its_session_and_id_alone() {
        let calls = InFlight::default();
        let call = calls.begin([1; 16], "7");
        assert!(!calls.cancel(&[2; 16], "7") && !calls.cancel(&[1; 16], "\"7\""));
        assert!(!call.token.is_cancelled());
        assert!(calls.cancel(&[1; 16], "7") && call.token.is_cancelled());
        drop(call);
        assert!(!calls.cancel(&[1; 16], "7"));
    }

    #[test]
    fn an_id_used_twice_stays_with_the_first_call() {
        let calls = InFlight::default();
        let first = calls.begin([1; 16], "7");
        drop(calls.begin([1; 16], "7"));
        assert!(calls.cancel(&[1; 16], "7") && first.token.is_cancelled());
        let other = calls.begin([1; 16], "8");
        calls.end(&[1; 16]);
        assert!(other.token.is_cancelled());
    }
}
