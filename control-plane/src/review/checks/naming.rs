//! Names that are made to be taken for another server's, or for one that everybody knows.

use super::super::finding::{Code, Findings, Severity};
use super::super::names::Names;

/// Looks at a tool's name.
pub(in super::super) fn check(server: &str, name: &str, names: &Names, findings: &mut Findings) {
    if let Some(other) = names.exposed_by_other(server, name) {
        let says = format!("Clients know a tool of server {other} under exactly this name.");
        findings.add(Code::SquattingName, Severity::High, "/name", name, &says);
        return;
    }
    let Some((imitated, of)) = names.imitated(server, name) else { return };
    let whose = of.map_or_else(|| "that many clients know".to_owned(), |of| format!("of server {of}"));
    let imitated = super::super::visible::visible_line(imitated, 80);
    // Letters of other scripts are no slip of the hand.
    let severity = if name.is_ascii() { Severity::Warn } else { Severity::High };
    findings.add(
        Code::SquattingName,
        severity,
        "/name",
        name,
        &format!("It is easily taken for the tool {imitated:?} {whose}."),
    );
}
