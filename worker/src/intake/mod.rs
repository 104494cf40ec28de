//! From a poll to a Job: permit, poll, start; and to an answer, where no Job comes of it.
//!
//! ```text
//! permit ─► poll ─► starter ─► the tracker sees the Job on the watch
//!                      └ refused, or a call: SendTaskSuccess / SendTaskFailure
//! ```

mod load;
mod panicked;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::FutureExt;
use runjob_core::{
    arn::{ActivityArn, Source},
    failure::{ErrorName, TaskFailure},
    invalid::InvalidParameters,
    names::Group,
    owner::OwnerKey,
    plan::Plan,
    request::{self, Parsed, Request, Strictness},
    token::TaskToken,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, Span, debug, error, field::Empty, info, info_span, warn};

pub use self::load::Load;
use crate::{
    heartbeat::{Heartbeats, Hold},
    liveness::Sign,
    metrics::{Metrics, Outcome},
    permits::{Permit, Permits},
    replies::Replies,
    retry::CALLS,
    sfn::{Clients, POLL_ATTEMPT, PolledTask, Reply, Trouble},
    starter::{Admission, Started, Starter},
    tracker::Pulse,
};

/// The most fields of one input that are told of, having been passed over: there may be as many as fit into a megabyte.
const MAX_WARNINGS: usize = 10;

/// The longest that a poller is at one poll, and at the pause after one that failed: the poll's own time-out, and as long again for
/// credentials that have to be fetched first.
const STUCK: Duration = Duration::from_secs(2 * POLL_ATTEMPT.as_secs());

/// Takes tasks and starts them.
#[derive(Clone)]
pub struct Intake {
    /// Step Functions.
    pub clients: Clients,
    /// Starts what they ask for.
    pub starter: Starter,
    /// The group that created Jobs belong to.
    pub group: Group,
    /// Polls held open for each activity.
    pub pollers: u16,
    /// What becomes of fields that are not known.
    pub strictness: Strictness,
    /// The name of the cluster, if it has one.
    pub cluster_name: Option<String>,
    /// What requests may ask for.
    pub admission: Admission,
    /// How many tasks may be taken.
    pub permits: Permits,
    /// What they take of the memory until they are started.
    pub load: Arc<Load>,
    /// Keeps taken tasks alive.
    pub heartbeats: Heartbeats,
    /// Answers those that never become a Job.
    pub replies: Replies,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Knows when the first lists are complete.
    pub pulse: Arc<Pulse>,
    /// The tasks that were taken and are not started yet.
    pub under_way: TaskTracker,
    /// No new poll starts once this is cancelled. Polls in flight are awaited: the service may already have assigned a task.
    pub drain: CancellationToken,
}

impl Intake {
    /// Polls an activity until the drain. A panic costs the poll that it befalls.
    pub async fn poll(self, activity: ActivityArn, worker_name: String, sign: Sign) {
        let mut pauses = CALLS.pauses();
        while AssertUnwindSafe(self.poll_on(&activity, &worker_name, &sign)).catch_unwind().await.is_err() {
            self.metrics.panics.inc();
            error!(%activity, "a poll panicked: a task that it was about to bring is lost");
            sign.waiting();
            let _drained = self.drain.run_until_cancelled(tokio::time::sleep(pauses.next(None))).await;
        }
    }

    async fn poll_on(&self, activity: &ActivityArn, worker_name: &str, sign: &Sign) {
        // Before that, nobody knows how many Jobs the group has.
        if self.drain.run_until_cancelled(self.pulse.listed()).await.is_none() {
            return;
        }
        let mut pauses = CALLS.pauses();
        while let Some(permit) = self.room(sign).await {
            sign.busy(STUCK);
            match self.clients.poll_activity(activity, worker_name).await {
                Ok(Some(task)) => {
                    pauses.reset();
                    self.metrics.polled(Outcome::Task);
                    self.take(task, permit);
                }
                Ok(None) => {
                    pauses.reset();
                    self.metrics.polled(Outcome::Empty);
                }
                Err(error) => {
                    drop(permit);
                    self.metrics.polled(Outcome::Error);
                    // Ten polls fail for the same reason again and again; once is enough to know of it.
                    match self.clients.poll_failed(activity) {
                        Trouble::New => warn!(%activity, %error, "unable to poll"),
                        Trouble::Known => debug!(%activity, %error, "unable to poll"),
                    }
                    let _drained = self.drain.run_until_cancelled(tokio::time::sleep(pauses.next(None))).await;
                }
            }
        }
    }

