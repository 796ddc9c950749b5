//! The life of a long-running command: wrong ports are named, the ready file goes with the process, a lost token is told.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    for (name, _) in std::env::vars() {
        if name.starts_with("PORTCULLIS_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Running {
    child: Option<Child>,
    ready: PathBuf,
    content: Value,
}

impl Running {
    /// Starts `up` and waits for its ready file.
    fn start(directory: &Path) -> Self {
        let ready = directory.join("ready.json");
        let mut command = portcullis();
        command
            .arg("up")
            .arg("--data-dir")
            .arg(directory)
            .arg("--ready-file")
            .arg(&ready)
            .args(["--log", "error"]);
        for flag in ["--listen", "--ops-listen", "--grpc-listen", "--http-listen"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !ready.exists() {
            assert!(child.try_wait().unwrap().is_none(), "ended early");
            assert!(Instant::now() < deadline, "not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        let content = serde_json::from_str(&std::fs::read_to_string(&ready).unwrap()).unwrap();
        Self { child: Some(child), ready, content }
    }

    fn url(&self, name: &str) -> &str {
        self.content[name].as_str().unwrap()
    }

    fn signal(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }

    fn end(mut self) -> Output {
        self.signal();
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn get(directory: &Path, server: &str) -> (Option<i32>, String, String) {
    let output = portcullis()
        .args(["get", "zones", "--server", server, "--data-dir"])
        .arg(directory)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_wrong_port_and_the_wrong_scheme_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let grpc = running.url("grpcUrl");
    let (status, out, err) = get(dir.path(), grpc);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(
        out.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["NAME", "REACHABLE-FROM", "DATA-CLASSES", "AUDIT"]
    );
    let mcp = running.url("mcpUrl").trim_end_matches("/mcp");
    for wrong in [running.url("httpUrl"), mcp] {
        let (status, _, err) = get(dir.path(), wrong);
        assert_eq!(status, Some(1));
        assert!(err.contains("not a control plane's gRPC port"), "{wrong}: {err}");
    }
    let (status, _, err) = get(dir.path(), &grpc.replace("http:", "https:"));
    assert_eq!(status, Some(1));
    assert!(err.contains("speaks plain text"), "{err}");
}

#[test]
fn the_ready_file_goes_with_the_process_and_a_lost_token_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let ready = running.ready.clone();
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    assert!(!ready.exists());
    assert!(!String::from_utf8(output.stdout).unwrap().contains("PORTCULLIS_TOKEN"));

    std::fs::remove_file(dir.path().join("admin.token")).unwrap();
    let output = Running::start(dir.path()).end();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("is gone") && out.contains("PORTCULLIS_TOKEN"), "{out}");
}

#[test]
fn a_ready_file_of_a_later_process_stays() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let ready = running.ready.clone();
    let other = dir.path().join("other");
    std::fs::write(&other, "{}").unwrap();
    std::fs::rename(&other, &ready).unwrap();
    assert_eq!(running.end().status.code(), Some(0));
    assert!(ready.exists());
}
