//! The audit spool: one record for each call, on disk before the call's answer ends.
//!
//! A place for the record is reserved, for real, before anything is sent upstream; so a call whose record cannot be kept
//! does not happen. The room knows records and files, and nothing of calls.

mod record;
mod spool;

pub use record::{
    AuditRecord, Decision, KeyFacts, LatencySplit, Outcome, PrincipalFacts, Sizes, UpstreamFacts,
};
pub use spool::{Place, Spool, SpoolConfig, SpoolError, SpoolFull};
