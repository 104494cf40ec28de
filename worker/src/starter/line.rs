//! Where tasks line up while the API is in trouble. As long as all goes well it is wide open. Trouble that meets everybody narrows it
//! to one: that one tries again and again, the others wait behind it in their order, newcomers at the end. Each create that goes well
//! opens it twice as wide.
//!
//! Each trying for itself, the tasks that have waited longest would wait longest between their attempts, and newcomers would overtake
//! them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many creates may be under way when all goes well: more than there are tasks on their way to a Job.
const OPEN: usize = 1024;

/// The line. Clones are the same line.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Semaphore>,
    width: Mutex<Width>,
}

#[derive(Debug)]
struct Width {
    /// How many may be at it.
    open: usize,
    /// How many are at it beyond that: theirs are the places that do not come back.
    beyond: usize,
}

/// The right to try. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    line: Line,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Line {
    fn default() -> Self {
        let width = Mutex::new(Width { open: OPEN, beyond: 0 });
        Self(Arc::new(Inner { places: Arc::new(Semaphore::new(OPEN)), width }))
    }
}

impl Line {
    /// Waits behind everybody who waits.
    pub(super) async fn place(&self) -> Place {
        // Closed only when the worker ends.
        let permit = self.0.places.clone().acquire_owned().await.ok();
        Place { line: self.clone(), permit }
    }

    fn width(&self) -> MutexGuard<'_, Width> {
        self.0.width.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The API has carried out what was asked, or has refused it for a reason that meets nobody else.
    pub(super) fn went_well(&self) {
        let mut width = self.line.width();
        let more = (width.open * 2).min(OPEN) - width.open;
        let known = more.min(width.beyond);
        width.open += more;
        width.beyond -= known;
        self.line.0.places.add_permits(more - known);
    }

    /// The API is in trouble. `None`: somebody else tries again, and this one waits at the end of the line.
    pub(super) fn in_trouble(self) -> Option<Self> {
        let mut width = self.line.width();
        let taken_away = self.line.0.places.forget_permits(width.open - 1);
        width.beyond += width.open - 1 - taken_away;
        width.open = 1;
        let stays = width.beyond == 0;
        drop(width);
        stays.then_some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut width = self.line.width();
        if width.beyond > 0
            && let Some(permit) = self.permit.take()
        {
            width.beyond -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn free(line: &Line) -> usize {
        line.0.places.available_permits()
    }

    #[tokio::test]
    async fn nobody_waits_while_all_goes_well() {
        let line = Line::default();
        let places: Vec<_> = (0..100).map(|_| line.place().now_or_never().unwrap()).collect();
        places.iter().for_each(Place::went_well);
        drop(places);
        assert_eq!(free(&line), OPEN);
    }

    #[tokio::test]
    async fn in_trouble_one_stays_and_newcomers_wait_behind_the_others() {
        let line = Line::default();
        let [one, two, three] = [(); 3].map(|()| line.place().now_or_never().unwrap());
        assert!(one.in_trouble().is_none() && two.in_trouble().is_none());
        let three = three.in_trouble().unwrap();
        let mut first = Box::pin(line.place());
        let mut newcomer = Box::pin(line.place());
        assert!(first.as_mut().now_or_never().is_none() && newcomer.as_mut().now_or_never().is_none());
        drop(three);
        assert!(newcomer.as_mut().now_or_never().is_none());
        let first = first.now_or_never().unwrap();
        drop(first);
        assert!(newcomer.now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_goes_well_opens_the_line_again() {
        let line = Line::default();
        let one = line.place().await.in_trouble().unwrap();
        assert_eq!(free(&line), 0);
        one.went_well();
        one.went_well();
        assert_eq!(free(&line), 3);
        for _ in 0..20 {
            one.went_well();
        }
        drop(one);
        assert_eq!(free(&line), OPEN);
    }

    #[tokio::test]
    async fn places_that_were_taken_before_the_trouble_are_not_counted_twice() {
        let line = Line::default();
        let [one, two, three] = [(); 3].map(|()| line.place().now_or_never().unwrap());
        assert!(one.in_trouble().is_none());
        // Two are at it, one may be.
        two.went_well();
        assert_eq!(free(&line), 0);
        two.went_well();
        assert_eq!(free(&line), 2);
        drop((two, three));
        assert_eq!(free(&line), 4);
    }
}
