//! What modern callers are shown: lists of tools, prompts and resources, their pages, and what an endpoint says of itself.

mod common;

use common::modern::world;
use common::{Fake, Policy, World};
use http::StatusCode;
use serde_json::{Value, json};

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
