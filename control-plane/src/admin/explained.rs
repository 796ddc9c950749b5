//! The versions of the resources that an explanation rests on: known here, and to no data plane.

use portcullis_policy::explain::Explanation;
use portcullis_policy::opening;
use portcullis_policy::resource::Kind;
use portcullis_policy::rule::{Rule, RulePath};
use serde_json::{Map, Value, json};

use crate::approvals::calls::HeldCall;
use crate::catalog::{self, DEFINITION};
use crate::clock::rfc3339;
use crate::objects::SERVER_STATE;
use crate::store::State;

/// The explanation as JSON, with `resource: {kind, name, uid, version}` beside each rule of a resource, and
/// `approvalVersion` where it rests on an approval and `stateVersion` where it rests on how far a server has come; `approval: {id, state, expires}` where exactly this call was asked for.
pub(super) fn with_versions(
    state: &State,
    explanation: &Explanation,
    call: Option<&HeldCall>,
) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(explanation)?;
    if let Some(value) = value.as_object_mut() {
        add(state, &explanation.rule, value);
        if let Some(HeldCall { id, state, expires_unix_ms, .. }) = call {
            let approval = json!({ "id": id, "state": state.as_str(), "expires": rfc3339(*expires_unix_ms) });
            value.insert("approval".to_owned(), approval);
        }
    }
    let steps = value.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten();
    for (step, explained) in steps.zip(&explanation.steps) {
        if let Some(step) = step.as_object_mut() {
            add(state, &explained.rule, step);
        }
    }
    Ok(value)
}

fn add(state: &State, rule: &Rule, to: &mut Map<String, Value>) {
    let (Some(kind), Some(name)) = (rule.kind, &rule.name) else { return };
    let Some(object) = state.get(kind.as_str(), name.as_str()) else {
        // The built-in zone is no object: nobody ever changed it.
        to.insert("resource".to_owned(), json!({ "kind": kind, "name": name, "version": 0 }));
        return;
    };
    let resource = json!({ "kind": kind, "name": name, "uid": object.uid, "version": object.version });
    to.insert("resource".to_owned(), resource);
    if let (Kind::McpServer, RulePath::Field(opening::STAGE | opening::LIFECYCLE)) = (kind, &rule.path) {
        let reached = state.get(SERVER_STATE, &object.uid.to_string());
        to.extend(reached.map(|reached| ("stateVersion".to_owned(), reached.version.into())));
    }
    if let (Kind::McpServer, RulePath::Approval(definition, name)) = (kind, &rule.path) {
        let definition = match definition {
            portcullis_policy::DefinitionKind::Tool => catalog::DefinitionKind::Tool,
            portcullis_policy::DefinitionKind::Prompt => catalog::DefinitionKind::Prompt,
        };
        let object = state.get(DEFINITION, &catalog::object_name(&object.uid, definition, name));
        to.extend(object.map(|object| ("approvalVersion".to_owned(), object.version.into())));
    }
}
