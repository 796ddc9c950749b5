//! What a document says of the resource that is there: its uid and its version, as `get` showed them. Neither is part of the
//! resource; both are checked, so that a document that was got, changed and applied cannot meet another resource or undo what
//! others did meanwhile.

use portcullis_policy::document::{Located, Problem};
use portcullis_policy::resource::Resource;

use super::built_in;
use super::references::label;
use crate::store::State;

/// What is wrong with the uid and the version that a document names.
pub(super) fn problems(state: &State, document: &Located) -> Vec<Problem> {
    let resource = &document.resource;
    let (kind, name) = (resource.kind(), resource.name());
    let what = label(kind, name);
    let present = state.get(kind.as_str(), name.as_str());
    let there = match present {
        Some(object) => Some((object.uid, object.version)),
        None => {
            built_in(kind).filter(|view| *view.name == *name.as_str()).map(|view| (view.uid, view.version))
        }
    };
    let mut problems = Vec::new();
    if let Some(uid) = document.given_uid {
        let message = match there {
            Some((present, _)) if present == uid => None,
            Some((present, _)) => Some(format!(
                "{what} has another uid now, {present}: the one that was meant is gone. To change the present one, leave the uid out"
            )),
            None => {
                Some(format!("{what} does not exist: to create it, leave the uid out, which it gets anew"))
            }
        };
        problems.extend(message.map(|message| document.problem("metadata.uid", message)));
    }
    if let Some(version) = document.given_version.filter(|_| problems.is_empty()) {
        let message = match (there, present) {
            (Some((_, now)), _) if now == version => None,
            // What is already as it should be undoes nothing: the same file may be applied twice.
            (_, Some(object)) if object.body == resource.to_json() => None,
            (Some((_, now)), _) if now > version => Some(format!(
                "{what} changed since version {version}: it is at version {now}. Get it again, or leave the version out"
            )),
            (Some((_, now)), _) => {
                Some(format!("{what} is at version {now} and never was at version {version}"))
            }
            (None, _) => Some(format!("{what} does not exist: to create it, leave the version out")),
        };
        problems.extend(message.map(|message| document.problem("metadata.version", message)));
    }
    problems
}

/// Whether the document is what `get` shows of something built in: that stays as it is, and does not become a definition.
pub(super) fn is_built_in(document: &Located) -> bool {
    document.given_uid.is_some()
        && built_in(document.resource.kind()).is_some_and(|view| {
            *view.name == *document.resource.name().as_str()
                && Resource::from_json(&view.document).is_ok_and(|built_in| built_in == document.resource)
        })
}
