//! A POST: one JSON-RPC message, read once, and handed to the era that it belongs to.

use bytes::Bytes;
use portcullis_mcp::headers::PROTOCOL_VERSION;
use portcullis_mcp::respond;
use portcullis_mcp::{Era, Message, Meta, Method, era_of_request, message, parse};
use portcullis_policy::Reason;
use serde_json::value::RawValue;

use super::Gateway;
use super::admit::Entered;
use super::answer::{self, HttpAnswer};
use crate::lists::{Cursor, Page, definitions, open_cursor, own_info, seal_cursor};
use crate::pipeline::{Admitted, Answered, Client, Refused, Request};

/// How long a list may be kept by a caller that does not listen for its changes, in milliseconds.
pub(super) const LIST_TTL_MS: u64 = 60_000;

impl Gateway {
    /// Answers one message.
    pub(super) async fn post(&self, entered: &Entered, bytes: Bytes) -> HttpAnswer {
        let message = match parse(&bytes) {
            Ok(message) => message,
            Err(fault) => {
                let refused = entered.refused(&http::Method::POST).sized(bytes.len());
                return self.malformed(&refused, answer::of(respond::malformed(&fault)));
            }
        };
        match era_of(entered, &message) {
            Era::Modern => self.modern(entered, &bytes, message).await,
            // In a box, like all ways that most calls do not take: a future is moved whole through every room.
            Era::Legacy => Box::pin(self.legacy(entered, &bytes, message)).await,
        }
    }

    /// Counts and records a request that was refused before there was anything to decide.
    pub(super) fn malformed(&self, refused: &Refused<'_>, answer: HttpAnswer) -> HttpAnswer {
        self.metrics().denied(Reason::MalformedRequest);
        self.pipeline().note_refused(refused, Reason::MalformedRequest);
        answer
    }

    /// `tools/list` and `prompts/list`: what was approved and granted, from memory.
    pub(super) fn definitions(&self, admitted: &Admitted, client: &Client, request: &Request) -> HttpAnswer {
        let view = &admitted.view;
        let method = request.method.as_str();
        let (member, rendered, count, tag) = match request.method {
            Method::PromptsList => {
                ("prompts", view.prompts_json().clone(), view.prompts().len(), view.prompts_tag())
            }
            _ => ("tools", self.0.rendered.tools(view, client.era), view.tools().len(), view.tools_tag()),
        };
        let secrets = self.pipeline().secrets().load();
        let (endpoint, principal) = (view.endpoint().to_string(), admitted.principal.key_uid);
        let cursor = request
            .cursor
            .as_deref()
            .map(|text| open_cursor(&secrets.sealer, principal, method, &endpoint, text))
            .transpose();
        let page = cursor.and_then(|cursor| definitions(&rendered, count, tag, cursor));
        let Ok(Page { items, next }) = page else {
            let refused = Refused::of(admitted, client.era, method);
            let answer = respond::invalid_params(Some(&request.id), "Invalid cursor", false);
            return self.malformed(&refused, answer::of(answer));
        };
        let next =
            next.map(|cursor: Cursor| seal_cursor(&secrets.sealer, principal, method, &endpoint, cursor));
        let Ok(next) = next.transpose() else {
            let body =
                message::error(Some(&request.id), -32603, "The list cannot be cut into pages now", None);
            return answer::json(http::StatusCode::OK, super::Body::whole(body.into()));
        };
        let mut rest = next.map(|next| format!(",\"nextCursor\":\"{next}\"")).unwrap_or_default();
        if client.era == Era::Modern {
            rest.push_str(&modern_rest());
        }
        answer::list(&request.id, member, items, &rest)
    }
}

/// What a cacheable result of ours ends with.
fn modern_rest() -> String {
    format!(
        ",\"resultType\":\"complete\",\"ttlMs\":{LIST_TTL_MS},\"cacheScope\":\"private\",\"_meta\":{{\"{}\":{}}}",
        portcullis_mcp::names::SERVER_INFO,
        own_info()
    )
}

/// The era of a message: modern if its body or its header names 2026-07-28 or later. A body that names any version in
/// `_meta` is one of a modern client, whatever it names; `initialize` without it opens a legacy session, whatever the header
/// says, since clients that know both eras ask for the newest revision in it.
fn era_of(entered: &Entered, message: &Message<'_>) -> Era {
    let meta = |meta: &Meta<'_>| meta.protocol_version.is_some();
    let (named, initialize) = match message {
        Message::Request { method, params, .. } => (meta(&params.meta), method == "initialize"),
        Message::Notification { params, .. } => (meta(&params.meta), false),
        Message::Response { .. } => (false, false),
    };
    if named {
        return Era::Modern;
    }
    if initialize {
        return Era::Legacy;
    }
    era_of_request(version_header(entered), None)
}

/// `MCP-Protocol-Version`, if it is readable.
pub(super) fn version_header(entered: &Entered) -> Option<&str> {
    entered.headers.get(PROTOCOL_VERSION).and_then(|value| value.to_str().ok())
}

/// A method that is not there for this caller at this endpoint.
pub(super) fn unknown_method(era: Era, id: &RawValue, method: &str) -> HttpAnswer {
    answer::of(respond::unknown_method(era, id, method))
}

/// A whole or streamed answer for a caller whose stream is its call.
pub(super) fn direct(answered: Answered) -> HttpAnswer {
    match answered {
        Answered::Reply(reply) => answer::of(reply),
        Answered::Relay(relay) => answer::relayed(relay),
        Answered::Cancelled => answer::cancelled(),
    }
}
