//! The operator's commands: each asks the control plane and prints the answer.

pub(crate) mod admin;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod explain;
pub(crate) mod keys;
pub(crate) mod planes;
pub(crate) mod reach;
pub(crate) mod replay;
pub(crate) mod resources;
pub(crate) mod secrets;
pub(crate) mod servers;
pub(crate) mod snapshot;
pub(crate) mod sources;
pub(crate) mod usage;
