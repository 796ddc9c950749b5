//! Policy: what people write, what a snapshot holds, and the one function that decides.
//!
//! Compiled into both planes, so that what the control plane checks is what the data plane does. It knows no tokio, no
//! tonic, no clock and no file: time and documents are handed in.
//!
//! The way through this crate: [`document`] reads text into [`resource`]s, naming file, line and field of what is wrong;
//! [`check`] judges a whole set of resources (references, zones, names) as `apply` does; [`snapshot`] is the flat list of
//! entries that travels, is signed and is stored; [`compile`] turns it, whole or not at all, into the indexed [`Snapshot`];
//! [`decide`] answers one question from it, in the [`circumstances`] of one call; [`explain`] is the same run with every step
//! kept; [`reach`] asks it of everybody and everything, [`replay`] again of recorded calls; [`size`] and
//! [`live`] say what holds of a call beyond its decision, [`metering`] what it debits and costs.
#![forbid(unsafe_code)]

mod access;
pub mod address;
mod bundle;
pub mod check;
mod chosen;
pub mod circumstances;
pub mod compile;
mod conditions;
mod credentials;
pub mod decide;
pub mod document;
pub mod explain;
pub mod exposed;
#[cfg(test)]
pub(crate) mod fixture;
pub mod live;
pub mod metering;
pub mod opening;
pub mod pattern;
pub mod reach;
pub mod reason;
mod render;
pub mod replay;
pub mod resource;
pub mod rule;
pub mod secret;
pub mod size;
pub mod snapshot;
mod standpoint;
pub mod view;

/// The figures of this crate are measured with the allocator of the product: what compiling a large snapshot leaves to the system's
/// own is paid by whoever allocates next.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use check::{Finding, ResourceSet};
pub use circumstances::{Circumstances, ClientHint, Era};
pub use compile::{CompileError, HeaderParam, ParamKind, Principal, Prompt, Server, Snapshot, Tool};
pub use decide::{Denial, Permit, Permitted, Shadow, Target};
pub use document::{Located, Problem, SourceFile};
pub use explain::Explanation;
pub use exposed::exposed_name;
pub use pattern::Pattern;
pub use reason::Reason;
pub use rule::{DefinitionKind, Rule, RulePath};
pub use size::Carried;
pub use snapshot::{Entry, EntryError, SnapshotHeader, SnapshotVersion};
pub use view::{Endpoint, EndpointRef, View, ViewPrompt, ViewTool};
