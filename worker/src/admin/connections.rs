//! The admin endpoint's connections: few, short, and one request each.
//!
//! Every pod that reaches the port may open connections. They must neither take the descriptors that tasks need nor keep the kubelet's
//! probe from its answer: a probe that fails restarts the worker. So nobody waits in a queue for a place. A connection that is too many
//! costs the oldest one of the peer that has the most, and a crowd of one peer's throws out its own.

use std::{collections::VecDeque, io, net::IpAddr, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

/// The most connections at a time. Probes and Prometheus need a handful.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's header may take.
const HEADER: Duration = Duration::from_secs(5);
/// How long a connection may last, from its beginning to the end of its answer.
const EXCHANGE: Duration = Duration::from_secs(10);
/// The most bytes of a request's header, a few times what a probe sends.
const MAX_HEADER: usize = 16 * 1024;
/// The pause after an `accept` that failed: where there are no descriptors, the next would fail as well.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers requests, for ever.
pub async fn serve(listener: TcpListener, routes: Router) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => connections.add(peer.ip(), stream, routes.clone()),
            Err(error) if is_of_the_peer(&error) => debug!(%error, "a connection to the admin endpoint was given up"),
            Err(error) => {
                warn!(%error, "unable to accept a connection to the admin endpoint");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the connection had ended before it was accepted: the next may be waiting already.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<(IpAddr, AbortOnDropHandle<()>)>);

impl Connections {
    fn add(&mut self, peer: IpAddr, stream: TcpStream, routes: Router) {
        self.0.retain(|(_, exchange)| !exchange.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            let peers: Vec<IpAddr> = self.0.iter().map(|(peer, _)| *peer).collect();
            if let Some(place) = superfluous(&peers) {
                self.0.remove(place);
            }
        }
        self.0.push_back((peer, AbortOnDropHandle::new(tokio::spawn(exchange(stream, routes)))));
    }
}

/// The oldest connection of the peer that has the most, out of all of them from the oldest to the youngest.
fn superfluous(peers: &[IpAddr]) -> Option<usize> {
    let of = |peer: &IpAddr| peers.iter().filter(|other| *other == peer).count();
    // Of equal ones the last counts: that is the oldest.
    let oldest_last = peers.iter().enumerate().rev();
    oldest_last.max_by_key(|(_, peer)| of(peer)).map(|(place, _)| place)
}

/// One request and its answer. Another one takes another connection: none is idle.
async fn exchange(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(MAX_HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match timeout(EXCHANGE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the admin endpoint has failed"),
        Err(_) => debug!("a connection to the admin endpoint took too long"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
        time::Instant,
    };

    use super::*;

    async fn an_endpoint() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Router::new().route("/live", get(async || "ok\n"))));
        address
    }

    /// Connects from another address of this machine than the probe does.
    async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        socket.connect(to).await.unwrap()
    }

    async fn probe(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_probe_is_answered_while_a_thousand_idle_connections_are_open() {
        let address = an_endpoint().await;
        let mut idle = Vec::new();
        for number in 0..1000 {
            let mut stream = connect_from(2, address).await;
            if number % 2 == 0 {
                // An old one may be gone already.
                let _ = stream.write_all(b"GET /live HTTP/1.1\r\nHost:").await;
            }
            idle.push(stream);
        }
        let before = Instant::now();
        for _ in 0..3 {
            let answer = probe(address).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        }
        assert!(before.elapsed() < HEADER, "{:?}", before.elapsed());
        let mut open = 0;
        for stream in &mut idle {
            // Those that were thrown out have an end; the others have nothing yet.
            open += usize::from(timeout(Duration::from_millis(1), stream.read_u8()).await.is_err());
        }
        assert!(open <= MAX_CONNECTIONS, "{open}");
    }

    #[tokio::test]
    async fn a_connection_without_a_request_ends_by_itself() {
        let address = an_endpoint().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let before = Instant::now();
        slow.write_all(b"GET /live HTT").await.unwrap();
        let mut rest = Vec::new();
        // An end or a reset, either will do.
        let _ = timeout(EXCHANGE * 2, slow.read_to_end(&mut rest)).await.unwrap();
        assert!(before.elapsed() + Duration::from_secs(1) >= HEADER, "{:?}", before.elapsed());
    }

    #[test]
    fn a_crowd_of_one_peer_throws_out_its_own() {
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        assert_eq!(superfluous(&[one, two, two, three]), Some(1));
        assert_eq!(superfluous(&[one, two, three, three, two]), Some(1));
        assert_eq!(superfluous(&[one, two, three]), Some(0));
        assert_eq!(superfluous(&[]), None);
    }
}
