//! A bounded map that many threads read: what was made once for a pair is kept until there are too many.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{PoisonError, RwLock};

/// How many parts it has, each with a lock of its own.
const SHARDS: usize = 16;

/// At the bound, a sixteenth of it is forgotten at once; what is asked for again is made again.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
    hasher: RandomState,
    bound: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            bound: bound.div_ceil(SHARDS),
        }
    }

    /// What is kept, or what `make` makes. Two threads may make the same at once; one of the two is kept.
    pub(crate) fn get_or_make(&self, key: K, make: impl FnOnce(&K) -> V) -> V {
        let at = usize::try_from(self.hasher.hash_one(&key)).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(at) else { return make(&key) };
        if let Some(known) = shard.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let made = make(&key);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.bound {
            shard.clear();
        }
        shard.entry(key).or_insert(made).clone()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

#[cfg(test)]
mod tests;
