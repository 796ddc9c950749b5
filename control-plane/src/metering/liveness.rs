//! Planes that are gone: what they hold is written off after a while, where everybody can see it. It is a word and no more: the units
//! were debited when they were granted, and are held again when the plane is heard of again.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_metering::Holder;
use portcullis_metering::accounts::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bank::{Bank, Closed};
use super::fleet::Fleet;

/// For how long a plane may be gone before what it holds is written off, and how often it is looked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// So long.
    pub(crate) grace: Duration,
    /// So often.
    pub(crate) look: Duration,
}

impl Patience {
    /// Looks often enough that a plane is written off at most a sixth of the grace late.
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, look: (grace / 6).clamp(Duration::from_millis(100), Duration::from_secs(10)) }
    }
}

/// Looks after planes that are gone, until the token is cancelled or the bank is closed.
pub(crate) async fn watch(bank: Bank, fleet: Fleet, patience: Patience, stop: CancellationToken) {
    let watching = async {
        let mut gone: BTreeMap<Holder, Instant> = BTreeMap::new();
        loop {
            look(&bank, &fleet, patience, &mut gone).await?;
            tokio::time::sleep(patience.look).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        closed = watching => {
            let closed: Result<(), Closed> = closed;
            if let Err(closed) = closed {
                tracing::debug!(%closed, "nobody looks after planes that are gone any more");
            }
        }
    }
}

/// Notes who holds something and is not in conversation, and writes off what was held so for too long.
async fn look(
    bank: &Bank,
    fleet: &Fleet,
    patience: Patience,
    gone: &mut BTreeMap<Holder, Instant>,
) -> Result<(), Closed> {
    let holders = bank.read(|books, _| books.accounts.holders()).await?;
    let now = Instant::now();
    gone.retain(|holder, _| holders.contains(holder) && !fleet.holds(*holder));
    for holder in holders.into_iter().filter(|holder| !fleet.holds(*holder)) {
        gone.entry(holder).or_insert(now);
    }
    let due: Vec<Holder> = gone
        .iter()
        .filter(|(_, since)| now.saturating_duration_since(**since) >= patience.grace)
        .map(|(holder, _)| *holder)
        .collect();
    for holder in due {
        let fleet = fleet.clone();
        // It may have come back while this waited for its turn.
        bank.run(
            move |round| {
                if fleet.holds(holder) { Ok(Ok(())) } else { round.command(&Command::WriteOff(holder)) }
            },
        )
        .await?
        .unwrap_or_else(|refusal| tracing::error!(%refusal, "what a plane held could not be written off"));
        gone.remove(&holder);
    }
    Ok(())
}
