//! What a caller sends beside requests for something: notifications, answers to a server's requests, its log level.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use portcullis_mcp::respond::{self, Answer};
use portcullis_mcp::{Edit, Method, edit_object, message, object};
use portcullis_policy::{Denial, Endpoint, Reason, Server};
use serde_json::value::RawValue;

use super::Pipeline;
use super::context::{Admitted, Client, Request};
use super::course::{answer_of, ok};
use super::lists::Fault;
use super::tokens;
use crate::upstream::{Call, Reply};

/// Servers that are told something at once.
const AT_ONCE: usize = 16;

/// A client's answer to a server's request cannot be delivered.
#[derive(Debug)]
pub enum Undeliverable {
    /// The id is none that was given to this caller, or is too old.
    Unknown,
    /// The server may no longer be spoken to.
    Denied(Denial),
    /// The server did not take it.
    Upstream(crate::upstream::UpstreamError),
}

impl Pipeline {
    /// Passes a client's notification to every server of its endpoint that has a session with it.
    pub async fn notify(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        method: Method,
        params: Option<&RawValue>,
    ) {
        let told: Vec<_> = admitted
            .view
            .servers()
            .iter()
            .map(|server| self.notify_one(admitted, client, server, method, params))
            .collect();
        stream::iter(told).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn notify_one(
        &self,
        admitted: &Admitted,
        client: &Client,
        server: &Server,
        method: Method,
        params: Option<&RawValue>,
    ) {
        let (principal, view) = (&admitted.principal, &admitted.view);
        let circumstances = admitted.circumstances(self.clock().unix_ms(), None);
        let permit = admitted.snapshot.decide_server(principal, view, server.name().as_str(), &circumstances);
        let Ok(permit) = permit else { return };
        let note = Call {
            method: Cow::Borrowed(method.as_str()),
            params: params.map(ToOwned::to_owned),
            told: false,
            caller: client.caller(admitted),
        };
        if let Err(error) = self.upstreams().notify(permit.with(note)).await {
            tracing::debug!(server = %server.name(), %error, "a notification was not delivered");
        }
    }

    /// Passes a client's answer to the server that asked, whichever plane asked for it.
    ///
    /// # Errors
    /// See [`Undeliverable`].
    pub async fn reply(
        &self,
        admitted: &Admitted,
        client: &Client,
        id: Option<&RawValue>,
        body: &[u8],
    ) -> Result<(), Undeliverable> {
        let now = self.clock().unix_ms();
        let principal = &admitted.principal;
        let token = id.and_then(object::string).ok_or(Undeliverable::Unknown)?;
        let secrets = self.secrets().load();
        let asked =
            tokens::open_server_request(&secrets.sealer, principal.key_uid, client.session, &token, now);
        let asked = asked.ok_or(Undeliverable::Unknown)?;
        let server = admitted.snapshot.server_by_uid(&asked.session.server).ok_or(Undeliverable::Unknown)?;
        let permit = admitted
            .snapshot
            .decide_server(
                principal,
                &admitted.view,
                server.name().as_str(),
                &admitted.circumstances(now, None),
            )
            .map_err(Undeliverable::Denied)?;
        let text = std::str::from_utf8(body).map_err(|_| Undeliverable::Unknown)?;
        let message =
            edit_object(text, &[("id", Edit::Set(asked.id.get()))]).map_err(|_| Undeliverable::Unknown)?;
        let reply = Reply { session: asked.session, message: message.into() };
        self.upstreams().reply(permit.with(reply)).await.map_err(Undeliverable::Upstream)
    }

    /// `logging/setLevel`: told to every legacy server of the endpoint that logs. Modern ones are told with each request.
    pub async fn set_level(&self, admitted: Arc<Admitted>, client: Arc<Client>, request: Request) -> Answer {
        let alone = matches!(admitted.view.endpoint(), Endpoint::Server(_));
        let told: Vec<_> = admitted
            .view
            .servers()
            .iter()
            .filter(|server| takes_level(server))
            .map(|server| self.told(&admitted, &client, server, request.method, request.params.clone()))
            .collect();
        let told: Vec<Result<(), Fault>> = stream::iter(told).buffer_unordered(AT_ONCE).collect().await;
        match told.into_iter().find_map(Result::err).filter(|_| alone) {
            None => ok(message::result(&request.id, "{}")),
            Some(Fault::Theirs(error)) => ok(message::raw_error(Some(&request.id), &error)),
            Some(Fault::Upstream(error)) => {
                answer_of(&admitted, &client, &request, error.reason, Some(&error.message))
            }
            Some(Fault::Denied(denial)) => answer_of(&admitted, &client, &request, denial.reason, None),
            Some(Fault::Cursor) => respond::invalid_params(Some(&request.id), Reason::Internal.code(), false),
        }
    }
}

/// Whether a server wants to be told a log level by a request of its own.
fn takes_level(server: &Server) -> bool {
    server
        .entry
        .observed
        .as_ref()
        .is_some_and(|seen| !seen.modern && object::member(&seen.capabilities, "logging").is_some())
}
