//! Room in memory for what has no small bound of its own: whoever finds none waits where waiting costs nothing.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const KIB: usize = 1024;

/// The room, in KiB: whatever is kept takes one at least, so that very many small things are bounded, too.
#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    kib: u32,
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken(OwnedSemaphorePermit);

impl Room {
    /// That many KiB.
    pub(crate) fn of(kib: u32) -> Self {
        let permits = usize::try_from(kib).unwrap_or(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), kib }
    }

    /// Waits for that many bytes of it, in turn. `None` never comes before the worker ends.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Taken> {
        self.free.clone().acquire_many_owned(self.kib(bytes)).await.ok().map(Taken)
    }

    /// Waits until there is any.
    pub(crate) async fn any(&self) {
        // Closed never.
        let _some = self.free.acquire().await;
    }

    /// That many bytes of it, or as much as there is at once. For what is there already: the next has to wait for it.
    pub(crate) fn take_up_to(&self, bytes: usize) -> Option<Taken> {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        self.free.clone().try_acquire_many_owned(self.kib(bytes).min(free)).ok().map(Taken)
    }

    /// Never more than there is: whoever asks for more gets all of it.
    fn kib(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(KIB)).unwrap_or(self.kib).clamp(1, self.kib)
    }
}

impl Taken {
    /// Gives back what is more than that.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let needed = bytes.div_ceil(KIB).max(1);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_waits_until_some_is_given_back() {
        let room = Room::of(10);
        let mut first = room.take(8 * KIB).await.unwrap();
        let second = room.take(3 * KIB);
        let mut second = std::pin::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        first.shrink_to(KIB);
        let second = second.await;
        drop((first, second));
        assert!(room.take(10 * KIB).now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_at_all_takes_a_little_and_what_is_too_much_takes_everything() {
        let room = Room::of(10);
        let nothing = room.take(0).await;
        assert!(room.take(usize::MAX).now_or_never().is_none());
        drop(nothing);
        assert!(room.take(usize::MAX).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_there_already_takes_what_is_left_and_the_next_has_to_wait() {
        let room = Room::of(10);
        let _first = room.take(8 * KIB).await;
        let second = room.take_up_to(100 * KIB);
        assert!(room.any().now_or_never().is_none());
        drop(second);
        assert!(room.any().now_or_never().is_some());
    }
}
