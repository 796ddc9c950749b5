//! From a command to a child that can be called: start it, find out its era, and keep its streams flowing.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portcullis_mcp::Revision;
use portcullis_policy::Reason;
use portcullis_policy::resource::Name;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::{Child, Pending, exited};
use super::frame;
use super::listeners::Listeners;
use super::process::{self, Group};
use crate::upstream::era::{self, Discovery, Spoken};
use crate::upstream::http::{Introduction, introduction};
use crate::upstream::stats::{UpstreamStats, count, uncount};
use crate::upstream::{UpstreamError, wire};

/// Messages that may wait to be written to a child.
const MAX_OUTGOING: usize = 256;
/// How long a child may think about `server/discover` before it is asked the older way as well.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(3);
/// Lines of stderr that are kept, and bytes of each.
const STDERR_LINES: usize = 64;
const STDERR_LINE: u64 = 4 << 10;

/// What a child said of itself.
#[derive(Debug)]
pub(in crate::upstream) struct Greeting {
    pub(in crate::upstream) spoken: Spoken,
    introduction: Option<Introduction>,
}

impl Greeting {
    /// What a legacy child said in the handshake.
    pub(in crate::upstream) const fn introduction(&self) -> Option<&Introduction> {
        self.introduction.as_ref()
    }

    /// The revision in use.
    pub(super) fn revision(&self) -> Revision {
        match (self.spoken, &self.introduction) {
            (Spoken::Modern(revision), _) => revision,
            (Spoken::Legacy, Some(introduction)) => introduction.revision,
            (Spoken::Legacy, None) => Revision::V2025_11_25,
        }
    }
}

/// What a start needs.
pub(super) struct Ground<'a> {
    pub(super) name: &'a Name,
    pub(super) spec: &'a portcullis_policy::resource::Stdio,
    pub(super) env: &'a std::collections::BTreeMap<String, String>,
    pub(super) grace: Duration,
    pub(super) kill: &'a CancellationToken,
    pub(super) max_line: &'a Arc<AtomicUsize>,
    pub(super) listeners: &'a Arc<Listeners>,
    pub(super) stats: &'a Arc<UpstreamStats>,
    pub(super) stop: &'a CancellationToken,
}

/// Starts a child and greets it.
pub(super) async fn start(ground: &Ground<'_>, assumed: Option<Spoken>) -> Result<Arc<Child>, UpstreamError> {
    let child = launch(ground)?;
    // Whatever ends this attempt also ends the child.
    let guard = child.stop.clone().drop_guard();
    let greeting = match greet(&child, assumed, ground.stats).await {
        Ok(greeting) => greeting,
        Err(error) if child.gone.is_cancelled() && assumed.is_none() => {
            // Some legacy servers end when the first message is no handshake.
            tracing::debug!(server = %ground.name, %error, "a child ended when asked for its era; trying the handshake");
            drop(guard);
            let child = launch(ground)?;
            let guard = child.stop.clone().drop_guard();
            let greeting = greet(&child, Some(Spoken::Legacy), ground.stats).await?;
            child.greeted(greeting);
            guard.disarm();
            return Ok(child);
        }
        Err(error) => return Err(error),
    };
    child.greeted(greeting);
    guard.disarm();
    Ok(child)
}

fn launch(ground: &Ground<'_>) -> Result<Arc<Child>, UpstreamError> {
    let started = process::start(ground.spec, ground.env).map_err(|error| {
        tracing::warn!(server = %ground.name, %error, "a child could not be started");
        UpstreamError::unsent(Reason::UpstreamUnavailable, "The server's process could not be started.")
            .because(&format!("{}: {error}", ground.spec.command))
    })?;
    count(&ground.stats.children_started_total);
    count(&ground.stats.children_running);
    let (outgoing, queue) = mpsc::channel(MAX_OUTGOING);
    let child = Arc::new(Child::new(
        ground.name.clone(),
        outgoing,
        Arc::clone(ground.listeners),
        Arc::clone(ground.stats),
        ground.stop.child_token(),
    ));
    let words = Arc::new(Mutex::new(VecDeque::new()));
    tokio::spawn(write(started.stdin, queue, child.stop.clone()));
    tokio::spawn(overhear(started.stderr, ground.name.clone(), Arc::clone(&words)));
    let life = Life {
        child: Arc::clone(&child),
        group: started.group,
        grace: ground.grace,
        kill: ground.kill.clone(),
        words,
        stats: Arc::clone(ground.stats),
    };
    let reader = {
        let (child, max_line, stdout) = (Arc::clone(&child), Arc::clone(ground.max_line), started.stdout);
        tokio::spawn(async move { child.read(stdout, &max_line).await })
    };
    tokio::spawn(life.watch(reader));
    Ok(child)
}

