use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use portcullis_listen::Listener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Answering, Response, serve};

/// A server whose handler says that it began, and answers when it is let.
struct Server {
    addr: SocketAddr,
    shutdown: CancellationToken,
    abort: CancellationToken,
    begun: mpsc::Receiver<SocketAddr>,
    let_answer: Arc<Notify>,
    task: JoinHandle<()>,
}

fn server(drain: Duration) -> Server {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None).unwrap();
    let addr = listener.local_addr();
    let (shutdown, abort) = (CancellationToken::new(), CancellationToken::new());
    let (begin, begun) = mpsc::channel(8);
    let let_answer = Arc::new(Notify::new());
    let may = Arc::clone(&let_answer);
    let handler = Arc::new(move |_, peer| {
        let (begin, may) = (begin.clone(), Arc::clone(&may));
        Box::pin(async move {
            begin.send(peer).await.unwrap();
            may.notified().await;
            Response::new(Full::new(Bytes::from_static(b"done")))
        }) as Answering<_>
    });
    let serving = serve(listener.incoming(shutdown.clone()), handler, shutdown.clone(), drain, abort.clone());
    let task = tokio::spawn(serving);
    Server { addr, shutdown, abort, begun, let_answer, task }
}

async fn ask(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test]
async fn a_call_that_runs_ends_during_the_drain_and_an_idle_connection_is_closed() {
    let mut server = server(Duration::from_secs(30));
    let mut calling = ask(server.addr).await;
    assert_eq!(server.begun.recv().await, Some(calling.local_addr().unwrap()));
    let mut idle = ask(server.addr).await;
    server.begun.recv().await.unwrap();
    // Whoever waits first is let go first: the call, then the one that becomes idle.
    server.let_answer.notify_waiters();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    calling.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.begun.recv().await.unwrap();

    server.shutdown.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(!server.task.is_finished(), "the call still runs");
    server.let_answer.notify_one();
    let mut answers = String::new();
    calling.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("done").count(), 2, "{answers}");
    timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_runs_longer_than_the_drain_is_cut() {
    let mut server = server(Duration::from_millis(50));
    let mut calling = ask(server.addr).await;
    server.begun.recv().await.unwrap();
    server.shutdown.cancel();
    timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
    let mut answer = Vec::new();
    let _ = calling.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn an_abort_cuts_what_runs_without_waiting_for_the_drain() {
    let mut server = server(Duration::from_hours(1));
    let mut calling = ask(server.addr).await;
    server.begun.recv().await.unwrap();
    server.shutdown.cancel();
    server.abort.cancel();
    timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
    let mut answer = Vec::new();
    let _ = calling.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
}
