//! One child process with its group: started with an environment of its own, ended with everything that it started.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio as Pipe;
use std::time::Duration;

use portcullis_policy::resource::Stdio;
use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use rustix::process::Signal;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// Kills the whole group when it is let go of.
#[derive(Debug)]
pub(super) struct Group(Box<dyn ChildWrapper>);

/// A child that was just started.
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// Starts the child as the leader of a new group. Its environment is `base` and what the server names, nothing else.
pub(super) fn start(spec: &Stdio, base: &BTreeMap<String, String>) -> io::Result<Started> {
    let mut command = CommandWrap::with_new(&spec.command, |command| {
        command
            .args(&spec.args)
            .env_clear()
            .envs(base)
            .envs(&spec.env)
            .stdin(Pipe::piped())
            .stdout(Pipe::piped())
            .stderr(Pipe::piped());
    });
    command.wrap(ProcessGroup::leader()).wrap(KillOnDrop);
    let mut group = Group(command.spawn()?);
    let missing = || io::Error::other("a standard stream of the child is missing");
    let stdin = group.0.stdin().take().ok_or_else(missing)?;
    let stdout = group.0.stdout().take().ok_or_else(missing)?;
    let stderr = group.0.stderr().take().ok_or_else(missing)?;
    Ok(Started { group, stdin, stdout, stderr })
}

impl Group {
    /// Waits until the leader has ended, and gives how.
    pub(super) async fn ended(&mut self) -> String {
        match self.0.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends the group after its input was closed: first by itself, then by SIGTERM, at last by SIGKILL.
    pub(super) async fn end(mut self, grace: Duration) {
        let half = grace / 2;
        if tokio::time::timeout(half, self.ended()).await.is_ok() {
            return;
        }
        // An error means that the group is gone already.
        let _ = self.0.signal(Signal::TERM.as_raw());
        let _ = tokio::time::timeout(half, self.ended()).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Also after the leader has ended: what it started may live on. An error means that nothing does.
        let _ = self.0.start_kill();
    }
}
