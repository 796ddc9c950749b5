//! Lists that upstreams give: resources and templates, asked live, filtered by what is granted.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use portcullis_mcp::respond::{self, Answer};
use portcullis_mcp::{
    Edit, Era, Message, Method, edit, edit_object, message, object, parse_upstream, translate,
};
use portcullis_policy::resource::{AuditMode, Name};
use portcullis_policy::{Denial, Endpoint, Reason, Server};
use portcullis_seal::sha256;
use serde_json::value::RawValue;

use super::call::outcome_of;
use super::context::{Admitted, Client, Request};
use super::course::{answer_of, ok};
use super::flight::Flight;
use super::limited::Limited;
use super::record::Recorder;
use super::{MAX_IN_FLIGHT, Pipeline};
use crate::lists::{self, Cursor, Kind, Part, open_cursor, page_of, seal_cursor};
use crate::upstream::{Call, Event, Exchange, ExchangeBody, UpstreamError};

/// Pages that are read of one server for one merged list.
const MAX_PAGES: usize = 100;
/// Items that are read of one server for one merged list.
const MAX_ITEMS: usize = 10_000;
/// Servers that are asked at once for one merged list.
const AT_ONCE: usize = 16;

/// What one server listed, from all its pages.
#[derive(Debug)]
pub(super) struct All {
    pub(super) items: Vec<Box<RawValue>>,
    /// How long the shortest-lived page may be kept, in milliseconds.
    ttl_ms: u64,
}

/// How a list request ended badly.
pub(super) enum Fault {
    Denied(Denial),
    Upstream(UpstreamError),
    /// The upstream's own error, translated.
    Theirs(String),
    Cursor,
}

impl From<Denial> for Fault {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<UpstreamError> for Fault {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

const fn kind_of(method: Method) -> Kind {
    match method {
        Method::ResourcesTemplatesList => Kind::Templates,
        _ => Kind::Resources,
    }
}

impl Pipeline {
    /// `resources/list` and `resources/templates/list`.
    pub async fn list(&self, admitted: Arc<Admitted>, client: Arc<Client>, request: Request) -> Answer {
        let Some(_flight) = Flight::begin(self.metrics(), MAX_IN_FLIGHT) else {
            return self.overloaded(&admitted, &client, &request);
        };
        let required = admitted.view.servers().iter().any(|server| server.zone_audit == AuditMode::Required);
        let audit = if required { AuditMode::Required } else { AuditMode::BestEffort };
        let begun = Recorder::begin(self.spool(), self.metrics(), audit, &admitted, &client, &request);
        let Ok(mut recorder) = begun else {
            self.metrics().denied(Reason::AuditUnavailable);
            return answer_of(&admitted, &client, &request, Reason::AuditUnavailable, None);
        };
        recorder.decided();
        recorder.dispatched();
        let result = match admitted.view.endpoint() {
            Endpoint::Server(name) => self.one_page(&admitted, &client, &request, name, &mut recorder).await,
            _ => self.merged(&admitted, &client, &request).await,
        };
        let (answer, reason, denial) = match result {
            Ok(result) => (ok(message::result(&request.id, &result)), None, None),
            Err(Fault::Denied(denial)) => (
                answer_of(&admitted, &client, &request, denial.reason, None),
                Some(denial.reason),
                Some(denial),
            ),
            Err(Fault::Upstream(error)) if let Some(limited) = limited_by(&admitted, &error) => {
                let answer = limited.answer(&admitted, &client, &request);
                (answer, Some(error.reason), Some(limited.denial))
            }
            Err(Fault::Upstream(error)) => {
                let answer = answer_of(&admitted, &client, &request, error.reason, Some(&error.message));
                (answer, Some(error.reason), None)
            }
            Err(Fault::Theirs(error)) => {
                (ok(message::raw_error(Some(&request.id), &error)), Some(Reason::UpstreamError), None)
            }
            Err(Fault::Cursor) => {
                let answer = respond::invalid_params(Some(&request.id), "Invalid cursor", false);
                (answer, Some(Reason::MalformedRequest), None)
            }
        };
        recorder.sent(answer.body.len());
        if let Some(reason) = reason {
            recorder.met(reason, server_of(&admitted).map(|server| &**server));
        }
        let settled = match denial {
            Some(denial) => recorder.deny(&denial),
            None => recorder.settle(outcome_of(reason), reason),
        };
        if settled.is_err() && required { respond::record_failed(&request.id) } else { answer }
    }

