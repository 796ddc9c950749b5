//! All that the bank knows: the accounts, and which planes there are. What is said of it stands in its journal as [`Fact`]s.

use std::collections::BTreeMap;

use portcullis_metering::accounts::{Accounts, Corrupt, Event};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::known::Plane;

/// What is true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Books {
    /// Budgets, and what was granted of them.
    pub(crate) accounts: Accounts,
    /// Planes by their id.
    pub(crate) planes: BTreeMap<Uuid, Plane>,
}

/// One thing that happened, as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(super) enum Fact {
    /// Something about an account, or a life.
    Account(Event),
    /// A plane was seen for the first time, or began another life.
    Plane {
        /// Which.
        plane: Uuid,
        /// What is known of it from now on.
        known: Plane,
    },
    /// A life is over, and told all there was to tell.
    Settled {
        /// Whose.
        plane: Uuid,
        /// Which.
        life: u32,
    },
    /// A plane that holds nothing made room for another.
    Forgotten {
        /// Which.
        plane: Uuid,
    },
}

impl Books {
    /// Makes a fact so, just decided or read from the journal.
    pub(super) fn apply(&mut self, fact: &Fact) -> Result<(), Corrupt> {
        match fact {
            Fact::Account(event) => return self.accounts.apply(event),
            Fact::Plane { plane, known } => {
                self.planes.insert(*plane, known.clone());
            }
            Fact::Settled { plane, life } => {
                if let Some(known) = self.planes.get_mut(plane) {
                    known.unsettled.remove(life);
                }
            }
            Fact::Forgotten { plane } => {
                self.planes.remove(plane);
            }
        }
        Ok(())
    }
}
