//! What an operator knows before and after a change: who reaches what, what a plan would give and take.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::path::Path;

use portcullis_tests::binary::{Process, run};
use portcullis_tests::patience::eventually;
use portcullis_tests::{Caller, Upstream};
use serde_json::{Value, json};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Both planes as the binary runs them, and the commands against them.
struct World {
    dir: tempfile::TempDir,
    data: String,
    process: Process,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = text(&dir.path().join("state"));
        let mut arguments = vec!["up", "--data-dir", &data];
        for port in ["--listen", "--ops-listen", "--grpc-listen", "--http-listen"] {
            arguments.extend([port, "127.0.0.1:0"]);
        }
        let process = Process::start(dir.path(), "up", &arguments);
        Self { data, process, dir }
    }

    fn try_run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let server = if matches!(arguments[0], "approve" | "deny") { "--control-plane" } else { "--server" };
        run(&[arguments, &[server, &self.process.address("grpcUrl"), "--data-dir", &self.data]].concat())
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

    /// Writes documents to a file, and gives its name.
    fn file(&self, name: &str, documents: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, documents).unwrap();
        text(&path)
    }

    /// Applies documents.
    fn apply(&self, name: &str, documents: &str) -> Value {
        let file = self.file(name, documents);
        self.json(&["apply", "-f", &file])
    }

    /// Waits until so much waits for a person, and approves it.
    async fn approve(&self, count: usize) {
        eventually("approvals that wait", async || {
            (self.json(&["approvals", "list"])["items"].as_array().unwrap().len() >= count).then_some(())
        })
        .await;
        self.run(&["approve", "--all"]);
    }
}

