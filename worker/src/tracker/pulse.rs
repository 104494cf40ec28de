//! What others wait for of the tracker: its first lists, and its signs of life.

use std::{collections::BTreeSet, time::Duration};

use runjob_core::progress::Moment;
use tokio::sync::watch;

use super::TICK;
use crate::{cluster::Scope, liveness::Sign};

/// The tracker's loop turns at least once in each [`TICK`]; what it does in a turn takes milliseconds. On a machine that is crowded
/// out, or while a list of very many Jobs comes in, a few ticks may be missed.
const STUCK: Duration = Duration::from_secs(30);

/// Whether anything is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Something is.
    Busy,
    /// Nothing is, and nothing will be before that moment, unless there is news. `None`: at all.
    Until(Option<Moment>),
}

/// What others wait for.
#[derive(Debug)]
pub struct Pulse {
    sign: Sign,
    idle: watch::Sender<Idle>,
    unlisted: watch::Sender<BTreeSet<Scope>>,
}

const _: () = assert!(TICK.as_secs() * 6 <= STUCK.as_secs());

impl Pulse {
    /// These scopes are still to be listed.
    pub fn new(scopes: impl IntoIterator<Item = Scope>, sign: Sign) -> Self {
        Self { sign, idle: watch::Sender::new(Idle::Busy), unlisted: watch::Sender::new(scopes.into_iter().collect()) }
    }

    /// The scopes that have not shown a complete list yet.
    pub fn unlisted(&self) -> Vec<Scope> {
        self.unlisted.borrow().iter().cloned().collect()
    }

    /// Whether every scope has shown a complete list.
    pub fn has_listed_all(&self) -> bool {
        self.unlisted.borrow().is_empty()
    }

    /// Waits until every scope has shown a complete list.
    pub async fn listed(&self) {
        // The sender lives in `self`.
        let _ = self.unlisted.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// Waits until nothing is under way, nor will be before that moment.
    pub async fn idle_until(&self, moment: Moment) {
        let rests = |idle: &Idle| matches!(idle, Idle::Until(next) if next.is_none_or(|next| next > moment));
        // The sender lives in `self`.
        let _ = self.idle.subscribe().wait_for(rests).await;
    }

    pub(super) fn rests(&self, idle: Idle) {
        self.idle.send_replace(idle);
    }

    pub(super) fn tick(&self) {
        self.sign.busy(STUCK);
    }

    pub(crate) fn has_listed(&self, scope: &Scope) {
        self.unlisted.send_if_modified(|unlisted| unlisted.remove(scope));
    }
}
