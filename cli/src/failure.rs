//! What a command ends with when it does not end well: sentences for stderr, and exit status 1.

use std::fmt;

use portcullis_proto::admin::v1::Problems;
use prost::Message as _;

/// A command was refused or failed. Every line goes to stderr.
#[derive(Debug)]
pub(crate) struct Failure(Vec<String>);

impl Failure {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }

    /// With what was being done, when a lower layer only says what went wrong.
    pub(crate) fn of(doing: impl fmt::Display, why: impl std::error::Error) -> Self {
        let mut line = format!("{doing}: {why}");
        let mut source = why.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !line.contains(&cause_text) {
                line = format!("{line}: {cause_text}");
            }
            source = cause.source();
        }
        Self(vec![line])
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        if let Ok(problems) = Problems::decode(status.details())
            && !problems.problems.is_empty()
        {
            return Self(problems.problems.iter().map(problem_line).collect());
        }
        use tonic::Code;
        Self::new(match status.code() {
            Code::Unauthenticated => {
                "the control plane does not accept this token; give an administrator's with --token, PORTCULLIS_TOKEN, \
                 or run where DATA_DIR/admin.token is"
                    .to_owned()
            }
            Code::Unavailable | Code::Unknown if status.message().contains("transport error") => {
                "the connection to the control plane broke".to_owned()
            }
            _ => status.message().to_owned(),
        })
    }
}

/// `file:line: Kind/name: field: message`, without the parts that are not known.
pub(crate) fn problem_line(problem: &portcullis_proto::admin::v1::Problem) -> String {
    let mut parts = Vec::with_capacity(4);
    match (problem.file.as_str(), problem.line) {
        ("", _) => {}
        (file, 0) => parts.push(file.to_owned()),
        (file, line) => parts.push(format!("{file}:{line}")),
    }
    for part in [&problem.resource, &problem.field, &problem.message] {
        if !part.is_empty() {
            parts.push(part.clone());
        }
    }
    parts.join(": ")
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
