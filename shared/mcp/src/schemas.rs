//! What this crate makes is valid by the official JSON schemas of the revisions.
//!
//! The schemas are not part of the project: they are looked for in `../shared/mcp-schema` beside it, and where they are missing
//! the tests say so and pass on.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::respond::{self, Asked, Detail, SERVER_INFO, Subject};
use crate::{
    CallerFacts, Era, HeaderMismatch, LEGACY_OFFERED, MODERN_OFFERED, Revision, handshake, message, parse,
    translate,
};
use portcullis_policy::Reason;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The schema of a revision, as a check against one of its definitions.
struct Schema {
    revision: Revision,
    document: Value,
}

impl Schema {
    fn load(revision: Revision) -> Option<Self> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/mcp-schema")
            .join(format!("{revision}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("no schema of {revision} beside the project: not checked");
            return None;
        };
        Some(Self { revision, document: serde_json::from_str(&text).expect("schema") })
    }

    fn all(era: Era) -> Vec<Self> {
        let offered = if era == Era::Modern { MODERN_OFFERED } else { LEGACY_OFFERED };
        offered.iter().filter_map(|revision| Self::load(*revision)).collect()
    }

    fn check(&self, definition: &str, instance: &Value) {
        let (keyword, definitions) = ["$defs", "definitions"]
            .into_iter()
            .find_map(|keyword| Some((keyword, self.document.get(keyword)?)))
            .expect("definitions");
        // Names differ between the schemas of the revisions.
        let name = [
            definition,
            if definition == "JSONRPCResultResponse" { "JSONRPCResponse" } else { "JSONRPCError" },
        ]
        .into_iter()
        .find(|name| definitions.get(*name).is_some())
        .expect("definition");
        let mut schema = json!({ "$ref": format!("#/{keyword}/{name}") });
        schema[keyword] = definitions.clone();
        let validator = jsonschema::validator_for(&schema).expect("schema compiles");
        let faults: Vec<String> = validator.iter_errors(instance).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{} {definition}: {faults:?} in {instance}", self.revision);
    }
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("JSON")
}

#[test]
fn every_answer_of_the_table_is_valid() {
    for era in [Era::Modern, Era::Legacy] {
        for schema in Schema::all(era) {
            let id = raw(&json!("a-1"));
            for reason in Reason::ALL {
                for subject in
                    [Subject::Tool("t"), Subject::Prompt("p"), Subject::Resource("u:r"), Subject::Other]
                {
                    let asked = Asked { era, id: Some(&id), subject, request_id: "r" };
                    let detail = Detail {
                        sentence: None,
                        retry_after_ms: Some(1),
                        approval_url: Some("https://p.example/"),
                    };
                    let body = value(&respond::deny(*reason, &asked, &detail).body);
                    if body.get("result").is_some() {
                        schema.check("JSONRPCResultResponse", &body);
                        schema.check("CallToolResult", &body["result"]);
                    } else {
                        schema.check("JSONRPCErrorResponse", &body);
                    }
                }
            }
            for answer in [
                respond::header_mismatch(era, Some(&id), &HeaderMismatch("x".into())),
                respond::unsupported_version(era, Some(&id), "v9"),
                respond::unknown_method(era, &id, "x/y"),
                respond::missing_capability(&id, r#"{"elicitation":{"form":{}}}"#),
                respond::record_failed(&id),
            ] {
                schema.check("JSONRPCErrorResponse", &value(&answer.body));
            }
        }
    }
}

#[test]
fn errors_of_2026_07_28_are_what_their_definitions_say() {
    let Some(schema) = Schema::load(Revision::V2026_07_28) else { return };
    let id = raw(&json!(1));
    let mismatch = respond::header_mismatch(Era::Modern, Some(&id), &HeaderMismatch("x".into()));
    schema.check("HeaderMismatchError", &value(&mismatch.body));
    let version = respond::unsupported_version(Era::Modern, Some(&id), "v9");
    schema.check("UnsupportedProtocolVersionError", &value(&version.body));
    let capability = respond::missing_capability(&id, r#"{"sampling":{}}"#);
    schema.check("MissingRequiredClientCapabilityError", &value(&capability.body));
}

#[test]
fn a_link_to_an_approval_is_a_request_for_input_and_what_comes_back_is_its_answer() {
    let Some(schema) = Schema::load(Revision::V2026_07_28) else { return };
    let id = raw(&json!(1));
    let asked = Asked { era: Era::Modern, id: Some(&id), subject: Subject::Tool("t"), request_id: "r" };
    let url = "https://p.example/approvals/c-1";
    let body = value(&respond::held::approval_by_link(&id, &asked, url, "Decide it.", "state").body);
    schema.check("JSONRPCResultResponse", &body);
    schema.check("InputRequiredResult", &body["result"]);
    schema.check("ElicitRequest", &body["result"]["inputRequests"]["approval"]);
    let answers = json!({ "inputResponses": { "approval": { "action": "accept" } } });
    schema.check("ElicitResult", &answers["inputResponses"]["approval"]);
    assert_eq!(respond::held::link_answer(&raw(&answers)), Some(respond::held::LinkAnswer::Accepted));
}

#[test]
fn errors_without_an_id_are_valid_where_a_schema_allows_them_at_all() {
    // Up to 2025-06-18 the schema wants an id, and the transport page allows an error that has none.
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        let Some(schema) = Schema::load(revision) else { return };
        let fault = parse(b"{").expect_err("malformed");
        schema.check("JSONRPCErrorResponse", &value(&respond::malformed(&fault).body));
    }
}

/// Results as servers of an era send them.
fn results(era: Era) -> Vec<(&'static str, &'static str, Value)> {
    let tool = json!({"name": "t", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
    let mut results = vec![
        (
            "tools/call",
            "CallToolResult",
            json!({"content": [{"type": "text", "text": "x"}], "isError": false}),
        ),
        ("tools/list", "ListToolsResult", json!({"tools": [tool], "nextCursor": "c"})),
        ("prompts/list", "ListPromptsResult", json!({"prompts": [{"name": "p"}]})),
        (
            "prompts/get",
            "GetPromptResult",
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "x"}}]}),
        ),
        ("resources/list", "ListResourcesResult", json!({"resources": [{"name": "r", "uri": "file:///r"}]})),
        (
            "resources/templates/list",
            "ListResourceTemplatesResult",
            json!({"resourceTemplates": [{"name": "r", "uriTemplate": "file:///{r}"}]}),
        ),
        ("resources/read", "ReadResourceResult", json!({"contents": [{"uri": "file:///r", "text": "x"}]})),
        ("completion/complete", "CompleteResult", json!({"completion": {"values": ["a"]}})),
    ];
    if era == Era::Modern {
        results.push(("tools/call", "CallToolResult", json!({"content": [], "structuredContent": [1, 2]})));
        for (method, _, result) in &mut results {
            result["resultType"] = json!("complete");
            if crate::Method::parse(method).is_some_and(crate::Method::is_cacheable) {
                result["ttlMs"] = json!(5);
                result["cacheScope"] = json!("public");
            }
        }
    }
    results
}

