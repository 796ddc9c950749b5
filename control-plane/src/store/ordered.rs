//! The objects of one kind in the order of their names, such that a clone is cheap and a change copies little.
//!
//! A clone of a map of 100,000 objects costs tens of milliseconds, for each commit. Here the objects stand in shared runs of
//! at most [`RUN`]: a clone copies one pointer a run, a change copies one run.

use std::sync::Arc;

use super::state::Object;

/// So many objects stand in one run; one more, and it becomes two.
const RUN: usize = 256;

/// See the module. No run is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Ordered {
    runs: Vec<Arc<Vec<Arc<Object>>>>,
    objects: usize,
}

/// A run, and a place in it.
type Place = (usize, usize);

impl Ordered {
    pub(super) const fn len(&self) -> usize {
        self.objects
    }

    /// Where this name stands, or where it would.
    fn find(&self, name: &str) -> Result<Place, Place> {
        let at = self.runs.partition_point(|run| run.last().is_some_and(|last| &*last.name < name));
        let Some(run) = self.runs.get(at) else {
            // Behind everything: at the end of the last run.
            let last = self.runs.len().saturating_sub(1);
            return Err((last, self.runs.get(last).map_or(0, |run| run.len())));
        };
        match run.binary_search_by(|object| (*object.name).cmp(name)) {
            Ok(place) => Ok((at, place)),
            Err(place) => Err((at, place)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Object>> {
        let (run, place) = self.find(name).ok()?;
        self.runs.get(run)?.get(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.runs.iter().flat_map(|run| run.iter())
    }

    /// The objects from this name on.
    pub(super) fn iter_from(&self, name: &str) -> impl Iterator<Item = &Arc<Object>> + use<'_> {
        let (run, place) = self.find(name).unwrap_or_else(|place| place);
        self.runs.iter().skip(run).flat_map(|run| run.iter()).skip(place)
    }

    /// Puts an object in its place; answers whether the name is new.
    pub(super) fn insert(&mut self, object: Arc<Object>) -> bool {
        match self.find(&object.name) {
            Ok((run, place)) => {
                let slot = self.runs.get_mut(run).and_then(|run| Arc::make_mut(run).get_mut(place));
                if let Some(slot) = slot {
                    *slot = object;
                }
                false
            }
            Err((at, place)) => {
                self.objects += 1;
                let Some(run) = self.runs.get_mut(at) else {
                    self.runs.push(Arc::new(vec![object]));
                    return true;
                };
                let run = Arc::make_mut(run);
                run.insert(place.min(run.len()), object);
                if run.len() > RUN {
                    // What comes in order fills its runs; what comes anywhere leaves room in both halves.
                    let at_end = place + 1 == run.len();
                    let rest = run.split_off(if at_end { RUN } else { RUN / 2 });
                    self.runs.insert(at + 1, Arc::new(rest));
                }
                true
            }
        }
    }

    /// Takes an object away; answers whether it was there.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Ok((at, place)) = self.find(name) else { return false };
        let Some(run) = self.runs.get_mut(at).map(Arc::make_mut) else { return false };
        run.remove(place);
        if run.is_empty() {
            self.runs.remove(at);
        }
        self.objects = self.objects.saturating_sub(1);
        true
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.objects == other.objects && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests;