    /// One page of one server, with its own cursor sealed.
    async fn one_page(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        request: &Request,
        server: &Name,
        recorder: &mut Recorder,
    ) -> Result<String, Fault> {
        let method = request.method;
        let cursor = match self.cursor(admitted, request)? {
            None => None,
            Some(Cursor::Upstream { cursor }) => Some(object::quoted(&cursor)),
            Some(Cursor::Item { .. }) => return Err(Fault::Cursor),
        };
        let params = match (&request.params, &cursor) {
            (Some(params), Some(cursor)) => {
                let edited = edit::edit_raw(params, &[("cursor", Edit::Set(cursor))]);
                Some(edited.map_err(|_| Fault::Cursor)?)
            }
            (params, _) => params.clone(),
        };
        let (json, from) = self.ask(admitted, client, server, method, params, Some(recorder)).await?;
        let result = outcome(&json, method, from, client.era)?;
        let kind = kind_of(method);
        let items = items_of(kind, &result)?;
        let selected = lists::select(kind, &items, admitted.view.resource_patterns(server.as_str()));
        let array = format!("[{}]", selected.iter().map(|item| item.get()).collect::<Vec<_>>().join(","));
        let next = object::member(&result, "nextCursor").and_then(object::string);
        let next =
            next.map(|cursor| self.seal(admitted, method, Cursor::Upstream { cursor: cursor.into_owned() }));
        let next = next.transpose()?.map(|cursor| object::quoted(&cursor));
        let mut edits = vec![(kind.member(), Edit::Set(array.as_str()))];
        edits.extend(next.as_deref().map(|next| ("nextCursor", Edit::Set(next))));
        if client.era == Era::Modern {
            // What is filtered for one key is nobody else's.
            edits.push(("cacheScope", Edit::Set("\"private\"")));
        }
        edit_object(result.get(), &edits).map_err(|_| Fault::Upstream(unusable()))
    }

    /// All pages of all granted servers as one list. One that fails is missing and told; it breaks nobody else's.
    async fn merged(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        request: &Request,
    ) -> Result<String, Fault> {
        let cursor = self.cursor(admitted, request)?;
        let kind = kind_of(request.method);
        let servers: Vec<&Arc<Server>> = admitted
            .view
            .servers()
            .iter()
            .filter(|server| !admitted.view.resource_patterns(server.name().as_str()).is_empty())
            .filter(|server| may_have_resources(server))
            .collect();
        let names: Vec<&Name> = servers.iter().map(|server| server.name()).collect();
        // Futures made beforehand: a closure within the stream would make this future less general than Send wants.
        let asked: Vec<_> =
            names.iter().map(|name| self.all_of(admitted, client, name, request.method)).collect();
        let answers: Vec<Result<All, Fault>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let mut found = Vec::new();
        let mut missing = Vec::new();
        let mut last = None;
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(all) => found.push((name, all)),
                Err(fault) => {
                    self.metrics().list_parts_failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tracing::warn!(server = %name, method = request.method.as_str(), "a server is missing from a merged list");
                    missing.push(name.as_str());
                    last = Some(fault);
                }
            }
        }
        if let (true, Some(fault)) = (found.is_empty(), last) {
            return Err(fault);
        }
        let parts: Vec<Part<'_>> = found
            .iter()
            .map(|(name, all)| {
                let items: Vec<&RawValue> = all.items.iter().map(|item| &**item).collect();
                let patterns = admitted.view.resource_patterns(name.as_str());
                Part { server: name, items: lists::select(kind, &items, patterns) }
            })
            .collect();
        let (items, hidden) = lists::merge(kind, &parts);
        if !hidden.is_empty() {
            let count = hidden.len() as u64;
            self.metrics().resources_hidden.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            tracing::warn!(?hidden, "two granted servers offer these; they are hidden");
        }
        let ttl_ms = found.iter().map(|(_, all)| all.ttl_ms).min().unwrap_or(0);
        let page = page_of(&items, &tag_of(kind, &items), cursor).map_err(|_| Fault::Cursor)?;
        let next = page.next.map(|cursor| self.seal(admitted, request.method, cursor)).transpose()?;
        let array = std::str::from_utf8(&page.items).map_err(|_| Fault::Upstream(unusable()))?;
        Ok(compose(client.era, kind, array, next.as_deref(), ttl_ms, &missing))
    }

