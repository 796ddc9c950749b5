//! Conditions in Cedar: what an `AccessPolicy` may say, and what it says of one call.
//!
//! A leaf crate, because Cedar takes minutes to build. It knows no resource kinds, no snapshot, no IO and no clock: whoever
//! uses it hands over names and facts.
//!
//! The way through: [`Compiled::new`] reads policies and refuses what cannot be meant; [`Compiled::caller`] and
//! [`Compiled::target`] say once for each principal and each tool which policies can apply; [`Compiled::slice`] joins the two
//! (`None`: nothing applies, which is the common case and costs next to nothing); [`Slice::judge`] decides a call, and
//! [`Slice::foresee`] says whether there is anything to list.
#![forbid(unsafe_code)]

mod facts;
mod outcome;
mod problem;

use std::sync::Arc;

pub use facts::{Annotations, CallFacts, PrincipalFacts, TargetFacts, TargetKind};
pub use outcome::{Cause, Denied, Outcome};
pub use problem::Problem;

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

/// All policies of a snapshot, ready to be evaluated. It keeps bounded caches within: make one for each snapshot, and share it.
#[derive(Debug)]
pub struct Compiled {
    _private: (),
}

/// A principal, and which policies can apply to it. Belongs to the [`Compiled`] that made it.
#[derive(Debug)]
pub struct Caller {
    _private: (),
}

/// A tool, prompt or resource, and which policies can apply to it. Belongs to the [`Compiled`] that made it.
#[derive(Debug)]
pub struct Target {
    _private: (),
}

/// The policies that can apply to one principal and one target, with everything about the two that they may read.
#[derive(Debug)]
pub struct Slice {
    _private: (),
}

impl Compiled {
    /// Reads, validates and indexes policies.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, in the order of the policies.
    pub fn new(policies: &[Policy<'_>]) -> Result<Self, Vec<Problem>> {
        if policies.is_empty() {
            return Ok(Self { _private: () });
        }
        let refuse = |policy: &Policy<'_>| Problem {
            policy: policy.name.to_owned(),
            line: 1,
            column: 1,
            message: "conditions are not evaluated by this version".to_owned(),
        };
        Err(policies.iter().map(refuse).collect())
    }

    /// Whether there are no policies at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        true
    }

    /// What the policies need to know of a principal. Cheap enough to be made on first use and kept with the principal.
    #[must_use]
    pub fn caller(&self, facts: &PrincipalFacts<'_>) -> Caller {
        let _ = facts;
        Caller { _private: () }
    }

    /// What the policies need to know of a target. Cheap enough to be made for each tool when a snapshot is compiled.
    #[must_use]
    pub fn target(&self, facts: &TargetFacts<'_>) -> Target {
        let _ = facts;
        Target { _private: () }
    }

    /// The policies that can apply to both; `None` when no policy can.
    #[must_use]
    pub fn slice(&self, caller: &Caller, target: &Target) -> Option<Arc<Slice>> {
        let _ = (caller, target);
        None
    }
}

impl Slice {
    /// Decides one call.
    #[must_use]
    pub fn judge(&self, call: &CallFacts<'_>) -> Outcome {
        let _ = call;
        Outcome::default()
    }

    /// What holds of every call, whatever its arguments and its time: a denial here means that the target is not listed.
    /// `now_unix_ms` and `arguments` of `call` are not looked at.
    #[must_use]
    pub fn foresee(&self, call: &CallFacts<'_>) -> Outcome {
        let _ = call;
        Outcome::default()
    }

    /// Whether a policy of the slice reads the arguments: nobody needs to have them at hand otherwise.
    #[must_use]
    pub const fn reads_arguments(&self) -> bool {
        false
    }
}
