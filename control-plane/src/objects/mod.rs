//! What the store's objects mean to the rooms above: resources as a set to judge, the secrets of keys, and how
//! far servers have come.
//!
//! The store keeps objects and knows nothing of them. `publish`, `registry` and `keys` read the same ones; what they share
//! is here, below all of them, so that none of them needs another to understand the store.

mod damaged;
mod key_material;
mod key_secret;
mod parsed;
mod server_state;
mod settings;

pub use damaged::DamagedObject;
pub use key_material::{KEY_MATERIAL, KeyMaterial, MAX_SECRETS};
pub use key_secret::{KEY_PREFIX, NewKey};
pub(crate) use parsed::Parsed;
pub use server_state::{Lifecycle, SERVER_STATE, ServerState, StageReached};
pub(crate) use settings::Settings;
