//! The audit spool: one record for each call, on disk before the call's answer ends.
//!
//! A place for the record is reserved, for real, before anything is sent upstream; so a call whose record cannot be kept
//! does not happen. The room knows records and files, and nothing of calls.
//!
//! `spool` gives places; `files` chooses where they lead; `segment` is one file; `frame` is the form of one record in it, `encode` its text; `keeper` is the
//! thread that makes, closes and syncs files; `read` is the way back.

mod encode;
mod files;
mod filter;
mod fit;
pub(crate) mod frame;
mod keeper;
mod read;
mod record;
mod segment;
mod spool;

/// The spool's directory within a data plane's state.
pub const DIRECTORY: &str = "audit";

pub use filter::Filter;
pub use fit::TooLong;
pub use read::{ReadError, Records, read, read_tail};
pub use record::{
    ApprovalFacts, AuditRecord, Decision, KeyFacts, LatencySplit, Outcome, PrincipalFacts, Sizes, SpentFacts,
    SpentLine, UpstreamFacts,
};
pub use spool::{Place, Spool, SpoolConfig, SpoolError, SpoolFull, SpoolStats};
