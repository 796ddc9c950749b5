//! What is enforced, and how it gets here: the conversation with the control plane, verification, disk, swap.
//!
//! It alone puts a snapshot in force. It knows nothing of calls: the others read [`Live`] and [`SecretsHandle`].
//!
//! `control_plane` is the address, `conversation` one connection, `assemble` makes a whole of chunks, `enforce` checks,
//! compiles, keeps (`keeper`, `disk`) and swaps (`live`); `outbox` holds what is told the other way.

mod assemble;
mod backoff;
mod calls;
mod control_plane;
mod conversation;
mod disk;
mod enforce;
mod entries;
mod keeper;
mod live;
mod outbox;
mod probing;
mod records;
mod refusal;
mod secrets;
mod signals;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_background::Background;
use portcullis_policy::resource::{Name, PlaneLabels};
use portcullis_proto::config::v1 as proto;
use portcullis_seal::PlaneToken;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};

pub use calls::{CallDesk, Released, Unanswered, Verdict};
pub use control_plane::{BadControlPlane, ControlPlane};
pub use disk::kept_labels;
pub use live::Live;
pub use probing::{Findings, ProbeAssignment, Probing};
pub use records::{Finding as RecordFinding, Findings as RecordFindings, RecordSource};
pub use refusal::Refusal;
pub use secrets::{SecretValue, Secrets, SecretsHandle};
pub use signals::{Signal, Signals, Wish};
pub use status::{LastRefusal, PlaneFigures, SyncStatus};

pub(crate) use backoff::Backoff;
pub(crate) use control_plane::with_causes;

use conversation::Conversation;
use disk::Disk;
use enforce::Enforcer;
use keeper::Keeper;
use outbox::Outbox;
use probing::ProbingLink;

/// A conversation that stood so long was a good one: the next pause begins small again.
const GOOD: Duration = Duration::from_secs(10);

/// How a data plane is attached.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// Where the control plane is.
    pub control_plane: ControlPlane,
    /// What admits this plane, and the key of the snapshots that it takes.
    pub token: PlaneToken,
    /// The plane's name.
    pub name: Name,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Whether stdio servers may be started here.
    pub allow_stdio: bool,
    /// The base URL under which callers reach this plane.
    pub mcp_url: String,
    /// Where the snapshot and the secrets are kept.
    pub dir: PathBuf,
}

/// What the other rooms hold of the synchronisation.
#[derive(Debug)]
pub struct Synced {
    /// The snapshot in force.
    pub live: Live,
    /// The secrets in force.
    pub secrets: SecretsHandle,
    /// To and from siblings.
    pub signals: Signals,
    /// Asks for calls that a person has to approve.
    pub calls: CallDesk,
    /// For the prober.
    pub probing: Probing,
    /// How it goes.
    pub status: SyncStatus,
    /// Cancelled when the control plane asks this plane to end.
    pub drain: CancellationToken,
}

/// Keeps a data plane in step with its control plane.
#[derive(Debug)]
pub struct Synchroniser {
    config: SyncConfig,
    authorization: MetadataValue<Ascii>,
    live: Live,
    secrets: SecretsHandle,
    signals: Signals,
    calls: CallDesk,
    probing: ProbingLink,
    outbox: Outbox,
    status: SyncStatus,
    enforcer: Enforcer,
    keeper: Keeper,
    drain: CancellationToken,
    records: Option<RecordSource>,
}

impl Synchroniser {
    /// Tells the control plane recorded calls, when it asks for them, from this source.
    #[must_use]
    pub fn telling_records(self, source: RecordSource) -> Self {
        Self { records: Some(source), ..self }
    }

    /// Opens the state directory, and puts in force what is kept there: this plane serves from here on, whether or not a
    /// control plane answers. Reads and compiles; not for a thread that serves.
    ///
    /// # Errors
    /// When the directory cannot be used. Damaged files are no error: they are reported and left.
    pub fn open(config: SyncConfig) -> io::Result<(Self, Synced)> {
        let disk = Disk::open(&config.dir)?;
        let authorization = authorization(&config.token)?;
        let live = Live::new();
        let outbox = Outbox::default();
        let status = SyncStatus::new(outbox.clone());
        let keeper = Keeper::new(disk, status.clone());
        let labels = known_labels(&config, keeper.disk());
        let background = Background::start("policy")?;
        let enforcer =
            Enforcer::new(config.token.public_key, keeper.clone(), live.clone(), background, labels);
        enforcer.restore();
        let secrets = SecretsHandle::default();
        match keeper.disk().load_secrets() {
            Ok(Some(part)) => match Secrets::from_proto(part) {
                Ok(kept) => secrets.swap(kept),
                Err(error) => tracing::error!(%error, "the secrets on disk are not used"),
            },
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the secrets on disk are not used"),
        }
        let signals = Signals::new(outbox.clone());
        let calls = CallDesk::new(outbox.clone());
        let (link, probing) = ProbingLink::new(outbox.clone());
        let synced = Synced {
            live: live.clone(),
            secrets: secrets.clone(),
            signals: signals.clone(),
            calls: calls.clone(),
            probing,
            status,
            drain: CancellationToken::new(),
        };
        let synchroniser = Self {
            config,
            authorization,
            live,
            secrets,
            signals,
            calls,
            probing: link,
            outbox,
            status: synced.status.clone(),
            enforcer,
            keeper,
            drain: synced.drain.clone(),
            records: None,
        };
        Ok((synchroniser, synced))
    }

