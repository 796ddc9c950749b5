use proptest::prelude::*;

use super::*;

fn refused(body: &str) -> (i32, Option<String>) {
    match parse(body.as_bytes()) {
        Ok(message) => panic!("accepted {body}: {message:?}"),
        Err(fault) => (fault.code, fault.id.map(|id| id.get().to_owned())),
    }
}

fn request(body: &str) -> (String, Params<'_>) {
    match parse(body.as_bytes()) {
        Ok(Message::Request { method, params, .. }) => (method.into_owned(), params),
        other => panic!("{body}: {other:?}"),
    }
}

const CALL: &str = r#"{"method":"tools/call","params":{"name":"crm_find","arguments":{ "q" : 1.0 },
    "_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28",
    "io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},
    "io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}},
    "io.modelcontextprotocol/logLevel":"info","traceparent":"00-a-b-01","x":[1]}},"jsonrpc":"2.0","id":"a-1"}"#;

#[test]
fn a_call_is_read_and_its_pieces_stay_raw() {
    let Ok(Message::Request { id, method, params }) = parse(CALL.as_bytes()) else { panic!("refused") };
    assert_eq!((id.get(), method.as_ref()), ("\"a-1\"", "tools/call"));
    assert_eq!(params.name.as_deref(), Some("crm_find"));
    assert!(matches!(params.name, Some(Cow::Borrowed(_))));
    assert_eq!(params.arguments.unwrap().get(), r#"{ "q" : 1.0 }"#);
    assert!(params.raw.unwrap().get().starts_with(r#"{"name":"crm_find""#));
    assert!(params.raw.unwrap().get().ends_with(r#""x":[1]}}"#));
    let meta = params.meta;
    assert_eq!(meta.protocol_version.as_deref(), Some("2026-07-28"));
    assert_eq!(meta.client_info.unwrap().get(), r#"{"name":"c","version":"1"}"#);
    assert_eq!(meta.client_capabilities.unwrap().get(), r#"{"elicitation":{"form":{}}}"#);
    assert_eq!(meta.log_level.as_deref(), Some("info"));
    assert_eq!(meta.progress_token.unwrap().get(), "7");
    assert_eq!(meta.traceparent.as_deref(), Some("00-a-b-01"));
    assert!(meta.raw.unwrap().get().ends_with(r#""x":[1]}"#));
}

#[test]
fn pieces_point_into_the_bytes_they_came_in() {
    let Ok(Message::Request { params, .. }) = parse(CALL.as_bytes()) else { panic!("refused") };
    let range = CALL.as_bytes().as_ptr_range();
    assert!(range.contains(&params.arguments.unwrap().get().as_ptr()));
    assert!(range.contains(&params.name.unwrap().as_ptr()));
}

#[test]
fn a_name_is_also_given_as_it_stands() {
    let (_, params) = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name" : "\u0061\"" ,"arguments":{}}}"#,
    );
    assert_eq!(params.name.as_deref(), Some("a\""));
    assert_eq!(params.raw_name.unwrap().get(), r#""\u0061\"""#);
    let (_, none) = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":null}}"#);
    assert!(none.raw_name.is_none());
}

#[test]
fn a_null_among_the_protocols_own_is_told() {
    let with = |meta: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"_meta":{{{meta}}}}}}}"#);
        request(&body).1.meta.has_null
    };
    assert!(with(r#""io.modelcontextprotocol/clientInfo":null,"a":1"#));
    assert!(with(r#""io.modelcontextprotocol/logLevel":null"#));
    assert!(with(r#""progressToken":null"#));
    assert!(!with(r#""io.modelcontextprotocol/logLevel":"info","mine":null"#));
}

#[test]
fn each_kind_of_message_is_told_apart() {
    let kind = |body: &str| match parse(body.as_bytes()).unwrap() {
        Message::Request { .. } => "request",
        Message::Notification { .. } => "notification",
        Message::Response { outcome: Ok(_), .. } => "result",
        Message::Response { id: Some(_), .. } => "error",
        Message::Response { id: None, .. } => "error without id",
    };
    let cases = [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request"),
        (r#" {"jsonrpc":"2.0","id":-1,"method":"ping","params":null} "#, "request"),
        (r#"{"jsonrpc":"2.0","id":"","method":"ping","params":{},"more":1}"#, "request"),
        (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "notification"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "result"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, "error"),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#, "error without id"),
        (r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#, "error without id"),
    ];
    for (body, expected) in cases {
        assert_eq!(kind(body), expected, "{body}");
    }
}

#[test]
fn what_is_no_json_is_a_parse_error() {
    for body in [
        "",
        " ",
        "x",
        "{",
        "{}x",
        r#"{"jsonrpc":"2.0""#,
        r#"{"id":01}"#,
        r#"{"a":"\ud800","\ud800":1}"#,
        "[1",
    ] {
        let code = refused(body).0;
        assert!(code == PARSE_ERROR || body.starts_with('['), "{body}: {code}");
    }
    assert_eq!(parse(b"{\"a\":\"\xff\"}").unwrap_err().code, PARSE_ERROR);
}

#[test]
fn what_is_no_message_is_an_invalid_request_that_tells_the_id_it_could_read() {
    let one = Some("1".to_owned());
    let cases = [
        ("[]", None),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, None),
        ("1", None),
        ("\"x\"", None),
        ("{}", None),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, one.clone()),
        (r#"{"id":1,"method":"ping"}"#, one.clone()),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":1e1,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":1}"#, one.clone()),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, one.clone()),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, one.clone()),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, one.clone()),
        (r#"{"jsonrpc":"2.0","id":1,"result":[]}"#, one.clone()),
        (r#"{"jsonrpc":"2.0","result":{}}"#, None),
        (r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#, one.clone()),
        (r#"{"method":"ping","method":"ping","jsonrpc":"2.0","id":1}"#, one.clone()),
        (r#"{"method":"ping","jsonrpc":"2.0","id":1,"id":2}"#, None),
    ];
    for (body, id) in cases {
        assert_eq!(refused(body), (INVALID_REQUEST, id), "{body}");
    }
}

#[test]
fn a_repeated_name_is_refused_at_every_depth_and_however_it_is_written() {
    let params = [
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"a","\u006eame":"b"}"#,
        r#"{"arguments":{"a":1,"a":2}}"#,
        r#"{"arguments":{"a":[{"b":1,"b":1}]}}"#,
        r#"{"_meta":{"progressToken":1,"progressToken":2}}"#,
        r#"{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"a","name":"b"}}}"#,
        r#"{"_meta":{},"_meta":{}}"#,
        r#"{"ref":{"type":"a","type":"b"}}"#,
        r#"{"unknown":{"a":1,"a":1}}"#,
    ];
    for params in params {
        let body = format!(r#"{{"method":"tools/call","params":{params},"jsonrpc":"2.0","id":9}}"#);
        assert_eq!(refused(&body), (INVALID_REQUEST, Some("9".to_owned())), "{body}");
    }
}

#[test]
fn depth_is_bounded_and_the_id_is_told_when_it_can_be_found() {
    let nested = |levels: usize| {
        let inner = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!(
            r#"{{"method":"tools/call","params":{{"arguments":{{"a":{inner}}}}},"jsonrpc":"2.0","id":3}}"#
        )
    };
    assert!(parse(nested(61).as_bytes()).is_ok());
    assert_eq!(refused(&nested(62)), (INVALID_REQUEST, Some("3".to_owned())));
    assert_eq!(refused(&nested(100_000)), (INVALID_REQUEST, None));
    assert!(parse_upstream(nested(62).as_bytes()).is_ok());
    assert!(parse_upstream(nested(126).as_bytes()).is_err());
}

#[test]
fn params_of_the_wrong_type_are_invalid_for_the_methods_that_define_them() {
    let cases = [
        ("tools/call", "[]"),
        ("ping", "5"),
        ("tools/call", r#"{"name":5}"#),
        ("tools/call", r#"{"name":"a","arguments":[]}"#),
        ("tools/call", r#"{"name":"a","requestState":{}}"#),
        ("prompts/get", r#"{"name":"a","inputResponses":"x"}"#),
        ("resources/read", r#"{"uri":1}"#),
        ("resources/subscribe", r#"{"uri":[]}"#),
        ("tools/list", r#"{"cursor":1}"#),
        ("completion/complete", r#"{"ref":"x"}"#),
        ("anything", r#"{"_meta":[]}"#),
        ("tools/list", r#"{"_meta":{"progressToken":1.5}}"#),
        ("tools/list", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#),
        ("tools/list", r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":[]}}"#),
        ("tools/list", r#"{"_meta":{"io.modelcontextprotocol/clientInfo":"x"}}"#),
    ];
    for (method, params) in cases {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        assert_eq!(refused(&body), (INVALID_PARAMS, Some("1".to_owned())), "{body}");
        if params.starts_with('{') {
            assert!(parse_upstream(body.as_bytes()).is_ok(), "{body}");
        }
    }
}

#[test]
fn params_that_a_method_does_not_define_may_be_anything_and_null_is_nothing() {
    let (_, params) =
        request(r#"{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"name":{"a":1},"uri":5,"cursor":[]}}"#);
    assert!(params.name.is_none() && params.uri.is_none() && params.cursor.is_none());
    let (_, params) = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":null,"_meta":null,"requestState":null}}"#,
    );
    assert!(params.arguments.is_none() && params.meta.raw.is_none() && params.request_state.is_none());
    let (_, params) = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"traceparent":5,"progressToken":null}}}"#,
    );
    assert!(params.meta.traceparent.is_none() && params.meta.raw.is_some());
}

#[test]
fn escapes_are_read_as_what_they_say() {
    let (method, params) = request(
        r#"{"jsonrpc":"2\u002e0","id":1,"method":"tools\/call","p\u0061rams":{"n\u0061me":"caf\u00e9"}}"#,
    );
    assert_eq!((method.as_str(), params.name.as_deref()), ("tools/call", Some("café")));
}

fn jsonish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just(":".to_owned()),
        Just("null".to_owned()),
        Just("\"jsonrpc\":\"2.0\"".to_owned()),
        Just("\"id\":1".to_owned()),
        Just("\"method\":\"tools/call\"".to_owned()),
        Just("\"params\":{".to_owned()),
        Just("\"_meta\":{".to_owned()),
        Just("\"name\":\"a\"".to_owned()),
        Just("\"result\":{}".to_owned()),
        Just("\"error\":{}".to_owned()),
        "[\\x00-\\x7f]{0,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = (parse(&bytes), parse_upstream(&bytes));
    }

    #[test]
    fn any_near_message_is_answered_and_what_is_accepted_is_json(text in jsonish()) {
        let strict = parse(text.as_bytes());
        if strict.is_ok() {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&value["jsonrpc"], "2.0");
            prop_assert!(parse_upstream(text.as_bytes()).is_ok());
        }
    }

    #[test]
    fn what_was_read_is_what_a_tree_would_hold(name in any::<String>(), arguments in "[a-z]{1,4}", id in any::<i64>()) {
        let value = serde_json::json!({"jsonrpc":"2.0","id":id,"method":"tools/call",
            "params":{"name":name,"arguments":{arguments.clone():name.clone()}}});
        let body = value.to_string();
        let Ok(Message::Request { id: read_id, params, .. }) = parse(body.as_bytes()) else {
            return Err(TestCaseError::fail(body));
        };
        prop_assert_eq!(read_id.get(), id.to_string());
        prop_assert_eq!(params.name.as_deref(), Some(name.as_str()));
        let read: serde_json::Value = serde_json::from_str(params.arguments.unwrap().get()).unwrap();
        prop_assert_eq!(&read, &value["params"]["arguments"]);
    }
}
