use proptest::prelude::*;

use super::*;
use crate::envelope::{Message, parse};

type Headers = &'static [(&'static str, &'static str)];

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

fn check(headers: &[(&str, &str)], method: &str, params: &str) -> Result<(), HeaderMismatch> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let Ok(Message::Request { method, params, .. }) = parse(body.as_bytes()) else { panic!("{body}") };
    check_standard(&map(headers), &method, &params)
}

#[test]
fn encoding_examples_of_the_specification_hold() {
    let cases = [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("", ""),
        ("\tindented", "=?base64?CWluZGVudGVk?="),
    ];
    for (value, encoded) in cases {
        assert_eq!(encode(value), encoded);
        assert_eq!(decode(encoded).unwrap(), value);
    }
}

#[test]
fn only_whole_sentinels_are_decoded_and_strictly() {
    for literal in ["SGVsbG8=", "=?base64?SGVsbG8=", "SGVsbG8=?=", "=?BASE64?SGVsbG8=?="] {
        assert_eq!(decode(literal).unwrap(), literal);
    }
    for broken in ["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?=", "=?base64?_-8=?=", "=?base64?/w==?="] {
        assert!(decode(broken).is_err(), "{broken}");
    }
}

proptest! {
    #[test]
    fn every_text_survives_a_header(text in any::<String>()) {
        let encoded = encode(&text).into_owned();
        let header = HeaderValue::from_str(&encoded).unwrap();
        prop_assert_eq!(decode(header.to_str().unwrap()).unwrap(), text);
    }
}

#[test]
fn method_and_name_must_tell_what_the_body_tells() {
    let call = r#"{"name":"t"}"#;
    let cases: &[(Headers, &str, &str, bool)] = &[
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "t")], "tools/call", call, true),
        (&[("MCP-METHOD", "tools/call"), ("mcp-name", "  t ")], "tools/call", call, true),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?dA==?=")], "tools/call", call, true),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?dA?=")], "tools/call", call, false),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "u")], "tools/call", call, false),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "T")], "tools/call", call, false),
        (&[("Mcp-Method", "tools/call")], "tools/call", call, false),
        (&[("Mcp-Name", "t")], "tools/call", call, false),
        (&[("Mcp-Method", "TOOLS/CALL"), ("Mcp-Name", "t")], "tools/call", call, false),
        (
            &[("Mcp-Method", "tools/call"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "t")],
            "tools/call",
            call,
            false,
        ),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "t"), ("Mcp-Name", "u")], "tools/call", call, false),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "té")], "tools/call", r#"{"name":"té"}"#, false),
        (
            &[("Mcp-Method", "resources/read"), ("Mcp-Name", "file:///a")],
            "resources/read",
            r#"{"uri":"file:///a"}"#,
            true,
        ),
        (
            &[("Mcp-Method", "resources/read"), ("Mcp-Name", "a")],
            "resources/read",
            r#"{"uri":"b","name":"a"}"#,
            false,
        ),
        (&[("Mcp-Method", "tools/list")], "tools/list", "{}", true),
        (&[("Mcp-Method", "tools/list"), ("Mcp-Name", "x")], "tools/list", "{}", true),
    ];
    for (headers, method, params, good) in cases {
        assert_eq!(check(headers, method, params).is_ok(), *good, "{headers:?} {params}");
    }
}

