//! The release binary as a user runs it: `up` in a directory of its own, and the command line beside it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Why a program could not be measured.
pub type Error = Box<dyn std::error::Error>;

/// A child that does not outlive us.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both planes in one process.
#[derive(Debug)]
pub struct Gateway {
    child: Guard,
    program: PathBuf,
    directory: PathBuf,
    addresses: Value,
}

impl Gateway {
    /// Starts it on free ports and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(program: &Path) -> Result<Self, Error> {
        let directory = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let ready = directory.join("ready.json");
        let mut command = Command::new(program);
        command.args(["up", "--log", "warn", "--data-dir"]).arg(directory.join("data"));
        command.arg("--ready-file").arg(&ready);
        for flag in ["--listen", "--ops-listen", "--grpc-listen", "--http-listen"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        let child = Guard(command.stdout(Stdio::null()).spawn()?);
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Ok(text) = std::fs::read_to_string(&ready) {
                let addresses = serde_json::from_str(&text)?;
                return Ok(Self { child, program: program.to_owned(), directory, addresses });
            }
        }
        Err("the gateway did not become ready".into())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The endpoint `/mcp`.
    #[must_use]
    pub fn url(&self) -> String {
        self.address("mcpUrl")
    }

    fn address(&self, name: &str) -> String {
        self.addresses.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// One command of the command line; gives what it prints as JSON.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn cli(&self, args: &[&str]) -> Result<Value, Error> {
        let output = Command::new(&self.program)
            .args(args)
            .args(["-o", "json"])
            .env("PORTCULLIS_SERVER", self.address("grpcUrl"))
            .env("PORTCULLIS_DATA_DIR", self.directory.join("data"))
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Writes documents to a file that `apply -f` takes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, documents: &[String]) -> Result<PathBuf, Error> {
        let file = self.directory.join(name);
        std::fs::write(&file, documents.join("\n---\n"))?;
        Ok(file)
    }

    /// Applies a file.
    ///
    /// # Errors
    /// What `apply` says when it refuses.
    pub fn apply(&self, file: &Path) -> Result<Value, Error> {
        self.cli(&["apply", "-f", &file.to_string_lossy()])
    }

    /// Registers the server `bench` at `upstream`, whose tools are approved as they come, and the key `bench` that may call them
    /// all. Gives the key's secret when `bench_kilobyte` can be called.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn serve(&self, upstream: &str) -> Result<String, Error> {
        let server = json!({
            "transport": { "streamableHttp": { "url": upstream } },
            "tools": { "newTools": "approve" },
        });
        let documents = [document("McpServer", "bench", &server), key("bench", &["*"])];
        let applied = self.apply(&self.file("bench.yaml", &documents)?)?;
        let secret = applied.pointer("/keys/0/secret").and_then(Value::as_str).ok_or("no key")?.to_owned();
        for _ in 0..200 {
            let explained = self.cli(&["explain", "--key", "bench", "--tool", "bench_kilobyte"])?;
            if explained.get("decision").and_then(Value::as_str) == Some("permit") {
                return Ok(secret);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("the bench server's tool did not come into force".into())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // What it leaves behind is in the directory for temporary files.
        let _ = self.child.0.kill();
        let _ = self.child.0.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// One document of `apply -f`.
#[must_use]
pub fn document(kind: &str, name: &str, spec: &Value) -> String {
    json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
        .to_string()
}

/// A virtual key for tools of the server `bench`.
#[must_use]
pub fn key(name: &str, tools: &[&str]) -> String {
    let spec = json!({
        "principal": { "kind": "workload", "subject": name },
        "grants": [{ "server": "bench", "allow": tools }],
    });
    document("VirtualKey", name, &spec)
}
