//! What the prober may ask: what a server is and what it lists, and nothing else. This is the only way out of a data plane
//! without a permit, so its methods are fixed here.

use std::sync::Arc;

use portcullis_mcp::{Era, Message, Revision, object, parse_upstream};
use portcullis_policy::Reason;
use portcullis_policy::snapshot::{ServerEntry, SnapshotVersion};
use serde_json::value::RawValue;

use super::call::{Caller, EventStream, Listen};
use super::era::Spoken;
use super::http::{HttpLink, HttpVisit, Introduction};
use super::limits::timed_out;
use super::link::Way;
use super::stdio::StdioVisit;
use super::{UpstreamError, Upstreams, wire};

/// A list that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
}

impl List {
    const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
        }
    }

    /// The member of the result that holds it, and the capability that announces it.
    pub(crate) const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) era: Era,
    pub(crate) revision: Revision,
    pub(crate) server_info: Option<Box<RawValue>>,
    pub(crate) instructions: Option<String>,
    pub(crate) capabilities: Box<RawValue>,
    /// Whether it said all this. A modern server that answers `server/discover` with an error only shows its era.
    pub(crate) introduced: bool,
}

/// One visit to a server: everything in it is asked over one session.
pub(crate) struct Visit {
    way: VisitWay,
    offer: Offer,
    limits: portcullis_policy::resource::Limits,
}

enum VisitWay {
    Http(Arc<HttpLink>, HttpVisit),
    Stdio(Arc<super::link::Link>, StdioVisit),
}

/// Bytes that one page of a list may have, whatever the limit for calls is.
const MAX_PAGE: u64 = 8 << 20;

impl Upstreams {
    /// Asks a server anew what it is.
    pub(crate) async fn visit(
        &self,
        entry: &ServerEntry,
        version: SnapshotVersion,
    ) -> Result<Visit, UpstreamError> {
        let (_, link) = self.inner.registry.find(entry, version)?;
        let limits = entry.limits.clone();
        let asked = tokio::time::timeout(limits.timeout.0, async {
            match link.way()? {
                Way::Http(http) => {
                    let visit = http.visit().await?;
                    let offer = match &visit {
                        HttpVisit::Modern(revision, response) => discovered(*revision, response),
                        HttpVisit::Legacy(session) => introduced(&session.introduction),
                    };
                    Ok((VisitWay::Http(Arc::clone(http), visit), offer))
                }
                Way::Stdio(stdio) => {
                    let visit = stdio.visit().await?;
                    let offer =
                        match (visit.spoken, visit.greeting().and_then(|greeting| greeting.introduction())) {
                            (Spoken::Modern(revision), _) => discovered(revision, &visit.discovery),
                            (Spoken::Legacy, Some(introduction)) => introduced(introduction),
                            (Spoken::Legacy, None) => discovered(Revision::V2025_11_25, b""),
                        };
                    Ok((VisitWay::Stdio(Arc::clone(&link), visit), offer))
                }
                Way::Unusable(error) => Err(error.clone()),
            }
        });
        let (way, offer) = asked.await.map_err(|_| timed_out(limits.timeout.0, true))??;
        Ok(Visit { way, offer, limits })
    }

    /// Whether asking would start a process that does not run yet.
    pub(crate) fn would_start(&self, entry: &ServerEntry, version: SnapshotVersion) -> bool {
        let Ok((_, link)) = self.inner.registry.find(entry, version) else { return false };
        matches!(link.way(), Ok(Way::Stdio(stdio)) if !stdio.is_running())
    }

