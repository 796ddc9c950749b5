//! An object that cannot be read for what its kind says it is.

use crate::store::Object;

/// An object is not what this version writes: damaged, or written by a newer one. No use in trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}/{name} in the store cannot be read: {detail}")]
pub struct DamagedObject {
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub detail: String,
}

impl DamagedObject {
    /// This object, and what is wrong with it.
    pub(crate) fn new(object: &Object, detail: String) -> Self {
        Self { kind: object.kind.to_string(), name: object.name.to_string(), detail }
    }
}