    /// All pages of one server.
    ///
    /// # Errors
    /// When it is not permitted, fails, or goes on beyond the bound.
    pub(super) async fn all_of(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        server: &Name,
        method: Method,
    ) -> Result<All, Fault> {
        let kind = kind_of(method);
        let mut all = All { items: Vec::new(), ttl_ms: u64::MAX };
        let mut params: Option<Box<RawValue>> = None;
        for _ in 0..MAX_PAGES {
            let (json, from) = self.ask(admitted, client, server, method, params.take(), None).await?;
            let result = match outcome(&json, method, from, client.era) {
                // A server without such a list has none: it is not missing from the merged one.
                Err(Fault::Theirs(error)) if is_unknown_method(&error) => return Ok(all),
                other => other?,
            };
            all.items.extend(items_of(kind, &result)?.into_iter().map(ToOwned::to_owned));
            let ttl = match from {
                Era::Modern => object::member(&result, "ttlMs").and_then(|ttl| ttl.get().parse().ok()),
                Era::Legacy => None,
            };
            all.ttl_ms = all.ttl_ms.min(ttl.unwrap_or(0));
            let next = object::member(&result, "nextCursor").and_then(object::string);
            let Some(next) = next else { return Ok(all) };
            if all.items.len() >= MAX_ITEMS {
                break;
            }
            let text = format!("{{\"cursor\":{}}}", object::quoted(&next));
            params = Some(RawValue::from_string(text).map_err(|_| Fault::Cursor)?);
        }
        Err(Fault::Upstream(UpstreamError {
            reason: Reason::ResponseTooLarge,
            cause: None,
            message: format!("The server {server} lists more than can be merged."),
            http_status: None,
            reached: true,
            untouched: false,
        }))
    }

    /// Asks one server and gives its response, with the era it is in.
    async fn ask(
        &self,
        admitted: &Admitted,
        client: &Client,
        server: &Name,
        method: Method,
        params: Option<Box<RawValue>>,
        recorder: Option<&mut Recorder>,
    ) -> Result<(bytes::Bytes, Era), Fault> {
        let now = self.clock().unix_ms();
        let (principal, view) = (&admitted.principal, &admitted.view);
        let circumstances = admitted.circumstances(now, None);
        let permit = admitted.snapshot.decide_server(principal, view, server.as_str(), &circumstances)?;
        let mut caller = client.caller(admitted);
        let own = recorder.as_ref().and_then(|recorder| recorder.traceparent());
        caller.traceparent = own.or(caller.traceparent);
        let call = Call { method: Cow::Borrowed(method.as_str()), params, told: false, caller };
        if let Some(recorder) = recorder {
            recorder.permitted(&permit);
            let exchange = self.upstreams().request(permit.with(call)).await?;
            recorder.upstream(exchange.http_status, Some(exchange.era.as_str()));
            return response_of(exchange).await;
        }
        response_of(self.upstreams().request(permit.with(call)).await?).await
    }

    /// Asks one server something whose result does not matter.
    pub(super) async fn told(
        &self,
        admitted: &Admitted,
        client: &Client,
        server: &Server,
        method: Method,
        params: Option<Box<RawValue>>,
    ) -> Result<(), Fault> {
        let (json, from) = self.ask(admitted, client, server.name(), method, params, None).await?;
        outcome(&json, method, from, client.era).map(drop)
    }

    fn cursor(&self, admitted: &Admitted, request: &Request) -> Result<Option<Cursor>, Fault> {
        let Some(text) = &request.cursor else { return Ok(None) };
        let secrets = self.secrets().load();
        let endpoint = admitted.view.endpoint().to_string();
        let principal = admitted.principal.key_uid;
        open_cursor(&secrets.sealer, principal, request.method.as_str(), &endpoint, text)
            .map(Some)
            .map_err(|_| Fault::Cursor)
    }

    fn seal(&self, admitted: &Admitted, method: Method, cursor: Cursor) -> Result<String, Fault> {
        let secrets = self.secrets().load();
        let endpoint = admitted.view.endpoint().to_string();
        let principal = admitted.principal.key_uid;
        seal_cursor(&secrets.sealer, principal, method.as_str(), &endpoint, cursor).map_err(|_| {
            Fault::Upstream(UpstreamError {
                reason: Reason::Internal,
                cause: None,
                message: "A cursor cannot be sealed now.".to_owned(),
                http_status: None,
                reached: true,
                untouched: false,
            })
        })
    }
}

