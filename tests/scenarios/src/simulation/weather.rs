//! Mishaps that are decided on while a run goes on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use runjob_sandbox::memory::{Fate, Outbound, Traffic};

use super::mishap::Mishap;

/// What is to befall requests that are still to come.
#[derive(Debug, Default)]
pub struct Weather(Mutex<Vec<Planned>>);

/// What a mishap is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// What is said to Step Functions or to the cluster about tasks and Jobs.
    Work,
    /// What keeps the Lease, or looks at it: there is much more of that.
    Lease,
}

#[derive(Debug)]
struct Planned {
    aim: Aim,
    /// How many requests of that sort come before the one that meets it.
    before: usize,
    mishap: Mishap,
}

impl Weather {
    /// After so many requests of that sort, the next meets this.
    pub fn plan(&self, aim: Aim, before: usize, mishap: Mishap) {
        self.planned().push(Planned { aim, before, mishap });
    }

    /// Nothing befalls any request from now on.
    pub fn clear(&self) {
        self.planned().clear();
    }

    fn planned(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic for Weather {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        let aim = if request.kind.ends_with(" leases") { Aim::Lease } else { Aim::Work };
        let mut planned = self.planned();
        let here = planned.iter().position(|one| one.aim == aim && one.before == 0);
        let mishap = here.map(|place| planned.remove(place).mishap);
        planned.iter_mut().filter(|one| one.aim == aim).for_each(|one| one.before = one.before.saturating_sub(1));
        mishap.and_then(|mishap| mishap.fate(request.service, request.kind)).unwrap_or(Fate::Pass)
    }
}
