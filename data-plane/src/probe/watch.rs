//! One assigned server: looked at in turn, at once when it says that its lists changed or when somebody asks, and again
//! soon when it could not be reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use portcullis_mcp::{Message, parse_upstream};
use portcullis_policy::resource::{Name, Uid};
use portcullis_policy::snapshot::{ServerEntry, SnapshotVersion};
use tokio::sync::{Notify, Semaphore};

use super::look::{self, look};
use super::{Assigned, Report};
use crate::sync::Live;
use crate::upstream::{Backoff, Event, EventStream, Upstreams, spread};

/// Changes that come together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What a watch needs.
pub(super) struct Watch<R> {
    pub(super) uid: Uid,
    pub(super) upstreams: Upstreams,
    pub(super) live: Live,
    pub(super) assigned: Assigned,
    pub(super) report: R,
    /// Rung to look at once.
    pub(super) poke: Arc<Notify>,
    /// How many servers are looked at together.
    pub(super) looks: Arc<Semaphore>,
}

/// Why a wait ended.
enum Cause {
    Time,
    Change,
    Poke,
    StreamLost,
}

impl<R: Report> Watch<R> {
    /// Watches until it is let go of.
    pub(super) async fn run(self) {
        let mut stream: Option<EventStream> = None;
        let mut backoff = Backoff::new(FIRST_RETRY, self.interval());
        let mut lost = Backoff::new(FIRST_RETRY, self.interval());
        loop {
            let Some((entry, version)) = self.entry() else { return };
            // Listened to before the look, so that no change falls between them.
            if stream.is_none() {
                stream = self.listen(&entry, version).await;
            }
            let reached = self.look_once(&entry, version).await;
            let wait = if reached {
                backoff.reset();
                spread(self.interval())
            } else {
                stream = None;
                backoff.next().min(self.interval())
            };
            match self.wait(&mut stream, wait).await {
                Cause::Change => {
                    settle(&mut stream).await;
                    lost.reset();
                }
                Cause::StreamLost => {
                    stream = None;
                    tokio::time::sleep(lost.next()).await;
                }
                Cause::Time | Cause::Poke => {}
            }
        }
    }

    fn interval(&self) -> Duration {
        self.assigned.borrow().interval
    }

    fn entry(&self) -> Option<(Arc<ServerEntry>, SnapshotVersion)> {
        let snapshot = self.live.load()?;
        let server = snapshot.server_by_uid(&self.uid)?;
        Some((Arc::clone(&server.entry), snapshot.version()))
    }

    async fn listen(&self, entry: &ServerEntry, version: SnapshotVersion) -> Option<EventStream> {
        match self.upstreams.overhear(entry, version).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(server = %entry.name, %error, "changes of a server cannot be listened to yet");
                None
            }
        }
    }

    async fn look_once(&self, entry: &ServerEntry, version: SnapshotVersion) -> bool {
        // The semaphore is never closed.
        let _place = self.looks.acquire().await;
        let started = Instant::now();
        let seen = look(&self.upstreams, entry, version).await;
        log(&entry.name, &seen);
        self.report.report(look::report(self.uid, &seen, started));
        seen.is_ok()
    }

    async fn wait(&self, stream: &mut Option<EventStream>, wait: Duration) -> Cause {
        let timer = tokio::time::sleep(wait);
        tokio::pin!(timer);
        loop {
            let event = async {
                match stream.as_mut() {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut timer => return Cause::Time,
                () = self.poke.notified() => return Cause::Poke,
                event = event => match event {
                    Some(Ok(Event::Notification { json })) if tells_change(&json) => return Cause::Change,
                    Some(Ok(Event::Notification { .. } | Event::Request { .. } | Event::Refused { .. })) => {}
                    Some(Ok(Event::Response { .. }) | Err(_)) | None => return Cause::StreamLost,
                },
            }
        }
    }
}

/// Lets changes come together, and takes what is said of them meanwhile: the look that follows sees them all.
async fn settle(stream: &mut Option<EventStream>) {
    let timer = tokio::time::sleep(DEBOUNCE);
    tokio::pin!(timer);
    while let Some(open) = stream.as_mut() {
        tokio::select! {
            () = &mut timer => return,
            event = open.next() => if matches!(event, None | Some(Err(_) | Ok(Event::Response { .. }))) {
                *stream = None;
            },
        }
    }
    timer.await;
}

fn tells_change(json: &[u8]) -> bool {
    let Ok(Message::Notification { method, .. }) = parse_upstream(json) else { return false };
    matches!(&*method, "notifications/tools/list_changed" | "notifications/prompts/list_changed")
}

fn log(server: &Name, seen: &Result<look::Look, crate::upstream::UpstreamError>) {
    match seen {
        Ok(look) => {
            let (tools, prompts) = (look.tools.len(), look.prompts.len());
            tracing::debug!(%server, tools, prompts, "a server was looked at");
        }
        Err(error) => tracing::info!(%server, %error, "a server could not be looked at"),
    }
}
