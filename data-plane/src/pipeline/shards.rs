//! A bounded map that many requests read without a lock, and that is written now and then.
//!
//! Each shard is replaced as a whole, so that a read is one atomic load. What is written is small: a shard holds its share of
//! the bound, and a write copies that share.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use arc_swap::ArcSwap;

const SHARDS: usize = 256;

/// The map.
#[derive(Debug)]
pub(crate) struct Shards<K, V> {
    hasher: RandomState,
    shards: Vec<ArcSwap<HashMap<K, V>>>,
    per_shard: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// For about `bound` entries.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            per_shard: bound.div_ceil(SHARDS).max(1),
        }
    }

    fn shard(&self, key: &K) -> Option<&ArcSwap<HashMap<K, V>>> {
        let at = self.hasher.hash_one(key) % SHARDS as u64;
        self.shards.get(usize::try_from(at).unwrap_or(0))
    }

    /// Reads one entry.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.shard(key)?.load().get(key).cloned()
    }

    /// Whether there is such an entry.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.shard(key).is_some_and(|shard| shard.load().contains_key(key))
    }

    /// Puts an entry. At the bound of its shard the entry that `worth` values least makes room.
    pub(crate) fn put(&self, key: &K, value: &V, worth: impl Fn(&V) -> u64) {
        let Some(shard) = self.shard(key) else { return };
        shard.rcu(|old| {
            let mut new = HashMap::clone(old);
            if new.len() >= self.per_shard && !new.contains_key(key) {
                let least = new.iter().min_by_key(|(_, value)| worth(value)).map(|(key, _)| key.clone());
                least.and_then(|key| new.remove(&key));
            }
            new.insert(key.clone(), value.clone());
            new
        });
    }

    /// The entry; made and kept when it is not there and there is room for it, `None` when there is none.
    pub(crate) fn get_or_keep(&self, key: &K, make: impl FnOnce() -> V) -> Option<V> {
        let shard = self.shard(key)?;
        if let Some(found) = shard.load().get(key) {
            return Some(found.clone());
        }
        let made = make();
        shard.rcu(|old| {
            let mut new = HashMap::clone(old);
            if new.len() < self.per_shard {
                new.entry(key.clone()).or_insert_with(|| made.clone());
            }
            new
        });
        shard.load().get(key).cloned()
    }

    /// Forgets entries.
    pub(crate) fn retain(&self, keep: impl Fn(&K, &V) -> bool) {
        for shard in &self.shards {
            if shard.load().iter().any(|(key, value)| !keep(key, value)) {
                shard.rcu(|old| {
                    let mut new = HashMap::clone(old);
                    new.retain(|key, value| keep(key, value));
                    new
                });
            }
        }
    }

    /// Looks at every entry.
    pub(crate) fn each(&self, mut look: impl FnMut(&K, &V)) {
        for shard in &self.shards {
            shard.load().iter().for_each(|(key, value)| look(key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_its_bound_the_least_worth_entry_makes_room() {
        let map: Shards<u32, u64> = Shards::new(1);
        for key in 0..10_000_u32 {
            map.put(&key, &u64::from(key), |value| *value);
        }
        let mut count = 0;
        map.each(|_, _| count += 1);
        assert!(count <= SHARDS, "{count}");
        assert!(map.contains(&9_999));
        map.retain(|_, value| *value == 9_999);
        assert_eq!(map.get(&9_999), Some(9_999));
        assert!(!map.contains(&9_998));
    }

    #[test]
    fn what_is_kept_is_one_thing_for_all_who_ask() {
        let map: Shards<&str, std::sync::Arc<u32>> = Shards::new(10_000);
        let first = map.get_or_keep(&"a", || 1.into()).unwrap();
        let second = map.get_or_keep(&"a", || 2.into()).unwrap();
        assert!(std::sync::Arc::ptr_eq(&first, &second));
    }
}
