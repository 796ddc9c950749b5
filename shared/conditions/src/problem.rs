//! What is wrong with a policy, and where in its text: authors read this at `apply`.

use std::fmt;

/// One thing that is wrong with a policy's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The policy's name.
    pub policy: String,
    /// The line in its Cedar text, from 1.
    pub line: u32,
    /// The column in that line, in characters, from 1.
    pub column: u32,
    /// What is wrong and what would be right: one sentence or two, without a full stop at the end.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}, column {}: {}", self.policy, self.line, self.column, self.message)
    }
}
