//! Calls that a person has to approve, one by one: kept while they wait, decided, and used up by the one that goes through.
//!
//! An approval is bound to key, principal, server, tool, pin and input. Asked again, the same call is the same approval until it
//! was used, denied or waited for too long; after that it is another one, with another id.

mod ask;
mod decide;
mod known;
mod payloads;
mod stored;
mod unused;

use std::sync::Arc;

use bytes::Bytes;
use portcullis_policy::resource::{ChangeClass, Kind, Uid};
use portcullis_seal::Fingerprint;

use super::{ApprovalError, Needs};
use crate::catalog::Verdict;
use crate::clock::Clock;
use crate::governance::{Matter, Rule, Rulebook, Scope};
use crate::store::{Object, State, Store};

use payloads::Payloads;
use stored::{StoredCall, finds};

pub use ask::{MAX_KEPT, MAX_WAITING_OF_KEY};
pub use payloads::MAX_INPUT_BYTES;
pub use stored::{Argument, CallState, HELD_CALL, ID_PREFIX};
pub use unused::MAX_GIVEN_BACK;

/// Calls that wait, and what was decided of them. Cheap to clone.
#[derive(Clone)]
pub struct Calls(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Under which people reach the HTTP port, without a slash at the end.
    base_url: String,
    payloads: Payloads,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("payloads", &self.0.payloads).finish_non_exhaustive()
    }
}

/// One call as people look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCall {
    /// The approval's id.
    pub id: String,
    /// What it is bound to, as one fingerprint.
    pub binding: Fingerprint,
    /// What it comes to.
    pub state: CallState,
    /// The name of the key.
    pub key: String,
    /// What kind of principal.
    pub principal_kind: String,
    /// Who.
    pub principal: String,
    /// Who asked, in one line.
    pub caller: String,
    /// The server's name.
    pub server: String,
    /// The upstream's name of the tool.
    pub tool: String,
    /// The fingerprint of its definition.
    pub pin: Fingerprint,
    /// Of what the server would be sent.
    pub input_sha256: Fingerprint,
    /// Its length in bytes.
    pub input_bytes: u64,
    /// Its members without their values.
    pub arguments: Vec<Argument>,
    /// How many more there are.
    pub more_arguments: u32,
    /// The request that was held back first.
    pub request_id: String,
    /// Since when it waits, milliseconds since the Unix epoch.
    pub opened_unix_ms: u64,
    /// When it, or what was decided of it, is too old, likewise.
    pub expires_unix_ms: u64,
    /// Who decided, when and why.
    pub verdict: Option<Verdict>,
    /// What it takes to approve it; absent where no rule is about it, and once it is decided.
    pub needs: Option<Needs>,
    /// The plane that made the call, and when, milliseconds since the Unix epoch.
    pub used: Option<(String, u64)>,
    /// The page where a person decides.
    pub url: String,
}

/// One call with what may be seen of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCallDetail {
    /// The call.
    pub call: HeldCall,
    /// Its input, in canonical JSON, or why it is not shown.
    pub input: Result<Bytes, &'static str>,
}

/// What is judged by about one server: the rule for calls of its tools.
struct Bench {
    rule: Option<Rule>,
    scope: Scope,
}

impl Bench {
    fn of(state: &State, server: &str, uid: &Uid) -> Self {
        let Some(object) = registered(state, server, uid) else {
            return Self { rule: None, scope: Scope::default() };
        };
        let book = Rulebook::of(state);
        let rule = (!book.is_empty()).then(|| Matter::of_server(object).class(ChangeClass::Call));
        let rule = rule.and_then(|matter| book.rule(&matter).cloned());
        Self { rule, scope: Scope::of_object(Kind::McpServer, object) }
    }

    const fn rule(&self) -> Option<&Rule> {
        self.rule.as_ref()
    }
}

/// The registered server that a call is for: of itself, or of its sandbox.
fn registered<'a>(state: &'a State, server: &str, uid: &Uid) -> Option<&'a Arc<Object>> {
    let object = state.get(Kind::McpServer.as_str(), server)?;
    [object.uid, object.uid.of_sandbox()].contains(uid).then_some(object)
}

