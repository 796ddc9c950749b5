//! What goes in and out of this room: a call that was permitted, and what an upstream gave for it.
//!
//! Parameters and messages stay raw JSON. This room knows neither HTTP towards the caller nor who decided.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use portcullis_mcp::{Era, HeaderParam};
use portcullis_policy::Target;
use portcullis_policy::resource::Uid;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::UpstreamError;

/// On whose behalf something is sent. None of it decides anything: that was done when the permit was made.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The uid of the virtual key.
    pub principal: Uid,
    /// The inner id of the caller's legacy session; absent for a modern caller.
    pub client_session: Option<[u8; 16]>,
    /// The era that the caller speaks.
    pub era: Era,
    /// The revision that the caller speaks, as `YYYY-MM-DD`.
    pub protocol_version: String,
    /// The caller's `clientInfo`, a JSON object.
    pub client_info: Option<Box<RawValue>>,
    /// The caller's capabilities, a JSON object.
    pub capabilities: Box<RawValue>,
    /// The least level of log messages that the caller asked for.
    pub log_level: Option<String>,
    /// W3C `traceparent` to pass on.
    pub traceparent: Option<String>,
    /// W3C `tracestate` to pass on.
    pub tracestate: Option<String>,
}

/// One request or notification for an upstream.
#[derive(Debug, Clone)]
pub struct Call {
    /// The JSON-RPC method.
    pub method: Cow<'static, str>,
    /// The parameters under the upstream's own names; `_meta` is still the caller's.
    pub params: Option<Box<RawValue>>,
    /// Whether that `_meta` tells a modern upstream of the caller's revision all that it is to be told, and nothing else.
    pub told: bool,
    /// On whose behalf.
    pub caller: Caller,
}

/// What headers of a modern request repeat, known from the definition that was approved. The default knows nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Mirrored {
    /// The tool's or prompt's name.
    pub(super) name: Option<Arc<str>>,
    /// The arguments.
    pub(super) arguments: Vec<HeaderParam>,
}

impl Mirrored {
    /// Of what was permitted.
    pub(super) fn of(target: &Target) -> Self {
        match target {
            Target::Tool(tool) => Self {
                name: Some(Arc::clone(&tool.name)),
                arguments: tool
                    .header_params
                    .iter()
                    .map(|param| HeaderParam { header: param.header.clone(), path: param.path.clone() })
                    .collect(),
            },
            Target::Prompt(prompt) => Self { name: Some(Arc::clone(&prompt.name)), arguments: Vec::new() },
            Target::Resource { .. } | Target::Server => Self::default(),
        }
    }
}

/// A client's answer to a request that a legacy server sent.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The session in which the server asked.
    pub session: UpstreamSessionRef,
    /// The whole JSON-RPC response, with the server's own id.
    pub message: Bytes,
}

/// What a caller wants to hear of a server outside its requests.
#[derive(Debug, Clone)]
pub struct Listen {
    /// On whose behalf.
    pub caller: Caller,
    /// `notifications/tools/list_changed`.
    pub tools_list_changed: bool,
    /// `notifications/prompts/list_changed`.
    pub prompts_list_changed: bool,
    /// `notifications/resources/list_changed`.
    pub resources_list_changed: bool,
    /// URIs whose `notifications/resources/updated` are wanted. For a legacy caller on a legacy server these are the URIs
    /// that it subscribed to by `resources/subscribe` itself, and stay empty here.
    pub resource_subscriptions: Vec<String>,
}

/// An upstream's legacy session, as a value that travels in sealed tokens: any plane can answer in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpstreamSessionRef {
    /// The uid of the server.
    pub server: Uid,
    /// The upstream's `Mcp-Session-Id`; absent when it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The revision that was agreed on.
    pub protocol_version: String,
}

