use serde_json::json;

use super::*;

fn of(schema: &Value) -> Result<Vec<HeaderParam>, String> {
    header_params(&json!({ "name": "t", "inputSchema": schema }).to_string())
}

#[test]
fn annotations_that_properties_alone_lead_to_are_read_with_their_paths() {
    let schema = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
        "page": { "type": "object", "properties": { "size": { "type": "integer", "x-mcp-header": "Page-Size" } } },
        "dry": { "type": "boolean", "x-mcp-header": "Dry" },
        "x-mcp-header": { "type": "string" },
        "free": { "default": { "x-mcp-header": 1 }, "examples": [{ "x-mcp-header": 2 }] },
    } });
    let mut found = of(&schema).unwrap();
    found.sort_by(|a, b| a.header.cmp(&b.header));
    let param = |header: &str, path: &[&str], kind| HeaderParam {
        header: header.to_owned(),
        path: path.iter().map(|part| (*part).to_owned()).collect(),
        kind,
    };
    assert_eq!(
        found,
        [
            param("Dry", &["dry"], ParamKind::Boolean),
            param("Page-Size", &["page", "size"], ParamKind::Integer),
            param("Region", &["region"], ParamKind::String),
        ]
    );
}

#[test]
fn every_broken_rule_makes_the_definition_invalid_and_says_which() {
    let string = |header: Value| json!({ "type": "string", "x-mcp-header": header });
    for (schema, word) in [
        (json!({ "properties": { "a": string(json!("")) } }), "no HTTP token"),
        (json!({ "properties": { "a": string(json!("a b")) } }), "no HTTP token"),
        (json!({ "properties": { "a": string(json!("a\r\nB: c")) } }), "no HTTP token"),
        (json!({ "properties": { "a": string(json!("é")) } }), "no HTTP token"),
        (json!({ "properties": { "a": string(json!(1)) } }), "no string"),
        (json!({ "properties": { "a": { "type": "number", "x-mcp-header": "A" } } }), "needs the type"),
        (json!({ "properties": { "a": { "type": "object", "x-mcp-header": "A" } } }), "needs the type"),
        (json!({ "properties": { "a": { "x-mcp-header": "A" } } }), "needs the type"),
        (json!({ "properties": { "a": string(json!("A")), "b": string(json!("a")) } }), "twice"),
        (json!({ "x-mcp-header": "A", "type": "string" }), "not reached"),
        (json!({ "properties": { "a": { "items": string(json!("A")) } } }), "not reached"),
        (
            json!({ "properties": { "a": { "items": { "properties": { "b": string(json!("A")) } } } } }),
            "not reached",
        ),
        (json!({ "allOf": [{ "properties": { "a": string(json!("A")) } }] }), "not reached"),
        (json!({ "if": { "properties": { "a": string(json!("A")) } } }), "not reached"),
        (json!({ "$defs": { "d": string(json!("A")) } }), "not reached"),
        (json!({ "properties": { "a": { "anyOf": [string(json!("A"))] } } }), "not reached"),
    ] {
        let message = of(&schema).unwrap_err();
        assert!(message.contains(word), "{schema}: {message}");
    }
}

#[test]
fn a_definition_without_annotations_has_none() {
    assert_eq!(header_params(r#"{"name":"t"}"#), Ok(Vec::new()));
    assert_eq!(header_params(r#"{"name":"t","description":"x-mcp-header"}"#), Ok(Vec::new()));
}
