//! What a server says of its own accord, on its way to the caller: which notifications pass, and how a server's request to
//! its client gets an id that any data plane can answer.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_mcp::translate::{self, Notice};
use portcullis_mcp::{Edit, Era, Message, edit_object, message, object, parse_upstream};
use portcullis_policy::Endpoint;
use portcullis_policy::resource::Name;
use serde_json::value::RawValue;

use super::Pipeline;
use super::capability::Needed;
use super::context::{Admitted, Client};
use super::standing::{Claim, judge};
use super::tokens;
use crate::upstream::{Reply, UpstreamSessionRef};

/// Requests of a server that are remembered on one stream, so that the server can withdraw them.
const MAX_ASKED: usize = 64;

/// Where the message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The response stream of one request.
    Call,
    /// A stream that belongs to no request.
    Stream,
}

/// What became of a server's request.
pub(super) enum ServerRequestOutcome {
    /// The client is asked.
    Ask(Bytes),
    /// It was answered here.
    Answered,
    /// Nobody can be asked; it was refused here. The method.
    Unanswerable(String),
}

/// One stream of one server towards one caller.
#[derive(Debug)]
pub(super) struct Downward {
    pub(super) pipeline: Pipeline,
    pub(super) admitted: Arc<Admitted>,
    pub(super) client: Arc<Client>,
    pub(super) server: Name,
    pub(super) from: Era,
    pub(super) session: Option<UpstreamSessionRef>,
    pub(super) scope: Scope,
    /// The server's ids and ours for them, so that a server can withdraw a request.
    pub(super) asked: Vec<(String, String)>,
}

impl Downward {
    /// A notification as the caller gets it; `None` when it does not.
    pub(super) fn notification(&self, json: &Bytes) -> Option<Bytes> {
        let Ok(Message::Notification { method, params }) = parse_upstream(json) else { return None };
        let to = self.client.era;
        match (&*method, to, self.scope) {
            // What is offered is what was approved, and the snapshot says when that changes. The server's own word is a hint
            // on the streams of its own endpoint, and nothing anywhere else.
            ("notifications/tools/list_changed" | "notifications/prompts/list_changed", _, scope)
                if scope == Scope::Call || !matches!(self.admitted.view.endpoint(), Endpoint::Server(_)) =>
            {
                return None;
            }
            ("notifications/message", Era::Modern, scope) => {
                let level =
                    params.raw.and_then(|raw| object::member(raw, "level")).and_then(object::string)?;
                let wanted = self.client.log_level.as_deref()?;
                if scope == Scope::Stream || severity(&level)? < severity(wanted)? {
                    return None;
                }
            }
            ("notifications/resources/list_changed", Era::Modern, Scope::Call) => return None,
            ("notifications/resources/updated", _, scope) => {
                let hidden = to == Era::Modern && scope == Scope::Call;
                if hidden || !self.may_read(params.uri.as_deref()?) {
                    return None;
                }
            }
            ("notifications/progress", Era::Modern, Scope::Stream) => return None,
            ("notifications/cancelled", _, _) => return self.withdrawn(json, params.raw?),
            _ => {}
        }
        if self.from == to {
            return Some(json.clone());
        }
        let params = match translate::notification(&method, params.raw, self.from, to).ok()? {
            Notice::Dropped => return None,
            Notice::Params(params) => params,
        };
        Some(message::notification(&method, params.as_deref()).into())
    }

    /// Judged by what holds now: a stream may be older than the snapshot in force.
    fn may_read(&self, uri: &str) -> bool {
        let Some(snapshot) = self.pipeline.live().load() else { return false };
        let claim = Claim::Resource(self.server.to_string(), uri.to_owned());
        judge(&snapshot, &self.admitted, &claim, self.pipeline.clock().unix_ms()).is_ok()
    }

    fn withdrawn(&self, json: &Bytes, params: &RawValue) -> Option<Bytes> {
        let id = object::member(params, "requestId")?.get();
        let (_, token) = self.asked.iter().find(|(asked, _)| asked == id)?;
        let params = edit_object(params.get(), &[("requestId", Edit::Set(&object::quoted(token)))]).ok()?;
        let json = std::str::from_utf8(json).ok()?;
        Some(edit_object(json, &[("params", Edit::Set(&params))]).ok()?.into())
    }

    /// A server's request to its client.
    pub(super) async fn request(&mut self, json: &Bytes) -> ServerRequestOutcome {
        let Ok(Message::Request { id, method, params }) = parse_upstream(json) else {
            return ServerRequestOutcome::Answered;
        };
        if method == "ping" {
            self.reply(message::result(id, "{}")).await;
            return ServerRequestOutcome::Answered;
        }
        let same_era = self.from == Era::Legacy && self.client.era == Era::Legacy;
        let (Some(session), true) = (self.session.clone(), same_era) else {
            self.refuse(id, "This client cannot be asked through the gateway").await;
            return ServerRequestOutcome::Unanswerable(method.chars().take(64).collect());
        };
        let declared = Needed::of(&method, params.raw)
            .is_none_or(|needed| needed.is_declared(&self.client.capabilities));
        if !declared {
            self.refuse(id, "The client does not offer this").await;
            return ServerRequestOutcome::Answered;
        }
        match self.sealed(json, id, &session) {
            Some((bytes, token)) => {
                // A request that is forgotten here can still be answered, but no longer be withdrawn.
                if self.asked.len() >= MAX_ASKED {
                    self.asked.remove(0);
                }
                self.asked.push((id.get().to_owned(), token));
                ServerRequestOutcome::Ask(bytes)
            }
            None => {
                self.refuse(id, "This client cannot be asked now").await;
                ServerRequestOutcome::Unanswerable(method.chars().take(64).collect())
            }
        }
    }

    fn sealed(&self, json: &Bytes, id: &RawValue, session: &UpstreamSessionRef) -> Option<(Bytes, String)> {
        let secrets = self.pipeline.secrets().load();
        let token = tokens::seal_server_request(
            &secrets.sealer,
            self.admitted.principal.key_uid,
            self.client.session,
            session,
            id,
            self.pipeline.clock().unix_ms(),
        )
        .ok()?;
        let text = std::str::from_utf8(json).ok()?;
        let edited = edit_object(text, &[("id", Edit::Set(&object::quoted(&token)))]).ok()?;
        Some((edited.into(), token))
    }

    async fn refuse(&self, id: &RawValue, why: &str) {
        self.reply(message::error(Some(id), -32601, why, None)).await;
    }

    async fn reply(&self, message: Vec<u8>) {
        let Some(session) = self.session.clone() else { return };
        let permit = self.admitted.snapshot.decide_server(
            &self.admitted.principal,
            &self.admitted.view,
            self.server.as_str(),
            &self.admitted.circumstances(self.pipeline.clock().unix_ms(), None),
        );
        let Ok(permit) = permit else { return };
        if let Err(error) =
            self.pipeline.upstreams().reply(permit.with(Reply { session, message: message.into() })).await
        {
            tracing::debug!(server = %self.server, %error, "a server's request could not be answered");
        }
    }
}

/// RFC 5424 severities as MCP names them, least severe first.
fn severity(level: &str) -> Option<usize> {
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
        .iter()
        .position(|known| *known == level)
}

/// Whether MCP knows this log level.
pub(crate) fn is_log_level(level: &str) -> bool {
    severity(level).is_some()
}