/// The response of an exchange. What else a server says while it lists is nobody's.
async fn response_of(exchange: Exchange) -> Result<(bytes::Bytes, Era), Fault> {
    let mut events = match exchange.body {
        ExchangeBody::Json(json) => return Ok((json, exchange.era)),
        ExchangeBody::Stream(events) => events,
    };
    while let Some(event) = events.next().await {
        if let Event::Response { json } = event? {
            return Ok((json, exchange.era));
        }
    }
    Err(Fault::Upstream(unusable()))
}

/// The result of a response, in the words of the caller's era.
fn outcome(json: &[u8], method: Method, from: Era, to: Era) -> Result<Box<RawValue>, Fault> {
    match parse_upstream(json) {
        Ok(Message::Response { outcome: Ok(result), .. }) => {
            let text = translate::result(method.as_str(), result.get(), from, to);
            let text = text.map_err(|_| Fault::Upstream(unusable()))?;
            RawValue::from_string(text.into_owned()).map_err(|_| Fault::Upstream(unusable()))
        }
        Ok(Message::Response { outcome: Err(error), .. }) => {
            let text = translate::error(method.as_str(), error.get(), from, to);
            Err(text.map_or_else(|_| Fault::Upstream(unusable()), |text| Fault::Theirs(text.into_owned())))
        }
        _ => Err(Fault::Upstream(unusable())),
    }
}

fn items_of(kind: Kind, result: &RawValue) -> Result<Vec<&RawValue>, Fault> {
    let array = object::member(result, kind.member()).ok_or_else(|| Fault::Upstream(unusable()))?;
    serde_json::from_str(array.get()).map_err(|_| Fault::Upstream(unusable()))
}

/// Whether a server may list resources, as far as it was seen.
fn may_have_resources(server: &Server) -> bool {
    let seen = server.entry.observed.as_ref();
    seen.is_none_or(|seen| object::member(&seen.capabilities, "resources").is_some())
}

fn is_unknown_method(error: &str) -> bool {
    let error: Option<&RawValue> = serde_json::from_str(error).ok();
    error.and_then(|error| object::member(error, "code")).is_some_and(|code| code.get() == "-32601")
}

/// The limit of the one server of this endpoint, where that refused a page.
fn limited_by(admitted: &Admitted, error: &UpstreamError) -> Option<Limited> {
    Limited::by_upstream(admitted, server_of(admitted)?, error)
}

/// The one server of this endpoint; none at an aggregate.
fn server_of(admitted: &Admitted) -> Option<&Arc<Server>> {
    let Endpoint::Server(name) = admitted.view.endpoint() else { return None };
    admitted.snapshot.server(name.as_str())
}

fn unusable() -> UpstreamError {
    UpstreamError {
        reason: Reason::UpstreamError,
        cause: None,
        message: "The server's list is not valid MCP.".to_owned(),
        http_status: None,
        reached: true,
        untouched: false,
    }
}

/// Changes when the list does, so that a cursor into another list is refused.
fn tag_of(kind: Kind, items: &[&RawValue]) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(&object::member(item, kind.key()).and_then(object::string).unwrap_or_default());
        text.push('\0');
    }
    portcullis_seal::Fingerprint::from_bytes(sha256(text.as_bytes())).to_hex()
}

fn compose(era: Era, kind: Kind, array: &str, next: Option<&str>, ttl_ms: u64, missing: &[&str]) -> String {
    let mut text = format!("{{\"{}\":{array}", kind.member());
    if let Some(next) = next {
        text.push_str(",\"nextCursor\":");
        text.push_str(&object::quoted(next));
    }
    let mut meta = Vec::new();
    if !missing.is_empty() {
        // Server names are DNS labels: nothing to escape.
        meta.push(format!("\"portcullis/unavailable\":[\"{}\"]", missing.join("\",\"")));
    }
    if era == Era::Modern {
        let ttl_ms = if missing.is_empty() { ttl_ms } else { 0 };
        text.push_str(&format!(",\"resultType\":\"complete\",\"ttlMs\":{ttl_ms},\"cacheScope\":\"private\""));
        meta.push(format!("\"{}\":{}", portcullis_mcp::names::SERVER_INFO, lists::own_info()));
    }
    if !meta.is_empty() {
        text.push_str(&format!(",\"_meta\":{{{}}}", meta.join(",")));
    }
    text.push('}');
    text
}
