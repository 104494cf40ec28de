//! Holding the group's Lease, or waiting for it: what the core decides, carried out, and the role that follows from it told to
//! whoever depends on it.
//!
//! ```text
//!           GET · POST · PUT                     role
//!   Lease ◄──────────────────► Candidacy ─────────────────► tracker (begins effects), heartbeats (beat)
//!                                  ▲          idle
//!                                  └──────────────────────── tracker, while it finishes
//! ```

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use runjob_core::{
    lease::{Candidate, Next, Role},
    progress::Moment,
};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    cluster::{Cluster, LeaseKey, WriteError},
    metrics::Metrics,
};

/// How long what was begun may take to end, once the worker drains, before the Lease is released.
pub const FINISHING: Duration = Duration::from_secs(20);

/// A worker's candidacy for the Lease of its group.
pub struct Candidacy {
    cluster: Cluster,
    key: LeaseKey,
    candidate: Candidate,
    clock: Clock,
    metrics: Arc<Metrics>,
    role: watch::Sender<Role>,
    rivalled: watch::Sender<bool>,
    /// Whether the tracker, told to finish, has finished.
    idle: watch::Receiver<bool>,
    /// Until when that may take, while it is waited for.
    finishing: Option<Moment>,
    is_refused: bool,
}

/// What the tracker has of the candidacy, and the candidacy of the tracker.
#[derive(Debug)]
pub struct Mandate {
    /// Whether this worker acts. It changes with each renewal, and wakes whoever waits for a change only when something else may be done
    /// than before.
    pub role: watch::Receiver<Role>,
    /// To be told, while this worker finishes, whether it has.
    pub idle: watch::Sender<bool>,
}

/// Who acts for the group, as a candidacy finds out.
#[derive(Debug, Clone)]
pub struct Standing {
    role: watch::Receiver<Role>,
    rivalled: watch::Receiver<bool>,
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acting {
    /// This candidate.
    Itself,
    /// Somebody else, who is alive.
    Another,
}

impl Standing {
    /// What this candidate is, at any time.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Waits until it is known who acts.
    pub async fn known(&mut self) -> Acting {
        tokio::select! {
            biased;
            Ok(_) = self.rivalled.wait_for(|rivalled| *rivalled) => Acting::Another,
            Ok(_) = self.role.wait_for(|role| role.acts()) => Acting::Itself,
            // The candidacy has ended.
            else => Acting::Another,
        }
    }
}

impl Mandate {
    /// Of whoever does not act at all.
    pub fn none() -> Self {
        Self::constant(Role::Following)
    }

    /// Of whoever acts alone, as long as it likes: for the Job that it waits for itself.
    pub fn unlimited() -> Self {
        Self::constant(Role::Leading { until: Moment(Duration::MAX) })
    }

    fn constant(role: Role) -> Self {
        Self { role: watch::channel(role).1, idle: watch::channel(false).0 }
    }
}

impl Candidacy {
    /// A candidacy that has seen nothing of the Lease yet.
    pub fn new(
        cluster: Cluster,
        key: LeaseKey,
        candidate: Candidate,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, Mandate) {
        let (role, told) = watch::channel(Role::Following);
        let (tells, idle) = watch::channel(false);
        let rivalled = watch::Sender::new(false);
        let candidacy =
            Self { cluster, key, candidate, clock, metrics, role, rivalled, idle, finishing: None, is_refused: false };
        (candidacy, Mandate { role: told, idle: tells })
    }

    /// To be asked who acts.
    pub fn standing(&self) -> Standing {
        Standing { role: self.role.subscribe(), rivalled: self.rivalled.subscribe() }
    }

    /// Wants the Lease until `end`. On `drain` the tracker is told to finish, and the Lease is released; it is taken back only if
    /// nobody else wants it.
    pub async fn run(mut self, drain: CancellationToken, end: CancellationToken) {
        let mut idle = self.idle.clone();
        let mut drained = false;
        while !end.is_cancelled() {
            self.publish();
            let now = self.clock.now();
            let until = match self.candidate.next(now, &self.wall()) {
                Next::Rest(until) => until,
                next => {
                    self.carry_out(next, now).await;
                    continue;
                }
            };
            // A word that ends is told of at that moment.
            let ends = match *self.role.borrow() {
                Role::Leading { until } | Role::Finishing { until } => until,
                Role::Following | Role::Adrift => until,
            };
            let wake = until.min(ends).min(self.finishing.unwrap_or(until));
            let finished = tokio::select! {
                biased;
                () = end.cancelled() => continue,
                () = drain.cancelled(), if !drained => {
                    drained = true;
                    self.finishing = Some(Moment(self.clock.now().0 + FINISHING));
                    // One that does not act has nothing to finish.
                    !matches!(*self.role.borrow(), Role::Leading { .. })
                }
                _ = idle.wait_for(|idle| *idle), if self.finishing.is_some() => true,
                () = sleep_until(self.clock.instant(wake)) => {
                    self.finishing.is_some_and(|end| end <= self.clock.now())
                }
            };
            if finished {
                self.release().await;
            }
        }
        self.release().await;
    }

