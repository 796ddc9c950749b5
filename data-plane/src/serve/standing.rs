//! Streams that stay open: the GET stream of legacy clients. Decided again at each swap; tells what changed for its caller.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_mcp::{Era, respond};
use portcullis_policy::{Denial, Reason, View};
use portcullis_seal::Fingerprint;
use tokio::sync::{broadcast, watch};

use super::Gateway;
use super::answer::{self, HttpAnswer};
use super::resume::prime;
use super::slot::Slot;
use super::streams::{Kind, Leave};
use crate::lists::Offer;
use crate::pipeline::standing::{Claim, Standing};
use crate::pipeline::{Admitted, Client, Feed, Pipeline, Refused, Wanted};

/// What a caller sees, as far as it is told of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tags {
    tools: Fingerprint,
    prompts: Fingerprint,
    resources: Fingerprint,
}

impl Tags {
    fn of(view: &View) -> Self {
        Self { tools: view.tools_tag(), prompts: view.prompts_tag(), resources: view.resources_tag() }
    }
}

/// Which lists changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
}

/// Follows what one caller may see.
#[derive(Debug)]
pub(super) struct Follow {
    pipeline: Pipeline,
    admitted: Arc<Admitted>,
    tags: Tags,
    versions: watch::Receiver<portcullis_policy::SnapshotVersion>,
    standing: Standing,
}

impl Follow {
    pub(super) fn new(pipeline: &Pipeline, admitted: &Arc<Admitted>) -> Self {
        let mut versions = pipeline.live().subscribe();
        // A swap between the request's load and this moment must not be missed.
        versions.mark_changed();
        Self {
            pipeline: pipeline.clone(),
            admitted: Arc::clone(admitted),
            tags: Tags::of(&admitted.view),
            versions,
            standing: Standing::new(pipeline.live(), pipeline.clock(), admitted, Claim::Endpoint).at_once(),
        }
    }

    pub(super) const fn admitted(&self) -> &Arc<Admitted> {
        &self.admitted
    }

    /// Waits for the next change of what the caller sees. Safe to drop and call again.
    ///
    /// # Errors
    /// The denial, when the caller may no longer be here.
    pub(super) async fn changed(&mut self) -> Result<Changes, Denial> {
        loop {
            tokio::select! {
                biased;
                denial = self.standing.denied() => return Err(denial),
                swapped = self.versions.changed() => if swapped.is_err() {
                    std::future::pending::<()>().await;
                },
            }
            let Some(snapshot) = self.pipeline.live().load() else { continue };
            let now = self.pipeline.clock().unix_ms();
            let principal = snapshot.authenticate(&self.admitted.credential, now)?;
            let view = snapshot.endpoint(&principal, self.admitted.view.endpoint().as_ref())?;
            let view = snapshot.seen(&principal, &view, &self.admitted.circumstances(now, None));
            let (before, tags) = (self.tags, Tags::of(&view));
            let of = &self.admitted;
            self.admitted = Arc::new(Admitted {
                arrival: of.arrival,
                snapshot,
                principal,
                credential: of.credential,
                view,
                standpoint: of.standpoint.clone(),
                request_bytes: of.request_bytes,
                trace: of.trace.clone(),
            });
            self.tags = tags;
            if tags != before {
                return Ok(Changes {
                    tools: tags.tools != before.tools,
                    prompts: tags.prompts != before.prompts,
                    resources: tags.resources != before.resources,
                });
            }
        }
    }
}

impl Gateway {
    /// Opens the standing stream of a legacy client. It replaces the one that its session had.
    pub(super) fn stand(&self, admitted: Arc<Admitted>, client: Arc<Client>) -> HttpAnswer {
        let leave = self.0.streams.open(admitted.principal.key_uid, Kind::Standing);
        let kept = leave.and_then(|mut leave| {
            let (slot, before) = leave.keep(client.session)?;
            Some((leave, slot, before))
        });
        let Some((leave, slot, before)) = kept else {
            return self.too_many_streams(&Refused::of(&admitted, Era::Legacy, "GET"));
        };
        if let Some(before) = before {
            before.finish();
        }
        prime(&slot, &client.version);
        let reader = slot.read(None);
        tokio::spawn(self.clone().keep_standing(admitted, client, slot, leave));
        answer::events(reader)
    }

