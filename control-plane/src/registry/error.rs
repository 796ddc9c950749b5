//! Why the registry refuses: whose fault it is, and whether trying again can help.

use portcullis_policy::compile::CompileError;
use portcullis_policy::document::Problem;
use portcullis_seal::RandomError;

use super::references::listing;
use crate::governance::AccessError;
use crate::objects::DamagedObject;
use crate::publish::TransactError;
use crate::store::CommitError;

/// A request that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// What was sent is wrong: the caller's fault, no use in trying again.
    #[error("{}", first(.0))]
    Invalid(Vec<Problem>),
    /// What was asked does not fit what is there: a reference, a revoked key.
    #[error("{0}")]
    Refused(String),
    /// Who asked lacks a right: somebody else may have it.
    #[error("{0}")]
    Denied(String),
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

impl From<DamagedObject> for RegistryError {
    fn from(error: DamagedObject) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<AccessError> for RegistryError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(why) => Self::Denied(why),
            AccessError::Refused(why) => Self::Refused(why),
        }
    }
}

impl From<RandomError> for RegistryError {
    fn from(error: RandomError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A change that comes from no document: what the compiler refuses of it is told in one sentence.
impl From<TransactError<Self>> for RegistryError {
    fn from(error: TransactError<Self>) -> Self {
        match error {
            TransactError::Refused(error) => error,
            TransactError::Compile(errors) => {
                let texts: Vec<String> = errors.iter().map(CompileError::to_string).collect();
                Self::Refused(listing(&texts))
            }
            TransactError::Store(CommitError::Invalid(what)) => Self::invalid("", what),
            TransactError::Contended | TransactError::Store(CommitError::Conflict) => Self::Busy,
            TransactError::Store(CommitError::Unavailable(why)) => Self::Unavailable(why),
            TransactError::Internal(why) => Self::Internal(why),
        }
    }
}
