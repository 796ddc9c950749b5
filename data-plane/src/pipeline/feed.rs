//! What upstreams send outside requests, brought together for one open stream of one caller.
//!
//! One task for each server that is listened to; all of them end when the feed is dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use portcullis_mcp::{Era, object};
use portcullis_policy::resource::Name;
use portcullis_policy::{Endpoint, Server};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Pipeline;
use super::context::{Admitted, Client};
use super::downward::{Downward, Scope, ServerRequestOutcome};
use crate::upstream::{Event, EventStream, Listen};

/// Servers that one stream listens to; the first by name. Beyond it nothing is heard of the others.
const MAX_SERVERS: usize = 32;
/// Messages that wait for a slow reader before its servers have to wait too.
const WAITING: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_mins(1);

/// What a stream wants to hear of upstreams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `notifications/tools/list_changed` as the one server of this endpoint says it. What is offered is what was approved,
    /// and the snapshot tells when that changes; the server's own word is passed on beside it, as a hint to look.
    pub(crate) tools_list_changed: bool,
    /// `notifications/prompts/list_changed`, likewise.
    pub(crate) prompts_list_changed: bool,
    /// `notifications/resources/list_changed`.
    pub(crate) resources_list_changed: bool,
    /// URIs whose changes are wanted, each with its server.
    pub(crate) subscriptions: Vec<(Name, String)>,
    /// All that the one server of this endpoint says, requests to its client among it: what a legacy stream is for.
    pub(crate) everything: bool,
}

/// Messages of upstreams, ready for the caller.
#[derive(Debug)]
pub(crate) struct Feed {
    messages: mpsc::Receiver<Bytes>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Feed {
    /// The next message. Waits for ever when nothing is listened to. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Bytes {
        match self.messages.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

impl Pipeline {
    /// Begins to listen.
    pub(crate) fn feed(&self, admitted: &Arc<Admitted>, client: &Arc<Client>, wanted: &Wanted) -> Feed {
        let (sender, messages) = mpsc::channel(WAITING);
        let tasks = admitted
            .view
            .servers()
            .iter()
            .filter_map(|server| Some((server, part_of(admitted, server, wanted)?)))
            .take(MAX_SERVERS)
            .map(|(server, part)| {
                let ear = Ear {
                    pipeline: self.clone(),
                    admitted: Arc::clone(admitted),
                    client: Arc::clone(client),
                    server: server.name().clone(),
                    part,
                    sender: sender.clone(),
                };
                AbortOnDropHandle::new(tokio::spawn(ear.hear()))
            })
            .collect();
        Feed { messages, _tasks: tasks }
    }
}

/// What is wanted of one server.
#[derive(Debug)]
struct PartWanted {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    subscriptions: Vec<String>,
}

fn part_of(admitted: &Admitted, server: &Server, wanted: &Wanted) -> Option<PartWanted> {
    let name = server.name();
    let granted = !admitted.view.resource_patterns(name.as_str()).is_empty();
    let subscriptions: Vec<String> =
        wanted.subscriptions.iter().filter(|(of, _)| of == name).map(|(_, uri)| uri.clone()).collect();
    let alone = matches!(admitted.view.endpoint(), Endpoint::Server(_));
    let part = PartWanted {
        tools_list_changed: alone && wanted.tools_list_changed && tells_of_changes(server, "tools"),
        prompts_list_changed: alone && wanted.prompts_list_changed && tells_of_changes(server, "prompts"),
        resources_list_changed: granted
            && wanted.resources_list_changed
            && tells_of_changes(server, "resources"),
        subscriptions,
    };
    (alone && wanted.everything
        || part.tools_list_changed
        || part.prompts_list_changed
        || part.resources_list_changed
        || !part.subscriptions.is_empty())
    .then_some(part)
}

fn tells_of_changes(server: &Server, of: &str) -> bool {
    let seen = server.entry.observed.as_ref();
    let offered = seen.and_then(|seen| object::member(&seen.capabilities, of));
    offered.and_then(|found| object::member(found, "listChanged")).is_some_and(|value| value.get() == "true")
}

/// Listens to one server.
struct Ear {
    pipeline: Pipeline,
    admitted: Arc<Admitted>,
    client: Arc<Client>,
    server: Name,
    part: PartWanted,
    sender: mpsc::Sender<Bytes>,
}

impl Ear {
    /// Until the server may no longer be spoken to, offers no stream, or nobody listens.
    async fn hear(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(stream) = self.open().await else { return };
            match stream {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    if !stream.offered() || self.pass_on(stream).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(server = %self.server, %error, "a server cannot be listened to")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.sender.closed() => return,
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// `None` when it is no longer permitted.
    async fn open(&self) -> Option<Result<EventStream, crate::upstream::UpstreamError>> {
        let snapshot = self.pipeline.live().load()?;
        let (principal, view) = (&self.admitted.principal, &self.admitted.view);
        let circumstances = self.admitted.circumstances(self.pipeline.clock().unix_ms(), None);
        let permit = snapshot.decide_server(principal, view, self.server.as_str(), &circumstances).ok()?;
        let listen = Listen {
            caller: self.client.caller(&self.admitted),
            tools_list_changed: self.part.tools_list_changed,
            prompts_list_changed: self.part.prompts_list_changed,
            resources_list_changed: self.part.resources_list_changed,
            resource_subscriptions: self.part.subscriptions.clone(),
        };
        Some(self.pipeline.upstreams().listen(permit.with(listen)).await)
    }

    /// `Err` when nobody listens any more.
    async fn pass_on(&self, mut stream: EventStream) -> Result<(), mpsc::error::SendError<Bytes>> {
        let session = stream.session().cloned();
        let mut downward = Downward {
            pipeline: self.pipeline.clone(),
            admitted: Arc::clone(&self.admitted),
            client: Arc::clone(&self.client),
            server: self.server.clone(),
            from: self.era_of(&stream),
            session,
            scope: Scope::Stream,
            asked: Vec::new(),
        };
        while let Some(event) = stream.next().await {
            let message = match event {
                Ok(Event::Notification { json }) => downward.notification(&json),
                Ok(Event::Request { json }) => match downward.request(&json).await {
                    ServerRequestOutcome::Ask(bytes) => Some(bytes),
                    ServerRequestOutcome::Answered | ServerRequestOutcome::Unanswerable(_) => None,
                },
                Ok(Event::Refused { .. }) => None,
                Ok(Event::Response { .. }) | Err(_) => break,
            };
            if let Some(message) = message {
                self.sender.send(message).await?;
            }
        }
        Ok(())
    }

    /// A session is a legacy server's; without one the server is what it was last seen to be.
    fn era_of(&self, stream: &EventStream) -> Era {
        let snapshot = self.pipeline.live().load();
        let server = snapshot.as_ref().and_then(|snapshot| snapshot.server(self.server.as_str()));
        let seen = server.and_then(|server| server.entry.observed.as_ref());
        if stream.session().is_none() && seen.is_some_and(|seen| seen.modern) {
            Era::Modern
        } else {
            Era::Legacy
        }
    }
}
