use serde_json::{Value, json};

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn answer(reason: Reason, era: Era, subject: Subject<'_>) -> (Answer, Value) {
    let id = raw("7");
    let asked = Asked { era, id: Some(&id), subject, request_id: "r-1" };
    let answer = deny(reason, &asked, &Detail::default());
    let body = serde_json::from_slice(&answer.body).unwrap();
    (answer, body)
}

const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];
const SUBJECTS: [Subject<'static>; 4] =
    [Subject::Tool("t"), Subject::Prompt("p"), Subject::Resource("u:r"), Subject::Other];

#[test]
fn every_reason_has_an_answer_with_the_id_of_its_request() {
    for reason in Reason::ALL {
        for era in ERAS {
            for subject in SUBJECTS {
                let (answer, body) = answer(*reason, era, subject);
                assert_eq!(body["jsonrpc"], "2.0");
                assert_eq!(body["id"], 7, "{reason}");
                assert_ne!(body.get("result").is_some(), body.get("error").is_some(), "{reason}");
                if let Some(code) = body.pointer("/error/code").and_then(Value::as_i64)
                    && code > 0
                {
                    assert_eq!(code, i64::from(answer.status.as_u16()), "{reason}");
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_credential_is_not_told() {
    let (first, _) = answer(Reason::Unauthenticated, Era::Modern, Subject::Other);
    assert_eq!(first.status, StatusCode::UNAUTHORIZED);
    assert_eq!(first.www_authenticate, Some("Bearer realm=\"portcullis\""));
    assert_eq!(first.body, br#"{"jsonrpc":"2.0","id":7,"error":{"code":401,"message":"Unauthorized"}}"#);
    for reason in [Reason::KeyExpired, Reason::KeyRevoked] {
        for subject in SUBJECTS {
            assert_eq!(answer(reason, Era::Legacy, subject).0, first);
        }
    }
}

#[test]
fn an_unknown_endpoint_says_not_found_and_no_more() {
    let (answer, body) = answer(Reason::UnknownEndpoint, Era::Modern, Subject::Tool("t"));
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(body["error"], json!({"code": 404, "message": "Not Found"}));
}

#[test]
fn tools_that_are_not_there_and_tools_that_are_not_for_you_look_alike() {
    let alike =
        [Reason::ToolUnknown, Reason::ToolNotGranted, Reason::ToolNotApproved, Reason::ToolQuarantined];
    for era in ERAS {
        for subject in SUBJECTS {
            let first = answer(Reason::ToolUnknown, era, subject).0;
            assert_eq!(first.status, StatusCode::OK);
            for reason in alike {
                assert_eq!(answer(reason, era, subject).0, first, "{reason}");
            }
        }
        let error = |subject| answer(Reason::ToolNotGranted, era, subject).1["error"].clone();
        assert_eq!(error(Subject::Tool("x_y")), json!({"code": -32602, "message": "Unknown tool: x_y"}));
        assert_eq!(error(Subject::Prompt("x_y")), json!({"code": -32602, "message": "Unknown prompt: x_y"}));
    }
    let resource = |era| answer(Reason::ToolNotGranted, era, Subject::Resource("u:r")).1["error"].clone();
    let expected = |code: i32| json!({"code": code, "message": "Resource not found", "data": {"uri": "u:r"}});
    assert_eq!(resource(Era::Modern), expected(-32602));
    assert_eq!(resource(Era::Legacy), expected(-32002));
}

#[test]
fn a_refused_call_is_a_tool_result_that_a_model_can_act_on() {
    let refused = [
        Reason::ZoneDenied,
        Reason::PolicyDenied,
        Reason::ClientDenied,
        Reason::RateLimited,
        Reason::ConcurrencyExceeded,
        Reason::BudgetExhausted,
        Reason::ArgumentsInvalid,
        Reason::ContentBlocked,
        Reason::ExposureExceeded,
        Reason::ApprovalRequired,
        Reason::ApprovalDenied,
        Reason::DetectionBlocked,
        Reason::UpstreamUnavailable,
        Reason::UpstreamTimeout,
        Reason::UpstreamError,
        Reason::ResponseTooLarge,
    ];
    for reason in refused {
        for era in ERAS {
            let (as_tool, body) = answer(reason, era, Subject::Tool("t"));
            assert_eq!(as_tool.status, StatusCode::OK);
            let result = &body["result"];
            assert_eq!(result["isError"], true);
            assert_eq!(result["content"][0]["text"], sentence(reason));
            assert_eq!(
                result["_meta"]["portcullis/decision"],
                json!({"reason": reason.code(), "requestId": "r-1"})
            );
            let modern =
                (result.get("resultType").is_some(), result["_meta"].get(names::SERVER_INFO).is_some());
            assert_eq!(modern, (era == Era::Modern, era == Era::Modern));

            for subject in [Subject::Prompt("p"), Subject::Resource("u:r"), Subject::Other] {
                let (answer, body) = answer(reason, era, subject);
                assert_eq!(answer.status, StatusCode::OK);
                assert_eq!(body["error"]["code"], -32603);
                assert_eq!(body["error"]["data"]["reason"], reason.code());
            }
        }
    }
}

#[test]
fn the_reply_carries_the_details_that_it_was_given() {
    let id = raw("\"a\"");
    let asked = Asked { era: Era::Legacy, id: Some(&id), subject: Subject::Tool("t"), request_id: "r\"1" };
    let detail = Detail {
        sentence: Some("Say \"please\"."),
        retry_after_ms: Some(1500),
        approval_url: Some("https://portcullis.example/approvals/a-1"),
    };
    let body: Value = serde_json::from_slice(&deny(Reason::ApprovalRequired, &asked, &detail).body).unwrap();
    assert_eq!(body["result"]["content"][0]["text"], "Say \"please\".");
    assert_eq!(
        body["result"]["_meta"]["portcullis/decision"],
        json!({"reason": "approval_required", "requestId": "r\"1", "retryAfterMs": 1500,
            "approvalUrl": "https://portcullis.example/approvals/a-1"})
    );
}

#[test]
fn what_cannot_be_served_now_says_when_to_come_back() {
    let id = raw("7");
    let asked = Asked { era: Era::Modern, id: Some(&id), subject: Subject::Tool("t"), request_id: "r" };
    for (ms, seconds) in [(None, 1), (Some(0), 1), (Some(1), 1), (Some(1001), 2), (Some(60_000), 60)] {
        for reason in [Reason::SnapshotStale, Reason::AuditUnavailable, Reason::Overloaded] {
            let answer = deny(reason, &asked, &Detail { retry_after_ms: ms, ..Detail::default() });
            assert_eq!((answer.status, answer.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(seconds)));
        }
    }
    let lost = record_failed(&id);
    assert_eq!((lost.status, lost.retry_after), (StatusCode::OK, None));
    let body: Value = serde_json::from_slice(&lost.body).unwrap();
    assert_eq!(body["error"]["code"], -32603);
}

#[test]
fn codes_of_2026_07_28_go_to_modern_callers_only() {
    let id = raw("1");
    let fault = HeaderMismatch("x".into());
    let code = |answer: Answer| {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        serde_json::from_slice::<Value>(&answer.body).unwrap()["error"]["code"].as_i64().unwrap()
    };
    assert_eq!(code(header_mismatch(Era::Modern, Some(&id), &fault)), -32020);
    assert_eq!(code(header_mismatch(Era::Legacy, Some(&id), &fault)), 400);
    assert_eq!(code(unsupported_version(Era::Modern, Some(&id), "v9")), -32022);
    assert_eq!(code(unsupported_version(Era::Legacy, Some(&id), "v9")), 400);
    assert_eq!(code(missing_capability(&id, "{\"sampling\":{}}")), -32021);
    assert_eq!(code(invalid_params(Some(&id), "x", true)), -32602);

    let body: Value =
        serde_json::from_slice(&unsupported_version(Era::Modern, Some(&id), "v9").body).unwrap();
    assert_eq!(body["error"]["data"], json!({"supported": ["2026-07-28"], "requested": "v9"}));
}

#[test]
fn an_unknown_method_is_404_for_modern_callers_and_200_for_legacy_ones() {
    for (era, status) in [(Era::Modern, StatusCode::NOT_FOUND), (Era::Legacy, StatusCode::OK)] {
        let answer = unknown_method(era, &raw("1"), "no/such");
        assert_eq!(answer.status, status);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["error"], json!({"code": -32601, "message": "Method not found: no/such"}));
    }
    assert_eq!(status_of_error(Era::Modern, -32601), StatusCode::NOT_FOUND);
    assert_eq!(status_of_error(Era::Legacy, -32021), StatusCode::BAD_REQUEST);
    assert_eq!(status_of_error(Era::Modern, -32603), StatusCode::OK);
}

#[test]
fn what_the_caller_sent_comes_back_shortened_and_escaped() {
    let long = "é".repeat(10_000);
    let (answer, body) = answer(Reason::ToolUnknown, Era::Modern, Subject::Tool(&long));
    assert!(answer.body.len() < 1024);
    assert!(body["error"]["message"].as_str().unwrap().ends_with('…'));
    let quoted = super::unknown_method(Era::Legacy, &raw("1"), "a\"\n");
    let body: Value = serde_json::from_slice(&quoted.body).unwrap();
    assert_eq!(body["error"]["message"], "Method not found: a\"\n");
}

#[test]
fn a_malformed_message_keeps_its_code_and_the_id_it_had() {
    let fault = crate::parse(br#"{"jsonrpc":"2.0","id":"x","method":"ping","result":{}}"#).unwrap_err();
    let answer = malformed(&fault);
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&body["id"], &body["error"]["code"]), (&json!("x"), &json!(-32600)));
    let answer = malformed(&crate::parse(b"{").unwrap_err());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body.get("id").is_none());
}
