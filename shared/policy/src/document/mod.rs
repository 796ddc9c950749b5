//! Text to resources: YAML or JSON, several documents to a file, every problem with its file, line and field.

use crate::resource::{Kind, Name, Resource};

/// A file to read: its name is only for messages.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    /// The name, for messages.
    pub name: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// What is wrong at one place. Prints as `file:line: Kind/name: spec.x: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 when there is none to name.
    pub line: u32,
    /// `Kind/name`, as far as they could be read; may be empty.
    pub resource: String,
    /// The field, such as `spec.grants[0].bundle`; may be empty.
    pub field: String,
    /// A sentence that says what is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        for part in [&self.resource, &self.field].into_iter().filter(|part| !part.is_empty()) {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A resource with the place that it was read from.
#[derive(Debug, Clone)]
pub struct Located {
    /// The resource.
    pub resource: Resource,
    /// The file.
    pub file: String,
}

impl Located {
    /// A problem with a field of this resource, at the field's line or that of the nearest thing around it.
    #[must_use]
    pub fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: 1,
            resource: format!("{}/{}", self.resource.kind(), self.resource.name()),
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// Reads every document of every file.
///
/// # Errors
/// All problems of all documents; nothing is to be applied then.
pub fn parse(files: &[SourceFile<'_>]) -> Result<Vec<Located>, Vec<Problem>> {
    let _ = files;
    Err(Vec::new())
}

impl Resource {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.spec.kind()
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.metadata.name
    }

    /// As it is written: `apiVersion`, `kind`, `metadata`, `spec`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Reads what [`Resource::to_json`] made.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, String> {
        let _ = value;
        Err(String::new())
    }
}
