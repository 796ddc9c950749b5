//! Calls of modern callers on modern upstreams: every row of the contract's table, and nothing lost on the way.

mod common;

use common::client::Events;
use common::modern::world;
use http::{Method, StatusCode};
use portcullis_data_plane::ledger::{Decision, Outcome};
use portcullis_policy::Reason;
use serde_json::{Value, json};

fn decision(result: &Value) -> &Value {
    result.pointer("/_meta/portcullis~1decision").unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_call_passes_byte_for_byte_both_ways_and_leaves_one_record() {
    let (world, fake) = world().await;
    let (caller, _) = world.caller("bot", "/mcp").modern("tools/call", json!({"name": "crm_echo"}));
    // Spaces, unknown members and a number that no float holds: all of it must arrive as it was written.
    let body = r#"{"jsonrpc":"2.0","id":"id-7","method":"tools/call","params":{"name":"crm_echo","arguments":{ "n" : 12345678901234567890, "x":[1.0, 2e3] },"x-unknown":{"k":null},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"tester","version":"9"},"io.modelcontextprotocol/clientCapabilities":{},"vendor/x":[1]}}}"#;
    let got = caller
        .with("cookie", "session=secret")
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")
        .post(body)
        .await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.json()["id"], "id-7");
    assert_eq!(got.result()["x-unknown"], json!({"a": [1, 2]}));
    let seen = fake.saw("tools/call").await;
    assert!(
        seen.text
            .contains(r#""arguments":{ "n" : 12345678901234567890, "x":[1.0, 2e3] },"x-unknown":{"k":null}"#),
        "{}",
        seen.text
    );
    let params = seen.json()["params"].clone();
    assert_eq!(params["name"], "echo");
    assert_eq!(params["_meta"]["vendor/x"], json!([1]));
    assert_eq!(seen.headers["mcp-name"], "echo");
    for secret in ["authorization", "cookie", "x-portcullis-key"] {
        assert!(!seen.headers.contains_key(secret), "{secret} reached the upstream");
    }
    assert!(!format!("{seen:?}").contains(&common::policy::secret("bot")));

    let records = world.records();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.request_id.to_string(), got.header("x-request-id"));
    assert_eq!((record.decision, record.outcome, record.reason), (Decision::Permit, Outcome::Ok, None));
    assert_eq!(record.tool.as_deref(), Some("echo"));
    assert_eq!(record.exposed_name.as_deref(), Some("crm_echo"));
    assert_eq!(record.server.as_ref().unwrap().as_str(), "crm");
    assert_eq!(record.key.name.as_str(), "bot");
    assert_eq!(record.client_hint.as_deref(), Some("tester"));
    assert_eq!(record.bytes.request, body.len() as u64);
    assert_eq!(record.bytes.response, got.text.len() as u64);
    assert_eq!(record.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(record.endpoint, "/mcp");
    assert!(record.rule.as_ref().unwrap().contains("VirtualKey/bot"));
    assert_eq!(record.upstream.as_ref().unwrap().status, Some(200));
}

#[tokio::test]
async fn what_is_not_there_for_a_caller_is_one_answer_and_the_record_tells_which() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for (name, reason) in [
        ("crm_none", Reason::ToolUnknown),
        ("nothing", Reason::ToolUnknown),
        ("crm_withheld", Reason::ToolNotGranted),
        ("crm_waiting", Reason::ToolNotApproved),
        ("crm_drifted", Reason::ToolQuarantined),
    ] {
        let got = bot.ask_modern("tools/call", json!({"name": name})).await;
        assert_eq!((got.status, got.code()), (StatusCode::OK, -32602), "{name}");
        assert_eq!(got.json()["error"]["message"], format!("Unknown tool: {name}"));
        let record = world.records().pop().unwrap();
        assert_eq!((record.decision, record.reason), (Decision::Deny, Some(reason)), "{name}");
        assert_eq!(record.request_id.to_string(), got.header("x-request-id"));
    }
    let got = bot.ask_modern("prompts/get", json!({"name": "crm_none"})).await;
    assert_eq!((got.status, got.code()), (StatusCode::OK, -32602));
    for uri in ["secret:///b", "file:///../b", "file:///a%2fb"] {
        let got = bot.ask_modern("resources/read", json!({"uri": uri})).await;
        assert_eq!((got.status, got.code()), (StatusCode::OK, -32602), "{uri}");
    }
    assert!(fake.seen().is_empty(), "nothing of it reached an upstream");
}

