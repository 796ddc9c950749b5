//! The operator's commands and processes, as the binary has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use portcullis_tests::binary::{Process, run};
use portcullis_tests::certificates::Authority;
use portcullis_tests::client::page;
use portcullis_tests::patience::eventually;
use portcullis_tests::{Caller, Upstream};
use serde_json::{Value, json};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// `up` on free ports, with further arguments.
fn up(dir: &Path, more: &[&str]) -> Process {
    let data = text(&dir.join("state"));
    let mut arguments = vec!["up", "--data-dir", &data];
    for port in ["--listen", "--ops-listen", "--grpc-listen", "--http-listen"] {
        arguments.extend([port, "127.0.0.1:0"]);
    }
    arguments.extend(more);
    Process::start(dir, "up", &arguments)
}

/// Runs commands against one control plane.
struct Shell {
    data: String,
    grpc: String,
}

impl Shell {
    fn new(dir: &Path, process: &Process) -> Self {
        Self { data: text(&dir.join("state")), grpc: process.address("grpcUrl") }
    }

    fn try_run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let server = if matches!(arguments[0], "approve" | "deny") { "--control-plane" } else { "--server" };
        run(&[arguments, &[server, &self.grpc, "--data-dir", &self.data]].concat())
    }

    fn run(&self, arguments: &[&str]) -> String {
        let (status, out, err) = self.try_run(arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {out} {err}");
        out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let out = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error} {out}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_with_the_demo_gives_all_that_a_client_needs() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = up(dir.path(), &["--demo"]);
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("up.ready")), 0o600);
    assert_eq!(mode(Path::new(&process.address("adminTokenFile"))), 0o600);
    let key = process.address("demoKey");
    let printed = process.output();
    for told in [&process.address("mcpUrl"), &key, "mcpServers"] {
        assert!(printed.contains(told), "{told} in {printed}");
    }
    for (name, path) in
        [("opsUrl", "readyz"), ("opsUrl", "healthz"), ("httpUrl", "readyz"), ("httpUrl", "healthz")]
    {
        assert_eq!(page(&format!("{}/{path}", process.address(name))).await.unwrap().0, 200, "{name} {path}");
    }
    let modern = Caller::modern(process.address("mcpUrl"), &key);
    let legacy = Caller::legacy(process.address("mcpUrl"), &key).open().await;
    for caller in [&modern, &legacy] {
        let mut tools = caller.tools().await;
        tools.sort();
        assert_eq!(tools, ["demo_add", "demo_count", "demo_echo"]);
        assert_eq!(caller.call("demo_add", json!({"a": 40, "b": 2})).await.content(), "42");
        assert_eq!(caller.call("demo_wipe", json!({})).await.code(), -32602);
        let about = caller.ask("resources/read", json!({"uri": "demo://about"})).await;
        assert!(about.succeeded(), "{about:?}");
        let prompt = json!({"name": "demo_greet", "arguments": {"name": "Eve"}});
        assert!(caller.ask("prompts/get", prompt).await.succeeded());
    }

    // Each start has another key; SIGTERM ends it well.
    process.ask_to_end();
    let status = eventually("the end", async || process.ended()).await.0;
    assert_eq!(status.code(), Some(0), "{}", process.output());
    let process = up(dir.path(), &["--demo"]);
    assert_ne!(process.address("demoKey"), key);
    let url = process.address("mcpUrl");
    assert_eq!(Caller::modern(&url, &key).call("demo_add", json!({"a": 1, "b": 2})).await.status, 401);
    let again = Caller::modern(&url, &process.address("demoKey"));
    assert_eq!(again.call("demo_add", json!({"a": 1, "b": 2})).await.content(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_goes_from_files_to_calls_with_the_commands() {
    let upstream = Upstream::legacy(&["read", "write"]).await;
    let dir = tempfile::tempdir().unwrap();
    let process = up(dir.path(), &[]);
    let shell = Shell::new(dir.path(), &process);
    let files = dir.path().join("policy");
    std::fs::create_dir(&files).unwrap();
    let server = format!(
        "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: {{ name: files }}\nspec:\n  transport: {{ streamableHttp: {{ url: \"{}\" }} }}\n",
        upstream.url
    );
    let key = "apiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: { name: bot }\nspec:\n  principal: { kind: agent, subject: bot }\n  grants: [ { server: files, allow: [read, absent] } ]\n";
    std::fs::write(files.join("server.yaml"), &server).unwrap();
    std::fs::write(files.join("key.yaml"), key).unwrap();
    let directory = text(&files);

    // What would change is said, and changes nothing.
    for command in [vec!["plan", "-f", &directory], vec!["apply", "--dry-run", "-f", &directory]] {
        let out = shell.run(&command);
        assert!(out.contains("files") && out.contains("bot"), "{command:?}: {out}");
    }
    assert_eq!(shell.json(&["get", "servers"])["items"], json!([]));

    // One bad document, and nothing at all is applied; file, line and field are named.
    std::fs::write(files.join("bad.yaml"), "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: z }\nspec:\n  reachableFrom: [nowhere]\n").unwrap();
    let (status, _, err) = shell.try_run(&["apply", "-f", &directory]);
    assert_eq!(status, Some(1));
    assert!(err.contains("bad.yaml:5") && err.contains("reachableFrom") && err.contains("nowhere"), "{err}");
    assert_eq!(shell.json(&["get", "keys"])["items"], json!([]));
    std::fs::remove_file(files.join("bad.yaml")).unwrap();

    let applied = shell.json(&["apply", "-f", &directory, "--message", "first"]);
    let keys = applied["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]["name"]), (1, &json!("bot")));
    let secret = keys[0]["secret"].as_str().unwrap().to_owned();
    assert!(keys[0]["uid"].as_str().is_some());
    let again = shell.json(&["apply", "-f", &directory]);
    assert_eq!(again["keys"], json!([]), "no second secret");

    let waiting = eventually("approvals", async || {
        let items = shell.json(&["approvals", "list"])["items"].as_array().unwrap().clone();
        (items.len() == 4).then_some(items)
    })
    .await
    .0;
    for approval in &waiting {
        for member in ["id", "kind", "server", "name", "change", "state"] {
            assert!(approval.get(member).is_some(), "{member} of {approval}");
        }
    }
    let read = waiting.iter().find(|approval| approval["name"] == "read").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let write = waiting.iter().find(|approval| approval["name"] == "write").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(shell.run(&["approvals", "show", &read]).contains("Does read."));
    shell.run(&["deny", &write, "--message", "too dangerous"]);
    shell.run(&["approve", &read]);
    shell.run(&["approve", "--all", "--server", "files"]);
    assert_eq!(shell.json(&["approvals", "list"])["items"], json!([]));

    let bot = Caller::modern(process.address("mcpUrl"), &secret);
    eventually("the tool", async || bot.call("files_read", json!({})).await.succeeded().then_some(())).await;
    let told = shell.json(&["explain", "--key", "bot", "--tool", "files_read"]);
    assert_eq!((&told["decision"], &told["reason"]), (&json!("permit"), &Value::Null), "{told}");
    let refused = shell.json(&["explain", "--key", "bot", "--tool", "files_write"]);
    assert_eq!(refused["decision"], "deny");
    let answer = bot.call("files_write", json!({})).await;
    assert_eq!(answer.code(), -32602);
    let reason = refused["reason"].as_str().unwrap();
    let id = answer.request_id().to_string();
    let query = |more: &[&str]| {
        let (status, out, err) =
            run(&[&["audit", "query", "--data-dir", &shell.data, "-o", "json"], more].concat());
        assert_eq!(status, Some(0), "{err}");
        let found: Value = serde_json::from_str(&out).unwrap();
        found["items"].as_array().unwrap().clone()
    };
    let found = query(&["--key", "bot", "--reason", reason, "--request", &id]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["requestId"], id);
    assert!(!query(&["--tool", "files_read", "--since", "1h"]).is_empty());
    assert!(query(&["--key", "nobody"]).is_empty());

    // Every list has its stable form; history has author, message and time.
    for kind in ["servers", "zones", "bundles", "keys", "teams", "customers", "McpServer"] {
        assert!(shell.json(&["get", kind])["items"].is_array(), "{kind}");
    }
    for list in
        [vec!["planes", "list"], vec!["planes", "token", "list"], vec!["secret", "list"], vec!["history"]]
    {
        assert!(shell.json(&list)["items"].is_array(), "{list:?}");
    }
    let history = shell.json(&["history"]);
    assert!(
        history["items"].as_array().unwrap().iter().any(|entry| entry["message"] == "first"),
        "{history}"
    );
    assert!(shell.run(&["describe", "servers", "files"]).contains("files"));
    assert!(shell.json(&["snapshot", "show"])["version"].as_u64().is_some());

    // What is referred to stays; then it goes.
    let (status, _, err) = shell.try_run(&["delete", "servers", "files"]);
    assert!(status == Some(1) && err.contains("bot"), "{err}");
    shell.run(&["key", "revoke", "bot"]);
    eventually("the key is over", async || {
        (bot.call("files_read", json!({})).await.status == 401).then_some(())
    })
    .await;
    shell.run(&["delete", "keys", "bot"]);
    shell.run(&["delete", "servers", "files"]);
    assert_eq!(shell.json(&["get", "servers"])["items"], json!([]));
    let (status, _, _) = shell.try_run(&["get", "unicorns"]);
    assert!(matches!(status, Some(1 | 2)), "{status:?}");
    assert_eq!(run(&["no-such-command"]).0, Some(2));
    let wrong = run(&["get", "servers", "--server", &shell.grpc, "--token", "pca_wrong"]);
    assert_eq!(wrong.0, Some(1), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_that_is_asked_to_end_lets_calls_end_first() {
    let upstream = Upstream::modern(&["slow"]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yaml");
    std::fs::write(&file, format!(
        "{{apiVersion: portcullis/v1, kind: McpServer, metadata: {{name: files}}, spec: {{transport: {{streamableHttp: {{url: \"{}\"}}}}, tools: {{newTools: approve}}}}}}\n---\n{{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {{name: bot}}, spec: {{principal: {{kind: agent, subject: bot}}, grants: [{{server: files, allow: [\"*\"]}}]}}}}",
        upstream.url
    )).unwrap();
    let mut process = up(dir.path(), &[]);
    let shell = Shell::new(dir.path(), &process);
    let applied = shell.json(&["apply", "-f", &text(&file)]);
    let bot = Caller::modern(process.address("mcpUrl"), applied["keys"][0]["secret"].as_str().unwrap());
    eventually("the tool", async || {
        (bot.try_ask("tools/list", json!({})).await.ok()?.text.contains("files_slow")).then_some(())
    })
    .await;
    let mut standing =
        bot.begin("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})).await;
    standing.until(Some("notifications/subscriptions/acknowledged")).await;
    let call = tokio::spawn({
        let bot = bot.clone();
        async move { bot.call("files_slow", json!({})).await }
    });
    upstream.saw("tools/call").await;

    process.ask_to_end();
    // Streams end with their response, new connections are refused, the call goes on to its end.
    standing.until(None).await;
    let fresh = Caller::modern(process.address("mcpUrl"), "pcl_nobody");
    eventually("no new connections", async || {
        fresh.try_ask("tools/list", json!({})).await.is_err().then_some(())
    })
    .await;
    assert!(process.ended().is_none(), "{}", process.output());
    upstream.open_gate(1);
    assert_eq!(call.await.unwrap().content(), "at last");
    let status = eventually("the end", async || process.ended()).await.0;
    assert_eq!(status.code(), Some(0), "{}", process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_and_plain_ports_are_for_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (Authority::new(old.path()), Authority::new(new.path()));
    let files = first.sign(dir.path(), "tls");
    let process =
        up(dir.path(), &["--demo", "--tls-cert", &text(&files.cert), "--tls-key", &text(&files.key)]);
    let url = process.address("mcpUrl");
    assert!(url.starts_with("https://"), "{url}");
    let caller =
        |authority: &Authority| Caller::modern(&url, &process.address("demoKey")).trusting(authority);
    assert_eq!(caller(&first).call("demo_add", json!({"a": 1, "b": 1})).await.content(), "2");
    assert!(caller(&second).try_ask("tools/list", json!({})).await.is_err());
    let _ = second.sign(dir.path(), "tls");
    eventually("the new certificate", async || {
        caller(&second)
            .try_ask("tools/list", json!({}))
            .await
            .is_ok_and(|answer| answer.succeeded())
            .then_some(())
    })
    .await;

    let apart = tempfile::tempdir().unwrap();
    let data = text(apart.path());
    let mut arguments =
        vec!["up", "--data-dir", &data, "--ops-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    arguments.extend(["--grpc-listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"]);
    let (status, _, err) = run(&arguments);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("--tls-cert") && err.contains("--insecure-listen"), "{err}");
    let (status, _, err) = run(&[
        "control-plane",
        "--data-dir",
        &data,
        "--grpc-listen",
        "0.0.0.0:0",
        "--http-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("--tls-cert"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_stops_servers_and_opens_them_stage_by_stage_with_the_commands() {
    let upstream = Upstream::legacy(&["read"]).await;
    let dir = tempfile::tempdir().unwrap();
    let process = up(dir.path(), &[]);
    let shell = Shell::new(dir.path(), &process);
    let file = dir.path().join("policy.yaml");
    let policy = format!(
        r#"
apiVersion: portcullis/v1
kind: RolloutPolicy
metadata: {{ name: careful }}
spec: {{ sandbox: {{ checks: {{ window: 1h, minCalls: 5 }} }}, limited: {{ percent: 10 }} }}
---
apiVersion: portcullis/v1
kind: TierDefaults
metadata: {{ name: gold }}
spec: {{ rollout: {{ policy: careful }}, limits: {{ timeout: 7s }} }}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec: {{ transport: {{ streamableHttp: {{ url: "{}" }} }}, tier: gold }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {{ server: crm, allow: ["*"] }} ] }}
"#,
        upstream.url
    );
    std::fs::write(&file, policy).unwrap();
    shell.run(&["apply", "-f", &text(&file)]);
    let words = |out: &str, line: usize| {
        out.lines().nth(line).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let cell = |name: &str| {
        let out = shell.run(&["get", "servers"]);
        let at = words(&out, 0).iter().position(|column| column == name).unwrap();
        words(&out, 1)[at].clone()
    };
    eventually("the tool, the prompt and the identity wait", async || {
        (shell.json(&["approvals", "list"])["items"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    assert_eq!((cell("LIFECYCLE"), cell("STAGE")), ("pending".to_owned(), "sandbox".to_owned()));
    let (status, _, err) = shell.try_run(&["promote", "crm"]);
    assert!(status == Some(1) && err.contains("decide first what waits"), "{err}");
    shell.run(&["approve", "--all"]);
    assert_eq!((cell("LIFECYCLE"), cell("TIER")), ("approved".to_owned(), "gold".to_owned()));

    // Who is kept out, and by what, is told by every question.
    let explained = shell.json(&["explain", "--key", "bot", "--tool", "crm_read"]);
    assert_eq!(explained["rule"], "McpServer/crm status.stage", "{explained}");
    let denied = shell.json(&["who-can", "crm_read", "--why"])["denied"].clone();
    assert_eq!(
        (&denied[0]["key"], &denied[0]["reason"]),
        (&json!("bot"), &json!("tool_not_approved")),
        "{denied}"
    );
    let shown = shell.json(&["get", "server", "crm"]);
    assert_eq!(
        shown["status"]["details"]["effective"]["limits"]["timeout"],
        json!({ "value": "7s", "from": "TierDefaults/gold" }),
        "{shown}"
    );

    let (status, out, err) = shell.try_run(&["promote", "crm"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(err.contains("window, calls failed"), "{err}");
    for told in ["CHECK", "FAILED", "at least 5 in 1h", "McpServer/crm stays at sandbox"] {
        assert!(out.contains(told), "{told} in {out}");
    }
    let (status, out, _) = shell.try_run(&["promote", "crm", "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &answer["promoted"], &answer["to"]), (Some(1), &json!(false), &json!("limited")));
    assert_eq!(shell.try_run(&["promote", "crm", "--force"]).0, Some(2), "who forces says why");
    let (status, _, err) = shell.try_run(&["promote", "crm", "--to", "general"]);
    assert!(status == Some(1) && err.contains("comes to limited first"), "{err}");
    shell.run(&["promote", "crm", "--to", "general", "--force", "--message", "the release cannot wait"]);
    assert_eq!(cell("STAGE"), "general");

    for (command, is) in [("suspend", "suspended"), ("resume", "approved"), ("retire", "retired")] {
        let out = shell.run(&[command, "crm", "--message", "so it must be"]);
        assert_eq!(out.trim(), format!("McpServer/crm is {is}"));
        assert_eq!(cell("LIFECYCLE"), is);
    }
    let (status, _, err) = shell.try_run(&["resume", "crm"]);
    assert!(status == Some(1) && err.contains("for good"), "{err}");
    let history = shell.run(&["history", "McpServer", "crm"]);
    assert!(history.contains("so it must be") && history.contains("the release cannot wait"), "{history}");
}