fn server(url: &str, zone: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: {{ name: files }}\nspec: {{ zone: {zone}, transport: {{ streamableHttp: {{ url: \"{url}\" }} }} }}\n---\n"
    )
}

fn key(name: &str, zone: &str, grants: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: {{ name: {name} }}\nspec: {{ principal: {{ kind: agent, subject: {name} }}, zone: {zone}, grants: {grants} }}\n---\n"
    )
}

const ZONES: &str = "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: inside }\nspec: {}\n---\napiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: vault }\nspec: {}\n---\n";

fn strings(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_who_reaches_what_and_what_a_move_would_take_and_give() {
    let upstream = Upstream::legacy(&["read", "write"]).await;
    let world = World::new();
    let keys = [
        key("reader", "inside", "[ { server: files, allow: [read] } ]"),
        key("writer", "inside", "[ { server: files, allow: [\"*\"] } ]"),
        key("keeper", "vault", "[ { server: files, allow: [\"*\"] } ]"),
    ]
    .concat();
    world.apply("all.yaml", &format!("{ZONES}{}{keys}", server(&upstream.url, "inside")));
    world.approve(2).await;

    let reach = world.json(&["who-can", "files_read"]);
    assert_eq!(strings(&reach["items"], "key"), ["reader", "writer"]);
    assert_eq!(strings(&reach["items"], "rule")[0], "VirtualKey/reader spec.grants[0]");
    assert_eq!(world.json(&["who-can", "files/write"])["items"][0]["key"], "writer");
    let why = world.run(&["who-can", "files_read", "--why"]);
    assert!(why.contains("keeper") && why.contains("zone_denied"), "{why}");
    let (status, _, err) = world.try_run(&["who-can", "files_nothing"]);
    assert!(status == Some(1) && err.contains("SERVER/NAME"), "{status:?} {err}");

    let reach = world.json(&["what-can", "writer"]);
    assert_eq!(strings(&reach["items"], "name"), ["read", "write"]);
    assert_eq!(reach["items"][0]["endpoints"], json!({ "/mcp": "files_read", "/servers/files/mcp": "read" }));
    let why = world.run(&["what-can", "keeper", "--why"]);
    assert!(why.contains("TrustZone/inside spec.reachableFrom") && why.contains("reaches 0"), "{why}");
    assert_eq!(world.try_run(&["what-can", "nobody"]).0, Some(1));

    // Moving the server to another zone says who loses and who gains it before it happens.
    let moved = world.file("moved.yaml", &server(&upstream.url, "vault"));
    let plan = world.run(&["plan", "-f", &moved]);
    for line in [
        "spec.zone: \"inside\" -> \"vault\"",
        "1 key gains 2 tools",
        "2 keys lose 2 tools",
        "keeper gains files/read, files/write",
        "reader loses files/read (zone_denied by TrustZone/vault spec.reachableFrom)",
    ] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
    let plan = world.json(&["apply", "--dry-run", "-f", &moved]);
    assert_eq!(plan["effect"]["losses"], json!({ "keys": 2, "things": 2, "pairs": 3 }));
    assert_eq!(strings(&world.json(&["who-can", "files_read"])["items"], "key"), ["reader", "writer"]);
    world.run(&["apply", "-f", &moved]);
    assert_eq!(strings(&world.json(&["who-can", "files_read"])["items"], "key"), ["keeper"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_calls_are_decided_again_before_a_change_and_a_rollback_takes_it_back() {
    let upstream = Upstream::legacy(&["read", "write"]).await;
    let world = World::new();
    let grants = "[ { server: files, allow: [\"*\"] } ]";
    let applied = world.apply(
        "all.yaml",
        &format!("{ZONES}{}{}", server(&upstream.url, "inside"), key("bot", "inside", grants)),
    );
    let secret = applied["keys"][0]["secret"].as_str().unwrap().to_owned();
    world.approve(2).await;
    let good = world.json(&["snapshot", "show"])["version"].as_u64().unwrap();

    let caller = Caller::modern(world.process.address("mcpUrl"), &secret);
    eventually("the tools", async || (caller.tools().await.len() == 2).then_some(())).await;
    for _ in 0..3 {
        assert!(caller.call("files_read", json!({})).await.succeeded());
    }
    assert!(caller.call("files_write", json!({})).await.succeeded());
    assert_eq!(caller.call("files_nothing", json!({})).await.code(), -32602);

    // The live catalogue knows of the calls when the plane told of them.
    let used = eventually("the last use", async || {
        let item = world.json(&["get", "servers"])["items"][0].clone();
        item["status"]["lastUse"].is_string().then_some(item)
    });
    let item = used.await.0;
    assert_eq!((&item["status"]["health"], &item["status"]["drift"]), (&json!("up"), &json!(0)));
    let listed = world.run(&["get", "servers"]);
    assert!(
        ["OWNER", "TIER", "HEALTH", "DRIFT", "LAST-USE"].iter().all(|head| listed.contains(head)),
        "{listed}"
    );

    // What would have become of the calls of the last hour.
    let narrow = world.file("narrow.yaml", &key("bot", "inside", "[ { server: files, allow: [write] } ]"));
    let plan = world.json(&["plan", "-f", &narrow, "--replay", "1h"]);
    let replay = &plan["replay"];
    assert_eq!(
        (&replay["calls"], &replay["wouldBeDenied"], &replay["wouldBePermitted"]),
        (&json!(5), &json!(3), &json!(0)),
        "{replay}"
    );
    let group = &replay["items"][0];
    assert_eq!(
        (&group["key"], &group["name"], &group["calls"], &group["wouldBe"]),
        (&json!("bot"), &json!("files_read"), &json!(3), &json!("tool_not_granted"))
    );
    // The plane is connected and keeps its records on this machine too: of each call one counts.
    let sources = replay["sources"].as_array().unwrap();
    assert_eq!(sources.iter().map(|source| source["calls"].as_u64().unwrap()).sum::<u64>(), 5, "{replay}");
    assert!(sources.iter().any(|source| source["name"].as_str().unwrap().starts_with("plane ")), "{replay}");
    let told = world.run(&["plan", "-f", &narrow, "--replay", "1h"]);
    assert!(told.contains("bot loses files/read") && told.contains("3 would be denied"), "{told}");

    // What depends on arguments, which no record keeps, is told as that and not guessed.
    let cedar = r#"forbid(principal, action == Action::\"call\", resource == Tool::\"files/read\") when { context.arguments has path && context.arguments.path == \"/etc\" };"#;
    let asking = world.file(
        "asking.yaml",
        &format!("apiVersion: portcullis/v1\nkind: AccessPolicy\nmetadata: {{ name: paths }}\nspec: {{ cedar: \"{cedar}\" }}\n"),
    );
    let open = &world.json(&["plan", "-f", &asking, "--replay", "1h"])["replay"];
    assert_eq!((&open["undecidable"], &open["wouldBeDenied"]), (&json!(3), &json!(0)), "{open}");
    assert_eq!(
        (&open["undecided"][0]["name"], &open["undecided"][0]["calls"]),
        (&json!("files_read"), &json!(3))
    );
    let told = world.run(&["plan", "-f", &asking, "--replay", "1h"]);
    assert!(
        told.contains("3 cannot be decided again")
            && told.contains("paths read what is not known of the call: arguments"),
        "{told}"
    );

    // What the plane is to zones is known of the records on this machine too, which are read first.
    let elsewhere = "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: inside }\nspec: { servedBy: [ { region: eu } ] }\n";
    let elsewhere = world.file("elsewhere.yaml", elsewhere);
    let moved = &world.json(&["plan", "-f", &elsewhere, "--replay", "1h"])["replay"];
    assert_eq!((&moved["wouldBeDenied"], &moved["undecidable"]), (&json!(4), &json!(0)), "{moved}");
    assert_eq!(moved["items"][0]["wouldBe"], "zone_denied", "{moved}");
    let local = moved["sources"].as_array().unwrap().iter().find(|source| source["name"] == "local");
    assert_eq!(local.unwrap()["calls"], 5, "{moved}");

    // It is done all the same, and taken back.
    world.run(&["apply", "-f", &narrow]);
    assert_eq!(strings(&world.json(&["what-can", "bot"])["items"], "name"), ["write"]);
    let explained = world.json(&["explain", "--key", "bot", "--tool", "files_read"]);
    let grant = explained["steps"].as_array().unwrap().iter().find(|step| step["step"] == "grant").unwrap();
    assert!(grant["resource"]["version"].as_u64().unwrap() > good, "{grant}");
    let back = world.run(&["rollback", &good.to_string(), "--dry-run"]);
    assert!(back.contains("VirtualKey/bot would change") && back.contains("bot gains files/read"), "{back}");
    world.run(&["rollback", &good.to_string(), "--message", "too narrow"]);
    assert_eq!(strings(&world.json(&["what-can", "bot"])["items"], "name"), ["read", "write"]);
    let history = world.json(&["history", "--limit", "1"]);
    assert_eq!(history["items"][0]["message"], format!("too narrow (rollback to version {good})"));
    let again = eventually("the tool", async || {
        let answer = caller.call("files_read", json!({})).await;
        answer.succeeded().then_some(())
    });
    again.await;
}
