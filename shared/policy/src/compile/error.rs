//! Why entries are no snapshot.

/// One reason why entries are no snapshot. The fault is with whoever built them; the same entries never compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A reference leads nowhere.
    #[error("{from}: {field} names the {kind} {to:?}, which is not there")]
    Dangling {
        /// What refers, such as `VirtualKey/support-bot`.
        from: String,
        /// The field that refers.
        field: String,
        /// The kind that it refers to.
        kind: &'static str,
        /// The name or uid that it refers to.
        to: String,
    },
    /// Two entries claim one thing.
    #[error("two {what} claim {value:?}: {first} and {second}")]
    Duplicate {
        /// What is claimed, such as `exposed tool names`.
        what: &'static str,
        /// Which one.
        value: String,
        /// One claimant.
        first: String,
        /// The other.
        second: String,
    },
    /// An entry cannot be what it says.
    #[error("{entry}: {message}")]
    Invalid {
        /// The entry.
        entry: String,
        /// What is wrong.
        message: String,
    },
    /// There were more; they are left out.
    #[error("and {0} more")]
    More(usize),
}
