//! What kind of world a seed makes.

use portcullis_metering::{AccountId, Length, Level, Unit};
use uuid::Uuid;

use crate::chance::Chance;

/// What kind of world it is.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) planes: u64,
    /// For how long calls come.
    pub(crate) busy_ms: u64,
    /// Calls per second of each plane.
    pub(crate) rates: Vec<u64>,
    /// Things that go wrong, for each second and thousand.
    pub(crate) crashes: u64,
    pub(crate) partitions: u64,
    /// Messages that are lost, or come twice, in a thousand.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) late: u64,
    pub(crate) operators: bool,
    pub(crate) accounts: Vec<(AccountId, u64)>,
    /// Sets of accounts that calls debit.
    pub(crate) routes: Vec<Vec<usize>>,
    pub(crate) beat_ms: u64,
    /// End as soon as a call is denied.
    pub(crate) until_denied: bool,
}

impl Plan {
    /// Anything that a seed may bring.
    pub(crate) fn drawn(chance: &mut Chance) -> Self {
        let planes = match chance.within(0, 20) {
            0 => chance.within(20, 101),
            1..=4 => chance.within(8, 20),
            _ => chance.within(1, 8),
        };
        let busy_ms = if planes > 7 { chance.within(20_000, 45_000) } else { chance.within(25_000, 80_000) };
        let per_plane = (1_000_000 / busy_ms / planes).max(1);
        let limit = |chance: &mut Chance, most: u64| {
            10_u64.pow(chance.within(1, 5) as u32).min(most) * chance.within(1, 30)
        };
        let rolling = chance.hits(300);
        let accounts = vec![
            (account(Level::Customer, 1, Unit::Calls, Length::Minute, false), limit(chance, 1_000)),
            (account(Level::Team, 2, Unit::MicroUsd, Length::Minute, false), limit(chance, 1_000) * 200),
            (account(Level::Key, 3, Unit::Calls, Length::Hour, rolling), limit(chance, 10_000)),
            (account(Level::Key, 4, Unit::MicroUsd, Length::Minute, true), limit(chance, 100) * 200),
            (account(Level::Server, 5, Unit::Calls, Length::Minute, rolling), limit(chance, 10_000)),
            (account(Level::Tool, 6, Unit::Calls, Length::Minute, false), limit(chance, 100)),
        ];
        Self {
            planes,
            busy_ms,
            rates: (0..planes).map(|_| chance.within(1, per_plane * 2 + 1)).collect(),
            crashes: if chance.hits(700) { chance.within(0, 300) } else { 0 },
            partitions: if chance.hits(700) { chance.within(0, 300) } else { 0 },
            lost: if chance.hits(600) { chance.within(0, 300) } else { 0 },
            repeated: if chance.hits(600) { chance.within(0, 300) } else { 0 },
            late: if chance.hits(600) { chance.within(0, 100) } else { 0 },
            operators: chance.hits(300),
            accounts,
            routes: vec![vec![0, 1, 2, 4], vec![0, 1, 3, 5], vec![0, 3]],
            beat_ms: if planes > 7 { 1_500 } else { 500 },
            until_denied: false,
        }
    }
}

pub(crate) fn account(level: Level, owner: u128, unit: Unit, length: Length, rolling: bool) -> AccountId {
    AccountId { level, owner: Uuid::from_u128(owner), unit, length, rolling }
}
