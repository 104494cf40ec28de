//! A function that is an async closure: for simulations, where nothing but the paused clock tells the time.

use std::{fmt, panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use tokio::time::timeout_at;

use super::{FunctionError, Invocation, RESPONSE_BYTES};

type Answer = Result<Value, FunctionError>;

pub(super) struct InProcess {
    timeout: Duration,
    function: Box<dyn Fn(Invocation) -> BoxFuture<'static, Answer> + Send + Sync>,
}

impl InProcess {
    pub(super) fn new<F, W>(timeout: Duration, function: F) -> Self
    where
        F: Fn(Invocation) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        Self { timeout, function: Box::new(move |invocation| function(invocation).boxed()) }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs the closure to its end or to its deadline.
    pub(super) async fn invoke(&self, invocation: Invocation) -> Answer {
        let (request_id, deadline) = (invocation.request_id.clone(), invocation.deadline);
        // The closure itself may panic, too.
        let work = async { (self.function)(invocation).await };
        let work = AssertUnwindSafe(work).catch_unwind();
        let answer = match timeout_at(deadline, work).await {
            Err(_) => return Err(FunctionError::timed_out(&request_id, self.timeout)),
            Ok(Err(panic)) => return Err(FunctionError::panicked(&*panic)),
            Ok(Ok(answer)) => answer?,
        };
        if answer.to_string().len() > RESPONSE_BYTES {
            return Err(FunctionError::response_too_large(RESPONSE_BYTES));
        }
        Ok(answer)
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
