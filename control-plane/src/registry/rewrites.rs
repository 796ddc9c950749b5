//! What the rewrites of a bundle were written for: the definition of each tool that was approved at the time.
//!
//! A rewrite stays when its tool changes, and may then no longer describe it. So that this can be told, each text is kept with
//! the pin that it was written for, for as long as the text stays the same.

use portcullis_policy::resource::{Kind, Name, Spec, ToolBundleSpec, ToolRewrite, Uid};
use portcullis_seal::{Fingerprint, to_canonical_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalog::{self, DEFINITION, DefinitionKind, StoredDefinition};
use crate::store::{Object, Op, State};

/// The kind of the objects that hold a [`Written`]; their name is the bundle's uid.
pub(super) const BUNDLE_REWRITES: &str = "BundleRewrites";

/// The body of a `BundleRewrites` object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// One for each rewrite, in the order of the bundle.
    rewrites: Vec<WrittenFor>,
}

/// One rewrite, and what it was written for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFor {
    /// The server's name.
    server: Name,
    /// The upstream's name of the tool.
    tool: String,
    /// The fingerprint of the rewrite itself.
    text: Fingerprint,
    /// The tool's definition at the time: the approved one, or what was offered; absent when nobody had seen the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<Fingerprint>,
}

/// How one rewrite stands.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// Its place, such as `spec.tools[0].rewrite[0]`.
    pub(super) field: String,
    server: Name,
    rewrite: ToolRewrite,
    written_for: Option<Fingerprint>,
    approved: Option<Fingerprint>,
    /// That the tool is another one than it was written for.
    pub(super) warning: Option<String>,
}

impl Rewritten {
    /// As `describe` shows it.
    pub(super) fn to_json(&self) -> Value {
        let mut shown = json!({ "server": self.server, "tool": self.rewrite.name });
        if let Some(members) = shown.as_object_mut() {
            let pins = [("writtenFor", &self.written_for), ("approved", &self.approved)];
            members.extend(
                pins.into_iter().filter_map(|(name, pin)| {
                    pin.as_ref().map(|pin| (name.to_owned(), pin.to_string().into()))
                }),
            );
            members
                .extend(self.rewrite.alias.iter().map(|alias| ("alias".to_owned(), alias.as_str().into())));
            members.extend(self.warning.iter().map(|text| ("warning".to_owned(), text.as_str().into())));
        }
        shown
    }
}

/// The step that keeps what a bundle's rewrites are written for, once this is its spec; none where nothing changes.
pub(super) fn op(state: &State, uid: Uid, spec: &Spec) -> Option<Op> {
    let Spec::ToolBundle(spec) = spec else { return None };
    let before = of(state, &uid);
    let after = Written {
        rewrites: each(spec)
            .map(|(_, server, rewrite)| {
                let text = fingerprint(rewrite);
                let known = before.find(server, &rewrite.name, &text);
                let pin = known.map_or_else(|| seen(state, server, &rewrite.name), |known| known.pin);
                WrittenFor { server: server.clone(), tool: rewrite.name.clone(), text, pin }
            })
            .collect(),
    };
    if after == before {
        return None;
    }
    let (kind, name) = (BUNDLE_REWRITES.into(), uid.to_string().into());
    match serde_json::to_value(&after) {
        Ok(body) if !after.rewrites.is_empty() => Some(Op::Put { kind, name, uid, body }),
        _ => state.get(BUNDLE_REWRITES, &uid.to_string()).map(|_| Op::Delete { kind, name }),
    }
}

/// How the rewrites of a bundle stand. Those that are new are written for what is there now.
pub(super) fn standing(state: &State, uid: Option<&Uid>, spec: &ToolBundleSpec) -> Vec<Rewritten> {
    let written = uid.map(|uid| of(state, uid)).unwrap_or_default();
    each(spec)
        .map(|(field, server, rewrite)| {
            let known = written.find(server, &rewrite.name, &fingerprint(rewrite));
            let approved = stored(state, server, &rewrite.name).and_then(|stored| stored.approved);
            let approved = approved.map(|approved| approved.pin);
            let written_for = known.map_or_else(|| seen(state, server, &rewrite.name), |known| known.pin);
            let changed = approved.is_some() && approved != written_for;
            let warning = changed.then(|| {
                let name = &rewrite.name;
                match written_for {
                    Some(pin) => format!(
                        "{name} of {server} was approved anew since this was written for {pin}: it may no longer \
                         describe the tool"
                    ),
                    None => format!(
                        "this was written before anybody had seen {name} of {server}: it may not describe the tool"
                    ),
                }
            });
            let (server, rewrite) = (server.clone(), rewrite.clone());
            Rewritten { field, server, rewrite, written_for, approved, warning }
        })
        .collect()
}

/// What goes with a bundle.
pub(super) fn ended(state: &State, uid: &Uid) -> Option<Op> {
    let name = uid.to_string();
    state.get(BUNDLE_REWRITES, &name)?;
    Some(Op::Delete { kind: BUNDLE_REWRITES.into(), name: name.into() })
}

/// How the rewrites of a bundle in the store stand.
pub(super) fn of_object(state: &State, object: &Object) -> Vec<Rewritten> {
    let resource = portcullis_policy::resource::Resource::from_json(&object.body);
    match resource.map(|resource| resource.spec) {
        Ok(Spec::ToolBundle(spec)) => standing(state, Some(&object.uid), &spec),
        _ => Vec::new(),
    }
}

impl Written {
    fn find(&self, server: &Name, tool: &str, text: &Fingerprint) -> Option<&WrittenFor> {
        self.rewrites.iter().find(|one| one.server == *server && one.tool == tool && one.text == *text)
    }
}

fn of(state: &State, uid: &Uid) -> Written {
    let object = state.get(BUNDLE_REWRITES, &uid.to_string());
    object.and_then(|object| Written::deserialize(&object.body).ok()).unwrap_or_default()
}

/// Every rewrite of a bundle, with its place and its server.
fn each(spec: &ToolBundleSpec) -> impl Iterator<Item = (String, &Name, &ToolRewrite)> {
    spec.tools.iter().enumerate().flat_map(|(place, member)| {
        let of_one =
            move |(at, rewrite)| (format!("spec.tools[{place}].rewrite[{at}]"), &member.server, rewrite);
        member.rewrite.iter().enumerate().map(of_one)
    })
}

/// Names and texts always serialise.
fn fingerprint(rewrite: &ToolRewrite) -> Fingerprint {
    let text = to_canonical_json(rewrite).unwrap_or_default();
    Fingerprint::from_bytes(portcullis_seal::sha256(text.as_bytes()))
}

/// The definition that somebody can have had before them: the approved one, else what is offered.
fn seen(state: &State, server: &Name, tool: &str) -> Option<Fingerprint> {
    let stored = stored(state, server, tool)?;
    let approved = stored.approved.map(|approved| approved.pin);
    approved.or_else(|| stored.offered.map(|offered| offered.fingerprint))
}

fn stored(state: &State, server: &Name, tool: &str) -> Option<StoredDefinition> {
    let server = state.get(Kind::McpServer.as_str(), server.as_str())?;
    let object = state.get(DEFINITION, &catalog::object_name(&server.uid, DefinitionKind::Tool, tool))?;
    StoredDefinition::deserialize(&object.body).ok()
}
