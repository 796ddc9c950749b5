//! A whole data plane, from its start to its end: ports, readiness, bounds of HTTP, and the drain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod sync_fake;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_data_plane::{Config, Running, StartError, start};
use sync_fake::{FakeControlPlane, soon, zones};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

fn config(control: &FakeControlPlane, dir: &Path) -> Config {
    let name = "plane-1".parse().unwrap();
    let mut config = Config::new(dir.to_owned(), name, control.url(), control.token().to_text());
    config.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.ops_listen = (Ipv4Addr::LOCALHOST, 0).into();
    config
}

struct Started {
    running: Running,
    shutdown: CancellationToken,
    control: FakeControlPlane,
    _dir: tempfile::TempDir,
}

async fn started() -> Started {
    let control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let running = start(config(&control, dir.path()), shutdown.clone()).await.unwrap();
    Started { running, shutdown, control, _dir: dir }
}

/// Sends text as it is, and reads the status line of what comes back; empty when the connection is closed.
async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The other side may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 512];
    let read = soon(stream.read(&mut answer)).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

async fn get(addr: SocketAddr, path: &str) -> String {
    raw(addr, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn a_plane_is_ready_when_it_enforces_something_and_introduces_itself_with_its_real_port() {
    let mut started = started().await;
    let ops = started.running.ops_addr;
    assert_eq!(get(ops, "/healthz").await, "HTTP/1.1 200 OK");
    assert_eq!(get(ops, "/readyz").await, "HTTP/1.1 503 Service Unavailable");
    let mut session = started.control.welcomed().await;
    assert_eq!(session.hello.mcp_url, format!("http://{}", started.running.mcp_addr));
    session.send(started.control.snapshot(1, &zones(3)).chunks(2)).await;
    session.ack().await;
    assert_eq!(get(ops, "/readyz").await, "HTTP/1.1 200 OK");
    assert_eq!(started.running.live.load().unwrap().version().0, 1);
    let unknown = get(started.running.mcp_addr, "/mcp").await;
    assert_eq!(unknown, "HTTP/1.1 401 Unauthorized", "without a key");
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_on_one_port() {
    let mut started = started().await;
    let mut session = started.control.welcomed().await;
    session.send(started.control.snapshot(1, &zones(3)).chunks(2)).await;
    session.ack().await;
    let stream = TcpStream::connect(started.running.mcp_addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/mcp", started.running.mcp_addr);
    let request = Request::post(uri).body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    answer.into_body().collect().await.unwrap();
    assert_eq!(get(started.running.mcp_addr, "/mcp").await, "HTTP/1.1 401 Unauthorized");
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let started = started().await;
    let addr = started.running.mcp_addr;
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\n";
    let long = format!("{head}x-long: {}\r\n\r\n", "a".repeat(200_000));
    assert_eq!(raw(addr, &long).await, "HTTP/1.1 431 Request Header Fields Too Large");
    let many: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    assert_eq!(raw(addr, &format!("{head}{many}\r\n")).await, "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(raw(addr, "NOT HTTP AT ALL\r\n\r\n").await, "HTTP/1.1 400 Bad Request");
}

#[tokio::test]
async fn a_shutdown_closes_the_port_says_so_and_ends() {
    let mut started = started().await;
    let (mcp, ops) = (started.running.mcp_addr, started.running.ops_addr);
    let mut session = started.control.welcomed().await;
    session.send(started.control.snapshot(1, &zones(3)).chunks(2)).await;
    session.ack().await;
    let idle = TcpStream::connect(mcp).await.unwrap();
    started.shutdown.cancel();
    soon(started.running.wait()).await;
    assert!(TcpStream::connect(mcp).await.is_err());
    assert!(TcpStream::connect(ops).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn an_abort_ends_a_plane_that_drains_as_well_as_one_that_serves() {
    for drains in [true, false] {
        let control = FakeControlPlane::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&control, dir.path());
        config.drain_timeout = Duration::from_hours(1);
        let (shutdown, abort) = (CancellationToken::new(), config.abort.clone());
        let running = start(config, shutdown.clone()).await.unwrap();
        if drains {
            shutdown.cancel();
        }
        abort.cancel();
        let begun = std::time::Instant::now();
        soon(running.wait()).await;
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn the_control_plane_may_ask_a_plane_to_end() {
    let mut started = started().await;
    let session = started.control.welcomed().await;
    let drain = portcullis_proto::config::v1::Drain { reason: "enough".to_owned() };
    session.tell(portcullis_proto::config::v1::attach_response::Message::Drain(drain)).await;
    soon(started.running.wait()).await;
    assert!(!started.shutdown.is_cancelled());
}

#[tokio::test]
async fn a_plane_starts_and_enforces_without_its_control_plane() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&control, dir.path());
    let shutdown = CancellationToken::new();
    let running = start(config.clone(), shutdown.clone()).await.unwrap();
    let mut session = control.welcomed().await;
    session.send(control.snapshot(9, &zones(3)).chunks(2)).await;
    session.ack().await;
    drop((session, control));
    shutdown.cancel();
    soon(running.wait()).await;
    let shutdown = CancellationToken::new();
    let running = start(config, shutdown.clone()).await.unwrap();
    assert_eq!(get(running.ops_addr, "/readyz").await, "HTTP/1.1 200 OK");
    assert_eq!(running.live.load().unwrap().version().0, 9);
    shutdown.cancel();
    soon(running.wait()).await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_the_start() {
    let control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let attempt = async |change: fn(&mut Config)| {
        let mut config = config(&control, dir.path());
        change(&mut config);
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        match start(config, shutdown).await {
            Ok(running) => {
                running.wait().await;
                None
            }
            Err(error) => Some(error),
        }
    };
    let everywhere = |config: &mut Config| config.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
    assert!(matches!(attempt(everywhere).await, Some(StartError::PlainListen(_))));
    let on_purpose = |config: &mut Config| {
        config.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
        config.insecure_listen = true;
    };
    assert!(attempt(on_purpose).await.is_none());
    let token = attempt(|config| config.plane_token = "pcl_not-a-plane-token".to_owned()).await.unwrap();
    assert!(matches!(token, StartError::Token(_)) && !token.to_string().contains("not-a-plane"), "{token}");
    let remote = attempt(|config| config.control_plane = "http://10.1.2.3:7410".to_owned()).await.unwrap();
    assert!(remote.to_string().contains("loopback only"), "{remote}");
    let origin = attempt(|config| config.allowed_origins.push("nonsense".to_owned())).await;
    assert!(matches!(origin, Some(StartError::Origin(_))));
    let name = format!("{:?}", config(&control, dir.path()));
    assert!(!name.contains("pcp_"), "{name}");
}

#[tokio::test]
async fn two_planes_do_not_share_a_directory() {
    let control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let running = start(config(&control, dir.path()), shutdown.clone()).await.unwrap();
    let second = start(config(&control, dir.path()), CancellationToken::new()).await;
    assert!(matches!(second, Err(StartError::Spool(_))));
    shutdown.cancel();
    soon(running.wait()).await;
    // The first one's files are free again.
    let shutdown = CancellationToken::new();
    let again = start(config(&control, dir.path()), shutdown.clone()).await.unwrap();
    shutdown.cancel();
    soon(again.wait()).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_asks_anything_is_let_go() {
    let started = started().await;
    let mut silent = TcpStream::connect(started.running.mcp_addr).await.unwrap();
    silent.write_all(b"PRI * HTTP/2").await.unwrap();
    let begun = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(begun.elapsed() < Duration::from_secs(120));
}