impl Calls {
    /// The calls of this store. `base_url` is where people reach the HTTP port.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, base_url: &str) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        Self(Arc::new(Inner { store, clock, base_url, payloads: Payloads::default() }))
    }

    /// Where people reach the HTTP port.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.0.base_url
    }

    fn url(&self, id: &str) -> String {
        format!("{}/approvals/{id}", self.0.base_url)
    }

    /// The calls that wait, the oldest first; all that are kept where `all` are asked for, those that wait first.
    #[must_use]
    pub fn list(&self, server: Option<&str>, all: bool) -> Vec<HeldCall> {
        let (state, now) = (self.0.store.state(), self.0.clock.now_unix_ms());
        let mut found: Vec<HeldCall> = state
            .list(HELD_CALL)
            .filter_map(|object| StoredCall::read(object))
            .filter(|call| server.is_none_or(|name| call.server == name))
            .map(|call| self.shown(&state, call, now))
            .filter(|call| all || call.state == CallState::Pending)
            .collect();
        found.sort_by(|a, b| {
            (a.state != CallState::Pending, a.opened_unix_ms, &a.id).cmp(&(
                b.state != CallState::Pending,
                b.opened_unix_ms,
                &b.id,
            ))
        });
        found
    }

    /// One call; its input for who may read payloads.
    ///
    /// # Errors
    /// [`ApprovalError::NotFound`] when the id names nothing, or what was asked for anew since.
    pub fn get(&self, id: &str, may_read_payloads: bool) -> Result<HeldCallDetail, ApprovalError> {
        let (state, now) = (self.0.store.state(), self.0.clock.now_unix_ms());
        let (_, stored) = find(&state, id)?;
        let call = self.shown(&state, stored, now);
        let input = match (may_read_payloads, call.state) {
            (false, _) => Err("reading what callers send needs the right payloads:read"),
            (true, CallState::Pending) => self.0.payloads.get(id).ok_or(
                "it is too large to be shown, or was lost with a restart: then asking again brings it back",
            ),
            (true, _) => Err("it is kept only while the call waits"),
        };
        Ok(HeldCallDetail { call, input })
    }

    fn shown(&self, state: &State, stored: StoredCall, now_unix_ms: u64) -> HeldCall {
        let bench = Bench::of(state, &stored.server, &stored.server_uid);
        let told = stored.state(bench.rule(), now_unix_ms);
        let expires_unix_ms = stored.expires_unix_ms(bench.rule());
        let needs = bench.rule.filter(|_| told == CallState::Pending).map(|rule| {
            let votes = stored.votes.iter().map(|vote| vote.by.as_str());
            let approved_by = rule.count(state, votes, std::slice::from_ref(&stored.principal), now_unix_ms);
            Needs {
                rule: rule.name.as_str().to_owned(),
                required: rule.spec.required,
                approvers: rule.approvers(),
                approved_by: approved_by.into_iter().map(str::to_owned).collect(),
                expires_unix_ms,
            }
        });
        HeldCall {
            url: self.url(&stored.id),
            caller: stored.caller(),
            state: told,
            expires_unix_ms,
            needs,
            verdict: stored.decided.map(|decided| decided.verdict),
            used: stored.used.map(|used| (used.plane, used.unix_ms)),
            id: stored.id,
            binding: stored.binding,
            key: stored.key,
            principal_kind: stored.principal_kind,
            principal: stored.principal,
            server: stored.server,
            tool: stored.tool,
            pin: stored.pin,
            input_sha256: stored.input_sha256,
            input_bytes: stored.input_bytes,
            arguments: stored.arguments,
            more_arguments: stored.more_arguments,
            request_id: stored.request_id,
            opened_unix_ms: stored.opened_unix_ms,
        }
    }

    /// Lets go of what was sent with calls that wait no longer.
    fn forget_payloads(&self, state: &State) {
        let now = self.0.clock.now_unix_ms();
        self.0.payloads.retain(|id| {
            find(state, id).is_ok_and(|(_, call)| {
                let bench = Bench::of(state, &call.server, &call.server_uid);
                call.state(bench.rule(), now) == CallState::Pending
            })
        });
    }
}

/// The call of an id.
fn find<'a>(state: &'a State, id: &str) -> Result<(&'a Arc<Object>, StoredCall), ApprovalError> {
    let begins = finds(id).ok_or_else(|| unknown(id))?;
    let of_binding = |object: &&Arc<Object>| {
        object.name.split_once('/').is_some_and(|(_, binding)| binding.starts_with(begins))
    };
    let mut again = false;
    for object in state.list(HELD_CALL).filter(of_binding) {
        if let Some(stored) = StoredCall::read(object) {
            if stored.id == id {
                return Ok((object, stored));
            }
            again = true;
        }
    }
    Err(if again {
        ApprovalError::NotFound(format!(
            "the approval {id} is over, and the call was asked for anew: `approvals list` shows it while it waits"
        ))
    } else {
        unknown(id)
    })
}

fn unknown(id: &str) -> ApprovalError {
    let id: String = id.chars().take(80).collect();
    ApprovalError::NotFound(format!("there is no call {id:?}; `approvals list` shows those that wait"))
}

#[cfg(test)]
mod tests;
