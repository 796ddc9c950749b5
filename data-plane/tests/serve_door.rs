//! What is judged before any method: door, credential, path, and the form of the request.

mod common;

use common::{Fake, Policy, World};
use http::{Method, StatusCode};
use portcullis_data_plane::ledger::{Decision, SpoolConfig};
use portcullis_policy::Reason;
use serde_json::json;

async fn world() -> (World, Fake) {
    let fake = Fake::start(true).await;
    let policy = Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .server("hidden", &fake.url, true, &Fake::capabilities())
        .tool("crm", "echo")
        .bundle("support", &json!([{"server": "crm", "allow": ["echo"]}]))
        .bundle("other", &json!([{"server": "crm", "allow": ["echo"]}]))
        .key("bot", &json!([{"server": "crm", "allow": ["*"]}, {"bundle": "support"}]))
        .key_with("old", &json!([]), &json!({"expiresAt": "2001-01-01T00:00:00Z"}))
        .key_with("gone", &json!([]), &json!({"revoked": true}));
    (World::new(&policy).await, fake)
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn a_foreign_origin_or_host_is_refused_before_the_credential_is_looked_at() {
    let (world, _fake) = world().await;
    let nobody = world.caller("bot", "/mcp").without("authorization");
    for (name, value) in
        [("origin", "https://evil.example.com"), ("host", "evil.example.com"), ("origin", "null")]
    {
        let got = nobody.with(name, value).post(PING).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(!got.header("x-request-id").is_empty());
    }
    for origin in ["http://localhost:5173", "https://app.example.com"] {
        assert_eq!(
            nobody.with("origin", origin).post(PING).await.status,
            StatusCode::UNAUTHORIZED,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn every_bad_credential_gets_the_same_401() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let secret = common::policy::secret("bot");
    let cases = [
        bot.without("authorization"),
        bot.with("authorization", "Bearer pcl_unknown"),
        bot.with("authorization", &format!("Basic {secret}")),
        bot.with("x-portcullis-key", &secret),
        bot.with_also("authorization", &format!("Bearer {secret}")),
        world.caller("old", "/mcp"),
        world.caller("gone", "/mcp"),
        world.caller("nobody-knows-it", "/mcp"),
        bot.without("authorization").at(&format!("{}?key={secret}", bot.url)),
    ];
    let mut bodies = Vec::new();
    for case in cases {
        let got = case.post(PING).await;
        assert_eq!(got.status, StatusCode::UNAUTHORIZED);
        assert_eq!(got.header("www-authenticate"), "Bearer realm=\"portcullis\"");
        assert_eq!(got.json()["error"]["code"], 401);
        bodies.push(got.text);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(world.records().is_empty(), "refusals before authentication are counted, not recorded");
    let by_header = bot.without("authorization").with("x-portcullis-key", &secret);
    assert_eq!(by_header.post(PING).await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_and_unreachable_endpoints_are_one_404() {
    let (world, _fake) = world().await;
    let mut bodies = Vec::new();
    for path in [
        "/servers/none/mcp",
        "/servers/hidden/mcp",
        "/bundles/none/mcp",
        "/bundles/other/mcp",
        "/",
        "/mcp/",
        "/servers/crm%2Fx/mcp",
    ] {
        let got = world.caller("bot", path).post(PING).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        bodies.push(got.text);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    let records = world.records();
    assert_eq!(records.len(), 7, "who is known is on record");
    let hidden = records.iter().find(|record| record.endpoint == "/servers/hidden/mcp").unwrap();
    assert_eq!((hidden.decision, hidden.reason), (Decision::Deny, Some(Reason::UnknownEndpoint)));
    assert_eq!((hidden.key.name.as_str(), &*hidden.method), ("bot", "POST"));
    assert!(hidden.rule.is_some());
    let long = world.caller("bot", &format!("/{}", "x".repeat(5000))).post(PING).await;
    assert_eq!(long.status, StatusCode::NOT_FOUND);
    assert_eq!(world.records().pop().unwrap().endpoint.len(), 256);
    for path in ["/mcp", "/servers/crm/mcp", "/bundles/support/mcp"] {
        assert_eq!(world.caller("bot", path).post(PING).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_wrong_kind_of_request_is_told_by_its_status() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for method in [Method::PUT, Method::OPTIONS, Method::HEAD, Method::PATCH] {
        let got = bot.read(method.clone(), PING).await;
        assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(got.header("allow"), "POST, GET, DELETE");
    }
    let cases = [
        (bot.with("accept", "application/json"), StatusCode::NOT_ACCEPTABLE),
        (bot.with("accept", "text/html"), StatusCode::NOT_ACCEPTABLE),
        (bot.with("content-type", "text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (bot.without("content-type"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (bot.with("content-encoding", "gzip"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (bot.with("x-long", &"x".repeat(70 << 10)), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ];
    for (case, status) in cases {
        assert_eq!(case.post(PING).await.status, status);
    }
    let large = format!("{PING}{}", " ".repeat(17 << 20));
    assert_eq!(bot.post(large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_request_larger_than_its_server_takes_is_a_denial_by_that_limit_and_never_reaches_it() {
    let (world, fake) = world().await;
    let got = world
        .caller("bot", "/mcp")
        .ask_modern("tools/call", json!({"name": "crm_echo", "arguments": {"a": "x".repeat(65 << 10)}}))
        .await;
    let result = got.result();
    assert_eq!(result["isError"], true);
    assert_eq!(result["_meta"]["portcullis/decision"]["reason"], "arguments_invalid");
    let sentence = result["content"][0]["text"].as_str().unwrap();
    assert!(sentence.contains("64KiB") && sentence.contains("maxRequestBytes"), "{sentence}");
    assert!(fake.seen().is_empty());
    let record = world.records().pop().unwrap();
    assert_eq!(record.decision, Decision::Deny);
    assert_eq!(record.reason, Some(Reason::ArgumentsInvalid));
    assert_eq!(record.rule.as_deref(), Some("McpServer/crm spec.limits.maxRequestBytes"));
    assert_eq!(record.tool.as_deref(), Some("echo"));
    assert_eq!(record.server.unwrap().as_str(), "crm");
}

#[tokio::test]
async fn what_is_no_message_is_a_400_with_the_code_that_says_why() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(99),
        "]".repeat(99)
    );
    for (body, code) in [
        ("{", -32700),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
    ] {
        let got = bot.post(body).await;
        assert_eq!((got.status, got.code()), (StatusCode::BAD_REQUEST, code), "{body}");
    }
    for body in [r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#, &deep]
    {
        let got = bot.post(body.to_owned()).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert!(bot.post("[]").await.text.contains("batch"), "the sentence says what is not served");
}

#[tokio::test]
async fn without_a_snapshot_nobody_is_let_in_and_all_are_told_when_to_come_back() {
    let world = World::empty(SpoolConfig::default()).await;
    let got = world.caller("bot", "/mcp").post(PING).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(got.header("retry-after").parse::<u64>().unwrap() > 0);
}
