//! A list that a test can wait for: things are added and change, and are never taken out.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::locked;

/// Clones are the same list.
#[derive(Debug)]
pub(super) struct Noted<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    things: Mutex<Vec<T>>,
    changed: watch::Sender<()>,
}

/// The place of a thing in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub(super) usize);

impl<T> Default for Noted<T> {
    fn default() -> Self {
        Self(Arc::new(Inner { things: Mutex::default(), changed: watch::Sender::default() }))
    }
}

impl<T> Clone for Noted<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Noted<T> {
    pub(super) fn all(&self) -> Vec<T> {
        locked(&self.0.things).clone()
    }

    /// Waits until `found` picks something out of the list. Looks again at every change.
    pub(super) async fn wait_for<R>(&self, mut found: impl FnMut(&[T]) -> Option<R>) -> R {
        let mut changed = self.0.changed.subscribe();
        loop {
            if let Some(value) = found(&locked(&self.0.things)) {
                return value;
            }
            // The sender lives in `self`, so this cannot end before there is news.
            let _ = changed.changed().await;
        }
    }

    pub(super) fn add(&self, thing: T) -> Place {
        let mut things = locked(&self.0.things);
        things.push(thing);
        let place = Place(things.len() - 1);
        drop(things);
        self.0.changed.send_replace(());
        place
    }

    pub(super) fn change(&self, Place(place): Place, change: impl FnOnce(&mut T)) {
        if let Some(thing) = locked(&self.0.things).get_mut(place) {
            change(thing);
        }
        self.0.changed.send_replace(());
    }
}