/// What came back for a request. Dropping it before its end cancels at the upstream.
#[derive(Debug)]
pub struct Exchange {
    /// The era in which the upstream was spoken to: what it says is in the words of this era.
    pub era: Era,
    /// The revision in which the upstream was spoken to.
    pub protocol_version: String,
    /// The upstream's HTTP status; absent for stdio.
    pub http_status: Option<u16>,
    /// The legacy session that it belongs to; absent for modern and stdio upstreams.
    pub session: Option<UpstreamSessionRef>,
    /// What came back.
    pub body: ExchangeBody,
}

impl Exchange {
    /// Keeps something for as long as the answer is being read.
    pub(super) fn holding(mut self, held: impl Send + 'static) -> Self {
        if let ExchangeBody::Stream(stream) = self.body {
            self.body = ExchangeBody::Stream(stream.holding(held));
        }
        self
    }
}

/// What came back for a request.
#[derive(Debug)]
pub enum ExchangeBody {
    /// The JSON-RPC response. Its id is this room's own and means nothing outside.
    Json(Bytes),
    /// Notifications, requests and at last the response.
    Stream(EventStream),
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A notification. Progress tokens are the caller's own again.
    Notification {
        /// The JSON-RPC notification.
        json: Bytes,
    },
    /// A legacy server's request to its client, with the server's own id. It is to be answered with [`Reply`].
    Request {
        /// The JSON-RPC request.
        json: Bytes,
    },
    /// A request of the server that nobody can pass on; it was answered with −32601 here. The caller should be told.
    Refused {
        /// The JSON-RPC request.
        json: Bytes,
    },
    /// The response; nothing comes after it. Its id is this room's own.
    Response {
        /// The JSON-RPC response.
        json: Bytes,
    },
}

/// What a listener hears when it may have missed something: that the list may be another one now.
pub(super) fn list_changed(method: &str) -> Bytes {
    super::wire::notification(method, None)
}

impl Listen {
    /// The list notifications that are wanted.
    pub(super) fn methods(&self) -> Vec<&'static str> {
        [
            (self.tools_list_changed, "notifications/tools/list_changed"),
            (self.prompts_list_changed, "notifications/prompts/list_changed"),
            (self.resources_list_changed, "notifications/resources/list_changed"),
        ]
        .into_iter()
        .filter_map(|(wanted, method)| wanted.then_some(method))
        .collect()
    }
}

type Inner = Pin<Box<dyn Stream<Item = Result<Event, UpstreamError>> + Send>>;

/// A stream of events. It ends after [`Event::Response`] or after an error. Dropping it before cancels at the upstream.
pub struct EventStream {
    inner: Inner,
    offered: bool,
    session: Option<UpstreamSessionRef>,
    held: Vec<Box<dyn Send>>,
}

impl EventStream {
    /// Wraps a stream.
    pub fn new(inner: impl Stream<Item = Result<Event, UpstreamError>> + Send + 'static) -> Self {
        Self { inner: Box::pin(inner), offered: true, session: None, held: Vec::new() }
    }

    /// A stream on which nothing ever comes: what `listen` gives for a server that offers none.
    #[must_use]
    pub fn silent() -> Self {
        let inner = Box::pin(futures_util::stream::pending());
        Self { inner, offered: false, session: None, held: Vec::new() }
    }

    /// Names the session that its requests belong to.
    #[must_use]
    pub fn with_session(mut self, session: Option<UpstreamSessionRef>) -> Self {
        self.session = session;
        self
    }

    /// Keeps something for as long as the stream lives.
    pub(super) fn holding(mut self, held: impl Send + 'static) -> Self {
        self.held.push(Box::new(held));
        self
    }

    /// Whether the server offers such a stream at all. One that is not offered stays silent for ever.
    #[must_use]
    pub const fn offered(&self) -> bool {
        self.offered
    }

    /// The session in which [`Event::Request`] of this stream is to be answered.
    #[must_use]
    pub const fn session(&self) -> Option<&UpstreamSessionRef> {
        self.session.as_ref()
    }
}

impl Stream for EventStream {
    type Item = Result<Event, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("offered", &self.offered)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
