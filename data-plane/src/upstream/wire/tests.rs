use super::*;

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn a_progress_token_is_replaced_on_the_way_out_and_restored_on_the_way_back() {
    let params =
        json(r#"{"name":"t","arguments":{"progressToken":"mine"},"_meta":{"progressToken":"abc","x":1}}"#);
    let (sent, token) = swap_progress_token(Some(Cow::Borrowed(&params)), 41).unwrap();
    let sent = sent.unwrap();
    assert_eq!(
        sent.get(),
        r#"{"name":"t","arguments":{"progressToken":"mine"},"_meta":{"progressToken":41,"x":1}}"#
    );
    let back = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":41,"progress":0.50}}"#;
    let back = with_progress_token(back, &token.unwrap()).unwrap();
    assert_eq!(
        back,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"abc","progress":0.50}}"#
    );
}

#[test]
fn parameters_without_a_token_pass_byte_for_byte() {
    let params = json(r#"{ "arguments" : {"progressToken": 7.0} }"#);
    let (sent, token) = swap_progress_token(Some(Cow::Borrowed(&params)), 1).unwrap();
    assert_eq!(sent.unwrap().get(), params.get());
    assert!(token.is_none());
}

#[test]
fn a_request_carries_our_id_and_the_raw_parameters() {
    let params = json(r#"{"big":12345678901234567890,"f":7.0}"#);
    assert_eq!(
        request(9, "tools/call", Some(&params)),
        r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"big":12345678901234567890,"f":7.0}}"#
    );
    assert_eq!(own_id(&json("9")), Some(9));
    assert_eq!(own_id(&json("\"9\"")), None);
}

fn modern_call(told: bool, version: &str) -> Call {
    let params = r#"{"name":"t","_meta":{"io.modelcontextprotocol/subscriptionId":1,"x" : 2.0}}"#;
    Call {
        method: Cow::Borrowed("tools/call"),
        params: Some(json(params)),
        told,
        caller: Caller {
            principal: portcullis_policy::resource::Uid(uuid::Uuid::nil()),
            client_session: None,
            era: Era::Modern,
            protocol_version: version.to_owned(),
            client_info: None,
            capabilities: json("{}"),
            log_level: None,
            traceparent: None,
            tracestate: None,
        },
    }
}

#[test]
fn what_already_tells_a_server_of_the_callers_revision_passes_byte_for_byte() {
    let revision = Revision::V2026_07_28;
    let call = modern_call(true, revision.as_str());
    assert_eq!(of_call(&call, revision).unwrap().get(), call.params.as_deref().unwrap().get());
}

#[test]
fn what_does_not_is_put_into_the_words_of_the_servers_revision() {
    let revision = Revision::V2026_07_28;
    for call in [modern_call(false, revision.as_str()), modern_call(true, "2027-01-01")] {
        let sent = of_call(&call, revision).unwrap();
        assert!(!sent.get().contains("subscriptionId"), "{sent}");
        assert!(sent.get().contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#), "{sent}");
        assert!(sent.get().contains(r#""x" : 2.0"#), "{sent}");
    }
}
