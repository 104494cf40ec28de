//! Work that takes a thread for long, such as parsing a megabyte: off the threads that heartbeats, the Lease and `/live` need, and one
//! piece at a time, so that one of these threads and the memory of one piece is all that it takes.

use std::{panic::resume_unwind, sync::Arc};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// What takes no longer than this many bytes do, a few milliseconds at most, is done on the spot.
pub(crate) const ON_THE_SPOT: usize = 64 * 1024;

/// Does long work, in turn. Clones are the same workshop.
#[derive(Debug, Clone)]
pub(crate) struct Workshop(Arc<Semaphore>);

impl Default for Workshop {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Workshop {
    /// Does work on so many bytes. A panic in it is the caller's.
    pub(crate) async fn work<T: Send + 'static>(&self, bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        if bytes <= ON_THE_SPOT {
            return work();
        }
        // Closed only when the worker ends. The work has it, which goes on if its caller does not wait for it, and the caller, so that
        // the thread is free when the next piece wants one: each further thread would keep memory of its own.
        let turn = Arc::new(self.0.clone().acquire_owned().await.ok());
        let worked = spawn_blocking({
            let turn = turn.clone();
            move || {
                let result = work();
                drop(turn);
                result
            }
        });
        match worked.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => result,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime ends, and with it whoever waits.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn short_work_is_done_on_the_spot_and_long_work_elsewhere() {
        let (here, workshop) = (thread::current().id(), Workshop::default());
        assert_eq!(workshop.work(ON_THE_SPOT, || thread::current().id()).await, here);
        assert_ne!(workshop.work(ON_THE_SPOT + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn long_work_is_done_one_piece_at_a_time() {
        static AT_IT: AtomicUsize = AtomicUsize::new(0);
        let workshop = Workshop::default();
        let pieces = (0..20).map(|_| {
            workshop.work(usize::MAX, || {
                let before = AT_IT.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
                AT_IT.fetch_sub(1, Ordering::SeqCst);
                before
            })
        });
        assert_eq!(join_all(pieces).await, [0; 20]);
    }
}
