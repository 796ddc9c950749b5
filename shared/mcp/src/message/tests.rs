use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn messages_hold_their_raw_pieces_untouched() {
    let id = raw("\"a\\u0041\"");
    let params = raw("{ \"x\" : 1.0 }");
    assert_eq!(
        text(request(&id, "tools/call", Some(&params))),
        r#"{"jsonrpc":"2.0","id":"a\u0041","method":"tools/call","params":{ "x" : 1.0 }}"#
    );
    assert_eq!(text(request(&raw("7"), "ping", None)), r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#);
    assert_eq!(
        text(notification("notifications/progress", Some("{}"))),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#
    );
    assert_eq!(text(result(&raw("1"), "{ }")), r#"{"jsonrpc":"2.0","id":1,"result":{ }}"#);
}

#[test]
fn an_error_without_an_id_has_no_id_member() {
    assert_eq!(
        text(error(None, -32700, "say \"hi\"", None)),
        r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"say \"hi\""}}"#
    );
    assert_eq!(
        text(error(Some(&raw("1")), 400, "x", Some("{\"a\":1}"))),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":400,"message":"x","data":{"a":1}}}"#
    );
}
