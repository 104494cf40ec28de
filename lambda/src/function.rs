//! What outlives an invocation, and what every invocation begins with.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use aws_config::SdkConfig;
use futures::FutureExt;
use jiff::Timestamp;
use runjob::{clock::Clock, metrics::Metrics, replies::Replies, sfn::Clients, starter};
use runjob_core::{
    arn::Source,
    failure::{ErrorName, TaskFailure},
    names::Group,
    request::{self, Answer, Parsed, Request},
    waiter::InvocationId,
};
use tracing::{Instrument, error, info, info_span};

use crate::{
    outcome::{Failed, Outcome, text},
    session::Session,
    settings::FunctionSettings,
    sites::Sites,
    sweep,
};

/// The function, between its invocations.
pub struct Function {
    pub(crate) settings: FunctionSettings,
    pub(crate) sites: Sites,
    pub(crate) clock: Clock,
    sdk: SdkConfig,
    /// For the account and region that the last invocation was in: always the same, but known only from then on.
    clients: Mutex<Option<(Source, Clients)>>,
}

/// What Lambda says of an invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Which one it is.
    pub id: InvocationId,
    /// The function that was invoked.
    pub function: Source,
    /// When Lambda ends it.
    pub deadline: Timestamp,
}

impl Function {
    /// A function that has not been asked for anything yet.
    pub fn new(settings: FunctionSettings, sdk: SdkConfig) -> Self {
        let clock = Clock::start();
        let sites = Sites::of(&settings.jobs, &sdk, clock);
        Self::over(settings, sdk, sites, clock)
    }

    /// The same with clusters that are known already: for simulations, which rule the clock as well.
    pub fn over(settings: FunctionSettings, sdk: SdkConfig, sites: Sites, clock: Clock) -> Self {
        Self { settings, sites, clock, sdk, clients: Mutex::default() }
    }

    /// Does what an event asks for.
    pub async fn handle(&self, event: &str, invocation: Invocation) -> Outcome {
        let span = info_span!("invocation", id = invocation.id.as_str());
        let handled = AssertUnwindSafe(self.answer(event, &invocation)).catch_unwind().instrument(span).await;
        handled.unwrap_or_else(|_| {
            error!("an invocation panicked");
            Err(Failed::internal("runjob has a defect that this request brings to light: please report it"))
        })
    }

    // What is awaited in here is on the heap: of a depth that the compiler would give up on.
    async fn answer(&self, event: &str, invocation: &Invocation) -> Outcome {
        if sweep::is_asked_for(event) {
            return Box::pin(self.sweep(event, invocation)).await;
        }
        // Whoever hands over a token hears of everything by it, as from a worker.
        if let Some(token) = request::token_in(event) {
            return Box::pin(self.hand_over(event, invocation, token)).await;
        }
        Box::pin(self.serve(event, invocation)).await
    }

    /// Does what is asked for, and returns what came of it.
    async fn serve(&self, event: &str, invocation: &Invocation) -> Outcome {
        let (session, request) = self.begin(event, invocation).await?;
        let outcome = match request {
            Request::RunJob(run) if run.answer == Answer::WhenFinished => session.wait(&run).await,
            Request::RunJob(run) => session.start(&run).await,
            Request::Call(call) => session.call(&call).await.map_err(Failed::from).and_then(text),
        };
        session.end().await;
        outcome
    }

    /// Takes the event as a request that this function may serve, and finds its cluster.
    pub(crate) async fn begin(&self, event: &str, invocation: &Invocation) -> Result<(Session, Request), TaskFailure> {
        let Parsed { request, target, .. } = starter::read(event, self.settings.jobs.strictness())?;
        let time = self.time(invocation);
        let served = self.sites.find(&target, time.left()).await?;
        served.admission.check(&request)?;
        let group = self.group(&invocation.function)?;
        info!(cluster = served.cluster.url(), "the invocation begins");
        Ok((self.session(invocation, time, group, &served), request))
    }

    /// Answers tasks, natively.
    pub(crate) fn replies(&self, function: &Source) -> Replies {
        let metrics = Arc::new(Metrics::default());
        Replies::new(self.clients(function), metrics, self.settings.jobs.job_failed_error.clone())
    }

    /// The clients of Step Functions for where the function is.
    pub(crate) fn clients(&self, function: &Source) -> Clients {
        let mut known = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((source, clients)) if source == function => clients.clone(),
            _ => {
                let clients = Clients::for_function(&self.sdk, function);
                *known = Some((function.clone(), clients.clone()));
                clients
            }
        }
    }

    /// The group that its Jobs belong to: the same as that of the workers in its account and region.
    pub(crate) fn group(&self, function: &Source) -> Result<Group, TaskFailure> {
        let group = self.settings.jobs.group([function]);
        group.map_err(|error| TaskFailure::saying(ErrorName::Internal, error.to_string()))
    }
}
