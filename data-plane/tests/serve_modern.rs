//! Modern callers on modern upstreams: every row of the contract's table, and nothing lost on the way.

mod common;

use common::client::Events;
use common::{Fake, Policy, World};
use http::{Method, StatusCode};
use portcullis_data_plane::ledger::{Decision, Outcome};
use portcullis_policy::Reason;
use serde_json::{Value, json};

const TOOLS: [&str; 10] =
    ["echo", "fail", "big", "huge", "rpc_error", "broken", "slow", "progress", "late_sse", "ask"];

fn policy(fake: &Fake, modern: bool) -> Policy {
    let mut policy = Policy::new()
        .zone("walled", &[], "required")
        .server("crm", &fake.url, modern, &Fake::capabilities())
        .server_in("walled", "vault", &fake.url, modern, &Fake::capabilities())
        .server("down", "http://127.0.0.1:9/mcp", modern, &Fake::capabilities())
        .tool("vault", "echo")
        .tool("down", "echo")
        .tool_in_state("crm", "waiting", "pending")
        .tool_in_state("crm", "drifted", "quarantined")
        .prompt("crm", "hello")
        .key(
            "bot",
            &json!([
                {"server": "crm", "allow": ["*"], "except": ["withheld"], "prompts": ["*"], "resources": ["file:///*"]},
                {"server": "vault", "allow": ["*"]},
                {"server": "down", "allow": ["*"]}
            ]),
        )
        .key("rival", &json!([{"server": "crm", "allow": ["*"]}]))
        .key("narrow", &json!([{"server": "crm", "allow": ["echo"]}]));
    for tool in TOOLS.iter().chain(&["withheld"]) {
        policy = policy.tool("crm", tool);
    }
    policy.tool_as(
        "crm",
        "mirrored",
        &json!({"name": "mirrored", "inputSchema": {"type": "object", "properties":
            {"region": {"type": "string", "x-mcp-header": "Region"}}}}),
    )
}