#[tokio::test]
async fn a_call_denied_by_its_zone_is_a_tool_error_that_says_why() {
    let (world, fake) = world().await;
    let got = world.caller("bot", "/mcp").ask_modern("tools/call", json!({"name": "vault_echo"})).await;
    let result = got.result();
    assert_eq!((got.status, &result["isError"]), (StatusCode::OK, &json!(true)));
    assert_eq!(result["resultType"], "complete");
    assert_eq!(decision(&result)["reason"], "zone_denied");
    assert_eq!(decision(&result)["requestId"], got.header("x-request-id"));
    assert!(!result["content"][0]["text"].as_str().unwrap().is_empty());
    let record = world.records().pop().unwrap();
    assert_eq!((record.decision, record.reason), (Decision::Deny, Some(Reason::ZoneDenied)));
    assert_eq!(record.zone.unwrap().as_str(), "walled");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn failures_of_upstreams_are_tool_errors_with_their_reason() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for (name, reason, code) in [
        ("down_echo", Reason::UpstreamUnavailable, "upstream_unavailable"),
        ("crm_broken", Reason::UpstreamError, "upstream_error"),
        ("crm_huge", Reason::ResponseTooLarge, "response_too_large"),
    ] {
        let got = bot.ask_modern("tools/call", json!({"name": name})).await;
        let result = got.result();
        assert_eq!(result["isError"], true, "{name}");
        assert_eq!(decision(&result)["reason"], code, "{name}");
        let record = world.records().pop().unwrap();
        assert_eq!(record.decision, Decision::Permit);
        assert_eq!((record.outcome, record.reason), (Outcome::Error, Some(reason)), "{name}");
    }
    let got = bot.ask_modern("tools/call", json!({"name": "crm_rpc_error"})).await;
    assert_eq!((got.status, got.code()), (StatusCode::OK, -31999));
    assert_eq!(got.json()["error"]["data"], json!({"x-kept": [1]}), "its own errors pass whole");
}

#[tokio::test]
async fn an_error_of_the_tool_itself_passes_and_is_recorded_as_one() {
    let (world, _fake) = world().await;
    let got = world.caller("bot", "/mcp").ask_modern("tools/call", json!({"name": "crm_fail"})).await;
    assert_eq!(got.result()["isError"], true);
    assert!(got.result().get("_meta").is_none());
    assert_eq!(world.records().pop().unwrap().outcome, Outcome::ToolError);
}

#[tokio::test]
async fn a_large_answer_stays_json_also_when_the_upstream_streamed_it() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let got = bot.ask_modern("tools/call", json!({"name": "crm_big"})).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.result()["content"][0]["text"].as_str().unwrap().len(), 3 << 20);
    let got = bot.ask_modern("tools/call", json!({"name": "crm_late_sse"})).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.result()["content"][0]["text"], "one event");
}

