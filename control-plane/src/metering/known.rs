//! Which planes there are: whose an id is, which life it is in, and by what that life is known. Without it anybody with a plane's token
//! could speak for another plane, and a copied ledger would spend twice.

use std::collections::BTreeSet;

use portcullis_metering::{Holder, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::books::{Books, Fact};
use crate::stream::MAX_CONNECTED;

/// How many planes are remembered.
const MAX_PLANES: usize = 65_536;
/// Lives of one plane that have not told what became of them; what older ones held stays written off.
const MAX_UNSETTLED: usize = 1_024;
/// So many planes are looked at for one that may be forgotten.
const LOOKED_AT: usize = 16;

/// What is known of one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plane {
    /// The name that it was authenticated by when it was first seen.
    pub(crate) name: String,
    /// Its latest life.
    pub(crate) life: u32,
    /// What that life is known by.
    pub(crate) nonce: Uuid,
    /// Earlier lives that did not tell yet what became of what they held.
    pub(crate) unsettled: BTreeSet<u32>,
    /// When this life was first heard of.
    pub(crate) since: Utc,
}

/// How a plane introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) holder: Holder,
    pub(crate) nonce: Uuid,
    /// The name that it was authenticated by.
    pub(crate) name: String,
}

/// Why a plane may not speak. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    #[error(
        "another name: this plane id was first seen with another name than that of this token; come as another plane, with an id of its own"
    )]
    OtherName,
    #[error(
        "older life: a later life of this plane is known than {0}, so this is a copy, or an older copy, of its ledger; come as another plane"
    )]
    OlderLife(u32),
    #[error(
        "other nonce: life {0} of this plane is known by another nonce, so two run with copies of one ledger; come as another plane"
    )]
    OtherNonce(u32),
    #[error("{MAX_PLANES} planes are remembered, and none of them may be forgotten: wait until some settled")]
    TooMany,
    #[error("{MAX_CONNECTED} data planes are in conversation")]
    TooManyLive,
}

impl Books {
    /// What follows from a plane's introduction, if it may speak. `live` says whether a plane is in conversation.
    pub(super) fn introduce(
        &self,
        birth: &Birth,
        now: Utc,
        live: impl Fn(Uuid) -> bool,
    ) -> Result<Vec<Fact>, Stranger> {
        let Holder { plane, life } = birth.holder;
        let mut facts = Vec::new();
        let mut unsettled = BTreeSet::new();
        if let Some(known) = self.planes.get(&plane) {
            if known.name != birth.name {
                return Err(Stranger::OtherName);
            }
            if life < known.life {
                return Err(Stranger::OlderLife(life));
            }
            if life == known.life {
                return if known.nonce == birth.nonce { Ok(facts) } else { Err(Stranger::OtherNonce(life)) };
            }
            unsettled.clone_from(&known.unsettled);
            unsettled.insert(known.life);
            while unsettled.len() > MAX_UNSETTLED {
                unsettled.pop_first();
            }
        } else if self.planes.len() >= MAX_PLANES {
            let plane = self.forgettable(live).ok_or(Stranger::TooMany)?;
            facts.push(Fact::Forgotten { plane });
        }
        let known = Plane { name: birth.name.clone(), life, nonce: birth.nonce, unsettled, since: now };
        facts.push(Fact::Plane { plane, known });
        Ok(facts)
    }

    /// Of the planes that were born first, one that is gone and holds nothing.
    fn forgettable(&self, live: impl Fn(Uuid) -> bool) -> Option<Uuid> {
        let mut gone: Vec<(Utc, Uuid)> = self
            .planes
            .iter()
            .filter(|(plane, _)| !live(**plane))
            .map(|(plane, known)| (known.since, *plane))
            .collect();
        gone.sort_unstable();
        gone.into_iter().take(LOOKED_AT).map(|(_, plane)| plane).find(|plane| !self.accounts.knows(*plane))
    }
}
