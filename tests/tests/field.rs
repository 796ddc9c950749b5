//! What hurts the users of other gateways, each as a story that comes out otherwise here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::time::Duration;

use portcullis_data_plane::ledger::Outcome;
use portcullis_tests::admin::secret;
use portcullis_tests::patience::{eventually, soon};
use portcullis_tests::{Caller, Portcullis, Upstream, tool};
use serde_json::{Value, json};

/// A Portcullis in front of one server, with two keys that may do everything.
async fn world(upstream: &Upstream, definitions: usize) -> (Portcullis, String, String) {
    let portcullis = Portcullis::start().await;
    let key = |name: &str| {
        format!(
            "---\n{{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {{name: {name}}}, spec: {{principal: {{kind: agent, subject: {name}}}, grants: [{{server: files, allow: [\"*\"], prompts: [\"*\"], resources: [\"note:///*\"]}}]}}}}\n"
        )
    };
    let server = format!(
        "{{apiVersion: portcullis/v1, kind: McpServer, metadata: {{name: files}}, spec: {{transport: {{streamableHttp: {{url: \"{}\"}}}}}}}}\n",
        upstream.url
    );
    let applied = portcullis.admit(&[server, key("ann"), key("bob")].concat(), definitions).await;
    (portcullis, secret(&applied, "ann"), secret(&applied, "bob"))
}

