//! Callers of one era on servers of the other: every feature, none of it lost or made up.

mod common;

use common::client::{Events, Got};
use common::{Caller, Fake, Policy, World};
use http::Method;
use portcullis_data_plane::ledger::Outcome;
use portcullis_policy::Reason;
use serde_json::{Value, json};

async fn world(modern_server: bool) -> (World, Fake) {
    let fake = Fake::start(modern_server).await;
    let mut policy = Policy::new()
        .server("crm", &fake.url, modern_server, &Fake::capabilities())
        .prompt("crm", "hello")
        .key(
            "bot",
            &json!([{"server": "crm", "allow": ["*"], "prompts": ["*"], "resources": ["file:///*"]}]),
        );
    for tool in ["echo", "fail", "rpc_error", "progress", "ask", "slow"] {
        policy = policy.tool("crm", tool);
    }
    (World::new(&policy).await, fake)
}

/// One caller of either era.
struct Either {
    modern: bool,
    caller: Caller,
}

impl Either {
    async fn new(world: &World, modern: bool) -> Self {
        let caller = world.caller("bot", "/mcp");
        let capabilities = json!({"elicitation": {}, "sampling": {}, "roots": {}});
        let caller = if modern { caller } else { caller.initialize(capabilities).await };
        Self { modern, caller }
    }

    async fn ask(&self, method: &str, params: Value) -> Got {
        if self.modern {
            self.caller.ask_modern(method, params).await
        } else {
            self.caller.ask_legacy(method, params).await
        }
    }
}

#[tokio::test]
async fn every_feature_works_in_every_pairing() {
    for (modern_client, modern_server) in [(true, true), (true, false), (false, true), (false, false)] {
        let pairing = format!("modern client {modern_client}, modern server {modern_server}");
        let (world, fake) = world(modern_server).await;
        let either = Either::new(&world, modern_client).await;
        let complete = |result: &Value| {
            assert_eq!(result.get("resultType").is_some(), modern_client, "{pairing}: {result}");
        };
        let got =
            either.ask("tools/call", json!({"name": "crm_echo", "arguments": {"n": 1}, "x": {"y": 1}})).await;
        let result = got.result();
        complete(&result);
        assert_eq!(result["x-unknown"], json!({"a": [1, 2]}), "{pairing}");
        assert_eq!(result["got"]["arguments"], json!({"n": 1}), "{pairing}");
        assert_eq!(result["got"]["x"], json!({"y": 1}), "{pairing}");
        let meta = &result["got"]["_meta"];
        assert_eq!(
            meta.get("io.modelcontextprotocol/protocolVersion").is_some(),
            modern_server,
            "{pairing}: {meta}"
        );

        let result = either.ask("tools/call", json!({"name": "crm_fail"})).await.result();
        assert_eq!(result["isError"], true, "{pairing}");
        let got = either.ask("tools/call", json!({"name": "crm_rpc_error"})).await;
        assert_eq!(
            (got.code(), &got.json()["error"]["data"]),
            (-31999, &json!({"x-kept": [1]})),
            "{pairing}"
        );

        let result = either.ask("prompts/get", json!({"name": "crm_hello"})).await.result();
        assert_eq!(result["messages"][0]["content"]["text"], "prompt hello", "{pairing}");
        complete(&result);
        let result = either.ask("resources/list", json!({})).await.result();
        assert_eq!(result["resources"].as_array().unwrap().len(), 2, "{pairing}");
        complete(&result);
        assert_eq!(result.get("ttlMs").is_some(), modern_client, "{pairing}");
        let result = either.ask("resources/templates/list", json!({})).await.result();
        assert_eq!(result["resourceTemplates"].as_array().unwrap().len(), 1, "{pairing}");
        let result = either.ask("resources/read", json!({"uri": "file:///a"})).await.result();
        assert_eq!(result["contents"][0]["text"], "content", "{pairing}");
        assert_eq!(
            result.get("cacheScope").is_some(),
            modern_client && !modern_server,
            "{pairing}: {result}"
        );
        let got = either.ask("resources/read", json!({"uri": "file:///missing"})).await;
        // The old code is translated for modern callers; the new one is general enough for all.
        let code = if modern_client || modern_server { -32602 } else { -32002 };
        assert_eq!(got.code(), code, "{pairing}");
        let reference = json!({"ref": {"type": "ref/resource", "uri": "file:///{path}"}, "argument": {"name": "path", "value": ""}});
        let result = either.ask("completion/complete", reference).await.result();
        assert_eq!(result["completion"]["values"], json!(["file:///{path}"]), "{pairing}");
        assert!(
            world.records().iter().all(|record| record.upstream.is_some()
                || record.method == "resources/list"
                || record.method == "resources/templates/list"),
            "{pairing}"
        );
        drop(fake);
    }
}

