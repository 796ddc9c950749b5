//! Modern callers (2026-07-28 and later): stateless, each request says everything in `_meta` and mirrors it in headers.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use portcullis_mcp::preflight::check_modern;
use portcullis_mcp::{Era, MODERN_OFFERED, Message, Method, Params, Revision, handshake, message, respond};
use serde_json::value::RawValue;

use super::Gateway;
use super::admit::Entered;
use super::answer::{self, HttpAnswer};
use super::post::{LIST_TTL_MS, direct, unknown_method};
use crate::lists::Offer;
use crate::pipeline::{Admitted, Carried, Client, Request, Trace, empty_object, is_log_level};

impl Gateway {
    /// Answers one message of a modern caller.
    pub(super) async fn modern(&self, entered: &Entered, bytes: &Bytes, message: Message<'_>) -> HttpAnswer {
        match message {
            Message::Request { id, method, params } => {
                self.modern_request(entered, bytes.len(), id, &method, &params).await
            }
            // Cancellation is the end of the stream; nothing else is told this way, and what is told is not answered.
            Message::Notification { .. } => answer::empty(StatusCode::ACCEPTED),
            Message::Response { .. } => {
                let refused = entered.refused(&http::Method::POST).sized(bytes.len()).in_era(Era::Modern);
                let answer = respond::bad_request(None, "This revision has no responses of clients");
                self.malformed(&refused, answer::of(answer))
            }
        }
    }

    async fn modern_request(
        &self,
        entered: &Entered,
        bytes: usize,
        id: &RawValue,
        name: &str,
        params: &Params<'_>,
    ) -> HttpAnswer {
        let refused = || entered.refused(&http::Method::POST).named(name).sized(bytes).in_era(Era::Modern);
        let revision = match check_modern(&entered.headers, id, name, params) {
            Ok(revision) => revision,
            Err(answer) => return self.malformed(&refused(), answer::of(*answer)),
        };
        let admitted = entered.admitted(bytes, Era::Modern, params.meta.client_info);
        let known =
            Method::parse(name).filter(|method| method.known_in(Era::Modern) && !method.is_notification());
        let Some(method) =
            known.filter(|method| always_there(*method) || Offer::of(&admitted.view).allows(*method))
        else {
            return self.malformed(&refused(), unknown_method(Era::Modern, id, name));
        };
        if params.meta.log_level.as_deref().is_some_and(|level| !is_log_level(level)) {
            let answer = respond::invalid_params(Some(id), "Unknown log level", true);
            return self.malformed(&refused(), answer::of(answer));
        }
        let client = Arc::new(client_of(&admitted, revision, params));
        let request = Request::new(method, id, params);
        match method {
            Method::ServerDiscover => discover(&admitted, id),
            Method::ToolsList | Method::PromptsList => self.definitions(&admitted, &client, &request),
            Method::ResourcesList | Method::ResourcesTemplatesList => {
                answer::of(Box::pin(self.pipeline().list(admitted, client, request)).await)
            }
            Method::SubscriptionsListen => Box::pin(self.listen(admitted, client, request)).await,
            _ => {
                let carried = Carried { headers: Some(&entered.headers), cancel: None };
                direct(self.pipeline().call(admitted, client, request, carried).await)
            }
        }
    }
}

/// Methods that every endpoint has, so that what it offers need not be put together for them.
const fn always_there(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsCall | Method::ToolsList | Method::ServerDiscover | Method::SubscriptionsListen
    )
}

fn client_of(admitted: &Admitted, revision: Revision, params: &Params<'_>) -> Client {
    let meta = &params.meta;
    let trace = match &admitted.trace {
        Trace { parent: None, .. } => Trace::new(meta.traceparent.as_deref(), meta.tracestate.as_deref()),
        trace => trace.clone(),
    };
    let traced_alike = trace.parent.as_deref() == meta.traceparent.as_deref()
        && trace.state.as_deref() == meta.tracestate.as_deref();
    Client {
        era: Era::Modern,
        version: revision.as_str().to_owned(),
        session: None,
        info: meta.client_info.map(ToOwned::to_owned),
        capabilities: meta.client_capabilities.map_or_else(empty_object, ToOwned::to_owned),
        log_level: meta.log_level.as_deref().map(str::to_owned),
        trace,
        says_so: traced_alike && meta.subscription_id.is_none() && !meta.has_null,
    }
}

fn discover(admitted: &Admitted, id: &RawValue) -> HttpAnswer {
    let offer = Offer::of(&admitted.view);
    let result = handshake::discover_result(
        MODERN_OFFERED,
        &offer.capabilities(),
        &offer.server_info,
        offer.instructions.as_deref(),
        LIST_TTL_MS,
    );
    answer::json(StatusCode::OK, super::Body::whole(message::result(id, &result).into()))
}
