//! Bundles as clients meet them: their own names and words, prompts and resources, in every pairing of eras.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod common;

use common::client::Got;
use common::{Caller, Fake, Policy, World};
use serde_json::{Value, json};

const DESK: &str = "/bundles/desk/mcp";

async fn world(modern_server: bool) -> (World, Fake) {
    let fake = Fake::start(modern_server).await;
    let policy = Policy::new()
        .server("crm", &fake.url, modern_server, &Fake::capabilities())
        .tool_as("crm", "echo", &json!({"name": "echo", "description": "the upstream's words", "inputSchema": {"type": "object"}}))
        .tool("crm", "fail")
        .prompt("crm", "hello")
        .prompt("crm", "other")
        .bundle(
            "desk",
            &json!([{
                "server": "crm", "allow": ["echo"], "prompts": ["hel*"], "resources": ["file:///a", "file:///{path}"],
                "rewrite": [{"name": "echo", "alias": "say-it", "title": "Say it", "description": "Says \"it\" again."}]
            }]),
        )
        .bundle("bare", &json!([{"server": "crm", "allow": ["echo"]}]))
        .key("bot", &json!([{"bundle": "desk"}, {"bundle": "bare"}]));
    (World::new(&policy).await, fake)
}

/// One caller of either era at one endpoint.
struct Either {
    modern: bool,
    caller: Caller,
}

impl Either {
    async fn new(world: &World, path: &str, modern: bool) -> Self {
        let caller = world.caller("bot", path);
        let caller = if modern { caller } else { caller.initialize(json!({})).await };
        Self { modern, caller }
    }

    async fn ask(&self, method: &str, params: Value) -> Got {
        if self.modern {
            self.caller.ask_modern(method, params).await
        } else {
            self.caller.ask_legacy(method, params).await
        }
    }

    /// A call whose arguments are sent as they are written here.
    async fn call(&self, name: &str, arguments: &str) -> Got {
        let mark = json!({"the": "arguments"});
        let params = json!({"name": name, "arguments": mark});
        let (caller, body) = if self.modern {
            self.caller.modern("tools/call", params)
        } else {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            (self.caller.clone(), body.to_string())
        };
        caller.post(body.replace(&mark.to_string(), arguments)).await
    }
}

fn members<'a>(result: &'a Value, list: &str, member: &str) -> Vec<&'a str> {
    result[list].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_bundles_words_are_what_a_client_sees_and_the_upstreams_own_are_what_is_called() {
    for (modern_client, modern_server) in [(true, true), (true, false), (false, true), (false, false)] {
        let pairing = format!("modern client {modern_client}, modern server {modern_server}");
        let (world, fake) = world(modern_server).await;
        let desk = Either::new(&world, DESK, modern_client).await;
        let listed = desk.ask("tools/list", json!({})).await.result();
        assert_eq!(
            listed["tools"],
            json!([{"name": "say-it", "title": "Say it", "description": "Says \"it\" again.", "inputSchema": {"type": "object"}}]),
            "{pairing}"
        );
        let arguments = r#"{ "n" : 12345678901234567890, "x":[1.0, 2e3], "name":"say-it" }"#;
        let got = desk.call("say-it", arguments).await;
        assert_eq!(got.result()["content"][0]["text"], "done", "{pairing}");
        let seen = fake.saw("tools/call").await;
        assert!(seen.text.contains(&format!("\"arguments\":{arguments}")), "{pairing}: {}", seen.text);
        assert_eq!(seen.json()["params"]["name"], "echo", "{pairing}");
        let record = world.record(|record| record.exposed_name.as_deref() == Some("say-it")).await;
        assert_eq!(record.tool.as_deref(), Some("echo"), "{pairing}");
        assert_eq!(record.endpoint, DESK);
        assert_eq!(record.rule.as_deref(), Some("VirtualKey/bot spec.grants[0]"));
        // What the alias hides, what it is nowhere else, and what the bundle does not hold.
        let all = Either::new(&world, "/mcp", modern_client).await;
        for (caller, name) in [(&desk, "crm_echo"), (&desk, "echo"), (&desk, "crm_fail"), (&all, "say-it")] {
            assert_eq!(caller.call(name, "{}").await.code(), -32602, "{pairing}: {name}");
        }
        assert_eq!(all.call("crm_echo", "{}").await.result()["content"][0]["text"], "done", "{pairing}");
        let at_mcp = all.ask("tools/list", json!({})).await.result();
        assert_eq!(at_mcp["tools"][0]["description"], "the upstream's words", "{pairing}");
    }
}

#[tokio::test]
async fn prompts_resources_and_completion_work_for_what_a_bundle_lists_and_for_nothing_else() {
    for (modern_client, modern_server) in [(true, true), (true, false), (false, true), (false, false)] {
        let pairing = format!("modern client {modern_client}, modern server {modern_server}");
        let (world, fake) = world(modern_server).await;
        let desk = Either::new(&world, DESK, modern_client).await;
        let prompts = desk.ask("prompts/list", json!({})).await.result();
        assert_eq!(members(&prompts, "prompts", "name"), ["crm_hello"], "{pairing}");
        let got = desk.ask("prompts/get", json!({"name": "crm_hello"})).await.result();
        assert_eq!(got["messages"][0]["content"]["text"], "prompt hello", "{pairing}");
        assert_eq!(desk.ask("prompts/get", json!({"name": "crm_other"})).await.code(), -32602, "{pairing}");
        let resources = desk.ask("resources/list", json!({})).await.result();
        assert_eq!(members(&resources, "resources", "uri"), ["file:///a"], "{pairing}");
        let templates = desk.ask("resources/templates/list", json!({})).await.result();
        assert_eq!(members(&templates, "resourceTemplates", "uriTemplate"), ["file:///{path}"], "{pairing}");
        let read = desk.ask("resources/read", json!({"uri": "file:///a"})).await.result();
        assert_eq!(read["contents"][0]["text"], "content", "{pairing}");
        assert_eq!(fake.saw("resources/read").await.json()["params"]["uri"], "file:///a");
        let denied = if modern_client { -32602 } else { -32002 };
        for uri in ["file:///c", "file:///a/../c", "secret:///b"] {
            assert_eq!(
                desk.ask("resources/read", json!({"uri": uri})).await.code(),
                denied,
                "{pairing}: {uri}"
            );
        }
        for (of, answer) in [
            (json!({"type": "ref/prompt", "name": "crm_hello"}), Ok("hello")),
            (json!({"type": "ref/resource", "uri": "file:///{path}"}), Ok("file:///{path}")),
            (json!({"type": "ref/prompt", "name": "crm_other"}), Err(-32602)),
        ] {
            let params = json!({"ref": of, "argument": {"name": "a", "value": "b"}});
            let got = desk.ask("completion/complete", params).await;
            match answer {
                Ok(value) => {
                    assert_eq!(got.result()["completion"]["values"], json!([value]), "{pairing}: {of}")
                }
                Err(code) => assert_eq!(got.code(), code, "{pairing}: {of}"),
            }
        }
        // A bundle that lists none offers none.
        let bare = Either::new(&world, "/bundles/bare/mcp", modern_client).await;
        for method in ["prompts/list", "resources/list", "completion/complete"] {
            assert_eq!(bare.ask(method, json!({})).await.code(), -32601, "{pairing}: {method}");
        }
    }
}
