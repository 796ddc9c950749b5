//! One legacy session at one HTTP server: what `initialize` agreed on, and its end.
//!
//! A session ends with DELETE when nobody uses it any more, whoever let go of it last.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use portcullis_mcp::{Revision, headers};
use portcullis_policy::resource::Uid;
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use super::client::{HttpClient, Outgoing};
use crate::upstream::UpstreamSessionRef;
use crate::upstream::stats::{UpstreamStats, count, uncount};

/// How long the end of a session may take; nobody waits for it.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);

/// Resources that one session may be subscribed to at its server.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// What the server said of itself in `initialize`.
#[derive(Debug)]
pub(in crate::upstream) struct Introduction {
    pub(in crate::upstream) revision: Revision,
    pub(in crate::upstream) capabilities: Box<RawValue>,
    pub(in crate::upstream) server_info: Option<Box<RawValue>>,
    pub(in crate::upstream) instructions: Option<String>,
}

/// An open session.
pub(in crate::upstream) struct HttpSession {
    server: Uid,
    id: Option<HeaderValue>,
    pub(in crate::upstream) introduction: Introduction,
    /// Whether the client's own capabilities were offered, so that the server may send it requests.
    pub(super) answers: bool,
    level: Mutex<Option<String>>,
    subscriptions: Mutex<HashSet<String>>,
    over: AtomicBool,
    client: Arc<HttpClient>,
    stats: Arc<UpstreamStats>,
}

impl std::fmt::Debug for HttpSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSession").field("server", &self.server).finish_non_exhaustive()
    }
}

impl HttpSession {
    pub(super) fn new(
        server: Uid,
        id: Option<HeaderValue>,
        introduction: Introduction,
        answers: bool,
        client: Arc<HttpClient>,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        count(&stats.sessions_open);
        count(&stats.sessions_opened_total);
        let (level, subscriptions) = (Mutex::default(), Mutex::default());
        let over = AtomicBool::new(false);
        Self { server, id, introduction, answers, level, subscriptions, over, client, stats }
    }

    /// The headers that every request of this session carries.
    pub(super) fn headers(&self, method: &str) -> HeaderMap {
        session_headers(self.id.as_ref(), self.introduction.revision, method)
    }

    /// The session as a value.
    pub(super) fn reference(&self) -> UpstreamSessionRef {
        UpstreamSessionRef {
            server: self.server,
            session_id: self.id.as_ref().and_then(|id| id.to_str().ok()).map(str::to_owned),
            protocol_version: self.introduction.revision.as_str().to_owned(),
        }
    }

    /// Whether the server gave it an id, so that it can expire.
    pub(super) const fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Whether it is over, so that another must be opened.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The server forgot it: there is nothing left to end.
    pub(super) fn expired(&self) {
        if !self.over.swap(true, Ordering::AcqRel) {
            count(&self.stats.sessions_expired_total);
        }
    }

    /// Whether the level of log messages has to be set first; it counts as set from now on.
    pub(super) fn takes_level(&self, level: &str) -> bool {
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() == Some(level) {
            return false;
        }
        *current = Some(level.to_owned());
        true
    }

    /// Whether updates of a resource have to be asked for first; they count as asked for from now on.
    pub(super) fn takes_subscription(&self, uri: &str) -> bool {
        let mut known = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_SUBSCRIPTIONS && known.insert(uri.to_owned())
    }

    /// Updates of a resource are wanted no longer.
    pub(super) fn drops_subscription(&self, uri: &str) {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).remove(uri);
    }

    /// Ends it at the server.
    pub(in crate::upstream) async fn end(&self) {
        if let Some(headers) = self.take_end() {
            delete(&self.client, headers).await;
        }
    }

    /// The headers of the DELETE, once.
    fn take_end(&self) -> Option<HeaderMap> {
        let first = !self.over.swap(true, Ordering::AcqRel);
        (first && self.id.is_some()).then(|| self.headers(""))
    }
}

impl Drop for HttpSession {
    fn drop(&mut self) {
        uncount(&self.stats.sessions_open);
        if let (Some(headers), Ok(runtime)) = (self.take_end(), Handle::try_current()) {
            let client = Arc::clone(&self.client);
            runtime.spawn(async move { delete(&client, headers).await });
        }
    }
}

/// What a session's requests carry: its id and, where the revision wants it, its revision.
pub(super) fn session_headers(id: Option<&HeaderValue>, revision: Revision, method: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    headers::compose(&mut map, revision, method, None, &[], None);
    if let Some(id) = id {
        map.insert(headers::SESSION_ID, id.clone());
    }
    map
}

async fn delete(client: &HttpClient, headers: HeaderMap) {
    // 405 means that the server ends its sessions itself; any failure leaves that to its own expiry.
    let ended = tokio::time::timeout(DELETE_TIMEOUT, client.send(Outgoing::delete(headers))).await;
    if !matches!(&ended, Ok(Ok(response)) if response.status().is_success()) {
        tracing::debug!("an upstream did not take the end of a session");
    }
}
