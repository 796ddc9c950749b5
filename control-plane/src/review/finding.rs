//! What a review finds: each with the text it stands on, so that nobody has to take its word.

use serde::{Deserialize, Serialize};

use super::visible::visible_line;

/// How much a finding says of the intent of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; honest definitions have it too.
    Info,
    /// A person should look at it.
    Warn,
    /// No honest definition has it: no rule of a server approves it, a person does or nobody.
    High,
}

impl Severity {
    /// The severity as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::High => "high",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// It tells the model to set instructions aside.
    InstructionOverride,
    /// It tells the model to keep something from the user.
    InstructionSecrecy,
    /// It tells the model to prefer it, or to call it first.
    InstructionPrecedence,
    /// It speaks to the model as a model.
    RoleTalk,
    /// It imitates the marks that part a conversation.
    RoleMarkup,
    /// A comment that no page shows.
    HiddenComment,
    /// Encoded text.
    EncodedText,
    /// It speaks of another server's tools.
    OtherTool,
    /// It asks for secrets.
    AsksForSecrets,
    /// It asks for files or for the conversation.
    AsksForContext,
    /// It sends something to an address.
    SendsElsewhere,
    /// It holds a command.
    RunsCode,
    /// Characters that show nothing.
    HiddenCharacters,
    /// Characters that turn the direction of a text.
    DirectionControl,
    /// Characters that steer a terminal.
    ControlCharacters,
    /// Text that is pushed out of sight.
    PaddedText,
    /// Letters that look like others.
    LookalikeText,
    /// A name with letters that look like others.
    LookalikeName,
    /// A name that is another server's, or nearly.
    SquattingName,
    /// The read-only hint is gone.
    ReadOnlyDropped,
    /// The destructive hint came.
    DestructiveGained,
    /// It reaches the open world now.
    OpenWorldGained,
    /// Its words speak of more than they did.
    CapabilityGained,
    /// It says that it only reads, and its words say otherwise.
    ReadOnlyDoubted,
    /// It changes or destroys something.
    Writes,
    /// Its schema accepts anything.
    AcceptsAnything,
    /// Its schema accepts more than it did.
    SchemaOpened,
    /// A default or a choice that is no plain value.
    OddValue,
    /// It cannot be read.
    Unreadable,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// Where: a JSON Pointer (RFC 6901) into the definition, made visible. Ends in `/` and the name where the name itself is
    /// meant.
    pub path: String,
    /// The text that it stands on, made visible.
    pub text: String,
    /// One sentence.
    pub message: String,
}

/// The findings of a definition in short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Risk {
    /// The highest severity; absent where nothing was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<Severity>,
    /// How many findings there are.
    pub findings: usize,
}

impl Risk {
    /// Whether a person has to look before it is approved.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        self.highest == Some(Severity::High)
    }
}

/// How many findings of one severity are kept.
const MAX_OF_SEVERITY: usize = 40;
/// How many of one code are kept at one place.
const MAX_AT_PLACE: usize = 3;
/// How much of a text is shown with a finding, in characters.
const MAX_TEXT: usize = 240;
/// How much of a path is shown, in characters.
pub(super) const MAX_PATH: usize = 300;

/// Collects findings within bounds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    more: usize,
}

impl Findings {
    /// Adds one; `text` is what it stands on as it was found.
    pub(super) fn add(&mut self, code: Code, severity: Severity, path: &str, text: &str, message: &str) {
        if self.list.iter().filter(|finding| finding.severity == severity).count() >= MAX_OF_SEVERITY {
            self.more += 1;
            return;
        }
        let path = visible_line(path, MAX_PATH);
        // What is worse is never left out for what is not.
        let here =
            |finding: &&Finding| finding.code == code && finding.severity >= severity && finding.path == path;
        if self.list.iter().filter(here).count() >= MAX_AT_PLACE {
            self.more += 1;
            return;
        }
        let text = visible_line(text, MAX_TEXT);
        self.list.push(Finding { code, severity, path, text, message: message.to_owned() });
    }

    /// The worst first, and how many were left out.
    pub(super) fn sorted(mut self) -> (Vec<Finding>, usize) {
        self.list.sort_by(|a, b| (b.severity, a.code).cmp(&(a.severity, b.code)));
        (self.list, self.more)
    }
}
