//! Which statements can apply to whom and to what: their scopes, indexed, so that a call meets only its own.
//!
//! A scope is `principal`, `action` and `resource` of a statement's head. Each principal and each target gets the set of
//! statements whose scope it meets, once; a call joins two such sets.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint};

/// A set of statements, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    pub(crate) fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into_boxed_slice())
    }

    fn insert(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(ours, theirs)| *ours |= theirs);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(ours, theirs)| ours & theirs != 0)
    }

    pub(crate) fn both(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours & theirs).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            (0..64_usize)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| at.saturating_mul(64).saturating_add(bit))
        })
    }
}

/// One half of a scope: what it asks of the principal, or of the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Any,
    Is(EntityTypeName),
    Eq(EntityUid),
    In(EntityUid),
    IsIn(EntityTypeName, EntityUid),
}

impl From<PrincipalConstraint> for Ask {
    fn from(constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::Any,
            PrincipalConstraint::In(uid) => Self::In(uid),
            PrincipalConstraint::Eq(uid) => Self::Eq(uid),
            PrincipalConstraint::Is(of) => Self::Is(of),
            PrincipalConstraint::IsIn(of, uid) => Self::IsIn(of, uid),
        }
    }
}

impl From<ResourceConstraint> for Ask {
    fn from(constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::Any,
            ResourceConstraint::In(uid) => Self::In(uid),
            ResourceConstraint::Eq(uid) => Self::Eq(uid),
            ResourceConstraint::Is(of) => Self::Is(of),
            ResourceConstraint::IsIn(of, uid) => Self::IsIn(of, uid),
        }
    }
}

/// Statements by what they ask of one entity.
#[derive(Debug, Default)]
pub(crate) struct Index {
    any: Bits,
    is: HashMap<EntityTypeName, Bits>,
    eq: HashMap<EntityUid, Vec<usize>>,
    within: HashMap<EntityUid, Vec<usize>>,
    is_within: HashMap<(EntityTypeName, EntityUid), Vec<usize>>,
}

impl Index {
    pub(crate) fn new(asks: impl ExactSizeIterator<Item = Ask>) -> Self {
        let count = asks.len();
        let mut index = Self { any: Bits::none(count), ..Self::default() };
        for (at, ask) in asks.enumerate() {
            match ask {
                Ask::Any => index.any.insert(at),
                Ask::Is(of) => index.is.entry(of).or_insert_with(|| Bits::none(count)).insert(at),
                Ask::Eq(uid) => index.eq.entry(uid).or_default().push(at),
                Ask::In(uid) => index.within.entry(uid).or_default().push(at),
                Ask::IsIn(of, uid) => index.is_within.entry((of, uid)).or_default().push(at),
            }
        }
        index
    }

    /// The statements that an entity meets, which is in `ancestors`.
    pub(crate) fn matching(&self, uid: &EntityUid, ancestors: &[EntityUid]) -> Bits {
        let mut bits = self.any.clone();
        let of = uid.type_name();
        if let Some(more) = self.is.get(of) {
            bits.unite(more);
        }
        let add = |bits: &mut Bits, more: Option<&Vec<usize>>| {
            more.into_iter().flatten().for_each(|at| bits.insert(*at));
        };
        add(&mut bits, self.eq.get(uid));
        // An entity is in itself.
        for of_it in std::iter::once(uid).chain(ancestors) {
            add(&mut bits, self.within.get(of_it));
            if !self.is_within.is_empty() {
                add(&mut bits, self.is_within.get(&(of.clone(), of_it.clone())));
            }
        }
        bits
    }
}

/// Statements by what they ask of the action.
#[derive(Debug)]
pub(crate) struct Actions {
    by_action: HashMap<EntityUid, Bits>,
}

impl Actions {
    pub(crate) fn new(known: &[EntityUid], asks: &[ActionConstraint]) -> Self {
        let of = |action: &EntityUid| {
            let mut bits = Bits::none(asks.len());
            for (at, ask) in asks.iter().enumerate() {
                let meets = match ask {
                    ActionConstraint::Any => true,
                    ActionConstraint::Eq(uid) => uid == action,
                    ActionConstraint::In(uids) => uids.contains(action),
                };
                if meets {
                    bits.insert(at);
                }
            }
            bits
        };
        Self { by_action: known.iter().map(|action| (action.clone(), of(action))).collect() }
    }

    pub(crate) fn matching(&self, action: &EntityUid, count: usize) -> Bits {
        self.by_action.get(action).cloned().unwrap_or_else(|| Bits::none(count))
    }
}

#[cfg(test)]
mod tests;
