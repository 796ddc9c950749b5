//! A bundle from its document to its clients: other words, prompts and resources, and a team that has it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use portcullis_tests::admin::secret;
use portcullis_tests::{Portcullis, Upstream};
use serde_json::json;

fn documents(url: &str) -> String {
    format!(
        r#"
apiVersion: portcullis/v1
kind: Team
metadata: {{ name: desk-team }}
spec: {{}}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec: {{ transport: {{ streamableHttp: {{ url: "{url}" }} }} }}
---
apiVersion: portcullis/v1
kind: ToolBundle
metadata: {{ name: desk }}
spec:
  members: {{ teams: [desk-team] }}
  tools:
    - server: crm
      allow: [lookup, remove]
      prompts: [greet]
      resources: ["note:///a", "note:///{{name}}"]
      rewrite:
        - {{ name: lookup, alias: find-customer, title: Find a customer, description: Finds a customer by name. }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: helper }}
spec: {{ principal: {{ kind: agent, subject: helper }}, team: desk-team }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_works_through_its_bundle_in_the_bundles_words() {
    for upstream in
        [Upstream::legacy(&["lookup", "remove"]).await, Upstream::modern(&["lookup", "remove"]).await]
    {
        let portcullis = Portcullis::start().await;
        // Two tools, a prompt, and what the server says of itself.
        let applied = portcullis.admit(&documents(&upstream.url), 4).await;
        let secret = secret(&applied, "helper");
        let path = "/bundles/desk/mcp";
        for caller in
            [portcullis.plane.modern(path, &secret), portcullis.plane.legacy(path, &secret).open().await]
        {
            let listed = caller.ask("tools/list", json!({})).await.result();
            let names: Vec<&str> = listed["tools"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tool| tool["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, ["crm_remove", "find-customer"]);
            assert_eq!(listed["tools"][1]["title"], "Find a customer");
            assert_eq!(listed["tools"][1]["description"], "Finds a customer by name.");
            let answer = caller.call("find-customer", json!({"name": "Eve"})).await;
            assert_eq!(answer.content(), "lookup did it");
            let record = portcullis.plane.record(answer.request_id()).await;
            assert_eq!(record.tool.as_deref(), Some("lookup"));
            assert_eq!(record.exposed_name.as_deref(), Some("find-customer"));
            assert_eq!(record.rule.as_deref(), Some("ToolBundle/desk spec.members.teams[0]"));
            assert_eq!(caller.call("crm_lookup", json!({})).await.code(), -32602);
            let prompt = caller.ask("prompts/get", json!({"name": "crm_greet"})).await.result();
            assert_eq!(prompt["messages"][0]["content"]["text"], "Greet them.");
            let resources = caller.ask("resources/list", json!({})).await.result();
            assert_eq!(resources["resources"].as_array().unwrap().len(), 1, "{resources}");
            let read = caller.ask("resources/read", json!({"uri": "note:///a"})).await.result();
            assert_eq!(read["contents"][0]["text"], "content");
            let denied = if caller.is_modern() { -32602 } else { -32002 };
            assert_eq!(caller.ask("resources/read", json!({"uri": "note:///b"})).await.code(), denied);
        }
        assert_eq!(upstream.saw("tools/call").await.message["params"]["name"], "lookup");

        // The team leaves the bundle: its keys have nothing of it any more.
        let without = documents(&upstream.url).replace("teams: [desk-team]", "teams: []");
        portcullis.apply(&without).await;
        let gone = portcullis.plane.modern(path, &secret).ask("tools/list", json!({})).await;
        assert_eq!(gone.status.as_u16(), 404);
    }
}
