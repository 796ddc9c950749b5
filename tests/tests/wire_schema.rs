//! The tap on the wire: every message that a data plane sends in a tour over all methods of both eras is valid by the official
//! schema of its revision, and every method is seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::collections::BTreeSet;

use http::Method;
use portcullis_mcp::{Era, Method as Known};
use portcullis_tests::admin::secret;
use portcullis_tests::client::{LEGACY, MODERN, Reply};
use portcullis_tests::patience::{eventually, soon};
use portcullis_tests::schema::Schemas;
use portcullis_tests::tap::{Emitted, Reader, Tap};
use portcullis_tests::{Caller, Portcullis, Upstream, tool};
use serde_json::{Value, json};

const TOOLS: &[&str] = &[
    "read",
    "fail",
    "own_error",
    "broken",
    "progress",
    "slow_progress",
    "ask",
    "ask_sampling",
    "ask_roots",
    "ask_ping",
];

/// Everything that clients of a revision can do for a server.
fn abilities(revision: &str) -> Value {
    let mut abilities = json!({"sampling": {}, "roots": {"listChanged": true}});
    if revision > "2025-03-26" {
        abilities["elicitation"] = json!({});
    }
    abilities
}

struct Tour {
    tap: Tap,
    portcullis: Portcullis,
    servers: Vec<(&'static str, Upstream)>,
    key: String,
}

impl Tour {
    async fn prepare() -> Self {
        let tap = Tap::default();
        let mut servers = Vec::new();
        let mut text = String::new();
        let revisions =
            [("oldest", "2025-03-26"), ("older", "2025-06-18"), ("legacy", LEGACY), ("modern", MODERN)];
        let mut grants = Vec::new();
        for (name, revision) in revisions {
            let upstream = Upstream::start(revision, TOOLS, Some(&tap)).await;
            text += &format!(
                "{{apiVersion: portcullis/v1, kind: McpServer, metadata: {{name: {name}}}, spec: {{transport: {{streamableHttp: {{url: \"{}\"}}}}, tools: {{newTools: approve}}}}}}\n---\n",
                upstream.url
            );
            grants.push(format!(
                "{{server: {name}, allow: [\"*\"], prompts: [\"*\"], resources: [\"note:///*\"]}}"
            ));
            servers.push((name, upstream));
        }
        text += &format!(
            "{{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {{name: bot}}, spec: {{principal: {{kind: agent, subject: b}}, grants: [{}]}}}}",
            grants.join(", ")
        );
        let portcullis = Portcullis::start().await;
        let applied = portcullis.admin.apply(&text).await;
        let key = secret(&applied, "bot");
        portcullis.settle().await;
        let bot = portcullis.plane.modern("/mcp", &key);
        eventually("all servers are approved", async || {
            (bot.tools().await.len() == TOOLS.len() * servers.len()).then_some(())
        })
        .await;
        Self { tap, portcullis, servers, key }
    }

    fn caller(&self, path: &str, revision: &str) -> Caller {
        let caller = self.portcullis.plane.modern(path, &self.key).tapped(&self.tap);
        caller.speaking(revision).able_to(abilities(revision))
    }

    /// What both eras have, at one endpoint; names of tools begin with the prefix.
    async fn common(&self, caller: &Caller, prefix: &str) {
        for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            assert!(caller.ask(method, json!({})).await.succeeded(), "{method}");
        }
        for name in ["read", "fail", "own_error", "broken", "unknown"] {
            caller.call(&format!("{prefix}{name}"), json!({"a": 1})).await;
        }
        let progress = json!({"name": format!("{prefix}progress"), "arguments": {}, "_meta": {
            "progressToken": "p-1", "io.modelcontextprotocol/logLevel": "debug"}});
        assert!(caller.ask("tools/call", progress).await.succeeded());
        let prompt = json!({"name": format!("{prefix}greet"), "arguments": {"who": "Eve"}});
        assert!(caller.ask("prompts/get", prompt).await.succeeded());
        caller.ask("prompts/get", json!({"name": "no-prompt"})).await;
        for uri in ["note:///a", "note:///missing", "other:///a"] {
            caller.ask("resources/read", json!({"uri": uri})).await;
        }
        let reference = json!({"type": "ref/prompt", "name": format!("{prefix}greet")});
        let complete = json!({"ref": reference, "argument": {"name": "who", "value": "E"}});
        assert!(caller.ask("completion/complete", complete).await.succeeded());
        caller.ask("no/such/method", json!({})).await;
        caller.ask("tools/list", json!({"cursor": "forged"})).await;
    }

