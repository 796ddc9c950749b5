//! The rules that look at where a call comes from, how it speaks and which program says that it sends it: the networks and
//! eras of zones, and the `Client`s.
//!
//! They are what makes two callers with equal grants see different lists. A snapshot without such rules serves one list to all
//! of them; with such rules, one for each way in which they come out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_conditions::Caller;

use crate::circumstances::{Circumstances, ClientHint, Era};
use crate::compile::model::{Principal, Zone};
use crate::conditions::Conditions;
use crate::pattern::Pattern;
use crate::resource::{Name, PlaneLabels, Uid, serves};

/// How a question to a caller's circumstances comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    Yes,
    No,
    /// What it asks for is not known.
    Unknown,
}

impl Met {
    pub(crate) const fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Zone {
    /// Whether it may be called from there.
    pub(crate) fn called_from(&self, network: Option<IpAddr>) -> Met {
        let allowed = &self.entry.caller_networks;
        match network {
            _ if allowed.is_empty() => Met::Yes,
            None => Met::Unknown,
            Some(address) => Met::of(allowed.iter().any(|range| range.contains(address))),
        }
    }

    /// Whether the data plane of a call serves it: the one of these labels, or the one that compiled this.
    pub(crate) fn served_by(&self, plane: Option<&PlaneLabels>) -> Met {
        match plane {
            Some(plane) => Met::of(serves(&self.entry.served_by, plane)),
            None => self.served,
        }
    }

    /// Whether callers may speak like this.
    pub(crate) fn spoken_to(&self, era: Option<Era>) -> Met {
        let allowed = &self.entry.allowed_eras;
        match era {
            _ if allowed.is_empty() => Met::Yes,
            None => Met::Unknown,
            Some(era) => Met::of(allowed.contains(&era)),
        }
    }
}

/// What a `Client` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Allow,
    Deny,
}

/// A program that a caller may say it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    pub(crate) name: Pattern,
    pub(crate) version: Option<Pattern>,
}

impl Programs {
    fn fits(&self, hint: ClientHint<'_>) -> bool {
        self.name.matches(hint.name)
            && self
                .version
                .as_ref()
                .is_none_or(|version| hint.version.is_some_and(|found| version.matches(found)))
    }
}

/// The zones and servers that a `Client` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) everything: bool,
    /// Of zones and servers, in order.
    pub(crate) uids: Box<[Uid]>,
}

impl Targets {
    pub(crate) fn name(&self, server: Uid, zone: Uid) -> bool {
        let named = |uid: &Uid| self.uids.binary_search(uid).is_ok();
        self.everything || named(&server) || named(&zone)
    }
}

/// A `Client`, its references followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientRule {
    pub(crate) name: Name,
    pub(crate) list: List,
    /// The field that names keys, where one does.
    pub(crate) keys: Option<&'static str>,
    /// Any program, and none, when empty.
    pub(crate) programs: Box<[Programs]>,
    pub(crate) targets: Targets,
}

/// Whether a `Client` means a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meant {
    pub(crate) met: Met,
    /// The field that decided, where it was not met.
    pub(crate) field: &'static str,
    /// Whether the caller is one for whom an allow list is complete: its key is named, or it says itself that it is meant.
    pub(crate) bound: bool,
}

impl ClientRule {
    /// Whether it means a caller whose key the `Client`s in these places name.
    pub(crate) fn means(&self, at: u32, keyed: &[u32], hint: Option<ClientHint<'_>>) -> Meant {
        let named = self.keys.is_none() || keyed.binary_search(&at).is_ok();
        let field = if named { "spec.match.clientInfo" } else { self.keys.unwrap_or("spec.match.keys") };
        let said = match hint {
            _ if self.programs.is_empty() => Met::Yes,
            None => Met::Unknown,
            Some(hint) => Met::of(self.programs.iter().any(|programs| programs.fits(hint))),
        };
        let met = if named { said } else { Met::No };
        // Whoever holds a named key cannot leave its allow list by saying that it is another program.
        let bound = if self.keys.is_some() { named } else { met == Met::Yes };
        Meant { met, field, bound }
    }
}

/// All such rules of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Standpoints {
    /// In the order of their names.
    pub(crate) clients: Vec<ClientRule>,
    /// Zones that look at the caller's network.
    networks: Vec<Arc<Zone>>,
    /// Whether any zone looks at the caller's era.
    eras: bool,
    /// The policies beyond grants.
    pub(crate) conditions: Conditions,
}

