//! The operations port says whether calls may be sent here, what is enforced, and what was counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod sync_fake;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use portcullis_data_plane::ledger::{Spool, SpoolConfig};
use portcullis_data_plane::ops::{Ops, OpsParts};
use portcullis_telemetry::Metrics;
use sync_fake::{FakeControlPlane, Plane, zones};
use tokio_util::sync::CancellationToken;

struct Port {
    ops: Ops,
    draining: CancellationToken,
    _dir: tempfile::TempDir,
}

fn port(plane: &Plane, spool: SpoolConfig) -> (Port, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), spool).unwrap();
    let draining = CancellationToken::new();
    let ops = Ops::new(OpsParts {
        live: plane.synced.live.clone(),
        sync: plane.synced.status.clone(),
        spool: spool.clone(),
        upstreams: Arc::default(),
        metrics: Metrics::default(),
        draining: draining.clone(),
    });
    (Port { ops, draining, _dir: dir }, spool)
}

impl Port {
    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.ops.answer(&Request::get(path).body(()).unwrap());
        (response.status(), text(response).await)
    }
}

async fn text(response: Response<Full<Bytes>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn it_is_ready_from_the_first_snapshot_on_until_it_drains() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let (port, _spool) = port(&plane, SpoolConfig::default());
    assert_eq!(port.get("/healthz").await.0, StatusCode::OK, "alive before it is ready");
    let (status, why) = port.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("no snapshot"), "{why}");
    assert_eq!(port.get("/snapshot").await.0, StatusCode::SERVICE_UNAVAILABLE);

    let mut session = control.welcomed().await;
    let signed = control.snapshot(3, &zones(4));
    session.send(signed.chunks(2)).await;
    session.ack().await;
    assert_eq!(port.get("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));

    port.draining.cancel();
    let (status, why) = port.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("draining"), "{why}");
    assert_eq!(port.get("/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn it_is_not_ready_while_records_have_no_place() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    session.send(control.snapshot(1, &zones(1)).chunks(2)).await;
    session.ack().await;
    let (port, spool) = port(&plane, SpoolConfig { max_places: 1, ..SpoolConfig::default() });
    let place = spool.reserve().unwrap();
    let (status, why) = port.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("records"), "{why}");
    drop(place);
    assert_eq!(port.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_snapshot_in_force_is_described_with_the_refusal_that_stands() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let (port, _spool) = port(&plane, SpoolConfig::default());
    let mut session = control.welcomed().await;
    let signed = control.snapshot(3, &zones(4));
    session.send(signed.chunks(2)).await;
    session.ack().await;
    session.send(control.snapshot(2, &zones(4)).chunks(2)).await;
    session.nack().await;
    let (status, body) = port.get("/snapshot").await;
    assert_eq!(status, StatusCode::OK);
    let view: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(view["version"], 3);
    let hex: String = signed.header.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(view["digest"], format!("sha256:{hex}"));
    assert_eq!(view["builtUnixMs"], signed.header.built_unix_ms);
    assert!(view["ageSeconds"].as_u64().unwrap() > 0);
    assert_eq!(view["entries"], 4);
    assert_eq!(view["controlPlane"]["connected"], true);
    assert_eq!(view["controlPlane"]["lastRefusal"]["version"], 2);
}

#[tokio::test]
async fn metrics_tell_of_snapshot_spool_and_control_plane_each_once() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let (port, _spool) = port(&plane, SpoolConfig::default());
    let mut session = control.welcomed().await;
    session.send(control.snapshot(3, &zones(4)).chunks(2)).await;
    session.ack().await;
    let (status, body) = port.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "portcullis_snapshot_version 3",
        "portcullis_snapshot_entries 4",
        "portcullis_control_plane_connected 1",
        "portcullis_snapshots_applied_total 1",
        "portcullis_snapshots_refused_total 0",
        "portcullis_audit_records_total 0",
        "portcullis_audit_places 0",
        "portcullis_upstream_requests_total 0",
        "portcullis_upstream_sessions_open 0",
    ] {
        assert_eq!(body.lines().filter(|found| *found == line).count(), 1, "{line} in\n{body}");
    }
    assert!(body.contains("portcullis_build{version="), "{body}");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_and_head_has_no_body() {
    let control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let (port, _spool) = port(&plane, SpoolConfig::default());
    assert_eq!(port.get("/mcp").await.0, StatusCode::NOT_FOUND);
    let post = port.ops.answer(&Request::post("/healthz").body(()).unwrap());
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.headers()["allow"], "GET, HEAD");
    let head = port.ops.answer(&Request::head("/healthz").body(()).unwrap());
    assert_eq!((head.status(), text(head).await), (StatusCode::OK, String::new()));
}