async fn world() -> (World, Fake) {
    let fake = Fake::start(true).await;
    (World::new(&policy(&fake, true)).await, fake)
}

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
async fn a_list_shows_what_a_call_is_permitted_and_definitions_untouched() {
    let (world, fake) = world().await;
    let got = world.caller("bot", "/mcp").ask_modern("tools/list", json!({})).await;
    let result = got.result();
    let names: Vec<&str> =
        result["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"crm_echo") && names.contains(&"down_echo"), "{names:?}");
    for absent in ["crm_withheld", "crm_waiting", "crm_drifted", "vault_echo"] {
        assert!(!names.contains(&absent), "{absent}");
    }
    let echo = result["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "crm_echo").unwrap();
    assert_eq!(echo["x-kept"], json!({"b": [1]}));
    assert_eq!((&result["resultType"], &result["cacheScope"]), (&json!("complete"), &json!("private")));
    assert!(result["ttlMs"].as_u64().unwrap() > 0);
    let got = world.caller("bot", "/servers/crm/mcp").ask_modern("tools/list", json!({})).await;
    assert!(got.text.contains(r#""name":"echo""#) && !got.text.contains("crm_echo"));
    let got = world.caller("bot", "/mcp").ask_modern("prompts/list", json!({})).await;
    assert_eq!(got.result()["prompts"], json!([{"name": "crm_hello"}]));
    let got = world.caller("bot", "/mcp").ask_modern("tools/list", json!({"cursor": "forged"})).await;
    assert_eq!(got.code(), -32602);
    assert!(fake.seen().is_empty(), "lists of definitions come from memory");
}

#[tokio::test]
async fn an_endpoint_says_what_it_is_and_what_it_can_do() {
    let (world, _fake) = world().await;
    let result = world.caller("bot", "/mcp").ask_modern("server/discover", json!({})).await.result();
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "portcullis");
    for capability in ["tools", "prompts", "resources", "completions", "logging"] {
        assert!(result["capabilities"].get(capability).is_some(), "{capability}");
    }
    let result =
        world.caller("bot", "/servers/crm/mcp").ask_modern("server/discover", json!({})).await.result();
    assert_eq!(result["instructions"], "How to use crm.");
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "crm-upstream");
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
async fn resource_lists_are_filtered_and_their_cursors_sealed() {
    let (world, fake) = world().await;
    let got = world.caller("bot", "/mcp").ask_modern("resources/list", json!({})).await;
    let uris = |value: &Value| -> Vec<String> {
        value["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["uri"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(uris(&got.result()), ["file:///a", "file:///c"], "all pages, and only what is granted");
    assert_eq!(got.result()["resources"][0]["x-kept"], 1);

    let bot = world.caller("bot", "/servers/crm/mcp");
    let first = bot.ask_modern("resources/list", json!({})).await.result();
    assert_eq!(uris(&first), ["file:///a"]);
    let cursor = first["nextCursor"].as_str().unwrap();
    assert_ne!(cursor, "page-2");
    let second = bot.ask_modern("resources/list", json!({"cursor": cursor})).await.result();
    assert_eq!(uris(&second), ["file:///c"]);
    assert!(second.get("nextCursor").is_none());
    let forged = bot.ask_modern("resources/list", json!({"cursor": "page-2"})).await;
    assert_eq!(forged.code(), -32602);
    assert!(fake.seen().iter().all(|seen| !seen.text.contains(cursor)));
}

#[tokio::test]
async fn a_server_that_is_down_is_missing_from_a_merged_list_and_breaks_nothing() {
    let fake = Fake::start(true).await;
    let grants = json!([{"server": "crm", "resources": ["*"]}, {"server": "down", "resources": ["*"]}]);
    let policy = Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .server("down", "http://127.0.0.1:9/mcp", true, &Fake::capabilities())
        .key("bot", &grants)
        .key("unlucky", &json!([{"server": "down", "resources": ["*"]}]));
    let world = World::new(&policy).await;
    let result = world.caller("bot", "/mcp").ask_modern("resources/list", json!({})).await.result();
    assert_eq!(result["resources"].as_array().unwrap().len(), 3);
    assert_eq!(result["_meta"]["portcullis/unavailable"], json!(["down"]));
    let got = world.caller("unlucky", "/mcp").ask_modern("resources/list", json!({})).await;
    assert_eq!(got.code(), -32603, "an error where an error belongs, never an empty list");
    assert_eq!(got.json()["error"]["data"]["reason"], "upstream_unavailable");
}

#[tokio::test]
async fn a_resource_that_two_granted_servers_offer_is_hidden_at_the_aggregate() {
    let (one, two) = (Fake::start(true).await, Fake::start(true).await);
    let grants =
        json!([{"server": "one", "resources": ["*"]}, {"server": "two", "resources": ["file:///a"]}]);
    let policy = Policy::new()
        .server("one", &one.url, true, &Fake::capabilities())
        .server("two", &two.url, true, &Fake::capabilities())
        .key("bot", &grants);
    let world = World::new(&policy).await;
    let bot = world.caller("bot", "/mcp");
    let result = bot.ask_modern("resources/list", json!({})).await.result();
    let uris: Vec<&str> =
        result["resources"].as_array().unwrap().iter().map(|item| item["uri"].as_str().unwrap()).collect();
    assert_eq!(uris, ["secret:///b", "file:///c"]);
    assert_eq!(bot.ask_modern("resources/read", json!({"uri": "file:///a"})).await.code(), -32602);
    let got = bot.ask_modern("resources/read", json!({"uri": "file:///c"})).await;
    assert_eq!(got.result()["contents"][0]["uri"], "file:///c");
    let alone = world.caller("bot", "/servers/two/mcp");
    assert_eq!(alone.ask_modern("resources/read", json!({"uri": "file:///a"})).await.status, StatusCode::OK);
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

#[tokio::test]
async fn a_long_list_comes_in_pages_that_belong_to_one_list_and_one_caller() {
    let fake = Fake::start(true).await;
    let all = json!([{"server": "crm", "allow": ["*"]}]);
    let of = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("t-{number:05}")).collect();
        let policy = Policy::new().server("crm", &fake.url, true, &Fake::capabilities());
        let policy = names.iter().fold(policy, |policy, name| policy.tool("crm", name));
        policy.key("bot", &all).key("rival", &all)
    };
    let world = World::new(&of(2100)).await;
    for modern in [true, false] {
        let (bot, rival) = (world.caller("bot", "/mcp"), world.caller("rival", "/mcp"));
        let list = async |caller: &common::Caller, cursor: Option<&str>| {
            let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            if modern {
                caller.ask_modern("tools/list", params).await
            } else {
                caller.ask_legacy("tools/list", params).await
            }
        };
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let result = list(&bot, cursor.as_deref()).await.result();
            let tools = result["tools"].as_array().unwrap();
            assert!(tools.len() <= 1000);
            seen.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            match result["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(seen.len(), 2100);
        seen.dedup();
        assert_eq!(seen.len(), 2100);
        assert_eq!(list(&rival, cursor.as_deref()).await.code(), -32602, "another caller's cursor");
        world.live.swap(of(2101).compile(2));
        assert_eq!(list(&bot, cursor.as_deref()).await.code(), -32602, "a cursor into another list");
        world.live.swap(of(2100).compile(3));
    }
}

#[tokio::test]
async fn a_bundle_shows_its_own_tools_under_exposed_names_and_nothing_else() {
    let fake = Fake::start(true).await;
    let policy = Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .tool("crm", "echo")
        .tool("crm", "fail")
        .prompt("crm", "hello")
        .bundle("support", &json!([{"server": "crm", "allow": ["e*"]}]))
        .key("bot", &json!([{"bundle": "support"}]));
    let world = World::new(&policy).await;
    let bot = world.caller("bot", "/bundles/support/mcp");
    let result = bot.ask_modern("tools/list", json!({})).await.result();
    assert_eq!(result["tools"].as_array().unwrap().len(), 1);
    assert_eq!(result["tools"][0]["name"], "crm_echo");
    let got = bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
    assert_eq!(got.result()["content"][0]["text"], "done");
    assert_eq!(bot.ask_modern("tools/call", json!({"name": "crm_fail"})).await.code(), -32602);
    assert_eq!(bot.ask_modern("prompts/list", json!({})).await.code(), -32601);
    assert_eq!(world.records().first().unwrap().endpoint, "/bundles/support/mcp");
}
