//! The line between a worker and its Kubernetes API, which can be cut.

use std::net::{Ipv4Addr, SocketAddr};

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
/// nothing comes through.
pub(crate) struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Silent,
    Cut,
}

impl Line {
    /// A line that leads to `target`, a host and a port.
    pub(crate) async fn to(target: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("unable to open a line")?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(State::Whole);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, target.clone(), seen.clone()));
            }
        });
        Ok(Self { address, state, _task: AbortOnDropHandle::new(task) })
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Keeps every connection, and lets nothing through. Those on which there was something to say end when this does.
    pub(crate) fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    /// Lets connections through again.
    pub(crate) fn restore(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn pass(near: TcpStream, target: String, state: watch::Receiver<State>) {
    if *state.borrow() == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    // Small events have to arrive at once.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut cut = state.clone();
    tokio::select! {
        () = carry(near_in, far_out, state.clone()) => {}
        () = carry(far_in, near_out, state) => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Carries bytes, and the end of them, in one direction. Ends with either side, or when nobody holds the line any more.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if *state.borrow() == State::Silent {
            // What would have come is lost, as on a half-open connection: afterwards it ends.
            let _ = state.wait_for(|state| *state != State::Silent).await;
            return;
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
