//! Policy: what people write, what a snapshot holds, and the one function that decides.
//!
//! Compiled into both planes, so that what the control plane checks is what the data plane does. It knows no tokio, no
//! tonic, no clock and no file: time and documents are handed in.
//!
//! The way through this crate: [`document`] reads text into [`resource`]s, naming file, line and field of what is wrong;
//! [`check`] judges a whole set of resources (references, zones, names) as `apply` does; [`snapshot`] is the flat list of
//! entries that travels, is signed and is stored; [`compile`] turns it, whole or not at all, into the indexed [`Snapshot`];
//! [`decide`] answers one question from it; [`explain`] is the same run with every step kept.
#![forbid(unsafe_code)]

pub mod reason;
pub mod resource;
pub mod snapshot;

pub use reason::Reason;
