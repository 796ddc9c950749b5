//! `subscriptions/listen`: the notification stream of modern callers (2026-07-28, subscriptions).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use portcullis_mcp::{Message, message, names, object, parse_upstream, respond, sse, translate};
use portcullis_policy::resource::Name;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::Gateway;
use super::answer::{self, HttpAnswer};
use super::standing::{Changed, Follow, list_changed};
use super::streams::{Kind, Leave};
use crate::lists::Offer;
use crate::pipeline::{Admitted, Client, Feed, IDLE, Refused, Request, Wanted};

/// URIs that one stream may be subscribed to.
const MAX_SUBSCRIPTIONS: usize = 256;
/// Events that wait for a slow reader.
const WAITING: usize = 16;

/// What a caller asks to be told, and what of it we do tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
}

impl Filter {
    /// What can be told, in the words of the acknowledgement.
    fn as_json(&self) -> String {
        let mut members = Vec::new();
        for (told, name) in [
            (self.tools_list_changed, "toolsListChanged"),
            (self.prompts_list_changed, "promptsListChanged"),
            (self.resources_list_changed, "resourcesListChanged"),
        ] {
            if told {
                members.push(format!("\"{name}\":true"));
            }
        }
        if !self.resource_subscriptions.is_empty() {
            let uris: Vec<String> =
                self.resource_subscriptions.iter().map(|uri| object::quoted(uri)).collect();
            members.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }

    const fn tells(&self, changed: Changed) -> bool {
        match changed {
            Changed::Tools => self.tools_list_changed,
            Changed::Prompts => self.prompts_list_changed,
            Changed::Resources => self.resources_list_changed,
        }
    }
}

impl Gateway {
    /// Opens a notification stream.
    pub(super) async fn listen(
        &self,
        admitted: Arc<Admitted>,
        client: Arc<Client>,
        request: Request,
    ) -> HttpAnswer {
        let invalid = |words: &str| {
            let refused = Refused::of(&admitted, client.era, request.method.as_str());
            self.malformed(&refused, answer::of(respond::invalid_params(Some(&request.id), words, false)))
        };
        let asked = request.params.as_deref().and_then(|params| object::member(params, "notifications"));
        let Some(asked) = asked else { return invalid("subscriptions/listen needs params.notifications") };
        let Ok(mut filter) = serde_json::from_str::<Filter>(asked.get()) else {
            return invalid("params.notifications is not a subscription filter");
        };
        if filter.resource_subscriptions.len() > MAX_SUBSCRIPTIONS {
            return invalid("too many resourceSubscriptions in one stream");
        }
        let Some(leave) = self.0.streams.open(admitted.principal.key_uid, Kind::Standing) else {
            return self.too_many_streams(&Refused::of(&admitted, client.era, request.method.as_str()));
        };
        let offer = Offer::of(&admitted.view);
        filter.prompts_list_changed &= offer.prompts();
        filter.resources_list_changed &= offer.resources_list_changed();
        let mut subscriptions = Vec::new();
        if offer.resources_subscribe() {
            for uri in &filter.resource_subscriptions {
                let server = self.pipeline().server_of(&admitted, &client, uri).await;
                subscriptions.extend(server.map(|server| (server, uri.clone())));
            }
        }
        filter.resource_subscriptions = subscriptions.iter().map(|(_, uri)| uri.clone()).collect();
        if let Err(refusal) = self.pipeline().record_opened(&admitted, &client, &request) {
            return answer::of(refusal);
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let listening = Listening { id: request.id, filter, subscriptions, client, sender, _leave: leave };
        tokio::spawn(listening.run(self.clone(), admitted));
        answer::events(stream::unfold(receiver, |mut receiver| async move {
            match tokio::time::timeout(IDLE, receiver.recv()).await {
                Ok(event) => Some((event?, receiver)),
                Err(_) => Some((Bytes::from_static(sse::KEEP_ALIVE), receiver)),
            }
        }))
    }
}

/// The caller closed the stream.
struct Gone;

struct Listening {
    id: Box<RawValue>,
    filter: Filter,
    subscriptions: Vec<(Name, String)>,
    client: Arc<Client>,
    sender: mpsc::Sender<Bytes>,
    _leave: Leave,
}

impl Listening {
    async fn run(self, gateway: Gateway, admitted: Arc<Admitted>) {
        let acknowledged = format!("{{\"notifications\":{}}}", self.filter.as_json());
        let acknowledged = RawValue::from_string(acknowledged).ok();
        let told = self.send("notifications/subscriptions/acknowledged", acknowledged.as_deref()).await;
        if told.is_err() {
            return;
        }
        tokio::select! {
            told = self.tell(&gateway, &admitted) => if told.is_err() { return },
            () = gateway.0.closing.cancelled() => {}
            () = self.sender.closed() => return,
        }
        // The graceful end: the response to the request that opened the stream.
        let result = format!(
            "{{\"resultType\":\"complete\",\"_meta\":{{\"{}\":{}}}}}",
            names::SUBSCRIPTION_ID,
            self.id.get()
        );
        let _ = self.sender.send(sse::encode(&message::result(&self.id, &result), None).into()).await;
    }

