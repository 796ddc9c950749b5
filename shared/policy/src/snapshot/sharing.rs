//! Keys with equal grants share one list of them. In an organisation of 100,000 keys nearly all memory of a snapshot would be copies.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Entry, EntryError};
use crate::resource::Grant;

/// The lists of grants that were met so far.
#[derive(Debug, Default)]
pub struct SharedGrants {
    known: HashSet<Arc<[Grant]>>,
}

impl SharedGrants {
    /// Reads a body, as [`Entry::decode`], and shares what it can.
    ///
    /// # Errors
    /// Those of [`Entry::decode`].
    pub fn decode(&mut self, kind: &str, body: &[u8]) -> Result<Entry, EntryError> {
        let mut entry = Entry::decode(kind, body)?;
        self.share(&mut entry);
        Ok(entry)
    }

    /// Makes a key use the list that an equal one uses.
    pub fn share(&mut self, entry: &mut Entry) {
        let Entry::Key(key) = entry else { return };
        // One that somebody else uses keeps what it has.
        let Some(key) = Arc::get_mut(key) else { return };
        match self.known.get(&key.grants) {
            Some(known) => key.grants = Arc::clone(known),
            None => {
                self.known.insert(Arc::clone(&key.grants));
            }
        }
    }

    /// Forgets what nobody uses any more.
    pub fn tidy(&mut self) {
        self.known.retain(|grants| Arc::strong_count(grants) > 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::key;

    #[test]
    fn equal_grants_are_one_list_and_forgotten_with_the_last_key() {
        let mut shared = SharedGrants::default();
        let mut grants = |name: &str, tool: &str| {
            let mut entry = key(name, "internal", &json!([{ "server": "crm", "allow": [tool] }]));
            shared.share(&mut entry);
            let Entry::Key(key) = entry else { panic!("a key") };
            Arc::clone(&key.grants)
        };
        let (one, same, other) = (grants("a", "x"), grants("b", "x"), grants("c", "y"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        drop((one, same));
        shared.tidy();
        assert_eq!(shared.known.iter().collect::<Vec<_>>(), [&other]);
    }
}
