//! Places for logs that are read at the same time, shared out among Jobs and namespaces: the pods of one tenant, however many they are
//! and however long they print, leave places for the Jobs of the others.
//!
//! A Job has a share that it gets as long as its namespace does not hold three times as many places as are free; beyond it, a Job
//! gets a place while it holds fewer than half of the free ones, and its namespace fewer than all of them. So one alone may use many,
//! and the more there are in use, the less one can have. Of those that wait, the one whose namespace holds the fewest comes first, then
//! the one whose Job does, then the one that has waited longest.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The places of one Job that others cannot take from it by what they already have.
pub(super) const JOB_SHARE: usize = 16;

/// Whose a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) namespace: String,
    /// The Job's UID.
    pub(super) job: String,
}

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Mutex<State>>);

/// A place. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    holder: Holder,
}

#[derive(Debug)]
struct State {
    free: usize,
    namespaces: BTreeMap<String, Tenant>,
    /// Counts those that wait.
    turn: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    held: usize,
    jobs: BTreeMap<String, Line>,
}

/// The places of one Job, and its logs that wait for one, the oldest first.
#[derive(Debug, Default)]
struct Line {
    held: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Place>)>,
}

impl Places {
    pub(super) fn of(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: places, namespaces: BTreeMap::new(), turn: 0 })))
    }

    /// A place, if there is one at once.
    pub(super) fn now(&self, holder: &Holder) -> Option<Place> {
        let taken = self.state().take(holder);
        taken.then(|| Place { places: self.clone(), holder: holder.clone() })
    }

    /// Waits for a place, in turn. Who stops waiting leaves no trace.
    pub(super) async fn take(&self, holder: &Holder) -> Place {
        loop {
            let waiting = {
                let mut state = self.state();
                if state.take(holder) {
                    return Place { places: self.clone(), holder: holder.clone() };
                }
                state.wait(holder)
            };
            if let Ok(place) = waiting.await {
                return place;
            }
        }
    }

    /// Gives away what has become free.
    fn give(&self) {
        loop {
            let Some((holder, sender)) = self.state().next() else { return };
            // One that arrives nowhere is dropped here, which gives it to the next.
            let _refused = sender.send(Place { places: self.clone(), holder });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().put_back(&self.holder);
        self.places.give();
    }
}

impl State {
    /// Takes a place, if that holder may have one.
    fn take(&mut self, holder: &Holder) -> bool {
        let tenant = self.namespaces.get(&holder.namespace);
        let held = tenant.map_or(0, |tenant| tenant.held);
        let of_job = tenant.and_then(|tenant| tenant.jobs.get(&holder.job)).map_or(0, |line| line.held);
        let may = may_have(self.free, held, of_job);
        if may {
            self.free -= 1;
            let tenant = self.namespaces.entry(holder.namespace.clone()).or_default();
            tenant.held += 1;
            tenant.jobs.entry(holder.job.clone()).or_default().held += 1;
        }
        may
    }

    fn put_back(&mut self, holder: &Holder) {
        self.free += 1;
        let Some(tenant) = self.namespaces.get_mut(&holder.namespace) else { return };
        tenant.held = tenant.held.saturating_sub(1);
        if let Some(line) = tenant.jobs.get_mut(&holder.job) {
            line.held = line.held.saturating_sub(1);
        }
    }

    fn wait(&mut self, holder: &Holder) -> oneshot::Receiver<Place> {
        let (sender, receiver) = oneshot::channel();
        self.turn += 1;
        let tenant = self.namespaces.entry(holder.namespace.clone()).or_default();
        tenant.jobs.entry(holder.job.clone()).or_default().waiting.push_back((self.turn, sender));
        receiver
    }

    /// Takes a place for the one that comes next.
    fn next(&mut self) -> Option<(Holder, oneshot::Sender<Place>)> {
        self.forget_idle();
        let free = self.free;
        let mut first: Option<((usize, usize, u64), Holder)> = None;
        for (namespace, tenant) in &self.namespaces {
            for (job, line) in &tenant.jobs {
                let Some((turn, _)) = line.waiting.front() else { continue };
                let rank = (tenant.held, line.held, *turn);
                let is_first = first.as_ref().is_none_or(|(other, _)| rank < *other);
                if is_first && may_have(free, tenant.held, line.held) {
                    first = Some((rank, Holder { namespace: namespace.clone(), job: job.clone() }));
                }
            }
        }
        let (_, holder) = first?;
        let line = self.namespaces.get_mut(&holder.namespace)?.jobs.get_mut(&holder.job)?;
        let (_, sender) = line.waiting.pop_front()?;
        self.take(&holder).then_some((holder, sender))
    }

