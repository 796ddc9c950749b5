//! Reviews of definitions: what changed against what was approved, and what a person should look at before saying yes.
//!
//! Pure: definitions and names in, a report out. It decides nothing, knows no store and no rules of servers; `catalog` asks
//! it once for each definition that it sees first, `approvals` when somebody looks. Everything it gives away is bounded and
//! made visible: what an upstream wrote is shown to a person here, and to the person's terminal.

mod chars;
mod checks;
mod diff;
mod finding;
mod lookalike;
mod names;
mod phrases;
mod rules;
mod show;
mod texts;
mod tree;
mod visible;
mod words;

use serde::{Deserialize, Serialize};

pub use diff::{Change, ChangeKind, Piece, PieceKind};
pub use finding::{Code, Finding, Risk, Severity};
pub use names::Names;
pub use show::text;
pub use visible::{is_visible, visible, visible_line};

use checks::{capability, encoded, hidden, markup, naming, others, schema, spoken, values};
use finding::Findings;
use tree::Tree;

/// What is reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// `instructions` and `serverInfo` of a server.
    Identity,
}

/// One definition to review.
#[derive(Debug, Clone, Copy)]
pub struct Definition<'a> {
    /// What it is.
    pub subject: Subject,
    /// The name of its server.
    pub server: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What is offered, as JSON.
    pub offered: &'a str,
    /// What is approved, as JSON; `None` where nothing is.
    pub approved: Option<&'a str>,
}

/// What a person reads before deciding. All texts are made visible.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// The findings in short.
    pub risk: Risk,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// How many findings there are beside these.
    pub more_findings: usize,
    /// Whether something was approved, that the changes lead from; otherwise they show all that there is.
    pub changed: bool,
    /// The changes.
    pub changes: Vec<Change>,
    /// How many changes there are beside these.
    pub more_changes: usize,
}

/// Reviews a definition.
#[must_use]
pub fn review(definition: &Definition<'_>, names: &Names) -> Review {
    let offered = Tree::parse(definition.offered);
    let approved = definition.approved.map(Tree::parse);
    let (findings, more_findings) =
        look(definition, offered.as_ref().ok(), approved_tree(approved.as_ref()), names).sorted();
    let (changes, more_changes) = match (&offered, &approved) {
        (Ok(offered), None) => diff::changes(None, Some(offered)),
        (Ok(offered), Some(Ok(approved))) => diff::changes(Some(approved), Some(offered)),
        // Nothing that is stored cannot be read; should it be so, it is shown as a text.
        _ => {
            let whole = |text: &str| Tree::Text(text.to_owned());
            diff::changes(definition.approved.map(whole).as_ref(), Some(&whole(definition.offered)))
        }
    };
    let risk = risk_of(&findings, more_findings);
    Review { risk, findings, more_findings, changed: definition.approved.is_some(), changes, more_changes }
}

/// The findings of a definition in short, without the changes.
#[must_use]
pub fn risk(definition: &Definition<'_>, names: &Names) -> Risk {
    let offered = Tree::parse(definition.offered);
    let approved = definition.approved.map(Tree::parse);
    let (findings, more) =
        look(definition, offered.as_ref().ok(), approved_tree(approved.as_ref()), names).sorted();
    risk_of(&findings, more)
}

fn approved_tree(approved: Option<&Result<Tree, tree::Unreadable>>) -> Option<&Tree> {
    approved.and_then(|approved| approved.as_ref().ok())
}

fn risk_of(findings: &[Finding], more: usize) -> Risk {
    let highest = findings.iter().map(|finding| finding.severity).max();
    Risk { highest, findings: findings.len() + more }
}

fn look(
    definition: &Definition<'_>,
    offered: Option<&Tree>,
    approved: Option<&Tree>,
    names: &Names,
) -> Findings {
    let mut findings = Findings::default();
    let Some(offered) = offered else {
        let says = "It cannot be read as a definition.";
        findings.add(Code::Unreadable, Severity::High, "", definition.offered, says);
        return findings;
    };
    for text in texts::texts(offered) {
        hidden::check(&text, &mut findings);
        markup::check(&text, &mut findings);
        encoded::check(&text, &mut findings);
        let words = spoken::words_of(&text);
        spoken::check(&text, &words, &mut findings);
        others::check(&text, &words, definition.server, names, &mut findings);
        values::check(&text, &words, &mut findings);
    }
    if definition.subject == Subject::Tool {
        naming::check(definition.server, definition.name, names, &mut findings);
        capability::check(definition.name, offered, approved, &mut findings);
        schema::check(offered, approved, &mut findings);
    }
    findings
}

#[cfg(test)]
mod tests;
