//! Which client capability a server's request needs, and whether the client declared it.

use portcullis_mcp::object;
use serde_json::value::RawValue;

/// A capability that a request to the client needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needed {
    name: &'static str,
    sub: Option<&'static str>,
}

impl Needed {
    /// What asking a user to open a link needs.
    pub(super) const LINK: Self = Self { name: "elicitation", sub: Some("url") };

    /// What a request of this method needs; `None` for a method that clients do not answer.
    pub(super) fn of(method: &str, params: Option<&RawValue>) -> Option<Self> {
        let member = |name| params.and_then(|params| object::member(params, name));
        let (name, sub) = match method {
            "roots/list" => ("roots", None),
            "sampling/createMessage" => ("sampling", member("tools").map(|_| "tools")),
            "elicitation/create" => {
                let mode = member("mode").and_then(object::string);
                ("elicitation", (mode.as_deref() == Some("url")).then_some("url"))
            }
            _ => return None,
        };
        Some(Self { name, sub })
    }

    /// Whether these capabilities contain it.
    pub(super) fn is_declared(self, capabilities: &RawValue) -> bool {
        let Some(found) = object::member(capabilities, self.name) else { return false };
        self.sub.is_none_or(|sub| object::member(found, sub).is_some())
    }

    /// It as a `ClientCapabilities` object.
    pub(super) fn as_json(self) -> String {
        match self.sub {
            None => format!("{{\"{}\":{{}}}}", self.name),
            Some(sub) => format!("{{\"{}\":{{\"{sub}\":{{}}}}}}", self.name),
        }
    }
}
