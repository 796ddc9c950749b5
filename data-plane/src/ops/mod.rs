//! The operations port: is it alive, is it ready, what is enforced, what is counted. Nothing secret, and no call passes here.

mod collect;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use portcullis_telemetry::{METRICS_CONTENT_TYPE, Metrics};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::ledger::Spool;
use crate::sync::{Live, SyncStatus};
use crate::upstream::UpstreamStats;

/// What the operations port shows.
#[derive(Debug, Clone)]
pub struct OpsParts {
    /// What is enforced.
    pub live: Live,
    /// How the synchronisation goes.
    pub sync: SyncStatus,
    /// Where records go.
    pub spool: Spool,
    /// What upstreams count.
    pub upstreams: Arc<UpstreamStats>,
    /// Everything that is counted.
    pub metrics: Metrics,
    /// Cancelled when the plane takes no new calls.
    pub draining: CancellationToken,
}

/// Answers requests of the operations port. Clones share it.
#[derive(Debug, Clone)]
pub struct Ops(Arc<OpsParts>);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotView {
    version: u64,
    digest: String,
    built_unix_ms: u64,
    age_seconds: u64,
    entries: u32,
    reports: usize,
    persisted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    persist_error: Option<String>,
    control_plane: ControlPlaneView,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ControlPlaneView {
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refusal: Option<RefusalView>,
}

#[derive(Debug, Serialize)]
struct RefusalView {
    version: u64,
    reason: String,
}

impl Ops {
    /// Puts it together, and registers the figures of its parts.
    #[must_use]
    pub fn new(parts: OpsParts) -> Self {
        collect::register(&parts);
        Self(Arc::new(parts))
    }

    /// Answers one request.
    #[must_use]
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let head = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => {
                let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
                refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                return refused;
            }
        };
        let mut response = match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match self.not_ready() {
                None => text(StatusCode::OK, "ready\n".to_owned()),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
            },
            "/metrics" => typed(StatusCode::OK, METRICS_CONTENT_TYPE, self.0.metrics.encode()),
            "/snapshot" => self.snapshot(),
            _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz, /metrics, /snapshot\n".to_owned()),
        };
        if head {
            *response.body_mut() = Full::default();
        }
        response
    }

    /// Why no call should be sent here now.
    fn not_ready(&self) -> Option<String> {
        if self.0.draining.is_cancelled() {
            return Some("the plane is draining".to_owned());
        }
        if self.0.live.load().is_none() {
            return Some("no snapshot is in force yet".to_owned());
        }
        self.0.spool.check().err().map(|full| full.to_string())
    }

    fn snapshot(&self) -> Response<Full<Bytes>> {
        let Some(snapshot) = self.0.live.load() else {
            let none = serde_json::json!({ "error": "no snapshot is in force yet" });
            return typed(StatusCode::SERVICE_UNAVAILABLE, "application/json", none.to_string());
        };
        let header = snapshot.header();
        let age = unix_now().saturating_sub(Duration::from_millis(header.built_unix_ms));
        let sync = &self.0.sync;
        let unsaved = sync.unsaved();
        let view = SnapshotView {
            version: header.version.0,
            digest: header.digest.to_string(),
            built_unix_ms: header.built_unix_ms,
            age_seconds: age.as_secs(),
            entries: header.entries,
            reports: snapshot.reports().len(),
            persisted: unsaved.is_none(),
            persist_error: unsaved,
            control_plane: ControlPlaneView {
                connected: sync.is_connected(),
                last_refusal: sync
                    .last_refusal()
                    .map(|refusal| RefusalView { version: refusal.version.0, reason: refusal.reason }),
            },
        };
        match serde_json::to_string(&view) {
            Ok(json) => typed(StatusCode::OK, "application/json", json),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
