//! A data plane asks for one call: it waits, was denied, or an approval is used up for it. One transaction, so that of all planes
//! and all retries one gets it.

use std::sync::Arc;

use portcullis_policy::resource::{Kind, Uid};
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::call_answer::Answer;
use portcullis_seal::Fingerprint;

use super::stored::{Argument, Binding, CallState, HELD_CALL, StoredCall, Used, new_id, object_name};
use super::{Bench, Calls, registered};
use crate::review::visible_line;
use crate::store::{Object, Op, State, TransactError, transact};

/// How many calls of one key may wait.
pub const MAX_WAITING_OF_KEY: usize = 20;
/// How many calls are kept, waiting and decided; where they are full, the oldest that do not wait go.
pub const MAX_KEPT: usize = 2_000;
/// How many are let go at once where they are full.
const LET_GO: usize = 200;
/// How many arguments are told of.
const MAX_ARGUMENTS: usize = 32;
/// The longest name of an argument, in characters.
const MAX_ARGUMENT_NAME: usize = 64;
/// The longest text that names something of an ask, in bytes.
const MAX_TEXT: usize = 1_024;

/// What is asked for, read and bounded.
struct Asked {
    use_id: String,
    call: StoredCall,
}

/// What one transaction came to.
enum Came {
    Waits(String, u64),
    Released(String, String),
    Denied(String),
}

impl Calls {
    /// Answers a data plane that asks whether a call may be made now.
    pub(crate) async fn ask(&self, plane: &str, ask: proto::CallAsk) -> proto::CallAnswer {
        let use_id = ask.use_id.clone();
        let answer = match self.judge(plane, &ask).await {
            Ok(Came::Waits(id, expires_unix_ms)) => {
                self.0.payloads.keep(&id, &ask.input_json);
                Answer::Waits(proto::CallWaits { url: self.url(&id), id, expires_unix_ms })
            }
            Ok(Came::Released(id, approved_by)) => Answer::Released(proto::CallReleased { id, approved_by }),
            Ok(Came::Denied(id)) => Answer::Denied(proto::CallDenied { id }),
            Err(why) => Answer::Refused(why),
        };
        proto::CallAnswer { use_id, answer: Some(answer) }
    }

    async fn judge(&self, plane: &str, ask: &proto::CallAsk) -> Result<Came, String> {
        let asked = Asked::read(ask, self.0.clock.now_unix_ms()).ok_or_else(|| {
            tracing::warn!(plane, "a data plane asked for a call in a form that makes no sense");
            "It cannot be told which call this is. Tell the user.".to_owned()
        })?;
        let clock = &self.0.clock;
        let author = format!("plane/{plane}");
        let StoredCall { server, tool, key, .. } = &asked.call;
        let message = format!("a call of {tool:?} of McpServer/{server} by VirtualKey/{key}");
        let done = transact(&*self.0.store, &author, &message, clock.now_unix_ms(), |state| {
            asked.step(state, plane, clock.now_unix_ms())
        })
        .await;
        match done {
            Ok((state, (came, written))) => {
                if written {
                    self.forget_payloads(&state);
                }
                Ok(came)
            }
            Err(TransactError::Refused(why)) => Err(why),
            Err(error) => {
                tracing::error!(%error, "a call that needs a person cannot be kept");
                Err("Approvals cannot be kept at the moment. Try again later.".to_owned())
            }
        }
    }
}

impl Asked {
    fn read(ask: &proto::CallAsk, now_unix_ms: u64) -> Option<Self> {
        let fingerprint = |bytes: &[u8]| bytes.try_into().ok().map(Fingerprint::from_bytes);
        let (key_uid, server_uid): (Uid, Uid) = (ask.key_uid.parse().ok()?, ask.server_uid.parse().ok()?);
        let (pin, input) = (fingerprint(&ask.pin)?, fingerprint(&ask.input_sha256)?);
        let texts = [&ask.key, &ask.principal_kind, &ask.principal_subject, &ask.server, &ask.tool];
        if ask.use_id.len() != 16 || texts.iter().any(|text| text.len() > MAX_TEXT) {
            return None;
        }
        let binding = Binding {
            key: key_uid,
            principal_kind: &ask.principal_kind,
            principal: &ask.principal_subject,
            server: server_uid,
            tool: &ask.tool,
            pin,
            input,
        };
        let told = ask.arguments.iter().take(MAX_ARGUMENTS).map(|argument| Argument {
            name: visible_line(&argument.name, MAX_ARGUMENT_NAME),
            kind: visible_line(&argument.kind, 16),
            bytes: argument.bytes,
        });
        let left_out = u32::try_from(ask.arguments.len().saturating_sub(MAX_ARGUMENTS)).unwrap_or(u32::MAX);
        let request_id: [u8; 16] = ask.request_id.as_ref().try_into().ok()?;
        Some(Self {
            use_id: hex(&ask.use_id),
            call: StoredCall {
                id: String::new(),
                binding: binding.fingerprint(),
                key: ask.key.clone(),
                key_uid,
                principal_kind: ask.principal_kind.clone(),
                principal: ask.principal_subject.clone(),
                server: ask.server.clone(),
                server_uid,
                tool: ask.tool.clone(),
                pin,
                input_sha256: input,
                input_bytes: ask.input_bytes,
                arguments: told.collect(),
                more_arguments: ask.more_arguments.saturating_add(left_out),
                request_id: uuid::Uuid::from_bytes(request_id).to_string(),
                opened_unix_ms: now_unix_ms,
                votes: Vec::new(),
                decided: None,
                used: None,
                given_back: None,
            },
        })
    }

