//! Whether something that was permitted still is: asked again after each swap, and as time goes by.

use std::sync::Arc;
use std::time::Duration;

use portcullis_policy::snapshot::SnapshotVersion;
use portcullis_policy::{Circumstances, Denial, Snapshot};
use portcullis_seal::Fingerprint;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::context::{Admitted, Clock, Request};
use crate::sync::Live;

/// A call shorter than this is decided once. What outlives it is watched.
const GRACE: Duration = Duration::from_secs(1);

/// How often a key's expiry is looked at without a new snapshot.
const LOOK: Duration = Duration::from_secs(10);

/// What was permitted.
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    /// To be at the endpoint at all.
    Endpoint,
    /// A tool, by the name at the endpoint; where a person approved the call, the pin of what they saw.
    Tool(String, Arguments, Option<Box<Fingerprint>>),
    /// A prompt, likewise.
    Prompt(String, Arguments),
    /// A resource of a server.
    Resource(String, String),
}

/// The arguments of a request, without a copy of them: they may be large, and are seldom looked at again.
#[derive(Debug, Clone)]
pub(crate) struct Arguments(pub(super) Arc<Request>);

impl Arguments {
    /// `params.arguments`, as they came.
    pub(super) fn get(&self) -> Option<&RawValue> {
        self.0.arguments()
    }
}

/// Watches one permission.
#[derive(Debug)]
pub(crate) struct Standing {
    live: Live,
    clock: Clock,
    admitted: Arc<Admitted>,
    claim: Claim,
    next_look: Instant,
    versions: Option<watch::Receiver<SnapshotVersion>>,
}

impl Standing {
    /// For something that was permitted just now.
    pub(crate) fn new(live: &Live, clock: &Clock, admitted: &Arc<Admitted>, claim: Claim) -> Self {
        Self {
            live: live.clone(),
            clock: clock.clone(),
            admitted: Arc::clone(admitted),
            claim,
            next_look: Instant::now() + GRACE,
            versions: None,
        }
    }

    /// Watches from the first moment, as streams want it.
    pub(crate) fn at_once(mut self) -> Self {
        self.versions = Some(self.live.subscribe());
        self.next_look = Instant::now();
        self
    }

    /// Waits until it is denied. Safe to drop and call again.
    pub(crate) async fn denied(&mut self) -> Denial {
        loop {
            match &mut self.versions {
                None => {
                    sleep_until(self.next_look).await;
                    self.versions = Some(self.live.subscribe());
                }
                Some(versions) => {
                    tokio::select! {
                        changed = versions.changed() => if changed.is_err() {
                            // Nobody can swap any more: the plane ends, and its streams with it.
                            std::future::pending::<()>().await;
                        },
                        () = sleep_until(self.next_look) => {}
                    }
                }
            }
            self.next_look = Instant::now() + LOOK;
            let Some(snapshot) = self.live.load() else { continue };
            if let Err(denial) = judge(&snapshot, &self.admitted, &self.claim, self.clock.unix_ms()) {
                return denial;
            }
        }
    }
}

/// Decides a claim by another snapshot than the one that it was made under.
pub(crate) fn judge(
    snapshot: &Snapshot,
    admitted: &Admitted,
    claim: &Claim,
    now_unix_ms: u64,
) -> Result<(), Denial> {
    // The secret itself, not only its key: a secret that was rotated away ends its streams when its grace is over.
    let principal = snapshot.authenticate(&admitted.credential, now_unix_ms)?;
    let view = snapshot.endpoint(&principal, admitted.view.endpoint().as_ref())?;
    let (principal, view) = (&principal, &view);
    match claim {
        Claim::Endpoint => Ok(()),
        Claim::Tool(name, arguments, released) => {
            let released = released.as_deref();
            let circumstances =
                Circumstances { released, ..admitted.circumstances(now_unix_ms, arguments.get()) };
            snapshot.decide_tool(principal, view, name, &circumstances).map(drop)
        }
        Claim::Prompt(name, arguments) => {
            let circumstances = admitted.circumstances(now_unix_ms, arguments.get());
            snapshot.decide_prompt(principal, view, name, &circumstances).map(drop)
        }
        Claim::Resource(server, uri) => {
            let circumstances = admitted.circumstances(now_unix_ms, None);
            snapshot.decide_resource(principal, view, server, uri, &circumstances).map(drop)
        }
    }
}
