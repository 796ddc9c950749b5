//! The floor: a bare reverse proxy on the same libraries as the gateway, which does nothing but pass on. What a hop costs at
//! least.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Incoming>;

/// Passes every request on to `target` until the process ends.
///
/// # Errors
/// When connections can no longer be accepted.
pub async fn serve(listener: TcpListener, target: Authority) -> std::io::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Arc<Upstream> = Arc::new(Client::builder(TokioExecutor::new()).build(connector));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, target) = (Arc::clone(&client), target.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| pass_on(Arc::clone(&client), target.clone(), request));
            // A connection that breaks concerns nobody else.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn pass_on(
    client: Arc<Upstream>,
    target: Authority,
    mut request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, http::Error> {
    let path =
        request.uri().path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() =
        Uri::builder().scheme(Scheme::HTTP).authority(target).path_and_query(path).build()?;
    request.headers_mut().remove(http::header::HOST);
    match client.request(request).await {
        Ok(response) => Ok(response.map(|body| body.boxed())),
        Err(_) => Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Full::default().map_err(|never| match never {}).boxed()),
    }
}
