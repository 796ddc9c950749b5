//! Why the registry refuses: whose fault it is, and whether trying again can help.

use portcullis_policy::document::Problem;

/// A request that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// What was sent is wrong: the caller's fault, no use in trying again.
    #[error("{}", first(.0))]
    Invalid(Vec<Problem>),
    /// What was asked does not fit what is there: a reference, a revoked key.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing.
    #[error("{0} does not exist")]
    NotFound(String),
    /// There is one already.
    #[error("{0} exists already")]
    Exists(String),
    /// Others kept changing the same store; trying again helps.
    #[error("too many changes at once; nothing was changed, try again")]
    Busy,
    /// The store could not keep it: the machine's fault, trying again may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A fault of Portcullis itself.
    #[error("internal error: {0}")]
    Internal(String),
}

fn first(problems: &[Problem]) -> String {
    match problems {
        [] => "nothing was sent".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

impl RegistryError {
    /// One problem that belongs to no document.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem {
            file: String::new(),
            line: 0,
            resource: String::new(),
            field: field.to_owned(),
            message: message.into(),
        }])
    }
}