#[test]
fn translated_results_are_valid_for_the_era_they_are_translated_to() {
    for (from, to) in [(Era::Modern, Era::Legacy), (Era::Legacy, Era::Modern)] {
        for (method, definition, result) in results(from) {
            let text = result.to_string();
            let translated = translate::result(method, &text, from, to).expect("translated");
            let response = message::result(&raw(&json!(1)), &translated);
            for schema in Schema::all(to) {
                schema.check(definition, &value(translated.as_bytes()));
                schema.check("JSONRPCResultResponse", &value(&response));
            }
        }
    }
}

#[test]
fn translated_params_are_valid_for_the_upstream_they_go_to() {
    let facts = CallerFacts {
        protocol_version: "2026-07-28",
        client_info: Some(SERVER_INFO),
        client_capabilities: "{}",
        log_level: Some("info"),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        tracestate: Some("a=b"),
    };
    let params = raw(&json!({"name": "t", "arguments": {"a": 1}, "_meta": {"progressToken": 3}}));
    let modern = translate::params_for_modern(Some(&params), &facts).expect("params");
    let legacy = translate::params_for_legacy(Some(&modern), None, None).expect("params").expect("there");
    for (era, params) in [(Era::Modern, modern), (Era::Legacy, legacy)] {
        let request = value(&message::request(&raw(&json!("x")), "tools/call", Some(&params)));
        for schema in Schema::all(era) {
            schema.check("CallToolRequest", &request);
        }
    }
}

#[test]
fn what_portcullis_says_about_itself_is_valid() {
    let capabilities =
        r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"completions":{}}"#;
    for schema in Schema::all(Era::Legacy) {
        let result =
            handshake::initialize_result(schema.revision, capabilities, SERVER_INFO, Some("Use the tools."));
        schema.check("InitializeResult", &value(result.as_bytes()));
        let params = handshake::initialize_params(schema.revision, "{}", SERVER_INFO);
        let params = RawValue::from_string(params).expect("JSON");
        schema.check(
            "InitializeRequest",
            &value(&message::request(&raw(&json!(1)), "initialize", Some(&params))),
        );
    }
    for schema in Schema::all(Era::Modern) {
        let result = handshake::discover_result(MODERN_OFFERED, capabilities, SERVER_INFO, None, 0);
        schema.check("DiscoverResult", &value(result.as_bytes()));
    }
}

#[test]
fn translated_definitions_and_capabilities_are_valid() {
    let tool = r#"{"name":"t","inputSchema":{"type":"object"},"outputSchema":{"type":"array","items":{}}}"#;
    let client = r#"{"elicitation":{"form":{}},"sampling":{},"roots":{},"extensions":{"x/y":{}}}"#;
    let server = r#"{"tools":{},"completions":{},"logging":{},"tasks":{"list":{}},"extensions":{"x/y":{}}}"#;
    for era in [Era::Modern, Era::Legacy] {
        for schema in Schema::all(era) {
            let definition = translate::tool_definition(tool, era).expect("definition");
            schema.check("Tool", &value(definition.as_bytes()));
            for from in [Era::Modern, Era::Legacy] {
                let client: Cow<'_, str> =
                    translate::client_capabilities(client, from, era).expect("capabilities");
                schema.check("ClientCapabilities", &value(client.as_bytes()));
            }
            let server = translate::server_capabilities(server, era).expect("capabilities");
            schema.check("ServerCapabilities", &value(server.as_bytes()));
        }
    }
}
