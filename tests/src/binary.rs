//! The real binary, as processes that a test may kill.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::patience::PATIENCE;

/// The path of the binary, built if need be. `PORTCULLIS_BINARY` names another one.
///
/// # Panics
/// When it does not build.
pub fn path() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("PORTCULLIS_BINARY") {
            return path.into();
        }
        // target/PROFILE/deps/TEST
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "portcullis"]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the binary does not build");
        profile.join("portcullis")
    })
}

/// One process. Dropped, it is killed.
pub struct Process {
    child: Child,
    /// What its ready file said.
    pub ready: Value,
    /// What it logs.
    pub log: PathBuf,
}

impl Process {
    /// Starts a long-running command and waits until it serves. Its output goes to a file of this name in the directory.
    ///
    /// # Panics
    /// When it does not serve in time.
    #[must_use]
    pub fn start(dir: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut process = Self::spawn(dir, name, arguments);
        let ready = dir.join(format!("{name}.ready"));
        let since = Instant::now();
        while !ready.exists() {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("{name} ended with {status}: {}", std::fs::read_to_string(&process.log).unwrap());
            }
            assert!(since.elapsed() < PATIENCE, "{name} does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        process.ready = serde_json::from_slice(&std::fs::read(ready).unwrap()).unwrap();
        process
    }

    fn spawn(dir: &Path, name: &str, arguments: &[&str]) -> Self {
        let ready = dir.join(format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let log = dir.join(format!("{name}.log"));
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(path());
        command.args(arguments).arg("--ready-file").arg(&ready);
        // Nothing of the machine's own settings.
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("PORTCULLIS_")) {
            command.env_remove(variable);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::from(output.try_clone().unwrap()))
            .stderr(Stdio::from(output))
            .spawn()
            .unwrap();
        Self { child, ready: Value::Null, log }
    }

    /// One of the addresses of the ready file.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready)).to_owned()
    }

    /// Asks it to end, with SIGTERM.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ask_to_end(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Its exit status; none while it runs.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it with SIGKILL, at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command of the binary to its end: its status, output and errors.
///
/// # Panics
/// When it cannot be started.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(path()).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
