//! Every reason that can occur in this version, provoked end to end: the reply is what the contract's table says, and the
//! audit record, the metric and explain say the same of it. What only a data plane can meet, explain is told to assume.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use http::Method;
use portcullis_policy::explain::{Question, explain};
use portcullis_policy::{EndpointRef, Reason, live};
use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::secret;
use portcullis_tests::client::{Answer, page};
use portcullis_tests::distribution::{FakeControlPlane, Policy, new_secret};
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::{ControlOptions, DataPlane, PlaneOptions};
use portcullis_tests::{Caller, Portcullis, Upstream, tool};
use serde_json::{Value, json};
use uuid::Uuid;

/// Reasons of later versions: nothing of this one can give them.
const LATER: &[Reason] = &[
    Reason::PolicyDenied,
    Reason::ClientDenied,
    Reason::RateLimited,
    Reason::BudgetExhausted,
    Reason::ContentBlocked,
    Reason::ExposureExceeded,
    Reason::DetectionBlocked,
];

fn documents(files: &str, modern: &str, dead: &str) -> String {
    let expires = (Utc::now() + Duration::from_secs(4)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let server = |name: &str, url: &str, more: &str| {
        format!(
            "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: {{ name: {name} }}\nspec: {{ transport: {{ streamableHttp: {{ url: \"{url}\" }} }}, {more} }}\n---\n"
        )
    };
    let key = |name: &str, zone: &str, more: &str| {
        format!(
            "apiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: {{ name: {name} }}\nspec: {{ principal: {{ kind: agent, subject: {name} }}, zone: {zone}, grants: [ {{ server: files, allow: [\"*\"], except: [hidden] }}, {{ server: vault, allow: [\"*\"] }}, {{ server: dead, allow: [\"*\"] }}, {{ server: modern, allow: [\"*\"], resources: [\"note:///*\"] }} ] {more} }}\n---\n"
        )
    };
    let limits = "limits: { timeout: 500ms, maxResponseBytes: 1MiB, concurrency: 1 }";
    let small =
        "limits: { maxRequestBytes: 1KiB }, tools: { overrides: [ { name: pay, approval: per-call } ] }";
    [
        "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: closed }\nspec: {}\n---\n".to_owned(),
        server("files", files, limits),
        server("modern", modern, small),
        server("vault", modern, "zone: closed"),
        server("dead", dead, ""),
        key("bot", "default", ""),
        key("old", "default", &format!(", expiresAt: \"{expires}\"")),
        key("lost", "default", ""),
    ]
    .concat()
}

struct World {
    portcullis: Portcullis,
    files: Upstream,
    keys: api::ApplyResponse,
    provoked: BTreeSet<Reason>,
}

impl World {
    fn caller(&self, key: &str, path: &str) -> Caller {
        self.portcullis.plane.modern(path, &secret(&self.keys, key))
    }

    async fn metric(&self, name: &str, reason: Reason) -> u64 {
        metric(&self.portcullis.plane, name, reason).await
    }

    /// A refusal before anybody was admitted: an HTTP status, no record, a count.
    async fn turned_away(&mut self, reason: Reason, status: u16, asking: impl AsyncFn(&Self) -> Answer) {
        let (records, count) =
            (self.portcullis.plane.records().len(), self.metric("turned_away", reason).await);
        let answer = asking(self).await;
        assert_eq!(answer.status.as_u16(), status, "{reason}: {answer:?}");
        assert!(!answer.text.contains(reason.code()), "{reason} is nobody's business: {}", answer.text);
        assert!(!answer.request_id().is_nil());
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"portcullis\"");
        }
        assert_eq!(self.portcullis.plane.records().len(), records, "{reason} left a record");
        assert_eq!(self.metric("turned_away", reason).await, count + 1, "{reason}");
        self.provoked.insert(reason);
    }

    /// A call of `bot` that came to something, and what is said of it in all places.
    async fn came_to(
        &mut self,
        reason: Reason,
        tool: &str,
        arguments: Option<&Value>,
        answer: &Answer,
        reply: Reply,
    ) {
        reply.check(reason, tool, answer);
        assert!(self.metric("calls_refused", reason).await > 0, "{reason}");
        same(&self.portcullis, reason, tool, "/mcp", arguments, answer.request_id()).await;
        self.provoked.insert(reason);
    }
}