    async fn carry_out(&mut self, next: Next, sent: Moment) {
        let result = match next {
            Next::Look => {
                let looked = self.asked(self.cluster.lease(&self.key)).await;
                looked.map(|found| self.candidate.looked(found, self.clock.now()))
            }
            Next::Create(lease) => {
                let written = self.asked(self.cluster.create_lease(&self.key, lease)).await;
                written.map(|lease| self.candidate.wrote(lease, sent, self.clock.now()))
            }
            Next::Update(lease) => {
                let written = self.asked(self.cluster.replace_lease(&self.key, &lease)).await;
                written.map(|lease| self.candidate.wrote(lease, sent, self.clock.now()))
            }
            Next::Rest(_) => return,
        };
        match result {
            Ok(()) => self.is_refused = false,
            Err(Setback::Outrun) => self.candidate.outrun(),
            Err(Setback::Passing(reason)) => {
                debug!(lease = %self.key, reason, "unable to hold the Lease, or to look at it, yet");
                self.candidate.failed(self.clock.now());
            }
            Err(Setback::Refused(reason)) => {
                if !self.is_refused {
                    warn!(lease = %self.key, reason, "the Lease cannot be used: every worker acts as if it were alone");
                }
                self.is_refused = true;
                self.candidate.refused(self.clock.now());
            }
        }
    }

    async fn asked<T>(&self, request: impl Future<Output = Result<T, WriteError>>) -> Result<T, Setback> {
        // A worker without a candidacy would end, and the tasks that it has just taken with it.
        let guarded = AssertUnwindSafe(timeout(self.candidate.patience(), request)).catch_unwind();
        match guarded.await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(WriteError::Changed))) => Err(Setback::Outrun),
            Ok(Ok(Err(error @ WriteError::Refused { .. }))) => Err(Setback::Refused(error.to_string())),
            Ok(Ok(Err(error))) => Err(Setback::Passing(error.to_string())),
            Ok(Err(_)) => Err(Setback::Passing("no answer in time".to_owned())),
            Err(_) => {
                error!(lease = %self.key, "a request about the Lease panicked");
                self.metrics.panics.inc();
                Err(Setback::Passing("it panicked".to_owned()))
            }
        }
    }

    /// Gives the Lease up, if this worker holds it.
    async fn release(&mut self) {
        self.finishing = None;
        let Some(lease) = self.candidate.release(self.clock.now()) else { return };
        // From here on nothing is begun, whatever comes of the request.
        self.publish();
        match self.asked::<Value>(self.cluster.replace_lease(&self.key, &lease)).await {
            Ok(_) => info!(lease = %self.key, "the Lease is released"),
            Err(setback) => debug!(lease = %self.key, ?setback, "the Lease is not released; it expires"),
        }
    }

    fn publish(&mut self) {
        let role = match self.candidate.role(self.clock.now()) {
            Role::Leading { until } if self.finishing.is_some() => Role::Finishing { until },
            role => role,
        };
        let rivalled = self.candidate.is_rivalled();
        self.rivalled.send_if_modified(|before| std::mem::replace(before, rivalled) != rivalled);
        let now = self.clock.now();
        self.role.send_if_modified(|before| {
            let before = std::mem::replace(before, role);
            let is_another = before.name() != role.name();
            if is_another {
                info!(lease = %self.key, role = role.name(), "the worker's role has changed");
            }
            is_another || self.was_overdue(before, now)
        });
        self.metrics.leading(role.acts());
    }

    /// Whether that word had ended, or was about to. What the tracker held back because of that has to be looked at again once there is a
    /// new word; a word that is renewed in time has held nothing back, and nobody needs to wake up for it.
    fn was_overdue(&self, role: Role, now: Moment) -> bool {
        match role {
            Role::Leading { until } | Role::Finishing { until } => until.0 < now.0 + self.candidate.patience(),
            Role::Following | Role::Adrift => false,
        }
    }

    /// As a `MicroTime` of the API.
    fn wall(&self) -> String {
        self.clock.wall().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }
}

/// A request about the Lease did not do what it should.
#[derive(Debug)]
enum Setback {
    /// Somebody else has written first.
    Outrun,
    /// It may work later.
    Passing(String),
    /// It will not.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn a_candidacy(clock: Clock) -> (Candidacy, Mandate) {
        let cluster = Cluster::of(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let key = LeaseKey { namespace: "default".to_owned(), name: "x".to_owned() };
        Candidacy::new(cluster, key, Candidate::new("one".to_owned(), DURATION), clock, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_in_time_wakes_nobody_and_a_late_one_or_another_role_does() {
        let clock = Clock::start();
        let (mut candidacy, mut mandate) = a_candidacy(clock);
        let renew = |candidacy: &mut Candidacy| {
            let (now, spec) =
                (clock.now(), json!({"holderIdentity": "one", "renewTime": clock.now().0.as_secs().to_string()}));
            candidacy.candidate.wrote(json!({"spec": spec}), now, now);
            candidacy.publish();
        };
        let wakes = |mandate: &mut Mandate| {
            let wakes = mandate.role.has_changed().unwrap();
            (wakes, *mandate.role.borrow_and_update())
        };
        let leading = |until| Role::Leading { until: Moment(Duration::from_secs(until)) };
        candidacy.publish();
        assert_eq!(wakes(&mut mandate), (false, Role::Following));
        renew(&mut candidacy);
        assert_eq!(wakes(&mut mandate), (true, leading(15)));
        tokio::time::advance(DURATION / 3).await;
        renew(&mut candidacy);
        // It is there to be read all the same.
        assert_eq!(wakes(&mut mandate), (false, leading(20)));
        // Its word ends in a second. Who looks at it then may see it ended.
        tokio::time::advance(Duration::from_secs(14)).await;
        renew(&mut candidacy);
        assert_eq!(wakes(&mut mandate), (true, leading(34)));
        tokio::time::advance(DURATION).await;
        candidacy.publish();
        assert_eq!(wakes(&mut mandate), (true, Role::Adrift));
    }
}
