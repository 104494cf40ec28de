//! Faults by name and count: the next `times` requests of a kind meet an effect. Or all requests do, for as long as it prevails.
//!
//! What befalls streams that are open already is the cluster's matter: [`crate::kube::Kubernetes::cut_watches`] and its neighbours.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

/// What befalls a request.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The connection is cut before the service has seen the request.
    Refuse,
    /// The service sees the request that much later.
    Delay(Duration),
    /// The service applies the request, then the connection is cut: the answer is lost.
    CutAfterApply,
    /// The service sees another body, as if a webhook of admission had changed it.
    Mutate(fn(&mut Value)),
    /// The answer comes, and comes once more: the next request of the kind gets it as well, and the service does not see that one.
    AnswerTwice,
    /// The service does not see the request; the client gets what another one was answered.
    Repeat(Response<Bytes>),
    /// The service applies the request, and warns of it: its answer has this `Warning` header besides.
    Warn(&'static str),
    /// The service does not see the request; the client gets this answer.
    Answer {
        /// Its HTTP status.
        status: StatusCode,
        /// Its `Retry-After` header, in seconds.
        retry_after: Option<u64>,
        /// Its body, JSON.
        body: String,
    },
}

/// The faults that are still to come for one service.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    planned: Vec<Planned>,
    prevailing: Option<Effect>,
}

#[derive(Debug)]
struct Planned {
    kind: String,
    effect: Effect,
    left: u32,
}

impl Faults {
    /// The next `times` requests of `kind` (as [`crate::front::Endpoint::kind`] names them) meet `effect`.
    pub fn plan(&self, kind: &str, effect: Effect, times: u32) {
        self.plan_of_all().planned.push(Planned { kind: kind.to_owned(), effect, left: times });
    }

    /// From now on every request meets `effect`, unless something else is planned for it: an outage.
    pub fn prevail(&self, effect: Effect) {
        self.plan_of_all().prevailing = Some(effect);
    }

    /// Forgets every fault that has not happened yet, and ends what prevails.
    pub fn clear(&self) {
        *self.plan_of_all() = Plan::default();
    }

    pub(crate) fn next_for(&self, kind: &str) -> Option<Effect> {
        let mut plan = self.plan_of_all();
        let next = plan.planned.iter_mut().find(|fault| fault.left > 0 && fault.kind == kind);
        let Some(next) = next else { return plan.prevailing.clone() };
        next.left -= 1;
        Some(next.effect.clone())
    }

    fn plan_of_all(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
