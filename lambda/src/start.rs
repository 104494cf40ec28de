//! What an invocation does without waiting for a Job: it starts one, sends a call, or hands a Job over with its task's token.

use runjob::{heartbeat::Hold, permits::Permits, replies::Delivery, sfn::Reply, starter::Started};
use runjob_core::{
    call::Call,
    failure::{ErrorName, TaskFailure},
    ledger,
    names::JobKey,
    plan::Plan,
    request::{Request, RunJob},
    token::TaskToken,
};
use serde_json::{Value, json};
use tokio::time::timeout_at;
use tracing::info;

use crate::{
    function::{Function, Invocation},
    outcome::{Failed, Outcome, value},
    session::Session,
};

impl Session {
    /// Starts a Job, and gives it as it was created: `runJob`.
    pub(crate) async fn start(&self, run: &RunJob) -> Outcome {
        let id = self.invocation.id.clone();
        let plan = Plan::for_invocation(run, id, self.invocation.deadline, &self.group);
        let job = self.create(&plan, &Hold::on_nothing()).await?;
        value(&ledger::user_view(job, &plan.stamp))
    }

    /// Sends a call, and gives its output.
    pub(crate) async fn call(&self, call: &Call) -> Result<String, TaskFailure> {
        let sent = timeout_at(self.time.end, self.starter.call(call, &Hold::on_nothing())).await;
        sent.ok().flatten().unwrap_or_else(|| {
            let message =
                format!("the Kubernetes API did not answer {} {} in time", call.method.as_str(), call.path_and_query);
            Err(TaskFailure::saying(ErrorName::ClusterUnreachable, message))
        })
    }

    /// Creates the planned Job, or attaches to the one that there is, and gives it.
    pub(crate) async fn create(&self, plan: &Plan, hold: &Hold) -> Result<Value, TaskFailure> {
        let mut permit = Permits::new(1, 1).acquire().await;
        let started = timeout_at(self.time.end, self.starter.create(plan, hold, &mut permit)).await;
        match started {
            Ok(Started::Created(Some(job))) => {
                info!(job = %plan.key, "the Job is created");
                Ok(*job)
            }
            Ok(Started::Attached(job)) => {
                info!(job = %plan.key, "attached to the Job of the key");
                Ok(*job)
            }
            Ok(Started::Failed(failure)) => Err(failure),
            Ok(Started::NobodyWaits | Started::Created(None)) => Err(nobody_waits(&plan.key)),
            Err(_) => {
                let message = format!(
                    "the Kubernetes API did not answer before the function's time was over; the Job {} may exist",
                    plan.key
                );
                Err(TaskFailure::saying(ErrorName::ClusterUnreachable, message))
            }
        }
    }

    /// Starts what is asked for with a token.
    async fn start_for(&self, request: &Request, token: &TaskToken) -> Handed {
        let source = self.invocation.function.clone();
        match request {
            Request::RunJob(run) => {
                let hold = self.heartbeats.hold(token, &source);
                let plan = Plan::new(run, token.clone(), source, &self.group);
                match self.create(&plan, &hold).await {
                    Ok(_) => Handed::Over(plan.key),
                    Err(failure) => Handed::Back(Err(failure)),
                }
            }
            Request::Call(call) => Handed::Back(self.call(call).await),
        }
    }
}

/// What becomes of a request that came with a token.
enum Handed {
    /// Whoever acts for the group is going to answer for this Job.
    Over(JobKey),
    /// It is to be answered at once.
    Back(Result<String, TaskFailure>),
}

impl Function {
    /// Starts what is asked for with a token, and leaves the answer to whoever acts for the group. What can be answered at once is:
    /// natively, by the token.
    pub(crate) async fn hand_over(&self, event: &str, invocation: &Invocation, token: TaskToken) -> Outcome {
        let time = self.time(invocation);
        let (result, session) = match self.begin(event, invocation).await {
            Ok((session, request)) => match session.start_for(&request, &token).await {
                Handed::Over(job) => {
                    session.end().await;
                    return value(&json!({"Job": {"namespace": job.namespace, "name": job.name}}));
                }
                Handed::Back(result) => (result, Some(session)),
            },
            Err(failure) => (Err(failure), None),
        };
        let replies = self.replies(&invocation.function);
        let reply = match &result {
            Ok(output) => Reply::Success { output: output.clone() },
            Err(failure) => replies.failure(failure),
        };
        let delivered = timeout_at(time.last, replies.deliver(&invocation.function, &token, reply)).await;
        if let Some(session) = session {
            session.end().await;
        }
        match delivered {
            Ok(Delivery::Accepted) => value(&json!({"Answered": true})),
            Ok(Delivery::NotOurs) => value(&json!({"Answered": false})),
            // The state fails by the function then, whose errors have less room for a cause.
            Ok(Delivery::Refused) | Err(_) => Err(result.err().map_or_else(
                || {
                    Failed::internal(
                        "Step Functions does not take the answer to the call: may the function's role states:SendTaskSuccess?",
                    )
                },
                Failed::from,
            )),
        }
    }
}

fn nobody_waits(job: &JobKey) -> TaskFailure {
    let message = format!("nobody waits for the Job {job} any more");
    TaskFailure::saying(ErrorName::Internal, message)
}
