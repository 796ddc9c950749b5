//! Which plane probes which server: rendezvous hashing, so that a plane that comes or goes moves only its own servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::resource::{PlaneLabels, Uid, serves};
use portcullis_seal::sha256;

/// A plane that may probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prober<'a> {
    pub(super) name: &'a str,
    /// Whether it may start stdio servers.
    pub(super) allow_stdio: bool,
    pub(super) labels: &'a PlaneLabels,
}

/// A server to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) uid: Uid,
    /// Whether it is a child process.
    pub(super) stdio: bool,
    /// What its zone says of the planes that serve it.
    pub(super) served_by: Arc<[PlaneLabels]>,
}

/// Gives each server that some plane may probe to one of them: the one whose name and the server's uid hash highest.
pub(super) fn assign<'a>(targets: &[Target], probers: &[Prober<'a>]) -> BTreeMap<Uid, &'a str> {
    let probers: Vec<(&Prober<'a>, u64)> =
        probers.iter().map(|prober| (prober, digest(prober.name.as_bytes()))).collect();
    let mut assigned = BTreeMap::new();
    for target in targets {
        let server = digest(target.uid.0.as_bytes());
        let best = probers
            .iter()
            .filter(|(prober, _)| prober.allow_stdio || !target.stdio)
            .filter(|(prober, _)| serves(&target.served_by, prober.labels))
            .max_by_key(|(prober, plane)| (mix(plane ^ server), prober.name));
        if let Some((prober, _)) = best {
            assigned.insert(target.uid, prober.name);
        }
    }
    assigned
}

fn digest(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(bytes);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The finaliser of SplitMix64: every bit of the pair moves every bit of the weight. A million pairs take milliseconds.
const fn mix(pair: u64) -> u64 {
    let pair = (pair ^ (pair >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let pair = (pair ^ (pair >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    pair ^ (pair >> 31)
}

#[cfg(test)]
mod tests;
