//! Conditions in Cedar: what an `AccessPolicy` may say, and what it says of one call.
//!
//! A leaf crate, because Cedar takes minutes to build. It knows no resource kinds, no snapshot, no IO and no clock: whoever
//! uses it hands over names and facts.
//!
//! The way through: [`Compiled::new`] reads policies and refuses what cannot be meant; [`Compiled::caller`] and
//! [`Compiled::target`] say once for each principal and each tool which policies can apply; [`Compiled::slice`] joins the two
//! (`None`: nothing applies, which is the common case and costs next to nothing); [`Slice::judge`] decides a call, and
//! [`Slice::foresee`] says whether there is anything to list.
//!
//! What a policy may read is in `schema.cedarschema`; how arguments are read, in `shape.rs` and `arguments.rs`.
#![forbid(unsafe_code)]

mod arguments;
mod cache;
mod compiled;
mod facts;
mod foresee;
mod number;
mod outcome;
mod plan;
mod problem;
mod read;
mod reads;
mod scope;
mod shape;
mod slice;
mod source;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::sync::Arc;

pub use compiled::{Caller, Compiled, Mention, Target};
pub use facts::{Annotations, CallFacts, PrincipalFacts, TargetFacts, TargetKind};
pub use outcome::{Cause, Denied, Outcome};
pub use problem::Problem;
pub use slice::Slice;

/// The Cedar schema that policies are validated against. The type of arguments is made for each policy, from how it reads them.
pub const SCHEMA: &str = vocabulary::SCHEMA;

/// Whether a policy decides or only records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It denies.
    Enforce,
    /// It records what it would have denied.
    Shadow,
}

/// One policy, as people wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Its name, unique among the policies.
    pub name: &'a str,
    /// One or more `forbid` statements of Cedar.
    pub cedar: &'a str,
    /// Whether it decides.
    pub mode: Mode,
}

/// A policy that was read.
#[derive(Debug)]
pub(crate) struct Known {
    name: Arc<str>,
    mode: Mode,
}