fn sessions_of(upstream: &Upstream) -> Vec<String> {
    let calls = upstream.seen().into_iter().filter(|seen| seen.message["method"] == "tools/call");
    calls.map(|seen| seen.headers["mcp-session-id"].to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_passes_untouched_and_in_the_form_it_came() {
    for upstream in [Upstream::legacy(&["read"]).await, Upstream::modern(&["read"]).await] {
        let mut odd = tool("odd");
        odd["annotations"] = json!({"readOnlyHint": true, "title": "Odd", "x-own": [1.50, {"b": null}]});
        odd["outputSchema"] = json!({"type": "object", "$defs": {"a": {"type": "string"}}});
        odd["x-vendor"] = json!({"deep": {"er": [true]}});
        upstream.add_tool(odd.clone());
        let (portcullis, ann, _) = world(&upstream, 4).await;
        for path in ["/mcp", "/servers/files/mcp"] {
            let prefix = if path == "/mcp" { "files_" } else { "" };
            let modern = portcullis.plane.modern(path, &ann);
            let legacy = portcullis.plane.legacy(path, &ann).open().await;
            for caller in [&modern, &legacy] {
                let listed = caller.ask("tools/list", json!({})).await.result();
                let tools = listed["tools"].as_array().unwrap();
                let name = format!("{prefix}odd");
                let mut expected = odd.clone();
                expected["name"] = json!(name);
                assert!(tools.contains(&expected), "{tools:#?}");

                let arguments =
                    json!({"n": 1.0, "big": 12345678901234567890_u64, "x": {"y": [null, "\u{1F600}"]}});
                for streaming in [false, true] {
                    upstream.answer_with_events(streaming);
                    let answer = caller.call(&name, arguments.clone()).await;
                    assert_eq!(answer.result()["structuredContent"]["arguments"], arguments);
                    // JSON stays JSON: some clients limit events, none limits a body.
                    assert!(streaming || answer.header("content-type").starts_with("application/json"));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_passes_and_a_tools_own_failure_is_recorded_as_one() {
    let upstream = Upstream::legacy(&["big", "fail", "own_error"]).await;
    let (portcullis, ann, _) = world(&upstream, 5).await;
    let bot = portcullis.plane.modern("/mcp", &ann);
    let big = bot.call("files_big", json!({})).await;
    assert_eq!(big.content().len(), 2 << 20);
    let record = portcullis.plane.record(big.request_id()).await;
    assert!(record.bytes.response > 2 << 20, "{record:?}");
    let failed = bot.call("files_fail", json!({})).await;
    assert_eq!(failed.result()["isError"], true);
    let record = portcullis.plane.record(failed.request_id()).await;
    assert_eq!((record.outcome, record.reason), (Outcome::ToolError, None), "{record:?}");
    let error = bot.call("files_own_error", json!({})).await;
    assert_eq!(error.response()["error"], json!({"code": -31999, "message": "an error of its own"}));
    assert_eq!(portcullis.plane.record(error.request_id()).await.outcome, Outcome::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_pages_is_read_and_shown_to_its_end() {
    let names: Vec<String> = (0..230).map(|number| format!("tool-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let upstream = Upstream::legacy(&names).await;
    let (portcullis, ann, _) = world(&upstream, 232).await;
    for caller in [portcullis.plane.modern("/mcp", &ann), portcullis.plane.legacy("/mcp", &ann).open().await]
    {
        let (mut listed, mut cursor) = (Vec::new(), Value::Null);
        for _ in 0..1000 {
            let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
            let page = caller.ask("tools/list", params).await.result();
            listed.extend(page["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()));
            cursor = page.get("nextCursor").cloned().unwrap_or_default();
            if cursor.is_null() {
                break;
            }
        }
        let expected: Vec<Value> = names.iter().map(|name| json!(format!("files_{name}"))).collect();
        assert_eq!(listed, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_upstream_belong_to_one_caller_and_are_made_once() {
    let upstream = Upstream::legacy(&["read"]).await;
    let (portcullis, ann, bob) = world(&upstream, 3).await;
    let begun = |upstream: &Upstream| {
        upstream.seen().iter().filter(|seen| seen.message["method"] == "initialize").count()
    };
    let before = begun(&upstream);
    // Ann without a session, Ann in one, Ann in another, Bob in one.
    let callers = [
        portcullis.plane.modern("/mcp", &ann),
        portcullis.plane.legacy("/mcp", &ann).open().await,
        portcullis.plane.legacy("/mcp", &ann).open().await,
        portcullis.plane.legacy("/mcp", &bob).open().await,
    ];
    for caller in &callers {
        for _ in 0..5 {
            assert!(caller.call("files_read", json!({})).await.succeeded());
        }
    }
    let sessions = sessions_of(&upstream);
    let distinct: std::collections::BTreeSet<&String> = sessions.iter().collect();
    assert_eq!((sessions.len(), distinct.len()), (20, 4), "{sessions:?}");
    assert_eq!(begun(&upstream) - before, 4, "a call costs one request");

    // The server forgets them all: each is made again, and nobody notices.
    upstream.go_down();
    upstream.come_back().await;
    for caller in &callers {
        eventually("calls go on", async || {
            caller.call("files_read", json!({})).await.succeeded().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_forgot_is_made_again_within_the_call() {
    let upstream = Upstream::legacy(&["read"]).await;
    let (portcullis, ann, _) = world(&upstream, 3).await;
    let caller = portcullis.plane.legacy("/mcp", &ann).open().await;
    assert!(caller.call("files_read", json!({})).await.succeeded());
    upstream.forget_sessions();
    assert!(caller.call("files_read", json!({})).await.succeeded());
}

#[tokio::test(flavor = "multi_thread")]
async fn session_ids_are_worth_nothing_to_others_and_nothing_after_their_end() {
    let upstream = Upstream::modern(&["read"]).await;
    let (portcullis, ann, bob) = world(&upstream, 4 - 1).await;
    let session = portcullis.plane.legacy("/mcp", &ann).open().await;
    let token = session.headers["mcp-session-id"].to_str().unwrap().to_owned();
    let mut forged = token.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let stolen = session.with("authorization", &format!("Bearer {bob}"));
    let elsewhere = session.at(format!("{}/servers/files/mcp", portcullis.plane.base));
    for (what, caller) in [
        ("forged", session.with("mcp-session-id", &forged)),
        ("invented", session.with("mcp-session-id", "0c3b0a52-0e0d-4a25-a1a5-0d5f1a2b3c4d")),
        ("another's", stolen.clone()),
        ("of another endpoint", elsewhere),
    ] {
        assert_eq!(caller.call("files_read", json!({})).await.status, 404, "{what}");
        assert_eq!(caller.send(http::Method::GET, "", None).await.status, 404, "{what}");
    }
    // Nobody else ends it.
    stolen.end().await;
    assert!(session.call("files_read", json!({})).await.succeeded());
    // A client that never returns its session id is served too.
    assert!(session.without("mcp-session-id").call("files_read", json!({})).await.succeeded());
    session.end().await;
    assert_eq!(session.call("files_read", json!({})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_headers_stay_here_and_trace_context_goes_on() {
    for upstream in [Upstream::legacy(&["read"]).await, Upstream::modern(&["read"]).await] {
        let (portcullis, ann, _) = world(&upstream, 3).await;
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let caller = portcullis
            .plane
            .modern("/mcp", &ann)
            .with("cookie", "session=1")
            .with("x-forwarded-for", "10.0.0.1")
            .with("x-own", "secret")
            .with("traceparent", parent);
        let answer = caller.call("files_read", json!({})).await;
        assert!(answer.succeeded());
        let seen = upstream.saw("tools/call").await;
        for name in ["authorization", "cookie", "x-forwarded-for", "x-own", "x-portcullis-key"] {
            assert!(!seen.headers.contains_key(name), "{name} went upstream");
        }
        let host = upstream.url.trim_start_matches("http://").trim_end_matches("/mcp");
        assert_eq!(seen.headers["host"], host);
        let told = format!("{:?} {}", seen.headers, seen.message);
        assert!(told.contains("0af7651916cd43dd8448eb211c80319c"), "{told}");
        let record = portcullis.plane.record(answer.request_id()).await;
        assert_eq!(record.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_nothing_running_and_a_record() {
    // A modern caller's closed stream cancels at once, whatever the server speaks.
    for upstream in [Upstream::legacy(&["slow_progress"]).await, Upstream::modern(&["slow_progress"]).await] {
        let (portcullis, ann, _) = world(&upstream, 3).await;
        let caller = portcullis.plane.modern("/mcp", &ann);
        let params = json!({"name": "files_slow_progress", "arguments": {}, "_meta": {"progressToken": 1}});
        let mut call = caller.begin("tools/call", params).await;
        call.until(Some("notifications/progress")).await;
        let id = call.headers["x-request-id"].to_str().unwrap().parse().unwrap();
        drop(call);
        let record = portcullis.plane.record(id).await;
        assert_eq!(record.outcome, Outcome::Cancelled, "{record:?}");
        if upstream.is_modern() {
            soon("the upstream's stream is closed", async {
                while upstream.calls_running() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        } else {
            let cancelled = upstream.saw("notifications/cancelled").await;
            let called = upstream.saw("tools/call").await;
            assert_eq!(cancelled.message["params"]["requestId"], called.message["id"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_caller_that_lost_its_connection_takes_the_call_up_again() {
    let upstream = Upstream::legacy(&["slow_progress"]).await;
    let (portcullis, ann, bob) = world(&upstream, 3).await;
    let caller = portcullis.plane.legacy("/mcp", &ann).open().await;
    let params = json!({"name": "files_slow_progress", "arguments": {}, "_meta": {"progressToken": 1}});
    let mut call = caller.begin("tools/call", params).await;
    let mut last = String::new();
    loop {
        let event = soon("an event", call.event()).await.unwrap();
        last = event.id.unwrap_or(last);
        if event.data.contains("\"progress\":2") {
            break;
        }
    }
    drop(call);
    assert!(!last.is_empty(), "events carry ids");
    // Not by others.
    let thief = portcullis.plane.legacy("/mcp", &bob).open().await.with("last-event-id", &last);
    let stolen = thief.send(http::Method::GET, "", None).await;
    let again = caller.with("last-event-id", &last);
    let mut resumed = again.listen().await;
    upstream.open_gate(1);
    let response = resumed.until(None).await;
    assert_eq!(response["result"]["content"][0]["text"], "done step by step", "{response}");
    if stolen.status == 200 {
        let mut stolen = stolen;
        let heard = tokio::time::timeout(Duration::from_millis(100), stolen.next()).await;
        assert!(!matches!(&heard, Ok(Some(message)) if message.get("result").is_some()), "{heard:?}");
    }
    assert!(!upstream.seen().iter().any(|seen| seen.message["method"] == "notifications/cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_snapshot_forbids_ends_streams_and_calls_under_way() {
    let upstream = Upstream::legacy(&["slow_progress", "read"]).await;
    let (portcullis, ann, _) = world(&upstream, 4).await;
    let legacy = portcullis.plane.legacy("/mcp", &ann).open().await;
    let mut standing = legacy.listen().await;
    let modern = portcullis.plane.modern("/mcp", &ann);
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let mut listening = modern.begin("subscriptions/listen", filter).await;
    listening.until(Some("notifications/subscriptions/acknowledged")).await;
    let call = |caller: Caller| async move {
        let params = json!({"name": "files_slow_progress", "arguments": {}, "_meta": {"progressToken": 1}});
        let mut call = caller.begin("tools/call", params).await;
        call.until(Some("notifications/progress")).await;
        call
    };
    let calls = [call(legacy.clone()).await, call(modern.clone()).await];

    let revoked =
        portcullis_proto::admin::v1::RevokeKeyRequest { name: "ann".into(), message: String::new() };
    portcullis.admin.keys().revoke_key(revoked).await.unwrap();
    portcullis.settle().await;
    // Streams end; calls end with an answer that is no result.
    soon("the standing stream ends", async { while standing.event().await.is_some() {} }).await;
    soon("the subscription ends", async { while listening.event().await.is_some() {} }).await;
    for mut call in calls {
        let ended = soon("the call ends", async {
            let mut last = Value::Null;
            while let Some(message) = call.next().await {
                last = message;
            }
            last
        })
        .await;
        assert!(ended["result"].get("content").is_none() || ended["result"]["isError"] == true, "{ended}");
    }
    upstream.saw("notifications/cancelled").await;
    assert_eq!(modern.call("files_read", json!({})).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_question_is_good_for_its_caller_and_its_request_alone() {
    let upstream = Upstream::modern(&["ask", "read"]).await;
    let (portcullis, ann, bob) = world(&upstream, 4).await;
    let able = |key: &str| portcullis.plane.modern("/mcp", key).able_to(json!({"elicitation": {"form": {}}}));
    let (ann, bob) = (able(&ann), able(&bob));
    let asked = ann.call("files_ask", json!({})).await.result();
    let state = asked["requestState"].as_str().unwrap().to_owned();
    assert!(!state.contains("state of the upstream"));
    let again = |tool: &str, state: &str| {
        json!({"name": tool, "arguments": {}, "requestState": state,
               "inputResponses": {"who": {"action": "accept", "content": {"who": "Eve"}}}})
    };
    let calls = upstream.calls();
    for (caller, tool, state) in [
        (&bob, "files_ask", state.clone()),
        (&ann, "files_read", state.clone()),
        (&ann, "files_ask", format!("{state}A")),
        (&ann, "files_ask", "state of the upstream".to_owned()),
    ] {
        let answer = caller.ask("tools/call", again(tool, &state)).await;
        assert_eq!(answer.code(), -32602, "{answer:?}");
    }
    assert_eq!(upstream.calls(), calls, "a state that is none went upstream");
    let answer = ann.ask("tools/call", again("files_ask", &state)).await;
    assert!(answer.content().starts_with("state of the upstream"), "{answer:?}");
    // Without the capability there is no question, but an error that says what is missing.
    let unable = ann.clone().able_to(json!({})).call("files_ask", json!({})).await;
    assert_eq!((unable.status.as_u16(), unable.code()), (400, -32021), "{unable:?}");
}
