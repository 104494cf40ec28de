//! Room for captured logs. While Step Functions is away, the logs of every Job that ends wait here for their answer.
//!
//! Those of succeeding Jobs share a fixed room: their pods stay, so a capture that finds no room waits, and costs nothing. Those
//! of failing Jobs cannot wait, since their pods are about to go, and take none of it; they are small, as a cause is.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the logs of all succeeding Jobs may take together, in KiB: 64 MiB. That is nearly three hundred outputs of the largest
/// kind, and a third of what a worker with its Jobs should take.
pub(super) const MAX_ROOM: u32 = 64 * 1024;
const KIB: usize = 1024;

/// The room, in KiB: a capture takes one at least, so that very many small ones are bounded, too.
pub(super) struct Room(Arc<Semaphore>);

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken(OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self::of(MAX_ROOM)
    }
}

impl Room {
    fn of(kib: u32) -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(kib).unwrap_or(Semaphore::MAX_PERMITS))))
    }

    /// Waits for that many bytes of it, in turn. `None` never comes before the worker ends.
    pub(super) async fn take(&self, bytes: usize) -> Option<Taken> {
        self.0.clone().acquire_many_owned(kib(bytes)).await.ok().map(Taken)
    }

    /// That many bytes of it, if they can be had at once.
    pub(super) fn take_at_once(&self, bytes: usize) -> Option<Taken> {
        self.0.clone().try_acquire_many_owned(kib(bytes)).ok().map(Taken)
    }
}

impl Taken {
    /// Gives back what is more than that.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let needed = usize::try_from(kib(bytes)).unwrap_or(usize::MAX);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
    }
}

/// Never more than there is: whoever asks for more gets all of it.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(MAX_ROOM).clamp(1, MAX_ROOM)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_waits_until_some_is_given_back() {
        let room = Room::of(10);
        let mut first = room.take(8 * KIB).await.unwrap();
        assert!(room.take_at_once(3 * KIB).is_none());
        let second = room.take(3 * KIB);
        let mut second = std::pin::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        first.shrink_to(KIB);
        let second = second.await.unwrap();
        assert!(room.take_at_once(7 * KIB).is_none());
        drop((first, second));
        assert!(room.take_at_once(10 * KIB).is_some());
    }

    #[tokio::test]
    async fn nothing_at_all_takes_a_little_and_what_is_too_much_takes_everything() {
        let room = Room::default();
        let nothing = room.take(0).await;
        assert!(room.take_at_once(usize::MAX).is_none());
        drop(nothing);
        assert!(room.take_at_once(usize::MAX).is_some());
    }
}
