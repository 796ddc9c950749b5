//! Who is behind a server: kept beside it, so that four eyes can be told without reading the history.

use std::sync::Arc;

use portcullis_policy::resource::{Kind, Uid};
use serde::{Deserialize, Serialize};

use crate::store::{Op, State};

/// The kind of the objects that hold an [`Authorship`]; their name is the server's uid.
pub(crate) const AUTHORSHIP: &str = "Authorship";

/// The body of an `Authorship` object: authors as history names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Authorship {
    registered_by: String,
    changed_by: String,
}

/// Who registered a server and who changed it last.
pub(crate) fn authors(state: &State, server: &Uid) -> Vec<String> {
    let object = state.get(AUTHORSHIP, &server.to_string());
    match object.and_then(|object| Authorship::deserialize(&object.body).ok()) {
        Some(known) => vec![known.registered_by, known.changed_by],
        None => Vec::new(),
    }
}

/// The operations that go with these, so that it stays known who is behind each server.
pub(crate) fn with_authors(state: &State, ops: &[Op], author: &str) -> Vec<Op> {
    let servers = ops.iter().filter(|op| &**op.key().0 == Kind::McpServer.as_str());
    servers.filter_map(|op| step(state, op, author)).collect()
}

fn step(state: &State, op: &Op, author: &str) -> Option<Op> {
    match op {
        Op::Put { uid, .. } => {
            let name: Arc<str> = uid.to_string().into();
            let known = state.get(AUTHORSHIP, &name);
            let before = known.and_then(|object| Authorship::deserialize(&object.body).ok());
            let registered_by = before.map_or_else(|| author.to_owned(), |known| known.registered_by);
            let body =
                serde_json::to_value(Authorship { registered_by, changed_by: author.to_owned() }).ok()?;
            let own = known.map_or_else(|| Uid(uuid::Uuid::new_v4()), |object| object.uid);
            Some(Op::Put { kind: AUTHORSHIP.into(), name, uid: own, body })
        }
        Op::Delete { name, .. } => {
            let server = state.get(Kind::McpServer.as_str(), name)?;
            Some(Op::Delete { kind: AUTHORSHIP.into(), name: server.uid.to_string().into() })
        }
    }
}
