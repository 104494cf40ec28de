//! Reading a container's log: followed to its end, whatever its bytes, within a bound.

use std::{pin::Pin, time::Duration};

use futures::future::Either;
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use runjob_core::{
    budget::shortened,
    failure::ErrorName,
    json,
    logs::{ContainerLog, LogBuffer, LogText},
    refusal::read_may_pass,
};
use tokio::time::Instant;
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
/// The longest silence of a log that is read as far as it is: its bytes are on their way.
const SILENCE_AFTER_END: Duration = Duration::from_secs(10);
/// How long a followed log goes on once its Job has ended, silent or not. What an ended container has said arrives by then. Of a
/// deleted Job a pod may print on for as long as its grace period, or for ever if it was orphaned, while the task waits.
const AFTER_END: Duration = Duration::from_secs(10);
/// The longest that a log takes, from its first byte to its last: one that is read as far as it is ends by itself, unless its
/// container prints faster than the API server serves.
pub const LONGEST: Duration = Duration::from_mins(10);
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
        /// When the container should have ended at the latest. From then on the log is read as far as it is, and soon.
        until: Instant,
    },
    /// Where it is now.
    Now,
}

impl LogEnd<'_> {
    /// Whether the log is followed: not once the Job has ended, or the container should have.
    fn is_followed(self) -> bool {
        matches!(self, Self::OfContainer { job_ended, until } if !job_ended.is_cancelled() && Instant::now() < until)
    }

    /// Waits until a log that is begun now has to end, whatever it brings.
    async fn over(self) -> CutOff {
        match self {
            Self::OfContainer { job_ended, until } => {
                if self.is_followed() && tokio::time::timeout_at(until, job_ended.cancelled()).await.is_err() {
                    return CutOff::TookTooLong;
                }
                tokio::time::sleep(AFTER_END).await;
                CutOff::StillMore
            }
            Self::Now => {
                tokio::time::sleep(LONGEST).await;
                CutOff::TookTooLong
            }
        }
    }

    /// How long the log may be silent.
    fn silence(self) -> Duration {
        if self.is_followed() { SILENCE } else { SILENCE_AFTER_END }
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

/// Why a log is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum CutOff {
    #[error("it was silent for too long")]
    Silent,
    #[error("there was still more of it when its time was over")]
    StillMore,
    #[error("its container did not end in time")]
    TookTooLong,
}

/// Waits for what a log brings next, until it is cut off.
async fn before<T>(
    cut: &mut Pin<&mut impl Future<Output = CutOff>>,
    silence: Duration,
    next: impl Future<Output = T>,
) -> Result<T, CutOff> {
    let next = tokio::time::timeout(silence, next);
    match futures::future::select(std::pin::pin!(next), cut.as_mut()).await {
        Either::Left((next, _)) => next.map_err(|_| CutOff::Silent),
        Either::Right((cut, _)) => Err(cut),
    }
}

