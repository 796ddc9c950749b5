//! The one place where a refusal becomes a gRPC status.

use bytes::Bytes;
use portcullis_policy::document::Problem;
use portcullis_proto::admin::v1 as proto;
use prost::Message as _;
use tonic::{Code, Status};

use crate::registry::RegistryError;

/// A gRPC status message travels in a header: longer ones are cut, the details hold all.
const MAX_MESSAGE: usize = 1024;
/// Details travel in a header too. What does not fit is counted in the message.
const MAX_DETAILS: usize = 6 * 1024;

impl From<RegistryError> for Status {
    fn from(error: RegistryError) -> Self {
        let message = cut(&error.to_string());
        match error {
            RegistryError::Invalid(problems) => with_problems(Code::InvalidArgument, message, &problems),
            RegistryError::Refused(_) => one_problem(Code::FailedPrecondition, "", message),
            RegistryError::NotFound(_) => Self::not_found(message),
            RegistryError::Exists(_) => Self::already_exists(message),
            RegistryError::Busy => Self::aborted(message),
            RegistryError::Unavailable(_) => Self::unavailable(message),
            RegistryError::Internal(_) => Self::internal(message),
            RegistryError::Denied(_) => Self::permission_denied(message),
        }
    }
}

/// A status with [`proto::Problems`] as its details: as many as fit.
pub(crate) fn with_problems(code: Code, message: String, problems: &[Problem]) -> Status {
    let mut details = proto::Problems::default();
    let mut length = 0;
    for problem in problems {
        let problem = problem_to_proto(problem);
        length += problem.encoded_len() + 4;
        if length > MAX_DETAILS && !details.problems.is_empty() {
            break;
        }
        details.problems.push(problem);
    }
    if let Some(left) = problems.len().checked_sub(details.problems.len()).filter(|left| *left > 0) {
        details.problems.push(proto::Problem {
            message: format!("and {left} more problems like these"),
            ..proto::Problem::default()
        });
    }
    Status::with_details(code, message, Bytes::from(details.encode_to_vec()))
}

/// A status about one field; an empty one when the whole request is meant.
pub(crate) fn one_problem(code: Code, field: &str, message: String) -> Status {
    let message = cut(&message);
    let (file, resource, field) = (String::new(), String::new(), field.to_owned());
    with_problems(code, message.clone(), &[Problem { file, line: 0, resource, field, message }])
}

/// A problem as it travels.
pub(crate) fn problem_to_proto(problem: &Problem) -> proto::Problem {
    proto::Problem {
        file: problem.file.clone(),
        line: problem.line,
        resource: problem.resource.clone(),
        field: problem.field.clone(),
        message: cut(&problem.message),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