/// The record of a request of `bot`, and what explain says of such a call, agree in all that both say.
async fn same(
    portcullis: &Portcullis,
    reason: Reason,
    tool: &str,
    endpoint: &str,
    arguments: Option<&Value>,
    request: Uuid,
) {
    let record = portcullis.plane.record(request).await;
    let told =
        portcullis.admin.explain_call("bot", tool, endpoint, arguments, assumed(reason).as_slice()).await;
    agree(reason, &told, &serde_json::to_value(&record).unwrap());
}

fn agree(reason: Reason, told: &Value, record: &Value) {
    assert_eq!(record["reason"], reason.code(), "{record}");
    for name in ["decision", "reason", "rule", "snapshotVersion"] {
        assert!(!record[name].is_null(), "{name} of {record}");
        assert_eq!(told[name], record[name], "{name} of {told} {record}");
    }
}

/// What explain must be told; policy and arguments it judges by itself.
fn assumed(reason: Reason) -> Option<&'static str> {
    live::REASONS.contains(&reason).then(|| reason.code())
}

async fn metric(plane: &DataPlane, name: &str, reason: Reason) -> u64 {
    let text = page(&format!("{}/metrics", plane.ops)).await.unwrap().1;
    let wanted = format!("reason=\"{}\"", reason.code());
    let line = text.lines().find(|line| line.contains(name) && line.contains(&wanted));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// The rows of the contract's table that a decided call can fall into.
#[derive(Clone, Copy, PartialEq)]
enum Reply {
    /// −32602, the same for all of these.
    Unknown,
    /// A tool result that a model can act on.
    ToolError,
}

impl Reply {
    fn check(self, reason: Reason, tool: &str, answer: &Answer) {
        assert_eq!(answer.status.as_u16(), 200, "{reason}: {answer:?}");
        let response = answer.response();
        match self {
            Self::Unknown => {
                let error = json!({"code": -32602, "message": format!("Unknown tool: {tool}")});
                assert_eq!(response["error"], error, "{reason}");
            }
            Self::ToolError => {
                let result = &response["result"];
                assert_eq!(result["isError"], true, "{reason}: {response}");
                assert!(answer.content().len() > 10, "{reason}: {response}");
                let decision = &result["_meta"]["portcullis/decision"];
                assert_eq!(decision["reason"], reason.code(), "{response}");
                assert_eq!(decision["requestId"], answer.header("x-request-id"), "{response}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_is_the_same_in_reply_record_metric_and_explanation() {
    let files = Upstream::legacy(&["read", "hidden", "changed", "slow", "broken", "big"]).await;
    let modern = Upstream::modern(&["search", "pay"]).await;
    let dead = Upstream::legacy(&["read"]).await;
    let portcullis = Portcullis::start().await;
    let keys = portcullis.admit(&documents(&files.url, &modern.url, &dead.url), 8 + 4 + 4 + 3).await;
    let mut world = World { portcullis, files, keys, provoked: BTreeSet::new() };

    outside(&mut world).await;
    decisions(&mut world).await;
    people(&mut world).await;
    dead.go_down();
    upstreams(&mut world).await;
    bounds(&mut world).await;
    without_a_snapshot(&mut world).await;
    internal(&mut world).await;

    let known: BTreeSet<Reason> = Reason::ALL.iter().copied().collect();
    let later: BTreeSet<Reason> = LATER.iter().copied().collect();
    assert!(later.is_disjoint(&world.provoked), "a later reason occurs: take it off the list");
    let missing: Vec<_> =
        known.difference(&world.provoked).filter(|reason| !later.contains(reason)).collect();
    assert!(missing.is_empty(), "not provoked: {missing:?}");
}

/// What is refused before anybody is admitted.
async fn outside(world: &mut World) {
    let list = async |caller: Caller| caller.ask("tools/list", json!({})).await;
    for wrong in ["Bearer pcl_nothing", "Basic pcl_nothing", ""] {
        let asking =
            async |world: &World| list(world.caller("bot", "/mcp").with("authorization", wrong)).await;
        world.turned_away(Reason::Unauthenticated, 401, asking).await;
    }
    world
        .turned_away(Reason::Unauthenticated, 401, async |world| {
            let doubled = secret(&world.keys, "bot");
            list(world.caller("bot", "/mcp").with("x-portcullis-key", &doubled)).await
        })
        .await;
    assert_eq!(
        world.portcullis.admin.explain("nobody", "files_read", "/mcp").await["reason"],
        "unauthenticated"
    );
    // Somebody known who feels their way around: refused alike, and on record.
    for path in ["/bundles/nothing/mcp", "/servers/nothing/mcp", "/elsewhere"] {
        let answer = list(world.caller("bot", path)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, 404), "{answer:?}");
        assert!(!answer.text.contains("endpoint"), "{}", answer.text);
        // A path that is none at all is no question for explain; to the caller, and on record, it is an unknown endpoint.
        let asked = if path == "/elsewhere" { "/servers/elsewhere/mcp" } else { path };
        let reason = Reason::UnknownEndpoint;
        same(&world.portcullis, reason, "files_read", asked, None, answer.request_id()).await;
    }
    assert!(world.metric("turned_away", Reason::UnknownEndpoint).await >= 3);
    world.provoked.insert(Reason::UnknownEndpoint);

    let request = api::RevokeKeyRequest { name: "lost".to_owned(), message: String::new() };
    world.portcullis.admin.keys().revoke_key(request).await.unwrap();
    world.portcullis.settle().await;
    world.turned_away(Reason::KeyRevoked, 401, async |world| list(world.caller("lost", "/mcp")).await).await;
    assert_eq!(world.portcullis.admin.explain("lost", "files_read", "/mcp").await["reason"], "key_revoked");

    let old = world.caller("old", "/mcp");
    eventually("the key's end", async || (list(old.clone()).await.status == 401).then_some(())).await;
    world.turned_away(Reason::KeyExpired, 401, async |world| list(world.caller("old", "/mcp")).await).await;
    assert_eq!(world.portcullis.admin.explain("old", "files_read", "/mcp").await["reason"], "key_expired");

    // The shape of each refusal of a malformed request is the protocol's own.
    let count = world.metric("calls_refused", Reason::MalformedRequest).await;
    let bot = world.caller("bot", "/mcp");
    for (caller, body, code, method) in [
        (bot.clone(), "{", -32700, "POST"),
        (bot.with("mcp-method", "tools/call"), "[]", -32600, "tools/call"),
        (
            bot.with("mcp-protocol-version", "2026-07-28"),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            -32602,
            "tools/list",
        ),
        (
            bot.clone(),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
            -32600,
            "POST",
        ),
    ] {
        let answer = caller.post(body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{body}: {answer:?}");
        malformed(world, answer.request_id(), method).await;
    }
    let (caller, message) = bot.request("tools/call", json!({"name": "files_read", "arguments": {}}));
    let answer = caller.with("mcp-name", "files_other").post(message.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, -32020), "{answer:?}");
    malformed(world, answer.request_id(), "tools/call").await;
    let answer = bot.ask("no/such", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, -32601), "{answer:?}");
    malformed(world, answer.request_id(), "no/such").await;
    assert_eq!(world.metric("calls_refused", Reason::MalformedRequest).await, count + 6);

    // What HTTP itself is wrong about, and a session that is none.
    for (caller, method, status) in [
        (bot.with("content-type", "text/plain"), Method::POST, 415),
        (bot.with("accept", "text/html"), Method::POST, 406),
        (bot.clone(), Method::PUT, 405),
        (bot.with("mcp-protocol-version", "2025-11-25").with("mcp-session-id", "gone"), Method::GET, 404),
        (bot.with("mcp-protocol-version", "2025-11-25").with("mcp-session-id", "gone"), Method::DELETE, 404),
    ] {
        let name = match method {
            Method::POST => "POST",
            Method::GET => "GET",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let answer = caller.send(method, "{}", None).await.whole().await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        malformed(world, answer.request_id(), name).await;
    }
    world.provoked.insert(Reason::MalformedRequest);
}

/// The record of a malformed request says who it was and what was asked for.
async fn malformed(world: &World, request: Uuid, method: &str) {
    same(&world.portcullis, Reason::MalformedRequest, "files_read", "/mcp", None, request).await;
    let record = world.portcullis.plane.record(request).await;
    assert_eq!((&*record.method, record.key.name.as_str(), &*record.endpoint), (method, "bot", "/mcp"));
}

/// What policy denies.
async fn decisions(world: &mut World) {
    world.files.add_tool(tool("fresh"));
    let mut changed = tool("changed");
    changed["description"] = json!("Something else.");
    let mut tools: Vec<Value> = ["read", "hidden", "slow", "broken", "big", "fresh"].map(tool).into();
    tools.push(changed);
    world.files.set_tools(tools);
    world.files.listened_to(1).await;
    world.files.announce("tools");
    eventually("the changed tool is quarantined", async || {
        let told = world.portcullis.admin.explain("bot", "files_changed", "/mcp").await;
        (told["reason"] == "tool_quarantined").then_some(())
    })
    .await;
    world.portcullis.settle().await;

    let bot = world.caller("bot", "/mcp");
    for (reason, name, reply) in [
        (Reason::ToolUnknown, "nothing_here", Reply::Unknown),
        (Reason::ToolNotGranted, "files_hidden", Reply::Unknown),
        (Reason::ToolNotApproved, "files_fresh", Reply::Unknown),
        (Reason::ToolQuarantined, "files_changed", Reply::Unknown),
        (Reason::ZoneDenied, "vault_search", Reply::ToolError),
    ] {
        let calls = world.files.calls();
        let answer = bot.call(name, json!({})).await;
        world.came_to(reason, name, None, &answer, reply).await;
        assert_eq!(world.files.calls(), calls, "{reason} reached the server");
    }
}

/// What a person has to say of single calls.
async fn people(world: &mut World) {
    let bot = world.caller("bot", "/mcp");
    let arguments = json!({"amount": 1});
    let answer = bot.call("modern_pay", arguments.clone()).await;
    let reason = Reason::ApprovalRequired;
    world.came_to(reason, "modern_pay", Some(&arguments), &answer, Reply::ToolError).await;
    let waiting = world.portcullis.admin.waiting().await;
    let ids = waiting.into_iter().filter(|one| one.kind == "call").map(|one| one.id).collect();
    world.portcullis.admin.decide(api::DecideRequest { ids, ..api::DecideRequest::default() }).await;
    let answer = bot.call("modern_pay", arguments.clone()).await;
    let reason = Reason::ApprovalDenied;
    world.came_to(reason, "modern_pay", Some(&arguments), &answer, Reply::ToolError).await;
    // What is too large is nobody's to approve.
    let arguments = json!({"pad": "x".repeat(1024)});
    let answer = bot.call("modern_pay", arguments.clone()).await;
    let reason = Reason::ArgumentsInvalid;
    world.came_to(reason, "modern_pay", Some(&arguments), &answer, Reply::ToolError).await;
}

/// What upstream servers, and limits on them, come to.
async fn upstreams(world: &mut World) {
    let bot = world.caller("bot", "/mcp");
    for (reason, name) in [
        (Reason::UpstreamUnavailable, "dead_read"),
        (Reason::UpstreamTimeout, "files_slow"),
        (Reason::UpstreamError, "files_broken"),
        (Reason::ResponseTooLarge, "files_big"),
    ] {
        let answer = bot.call(name, json!({})).await;
        world.came_to(reason, name, None, &answer, Reply::ToolError).await;
    }

    // The one place is taken by a call that hangs.
    let calls = world.files.calls();
    let taken = tokio::spawn({
        let bot = bot.clone();
        async move { bot.call("files_slow", json!({})).await }
    });
    eventually("the call that hangs", async || (world.files.calls() > calls).then_some(())).await;
    let answer = bot.call("files_read", json!({})).await;
    world.came_to(Reason::ConcurrencyExceeded, "files_read", None, &answer, Reply::ToolError).await;
    taken.await.unwrap();

    // The largest arguments that the server takes, and one byte more: judged alike where they are sent and where they are
    // explained.
    for (length, refused) in [(1024, false), (1025, true)] {
        let arguments = json!({"pad": "x".repeat(length - r#"{"pad":""}"#.len())});
        let answer = bot.call("modern_search", arguments.clone()).await;
        if refused {
            let reason = Reason::ArgumentsInvalid;
            world.came_to(reason, "modern_search", Some(&arguments), &answer, Reply::ToolError).await;
        } else {
            assert!(answer.succeeded(), "{answer:?}");
            let admin = &world.portcullis.admin;
            let told = admin.explain_call("bot", "modern_search", "/mcp", Some(&arguments), &[]).await;
            assert_eq!((&told["decision"], &told["reason"]), (&json!("permit"), &Value::Null), "{told}");
        }
    }

    // What other methods get.
    let down = bot.ask("resources/read", json!({"uri": "note:///a"})).await;
    assert!(down.succeeded(), "{down:?}");
}

/// Bounds of the plane itself.
async fn bounds(world: &mut World) {
    // As many standing streams as one key may have, and one more.
    let legacy = world.portcullis.plane.legacy("/mcp", &secret(&world.keys, "bot"));
    let legacy = legacy.with("mcp-protocol-version", "2025-11-25");
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < 1000, "streams have no bound");
        let reply = legacy.send(Method::GET, "", None).await;
        if reply.status != 200 {
            break reply;
        }
        open.push(reply);
    };
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));
    let request = refused.headers["x-request-id"].to_str().unwrap().parse().unwrap();
    same(&world.portcullis, Reason::Overloaded, "files_read", "/mcp", None, request).await;
    assert!(world.metric("calls_refused", Reason::Overloaded).await > 0);
    world.provoked.insert(Reason::Overloaded);
    drop(open);

    // A spool with one place: the second call at once has none for its record, so it does not happen.
    let upstream = Upstream::modern(&["slow", "read"]).await;
    let portcullis =
        Portcullis::start_tuned(ControlOptions::default(), |options| options.spool.max_places = 1).await;
    let text = format!(
        "{{apiVersion: portcullis/v1, kind: McpServer, metadata: {{name: files}}, spec: {{transport: {{streamableHttp: {{url: \"{}\"}}}}}}}}\n---\n{{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {{name: bot}}, spec: {{principal: {{kind: agent, subject: b}}, grants: [{{server: files, allow: [\"*\"]}}]}}}}",
        upstream.url
    );
    let keys = portcullis.admit(&text, 4).await;
    let bot = portcullis.plane.modern("/mcp", &secret(&keys, "bot"));
    let slow = tokio::spawn({
        let bot = bot.clone();
        async move { bot.call("files_slow", json!({})).await }
    });
    upstream.saw("tools/call").await;
    let answer = bot.call("files_read", json!({})).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(upstream.calls(), 1, "the call happened");
    // There is no record, which is the point; explain says the rest.
    let told = portcullis.admin.explain_call("bot", "files_read", "/mcp", None, &["audit_unavailable"]).await;
    assert_eq!((&told["decision"], &told["reason"]), (&json!("deny"), &json!("audit_unavailable")), "{told}");
    assert_eq!(told["rule"], "TrustZone/default spec.audit", "{told}");
    assert_eq!(metric(&portcullis.plane, "calls_refused", Reason::AuditUnavailable).await, 1);
    upstream.open_gate(1);
    let missed = answer.request_id();
    assert!(slow.await.unwrap().succeeded());
    assert!(bot.call("files_read", json!({})).await.succeeded());
    assert!(!portcullis.plane.records().iter().any(|record| record.request_id == missed));
    world.provoked.insert(Reason::AuditUnavailable);
}

/// A plane that never had a snapshot.
async fn without_a_snapshot(world: &mut World) {
    let control = FakeControlPlane::start().await;
    let plane = DataPlane::start(PlaneOptions::new("plane-a", &control.url, &control.token())).await;
    let answer = plane.modern("/mcp", &new_secret()).ask("tools/list", json!({})).await;
    assert_eq!(answer.status, 503);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(metric(&plane, "turned_away", Reason::SnapshotStale).await, 1);
    // Who asked is not known without a snapshot, so that there is no record; explain says the rest.
    assert!(plane.records().is_empty());
    let assume = ["snapshot_stale"];
    let told = world.portcullis.admin.explain_call("bot", "files_read", "/mcp", None, &assume).await;
    assert_eq!((&told["decision"], &told["reason"]), (&json!("deny"), &json!("snapshot_stale")), "{told}");
    assert_eq!(told["steps"].as_array().unwrap().len(), 1, "{told}");
    world.provoked.insert(Reason::SnapshotStale);
}

/// A plane that has no keys to seal with: the state of an upstream cannot be put into a caller's hands.
async fn internal(world: &mut World) {
    let upstream = Upstream::modern(&["ask"]).await;
    let control = FakeControlPlane::start_keyless().await;
    let key = new_secret();
    let policy = Policy::new().server("files", &upstream.url, "2026-07-28").tool("files", "ask").key(
        "bot",
        &key,
        &json!([{"server": "files", "allow": ["*"]}]),
    );
    control.push(1, &policy).await;
    let plane = DataPlane::start(PlaneOptions::new("plane-a", &control.url, &control.token())).await;
    plane.enforces(1).await;
    let bot = plane.modern("/mcp", &key).able_to(json!({"elicitation": {"form": {}}}));
    let answer = bot.call("files_ask", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (200, -32603), "{answer:?}");
    assert_eq!(answer.reason(), "internal", "{answer:?}");
    // There is no administrator to ask here: the plane's own snapshot is explained.
    let snapshot = plane.live.load().unwrap();
    let question =
        Question { assume: &[Reason::Internal], ..Question::tool("bot", EndpointRef::All, "files_ask", 0) };
    let told = serde_json::to_value(explain(&snapshot, &question)).unwrap();
    let record = plane.record(answer.request_id()).await;
    agree(Reason::Internal, &told, &serde_json::to_value(&record).unwrap());
    world.provoked.insert(Reason::Internal);
}
