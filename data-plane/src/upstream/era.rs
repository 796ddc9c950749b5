//! Which era a server speaks: found out by asking, once for all who wait, and kept until there is doubt.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use portcullis_mcp::{Era, MODERN_OFFERED, Message, Revision, object, parse_upstream};
use portcullis_policy::Reason;
use portcullis_policy::snapshot::ObservedProtocol;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::UpstreamError;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Statelessly, in this revision.
    Modern(Revision),
    /// With a handshake, which agrees on the revision.
    Legacy,
}

impl Spoken {
    /// The era.
    pub(crate) const fn era(self) -> Era {
        match self {
            Self::Modern(_) => Era::Modern,
            Self::Legacy => Era::Legacy,
        }
    }

    /// What the prober found, as a first assumption: it is put right by the first answer that does not fit.
    pub(crate) fn assumed(observed: &ObservedProtocol) -> Option<Self> {
        if !observed.modern {
            return Some(Self::Legacy);
        }
        let revision = Revision::parse(&observed.protocol_version)?;
        MODERN_OFFERED.contains(&revision).then_some(Self::Modern(revision))
    }
}

/// What an answer to `server/discover` says about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Discovery {
    /// It speaks so.
    Speaks(Spoken),
    /// It is modern, and no revision is common.
    NothingInCommon,
}

/// Reads the JSON-RPC response to `server/discover`: a result with `supportedVersions`, or one of the errors that only
/// modern servers give. Anything else comes from a legacy server (2026-07-28, versioning and transports pages).
pub(super) fn discovery(response: &[u8]) -> Discovery {
    let legacy = Discovery::Speaks(Spoken::Legacy);
    let Ok(Message::Response { outcome, .. }) = parse_upstream(response) else { return legacy };
    match outcome {
        Ok(result) => match object::member(result, "supportedVersions") {
            Some(versions) => choose(versions),
            None => legacy,
        },
        Err(error) => match modern_error(error) {
            Some(ModernError::UnsupportedVersion) => match supported(error) {
                Some(versions) => choose(versions),
                None => Discovery::NothingInCommon,
            },
            Some(ModernError::Other) => Discovery::Speaks(Spoken::Modern(newest())),
            None => legacy,
        },
    }
}

/// Errors that only a modern server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModernError {
    /// −32022.
    UnsupportedVersion,
    /// −32020 and −32021: it is modern, and something else was wrong.
    Other,
}

/// Which of these an `error` object is.
pub(super) fn modern_error(error: &RawValue) -> Option<ModernError> {
    match object::member(error, "code")?.get() {
        "-32022" => Some(ModernError::UnsupportedVersion),
        "-32020" | "-32021" => Some(ModernError::Other),
        _ => None,
    }
}

/// What a JSON-RPC response tells, if it is the error −32022.
pub(super) fn unsupported_version(response: &[u8]) -> Option<Discovery> {
    let Ok(Message::Response { outcome: Err(error), .. }) = parse_upstream(response) else { return None };
    (modern_error(error)? == ModernError::UnsupportedVersion)
        .then(|| supported(error).map_or(Discovery::NothingInCommon, choose))
}

fn supported(error: &RawValue) -> Option<&RawValue> {
    object::member(object::member(error, "data")?, "supported")
}

/// The newest modern revision that both know, else the handshake if the server knows a legacy one.
fn choose(versions: &RawValue) -> Discovery {
    let Ok(versions) = serde_json::from_str::<Vec<String>>(versions.get()) else {
        return Discovery::NothingInCommon;
    };
    let knows = |revision: &Revision| versions.iter().any(|version| version == revision.as_str());
    if let Some(revision) = MODERN_OFFERED.iter().copied().find(|revision| knows(revision)) {
        return Discovery::Speaks(Spoken::Modern(revision));
    }
    let legacy = Revision::ALL.iter().any(|revision| revision.era() == Era::Legacy && knows(revision));
    if legacy { Discovery::Speaks(Spoken::Legacy) } else { Discovery::NothingInCommon }
}

/// The revision that is asked with.
pub(super) fn newest() -> Revision {
    MODERN_OFFERED.first().copied().unwrap_or(Revision::V2026_07_28)
}

/// The server and this gateway have no revision in common.
pub(super) fn nothing_in_common() -> UpstreamError {
    UpstreamError::unsent(
        Reason::UpstreamError,
        "The server speaks no protocol revision that this gateway knows.",
    )
}

/// Whether a modern server takes a handshake as well: three states in one atomic.
const UNASKED: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

/// What is known of one server's era.
#[derive(Debug, Default)]
pub(super) struct EraCell {
    known: ArcSwapOption<Spoken>,
    legacy_too: AtomicU8,
    asking: Mutex<Option<(Instant, UpstreamError)>>,
}

impl EraCell {
    /// With a first assumption.
    pub(super) fn new(assumed: Option<Spoken>) -> Self {
        Self { known: ArcSwapOption::from(assumed.map(Arc::new)), ..Self::default() }
    }

    /// What is known.
    pub(super) fn known(&self) -> Option<Spoken> {
        self.known.load().as_deref().copied()
    }

    /// Keeps what was found.
    pub(super) fn learn(&self, spoken: Spoken) {
        if self.known() != Some(spoken) {
            self.known.store(Some(Arc::new(spoken)));
        }
    }

    /// Forgets, so that the next one asks again.
    pub(super) fn doubt(&self) {
        self.known.store(None);
        self.legacy_too.store(UNASKED, Ordering::Relaxed);
    }

    /// Whether a modern server takes a handshake as well; none where nobody asked yet.
    pub(super) fn legacy_too(&self) -> Option<bool> {
        match self.legacy_too.load(Ordering::Relaxed) {
            YES => Some(true),
            NO => Some(false),
            _ => None,
        }
    }

    /// Keeps whether a modern server takes a handshake as well.
    pub(super) fn learn_legacy_too(&self, takes: bool) {
        self.legacy_too.store(if takes { YES } else { NO }, Ordering::Relaxed);
    }

    /// What is known, or what `ask` finds out. One asks for all who wait; they share its failure too.
    pub(super) async fn get<F>(&self, ask: impl FnOnce() -> F) -> Result<Spoken, UpstreamError>
    where
        F: Future<Output = Result<Spoken, UpstreamError>>,
    {
        if let Some(spoken) = self.known() {
            return Ok(spoken);
        }
        let arrived = Instant::now();
        let mut failure = self.asking.lock().await;
        if let Some(spoken) = self.known() {
            return Ok(spoken);
        }
        if let Some((at, error)) = &*failure
            && *at >= arrived
        {
            return Err(error.clone());
        }
        match ask().await {
            Ok(spoken) => {
                *failure = None;
                self.learn(spoken);
                Ok(spoken)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
