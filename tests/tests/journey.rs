//! From registering servers to calling their tools, governed by what was granted and approved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::secret;
use portcullis_tests::{Portcullis, Upstream, binary};
use serde_json::{Value, json};

/// Three servers of three kinds, two zones, two bundles, two keys.
fn organisation(crm: &str, wiki: &str) -> String {
    format!(
        r#"
apiVersion: portcullis/v1
kind: TrustZone
metadata: {{ name: internal }}
spec: {{}}
---
apiVersion: portcullis/v1
kind: TrustZone
metadata: {{ name: lab }}
spec: {{ reachableFrom: [internal] }}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec:
  transport: {{ streamableHttp: {{ url: "{crm}" }} }}
  zone: internal
  tools: {{ overrides: [ {{ name: lookup, alias: find-customer }} ] }}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: wiki }}
spec: {{ transport: {{ streamableHttp: {{ url: "{wiki}" }} }}, zone: internal }}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: demo }}
spec: {{ transport: {{ stdio: {{ command: "{demo}", args: [demo-server] }} }}, zone: lab }}
---
apiVersion: portcullis/v1
kind: ToolBundle
metadata: {{ name: support }}
spec: {{ tools: [ {{ server: crm, allow: ["*"], except: [remove] }}, {{ server: demo, allow: [echo, add] }} ] }}
---
apiVersion: portcullis/v1
kind: ToolBundle
metadata: {{ name: reading }}
spec: {{ tools: [ {{ server: wiki, allow: ["search"] }} ] }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: support-bot }}
spec: {{ principal: {{ kind: agent, subject: support-bot }}, zone: internal, grants: [ {{ bundle: support }} ] }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: reader }}
spec: {{ principal: {{ kind: human, subject: "ann@example.com" }}, zone: lab, grants: [ {{ bundle: reading }}, {{ server: demo, allow: [echo] }} ] }}
"#,
        demo = binary::path().display()
    )
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_registers_servers_approves_them_and_works() {
    let crm = Upstream::legacy(&["lookup", "remove"]).await;
    let wiki = Upstream::modern(&["search", "publish"]).await;
    let portcullis = Portcullis::start().await;
    let admin = &portcullis.admin;
    let applied = portcullis.apply(&organisation(&crm.url, &wiki.url)).await;
    let (bot_secret, reader_secret) = (secret(&applied, "support-bot"), secret(&applied, "reader"));

    // What each server offers waits for a person, one approval for each definition and one for each identity.
    // crm and wiki: 2 tools, 1 prompt, identity; demo: 4 tools, 1 prompt, identity.
    let waiting = admin.awaits(14).await;
    let of = |server: &str, kind: &str| {
        waiting.iter().filter(|approval| approval.server == server && approval.kind == kind).count()
    };
    assert_eq!((of("crm", "tool"), of("wiki", "tool"), of("demo", "tool")), (2, 2, 4), "{waiting:#?}");
    assert!(waiting.iter().all(|approval| !approval.id.is_empty() && approval.state == "pending"));

    // Until then nobody sees or calls any of it.
    let bot = portcullis.plane.modern("/mcp", &bot_secret);
    assert_eq!(bot.tools().await, Vec::<String>::new());
    let early = bot.call("crm_remove", json!({})).await;
    assert_eq!(early.code(), -32602);
    assert_eq!(crm.calls() + wiki.calls(), 0);

    // Approving the CRM's makes them callable while the plane runs.
    let approved = admin
        .decide(api::DecideRequest {
            all_pending: true,
            server: "crm".to_owned(),
            approve: true,
            message: "looked at".to_owned(),
            ..api::DecideRequest::default()
        })
        .await;
    assert_eq!(approved.len(), 4);
    portcullis.settle().await;
    assert_eq!(bot.call("find-customer", json!({"name": "Eve"})).await.content(), "lookup did it");

    // The rest is approved while calls go on, and not one of them fails.
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (bot, stop, made) = (bot.clone(), Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = bot.call("find-customer", json!({})).await;
                    assert!(answer.succeeded(), "{answer:?}");
                    made.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let before = made.load(Ordering::Relaxed);
    assert_eq!(admin.approve_all().await.len(), 10);
    portcullis.settle().await;
    while made.load(Ordering::Relaxed) < before + 20 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(admin.waiting().await.is_empty());

    // Lists show exactly what is granted, through each endpoint and to each era.
    let reader = portcullis.plane.modern("/mcp", &reader_secret);
    let old_bot = portcullis.plane.legacy("/mcp", &bot_secret).open().await;
    let all = set(&["find-customer", "demo_echo", "demo_add"]);
    let seen =
        async |caller: &portcullis_tests::Caller| caller.tools().await.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(seen(&bot).await, all);
    assert_eq!(seen(&old_bot).await, all);
    assert_eq!(seen(&portcullis.plane.modern("/bundles/support/mcp", &bot_secret)).await, all);
    assert_eq!(seen(&portcullis.plane.modern("/servers/crm/mcp", &bot_secret)).await, set(&["lookup"]));
    assert_eq!(seen(&portcullis.plane.modern("/servers/demo/mcp", &bot_secret)).await, set(&["add", "echo"]));
    // The reader's zone is not reachable from for the wiki, and is the demo's own.
    assert_eq!(seen(&reader).await, set(&["demo_echo"]));

    // Calls reach all three servers, from both eras.
    for caller in [&bot, &old_bot] {
        assert_eq!(caller.call("find-customer", json!({})).await.content(), "lookup did it");
        assert_eq!(caller.call("demo_add", json!({"a": 2, "b": 3})).await.content(), "5");
    }
    let arguments = json!({"text": "what was said", "nested": {"a": [1, 2.50, null]}});
    assert_eq!(reader.call("demo_echo", arguments).await.content(), "what was said");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_the_same_as_the_reply_and_the_record() {
    let crm = Upstream::legacy(&["lookup", "remove"]).await;
    let wiki = Upstream::modern(&["search", "publish"]).await;
    let portcullis = Portcullis::start().await;
    let applied = portcullis.admit(&organisation(&crm.url, &wiki.url), 14).await;
    let keys = [("support-bot", secret(&applied, "support-bot")), ("reader", secret(&applied, "reader"))];

    let mut permitted = 0;
    for (key, secret) in &keys {
        for endpoint in ["/mcp", "/bundles/support/mcp", "/bundles/reading/mcp", "/servers/crm/mcp"] {
            for tool in
                ["find-customer", "lookup", "crm_remove", "wiki_search", "demo_echo", "demo_wipe", "nothing"]
            {
                let told = portcullis.admin.explain(key, tool, endpoint).await;
                let caller = portcullis.plane.modern(endpoint, secret);
                let answer = caller.call(tool, json!({"text": "x"})).await;
                let case = format!("{key} {endpoint} {tool}: {told} {answer:?}");
                assert!(told["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{case}");
                let expected = if told["reason"] == "unknown_endpoint" { 404 } else { 200 };
                assert_eq!(answer.status, expected, "{case}");
                assert_eq!(told["decision"] == "permit", answer.succeeded(), "{case}");
                permitted += usize::from(answer.succeeded());
                let record = portcullis.plane.record(answer.request_id()).await;
                let record = serde_json::to_value(&record).unwrap();
                for name in ["decision", "reason", "rule", "snapshotVersion"] {
                    let of = |value: &Value| value.get(name).cloned().unwrap_or_default();
                    assert_eq!(of(&told), of(&record), "{name} differs: {case} {record}");
                }
                assert_eq!(record["key"]["name"], *key, "{case}");
            }
        }
    }
    assert!(permitted >= 4, "{permitted}");
}
