//! What befalls requests on their way.

use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::kube::Kubernetes;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Step Functions.
    StepFunctions,
    /// The Kubernetes API.
    Kubernetes,
}

/// A request that a worker sends.
#[derive(Debug, Clone, Copy)]
pub struct Outbound<'a> {
    /// Which one of all requests of the simulation it is. The first is 1.
    pub number: usize,
    /// The worker that sends it.
    pub worker: &'a str,
    /// Where it goes.
    pub service: Service,
    /// What it is, as [`crate::front::Endpoint::kind`] names it.
    pub kind: &'a str,
    /// The request itself.
    pub request: &'a Request<Bytes>,
    /// What there is right now.
    pub kubernetes: &'a Kubernetes,
}

/// What befalls one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Pass,
    /// There is no connection: it provably does not arrive.
    NoConnection,
    /// The connection is cut before the service has seen it.
    Refuse,
    /// The service sees it that much later.
    Delay(Duration),
    /// The service applies it, then the connection is cut.
    CutAfterApply,
    /// The connection is cut, and the service sees the request that much later all the same.
    CutAndArriveLate(Duration),
    /// The service does not see it; the worker gets this answer.
    Answer {
        /// Its HTTP status.
        status: u16,
        /// Its `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// Its body.
        body: String,
    },
    /// Its answer's body ends after that time, as if it were complete.
    EndAfter(Duration),
    /// Its answer's body breaks off after that time.
    BreakAfter(Duration),
    /// The client's own code panics.
    Panic,
    /// The worker dies before the service sees it.
    CrashBefore,
    /// The worker dies after the service has applied it, and before the answer arrives.
    CrashAfterApply,
    /// The worker dies just after the answer has arrived: what it sends then does not.
    CrashAfterAnswer,
    /// The worker dies, and the service sees the request that much later all the same.
    CrashAndArriveLate(Duration),
}

/// Decides what befalls requests.
pub trait Traffic: Send + Sync + 'static {
    /// What befalls this one. Asked once for each, in the order in which they are sent.
    fn fate(&self, request: &Outbound<'_>) -> Fate;

    /// What goes out instead of it, from a worker that is to look as if it had a bug.
    fn instead(&self, _: &Outbound<'_>) -> Option<Request<Bytes>> {
        None
    }

    /// What such a worker asks the Kubernetes API before it says this to Step Functions. These requests have numbers and fates of
    /// their own; nobody sees their answers.
    fn before(&self, _: &Outbound<'_>) -> Vec<Request<Bytes>> {
        Vec::new()
    }

    /// Whether such a worker gives up its polls as soon as it drains.
    fn gives_up_polls(&self) -> bool {
        false
    }
}

/// Nothing befalls any request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undisturbed;

impl Traffic for Undisturbed {
    fn fate(&self, _: &Outbound<'_>) -> Fate {
        Fate::Pass
    }
}
