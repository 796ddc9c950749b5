//! What a command ends with when it does not end well: sentences for stderr, and an exit status.

use std::fmt;
use std::process::ExitCode;

use portcullis_proto::admin::v1::Problems;
use prost::Message as _;

/// Whose fault it is: what was typed, or what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What was typed cannot be right, whatever the state of the world.
    Usage,
    /// It was refused, or it failed.
    Refused,
}

/// A command did not do what it was asked to. Every line goes to stderr.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    lines: Vec<String>,
}

impl Failure {
    /// Refused or failed.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, lines: vec![line.into()] }
    }

    /// Wrong usage: no second try with the same words can succeed.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, lines: vec![line.into()] }
    }

    /// Refused or failed, with what was being done, when a lower layer only says what went wrong.
    pub(crate) fn of(doing: impl fmt::Display, why: impl std::error::Error) -> Self {
        Self::new(chain(doing, &why))
    }

    /// Wrong usage, with the flag or setting that is wrong.
    pub(crate) fn usage_of(setting: impl fmt::Display, why: impl std::error::Error) -> Self {
        Self::usage(chain(setting, &why))
    }

    /// 1 when refused or failed, 2 for wrong usage.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Refused => ExitCode::FAILURE,
            Kind::Usage => ExitCode::from(2),
        }
    }
}

/// An error with its causes, none of them twice.
fn chain(doing: impl fmt::Display, why: &dyn std::error::Error) -> String {
    let mut line = format!("{doing}: {why}");
    let mut source = why.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !line.contains(&cause_text) {
            line = format!("{line}: {cause_text}");
        }
        source = cause.source();
    }
    line
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        if let Ok(problems) = Problems::decode(status.details())
            && !problems.problems.is_empty()
        {
            return Self { kind: Kind::Refused, lines: problems.problems.iter().map(problem_line).collect() };
        }
        use tonic::Code;
        Self::new(match status.code() {
            // What answered is a web server that knows nothing of gRPC.
            _ if status.message().starts_with("grpc-status header missing")
                || status.message().contains("invalid compression flag") =>
            {
                "this is not a control plane's gRPC port; its default is 7410".to_owned()
            }
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