#[tokio::test]
async fn missing_meta_other_versions_and_other_headers_are_400_with_the_code_of_the_revision() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_echo"}));
    let with_meta = |key: &str, value: Option<Value>| {
        let mut message: Value = serde_json::from_str(&body).unwrap();
        let meta = message["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(key);
        if let Some(value) = value {
            meta.insert(key.to_owned(), value);
        }
        message.to_string()
    };
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    let cases = [
        (caller.clone(), with_meta(version, None), -32602),
        (caller.clone(), with_meta(capabilities, None), -32602),
        (caller.clone(), r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.to_owned(), -32602),
        (caller.without("mcp-protocol-version"), body.clone(), -32020),
        (caller.with("mcp-protocol-version", "2025-11-25"), body.clone(), -32020),
        (caller.without("mcp-method"), body.clone(), -32020),
        (caller.with("mcp-method", "TOOLS/CALL"), body.clone(), -32020),
        (caller.without("mcp-name"), body.clone(), -32020),
        (caller.with("mcp-name", "echo"), body.clone(), -32020),
        (
            caller.with("mcp-protocol-version", "2027-01-01"),
            with_meta(version, Some(json!("2027-01-01"))),
            -32022,
        ),
        (
            caller.with("mcp-protocol-version", "v999.0.0"),
            with_meta(version, Some(json!("v999.0.0"))),
            -32022,
        ),
        (
            caller.with("mcp-protocol-version", "1900-01-01"),
            with_meta(version, Some(json!("1900-01-01"))),
            -32022,
        ),
    ];
    for (caller, body, code) in cases {
        let got = caller.post(body.clone()).await;
        assert_eq!((got.status, got.code()), (StatusCode::BAD_REQUEST, code), "{body}");
        assert_eq!(got.json()["id"], 1);
    }
    let encoded = format!("=?base64?{}?=", base64("crm_echo"));
    assert_eq!(caller.with("mcp-name", &encoded).post(body).await.status, StatusCode::OK);
    assert_eq!(fake.seen().len(), 1);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn mirrored_parameters_must_agree_with_the_arguments() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let (caller, body) =
        bot.modern("tools/call", json!({"name": "crm_mirrored", "arguments": {"region": "eu"}}));
    for caller in [caller.clone(), caller.with("mcp-param-region", "us")] {
        let got = caller.post(body.clone()).await;
        assert_eq!((got.status, got.code()), (StatusCode::BAD_REQUEST, -32020));
    }
    assert!(fake.seen().is_empty());
    caller.with("mcp-param-region", "eu").post(body).await;
    assert_eq!(fake.saw("tools/call").await.headers["mcp-param-region"], "eu");
}

#[tokio::test]
async fn methods_of_the_other_era_and_unknown_ones_are_404() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for method in
        ["initialize", "ping", "logging/setLevel", "resources/subscribe", "unknown/method", "tasks/get"]
    {
        let got = bot.ask_modern(method, json!({})).await;
        assert_eq!((got.status, got.code()), (StatusCode::NOT_FOUND, -32601), "{method}");
    }
    let narrow = world.caller("narrow", "/servers/crm/mcp");
    let got = narrow.ask_modern("resources/list", json!({})).await;
    assert_eq!(got.code(), -32601, "resources that nothing grants are not there, rather than none");
    let modern = bot.with("mcp-protocol-version", "2026-07-28");
    assert_eq!(modern.read(Method::GET, "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(modern.read(Method::DELETE, "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn resources_prompts_and_completion_pass() {
    let (world, fake) = world().await;
    for path in ["/mcp", "/servers/crm/mcp"] {
        let bot = world.caller("bot", path);
        let got = bot.ask_modern("resources/read", json!({"uri": "file:///a"})).await;
        assert_eq!(got.result()["contents"][0]["text"], "content", "{path}");
        let got = bot.ask_modern("resources/read", json!({"uri": "file:///missing"})).await;
        assert_eq!(got.code(), -32602, "{path}");
        let got = bot.ask_modern("resources/templates/list", json!({})).await;
        assert_eq!(got.result()["resourceTemplates"].as_array().unwrap().len(), 1, "{path}");
        let prompt = if path == "/mcp" { "crm_hello" } else { "hello" };
        let got = bot.ask_modern("prompts/get", json!({"name": prompt, "arguments": {}})).await;
        assert_eq!(got.result()["messages"][0]["content"]["text"], "prompt hello", "{path}");
        let got = bot
            .ask_modern(
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": prompt, "x": 1},
                "argument": {"name": "a", "value": "b"}}),
            )
            .await;
        assert_eq!(got.result()["completion"]["values"], json!(["hello"]), "{path}");
    }
    assert_eq!(fake.saw("completion/complete").await.json()["params"]["ref"]["x"], 1);
}

