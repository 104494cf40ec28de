//! A [`Front`] over TCP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Request;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::front::{Cut, Endpoint, Front};

/// A service that listens, until this is dropped.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Served {
    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves `front` on a free port of the loopback interface.
pub async fn serve<E: Endpoint>(front: Front<E>) -> std::io::Result<Served> {
    serve_at(Ipv4Addr::LOCALHOST.into(), front).await
}

/// Serves `front` on a free port of one of the machine's addresses.
pub async fn serve_at<E: Endpoint>(address: IpAddr, front: Front<E>) -> std::io::Result<Served> {
    let listener = TcpListener::bind((address, 0)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(accept(listener, front));
    Ok(Served { address, _task: AbortOnDropHandle::new(task) })
}

async fn accept<E: Endpoint>(listener: TcpListener, front: Front<E>) {
    // Dropped with this task: a stopped service leaves no connection behind.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Events are small and must arrive at once.
        let _ = stream.set_nodelay(true);
        let front = front.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| pass(front.clone(), request));
            // A client that goes away mid-request is everyday life here.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass<E: Endpoint>(
    front: Front<E>,
    request: Request<Incoming>,
) -> Result<http::Response<crate::front::Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    front.call(Request::from_parts(head, body)).await
}