    /// Until the caller may no longer be here.
    async fn tell(&self, gateway: &Gateway, admitted: &Arc<Admitted>) -> Result<(), Gone> {
        let mut follow = Follow::new(gateway.pipeline(), admitted);
        let mut feed = self.feed(gateway, admitted);
        loop {
            let changes = tokio::select! {
                changes = follow.changed() => changes,
                message = feed.next() => {
                    self.pass_on(&message).await?;
                    continue;
                }
            };
            let Ok(changes) = changes else { return Ok(()) };
            for (changed, message) in list_changed(changes) {
                if self.filter.tells(changed) {
                    self.pass_on(&message).await?;
                }
            }
            if changes.resources {
                feed = self.feed(gateway, follow.admitted());
            }
        }
    }

    fn feed(&self, gateway: &Gateway, admitted: &Arc<Admitted>) -> Feed {
        let wanted = Wanted {
            tools_list_changed: self.filter.tools_list_changed,
            prompts_list_changed: self.filter.prompts_list_changed,
            resources_list_changed: self.filter.resources_list_changed,
            subscriptions: self.subscriptions.clone(),
            everything: false,
        };
        gateway.pipeline().feed(admitted, &self.client, &wanted)
    }

    async fn pass_on(&self, json: &[u8]) -> Result<(), Gone> {
        let Ok(Message::Notification { method, params }) = parse_upstream(json) else { return Ok(()) };
        let wanted = match &*method {
            "notifications/resources/updated" => {
                params.uri.as_deref().is_some_and(|uri| self.subscribed(uri))
            }
            "notifications/resources/list_changed" => self.filter.resources_list_changed,
            "notifications/tools/list_changed" => self.filter.tools_list_changed,
            "notifications/prompts/list_changed" => self.filter.prompts_list_changed,
            // A type that was not asked for must not come.
            _ => false,
        };
        if wanted { self.send(&method, params.raw).await } else { Ok(()) }
    }

    /// A server may tell of a part of what was subscribed to.
    fn subscribed(&self, uri: &str) -> bool {
        self.filter.resource_subscriptions.iter().any(|of| {
            uri.strip_prefix(of.as_str())
                .is_some_and(|rest| rest.is_empty() || of.ends_with('/') || rest.starts_with(['/', '?', '#']))
        })
    }

    async fn send(&self, method: &str, params: Option<&RawValue>) -> Result<(), Gone> {
        let Ok(params) = translate::with_subscription_id(params, &self.id) else { return Ok(()) };
        let message = message::notification(method, Some(params.get()));
        self.sender.send(sse::encode(&message, None).into()).await.map_err(|_| Gone)
    }
}
