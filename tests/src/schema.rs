//! The official JSON schemas of the protocol's revisions, and which of their definitions a message must fit.
//!
//! They are no part of the project: they are looked for in `../shared/mcp-schema` beside it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::tap::Emitted;

/// The definitions of a method: of the message that asks or tells, and of the result that answers it.
const METHODS: &[(&str, &str, Option<&str>)] = &[
    ("initialize", "InitializeRequest", Some("InitializeResult")),
    ("ping", "PingRequest", Some("EmptyResult")),
    ("server/discover", "DiscoverRequest", Some("DiscoverResult")),
    ("subscriptions/listen", "SubscriptionsListenRequest", Some("SubscriptionsListenResult")),
    ("tools/list", "ListToolsRequest", Some("ListToolsResult")),
    ("tools/call", "CallToolRequest", Some("CallToolResult")),
    ("prompts/list", "ListPromptsRequest", Some("ListPromptsResult")),
    ("prompts/get", "GetPromptRequest", Some("GetPromptResult")),
    ("resources/list", "ListResourcesRequest", Some("ListResourcesResult")),
    ("resources/templates/list", "ListResourceTemplatesRequest", Some("ListResourceTemplatesResult")),
    ("resources/read", "ReadResourceRequest", Some("ReadResourceResult")),
    ("resources/subscribe", "SubscribeRequest", Some("EmptyResult")),
    ("resources/unsubscribe", "UnsubscribeRequest", Some("EmptyResult")),
    ("completion/complete", "CompleteRequest", Some("CompleteResult")),
    ("logging/setLevel", "SetLevelRequest", Some("EmptyResult")),
    ("elicitation/create", "ElicitRequest", Some("ElicitResult")),
    ("sampling/createMessage", "CreateMessageRequest", Some("CreateMessageResult")),
    ("roots/list", "ListRootsRequest", Some("ListRootsResult")),
    ("notifications/initialized", "InitializedNotification", None),
    ("notifications/cancelled", "CancelledNotification", None),
    ("notifications/progress", "ProgressNotification", None),
    ("notifications/message", "LoggingMessageNotification", None),
    ("notifications/roots/list_changed", "RootsListChangedNotification", None),
    ("notifications/tools/list_changed", "ToolListChangedNotification", None),
    ("notifications/prompts/list_changed", "PromptListChangedNotification", None),
    ("notifications/resources/list_changed", "ResourceListChangedNotification", None),
    ("notifications/resources/updated", "ResourceUpdatedNotification", None),
    ("notifications/subscriptions/acknowledged", "SubscriptionsAcknowledgedNotification", None),
];

/// Other names that older revisions give to a definition.
const FORMER_NAMES: &[(&str, &str)] =
    &[("JSONRPCResultResponse", "JSONRPCResponse"), ("JSONRPCErrorResponse", "JSONRPCError")];

/// Errors whose code has a definition of its own (2026-07-28).
const ERRORS: &[(i64, &str)] = &[
    (-32020, "HeaderMismatchError"),
    (-32021, "MissingRequiredClientCapabilityError"),
    (-32022, "UnsupportedProtocolVersionError"),
];

/// The schemas that were found.
pub struct Schemas {
    documents: HashMap<String, Value>,
    validators: HashMap<(String, String), jsonschema::Validator>,
}

impl Schemas {
    /// Reads the schemas of all revisions; none when the folder is not there.
    #[must_use]
    pub fn load() -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/mcp-schema");
        let mut documents = HashMap::new();
        for entry in std::fs::read_dir(folder).ok()? {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "json") {
                let revision = path.file_stem().unwrap().to_str().unwrap().to_owned();
                documents.insert(revision, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
            }
        }
        Some(Self { documents, validators: HashMap::new() })
    }

    /// What is wrong with a message; nothing when it is valid.
    pub fn faults(&mut self, emitted: &Emitted) -> Vec<String> {
        let message = &emitted.message;
        let revision = emitted.revision.as_str();
        let mut faults = Vec::new();
        let mut judge = |definition: &str, instance: &Value| {
            faults.extend(self.check(revision, definition, instance));
        };
        if let Some(method) = message["method"].as_str() {
            let form = if message.get("id").is_some() { "JSONRPCRequest" } else { "JSONRPCNotification" };
            judge(form, message);
            match METHODS.iter().find(|(name, ..)| *name == method) {
                Some((_, definition, _)) => judge(definition, message),
                None => faults.push(format!("{method} is no method that is known here")),
            }
        } else if let Some(error) = message.get("error") {
            judge("JSONRPCErrorResponse", message);
            let code = error["code"].as_i64();
            if let Some((_, definition)) =
                ERRORS.iter().find(|(known, _)| revision >= "2026-07-28" && Some(*known) == code)
            {
                judge(definition, message);
            }
        } else {
            judge("JSONRPCResultResponse", message);
            let asked = emitted.answers.as_deref().unwrap_or_default();
            let found = METHODS.iter().find(|(name, ..)| *name == asked);
            let definition = if message["result"]["resultType"] == "input_required" {
                Some("InputRequiredResult")
            } else {
                found.and_then(|(_, _, result)| *result)
            };
            match definition {
                Some(definition) => judge(definition, &message["result"]),
                None => faults.push(format!("a result for {asked:?}")),
            }
        }
        faults
    }

    fn check(&mut self, revision: &str, definition: &str, instance: &Value) -> Vec<String> {
        let key = (revision.to_owned(), definition.to_owned());
        if !self.validators.contains_key(&key) {
            let Some(validator) = self.compile(revision, definition) else {
                return vec![format!("{revision} has no {definition}")];
            };
            self.validators.insert(key.clone(), validator);
        }
        let faults = self.validators[&key].iter_errors(instance);
        faults.map(|fault| format!("{revision} {definition}: {fault} at {}", fault.instance_path())).collect()
    }

    fn compile(&self, revision: &str, definition: &str) -> Option<jsonschema::Validator> {
        let document = self.documents.get(revision)?;
        let keyword = ["$defs", "definitions"].into_iter().find(|keyword| document.get(keyword).is_some())?;
        let definitions = &document[keyword];
        let former = FORMER_NAMES.iter().find(|(name, _)| *name == definition).map(|(_, former)| *former);
        let name =
            [Some(definition), former].into_iter().flatten().find(|name| definitions.get(name).is_some())?;
        let mut schema = json!({ "$ref": format!("#/{keyword}/{name}") });
        schema["$schema"] = document["$schema"].clone();
        schema[keyword] = definitions.clone();
        Some(jsonschema::validator_for(&schema).expect("the schema compiles"))
    }
}
