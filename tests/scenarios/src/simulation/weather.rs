//! Mishaps that are decided on while a run goes on.

use std::sync::{Mutex, PoisonError};

use runjob_sandbox::memory::{Fate, Outbound, Traffic};

use super::mishap::Mishap;

/// What is to befall requests that are still to come.
#[derive(Debug, Default)]
pub struct Weather(Mutex<Vec<(usize, Mishap)>>);

impl Weather {
    /// The request of that number meets this.
    pub fn plan(&self, number: usize, mishap: Mishap) {
        self.planned().push((number, mishap));
    }

    /// Nothing befalls any request from now on.
    pub fn clear(&self) {
        self.planned().clear();
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Mishap)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic for Weather {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        let mut planned = self.planned();
        let here = planned.iter().find(|(number, _)| *number == request.number).map(|(_, mishap)| *mishap);
        planned.retain(|(number, _)| *number > request.number);
        here.and_then(|mishap| mishap.fate(request.service, request.kind)).unwrap_or(Fate::Pass)
    }
}
