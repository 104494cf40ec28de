//! The line between a worker, or a function, and its Kubernetes API, which can be cut.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// Passes TCP connections on. While it is cut, connections end, and new ones end at once; while it is silent, they stay, and
/// nothing comes through. One may be forgotten as well, as a network address translation forgets: that connection is silent from then on.
pub struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
    seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    way: Way,
    /// How many connections, from the first on, are forgotten.
    forgotten: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Silent,
    Cut,
}

impl State {
    /// Whether nothing comes through on the connection of that number.
    fn swallows(self, number: usize) -> bool {
        self.way == Way::Silent || number < self.forgotten
    }
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    lost: AtomicUsize,
}

impl Line {
    /// A line that leads to `target`, a host and a port.
    pub async fn to(target: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("unable to open a line")?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State { way: Way::Whole, forgotten: 0 });
        let seen = Arc::<Seen>::default();
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = noted.connections.fetch_add(1, Ordering::SeqCst);
                let on = Connection { number, state: states.clone(), seen: noted.clone() };
                tokio::spawn(pass(near, target.clone(), on));
            }
        });
        Ok(Self { address, state, seen, _task: AbortOnDropHandle::new(task) })
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.turn(Way::Cut);
    }

    /// Keeps every connection, and lets nothing through. Those on which there was something to say end when this does.
    pub fn silence(&self) {
        self.turn(Way::Silent);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.turn(Way::Whole);
    }

    /// Forgets the connections there are. Nobody is told, and new ones come through.
    pub fn forget(&self) {
        let forgotten = self.connections();
        self.state.send_modify(|state| state.forgotten = forgotten);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How often there was something to say that did not come through.
    pub fn lost(&self) -> usize {
        self.seen.lost.load(Ordering::SeqCst)
    }

    fn turn(&self, way: Way) {
        self.state.send_modify(|state| state.way = way);
    }
}

/// One connection on the line.
#[derive(Clone)]
struct Connection {
    number: usize,
    state: watch::Receiver<State>,
    seen: Arc<Seen>,
}

async fn pass(near: TcpStream, target: String, connection: Connection) {
    if connection.state.borrow().way == Way::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    // Small events have to arrive at once.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut cut = connection.state.clone();
    tokio::select! {
        () = carry(near_in, far_out, connection.clone()) => {}
        () = carry(far_in, near_out, connection) => {}
        _ = cut.wait_for(|state| state.way == Way::Cut) => {}
    }
}

/// Carries bytes, and the end of them, in one direction. Ends with either side, or when nobody holds the line any more.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, connection: Connection) {
    let Connection { number, mut state, seen } = connection;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if state.borrow().swallows(number) {
            seen.lost.fetch_add(usize::from(length > 0), Ordering::SeqCst);
            // What would have come is lost, as on a half-open connection: afterwards it ends.
            let _ = state.wait_for(|state| !state.swallows(number)).await;
            return;
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