#[test]
fn a_mismatch_says_what_differs() {
    let fault =
        check(&[("Mcp-Method", "tools/call"), ("Mcp-Name", "foo")], "tools/call", r#"{"name":"bar"}"#)
            .unwrap_err();
    assert_eq!(
        fault.to_string(),
        "Header mismatch: Mcp-Name header value 'foo' does not match body value 'bar'"
    );
}

#[test]
fn parameter_headers_must_tell_what_the_arguments_tell() {
    let params = [
        HeaderParam { header: "Region".into(), path: vec!["region".into()] },
        HeaderParam { header: "Depth".into(), path: vec!["a".into(), "b".into()] },
    ];
    let cases: &[(Headers, Option<&str>, bool)] = &[
        (&[("Mcp-Param-Region", "eu")], Some(r#"{"region":"eu"}"#), true),
        (&[("mcp-param-region", "=?base64?ZXU=?=")], Some(r#"{"region":"e\u0075"}"#), true),
        (&[("Mcp-Param-Region", "us")], Some(r#"{"region":"eu"}"#), false),
        (&[], Some(r#"{"region":"eu"}"#), false),
        (&[], Some(r#"{"region":null}"#), true),
        (&[], Some("{}"), true),
        (&[], None, true),
        (&[("Mcp-Param-Region", "eu")], Some("{}"), false),
        (&[("Mcp-Param-Region", "eu")], Some(r#"{"region":null}"#), false),
        (&[("Mcp-Param-Region", "eu"), ("Mcp-Param-Region", "eu")], Some(r#"{"region":"eu"}"#), false),
        (&[("Mcp-Param-Region", "")], Some(r#"{"region":""}"#), true),
        (&[("Mcp-Param-Depth", "42.0")], Some(r#"{"a":{"b":42}}"#), true),
        (&[("Mcp-Param-Depth", "42")], Some(r#"{"a":{"b":4.2e1}}"#), true),
        (&[("Mcp-Param-Depth", "43")], Some(r#"{"a":{"b":42}}"#), false),
        (&[("Mcp-Param-Depth", "x")], Some(r#"{"a":{"b":42}}"#), false),
        (&[("Mcp-Param-Depth", "NaN")], Some(r#"{"a":{"b":42}}"#), false),
        (&[("Mcp-Param-Depth", "9007199254740992.0")], Some(r#"{"a":{"b":9007199254740993}}"#), false),
        (&[("Mcp-Param-Depth", "true")], Some(r#"{"a":{"b":true}}"#), true),
        (&[("Mcp-Param-Depth", "TRUE")], Some(r#"{"a":{"b":true}}"#), false),
        (&[("Mcp-Param-Depth", "1")], Some(r#"{"a":{"b":"1"}}"#), true),
        (&[("Mcp-Param-Depth", "1.0")], Some(r#"{"a":{"b":"1"}}"#), false),
        (&[("Mcp-Param-Other", "x")], Some("{}"), true),
    ];
    for (headers, arguments, good) in cases {
        let arguments = arguments.map(raw);
        let outcome = check_params(&map(headers), &params, arguments.as_deref());
        assert_eq!(outcome.is_ok(), *good, "{headers:?} {arguments:?} {outcome:?}");
    }
}

#[test]
fn what_is_composed_is_what_is_checked() {
    let params = [
        HeaderParam { header: "Region".into(), path: vec!["region".into()] },
        HeaderParam { header: "N".into(), path: vec!["n".into()] },
        HeaderParam { header: "Gone".into(), path: vec!["gone".into()] },
        HeaderParam { header: "Method".into(), path: vec!["on".into()] },
    ];
    let arguments = raw(r#"{"region":" Zürich\n","n":-7.0,"gone":null,"on":false}"#);
    let mut headers = HeaderMap::new();
    compose(&mut headers, Revision::V2026_07_28, "tools/call", Some("t ü"), &params, Some(&arguments));
    assert_eq!(headers.get("mcp-protocol-version").unwrap(), "2026-07-28");
    assert_eq!(headers.get("mcp-method").unwrap(), "tools/call");
    assert_eq!(headers.get("mcp-name").unwrap(), "=?base64?dCDDvA==?=");
    assert_eq!(headers.get("mcp-param-n").unwrap(), "-7");
    assert_eq!(headers.get("mcp-param-method").unwrap(), "false");
    assert!(!headers.contains_key("mcp-param-gone"));
    check_params(&headers, &params, Some(&arguments)).unwrap();

    for (revision, version) in [(Revision::V2025_03_26, None), (Revision::V2025_11_25, Some("2025-11-25"))] {
        let mut headers = HeaderMap::new();
        compose(&mut headers, revision, "tools/call", Some("t"), &params, Some(&arguments));
        assert_eq!(headers.get("mcp-protocol-version").map(|v| v.to_str().unwrap()), version);
        assert_eq!(headers.len(), usize::from(version.is_some()));
    }
}

#[test]
fn annotations_are_found_where_properties_alone_lead() {
    let schema = raw(r#"{"type":"object","properties":{
            "z":{"type":"string","x-mcp-header":"Zone"},
            "plain":{"type":"string","default":{"x-mcp-header":"no schema"}},
            "inner":{"type":"object","properties":{"n":{"type":["integer","null"],"x-mcp-header":"N"}}},
            "x-mcp-header":{"type":"string"}}}"#);
    let found = header_params(&schema).unwrap();
    assert_eq!(
        found,
        [
            HeaderParam { header: "Zone".into(), path: vec!["z".into()] },
            HeaderParam { header: "N".into(), path: vec!["inner".into(), "n".into()] },
        ]
    );
    assert_eq!(header_params(&raw(r#"{"type":"object"}"#)), Ok(Vec::new()));
    assert_eq!(header_params(&raw("true")), Ok(Vec::new()));
}

#[test]
fn annotations_that_break_a_rule_are_refused() {
    let property = |property: &str| format!(r#"{{"properties":{{"p":{property}}}}}"#);
    let cases = [
        property(r#"{"type":"string","x-mcp-header":""}"#),
        property(r#"{"type":"string","x-mcp-header":"a b"}"#),
        property(r#"{"type":"string","x-mcp-header":"a:b"}"#),
        property(r#"{"type":"string","x-mcp-header":"é"}"#),
        property(r#"{"type":"string","x-mcp-header":"a\r\nb"}"#),
        property(r#"{"type":"string","x-mcp-header":5}"#),
        property(r#"{"type":"string","\u0078-mcp-header":""}"#),
        property(r#"{"type":"number","x-mcp-header":"A"}"#),
        property(r#"{"type":"object","x-mcp-header":"A"}"#),
        property(r#"{"type":"array","x-mcp-header":"A"}"#),
        property(r#"{"type":"null","x-mcp-header":"A"}"#),
        property(r#"{"type":["string","array"],"x-mcp-header":"A"}"#),
        property(r#"{"x-mcp-header":"A"}"#),
        property(r#"{"type":"array","items":{"type":"string","x-mcp-header":"A"}}"#),
        property(r#"{"anyOf":[{"type":"string","x-mcp-header":"A"}]}"#),
        property(r#"{"anyOf":[{"properties":{"q":{"type":"string","x-mcp-header":"A"}}}]}"#),
        r#"{"type":"string","x-mcp-header":"A"}"#.to_owned(),
        r#"{"$defs":{"d":{"type":"string","x-mcp-header":"A"}}}"#.to_owned(),
        r#"{"if":{"properties":{"q":{"type":"string","x-mcp-header":"A"}}}}"#.to_owned(),
        r#"{"properties":{"p":{"type":"string","x-mcp-header":"Ab"},"q":{"type":"string","x-mcp-header":"aB"}}}"#.to_owned(),
    ];
    for schema in cases {
        assert!(header_params(&raw(&schema)).is_err(), "{schema}");
    }
}
