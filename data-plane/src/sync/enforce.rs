//! From a candidate to what is enforced: compared with what was signed, compiled, kept on disk, swapped. Whole or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_background::Background;
use portcullis_policy::Snapshot;
use portcullis_policy::resource::PlaneLabels;
use portcullis_policy::snapshot::SnapshotDigest;
use portcullis_seal::PublicKey;

use super::assemble::{Candidate, verified};
use super::entries::Entries;
use super::keeper::Keeper;
use super::live::Live;
use super::refusal::Refusal;

/// Puts snapshots in force, in the background: its work takes as long as compiling does.
#[derive(Debug, Clone)]
pub(super) struct Enforcer {
    key: PublicKey,
    keeper: Keeper,
    live: Live,
    background: Background,
    /// What this plane is to zones; known anew with each welcome.
    labels: Arc<Mutex<PlaneLabels>>,
    /// Those of the last snapshot that compiled.
    entries: Arc<Mutex<Entries>>,
}

/// What became of a candidate that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enforced {
    Swapped,
    AlreadyInForce,
}

impl Enforcer {
    pub(super) fn new(
        key: PublicKey,
        keeper: Keeper,
        live: Live,
        background: Background,
        labels: PlaneLabels,
    ) -> Self {
        let (labels, entries) = (Arc::new(Mutex::new(labels)), Arc::default());
        Self { key, keeper, live, background, labels, entries }
    }

    /// The labels of this plane, from now on. What is in force follows with the next candidate, also where that is the same
    /// snapshot.
    pub(super) fn relabel(&self, labels: PlaneLabels) {
        *self.labels.lock().unwrap_or_else(PoisonError::into_inner) = labels;
    }

    fn labels(&self) -> PlaneLabels {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a candidate that was received. What was begun is done to its end, also when nobody waits for it.
    pub(super) async fn enforce(&self, candidate: Candidate) -> Result<Enforced, Refusal> {
        let enforcer = self.clone();
        let done = self.background.run(move || enforcer.enforce_now(candidate)).await;
        done.unwrap_or_else(|failed| {
            tracing::error!(%failed, "a snapshot could not be taken");
            Err(Refusal::Failed)
        })
    }

    fn enforce_now(&self, candidate: Candidate) -> Result<Enforced, Refusal> {
        let header = &candidate.header;
        let labels = self.labels();
        let mut kept = false;
        if let Some(in_force) = self.live.load() {
            let same_labels = in_force.plane() == Some(&labels);
            let in_force = in_force.header();
            if header.version < in_force.version {
                return Err(Refusal::Older { in_force: in_force.version });
            }
            if header.version == in_force.version {
                if header.digest != in_force.digest {
                    return Err(Refusal::SameVersion { in_force: in_force.digest });
                }
                if same_labels {
                    return Ok(Enforced::AlreadyInForce);
                }
                // The same entries for a plane that is another one to zones now; on disk they are already.
                kept = true;
            }
        }
        let snapshot = self.compiled(&candidate, labels)?;
        // First the disk, then the swap: what this plane has answered by, it also starts from. Where the disk fails the order
        // gives way, since what was revoked must not go on working for want of room: it is enforced all the same, said to be
        // not on disk, and tried again.
        if !kept {
            self.keeper.snapshot(candidate.signed, candidate.entries);
        }
        if let Some(old) = self.live.swap(snapshot) {
            self.background.retire(old);
        }
        Ok(Enforced::Swapped)
    }

    /// Puts the last good snapshot from disk in force, everything checked again. A damaged file gives way to the one before.
    pub(super) fn restore(&self) {
        let disk = self.keeper.disk();
        let mut damaged = false;
        for path in disk.snapshots() {
            let restored = disk.load_snapshot(&path).and_then(|loaded| {
                let Some((signed, entries)) = loaded else { return Ok(None) };
                let header = verified(&self.key, &signed)?;
                let announced = header.entries as usize;
                if entries.len() != announced {
                    return Err(Refusal::Count { announced, received: entries.len() });
                }
                self.compiled(&Candidate { header, signed, entries }, self.labels()).map(Some)
            });
            match restored {
                Ok(Some(snapshot)) => {
                    tracing::info!(version = %snapshot.version(), "serving the last good snapshot from disk");
                    if damaged {
                        tracing::warn!(
                            version = %snapshot.version(),
                            "this is the snapshot before the last: what was revoked since is not known until the control plane answers"
                        );
                    }
                    self.live.swap(snapshot);
                    return;
                }
                Ok(None) => {}
                Err(refusal) => {
                    tracing::error!(file = %path.display(), %refusal, "the snapshot on disk is not used");
                    damaged = true;
                }
            }
        }
    }

    fn compiled(&self, candidate: &Candidate, labels: PlaneLabels) -> Result<Snapshot, Refusal> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = compiled(candidate, labels, &mut entries);
        if compiled.is_err() {
            entries.tidy();
        }
        compiled
    }
}

fn compiled(candidate: &Candidate, labels: PlaneLabels, entries: &mut Entries) -> Result<Snapshot, Refusal> {
    let mut digest = SnapshotDigest::default();
    let read = entries.read(&candidate.entries, &mut digest)?;
    let made = digest.finish();
    if made != candidate.header.digest {
        return Err(Refusal::Digest { made, signed: candidate.header.digest });
    }
    let parts = read.iter().map(|read| read.entry().clone()).collect();
    let snapshot =
        Snapshot::compile_for(labels, candidate.header.clone(), parts).map_err(Refusal::Compile)?;
    // Only what was signed and compiles is worth keeping.
    entries.keep(read);
    Ok(snapshot)
}
