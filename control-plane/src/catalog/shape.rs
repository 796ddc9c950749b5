//! The least that the protocol asks of a definition: the types of the members that clients read.
//!
//! A client's SDK refuses a whole list for one member of a wrong type, so one sloppy tool would take all others with it.
//! Everything that is not named here passes untouched.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

type Object = BTreeMap<String, IgnoredAny>;

/// A member that may be absent but not null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "what is read is whether it can be read")]
struct Tool {
    name: String,
    #[serde(default, deserialize_with = "present")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    input_schema: InputSchema,
    #[serde(default, deserialize_with = "present")]
    output_schema: Option<Object>,
    #[serde(default, deserialize_with = "present")]
    annotations: Option<ToolAnnotations>,
    #[serde(default, deserialize_with = "present")]
    execution: Option<Object>,
    #[serde(default, deserialize_with = "present")]
    icons: Option<Vec<Icon>>,
    #[serde(default, rename = "_meta", deserialize_with = "present")]
    meta: Option<Object>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is read is whether it can be read")]
struct InputSchema {
    r#type: ObjectType,
    #[serde(default, deserialize_with = "present")]
    properties: Option<Object>,
    #[serde(default, deserialize_with = "present")]
    required: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ObjectType {
    Object,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "what is read is whether it can be read")]
struct ToolAnnotations {
    #[serde(default, deserialize_with = "present")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    read_only_hint: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    destructive_hint: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    idempotent_hint: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    open_world_hint: Option<bool>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is read is whether it can be read")]
struct Icon {
    src: String,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is read is whether it can be read")]
struct Prompt {
    name: String,
    #[serde(default, deserialize_with = "present")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    #[serde(default, deserialize_with = "present")]
    arguments: Option<Vec<PromptArgument>>,
    #[serde(default, deserialize_with = "present")]
    icons: Option<Vec<Icon>>,
    #[serde(default, rename = "_meta", deserialize_with = "present")]
    meta: Option<Object>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is read is whether it can be read")]
struct PromptArgument {
    name: String,
    #[serde(default, deserialize_with = "present")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    #[serde(default, deserialize_with = "present")]
    required: Option<bool>,
}

/// The name of a tool that has the shape of one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn tool_name(json: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<Tool>(json).map(|tool| tool.name)
}

/// The name of a prompt that has the shape of one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn prompt_name(json: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<Prompt>(json).map(|prompt| prompt.name)
}