impl Standpoints {
    pub(crate) fn new(
        zones: &HashMap<Name, Arc<Zone>>,
        clients: Vec<ClientRule>,
        conditions: Conditions,
    ) -> Self {
        let mut networks: Vec<Arc<Zone>> =
            zones.values().filter(|zone| !zone.entry.caller_networks.is_empty()).map(Arc::clone).collect();
        networks.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        let eras = zones.values().any(|zone| !zone.entry.allowed_eras.is_empty());
        Self { clients, networks, eras, conditions }
    }

    /// Whether everybody with the same grants sees the same.
    pub(crate) fn is_one(&self) -> bool {
        self.clients.is_empty() && self.networks.is_empty() && !self.eras && self.conditions.is_empty()
    }

    /// How every rule comes out for a caller: callers for whom this is equal see the same.
    pub(crate) fn key(&self, principal: &Principal, circumstances: &Circumstances<'_>) -> Box<[u8]> {
        let keyed: &[u32] = &principal.client_rules;
        let network = self.networks.iter().map(|zone| zone.called_from(circumstances.network) as u8);
        let era = self.eras.then(|| circumstances.era.map_or(2, |era| era as u8));
        let clients = (0..).zip(&self.clients).map(|(at, rule)| {
            let meant = rule.means(at, keyed, circumstances.client);
            meant.met as u8 | (u8::from(meant.bound) << 2)
        });
        let mut key: Vec<u8> = network.chain(era).chain(clients).collect();
        if let Some(caller) = self.caller(principal) {
            self.conditions.key(caller, circumstances, &mut key);
        }
        key.into()
    }

    /// A principal as policies see it, where there are any.
    pub(crate) fn caller<'a>(&self, principal: &'a Principal) -> Option<&'a Arc<Caller>> {
        self.conditions.caller(principal)
    }

    /// The names of the `Client`s that mean a caller.
    pub(crate) fn clients_of(&self, keyed: &[u32], hint: Option<ClientHint<'_>>) -> Vec<&str> {
        let means = |(at, rule): &(u32, &ClientRule)| rule.means(*at, keyed, hint).met == Met::Yes;
        (0..).zip(&self.clients).filter(means).map(|(_, rule)| rule.name.as_str()).collect()
    }
}

/// What rules know of a key beside its grants: the places of the `Client`s that name it, and the principal as policies see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) keyed: &'a [u32],
    /// `None` where there are no policies.
    pub(crate) caller: Option<&'a Caller>,
}

impl<'a> Holder<'a> {
    pub(crate) fn new(standpoints: &Standpoints, principal: &'a Principal) -> Self {
        Self { keyed: &principal.client_rules, caller: standpoints.caller(principal).map(|caller| &**caller) }
    }

    /// Holders of equal grants for whom this is equal are judged alike, in one snapshot: a principal that no policy can apply to
    /// is one of many.
    pub(crate) fn alike(self) -> (&'a [u32], Option<u64>) {
        (self.keyed, self.caller.filter(|caller| !caller.is_free()).map(Caller::number))
    }
}

/// A caller's standpoint, as a list remembers it: one of all those for whom every rule comes out the same.
#[derive(Debug)]
pub(crate) struct Standpoint {
    network: Option<IpAddr>,
    era: Option<Era>,
    client: Option<(Box<str>, Option<Box<str>>)>,
    keyed: Arc<[u32]>,
    caller: Option<Arc<Caller>>,
}

impl Standpoint {
    /// Nobody knows anything.
    pub(crate) fn unknown() -> Self {
        Self { network: None, era: None, client: None, keyed: Arc::default(), caller: None }
    }

    pub(crate) fn new(
        standpoints: &Standpoints,
        principal: &Principal,
        circumstances: &Circumstances<'_>,
    ) -> Self {
        Self {
            caller: standpoints.caller(principal).map(Arc::clone),
            network: circumstances.network,
            era: circumstances.era,
            client: circumstances.client.map(|hint| (hint.name.into(), hint.version.map(Into::into))),
            keyed: Arc::clone(&principal.client_rules),
        }
    }

    pub(crate) fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            network: self.network,
            era: self.era,
            client: self
                .client
                .as_ref()
                .map(|(name, version)| ClientHint { name, version: version.as_deref() }),
            ..Circumstances::at(0)
        }
    }

    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.caller.as_deref()
    }

    pub(crate) fn keyed(&self) -> &[u32] {
        &self.keyed
    }
}

#[cfg(test)]
mod tests;
