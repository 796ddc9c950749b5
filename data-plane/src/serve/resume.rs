//! Calls of legacy clients: they outlive their connection, and what they stream can be read again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, StatusCode};
use portcullis_mcp::headers::{LAST_EVENT_ID, SESSION_ID};
use portcullis_mcp::{Era, respond};

use super::Gateway;
use super::admit::{Entered, accepts_events};
use super::answer::{self, HttpAnswer};
use super::inflight::Cancellable;
use super::legacy::{info_of, version_of};
use super::slot::{PATIENCE, Slot};
use super::streams::{Kind, Leave};
use crate::pipeline::{Admitted, Answered, Carried, Client, Frame, Relay, Request};
use crate::sync::Signal;

/// Event ids began to be primed with an empty event in this revision; older clients take it for a message.
const PRIMED_SINCE: &str = "2025-11-25";

impl Gateway {
    /// A call that goes on when its connection breaks.
    pub(super) async fn resumable_call(
        &self,
        admitted: Arc<Admitted>,
        client: Arc<Client>,
        request: Request,
    ) -> HttpAnswer {
        let cancellable = client.session.map(|session| self.0.in_flight.begin(session, request.id.get()));
        let carried = Carried { headers: None, cancel: cancellable.as_ref().map(|call| call.token.clone()) };
        let pipeline = self.pipeline().clone();
        let (of_call, of_client) = (Arc::clone(&admitted), Arc::clone(&client));
        let call = async move { pipeline.call(of_call, of_client, request, carried).await };
        let call = async move { (call.await, cancellable) };
        let (answered, cancellable) = Outliving::new(call).await;
        match answered {
            Answered::Reply(reply) => answer::of(reply),
            Answered::Cancelled => answer::cancelled(),
            Answered::Relay(relay) => self.resumable_stream(&admitted, &client, relay, cancellable),
        }
    }

    fn resumable_stream(
        &self,
        admitted: &Admitted,
        client: &Client,
        relay: Box<Relay>,
        cancellable: Option<Cancellable>,
    ) -> HttpAnswer {
        let leave = self.0.streams.open(admitted.principal.key_uid, Kind::Call);
        let kept = leave.and_then(|mut leave| {
            let (slot, _) = leave.keep(client.session)?;
            Some((leave, slot))
        });
        // At the bound a call is streamed all the same; it only cannot be resumed.
        let Some((leave, slot)) = kept else { return answer::relayed(relay) };
        prime(&slot, &client.version);
        let reader = slot.read(None);
        tokio::spawn(pump(relay, slot, leave, cancellable, self.metrics().clone()));
        answer::events(reader)
    }

    /// GET: the standing stream of a legacy client, or one that it resumes.
    pub(super) fn get(&self, entered: &Entered) -> HttpAnswer {
        let malformed = |answer| self.malformed(&entered.refused(&Method::GET), answer);
        if is_modern(entered) {
            return malformed(answer::method_not_allowed("POST"));
        }
        if !accepts_events(&entered.headers) {
            return malformed(answer::status(StatusCode::NOT_ACCEPTABLE));
        }
        let session = match self.session(entered) {
            Ok(session) => session,
            Err(status) => return malformed(answer::status(status)),
        };
        let version = match version_of(entered, session.as_ref()) {
            Ok(version) => version,
            Err(asked) => {
                return malformed(answer::of(respond::unsupported_version(Era::Legacy, None, asked)));
            }
        };
        let last = entered.headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
        if let Some((id, at)) = last.and_then(Slot::parse_event_id) {
            let principal = entered.caller.principal.key_uid;
            let found = self.0.streams.find(principal, session.as_ref().map(|session| session.id), id);
            if let Some(slot) = found {
                return answer::events(slot.read(Some(at)));
            }
            // What was lost cannot be had again. For a standing stream a new one is all that the client wants.
            if !Leave::is_standing(id) {
                let words = "This stream cannot be resumed here";
                return malformed(answer::of(respond::bad_request(None, words)));
            }
        }
        let admitted = entered.admitted(0, Era::Legacy, info_of(session.as_ref()));
        let client = Arc::new(self.client_of(&admitted, version, session.as_ref(), None));
        self.stand(admitted, client)
    }

