//! What children say by themselves, kept flowing over their restarts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;

use super::child::{Child, Next, Pending};
use super::listeners::{Ear, Owner};
use super::pool::Pool;
use super::{subscribe, unsubscribe};
use crate::upstream::UpstreamError;
use crate::upstream::backoff::Backoff;
use crate::upstream::call::{Event, Listen, list_changed};
use crate::upstream::era::Spoken;
use crate::upstream::http::filter;
use crate::upstream::wire;

/// Where the notifications come from.
enum Source {
    /// A subscription of a modern child.
    Subscription(Pending),
    /// Everything that legacy children say.
    Ear(Ear),
}

/// Somebody who listens.
pub(super) struct Listening {
    pool: Arc<Pool>,
    listen: Listen,
    for_caller: bool,
    child: Arc<Child>,
    source: Option<Source>,
    ready: VecDeque<Bytes>,
    backoff: Backoff,
}

impl Listening {
    pub(super) async fn open(
        pool: Arc<Pool>,
        listen: Listen,
        for_caller: bool,
    ) -> Result<Self, UpstreamError> {
        let child = pool.child(true).await?;
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        let mut listening =
            Self { pool, listen, for_caller, child, source: None, ready: VecDeque::new(), backoff };
        listening.attach().await?;
        Ok(listening)
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Event, UpstreamError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut listening = state?;
            match listening.next().await {
                Ok(event @ Event::Response { .. }) => Some((Ok(event), None)),
                Ok(event) => Some((Ok(event), Some(listening))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    fn owner(&self) -> Option<Owner> {
        self.for_caller.then_some((self.listen.caller.principal, self.listen.caller.client_session))
    }

    /// Listens to the child that runs now.
    async fn attach(&mut self) -> Result<(), UpstreamError> {
        let spoken = self.child.greeting().map_or(Spoken::Legacy, |greeting| greeting.spoken);
        match spoken {
            Spoken::Modern(revision) => {
                let filter = filter(&self.listen);
                let params = if self.for_caller {
                    wire::for_modern(filter.as_deref(), &self.listen.caller, revision)?
                } else {
                    wire::own_for_modern(filter.as_deref(), revision)?
                };
                let params = Some(std::borrow::Cow::Owned(params));
                let pending =
                    self.child.begin("subscriptions/listen", self.owner(), |_| Ok((params, None))).await?;
                self.source = Some(Source::Subscription(pending));
            }
            Spoken::Legacy if matches!(self.source, Some(Source::Ear(_))) => {}
            Spoken::Legacy => {
                let listeners = &self.pool.listeners;
                let unheard = |uri: &&String| !listeners.wants(uri);
                let new = self.listen.resource_subscriptions.iter().filter(unheard).cloned().collect();
                self.source = Some(Source::Ear(listeners.listen(self.owner(), &self.listen)));
                subscribe(&self.child, new).await;
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, UpstreamError> {
        loop {
            if let Some(json) = self.ready.pop_front() {
                return Ok(Event::Notification { json });
            }
            let gone = self.child.gone.clone();
            let heard = match &mut self.source {
                Some(Source::Subscription(pending)) => tokio::select! {
                    next = pending.next() => match next {
                        Ok(Next::Note(json)) => Some(Event::Notification { json }),
                        Ok(Next::Done(json)) => return Ok(Event::Response { json }),
                        Err(_) => None,
                    },
                    () = gone.cancelled() => None,
                },
                Some(Source::Ear(ear)) => tokio::select! {
                    Some(json) = ear.queue.recv() => Some(Event::Notification { json }),
                    () = gone.cancelled() => None,
                },
                None => None,
            };
            match heard {
                Some(event) => return Ok(event),
                None => self.again().await?,
            }
        }
    }

    /// The child ended: the next one is listened to, and its lists may be others.
    async fn again(&mut self) -> Result<(), UpstreamError> {
        if matches!(self.source, Some(Source::Subscription(_))) {
            self.source = None;
        }
        loop {
            let attached = match self.pool.child(true).await {
                Ok(child) => {
                    self.child = child;
                    self.attach().await
                }
                Err(error) => Err(error),
            };
            match attached {
                Ok(()) => {
                    self.backoff.reset();
                    self.ready.extend(self.listen.methods().into_iter().map(list_changed));
                    return Ok(());
                }
                Err(error) if self.pool.is_stopped() => return Err(error),
                Err(_) => tokio::time::sleep(self.backoff.next()).await,
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(Source::Ear(ear)) = self.source.take() else { return };
        let unheard = ear.close();
        let child = Arc::clone(&self.child);
        if unheard.is_empty() || child.gone.is_cancelled() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { unsubscribe(&child, unheard).await });
        }
    }
}
