//! Keys: who each secret opens the door for, with what is granted to them shared between keys with equal grants.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use portcullis_metering::Level;
use portcullis_seal::Fingerprint;

use super::admission::Admission;
use super::build::Tenants;
use super::clients::Keyed;
use super::model::{Beside, Principal, Server, SnapshotMark, Zone};
use super::notes::Notes;
use crate::access::{Access, Membership};
use crate::bundle::Bundle;
use crate::metering::{Metered, of_owner};
use crate::opening::Admitted;
use crate::resource::{Grant, Name};
use crate::snapshot::KeyEntry;

/// What keys refer to.
pub(super) struct Known<'a> {
    pub(super) zones: &'a HashMap<Name, Arc<Zone>>,
    pub(super) teams: &'a HashMap<Name, Option<Name>>,
    pub(super) servers: &'a HashMap<Name, Arc<Server>>,
    pub(super) bundles: &'a HashMap<Name, Arc<Bundle>>,
    pub(super) keyed: &'a Keyed,
    pub(super) of_teams: &'a HashMap<Name, Arc<[Membership]>>,
    pub(super) mark: &'a Arc<SnapshotMark>,
    pub(super) admission: &'a Admission<'a>,
    pub(super) metered: &'a Tenants,
}

/// What keys share their access by: zone, the address of their grants, the bundles of the team, and what is open for them.
type Reach = (Name, usize, Arc<[Membership]>, Admitted);
type ByHash = HashMap<Fingerprint, Arc<Principal>>;
type ByKeyName = HashMap<Name, Arc<Principal>>;

/// Principals by the hash of each secret, and by the name of the key.
pub(super) fn keys(entries: Vec<Arc<KeyEntry>>, known: &Known<'_>, notes: &mut Notes) -> (ByHash, ByKeyName) {
    let mut by_hash = ByHash::with_capacity(entries.len());
    let mut by_name = ByKeyName::with_capacity(entries.len());
    let mut shared: HashMap<Reach, Arc<Access>> = HashMap::new();
    let mut lists = Lists::default();
    let none: Arc<[Membership]> = Arc::from([]);
    for entry in entries {
        check_key(&entry, known, notes);
        let admitted = known.admission.admitted(&entry);
        let customer = entry.team.as_ref().and_then(|team| known.teams.get(team).cloned().flatten());
        let memberships = entry.team.as_ref().and_then(|team| known.of_teams.get(team)).unwrap_or(&none);
        let grants = lists.one(&entry.grants);
        let reach = (entry.zone.clone(), address(&grants), Arc::clone(memberships), admitted);
        let access = shared.entry(reach).or_insert_with_key(|(zone, _, memberships, admitted)| {
            Arc::new(Access::new(zone.clone(), grants, Arc::clone(memberships), admitted.clone()))
        });
        let own = of_owner(Level::Key, entry.uid, &entry.name, &entry.metering);
        let metered: Box<[Arc<Metered>]> =
            known.metered.of(customer.as_ref(), entry.team.as_ref()).chain(own).collect();
        let expires = entry.expires_at.as_ref().map(unix_ms);
        let client_rules = known.keyed.of(&entry.name, &entry.labels);
        let subject: Arc<str> = entry.principal.subject.as_str().into();
        let principal = |until: Option<u64>, secret| {
            Arc::new(Principal {
                key_uid: entry.uid,
                key_name: entry.name.clone(),
                kind: entry.principal.kind,
                subject: Arc::clone(&subject),
                team: entry.team.clone(),
                customer: customer.clone(),
                zone: access.zone.clone(),
                expires_unix_ms: expires.into_iter().chain(until).min(),
                revoked: entry.revoked,
                secret,
                access: Arc::clone(access),
                client_rules: Arc::clone(&client_rules),
                conditions: OnceLock::new(),
                metered: metered.clone(),
                beside: Beside::default(),
                snapshot: Arc::clone(known.mark),
            })
        };
        for secret in &entry.secrets {
            let until = secret.until.as_ref().map(unix_ms);
            let opened = principal(until, Some(secret.hash));
            if let Some(other) = by_hash.insert(secret.hash, opened) {
                let label = |name: &Name| format!("VirtualKey/{name}");
                notes.duplicate("key hashes", secret.hash, label(&other.key_name), label(&entry.name));
            }
        }
        if let Some(other) = by_name.insert(entry.name.clone(), principal(None, None)) {
            let (first, second) = (other.key_uid.to_string(), entry.uid.to_string());
            notes.duplicate("key names", &entry.name, first, second);
        }
    }
    (by_hash, by_name)
}

type Grants = Arc<[Grant]>;

/// One list for all equal ones. Most come shared: these are told by their address, without reading them.
#[derive(Default)]
struct Lists {
    /// What was given, kept so that its address is given to no other list, and the one that is used for it.
    by_address: HashMap<usize, (Grants, Grants)>,
    known: HashSet<Grants>,
}

impl Lists {
    fn one(&mut self, grants: &Grants) -> Grants {
        let at = address(grants);
        if let Some((_, one)) = self.by_address.get(&at) {
            return Arc::clone(one);
        }
        let one = match self.known.get(grants) {
            Some(known) => Arc::clone(known),
            None => {
                self.known.insert(Arc::clone(grants));
                Arc::clone(grants)
            }
        };
        // A list that nobody shares goes with its key, and its address is not remembered.
        if Arc::strong_count(grants) > 1 {
            self.by_address.insert(at, (Arc::clone(grants), Arc::clone(&one)));
        }
        one
    }
}

/// Where a list is: as long as it lives, no other list is there.
fn address(grants: &Grants) -> usize {
    Arc::as_ptr(grants).cast::<()>().addr()
}

fn check_key(entry: &KeyEntry, known: &Known<'_>, notes: &mut Notes) {
    let label = || format!("VirtualKey/{}", entry.name);
    if !known.zones.contains_key(&entry.zone) {
        notes.dangling(label(), "zone", "TrustZone", &entry.zone);
    }
    if let Some(team) = entry.team.as_ref().filter(|team| !known.teams.contains_key(team.as_str())) {
        notes.dangling(label(), "team", "Team", team);
    }
    for (at, grant) in entry.grants.iter().enumerate() {
        match grant {
            Grant::Bundle(grant) if !known.bundles.contains_key(&grant.bundle) => {
                notes.dangling(label(), format!("grants[{at}].bundle"), "ToolBundle", &grant.bundle);
            }
            Grant::Server(grant) if !known.servers.contains_key(&grant.server) => {
                notes.dangling(label(), format!("grants[{at}].server"), "McpServer", &grant.server);
            }
            Grant::Bundle(_) | Grant::Server(_) => {}
        }
    }
}

/// Times before 1970 are long over, whatever they are.
fn unix_ms(time: &chrono::DateTime<chrono::Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}
