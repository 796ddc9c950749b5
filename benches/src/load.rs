//! An open-loop load generator: requests are due at fixed times whether or not earlier ones were answered, and a latency counts
//! from when its request was due. So a stall shows in every request that it delayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;

/// The longest latency that is told apart.
const HIGHEST: Duration = Duration::from_secs(60);

/// What to send, how often, how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The endpoint: `http://host:port/path`.
    pub url: Uri,
    /// Headers beside Host and Content-Length.
    pub headers: Vec<(String, String)>,
    /// The body of every request.
    pub body: Bytes,
    /// Requests a second.
    pub rate: u64,
    /// How long requests are due.
    pub duration: Duration,
    /// Keep-alive connections that share the requests.
    pub connections: usize,
    /// A text that the body of every good answer holds.
    pub expect: String,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Requests that were answered as expected.
    pub good: u64,
    /// Requests that were answered otherwise, or not.
    pub bad: u64,
    /// The first bad answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<String>,
    /// Good answers a second, over the whole run.
    pub rate: f64,
    /// Microseconds from due to answered, by percentile.
    pub micros: Percentiles,
    /// The same, each of them.
    #[serde(skip)]
    pub latencies: Histogram<u64>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// The plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL names no host.
    #[error("{0} is no http URL with a host")]
    Url(Uri),
    /// A connection failed before the run.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// A request cannot be made of the plan.
    #[error("a request cannot be made: {0}")]
    Request(#[from] http::Error),
    /// HTTP failed before the run.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// A histogram cannot be made.
    #[error("histogram: {0}")]
    Histogram(String),
}

struct Worker {
    good: u64,
    bad: u64,
    first_bad: Option<String>,
    latencies: Histogram<u64>,
}

/// Carries out a plan.
///
/// # Errors
/// When it cannot begin. What fails later is counted.
pub async fn run(plan: &Plan) -> Result<Report, LoadError> {
    let highest = u64::try_from(HIGHEST.as_micros()).unwrap_or(u64::MAX);
    let total = plan.rate.saturating_mul(plan.duration.as_secs());
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now() + Duration::from_millis(50);
    let mut workers = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let worker = Worker {
            good: 0,
            bad: 0,
            first_bad: None,
            latencies: Histogram::new_with_bounds(1, highest, 3)
                .map_err(|error| LoadError::Histogram(error.to_string()))?,
        };
        let sender = connect(&plan.url).await?;
        workers.push(tokio::spawn(work(plan.clone(), worker, sender, Arc::clone(&next), total, began)));
    }
    let mut all = Histogram::<u64>::new_with_bounds(1, highest, 3)
        .map_err(|error| LoadError::Histogram(error.to_string()))?;
    let (mut good, mut bad, mut first_bad) = (0, 0, None);
    for worker in workers {
        let Ok(worker) = worker.await else { continue };
        good += worker.good;
        bad += worker.bad;
        first_bad = first_bad.or(worker.first_bad);
        all.add(&worker.latencies).map_err(|error| LoadError::Histogram(error.to_string()))?;
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = good as f64 / began.elapsed().as_secs_f64();
    Ok(Report { good, bad, first_bad, rate, micros: Percentiles::of(&all), latencies: all })
}

impl Percentiles {
    /// Those of these latencies, in microseconds.
    #[must_use]
    pub fn of(latencies: &Histogram<u64>) -> Self {
        let at = |percentile| latencies.value_at_percentile(percentile);
        Self { p50: at(50.0), p90: at(90.0), p99: at(99.0), p999: at(99.9), max: latencies.max() }
    }
}

async fn connect(url: &Uri) -> Result<http1::SendRequest<Full<Bytes>>, LoadError> {
    let (Some(host), Some(port)) = (url.host(), url.port_u16()) else {
        return Err(LoadError::Url(url.clone()));
    };
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(plan: &Plan) -> Result<Request<Full<Bytes>>, http::Error> {
    let authority = plan.url.authority().map_or("", |authority| authority.as_str());
    let path = plan.url.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::post(path).header(header::HOST, authority);
    for (name, value) in &plan.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(plan.body.clone()))
}

async fn work(
    plan: Plan,
    mut worker: Worker,
    mut sender: http1::SendRequest<Full<Bytes>>,
    next: Arc<AtomicU64>,
    total: u64,
    began: Instant,
) -> Worker {
    loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        if turn >= total {
            return worker;
        }
        let due = began
            + Duration::from_nanos(1_000_000_000 / plan.rate.max(1))
                .saturating_mul(u32::try_from(turn).unwrap_or(u32::MAX));
        tokio::time::sleep_until(due.into()).await;
        match exchange(&plan, &mut sender).await {
            Ok(()) => worker.good += 1,
            Err(why) => {
                worker.bad += 1;
                worker.first_bad.get_or_insert(why);
                if sender.is_closed() {
                    match connect(&plan.url).await {
                        Ok(fresh) => sender = fresh,
                        Err(_) => return worker,
                    }
                }
            }
        }
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        worker.latencies.saturating_record(micros);
    }
}

async fn exchange(plan: &Plan, sender: &mut http1::SendRequest<Full<Bytes>>) -> Result<(), String> {
    let request = request(plan).map_err(|error| error.to_string())?;
    let ready = sender.ready().await;
    ready.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let found = body.windows(plan.expect.len().max(1)).any(|window| window == plan.expect.as_bytes());
    if status.is_success() && found {
        return Ok(());
    }
    Err(format!("{status}: {}", String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default())))
}
