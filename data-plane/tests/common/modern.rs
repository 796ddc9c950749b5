//! The world of a modern upstream with a tool of every kind, for the tests of modern callers.

use serde_json::json;

use super::{Fake, Policy, World};

const TOOLS: [&str; 10] =
    ["echo", "fail", "big", "huge", "rpc_error", "broken", "slow", "progress", "late_sse", "ask"];

fn policy(fake: &Fake) -> Policy {
    let mut policy = Policy::new()
        .zone("walled", &[], "required")
        .server("crm", &fake.url, true, &Fake::capabilities())
        .server_in("walled", "vault", &fake.url, true, &Fake::capabilities())
        .server("down", "http://127.0.0.1:9/mcp", true, &Fake::capabilities())
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

/// A gateway with that policy in force, and its upstream.
pub async fn world() -> (World, Fake) {
    let fake = Fake::start(true).await;
    (World::new(&policy(&fake)).await, fake)
}