    /// Waits for a permit and for a cluster that answers. `None`: no more polls.
    async fn room(&self, sign: &Sign) -> Option<Permit> {
        sign.waiting();
        let ready = async {
            let permit = self.permits.acquire().await;
            self.load.room().await;
            self.starter.cluster().reachability().restored().await;
            permit
        };
        // A permit and the drain may come at the same time; then the drain counts.
        let permit = self.drain.run_until_cancelled(ready).await?;
        (!self.drain.is_cancelled()).then_some(permit)
    }

    fn take(&self, task: PolledTask, permit: Permit) {
        let hold = self.heartbeats.hold(&task.token, &task.source);
        let span = info_span!("task", owner = OwnerKey::of_task(&task.token).short(), job = Empty);
        let intake = self.clone();
        let input = self.load.count(&task.input);
        let mut permit = permit;
        let started = async move {
            intake.start_guarded(task, input, &hold, &mut permit).await;
            drop((permit, hold));
        };
        self.under_way.spawn(started.instrument(span));
    }

    /// Starts a task. `planned` is filled in before a Job of that plan may exist. Gives what the task is to be answered with, if that
    /// is this worker's to do at once.
    async fn start(
        &self,
        task: &PolledTask,
        hold: &Hold,
        permit: &mut Permit,
        planned: &OnceLock<Plan>,
    ) -> Option<Reply> {
        let request = match self.request(&task.input) {
            Ok(request) => request,
            Err(failure) => {
                info!(error = %failure.error, "a task's input was refused");
                return Some(self.replies.failure(&failure));
            }
        };
        match request {
            Request::Call(call) => {
                // How long it takes is its own affair.
                permit.give_way();
                Some(match self.starter.call(&call, hold).await? {
                    Ok(output) => Reply::Success { output },
                    Err(failure) => self.replies.failure(&failure),
                })
            }
            Request::RunJob(run) => {
                let plan = Plan::new(&run, task.token.clone(), (*task.source).clone(), &self.group);
                let plan = planned.get_or_init(|| plan);
                Span::current().record("job", plan.key.to_string());
                match self.starter.create(plan, hold, permit).await {
                    Started::Created(_) => {
                        info!("the Job is created");
                        self.metrics.created(Outcome::Succeeded);
                        self.hand_over(hold, permit).await;
                        None
                    }
                    Started::Attached(_) => {
                        info!("the task is attached to the Job of its key");
                        self.metrics.created(Outcome::Attached);
                        self.hand_over(hold, permit).await;
                        None
                    }
                    Started::Failed(failure) => {
                        info!(error = %failure.error, "the Job could not be created");
                        self.metrics.created(Outcome::Failed);
                        Some(self.replies.failure(&failure))
                    }
                    Started::NobodyWaits => {
                        info!("the task ended before its Job was created");
                        self.metrics.created(Outcome::Gone);
                        None
                    }
                }
            }
        }
    }

    /// Takes the input as a request that this worker may serve.
    fn request(&self, input: &str) -> Result<Request, TaskFailure> {
        let parsed = request::parse(input, self.strictness).map_err(|invalid| invalid.failure())?;
        let Parsed { request, target, token, warnings } = parsed;
        if token.is_some() {
            return Err(InvalidParameters::task_token_of_activity().failure());
        }
        for warning in warnings.iter().take(MAX_WARNINGS) {
            warn!(path = warning.path(), "a part of a task's input was passed over");
        }
        self.check_cluster(target.name.as_deref())?;
        self.admission.check(&request)?;
        Ok(request)
    }

    fn check_cluster(&self, named: Option<&str>) -> Result<(), TaskFailure> {
        match (&self.cluster_name, named) {
            (Some(own), Some(named)) if own != named => {
                let message = format!("ClusterName is \"{named}\", and this worker serves \"{own}\"");
                Err(TaskFailure::saying(ErrorName::ClusterNotAllowed, message))
            }
            (None, Some(named)) => {
                debug!(
                    named,
                    "ClusterName, Endpoint and CertificateAuthority are ignored: this worker has one cluster"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Answers a task, until Step Functions has taken the answer or nobody waits for it any more.
    async fn answer(&self, source: &Source, token: &TaskToken, hold: &Hold, reply: Reply) {
        // The hold goes with the task. If its Job exists all the same, the tracker finds out that nobody waits for it.
        tokio::select! {
            biased;
            () = hold.gone() => info!("the task ended before its answer was taken"),
            _ = self.replies.deliver(source, token, reply) => {}
        }
    }

    /// Keeps the task alive, and counted, until the tracker has seen its Job: the watch may be away for as long as it likes.
    async fn hand_over(&self, hold: &Hold, permit: &mut Permit) {
        permit.give_way();
        tokio::select! {
            biased;
            () = hold.followed() => {}
            () = hold.gone() => {}
            // The Job is there and stamped: the next worker finds it.
            () = self.drain.cancelled() => {}
        }
    }
}