    /// What this use comes to in a state; whether something was written with it.
    fn step(&self, state: &State, plane: &str, now_unix_ms: u64) -> Result<(Vec<Op>, (Came, bool)), String> {
        let call = &self.call;
        let key = state.get(Kind::VirtualKey.as_str(), &call.key).filter(|key| key.uid == call.key_uid);
        if key.is_none() || registered(state, &call.server, &call.server_uid).is_none() {
            return Err("The key or the server of this call is being changed. Try again later.".to_owned());
        }
        let bench = Bench::of(state, &call.server, &call.server_uid);
        let name = object_name(&call.key_uid, &call.binding);
        let object = state.get(HELD_CALL, &name);
        let known = object.and_then(|object| Some((object.uid, StoredCall::read(object)?)));
        let Some((uid, mut known)) = known else { return self.open(state, &bench, now_unix_ms) };
        let expires = known.expires_unix_ms(bench.rule());
        let by = |known: &StoredCall| {
            known.decided.as_ref().map(|decided| decided.verdict.by.clone()).unwrap_or_default()
        };
        let unwritten = |came| Ok((Vec::new(), (came, false)));
        match known.state(bench.rule(), now_unix_ms) {
            CallState::Used if known.used.as_ref().is_some_and(|used| used.use_id == self.use_id) => {
                unwritten(Came::Released(known.id.clone(), by(&known)))
            }
            CallState::Used | CallState::Expired => self.open(state, &bench, now_unix_ms),
            CallState::Pending => unwritten(Came::Waits(known.id, expires)),
            CallState::Denied => unwritten(Came::Denied(known.id)),
            // The plane that gave it back waits for no answer: this one comes late, and must not use it up for nobody.
            CallState::Approved
                if known.given_back.as_ref().is_some_and(|back| back.last.use_id == self.use_id) =>
            {
                Err("This use of the approval was given back. Call the tool again.".to_owned())
            }
            CallState::Approved => {
                known.used = Some(Used {
                    plane: plane.to_owned(),
                    unix_ms: now_unix_ms,
                    request_id: call.request_id.clone(),
                    use_id: self.use_id.clone(),
                });
                let op = known.put(uid).ok_or_else(internal)?;
                Ok((vec![op], (Came::Released(known.id.clone(), by(&known)), true)))
            }
        }
    }

    /// Keeps it for a person, if there is room.
    fn open(
        &self,
        state: &State,
        bench: &Bench,
        now_unix_ms: u64,
    ) -> Result<(Vec<Op>, (Came, bool)), String> {
        let mut call = self.call.clone();
        let waits = |object: &&Arc<Object>| {
            StoredCall::read(object).is_some_and(|one| {
                let bench = Bench::of(state, &one.server, &one.server_uid);
                one.state(bench.rule(), now_unix_ms) == CallState::Pending
            })
        };
        let prefix = format!("{}/", call.key_uid);
        if state.list_prefix(HELD_CALL, &prefix).filter(waits).count() >= MAX_WAITING_OF_KEY {
            return Err(format!(
                "{MAX_WAITING_OF_KEY} calls of this key wait for a person already, which is the most. Ask the user to have some of \
                 them decided, then call the tool again."
            ));
        }
        let mut ops = Vec::new();
        if state.count(HELD_CALL) >= MAX_KEPT {
            let mut over: Vec<&Arc<Object>> = state.list(HELD_CALL).filter(|object| !waits(object)).collect();
            if over.is_empty() {
                return Err("Too many calls wait for a person. Try again later.".to_owned());
            }
            over.sort_by_key(|object| object.version);
            let gone = over.into_iter().take(LET_GO);
            ops.extend(
                gone.map(|object| Op::Delete { kind: HELD_CALL.into(), name: Arc::clone(&object.name) }),
            );
        }
        call.id = new_id(&call.binding).map_err(|_| internal())?;
        let expires = call.expires_unix_ms(bench.rule());
        ops.push(call.put(Uid(uuid::Uuid::new_v4())).ok_or_else(internal)?);
        Ok((ops, (Came::Waits(call.id, expires), true)))
    }
}

/// A use as it is kept.
pub(super) fn hex(use_id: &[u8]) -> String {
    use_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn internal() -> String {
    "The call cannot be kept for a person. Tell the user.".to_owned()
}