#[tokio::test]
async fn progress_and_logs_stream_in_every_pairing() {
    for (modern_client, modern_server) in [(true, true), (true, false), (false, true), (false, false)] {
        let pairing = format!("modern client {modern_client}, modern server {modern_server}");
        let (world, fake) = world(modern_server).await;
        let either = Either::new(&world, modern_client).await;
        if !modern_client {
            let set = either.ask("logging/setLevel", json!({"level": "info"})).await;
            assert_eq!(set.result(), json!({}), "{pairing}");
        }
        fake.open_gate();
        let mut meta = json!({"progressToken": 42});
        if modern_client {
            meta["io.modelcontextprotocol/logLevel"] = json!("info");
        }
        let params = json!({"name": "crm_progress", "_meta": meta});
        let (caller, body) = if modern_client {
            either.caller.modern("tools/call", params)
        } else {
            let body =
                json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
            (either.caller.clone(), body)
        };
        let mut events = Events::new(caller.send(Method::POST, body).await);
        let mut methods = Vec::new();
        let mut last = Value::Null;
        while let Some(message) = events.message().await {
            methods.push(message["method"].as_str().unwrap_or("result").to_owned());
            if message["method"] == "notifications/progress" {
                assert_eq!(message["params"]["progressToken"], 42, "{pairing}");
            }
            last = message;
        }
        assert_eq!(
            methods,
            ["notifications/progress", "notifications/message", "notifications/progress", "result"],
            "{pairing}"
        );
        assert_eq!(last["result"]["content"][0]["text"], "progressed", "{pairing}");
        if modern_server && !modern_client {
            let sent = fake.saw("tools/call").await.json();
            assert_eq!(sent["params"]["_meta"]["io.modelcontextprotocol/logLevel"], "info", "{pairing}");
        }
    }
}

#[tokio::test]
async fn what_cannot_cross_yet_is_a_clear_tool_error() {
    for modern_client in [true, false] {
        let (world, _fake) = world(!modern_client).await;
        let either = Either::new(&world, modern_client).await;
        let result = either
            .ask(
                "tools/call",
                json!({"name": "crm_ask", "_meta":
            {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}}),
            )
            .await
            .result();
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(result["_meta"]["portcullis/decision"]["reason"], "upstream_error");
        let words = result["content"][0]["text"].as_str().unwrap();
        assert!(words.contains("elicitation/create") && words.contains("crm"), "{words}");
        let record = world.records().pop().unwrap();
        assert_eq!((record.outcome, record.reason), (Outcome::Error, Some(Reason::UpstreamError)));
    }
}

#[tokio::test]
async fn a_modern_caller_that_closes_its_stream_cancels_at_a_legacy_server() {
    let (world, fake) = world(false).await;
    let (caller, body) = world.caller("bot", "/mcp").modern("tools/call", json!({"name": "crm_slow"}));
    let call = tokio::spawn(async move { caller.post(body).await });
    let id = fake.saw("tools/call").await.json()["id"].clone();
    call.abort();
    let cancelled = fake.saw("notifications/cancelled").await.json();
    assert_eq!(cancelled["params"]["requestId"], id);
}

#[tokio::test]
async fn a_legacy_caller_subscribes_at_a_modern_server() {
    let (world, fake) = world(true).await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let mut events = Events::new(bot.send(Method::GET, "").await);
    events.event().await.unwrap();
    assert_eq!(bot.ask_legacy("resources/subscribe", json!({"uri": "file:///a"})).await.result(), json!({}));
    let listened = fake
        .saw_that(|seen| {
            seen.json()["params"]["notifications"]["resourceSubscriptions"] == json!(["file:///a"])
        })
        .await;
    assert_eq!(listened.json()["method"], "subscriptions/listen");
    fake.listened_to().await;
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "file:///a"}});
    fake.push(&updated);
    let told = events.message().await.unwrap();
    assert_eq!((&told["method"], &told["params"]["uri"]), (&updated["method"], &updated["params"]["uri"]));
    assert!(told["params"].get("_meta").is_none_or(|meta| meta.as_object().unwrap().is_empty()), "{told}");
}