    /// The caller, or the plane, has as many streams as may be.
    pub(super) fn too_many_streams(&self, refused: &Refused<'_>) -> HttpAnswer {
        self.metrics().denied(Reason::Overloaded);
        self.pipeline().note_refused(refused, Reason::Overloaded);
        let asked =
            respond::Asked { era: refused.era, id: None, subject: respond::Subject::Other, request_id: "" };
        answer::of(respond::deny(Reason::Overloaded, &asked, &respond::Detail::default()))
    }

    async fn keep_standing(
        self,
        admitted: Arc<Admitted>,
        client: Arc<Client>,
        slot: Arc<Slot>,
        leave: Leave,
    ) {
        let ended =
            client.session.map(|session| self.0.in_flight.begin(session, &format!("stream {}", slot.id())));
        let over = async {
            let deleted = async {
                match &ended {
                    Some(ended) => ended.token.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = deleted => {}
                () = self.0.closing.cancelled() => {}
                () = slot.abandoned() => {}
                () = slot.finished() => {}
            }
        };
        tokio::select! {
            () = over => {}
            () = self.tell(&admitted, &client, &slot) => {}
        }
        slot.finish();
        slot.drained().await;
        drop(leave);
    }

    /// Writes what there is to tell, until the caller may no longer be here.
    async fn tell(&self, admitted: &Arc<Admitted>, client: &Arc<Client>, slot: &Slot) {
        let mut follow = pin!(Follow::new(self.pipeline(), admitted));
        let mut wished = self.0.wished.subscribe();
        let mut feed = self.feed_of(admitted, client);
        loop {
            let changes = tokio::select! {
                changes = follow.changed() => changes,
                message = feed.next() => {
                    slot.write(&message, self.metrics()).await;
                    continue;
                }
                () = wish_of(&mut wished, client.session) => {
                    feed = self.feed_of(follow.admitted(), client);
                    continue;
                }
            };
            let Ok(changes) = changes else { return };
            for (changed, message) in [
                (changes.tools, TOOLS_CHANGED),
                (changes.prompts, PROMPTS_CHANGED),
                (changes.resources, RESOURCES_CHANGED),
            ] {
                if changed {
                    slot.write(message.as_bytes(), self.metrics()).await;
                }
            }
            if changes.resources {
                feed = self.feed_of(follow.admitted(), client);
            }
        }
    }

    fn feed_of(&self, admitted: &Arc<Admitted>, client: &Arc<Client>) -> Feed {
        let wishes = client.session.and_then(|session| self.0.wishes.get(&session));
        let subscriptions = wishes.map(|wishes| {
            wishes.subscriptions.iter().map(|(uri, server)| (server.clone(), uri.clone())).collect()
        });
        let wanted = Wanted {
            tools_list_changed: true,
            prompts_list_changed: true,
            resources_list_changed: Offer::of(&admitted.view).resources_list_changed(),
            subscriptions: subscriptions.unwrap_or_default(),
            // Without a session there is nobody whom a server could mean.
            everything: client.session.is_some(),
        };
        self.pipeline().feed(admitted, client, &wanted)
    }
}

const TOOLS_CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
const PROMPTS_CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#;
const RESOURCES_CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#;

/// Waits until this session wished something else.
async fn wish_of(wished: &mut broadcast::Receiver<[u8; 16]>, session: Option<[u8; 16]>) {
    loop {
        match wished.recv().await {
            Ok(of) if Some(of) == session => return,
            Ok(_) => {}
            // It may have been among those that were missed.
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// One message of this kind, for a stream that carries subscription ids.
pub(super) fn list_changed(changes: Changes) -> Vec<(Changed, Bytes)> {
    [
        (changes.tools, Changed::Tools, TOOLS_CHANGED),
        (changes.prompts, Changed::Prompts, PROMPTS_CHANGED),
        (changes.resources, Changed::Resources, RESOURCES_CHANGED),
    ]
    .into_iter()
    .filter(|(changed, ..)| *changed)
    .map(|(_, kind, message)| (kind, Bytes::from_static(message.as_bytes())))
    .collect()
}

/// A list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Tools,
    Prompts,
    Resources,
}
