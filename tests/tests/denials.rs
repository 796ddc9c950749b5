//! What is refused looks the same whether it exists or not, for prompts and resources as for tools, to callers of both eras.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use portcullis_tests::admin::secret;
use portcullis_tests::{Caller, Portcullis, Upstream};
use serde_json::{Value, json};

const DOCUMENTS: &str = r#"
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: closed }
spec: {}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: files }
spec: { transport: { streamableHttp: { url: "FILES" } } }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: vault }
spec: { transport: { streamableHttp: { url: "VAULT" } }, zone: closed }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: dead }
spec: { transport: { streamableHttp: { url: "DEAD" } } }
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: bot }
spec:
  principal: { kind: agent, subject: bot }
  grants:
    - { server: files, allow: [read], prompts: [greet], resources: ["note:///a*"] }
    - { server: vault, allow: ["*"], prompts: ["*"] }
    - { server: dead, allow: ["*"], prompts: ["*"], resources: ["dead:///*"] }
"#;

async fn world() -> (Portcullis, Vec<Upstream>, [Caller; 2]) {
    let files = Upstream::legacy(&["read", "write"]).await;
    files.set_prompts(vec![json!({"name": "greet"}), json!({"name": "hidden"})]);
    let (vault, dead) = (Upstream::modern(&["open"]).await, Upstream::modern(&["read"]).await);
    let text = DOCUMENTS.replace("FILES", &files.url).replace("VAULT", &vault.url).replace("DEAD", &dead.url);
    let portcullis = Portcullis::start().await;
    let applied = portcullis.admit(&text, 5 + 3 + 3).await;
    let key = secret(&applied, "bot");
    dead.go_down();
    let callers = [portcullis.plane.modern("/mcp", &key), portcullis.plane.legacy("/mcp", &key).open().await];
    (portcullis, vec![files, vault, dead], callers)
}

/// The answer without what differs from request to request.
fn shape(answer: &portcullis_tests::client::Answer, name: &str) -> Value {
    let mut response = answer.response();
    response["id"] = Value::Null;
    let text = response.to_string().replace(name, "NAME");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_and_unknown_cannot_be_told_apart() {
    let (_portcullis, upstreams, callers) = world().await;
    let uris = ["note:///zebra", "other:///x", "note:///a/../zebra", "note:///a%2F..%2Fzebra"];
    for caller in &callers {
        let not_found = if caller.is_modern() { -32602 } else { -32002 };
        for (method, member, code, names) in [
            ("tools/call", "name", -32602, ["files_write", "files_nothing", "nothing", "FILES_READ"]),
            ("prompts/get", "name", -32602, ["files_hidden", "files_nothing", "nothing", "greet"]),
            ("resources/read", "uri", not_found, uris),
        ] {
            let mut shapes = Vec::new();
            for name in names {
                let answer = caller.ask(method, json!({ member: name })).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.code()),
                    (200, code),
                    "{method} {name}: {answer:?}"
                );
                shapes.push(shape(&answer, name));
            }
            assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]), "{method}: {shapes:#?}");
        }
        assert!(caller.call("files_read", json!({})).await.succeeded());
        assert!(caller.ask("prompts/get", json!({"name": "files_greet"})).await.succeeded());
        assert!(caller.ask("resources/read", json!({"uri": "note:///apple"})).await.succeeded());
        let listed = caller.ask("resources/list", json!({})).await.result();
        assert_eq!(listed["resources"].as_array().unwrap().len(), 1, "{listed}");
    }
    let reached = |uri: &str| {
        let seen = upstreams.iter().flat_map(Upstream::seen).collect::<Vec<_>>();
        seen.iter().any(|seen| seen.message["params"]["uri"] == uri)
    };
    assert!(reached("note:///apple"));
    assert!(!uris.iter().any(|uri| reached(uri)), "a refused resource was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_that_are_denied_or_fail_name_their_reason() {
    let (portcullis, _upstreams, callers) = world().await;
    for caller in &callers {
        for (method, params, reason) in [
            ("prompts/get", json!({"name": "vault_greet"}), "zone_denied"),
            ("prompts/get", json!({"name": "dead_greet"}), "upstream_unavailable"),
            ("resources/read", json!({"uri": "dead:///x"}), "upstream_unavailable"),
        ] {
            let answer = caller.ask(method, params.clone()).await;
            let case = format!("{method} {params}: {answer:?}");
            assert_eq!((answer.status.as_u16(), answer.code()), (200, -32603), "{case}");
            assert_eq!(answer.response()["error"]["data"]["reason"], reason, "{case}");
            let record = portcullis.plane.record(answer.request_id()).await;
            assert_eq!(record.reason.unwrap().code(), reason, "{case}");
            assert_eq!(record.method, method);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_judged_door_credential_path_body_in_this_order() {
    let (_portcullis, _upstreams, [modern, _]) = world().await;
    let broken = |caller: Caller| async move { caller.post("{").await.status.as_u16() };
    let foreign = modern.with("origin", "https://evil.example");
    let unknown = modern.with("authorization", "Bearer pcl_nobody");
    let nowhere = modern.at(modern.url.replace("/mcp", "/servers/nowhere/mcp"));
    assert_eq!(broken(foreign.with("authorization", "none").at(nowhere.url.clone())).await, 403);
    assert_eq!(broken(modern.with("host", "evil.example")).await, 403);
    assert_eq!(broken(unknown.at(nowhere.url.clone())).await, 401);
    assert_eq!(broken(nowhere).await, 404);
    assert_eq!(broken(modern.clone()).await, 400);
    for (name, value, status) in
        [("content-type", "text/plain", 415), ("accept", "text/html", 406), ("x-padding", "y", 400)]
    {
        assert_eq!(broken(modern.with(name, value)).await, status, "{name}: {value}");
    }
    assert_eq!(modern.send(http::Method::PUT, "{}", None).await.status, 405);
}
