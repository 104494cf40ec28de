//! A process that is frozen for longer than the network remembers its connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use crate::world::World;

/// Longer than the function takes its connections for good: it judges by the time of day, which nobody can pause for a process.
const FROZEN: Duration = Duration::from_secs(65);

/// A network address translation on the way to the API server: it can forget the connections there are, and tells nobody.
struct Nat {
    address: SocketAddr,
    seen: Arc<Seen>,
    forgotten: watch::Sender<usize>,
    _forwarding: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// How many requests came over forgotten ones: nobody answers those.
    lost: AtomicUsize,
}

impl Nat {
    async fn before(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, (forgotten, forgets)) = (Arc::<Seen>::default(), watch::channel(0));
        let noting = seen.clone();
        let forwarding = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                noting.connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, server, noting.clone(), forgets.clone()));
            }
        });
        Self { address, seen, forgotten, _forwarding: AbortOnDropHandle::new(forwarding) }
    }

    fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn lost(&self) -> usize {
        self.seen.lost.load(Ordering::SeqCst)
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, seen: Arc<Seen>, mut forgets: watch::Receiver<usize>) {
    forgets.borrow_and_update();
    tokio::select! {
        _ended = copy_bidirectional(&mut client, &mut server) => return,
        _forgotten = forgets.changed() => {}
    }
    let mut nowhere = [0; 1024];
    while client.read(&mut nowhere).await.is_ok_and(|read| read > 0) {
        seen.lost.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_process_that_was_frozen_for_a_minute_sends_nothing_over_its_old_connections() {
    let world = World::new().await;
    let nat = Nat::before(&world.sandbox.kube_url()).await;
    world.lead_by(&format!("http://{}", nat.address));
    let call = json!({"Action": "call", "Method": "GET", "Path": "/version"});
    for _ in 0..2 {
        world.invoke(&call).await.unwrap();
    }
    assert_eq!(nat.connections(), 1, "what is young is used again");
    tokio::time::sleep(FROZEN).await;
    nat.forget();
    world.invoke(&call).await.unwrap();
    assert_eq!((nat.connections(), nat.lost()), (2, 0));
    assert_eq!(world.function.environments().len(), 1);
}
