//! An API server that takes nobody's identity: what it asks about them may be away, and that passes.

use runjob_core::refusal::AUTHENTICATION_PATIENCE;
use tokio::time::Instant;

/// How long reads have been answered with 401.
#[derive(Debug, Default)]
pub(super) struct Unauthenticated(Option<Instant>);

impl Unauthenticated {
    /// Whether an answer of that status is a 401 that is worth asking again: for as long as a create would.
    pub(super) fn may_pass(&mut self, status: u16) -> bool {
        if status != 401 {
            self.0 = None;
            return false;
        }
        self.0.get_or_insert_with(Instant::now).elapsed() < AUTHENTICATION_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_401_passes_or_is_believed_in_the_end() {
        let mut unauthenticated = Unauthenticated::default();
        assert!(unauthenticated.may_pass(401));
        tokio::time::advance(AUTHENTICATION_PATIENCE / 2).await;
        assert!(unauthenticated.may_pass(401));
        tokio::time::advance(AUTHENTICATION_PATIENCE).await;
        assert!(!unauthenticated.may_pass(401));
    }

    #[tokio::test(start_paused = true)]
    async fn another_answer_ends_the_trouble() {
        let mut unauthenticated = Unauthenticated::default();
        assert!(unauthenticated.may_pass(401));
        assert!(!unauthenticated.may_pass(200));
        tokio::time::advance(AUTHENTICATION_PATIENCE).await;
        assert!(unauthenticated.may_pass(401));
    }
}
