//! What the policies of a slice say of one call.

use std::sync::Arc;

/// Why a policy denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It applies, and its conditions hold.
    Forbids,
    /// It cannot be evaluated; the sentence says why. A rule that cannot be evaluated denies.
    Unevaluable(String),
}

/// One policy that denies, or that would if it were enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Why.
    pub cause: Cause,
}

/// What the policies of a slice say of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first enforced policy that denies, by name; the call may go on when there is none.
    pub denied: Option<Denied>,
    /// The policies in shadow mode that would have denied, by name.
    pub shadow: Vec<Denied>,
}
