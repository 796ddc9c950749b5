use super::*;
use Era::{Legacy, Modern};

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn between_peers_of_one_era_nothing_is_touched() {
    for era in [Modern, Legacy] {
        for text in ["{}", r#"{ "resultType":"input_required","structuredContent":5 }"#, "not even json"] {
            assert_eq!(result("tools/call", text, era, era), Ok(Cow::Borrowed(text)));
        }
        let params = raw(r#"{ "_meta" : {} }"#);
        let passed = notification("notifications/progress", Some(&params), era, era);
        assert_eq!(passed, Ok(Notice::Params(Some(Cow::Borrowed(r#"{ "_meta" : {} }"#)))));
    }
}

#[test]
fn results_cross_the_eras_with_what_each_needs() {
    let cases = [
        (
            "tools/call",
            r#"{ "content":[1.0], "x":1}"#,
            Legacy,
            r#"{ "content":[1.0], "x":1,"resultType":"complete"}"#,
        ),
        (
            "tools/list",
            r#"{"tools":[]}"#,
            Legacy,
            r#"{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#,
        ),
        ("prompts/get", r#"{"messages":[]}"#, Legacy, r#"{"messages":[],"resultType":"complete"}"#),
        (
            "resources/read",
            r#"{"contents":[],"ttlMs":9}"#,
            Legacy,
            r#"{"contents":[],"ttlMs":0,"resultType":"complete","cacheScope":"private"}"#,
        ),
        ("completion/complete", "{}", Legacy, r#"{"resultType":"complete"}"#),
        (
            "tools/call",
            r#"{"resultType":"complete","content":[],"ttlMs":1}"#,
            Modern,
            r#"{"content":[],"ttlMs":1}"#,
        ),
        ("tools/call", r#"{"content":[],"structuredContent":[1]}"#, Modern, r#"{"content":[]}"#),
        (
            "tools/call",
            r#"{"content":[],"structuredContent":{}}"#,
            Modern,
            r#"{"content":[],"structuredContent":{}}"#,
        ),
        (
            "resources/read",
            r#"{"resultType":"complete","ttlMs":1,"cacheScope":"public","contents":[]}"#,
            Modern,
            r#"{"contents":[]}"#,
        ),
    ];
    for (method, before, from, after) in cases {
        let to = if from == Modern { Legacy } else { Modern };
        assert_eq!(result(method, before, from, to).as_deref(), Ok(after), "{method} {before}");
    }
}

#[test]
fn what_a_legacy_client_cannot_be_told_is_an_error() {
    let crossed = |text| result("tools/call", text, Modern, Legacy);
    assert_eq!(crossed(r#"{"resultType":"input_required"}"#), Err(TranslateError::InputRequired));
    assert_eq!(crossed(r#"{"resultType":"task"}"#), Err(TranslateError::UnknownResultType));
    assert_eq!(crossed(r#"{"resultType":5}"#), Err(TranslateError::UnknownResultType));
    for text in ["[]", "1", "", "{"] {
        assert!(matches!(crossed(text), Err(TranslateError::Malformed(_))), "{text}");
        assert!(
            matches!(result("tools/call", text, Legacy, Modern), Err(TranslateError::Malformed(_))),
            "{text}"
        );
    }
}

#[test]
fn error_codes_cross_the_eras() {
    let cases = [
        ("resources/read", -32002, Legacy, Modern, -32602),
        ("tools/call", -32002, Legacy, Modern, -32603),
        ("resources/read", -32002, Legacy, Legacy, -32002),
        ("tools/call", -32042, Legacy, Modern, -32603),
        ("tools/call", -32021, Legacy, Modern, -32603),
        ("tools/call", -32099, Legacy, Modern, -32603),
        ("tools/call", -32100, Legacy, Modern, -32100),
        ("tools/call", -32001, Legacy, Modern, -32001),
        ("tools/call", -32602, Legacy, Modern, -32602),
        ("tools/call", 17, Legacy, Modern, 17),
        ("resources/read", -32602, Modern, Legacy, -32602),
        ("tools/call", -32021, Modern, Legacy, -32021),
        ("tools/call", -32021, Modern, Modern, -32021),
        ("tools/call", -32020, Modern, Legacy, -32603),
        ("tools/call", -32022, Modern, Modern, -32603),
        ("tools/call", -32601, Modern, Legacy, -32601),
    ];
    for (method, code, from, to, expected) in cases {
        let before = format!(r#"{{"message":"m", "code": {code},"data":{{"n":1.0}}}}"#);
        let after = format!(r#"{{"message":"m", "code": {expected},"data":{{"n":1.0}}}}"#);
        assert_eq!(
            error(method, &before, from, to).as_deref(),
            Ok(after.as_str()),
            "{method} {code} {from} {to}"
        );
    }
    assert!(error("x", r#"{"message":"no code"}"#, Legacy, Modern).is_err());
}

#[test]
fn notifications_of_one_era_only_do_not_cross() {
    let crossed = |method, from, to| notification(method, None, from, to).unwrap();
    for method in
        ["notifications/cancelled", "notifications/elicitation/complete", "notifications/tasks/status"]
    {
        assert_eq!(crossed(method, Legacy, Modern), Notice::Dropped, "{method}");
        assert_eq!(crossed(method, Legacy, Legacy), Notice::Params(None), "{method}");
    }
    assert_eq!(crossed("notifications/subscriptions/acknowledged", Modern, Legacy), Notice::Dropped);
    for method in
        ["notifications/progress", "notifications/message", "notifications/tools/list_changed", "x/y"]
    {
        assert_eq!(crossed(method, Legacy, Modern), Notice::Params(None), "{method}");
        assert_eq!(crossed(method, Modern, Legacy), Notice::Params(None), "{method}");
    }
}

#[test]
fn subscription_ids_do_not_reach_a_legacy_client_and_are_set_for_a_modern_one() {
    let params = raw(r#"{"uri":"a","_meta":{"io.modelcontextprotocol/subscriptionId":1}}"#);
    assert_eq!(
        notification("notifications/resources/updated", Some(&params), Modern, Legacy),
        Ok(Notice::Params(Some(Cow::Borrowed(r#"{"uri":"a"}"#))))
    );
    let tagged = with_subscription_id(Some(&params), &raw("\"s\"")).unwrap();
    assert_eq!(tagged.get(), r#"{"uri":"a","_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}"#);
    let tagged = with_subscription_id(None, &raw("2")).unwrap();
    assert_eq!(tagged.get(), r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":2}}"#);
}

#[test]
fn meta_tells_a_modern_upstream_the_callers_facts_and_a_legacy_one_nothing_of_the_protocol() {
    let facts = CallerFacts {
        protocol_version: "2026-07-28",
        client_info: Some(r#"{"name":"c","version":"1"}"#),
        client_capabilities: "{}",
        log_level: None,
        traceparent: Some("00-a-b-01"),
        tracestate: None,
    };
    let params = raw(
        r#"{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"forged","io.modelcontextprotocol/logLevel":"debug","progressToken":"p","mine/x":1.0,"tracestate":"k=v"}}"#,
    );
    let modern = params_for_modern(Some(&params), &facts).unwrap();
    assert_eq!(
        modern.get(),
        r#"{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"p","mine/x":1.0,"tracestate":"k=v","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{},"traceparent":"00-a-b-01"}}"#
    );
    let legacy = params_for_legacy(Some(&modern), None, None).unwrap().unwrap();
    assert_eq!(
        legacy.get(),
        r#"{"name":"t","_meta":{"progressToken":"p","mine/x":1.0,"tracestate":"k=v","traceparent":"00-a-b-01"}}"#
    );
    let bare = params_for_modern(None, &facts).unwrap();
    assert!(params_for_legacy(None, None, None).unwrap().is_none());
    assert!(bare.get().starts_with(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28""#));
}

#[test]
fn capabilities_promise_only_what_passes() {
    let client = r#"{"elicitation":{"form":{}},"sampling":{},"roots":{},"experimental":{"a":{}},"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{"m":[1]}}}"#;
    assert_eq!(
        client_capabilities(client, Modern, Modern).as_deref(),
        Ok(
            r#"{"elicitation":{"form":{}},"sampling":{},"roots":{},"experimental":{"a":{}},"extensions":{"io.modelcontextprotocol/ui":{"m":[1]}}}"#
        )
    );
    assert_eq!(
        client_capabilities(client, Legacy, Legacy).as_deref(),
        Ok(r#"{"elicitation":{"form":{}},"sampling":{},"roots":{},"experimental":{"a":{}}}"#)
    );
    assert_eq!(client_capabilities(client, Modern, Legacy).as_deref(), Ok(r#"{"experimental":{"a":{}}}"#));
    assert_eq!(
        client_capabilities(client, Legacy, Modern).as_deref(),
        Ok(r#"{"experimental":{"a":{}},"extensions":{"io.modelcontextprotocol/ui":{"m":[1]}}}"#)
    );
    assert!(matches!(client_capabilities("{}", Modern, Legacy), Ok(Cow::Borrowed("{}"))));
    let server = r#"{"tools":{"listChanged":true},"logging":{},"tasks":{},"extensions":{"x/y":{}}}"#;
    assert_eq!(
        server_capabilities(server, Legacy).as_deref(),
        Ok(r#"{"tools":{"listChanged":true},"logging":{}}"#)
    );
    assert_eq!(
        server_capabilities(server, Modern).as_deref(),
        Ok(r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"x/y":{}}}"#)
    );
    assert!(server_capabilities("[]", Modern).is_err());
}

#[test]
fn legacy_callers_are_not_shown_output_schemas_that_their_results_cannot_meet() {
    let array = r#"{"name":"t","outputSchema":{"type":"array"},"inputSchema":{"type":"object"}}"#;
    let object = r#"{"name":"t","outputSchema":{"type":"object"}}"#;
    assert_eq!(
        tool_definition(array, Legacy).as_deref(),
        Ok(r#"{"name":"t","inputSchema":{"type":"object"}}"#)
    );
    assert!(matches!(tool_definition(object, Legacy), Ok(Cow::Borrowed(_))));
    assert!(matches!(tool_definition(array, Modern), Ok(Cow::Borrowed(_))));
}
