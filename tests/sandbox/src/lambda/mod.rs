//! AWS Lambda: functions that are invoked and answer, as processes behind the real Runtime API, or in process.
//!
//! ```text
//!                        ┌ Deployed ───────────────────────────────────────────────┐
//!                     ┌─►│ Instance: process ◄─ HTTP ─► RuntimeApi ► Phase (rules) │ one for each invocation at a time
//!  invoke ─► Lambda ──┤  └─────────────────────────────────────────────────────────┘
//!                     └─► InProcess: an async closure, which keeps to a paused clock
//! ```
//!
//! An invocation belongs to the service, not to who asked for it: it runs on when the caller goes away. What a
//! function may not do (an unknown request id, a second answer, an error that is none) is refused as AWS refuses it, and is a violation
//! that the test has to look at: [`Lambda::violations`].

mod bootstrap;
mod deployed;
mod error;
mod in_process;
mod instance;
mod noted;
mod runtime_api;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::oneshot, task::JoinSet, time::Instant};

pub use self::{
    bootstrap::{Between, Bootstrap},
    deployed::{Deployed, Environment, EnvironmentState},
    error::{FunctionError, InvokeError},
};
use self::{in_process::InProcess, noted::Noted};
use crate::{reaper::Reaper, seed::Generator};

/// Bytes of the payload of a synchronous invocation.
const REQUEST_BYTES: usize = 6_291_456;
/// Bytes of an answer: the same, and a hundred for good measure.
const RESPONSE_BYTES: usize = 6_291_556;

/// The service. Its functions end when it is dropped.
pub struct Lambda {
    account: String,
    region: String,
    functions: Mutex<BTreeMap<String, Code>>,
    /// All that were ever deployed, also those that were replaced.
    deployed: Mutex<Vec<Deployed>>,
    calls: Noted<Call>,
    ids: Mutex<Generator>,
    running: Mutex<JoinSet<()>>,
    reaper: Arc<Reaper>,
    directory: PathBuf,
}

/// One invocation, as its function gets it.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Its number among all invocations.
    pub request_id: String,
    /// The ARN of the function.
    pub function: String,
    /// What the function is asked.
    pub payload: Value,
    /// When the function is ended if it has not answered.
    pub deadline: Instant,
}

/// An invocation and what came of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// What the function was asked.
    pub invocation: Invocation,
    /// What it answered. `None` while it is at it.
    pub outcome: Option<Result<Value, FunctionError>>,
}

/// The answer to an invocation.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) request_id: String,
    pub(crate) payload: Value,
}

#[derive(Clone)]
enum Code {
    InProcess(Arc<InProcess>),
    Process(Deployed),
}

impl Code {
    fn timeout(&self) -> Duration {
        match self {
            Self::InProcess(code) => code.timeout(),
            Self::Process(deployed) => deployed.timeout(),
        }
    }
}

impl Lambda {
    /// A service without functions. The numbers of its invocations follow from the seed.
    pub fn new(account: &str, region: &str, seed: u64) -> Arc<Self> {
        /// Tells the directories of several services in one process apart.
        static SERVICES: AtomicU32 = AtomicU32::new(0);
        let service = SERVICES.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("runjob-lambda-{}-{service}", std::process::id()));
        Arc::new(Self {
            account: account.to_owned(),
            region: region.to_owned(),
            functions: Mutex::default(),
            deployed: Mutex::default(),
            calls: Noted::default(),
            // Other numbers than the uids of a cluster with the same seed.
            ids: Mutex::new(Generator::new(seed ^ 0x6c61_6d62_6461)),
            running: Mutex::default(),
            reaper: Arc::new(Reaper::new(directory.clone())),
            directory,
        })
    }

    /// The ARN of a function that is given by name or ARN.
    pub fn arn(&self, function: &str) -> String {
        if function.starts_with("arn:") {
            return function.to_owned();
        }
        format!("arn:aws:lambda:{}:{}:function:{function}", self.region, self.account)
    }

    /// Makes a function of an async closure, or replaces the code of the one of that name. Gives its ARN.
    ///
    /// At the deadline its future is dropped, as a process is killed.
    pub fn add<F, W>(&self, name: &str, timeout: Duration, function: F) -> String
    where
        F: Fn(Invocation) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Value, FunctionError>> + Send + 'static,
    {
        let arn = self.arn(name);
        locked(&self.functions).insert(arn.clone(), Code::InProcess(Arc::new(InProcess::new(timeout, function))));
        arn
    }

    /// Makes a function of a binary, or replaces the code of the one of that name.
    pub fn deploy(&self, name: &str, bootstrap: Bootstrap) -> Deployed {
        let arn = self.arn(name);
        let surroundings = deployed::Surroundings {
            name: name.to_owned(),
            arn: arn.clone(),
            region: self.region.clone(),
            reaper: self.reaper.clone(),
            directory: self.directory.clone(),
        };
        let deployed = Deployed::new(surroundings, bootstrap);
        locked(&self.functions).insert(arn, Code::Process(deployed.clone()));
        locked(&self.deployed).push(deployed.clone());
        deployed
    }

    /// Invokes a function, given by name or ARN, and waits for its answer. The function runs on if this is dropped.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, InvokeError> {
        self.request(function, payload).await.map(|reply| reply.payload)
    }

    /// The same, with all that the service says of the answer.
    pub(crate) async fn request(&self, function: &str, payload: &Value) -> Result<Reply, InvokeError> {
        let arn = self.arn(function);
        let code = locked(&self.functions).get(&arn).cloned();
        let code = code.ok_or_else(|| InvokeError::no_function(&arn))?;
        if payload.to_string().len() > REQUEST_BYTES {
            return Err(InvokeError::too_large(REQUEST_BYTES));
        }
        let request_id = locked(&self.ids).uid();
        let deadline = Instant::now() + code.timeout();
        let invocation =
            Invocation { request_id: request_id.clone(), function: arn, payload: payload.clone(), deadline };
        let call = self.calls.add(Call { invocation: invocation.clone(), outcome: None });
        let calls = self.calls.clone();
        let (give, answer) = oneshot::channel();
        self.spawn(async move {
            let outcome = match code {
                Code::InProcess(code) => code.invoke(invocation).await,
                Code::Process(deployed) => deployed.invoke(invocation).await,
            };
            calls.change(call, |call| call.outcome = Some(outcome.clone()));
            // Whoever asked may be gone.
            let _ = give.send(outcome);
        });
        // Without an answer the service itself has ended.
        let outcome = answer.await.map_err(|_| InvokeError::gone())?;
        outcome.map(|payload| Reply { request_id, payload }).map_err(InvokeError::Function)
    }

    /// All invocations so far, in their order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.all()
    }

    /// Waits until `found` picks something out of the invocations so far. Looks again at every beginning and end.
    pub async fn wait_for_calls<T>(&self, found: impl FnMut(&[Call]) -> Option<T>) -> T {
        self.calls.wait_for(found).await
    }

    /// What the processes of functions did, so far, that the Runtime API forbids.
    pub fn violations(&self) -> Vec<String> {
        locked(&self.deployed).iter().flat_map(Deployed::violations).collect()
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = locked(&self.running);
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lambda").field("account", &self.account).field("region", &self.region).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
