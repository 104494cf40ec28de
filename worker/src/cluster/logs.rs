//! Reading a container's log: followed to its end, whatever its bytes, within a bound.

use std::time::Duration;

use futures::future::Either;
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use runjob_core::{
    budget::shortened,
    failure::ErrorName,
    logs::{ContainerLog, LogBuffer, LogText},
    refusal::read_may_pass,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Cluster,
    exchange::{Ask, escape, message},
    unauthenticated::Unauthenticated,
};
use crate::{error_chain::chain, retry::CALLS};

/// How often a log that is refused, or breaks off, is asked for again. Not often: the task waits.
const REPETITIONS: u32 = 3;
/// The longest silence of a log that is followed while its Job has not ended: a container may be silent for as long as its
/// grace period, and a quiet one holds back even the response header.
const SILENCE: Duration = Duration::from_mins(5);
/// The same once the Job has ended: its containers have, too, so what is still to come is on its way.
const SILENCE_AFTER_END: Duration = Duration::from_secs(10);
/// The most of an error that becomes a cause, in characters.
pub const MAX_CAUSE: usize = 512;

/// Which log to read, and how.
#[derive(Debug, Clone, Copy)]
pub struct LogRequest<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// Which of its runs.
    pub run: Run,
    /// The user's `LogParameters`.
    pub parameters: &'a [(String, Vec<String>)],
    /// Where to stop.
    pub end: LogEnd<'a>,
    /// How many bytes are kept.
    pub limit: usize,
}

/// A run of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The present one, or the last one if it does not run.
    Last,
    /// The one before.
    Previous,
}

/// Where a log ends.
#[derive(Debug, Clone, Copy)]
pub enum LogEnd<'a> {
    /// With the container: its last words are still to come.
    OfContainer {
        /// Cancelled when the Job has ended.
        job_ended: &'a CancellationToken,
    },
    /// Where it is now.
    Now,
}

impl LogEnd<'_> {
    /// Waits for what a log brings next, but not longer than it may be silent.
    async fn within_silence<T>(self, next: impl Future<Output = T>) -> Result<T, Silent> {
        let next = std::pin::pin!(next);
        let silent = async {
            match self {
                Self::Now => tokio::time::sleep(SILENCE_AFTER_END).await,
                Self::OfContainer { job_ended } => {
                    let ended = job_ended.run_until_cancelled(tokio::time::sleep(SILENCE)).await;
                    if ended.is_none() {
                        tokio::time::sleep(SILENCE_AFTER_END).await;
                    }
                }
            }
        };
        match futures::future::select(next, std::pin::pin!(silent)).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(_) => Err(Silent),
        }
    }
}

/// What came of one attempt.
enum Once {
    Read(LogText),
    BrokeOff(LogText),
    Refused {
        passing: bool,
        error: String,
        cause: String,
    },
    /// The API is away, or knows nobody at the moment.
    Away(String),
}

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("it was silent for too long")]
struct Silent;

impl Cluster {
    /// Reads a log. A log that cannot be read is a result, too: it never fails a task. One that breaks off is read anew, and while
    /// the API is away it is waited for.
    pub async fn log(&self, log: LogRequest<'_>) -> ContainerLog {
        let mut pauses = CALLS.pauses();
        let mut left = REPETITIONS;
        let mut unauthenticated = Unauthenticated::default();
        // The pod may be gone before it can be read anew.
        let mut broken = None;
        loop {
            match self.read_once(&log, &mut unauthenticated).await {
                Once::Read(text) => return ContainerLog::Read(text),
                Once::BrokeOff(text) if left == 0 => return ContainerLog::Read(text),
                Once::BrokeOff(text) => {
                    broken = Some(text);
                    left -= 1;
                }
                Once::Refused { passing, error, cause } => {
                    if !passing || left == 0 {
                        return broken.map_or(ContainerLog::Unreadable { error, cause }, ContainerLog::Read);
                    }
                    left -= 1;
                }
                Once::Away(reason) => debug!(reason, "unable to read a log yet"),
            }
            tokio::time::sleep(pauses.next(None)).await;
        }
    }