    /// Forgets who has stopped waiting, as soon as it would be their turn, and who has nothing here any more.
    fn forget_idle(&mut self) {
        for tenant in self.namespaces.values_mut() {
            tenant.jobs.retain(|_, line| {
                while line.waiting.front().is_some_and(|(_, sender)| sender.is_closed()) {
                    line.waiting.pop_front();
                }
                line.held > 0 || !line.waiting.is_empty()
            });
        }
        self.namespaces.retain(|_, tenant| !tenant.jobs.is_empty());
    }
}

/// Whether another place may go to a Job that holds so many, in a namespace that holds so many.
fn may_have(free: usize, of_namespace: usize, of_job: usize) -> bool {
    let is_its_share = of_job < JOB_SHARE && of_namespace < 3 * free;
    let is_to_spare = of_job < free / 2 && of_namespace < free;
    free > 0 && (is_its_share || is_to_spare)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn holder(namespace: &str, job: usize) -> Holder {
        Holder { namespace: namespace.to_owned(), job: job.to_string() }
    }

    /// As many as that holder gets.
    fn all(places: &Places, holder: &Holder) -> Vec<Place> {
        std::iter::from_fn(|| places.now(holder)).collect()
    }

    #[test]
    fn one_job_alone_may_have_many_but_never_all() {
        let places = Places::of(256);
        let held = all(&places, &holder("a", 1)).len();
        assert!((64..128).contains(&held), "{held}");
    }

    #[test]
    fn however_many_jobs_one_namespace_has_others_get_their_share() {
        let places = Places::of(256);
        let hogs: Vec<_> = (0..100).map(|job| all(&places, &holder("hog", job))).collect();
        assert!(hogs.iter().flatten().count() <= 192);
        assert!(all(&places, &holder("other", 0)).len() >= JOB_SHARE);
        assert!(all(&places, &holder("another", 0)).len() >= JOB_SHARE);
    }

    #[test]
    fn a_job_that_has_less_than_its_share_gets_it_before_another_of_its_namespace_gets_more() {
        let places = Places::of(256);
        let hogs: Vec<_> = (0..3).map(|job| all(&places, &holder("a", job))).collect();
        assert!(hogs.iter().flatten().count() <= 128 + JOB_SHARE);
        assert!(all(&places, &holder("a", 9)).len() >= JOB_SHARE);
    }

    #[test]
    fn what_is_given_back_goes_to_the_namespace_that_has_the_least() {
        let places = Places::of(2);
        let (hog, other) = (holder("hog", 1), holder("other", 2));
        let first = places.now(&hog).unwrap();
        let second = places.now(&hog).unwrap();
        let mut of_hog = std::pin::pin!(places.take(&hog));
        let mut of_other = std::pin::pin!(places.take(&other));
        assert!(of_hog.as_mut().now_or_never().is_none() && of_other.as_mut().now_or_never().is_none());
        drop(first);
        assert!(of_hog.as_mut().now_or_never().is_none());
        let third = of_other.as_mut().now_or_never();
        assert!(third.is_some());
        drop((second, third));
        assert!(of_hog.now_or_never().is_some());
    }

    #[test]
    fn who_stops_waiting_leaves_nothing_behind() {
        let places = Places::of(1);
        let first = places.now(&holder("a", 1));
        assert!(places.take(&holder("b", 2)).now_or_never().is_none());
        drop(first);
        assert!(places.now(&holder("c", 3)).is_some());
        let state = places.state();
        assert_eq!((state.free, state.namespaces.len()), (1, 0), "{state:?}");
    }

    #[test]
    fn a_place_that_arrives_too_late_comes_back() {
        let places = Places::of(1);
        let (first, second) = (places.now(&holder("a", 1)), holder("b", 2));
        let mut waiting = Box::pin(places.take(&second));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        drop(waiting);
        assert!(places.now(&holder("c", 3)).is_some());
    }
}
