//! What is true: every object of the control plane, each change to it, and who made it.
//!
//! [`Store`] is the port that the rooms above stand on: a state that is read without waiting, a commit that names the
//! version it was made from, history, watch. [`JournalStore`] is the store of one machine: an append-only journal is the
//! truth, and sled is an index that can be thrown away. [`Vault`] is where the things live that a journal must never see.
//!
//! This room knows nothing of resources, keys or planes: an object is a kind, a name, a uid and a JSON body.

pub(crate) mod disk;
mod error;
mod frame;
mod history;
mod index;
pub(crate) mod journal;
pub(crate) mod lock;
mod ordered;
mod plan;
mod port;
mod record;
mod recover;
mod segment;
mod single;
mod state;
mod transact;
mod vault;
mod writer;

pub use error::StoreError;
pub use journal::CutTail;
pub use port::{
    Change, CommitError, HistoryChange, HistoryError, HistoryFilter, HistoryRecord, MAX_AUTHOR_BYTES,
    MAX_BODY_BYTES, MAX_HISTORY_RECORDS, MAX_KIND_BYTES, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_OBJECTS,
    MAX_OPS, MAX_RECORD_BYTES, Op, Store, WriteTurn,
};
pub use recover::{IndexFound, Opened};
pub use single::JournalStore;
pub use state::{Object, State};
pub use transact::{TransactError, transact};
pub use vault::{
    MAX_SECRET_BYTES, MAX_SECRETS, MAX_TOTAL_BYTES, SealingKey, SecretInfo, SecretPart, SecretValue, Vault,
    VaultError,
};
