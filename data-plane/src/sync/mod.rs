//! What is enforced, and how it gets here: the conversation with the control plane, verification, disk, swap.
//!
//! It alone puts a snapshot in force. It knows nothing of calls: the others read [`Live`] and [`SecretsHandle`].

mod live;
mod outbox;
mod probing;
mod secrets;
mod signals;

pub use live::Live;
pub use probing::{Findings, ProbeAssignment, Probing};
pub use secrets::{SecretValue, Secrets, SecretsHandle};
pub use signals::{Signal, Signals};