    /// DELETE: the session ends, here at once and elsewhere as soon as siblings hear of it.
    pub(super) async fn delete(&self, entered: &Entered) -> HttpAnswer {
        let malformed = |answer| self.malformed(&entered.refused(&Method::DELETE), answer);
        if is_modern(entered) {
            return malformed(answer::method_not_allowed("POST"));
        }
        if !entered.headers.contains_key(SESSION_ID) {
            return malformed(answer::of(respond::bad_request(None, "DELETE needs Mcp-Session-Id")));
        }
        let session = match self.session(entered) {
            Ok(Some(session)) => session,
            Ok(None) => return malformed(answer::status(StatusCode::NOT_FOUND)),
            Err(status) => return malformed(answer::status(status)),
        };
        let forget_after_unix_ms = session.ends_unix_ms();
        self.0.tombstones.bury(session.id, forget_after_unix_ms);
        self.0.in_flight.end(&session.id);
        self.0.signals.send(Signal::SessionEnded { session: session.id, forget_after_unix_ms });
        let principal = entered.caller.principal.key_uid;
        self.pipeline().upstreams().end_session(principal, session.id).await;
        answer::empty(StatusCode::NO_CONTENT)
    }
}

/// Whether a GET or DELETE comes from a caller of an era that has neither.
fn is_modern(entered: &Entered) -> bool {
    let header = super::post::version_header(entered);
    portcullis_mcp::era_of_request(header, None) == Era::Modern
}

/// Tells the client how to come back, where its revision knows of it.
pub(super) fn prime(slot: &Slot, version: &str) {
    if version >= PRIMED_SINCE {
        slot.prime();
    }
}

/// Moves a call's messages into its stream, until its end or until nobody reads for too long.
async fn pump(
    mut relay: Box<Relay>,
    slot: Arc<Slot>,
    leave: Leave,
    cancellable: Option<Cancellable>,
    metrics: crate::pipeline::Metrics,
) {
    let writing = async {
        while let Some(frame) = relay.next().await {
            match frame {
                Frame::Message(message) => slot.write(&message, &metrics).await,
                // Each reader says for itself that its stream lives.
                Frame::Idle => {}
                Frame::Last(answer) => {
                    slot.write(&answer.body, &metrics).await;
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = slot.abandoned() => {}
    }
    // Ends the call, if it still runs, and records it.
    drop(relay);
    drop(cancellable);
    slot.finish();
    slot.drained().await;
    drop(leave);
}

/// A future that is not over when it is dropped: it goes on by itself for [`PATIENCE`]. Legacy callers' calls are such, and
/// only one whose connection breaks costs a task.
struct Outliving<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Outliving<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<T: Send + 'static> Future for Outliving<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = self.0.as_mut() else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Outliving<T> {
    fn drop(&mut self) {
        let Some(future) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(PATIENCE, future));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_outlives_its_connection_runs_to_its_end() {
        let (go, wait) = oneshot::channel::<()>();
        let (told, done) = oneshot::channel::<()>();
        let mut call = Outliving::new(async move {
            let _ = wait.await;
            let _ = told.send(());
        });
        assert!(futures_util::poll!(&mut call).is_pending());
        drop(call);
        go.send(()).unwrap();
        done.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn and_no_longer_than_the_contract_says() {
        let (told, done) = oneshot::channel::<()>();
        let call = Outliving::new(async move {
            std::future::pending::<()>().await;
            drop(told);
        });
        let begun = tokio::time::Instant::now();
        drop(call);
        assert!(done.await.is_err());
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
