//! From a poll to a Job: permit, poll, start; and to an answer, where no Job comes of it.
//!
//! ```text
//! permits ─► poll ─► cluster ─► starter ─► the tracker sees the Job on the watch
//!                       └──────────┴ refused, or a call: SendTaskSuccess / SendTaskFailure
//! ```

mod entrance;
mod load;
mod panicked;
mod unseen;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::FutureExt;
use runjob_core::{
    arn::{ActivityArn, Source},
    clusters::Choice,
    failure::TaskFailure,
    invalid::InvalidParameters,
    names::Group,
    owner::OwnerKey,
    plan::Plan,
    refusal::PATIENCE,
    request::{Parsed, Request, Strictness, Target},
    token::TaskToken,
};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, Span, debug, error, field::Empty, info, info_span, warn};

pub use self::load::Load;
use self::{
    entrance::{Entry, Permits, entry},
    panicked::internal,
    unseen::point_out,
};
use crate::{
    cluster::WatchedJob,
    heartbeat::Hold,
    liveness::Sign,
    metrics::{Metrics, Outcome},
    permits::Permit,
    replies::Replies,
    retry::CALLS,
    sfn::{Clients, POLL_ATTEMPT, PolledTask, Reply, Trouble},
    site::Site,
    starter::{self, Started},
};

/// The longest that a poller is at one poll, and at the pause after one that failed: the poll's own time-out, and as long again for
/// credentials that have to be fetched first.
const STUCK: Duration = Duration::from_secs(2 * POLL_ATTEMPT.as_secs());

/// What is to be done for a task, and where.
struct Order {
    site: Arc<Site>,
    request: Result<Asked, TaskFailure>,
    entry: Entry,
}

/// What a task asks for, and what it says of the cluster.
struct Asked {
    request: Request,
    target: Target,
}

/// Takes tasks and starts them.
#[derive(Clone)]
pub struct Intake {
    /// Step Functions.
    pub clients: Clients,
    /// The clusters, for tasks to choose from.
    pub sites: Arc<Choice<Arc<Site>>>,
    /// The group that created Jobs belong to.
    pub group: Group,
    /// Polls held open for each activity.
    pub pollers: u16,
    /// What becomes of fields that are not known.
    pub strictness: Strictness,
    /// Answers those that never become a Job.
    pub replies: Replies,
    /// What is counted.
    pub metrics: Arc<Metrics>,
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
        if self.drain.run_until_cancelled(self.listed()).await.is_none() {
            return;
        }
        let mut pauses = CALLS.pauses();
        while let Some(permits) = self.room(sign).await {
            sign.busy(STUCK);
            match self.clients.poll_activity(activity, worker_name).await {
                Ok(Some(task)) => {
                    pauses.reset();
                    self.metrics.polled(Outcome::Task);
                    self.take(task, permits);
                }
                Ok(None) => {
                    pauses.reset();
                    self.metrics.polled(Outcome::Empty);
                }
                Err(error) => {
                    drop(permits);
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

    /// Waits for the permits of a poll, and for a cluster that answers. `None`: no more polls.
    async fn room(&self, sign: &Sign) -> Option<Permits> {
        sign.waiting();
        // A permit and the drain may come at the same time; then the drain counts.
        let permits = self.drain.run_until_cancelled(self.permits()).await?;
        (!self.drain.is_cancelled()).then_some(permits)
    }

    fn take(&self, task: PolledTask, permits: Permits) {
        let span = info_span!("task", owner = OwnerKey::of_task(&task.token).short(), cluster = Empty, job = Empty);
        let Some(order) = span.in_scope(|| self.order(&task.input, permits)) else { return };
        let hold = order.site.heartbeats.hold(&task.token, &task.source);
        if let Some(name) = &order.site.name {
            span.record("cluster", name.as_str());
        }
        let input = order.site.load.count(&task.input);
        let intake = self.clone();
        let started = async move {
            intake.start_guarded(task, order, input, &hold).await;
            drop(hold);
        };
        self.under_way.spawn(started.instrument(span));
    }

    /// Reads what a task asks for, and of which cluster. What cannot be read is answered by any.
    fn order(&self, input: &str, permits: Permits) -> Option<Order> {
        let read = || self.request(input);
        let read = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            self.metrics.panics.inc();
            error!("the reading of a task's input panicked");
            Err(internal())
        });
        let (site, request) = match read {
            Ok((site, asked)) => (site, Ok(asked)),
            Err(failure) => {
                info!(error = %failure.error, "a task's input was refused");
                (permits.first()?.0.clone(), Err(failure))
            }
        };
        let entry = entry(&site, permits);
        Some(Order { site, request, entry })
    }

    /// Starts a task. `planned` is filled in before a Job of that plan may exist. Gives what the task is to be answered with, if that
    /// is this worker's to do at once.
    async fn start(
        &self,
        task: &PolledTask,
        site: &Site,
        Asked { request, target }: Asked,
        hold: &Hold,
        permit: &mut Permit,
        planned: &OnceLock<Plan>,
    ) -> Option<Reply> {
        let vouched = tokio::select! {
            biased;
            () = hold.gone() => return None,
            vouched = site.served.vouch(&target, PATIENCE) => vouched,
        };
        if let Err(failure) = vouched {
            info!(error = %failure.error, "a task's cluster is not what the task says it is");
            return Some(self.replies.failure(&failure));
        }
        match request {
            Request::Call(call) => {
                permit.take_time();
                Some(match site.starter.call(&call, hold).await? {
                    Ok(output) => Reply::Success { output },
                    Err(failure) => self.replies.failure(&failure),
                })
            }
            Request::RunJob(run) => {
                let plan = Plan::new(&run, task.token.clone(), (*task.source).clone(), &self.group);
                let plan = planned.get_or_init(|| plan);
                Span::current().record("job", plan.key.to_string());
                match site.starter.create(plan, hold, permit).await {
                    Started::Created(job) => {
                        info!("the Job is created");
                        self.metrics.created(Outcome::Succeeded);
                        self.hand_over(site, job, hold, permit).await;
                        None
                    }
                    Started::Attached(job) => {
                        info!("the task is attached to the Job of its key");
                        self.metrics.created(Outcome::Attached);
                        self.hand_over(site, Some(job), hold, permit).await;
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

    /// Takes the input as a request that one of the clusters may serve.
    fn request(&self, input: &str) -> Result<(Arc<Site>, Asked), TaskFailure> {
        let Parsed { request, target, token, .. } = starter::read(input, self.strictness)?;
        if token.is_some() {
            return Err(InvalidParameters::task_token_of_activity().failure());
        }
        let site = self.sites.of(target.name.as_deref())?;
        site.served.admission.check(&request)?;
        Ok((site.clone(), Asked { request, target }))
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

    /// Keeps the task alive, and counted, until the tracker has seen its Job: the watch may be away for as long as it likes. `job`: as it
    /// was created or taken over; `None` if the watch has shown it.
    async fn hand_over(&self, site: &Site, job: Option<Box<Value>>, hold: &Hold, permit: &mut Permit) {
        permit.give_way();
        let pointed_out = async {
            match job {
                Some(job) => point_out(site, WatchedJob::of(*job), &self.group).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = hold.followed() => {}
            () = hold.gone() => {}
            // The Job is there and stamped: the next worker finds it.
            () = self.drain.cancelled() => {}
            () = pointed_out => {}
        }
    }
}