    async fn legacy(&self, path: &str, prefix: &str, revision: &str, server: &Upstream) {
        let caller = self.caller(path, revision).open().await;
        let mut standing = caller.listen().await;
        assert!(caller.ask("ping", Value::Null).await.succeeded());
        self.common(&caller, prefix).await;
        assert!(caller.ask("logging/setLevel", json!({"level": "info"})).await.succeeded());
        assert!(caller.ask("resources/subscribe", json!({"uri": "note:///a"})).await.succeeded());
        if !server.is_modern() {
            // The oldest revision has no elicitation.
            let first = usize::from(server.revision() == "2025-03-26");
            for asking in &["ask", "ask_sampling", "ask_roots", "ask_ping"][first..] {
                self.questions(&caller, &format!("{prefix}{asking}")).await;
            }
            let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
                                 "params": {"uri": "note:///a"}});
            server.listened_to(2).await;
            server.push(&updated);
            standing.until(Some("notifications/resources/updated")).await;
            server.announce("resources");
            standing.until(Some("notifications/resources/list_changed")).await;
        }
        assert!(caller.ask("resources/unsubscribe", json!({"uri": "note:///a"})).await.succeeded());
        caller.tell("notifications/roots/list_changed", Value::Null).await;
        caller.tell("notifications/progress", json!({"progressToken": "t", "progress": 1})).await;
        self.cancel(&caller, &format!("{prefix}slow_progress")).await;
        assert!(caller.end().await.is_success());
        caller.ask("tools/list", json!({})).await;
    }

    /// Calls a tool whose server asks its client something first.
    async fn questions(&self, caller: &Caller, tool: &str) {
        let mut call = caller.begin("tools/call", json!({"name": tool, "arguments": {}})).await;
        if !call.is_stream() {
            call.whole().await;
            return;
        }
        loop {
            let message = call.next().await.expect("an answer");
            let result = match message["method"].as_str() {
                None => break,
                Some("elicitation/create") => json!({"action": "accept", "content": {}}),
                Some("sampling/createMessage") => json!({
                    "role": "assistant", "model": "m", "content": {"type": "text", "text": "!"}}),
                Some("roots/list") => json!({"roots": [{"uri": "file:///home"}]}),
                Some(other) => panic!("{other}"),
            };
            assert_eq!(caller.reply(&message["id"], &result).await, 202);
        }
    }

    async fn cancel(&self, caller: &Caller, tool: &str) {
        let params = json!({"name": tool, "arguments": {}, "_meta": {"progressToken": 7}});
        let (sender, message) = caller.request("tools/call", params);
        let mut call = sender.send(Method::POST, message.to_string(), Some("tools/call")).await;
        call.until(Some("notifications/progress")).await;
        if !caller.is_modern() {
            let reason = json!({"requestId": message["id"], "reason": "enough"});
            caller.tell("notifications/cancelled", reason).await;
        }
        drop(call);
    }

    async fn modern(&self, path: &str, prefix: &str, server: &Upstream) {
        let caller = self.caller(path, MODERN);
        assert!(caller.ask("server/discover", json!({})).await.succeeded());
        let filter = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true,
            "resourcesListChanged": true, "resourceSubscriptions": ["note:///a"]}});
        let mut stream: Reply = caller.begin("subscriptions/listen", filter).await;
        stream.until(Some("notifications/subscriptions/acknowledged")).await;
        self.common(&caller, prefix).await;
        let version = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}});
        let (sender, message) = caller.request("tools/list", version);
        let answer = sender.with("mcp-protocol-version", "2099-01-01").post(message.to_string()).await;
        assert_eq!(answer.code(), -32022);
        let (sender, message) = caller.request("tools/call", json!({"name": "x", "arguments": {}}));
        assert_eq!(sender.with("mcp-name", "y").post(message.to_string()).await.code(), -32020);
        if server.is_modern() {
            let tool = format!("{prefix}ask");
            let asked = caller.call(&tool, json!({})).await.result();
            assert_eq!(asked["resultType"], "input_required");
            let again = json!({"name": tool, "arguments": {}, "requestState": asked["requestState"],
                "inputResponses": {"who": {"action": "accept", "content": {}}}});
            assert!(caller.ask("tools/call", again).await.succeeded());
            let unable = caller.clone().able_to(json!({}));
            unable.call(&tool, json!({})).await;
        }
        server.listened_to(2).await;
        server.push(&json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
                            "params": {"uri": "note:///a"}}));
        stream.until(Some("notifications/resources/updated")).await;
        server.announce("resources");
        stream.until(Some("notifications/resources/list_changed")).await;
        self.cancel(&caller, &format!("{prefix}slow_progress")).await;
    }

    /// What the plane says of its own accord when lists change, to both eras.
    async fn changes(&self) {
        let mut streams = vec![];
        for revision in ["2025-03-26", "2025-06-18", LEGACY] {
            streams.push(self.caller("/mcp", revision).open().await.listen().await);
        }
        let filter = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
        let mut modern = self.caller("/mcp", MODERN).begin("subscriptions/listen", filter).await;
        modern.until(Some("notifications/subscriptions/acknowledged")).await;
        streams.push(modern);
        for (_, server) in &self.servers {
            server.add_tool(tool("late"));
            server.set_prompts(vec![json!({"name": "greet"}), json!({"name": "farewell"})]);
            server.announce("tools");
            server.announce("prompts");
        }
        // The prompt `greet` changed and waits for nobody: it is gone from the list until it is approved.
        for stream in &mut streams {
            let mut left: BTreeSet<&str> =
                ["notifications/tools/list_changed", "notifications/prompts/list_changed"].into();
            while !left.is_empty() {
                let message = soon("list_changed", stream.next()).await.unwrap();
                left.remove(message["method"].as_str().unwrap_or_default());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_data_plane_is_valid_and_every_method_is_seen() {
    let Some(mut schemas) = Schemas::load() else {
        println!("no official schemas beside the project: nothing is validated");
        return;
    };
    let mut tour = Tour::prepare().await;
    for (name, server) in &tour.servers {
        let path = format!("/servers/{name}/mcp");
        for revision in ["2025-03-26", "2025-06-18", LEGACY] {
            tour.legacy(&path, "", revision, server).await;
        }
        tour.modern(&path, "", server).await;
    }
    // The aggregate: what is merged and what is Portcullis' own.
    for revision in ["2025-03-26", "2025-06-18", LEGACY] {
        let caller = tour.caller("/mcp", revision).open().await;
        tour.common(&caller, "legacy_").await;
        tour.common(&caller, "modern_").await;
    }
    tour.common(&tour.caller("/mcp", MODERN), "legacy_").await;
    tour.common(&tour.caller("/mcp", MODERN), "modern_").await;
    tour.changes().await;
    // A stream that is ended by the plane is ended with a response.
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let mut stream = tour.caller("/mcp", MODERN).begin("subscriptions/listen", filter).await;
    stream.until(Some("notifications/subscriptions/acknowledged")).await;
    let ended = tokio::spawn(async move { stream.until(None).await });
    tour.portcullis.plane.stop().await;
    ended.await.unwrap();

    let emitted = tour.tap.all();
    let faults: BTreeSet<String> = emitted
        .iter()
        .flat_map(|emitted| {
            let faults = schemas.faults(emitted);
            let place = format!("to {:?} in answer to {:?}", emitted.reader, emitted.answers);
            faults.into_iter().map(move |fault| format!("{fault}\n    {place}: {}", emitted.message))
        })
        .collect();
    let text: Vec<&str> = faults.iter().map(String::as_str).collect();
    println!("{} messages", emitted.len());
    assert!(faults.is_empty(), "{} of {} messages:\n{}", faults.len(), emitted.len(), text.join("\n"));
    everything_was_seen(&emitted);
}

/// Each method of each era: asked of upstreams, answered to clients, told to both.
fn everything_was_seen(emitted: &[Emitted]) {
    let modern = |emitted: &Emitted| emitted.revision.as_str() >= MODERN;
    let asked: BTreeSet<(bool, &str)> = emitted
        .iter()
        .filter(|emitted| emitted.reader == Reader::Upstream)
        .filter_map(|emitted| Some((modern(emitted), emitted.message["method"].as_str()?)))
        .collect();
    let answered: BTreeSet<(bool, &str)> = emitted
        .iter()
        .filter(|emitted| emitted.reader == Reader::Client && emitted.message.get("result").is_some())
        .filter_map(|emitted| Some((modern(emitted), emitted.answers.as_deref()?)))
        .collect();
    let mut missing = Vec::new();
    for method in Known::ALL {
        for era in [Era::Modern, Era::Legacy] {
            if !method.known_in(era) {
                continue;
            }
            let name = method.as_str();
            let case = (era == Era::Modern, name);
            // Ours alone: a legacy upstream is never pinged, a modern one over HTTP never told of a cancellation.
            let never_asked = name == "ping" || (era == Era::Modern && method.is_notification());
            if !never_asked && !asked.contains(&case) {
                missing.push(format!("{era:?} {name} to an upstream"));
            }
            if !method.is_notification() && !answered.contains(&case) {
                missing.push(format!("{era:?} {name} answered to a client"));
            }
        }
    }
    let told: BTreeSet<(Reader, bool, &str)> = emitted
        .iter()
        .filter_map(|emitted| Some((emitted.reader, modern(emitted), emitted.message["method"].as_str()?)))
        .collect();
    let both = [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/progress",
        "notifications/message",
    ];
    let mut expected: Vec<(bool, &str)> =
        both.iter().flat_map(|name| [(false, *name), (true, *name)]).collect();
    expected.push((true, "notifications/subscriptions/acknowledged"));
    expected.extend(["elicitation/create", "sampling/createMessage", "roots/list"].map(|name| (false, name)));
    for (era, name) in expected {
        if !told.contains(&(Reader::Client, era, name)) {
            missing.push(format!("{name} to a client, modern {era}"));
        }
    }
    let replied: BTreeSet<&str> = emitted
        .iter()
        .filter(|emitted| emitted.reader == Reader::Upstream && emitted.message.get("method").is_none())
        .filter_map(|emitted| emitted.answers.as_deref())
        .collect();
    for name in ["elicitation/create", "sampling/createMessage", "roots/list", "ping"] {
        if !replied.contains(name) {
            missing.push(format!("an answer to {name} to an upstream"));
        }
    }
    assert!(missing.is_empty(), "not seen: {missing:#?}");
}
