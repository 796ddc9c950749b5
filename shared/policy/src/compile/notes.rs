//! What a compilation finds: errors, which end it, and reports, which do not.

use super::CompileError;

/// More errors than these help nobody.
const MAX_ERRORS: usize = 100;
/// Reports beyond these are counted only.
const MAX_REPORTS: usize = 1_000;

/// What is wrong, and what is worth a report.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) errors: Vec<CompileError>,
    reports: Vec<String>,
    reports_left_out: usize,
}

impl Notes {
    pub(super) fn dangling(
        &mut self,
        from: String,
        field: impl Into<String>,
        kind: &'static str,
        to: impl ToString,
    ) {
        self.errors.push(CompileError::Dangling { from, field: field.into(), kind, to: to.to_string() });
    }

    pub(super) fn invalid(&mut self, entry: String, message: impl Into<String>) {
        self.errors.push(CompileError::Invalid { entry, message: message.into() });
    }

    pub(super) fn duplicate(
        &mut self,
        what: &'static str,
        value: impl ToString,
        first: String,
        second: String,
    ) {
        self.errors.push(CompileError::Duplicate { what, value: value.to_string(), first, second });
    }

    pub(super) fn report(&mut self, sentence: String) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.push(sentence);
        } else {
            self.reports_left_out += 1;
        }
    }

    /// The reports, with a last one for those that were left out.
    pub(super) fn into_reports(mut self) -> Vec<String> {
        if self.reports_left_out > 0 {
            self.reports.push(format!("and {} more reports", self.reports_left_out));
        }
        self.reports
    }

    pub(super) fn into_errors(mut self) -> Vec<CompileError> {
        if self.errors.len() > MAX_ERRORS {
            let more = self.errors.len() - MAX_ERRORS;
            self.errors.truncate(MAX_ERRORS);
            self.errors.push(CompileError::More(more));
        }
        self.errors
    }
}
