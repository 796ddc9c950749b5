//! The resources of a state as a set to judge, brought up to date from one judgement to the next.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_policy::check::ResourceSet;
use portcullis_policy::resource::{Kind, Name, Resource};

use super::DamagedObject;
use crate::store::{Object, State};

/// The set of the last state that was judged.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    set: ResourceSet,
    made_of: HashMap<(Kind, Arc<str>), Arc<Object>>,
}

impl Parsed {
    /// The set of a state; only what changed since the last time is read.
    ///
    /// # Errors
    /// When an object of a known kind is no resource.
    pub(crate) fn of(&mut self, state: &State) -> Result<&mut ResourceSet, DamagedObject> {
        let gone: Vec<(Kind, Arc<str>)> = self
            .made_of
            .keys()
            .filter(|(kind, name)| state.get(kind.as_str(), name).is_none())
            .cloned()
            .collect();
        for (kind, name) in gone {
            self.made_of.remove(&(kind, Arc::clone(&name)));
            if let Ok(name) = name.parse::<Name>() {
                self.set.remove(kind, &name);
            }
        }
        for kind in Kind::ALL {
            for object in state.list(kind.as_str()) {
                let key = (*kind, Arc::clone(&object.name));
                if self.made_of.get(&key).is_some_and(|known| Arc::ptr_eq(known, object)) {
                    continue;
                }
                let resource =
                    Resource::from_json(&object.body).map_err(|detail| DamagedObject::new(object, detail))?;
                self.set.insert(resource);
                self.made_of.insert(key, Arc::clone(object));
            }
        }
        Ok(&mut self.set)
    }
}