    /// Attaches, again and again, until the token is cancelled. `figures` is asked for what the plane tells of itself.
    pub async fn run(self, figures: impl Fn() -> PlaneFigures + Send + Sync, shutdown: CancellationToken) {
        let disk = self.keeper.disk().clone();
        if tokio::task::spawn_blocking(move || disk.sweep()).await.is_err() {
            tracing::error!("looking for what a crash left failed inside this plane");
        }
        tokio::join!(self.keeper.clone().run(shutdown.clone()), self.attach(figures, shutdown));
    }

    async fn attach(&self, figures: impl Fn() -> PlaneFigures + Send + Sync, shutdown: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut said = None;
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = Conversation::hold(self, &figures) => ended,
            };
            self.status.connected(false);
            if begun.elapsed() >= GOOD {
                backoff.reset();
                said = None;
            }
            let pause = backoff.next(random());
            let text = ended.to_string();
            // The same trouble, again and again, is said once.
            if said.as_ref() == Some(&text) {
                tracing::debug!(error = text, ?pause, "not attached to the control plane");
            } else {
                tracing::warn!(
                    error = text,
                    ?pause,
                    "not attached to the control plane; serving what is in force"
                );
                said = Some(text);
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Learns what this plane is to zones, and keeps it for a start without a control plane.
    async fn take_labels(&self, told: PlaneLabels) {
        let labels = with_own(&self.config, told);
        self.enforcer.relabel(labels.clone());
        let disk = self.keeper.disk().clone();
        let kept = tokio::task::spawn_blocking(move || match disk.load_labels() {
            Ok(Some(before)) if before == labels => Ok(()),
            _ => disk.keep_labels(&labels),
        });
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the labels of this plane are not on disk"),
            Err(_) => tracing::error!("keeping the labels failed inside this plane"),
        }
    }

    /// Puts a newer secret part, or another choice of the same one, in force and keeps it.
    async fn take_secrets(&self, part: proto::SecretPart) {
        let (in_force, same) = {
            let secrets = self.secrets.load();
            (secrets.generation, secrets.has_names_of(&part))
        };
        if part.generation < in_force {
            tracing::warn!(generation = part.generation, in_force, "older secrets are not taken");
            return;
        }
        if part.generation == in_force && same {
            return;
        }
        let kept = part.clone();
        match Secrets::from_proto(part) {
            Ok(secrets) => self.secrets.swap(secrets),
            Err(error) => {
                tracing::error!(%error, "secrets refused; those in force stay");
                return;
            }
        }
        let keeper = self.keeper.clone();
        if tokio::task::spawn_blocking(move || keeper.secrets(kept)).await.is_err() {
            tracing::error!("secrets are in force but not on disk");
        }
    }
}

/// What was told last, and what this plane says of itself. Without the first, zones that only some planes serve may be closed
/// until the control plane answers.
fn known_labels(config: &SyncConfig, disk: &Disk) -> PlaneLabels {
    let told = disk.load_labels().unwrap_or_else(|error| {
        tracing::error!(%error, "the labels on disk are not used");
        None
    });
    with_own(config, told.unwrap_or_default())
}

fn with_own(config: &SyncConfig, mut told: PlaneLabels) -> PlaneLabels {
    // The token's are among what was told, and the control plane admits no plane that says otherwise.
    for (key, value) in &config.labels {
        told.entry(key.clone()).or_insert_with(|| value.clone());
    }
    told
}

/// How a plane shows who it is, in every conversation.
pub(crate) fn authorization(token: &PlaneToken) -> io::Result<MetadataValue<Ascii>> {
    let mut authorization: MetadataValue<Ascii> =
        format!("Bearer {}", token.secret_text).parse().map_err(io::Error::other)?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

/// Any number; without randomness pauses are not spread, which harms nobody.
pub(crate) fn random() -> u64 {
    portcullis_seal::random::<8>().map_or(u64::MAX, u64::from_le_bytes)
}
