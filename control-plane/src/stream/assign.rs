//! Which plane probes which server: rendezvous hashing, so that a plane that comes or goes moves only its own servers.

use std::collections::BTreeMap;

use portcullis_policy::resource::Uid;
use portcullis_seal::sha256;

/// A plane that may probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prober<'a> {
    pub(super) name: &'a str,
    /// Whether it may start stdio servers.
    pub(super) allow_stdio: bool,
}

/// A server to be probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) uid: Uid,
    /// Whether it is a child process.
    pub(super) stdio: bool,
}

/// Gives each server that some plane may probe to one of them: the one whose name and the server's uid hash highest.
pub(super) fn assign<'a>(targets: &[Target], probers: &[Prober<'a>]) -> BTreeMap<Uid, &'a str> {
    let mut assigned = BTreeMap::new();
    for target in targets {
        let best = probers
            .iter()
            .filter(|prober| prober.allow_stdio || !target.stdio)
            .max_by_key(|prober| (weight(prober.name, &target.uid), prober.name));
        if let Some(prober) = best {
            assigned.insert(target.uid, prober.name);
        }
    }
    assigned
}

fn weight(plane: &str, server: &Uid) -> [u8; 32] {
    let mut text = plane.as_bytes().to_vec();
    text.push(0);
    text.extend_from_slice(server.0.as_bytes());
    sha256(&text)
}

#[cfg(test)]
mod tests;