/// Finds out the era: by `server/discover`, and by the handshake where that tells nothing (2026-07-28, stdio page).
async fn greet(
    child: &Arc<Child>,
    assumed: Option<Spoken>,
    stats: &UpstreamStats,
) -> Result<Greeting, UpstreamError> {
    if assumed == Some(Spoken::Legacy)
        && let Ok(greeting) = handshake(child, shake_hands(child).await?).await
    {
        return Ok(greeting);
    }
    count(&stats.era_detections_total);
    let revision = era::newest();
    let params = wire::own_for_modern(None, revision)?;
    let ask = |_| Ok((Some(std::borrow::Cow::Borrowed(&*params)), None));
    let discovery = child.begin("server/discover", None, ask).await?.response();
    tokio::pin!(discovery);
    if let Ok(response) = tokio::time::timeout(DISCOVERY_PATIENCE, &mut discovery).await {
        return match judge(&response?)? {
            Some(greeting) => Ok(greeting),
            None => handshake(child, shake_hands(child).await?).await,
        };
    }
    // A slow modern server answers the first question yet, a silent legacy one the second.
    let hands = handshake(child, shake_hands(child).await?);
    tokio::pin!(hands);
    tokio::select! {
        response = &mut discovery => match judge(&response?)? {
            Some(greeting) => Ok(greeting),
            None => hands.await,
        },
        greeting = &mut hands => match greeting {
            Ok(greeting) => Ok(greeting),
            Err(error) if child.gone.is_cancelled() => Err(error),
            Err(error) => judge(&discovery.await?)?.ok_or(error),
        },
    }
}

fn judge(response: &Bytes) -> Result<Option<Greeting>, UpstreamError> {
    match era::discovery(response) {
        Discovery::Speaks(Spoken::Legacy) => Ok(None),
        Discovery::Speaks(spoken) => Ok(Some(Greeting { spoken, introduction: None })),
        Discovery::NothingInCommon => Err(era::nothing_in_common()),
    }
}

/// Sends `initialize`. A shared child is offered nothing that it would ask a client for.
async fn shake_hands(child: &Arc<Child>) -> Result<Pending, UpstreamError> {
    let params = wire::raw(format!(
        r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{}}}"#,
        Revision::V2025_11_25,
        wire::GATEWAY_INFO
    ));
    child.begin("initialize", None, |_| Ok((params.map(std::borrow::Cow::Owned), None))).await
}

async fn handshake(child: &Arc<Child>, asked: Pending) -> Result<Greeting, UpstreamError> {
    let response = asked.response().await?;
    let introduction = introduction(&response).map_err(|why| {
        tracing::debug!(server = %child.name, why, "a child did not take the handshake");
        UpstreamError::unsent(Reason::UpstreamError, "The server did not open a session.")
    })?;
    child.tell(wire::notification("notifications/initialized", None)).await?;
    Ok(Greeting { spoken: Spoken::Legacy, introduction: Some(introduction) })
}

/// Writes what waits, until the child is to end; then its input is closed, which is how it is told.
async fn write(mut input: ChildStdin, mut queue: mpsc::Receiver<Bytes>, stop: CancellationToken) {
    loop {
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            message = queue.recv() => message,
        };
        let Some(message) = message else { return };
        let written = async {
            input.write_all(&frame::one_line(&message)).await?;
            input.flush().await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            written = written => if written.is_err() { return },
        }
    }
}

/// Logs stderr, and keeps its last lines for the case that the child ends.
async fn overhear(stderr: ChildStderr, name: Name, words: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(STDERR_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                tracing::debug!(server = %name, stderr = %text, "a child writes");
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                if words.len() >= STDERR_LINES {
                    words.pop_front();
                }
                words.push_back(text);
            }
        }
    }
}

/// The end of a child: its own, or the one that is asked for.
struct Life {
    child: Arc<Child>,
    group: Group,
    grace: Duration,
    kill: CancellationToken,
    words: Arc<Mutex<VecDeque<String>>>,
    stats: Arc<UpstreamStats>,
}

impl Life {
    async fn watch(mut self, mut reader: tokio::task::JoinHandle<()>) {
        let stop = self.child.stop.clone();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = self.kill.cancelled() => None,
            how = self.group.ended() => Some(how),
            // It closed its output: nothing can be asked any more.
            _ = &mut reader => Some("closed its output".to_owned()),
        };
        // The writer ends with this and closes the child's input.
        stop.cancel();
        if let Some(how) = ended {
            count(&self.stats.children_exited_total);
            let words =
                self.words.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect::<Vec<_>>();
            tracing::warn!(server = %self.child.name, how, stderr = words.join("\n"), "a child ended");
            // What it wrote before its end is still read.
            if !reader.is_finished()
                && tokio::time::timeout(Duration::from_millis(200), &mut reader).await.is_err()
            {
                reader.abort();
            }
            self.child.over();
        } else {
            self.child.over();
        }
        // A group that is let go of is killed.
        tokio::select! {
            biased;
            () = self.kill.cancelled() => {}
            () = self.group.end(self.grace) => {}
        }
        reader.abort();
        uncount(&self.stats.children_running);
    }
}

/// The child ended before it could be greeted.
pub(super) fn startup_timed_out() -> UpstreamError {
    UpstreamError { reason: Reason::UpstreamTimeout, ..exited(false) }
}