    /// Listens to the changes of a server's lists.
    pub(crate) async fn overhear(
        &self,
        entry: &ServerEntry,
        version: SnapshotVersion,
    ) -> Result<EventStream, UpstreamError> {
        let (_, link) = self.inner.registry.find(entry, version)?;
        let timeout = entry.limits.timeout.0;
        let listen = Listen {
            caller: prober(),
            tools_list_changed: true,
            prompts_list_changed: true,
            resources_list_changed: false,
            resource_subscriptions: Vec::new(),
        };
        let opened = tokio::time::timeout(timeout, async {
            match link.way()? {
                Way::Http(http) => http.hear_for_prober(&listen).await,
                Way::Stdio(stdio) => stdio.hear(listen, false).await,
                Way::Unusable(error) => Err(error.clone()),
            }
        });
        opened.await.map_err(|_| timed_out(timeout, false))?
    }
}

impl Visit {
    /// What the server says of itself.
    pub(crate) const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// One page of a list: the `result` of the response; `None` if the server does not know the method.
    pub(crate) async fn page(
        &self,
        list: List,
        cursor: Option<&str>,
    ) -> Result<Option<Box<RawValue>>, UpstreamError> {
        let params =
            cursor.and_then(|cursor| wire::raw(format!(r#"{{"cursor":{}}}"#, object::quoted(cursor))));
        let method = list.method();
        let max_bytes = self.limits.max_response_bytes.0.max(MAX_PAGE);
        let asked = async {
            match &self.way {
                VisitWay::Http(link, visit) => {
                    link.inquire(visit, method, params.as_deref(), max_bytes).await
                }
                VisitWay::Stdio(link, visit) => match link.way()? {
                    Way::Stdio(stdio) => stdio.inquire(visit, method, params.as_deref()).await,
                    Way::Http(_) | Way::Unusable(_) => Err(failed("The server is reached otherwise now.")),
                },
            }
        };
        let timeout = self.limits.timeout.0;
        let response = tokio::time::timeout(timeout, asked).await.map_err(|_| timed_out(timeout, true))??;
        match parse_upstream(&response) {
            Ok(Message::Response { outcome: Ok(result), .. }) => Ok(Some(result.to_owned())),
            Ok(Message::Response { outcome: Err(error), .. })
                if object::member(error, "code").is_some_and(|code| code.get() == "-32601") =>
            {
                Ok(None)
            }
            Ok(Message::Response { outcome: Err(_), .. }) => {
                Err(failed("The server answered a list with an error."))
            }
            _ => Err(failed("The server answered a list with something else.")),
        }
    }
}

fn failed(message: &str) -> UpstreamError {
    UpstreamError::sent(Reason::UpstreamError, message)
}

fn introduced(introduction: &Introduction) -> Offer {
    Offer {
        era: Era::Legacy,
        revision: introduction.revision,
        server_info: introduction.server_info.clone(),
        instructions: introduction.instructions.clone(),
        capabilities: introduction.capabilities.clone(),
        introduced: true,
    }
}

/// The result of `server/discover`; a modern server that answered with an error told only that it is modern.
fn discovered(revision: Revision, response: &[u8]) -> Offer {
    let result = match parse_upstream(response) {
        Ok(Message::Response { outcome: Ok(result), .. }) => Some(result),
        _ => None,
    };
    let member = |name| result.and_then(|result| object::member(result, name));
    let info = member("_meta").and_then(|meta| object::member(meta, "io.modelcontextprotocol/serverInfo"));
    Offer {
        era: revision.era(),
        revision,
        server_info: info.map(ToOwned::to_owned),
        instructions: wire::text_member(result, "instructions").map(Into::into),
        capabilities: member("capabilities").map_or_else(empty, ToOwned::to_owned),
        introduced: result.is_some(),
    }
}

fn empty() -> Box<RawValue> {
    wire::raw("{}".to_owned()).unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn prober() -> Caller {
    Caller {
        principal: portcullis_policy::resource::Uid(uuid::Uuid::nil()),
        client_session: None,
        era: Era::Modern,
        protocol_version: Revision::V2026_07_28.as_str().to_owned(),
        client_info: None,
        capabilities: empty(),
        log_level: None,
        traceparent: None,
        tracestate: None,
    }
}
