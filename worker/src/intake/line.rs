//! Where tasks line up while the API is in trouble: the first one tries again and again, the others wait behind it, also those that
//! come only now. Each trying for itself, the ones that have waited longest would wait longest between their attempts, and newcomers would
//! overtake them.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// The line. Clones are the same line.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Mutex<()>>);

/// The first place in the line, until this is dropped. The next in the line has it then.
#[derive(Debug)]
pub(super) struct First(#[expect(dead_code, reason = "it is what it keeps locked")] OwnedMutexGuard<()>);

impl Line {
    /// Waits behind everybody who is in the line, if there is anybody. `None`: nobody is, and the way is free.
    pub(super) async fn behind_others(&self) -> Option<First> {
        if self.0.try_lock().is_ok() { None } else { Some(self.first().await) }
    }

    /// Waits at the end of the line until this is the first.
    pub(super) async fn first(&self) -> First {
        First(self.0.clone().lock_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn newcomers_wait_behind_whoever_is_in_the_line() {
        let line = Line::default();
        assert!(line.behind_others().await.is_none());
        let first = line.first().await;
        let mut second = Box::pin(line.first());
        assert!(second.as_mut().now_or_never().is_none());
        let mut newcomer = Box::pin(line.behind_others());
        assert!(newcomer.as_mut().now_or_never().is_none());
        drop(first);
        assert!(newcomer.as_mut().now_or_never().is_none());
        drop(second.await);
        assert!(newcomer.await.is_some());
        assert!(line.behind_others().await.is_none());
    }
}