impl Cluster {
    /// Reads a log. A log that cannot be read is a result, too: it never fails a task. One that breaks off is read again, and while
    /// the API is away it is waited for. Once the Job has ended, this ends within `AFTER_END` if the API answers.
    pub async fn log(&self, log: LogRequest<'_>) -> ContainerLog {
        let mut pauses = CALLS.pauses();
        let mut left = REPETITIONS;
        let was_followed = log.end.is_followed();
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
            // The end has come meanwhile: one more look at what there is, no more.
            if was_followed && !log.end.is_followed() {
                left = 0;
            }
        }
    }

    async fn read_once(&self, log: &LogRequest<'_>, unauthenticated: &mut Unauthenticated) -> Once {
        let silence = log.end.silence();
        let mut cut = std::pin::pin!(log.end.over());
        match before(&mut cut, silence, self.open(log)).await.unwrap_or_else(|cut| Err(unreachable(&cut))) {
            Ok(response) if unauthenticated.may_pass(response.status().as_u16()) => {
                Once::Away(format!("the server answered {}", response.status()))
            }
            Ok(response) if response.status().is_success() => {
                read(response.into_body(), log.limit, silence, &mut cut).await
            }
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
        if log.end.is_followed() {
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
        self.logs.send(request).await.map_err(|error| Once::Away(chain(&error)))
    }
}

// The API is there, a node may not be: that is not waited for without end.
fn unreachable(reason: &dyn std::error::Error) -> Once {
    let error = ErrorName::ClusterUnreachable.to_string();
    Once::Refused { passing: true, error, cause: shortened(&reason.to_string(), MAX_CAUSE) }
}

/// Takes in a log until it ends, or is cut off.
async fn read(
    mut body: Body,
    limit: usize,
    silence: Duration,
    cut: &mut Pin<&mut impl Future<Output = CutOff>>,
) -> Once {
    let mut buffer = LogBuffer::new(limit);
    loop {
        match before(cut, silence, body.frame()).await {
            Ok(None) => return Once::Read(buffer.finish()),
            Ok(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    buffer.push(bytes);
                }
            }
            Ok(Some(Err(error))) => return Once::BrokeOff(broken_off(buffer, &chain(&error))),
            // It would be the same again.
            Err(cut) => return Once::Read(broken_off(buffer, &cut.to_string())),
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
    let text = String::from_utf8_lossy(&bytes);
    let text = match json::read(&text) {
        Ok(status) => message(&status),
        Err(_) => text.into_owned(),
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
    use futures::stream;
    use http::Request;
    use http_body_util::StreamBody;
    use runjob_core::refusal::AUTHENTICATION_PATIENCE;
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

    /// A cluster in which each log prints a line each second, without end. It says how a log was asked for.
    fn a_cluster_that_prints() -> Cluster {
        let service = service_fn(|request: Request<Body>| async move {
            let asked =
                if request.uri().query().is_some_and(|query| query.contains("follow")) { "followed" } else { "read" };
            let lines = stream::unfold(format!("{asked}\n"), |line| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, BoxError>(http_body::Frame::data(bytes::Bytes::from(line))), "again\n".to_owned()))
            });
            Ok::<_, BoxError>(Response::new(StreamBody::new(Box::pin(lines))))
        });
        Cluster::over(service, "", Clock::start())
    }

    /// What is read of such a log, and how long that takes.
    async fn printed(end: LogEnd<'_>) -> (String, Duration) {
        let begun = Instant::now();
        let log = a_cluster_that_prints().log(LogRequest { end, ..LogRequest::of_any() }).await;
        let ContainerLog::Read(text) = log else { panic!("{log:?}") };
        (text.text(), begun.elapsed())
    }

    fn in_minutes(minutes: u64) -> Instant {
        Instant::now() + Duration::from_mins(minutes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_prints_for_ever_is_not_followed_for_longer_than_it_should_live() {
        let job_ended = CancellationToken::new();
        let (text, time) = printed(LogEnd::OfContainer { job_ended: &job_ended, until: in_minutes(3) }).await;
        assert_eq!(time, Duration::from_mins(3));
        assert!(text.starts_with("followed\nagain\n"), "{text}");
        assert!(text.ends_with("[runjob: the log broke off here: its container did not end in time]\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_prints_for_ever_is_not_followed_for_long_after_the_end_of_its_job() {
        let job_ended = CancellationToken::new();
        tokio::spawn({
            let job_ended = job_ended.clone();
            async move {
                tokio::time::sleep(Duration::from_mins(1)).await;
                job_ended.cancel();
            }
        });
        let (text, time) = printed(LogEnd::OfContainer { job_ended: &job_ended, until: in_minutes(3) }).await;
        assert_eq!(time, Duration::from_mins(1) + AFTER_END);
        assert!(text.ends_with("still more of it when its time was over]\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_of_a_job_that_has_ended_is_not_followed() {
        let job_ended = CancellationToken::new();
        job_ended.cancel();
        let (text, time) = printed(LogEnd::OfContainer { job_ended: &job_ended, until: in_minutes(3) }).await;
        assert_eq!(time, AFTER_END);
        assert!(text.starts_with("read\n"), "{text}");
        let (text, time) = printed(LogEnd::Now).await;
        assert!(text.starts_with("read\n") && time == LONGEST, "{time:?}");
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
