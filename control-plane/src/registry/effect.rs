//! What a change would mean for those who call: the snapshot that would result against the one in force.

use std::sync::Arc;

use portcullis_policy::Snapshot;
use portcullis_policy::reach::{Bounds, Difference, compare};

use super::RegistryError;
use crate::clock::Clock;
use crate::publish::Rehearsed;

/// What a change would do, and the two snapshots that say so.
#[derive(Debug)]
pub struct Effect {
    /// Who would gain and lose what.
    pub difference: Difference,
    /// What is in force.
    pub before: Arc<Snapshot>,
    /// What would be.
    pub after: Arc<Snapshot>,
}

/// The answer of a rehearsal, with who would gain and lose what: compared on a thread that may take its time.
pub(super) async fn told<T>(
    rehearsed: Rehearsed<T>,
    clock: &Clock,
    full: bool,
) -> Result<(u64, T, Option<Effect>), RegistryError> {
    let Rehearsed { version, answer, before, after } = rehearsed;
    let Some(before) = before.map(|published| Arc::clone(&published.snapshot)) else {
        return Ok((version, answer, None));
    };
    // Where nothing else would be published, nothing differs.
    let after = after.map_or_else(|| Arc::clone(&before), |published| published.snapshot);
    let bounds = if full { Bounds::FULL } else { Bounds::SHORT };
    let now = clock.now_unix_ms();
    let compared = tokio::task::spawn_blocking(move || {
        let difference = compare(&before, &after, now, bounds);
        Effect { difference, before, after }
    });
    let effect = compared.await.map_err(|error| RegistryError::Internal(error.to_string()))?;
    Ok((version, answer, Some(effect)))
}