#[tokio::test]
async fn progress_streams_and_log_messages_come_only_when_asked_for() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for (level, expected) in [(None, 3), (Some("info"), 4), (Some("error"), 3)] {
        fake.open_gate();
        let mut meta = json!({"progressToken": "p-1"});
        if let Some(level) = level {
            meta["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let (caller, body) = bot.modern("tools/call", json!({"name": "crm_progress", "_meta": meta}));
        let mut events = Events::new(caller.send(Method::POST, body).await);
        assert_eq!(events.headers["x-accel-buffering"], "no");
        let mut messages = Vec::new();
        while let Some(message) = events.message().await {
            messages.push(message);
        }
        assert_eq!(messages.len(), expected, "{level:?}: {messages:?}");
        assert_eq!(messages[0]["params"]["progressToken"], "p-1");
        assert_eq!(messages[0]["params"]["x-kept"], true);
        assert_eq!(messages.last().unwrap()["result"]["content"][0]["text"], "progressed");
    }
    let got = bot
        .ask_modern(
            "tools/call",
            json!({"name": "crm_echo",
        "_meta": {"io.modelcontextprotocol/logLevel": "loud"}}),
        )
        .await;
    assert_eq!((got.status, got.code()), (StatusCode::BAD_REQUEST, -32602));
}

#[tokio::test]
async fn a_caller_that_closes_its_stream_cancels_at_the_upstream() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for tool in ["crm_slow", "crm_progress"] {
        let (caller, body) = bot.modern("tools/call", json!({"name": tool}));
        let call = tokio::spawn(async move { caller.post(body).await });
        fake.saw_that(|seen| tool.ends_with(seen.json()["params"]["name"].as_str().unwrap_or("?"))).await;
        call.abort();
        fake.abandoned().await;
        let record = world.record(|record| record.exposed_name.as_deref() == Some(tool)).await;
        assert_eq!(record.outcome, Outcome::Cancelled);
    }
}

#[tokio::test]
async fn input_that_a_server_needs_makes_a_round_trip_with_sealed_state() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let can = json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}});
    let first = bot.ask_modern("tools/call", json!({"name": "crm_ask", "_meta": can})).await.result();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first["inputRequests"]["q"]["method"], "elicitation/create");
    let state = first["requestState"].as_str().unwrap().to_owned();
    assert!(!state.contains("inner"));
    let retry = |state: &str, name: &str| {
        json!({"name": name, "requestState": state, "_meta": can,
               "inputResponses": {"q": {"action": "accept", "content": {}}}})
    };
    let done = bot.ask_modern("tools/call", retry(&state, "crm_ask")).await.result();
    assert_eq!(done["got"]["requestState"], "inner state");
    assert_eq!(done["got"]["inputResponses"], json!({"q": {"action": "accept", "content": {}}}));

    let before = fake.seen().len();
    let tampered = format!("{state}A");
    for (key, state, name) in
        [("bot", &tampered, "crm_ask"), ("rival", &state, "crm_ask"), ("bot", &state, "crm_echo")]
    {
        let got = world.caller(key, "/mcp").ask_modern("tools/call", retry(state, name)).await;
        assert_eq!((got.status, got.code()), (StatusCode::BAD_REQUEST, -32602), "{key} {name}");
    }
    world.pass(std::time::Duration::from_hours(2));
    assert_eq!(bot.ask_modern("tools/call", retry(&state, "crm_ask")).await.code(), -32602, "too old");
    assert_eq!(fake.seen().len(), before);
}

#[tokio::test]
async fn a_capability_that_was_not_declared_is_a_400() {
    let (world, _fake) = world().await;
    let got = world.caller("bot", "/mcp").ask_modern("tools/call", json!({"name": "crm_ask"})).await;
    assert_eq!((got.status, got.code()), (StatusCode::BAD_REQUEST, -32021));
    assert_eq!(got.json()["error"]["data"]["requiredCapabilities"], json!({"elicitation": {}}));
}