    async fn read_once(&self, log: &LogRequest<'_>, unauthenticated: &mut Unauthenticated) -> Once {
        match self.open(log).await {
            Ok(response) if unauthenticated.may_pass(response.status().as_u16()) => {
                Once::Away(format!("the server answered {}", response.status()))
            }
            Ok(response) if response.status().is_success() => read(response.into_body(), log.limit, log.end).await,
            Ok(response) => {
                let status = response.status().as_u16();
                let passing = read_may_pass(status) || !self.reachability().is_settled(status);
                Once::Refused { passing, error: format!("EKS.{status}"), cause: refusal(response).await }
            }
            Err(other) => other,
        }
    }

    async fn open(&self, log: &LogRequest<'_>) -> Result<Response<Body>, Once> {
        let mut query = format!("container={}", escape(log.container));
        if log.run == Run::Previous {
            query.push_str("&previous=true");
        }
        if matches!(log.end, LogEnd::OfContainer { .. }) {
            query.push_str("&follow=true");
        }
        for (name, values) in log.parameters {
            for value in values {
                query.push_str(&format!("&{}={}", escape(name), escape(value)));
            }
        }
        let uri = format!("/api/v1/namespaces/{}/pods/{}/log?{query}", escape(log.namespace), escape(log.pod));
        let request =
            Ask::new("read a log".to_owned(), Method::GET, uri).request().map_err(|error| unreachable(&error))?;
        let sent = self.logs.send(request);
        match log.end.within_silence(sent).await {
            Ok(response) => response.map_err(|error| Once::Away(chain(&error))),
            // The API is there, a node may not be: that is not waited for without end.
            Err(silent) => Err(unreachable(&silent)),
        }
    }
}

fn unreachable(reason: &dyn std::error::Error) -> Once {
    let error = ErrorName::ClusterUnreachable.to_string();
    Once::Refused { passing: true, error, cause: shortened(&reason.to_string(), MAX_CAUSE) }
}

/// Takes in a log until it ends.
async fn read(mut body: Body, limit: usize, end: LogEnd<'_>) -> Once {
    let mut buffer = LogBuffer::new(limit);
    loop {
        match end.within_silence(body.frame()).await {
            Ok(None) => return Once::Read(buffer.finish()),
            Ok(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    buffer.push(bytes);
                }
            }
            Ok(Some(Err(error))) => return Once::BrokeOff(broken_off(buffer, &chain(&error))),
            // It would be as silent again.
            Err(silent) => return Once::Read(broken_off(buffer, &silent.to_string())),
        }
    }
}

/// Says in its last line that there should be more.
fn broken_off(mut buffer: LogBuffer, reason: &str) -> LogText {
    buffer.push(format!("\n[runjob: the log broke off here: {reason}]\n").as_bytes());
    buffer.finish()
}

async fn refusal(response: Response<Body>) -> String {
    let body = Limited::new(response.into_body(), 64 * 1024).collect();
    let Ok(Ok(body)) = tokio::time::timeout(Duration::from_secs(10), body).await else { return String::new() };
    let bytes = body.to_bytes();
    let text = match serde_json::from_slice(&bytes) {
        Ok(status) => message(&status),
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    shortened(&text, MAX_CAUSE)
}

#[cfg(test)]
impl LogRequest<'static> {
    /// For the whole log of a container of no consequence.
    pub(super) fn of_any() -> Self {
        Self {
            namespace: "x",
            pod: "p",
            container: "c",
            run: Run::Last,
            parameters: &[],
            end: LogEnd::Now,
            limit: 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use runjob_core::refusal::AUTHENTICATION_PATIENCE;
    use tokio::time::Instant;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::clock::Clock;

    /// The log of a container in a cluster that knows nobody for so long.
    async fn a_log(unknown: Duration) -> ContainerLog {
        let begun = Instant::now();
        let service = service_fn(move |_: Request<Body>| async move {
            let (status, body) = if begun.elapsed() < unknown { (401, "Unauthorized") } else { (200, "3.14\n") };
            Ok::<_, BoxError>(Response::builder().status(status).body(Body::from(body.as_bytes().to_vec()))?)
        });
        Cluster::over(service, "", Clock::start()).log(LogRequest::of_any()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_waits_until_the_api_knows_somebody() {
        assert!(matches!(a_log(Duration::from_mins(1)).await, ContainerLog::Read(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_does_not_wait_for_ever() {
        let log = a_log(AUTHENTICATION_PATIENCE * 10).await;
        assert!(matches!(&log, ContainerLog::Unreadable { error, .. } if error == "EKS.401"), "{log:?}");
    }
}
