//! Planes apart: the control plane goes and comes back, data planes stand in for each other, admission ends with its token.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::{Admin, secret};
use portcullis_tests::binary::Process;
use portcullis_tests::client::page;
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::{ControlOptions, ControlPlane, DataPlane, PlaneOptions, tls};
use portcullis_tests::{Caller, Portcullis, Upstream};
use serde_json::{Value, json};

fn documents(url: &str, allow: &str) -> String {
    format!(
        r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: files }}
spec: {{ transport: {{ streamableHttp: {{ url: "{url}" }} }} }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {{ server: files, allow: {allow} }} ] }}
"#
    )
}

async fn callable(caller: &Caller, tool: &str) {
    let what = format!("{tool} is callable");
    eventually(&what, async || {
        let answer = caller.try_ask("tools/call", json!({"name": tool, "arguments": {}})).await;
        answer.is_ok_and(|answer| answer.succeeded()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_control_plane_dies_and_comes_back_and_callers_hardly_notice() {
    let upstream = Upstream::legacy(&["read", "write"]).await;
    let dir = tempfile::tempdir().unwrap();
    let (authority, files) = tls(dir.path());
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let data = path(&dir.path().join("state"));
    let (cert, key, ca) = (path(&files.cert), path(&files.key), path(&authority.ca_file));
    let listen = |port: &str| format!("127.0.0.1:{port}");

    let control_at = |grpc: &str| {
        let arguments = [
            "control-plane",
            "--data-dir",
            &data,
            "--grpc-listen",
            grpc,
            "--http-listen",
            "127.0.0.1:0",
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
        ];
        Process::start(dir.path(), "control", &arguments)
    };
    let mut control = control_at(&listen("0"));
    let grpc = control.address("grpcUrl");
    assert!(grpc.starts_with("https://"), "{grpc}");
    let token = std::fs::read_to_string(control.address("adminTokenFile")).unwrap();
    let admin = Admin::new(&grpc, token.trim(), Some(&authority.ca_file));
    let (_, plane_token) = admin.plane_token().await;
    let token_file = dir.path().join("plane.token");
    std::fs::write(&token_file, &plane_token).unwrap();
    let token_file = path(&token_file);
    let plane_arguments = [
        "data-plane",
        "--data-dir",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
        "--control-plane",
        &grpc,
        "--plane-token-file",
        &token_file,
        "--ca",
        &ca,
        "--name",
        "eu-1",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let mut plane = Process::start(dir.path(), "plane", &plane_arguments);

    let applied = admin.apply(&documents(&upstream.url, "[read]")).await;
    admin.awaits(4).await;
    admin.approve_all().await;
    let bot_secret = secret(&applied, "bot");
    let at = |plane: &Process| Caller::modern(plane.address("mcpUrl"), &bot_secret).trusting(&authority);
    let bot = at(&plane);
    assert!(bot.url.starts_with("https://"));
    callable(&bot, "files_read").await;
    assert_eq!(bot.call("files_write", json!({})).await.code(), -32602);

    // Killed. Calls go on, decided as before.
    control.kill();
    for _ in 0..20 {
        assert!(bot.call("files_read", json!({})).await.succeeded());
        assert_eq!(bot.call("files_write", json!({})).await.code(), -32602);
    }
    // The data plane starts again from its disk.
    plane.kill();
    let plane = Process::start(dir.path(), "plane", &plane_arguments);
    let bot = at(&plane);
    assert!(bot.call("files_read", json!({})).await.succeeded());
    assert_eq!(bot.call("files_write", json!({})).await.code(), -32602);

    // The control plane comes back where it was, and the data plane catches up with what it says from then on.
    let address = grpc.trim_start_matches("https://").to_owned();
    let _control = control_at(&address);
    admin.apply(&documents(&upstream.url, "[read, write]")).await;
    callable(&bot, "files_write").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_plain_loopback_a_plane_starts_without_its_control_plane_and_catches_up() {
    let upstream = Upstream::modern(&["read", "write"]).await;
    let mut portcullis = Portcullis::start().await;
    let applied = portcullis.admit(&documents(&upstream.url, "[read]"), 4).await;
    let bot_secret = secret(&applied, "bot");
    let (_, token) = portcullis.admin.plane_token().await;
    let options = PlaneOptions::new("plane-b", &portcullis.control.url, &token);
    let mut sibling = DataPlane::start(options.clone()).await;
    sibling.enforces(portcullis.plane.version()).await;

    portcullis.control.stop().await;
    sibling.stop().await;
    let sibling = DataPlane::start(options).await;
    assert_eq!(sibling.version(), portcullis.plane.version());
    assert_eq!(page(&format!("{}/readyz", sibling.ops)).await.unwrap().0, 200);
    for plane in [&portcullis.plane, &sibling] {
        let bot = plane.modern("/mcp", &bot_secret);
        assert!(bot.call("files_read", json!({})).await.succeeded());
        assert_eq!(bot.call("files_write", json!({})).await.code(), -32602);
    }

    let options = ControlOptions {
        dir: Arc::clone(&portcullis.control.dir),
        listen: portcullis.control.addr,
        ..ControlOptions::default()
    };
    let control = ControlPlane::start(options).await;
    control.admin.apply(&documents(&upstream.url, "[read, write]")).await;
    for plane in [&portcullis.plane, &sibling] {
        callable(&plane.modern("/mcp", &bot_secret), "files_write").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_whose_token_is_revoked_is_cut_off_and_not_admitted_again() {
    let upstream = Upstream::modern(&["read", "write"]).await;
    let portcullis = Portcullis::start().await;
    let applied = portcullis.admit(&documents(&upstream.url, "[read]"), 4).await;
    let (id, token) = portcullis.admin.plane_token().await;
    let options = PlaneOptions::new("plane-b", &portcullis.control.url, &token);
    let revoked = DataPlane::start(options.clone()).await;
    revoked.enforces(portcullis.plane.version()).await;
    let connected = async |name: &str| {
        let planes = portcullis.admin.planes().list_planes(api::ListPlanesRequest {}).await.unwrap();
        planes.into_inner().planes.iter().any(|plane| plane.name == name && plane.connected)
    };
    assert!(connected("plane-b").await);

    let mut planes = portcullis.admin.planes();
    planes.revoke_plane_token(api::RevokePlaneTokenRequest { id }).await.unwrap();
    eventually("the plane is cut off", async || (!connected("plane-b").await).then_some(())).await;

    // What it had stays; what comes after does not reach it.
    let before = revoked.version();
    portcullis.apply(&documents(&upstream.url, "[read, write]")).await;
    let bot_secret = secret(&applied, "bot");
    callable(&portcullis.plane.modern("/mcp", &bot_secret), "files_write").await;
    assert!(!connected("plane-b").await);
    assert_eq!(revoked.version(), before);
    assert_eq!(revoked.modern("/mcp", &bot_secret).call("files_write", json!({})).await.code(), -32602);

    // With an empty disk it has nothing at all, and says so.
    let fresh =
        DataPlane::start(PlaneOptions { dir: Arc::new(tempfile::tempdir().unwrap()), ..options }).await;
    let answer = fresh.modern("/mcp", &bot_secret).call("files_read", json!({})).await;
    assert_eq!(answer.status, 503);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(page(&format!("{}/readyz", fresh.ops)).await.unwrap().0, 503);
}

/// Two planes of one control plane, in front of a legacy server.
async fn siblings(upstream: &Upstream, tools: usize) -> (Portcullis, DataPlane, String) {
    let portcullis = Portcullis::start().await;
    let applied = portcullis.admit(&documents(&upstream.url, r#"["*"]"#), tools + 2).await;
    let (_, token) = portcullis.admin.plane_token().await;
    let sibling = DataPlane::start(PlaneOptions::new("plane-b", &portcullis.control.url, &token)).await;
    sibling.enforces(portcullis.plane.version()).await;
    (portcullis, sibling, secret(&applied, "bot"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_plane_works_on_its_sibling_and_ends_on_both() {
    let upstream = Upstream::legacy(&["read"]).await;
    let (portcullis, sibling, bot_secret) = siblings(&upstream, 1).await;
    let here = portcullis.plane.legacy("/mcp", &bot_secret).open().await;
    let there = here.at(format!("{}/mcp", sibling.base));
    for caller in [&here, &there, &here] {
        assert!(caller.call("files_read", json!({})).await.succeeded());
        assert_eq!(caller.tools().await, ["files_read"]);
    }
    // Another's session is none.
    let other = portcullis.admin.apply(
        "{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: other}, spec: {principal: {kind: agent, subject: o}, grants: [{server: files, allow: [read]}]}}",
    );
    let other = secret(&other.await, "other");
    portcullis.settle().await;
    sibling.enforces(portcullis.plane.version()).await;
    for caller in [&here, &there] {
        let stolen = caller.with("authorization", &format!("Bearer {other}"));
        assert_eq!(stolen.call("files_read", json!({})).await.status, 404);
    }

    assert!(here.end().await.is_success());
    let since = Instant::now();
    assert_eq!(here.call("files_read", json!({})).await.status, 404);
    eventually("the session is over on the sibling", async || {
        (there.call("files_read", json!({})).await.status == 404).then_some(())
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    // The server is told by both planes, of the session that each had with it for this client.
    let used = |seen: &portcullis_tests::upstream::Seen| seen.message["method"] == "tools/call";
    let session = |seen: &portcullis_tests::upstream::Seen| seen.headers["mcp-session-id"].clone();
    let opened: HashSet<_> = upstream.seen().iter().filter(|seen| used(seen)).map(session).collect();
    assert_eq!(opened.len(), 2);
    eventually("the server's sessions end", async || {
        let ended: HashSet<_> =
            upstream.seen().iter().filter(|seen| seen.http == http::Method::DELETE).map(session).collect();
        opened.is_subset(&ended).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_a_server_is_answered_through_the_sibling() {
    let upstream = Upstream::legacy(&["ask"]).await;
    let (portcullis, sibling, bot_secret) = siblings(&upstream, 1).await;
    let here = portcullis.plane.legacy("/mcp", &bot_secret);
    let here = here.able_to(json!({"elicitation": {}})).open().await;
    let there = here.at(format!("{}/mcp", sibling.base));

    let mut call = here.begin("tools/call", json!({"name": "files_ask", "arguments": {}})).await;
    let question = call.until(Some("elicitation/create")).await;
    assert_eq!(question["params"]["message"], "Who?");
    let reply = json!({"action": "accept", "content": {"who": "Eve"}});
    // Nobody else may answer it.
    let stranger = portcullis.plane.legacy("/mcp", &bot_secret).open().await;
    assert_eq!(stranger.reply(&question["id"], &reply).await, 400);
    assert_eq!(there.reply(&question["id"], &reply).await, 202);
    let answer = call.until(None).await;
    let heard = answer["result"]["content"][0]["text"].as_str().unwrap().trim_start_matches("heard ");
    assert_eq!(serde_json::from_str::<Value>(heard).unwrap(), reply);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_one_plane_is_cancelled_through_its_sibling() {
    let upstream = Upstream::legacy(&["slow_progress"]).await;
    let (portcullis, sibling, bot_secret) = siblings(&upstream, 1).await;
    let here = portcullis.plane.legacy("/mcp", &bot_secret).open().await;
    let there = here.at(format!("{}/mcp", sibling.base));
    let params = json!({"name": "files_slow_progress", "arguments": {}, "_meta": {"progressToken": "p"}});
    let (caller, message) = here.request("tools/call", params);
    let mut call = caller.send(http::Method::POST, message.to_string(), Some("tools/call")).await;
    call.until(Some("notifications/progress")).await;
    there.tell("notifications/cancelled", json!({"requestId": message["id"], "reason": "enough"})).await;
    let cancelled = upstream.saw("notifications/cancelled").await;
    let called = upstream.saw("tools/call").await;
    assert_eq!(cancelled.message["params"]["requestId"], called.message["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_asked_of_one_plane_its_sibling_does_too() {
    let upstream = Upstream::legacy(&["read"]).await;
    let (portcullis, sibling, _) = siblings(&upstream, 1).await;
    let reader = portcullis.admin.apply(
        "{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: reader}, spec: {principal: {kind: agent, subject: r}, grants: [{server: files, allow: [read], resources: ['note:///*']}]}}",
    );
    let reader = secret(&reader.await, "reader");
    portcullis.settle().await;
    sibling.enforces(portcullis.plane.version()).await;
    let here = portcullis.plane.legacy("/servers/files/mcp", &reader).open().await;
    let there = here.at(format!("{}/servers/files/mcp", sibling.base));

    assert!(here.ask("logging/setLevel", json!({"level": "debug"})).await.succeeded());
    assert!(here.ask("resources/subscribe", json!({"uri": "note:///a"})).await.succeeded());
    // In the session that each plane has with the server for this client.
    let in_sessions = |method: &'static str, params: Value| {
        let seen = upstream.seen();
        let of =
            seen.iter().filter(|seen| seen.message["method"] == method && seen.message["params"] == params);
        of.map(|seen| seen.headers["mcp-session-id"].clone()).collect::<HashSet<_>>().len()
    };
    eventually("the level is set by both planes", async || {
        assert!(there.call("read", json!({})).await.succeeded());
        (in_sessions("logging/setLevel", json!({"level": "debug"})) == 2).then_some(())
    })
    .await;
    let mut standing = there.listen().await;
    eventually("both planes are subscribed", async || {
        (in_sessions("resources/subscribe", json!({"uri": "note:///a"})) == 2).then_some(())
    })
    .await;
    upstream.listened_to(1).await;
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note:///a"}});
    upstream.push(&updated);
    assert_eq!(standing.until(Some("notifications/resources/updated")).await["params"]["uri"], "note:///a");
}
