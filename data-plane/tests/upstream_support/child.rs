//! A real child process: the test binary runs itself, and this is what it does then.

use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

/// The variable that says which child to be.
pub const KIND: &str = "FAKE_CHILD";

/// The transport of a child; the test binary must have a test named `child` that calls [`run`].
pub fn transport(kind: &str, log: &std::path::Path, instances: u16) -> Value {
    let exe = std::env::current_exe().unwrap();
    json!({ "stdio": { "command": exe, "args": ["--exact", "child", "--nocapture"], "instances": instances,
        "env": { KIND: kind, "LOG": log, "EXTRA": "given" } } })
}

/// Is a child, if this process was started as one.
pub fn run() {
    let Ok(kind) = std::env::var(KIND) else { return };
    let log = std::env::var("LOG").unwrap();
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut first = true;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        writeln!(log, "{} {line}", std::process::id()).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        if kind == "strict" && std::mem::take(&mut first) && method != "initialize" {
            std::process::exit(1);
        }
        if kind == "silent" && method == "server/discover" {
            continue;
        }
        handle(&kind, &message, &method);
    }
    std::process::exit(0);
}

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").unwrap();
    out.flush().unwrap();
}

fn result(message: &Value, result: &Value) {
    say(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }));
}

fn note(method: &str, params: &Value) {
    say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
}

fn handle(kind: &str, message: &Value, method: &str) {
    let modern = kind == "modern";
    match method {
        "server/discover" if modern => result(message, &super::modern::discovered()),
        "initialize" if !modern => {
            let capabilities = json!({ "tools": { "listChanged": true }, "logging": {}, "resources": { "subscribe": true } });
            result(
                message,
                &json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": { "name": "child", "version": "1" } }),
            );
        }
        "tools/list" => {
            result(message, &json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] }))
        }
        "prompts/list" if modern => result(message, &json!({ "prompts": [] })),
        "tools/call" => call(message),
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => result(message, &json!({})),
        "subscriptions/listen" if modern => {
            let meta = json!({ "io.modelcontextprotocol/subscriptionId": message["id"] });
            note(
                "notifications/subscriptions/acknowledged",
                &json!({ "_meta": meta, "notifications": message["params"]["notifications"] }),
            );
            note("notifications/tools/list_changed", &json!({ "_meta": meta }));
        }
        _ if message.get("id").is_some() && message.get("method").is_some() => {
            say(
                &json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32601, "message": "Method not found" } }),
            );
        }
        _ => {}
    }
}

#[allow(clippy::zombie_processes, reason = "who outlives whom is what is tested")]
fn call(message: &Value) {
    let arguments = &message["params"]["arguments"];
    let answer = |value: &Value| result(message, &json!({ "content": [], "structuredContent": value }));
    match arguments["how"].as_str().unwrap_or("echo") {
        "env" => {
            let env: std::collections::BTreeMap<_, _> = std::env::vars().collect();
            answer(&json!(env));
        }
        "pid" => answer(&json!(std::process::id())),
        "progress" => {
            let token = &message["params"]["_meta"]["progressToken"];
            note("notifications/progress", &json!({ "progressToken": token, "progress": 0.5 }));
            std::thread::sleep(std::time::Duration::from_millis(30));
            answer(&json!(null));
        }
        "log" => {
            note("notifications/message", &json!({ "level": "info", "data": "private" }));
            std::thread::sleep(std::time::Duration::from_millis(30));
            answer(&json!(null));
        }
        "hang" => {}
        "exit" => std::process::exit(3),
        "big" => answer(&json!("x".repeat(usize::try_from(arguments["size"].as_u64().unwrap()).unwrap()))),
        "ask" => {
            say(&json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {} }));
            say(&json!({ "jsonrpc": "2.0", "id": "p", "method": "ping" }));
            answer(&json!(null));
        }
        "spawn" => {
            let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            answer(&json!([std::process::id(), child.id()]));
        }
        "changed" => {
            note("notifications/tools/list_changed", &json!({}));
            note("notifications/resources/updated", &json!({ "uri": arguments["uri"] }));
            answer(&json!(null));
        }
        "noise" => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "this is no message\n{{\"half\":\n[1,2]").unwrap();
            drop(out);
            answer(&json!(null));
        }
        _ => answer(&message["params"]),
    }
}

/// Whether a process lives; one that only waits to be reaped does not.
pub fn alive(pid: u64) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).unwrap_or("Z").to_owned();
    state != "Z" && state != "X"
}
