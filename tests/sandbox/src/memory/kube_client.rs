//! The Kubernetes client's way to the API: a tower service that hands requests to a [`Link`].

use std::{
    future::{Ready, ready},
    io,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use kube::client::Body as KubeBody;
use tokio::net::TcpStream;
use tower::{BoxError, Service, service_fn};

use super::link::{Link, NoAnswer};
use crate::front::Body;

/// Where the API is. Nobody resolves it.
pub(super) const URL: &str = "http://kubernetes.sandbox";

/// A service whose requests take the link.
pub(super) fn service(
    link: Link,
) -> impl Service<
    Request<KubeBody>,
    Response = Response<Body>,
    Error = BoxError,
    Future = BoxFuture<'static, Result<Response<Body>, BoxError>>,
> + Clone
+ Send
+ 'static {
    service_fn(move |request| -> BoxFuture<'static, _> { Box::pin(exchange(link.clone(), request)) })
}

async fn exchange(link: Link, request: Request<KubeBody>) -> Result<Response<Body>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    match link.kubernetes(Request::from_parts(head, body)).await {
        Ok(response) => Ok(response),
        Err(NoAnswer::NoConnection) => Err(no_connection().await),
        Err(error) => Err(error.into()),
    }
}

/// The error that the real transport has for a connection that could not be made. It cannot be built, only met.
async fn no_connection() -> BoxError {
    type Refused = Ready<io::Result<TokioIo<TcpStream>>>;
    let refuse = service_fn(|_: Uri| -> Refused { ready(Err(io::ErrorKind::ConnectionRefused.into())) });
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(refuse);
    let request = Request::get(URL).body(Empty::new());
    match request {
        Ok(request) => match client.request(request).await {
            Ok(_) => NoAnswer::NoConnection.into(),
            Err(error) => error.into(),
        },
        Err(error) => error.into(),
    }
}
