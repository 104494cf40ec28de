//! The line between one worker and both services.
//!
//! A worker that has crashed stays silent: nothing that it sent and that is still on its way arrives, and nothing reaches it any
//! more, neither an answer nor another piece of a stream. Its futures wait for ever, as those of a process that is no more.

use std::{fmt, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    fate::{Fate, Outbound, Service, Traffic},
    journal::Journal,
};
use crate::{
    front::{Body, Cut, Endpoint, Front, whole},
    kube::Kubernetes,
    sfn::StepFunctions,
};

/// How long a request, and the head of its answer, are on their way.
const LATENCY: Duration = Duration::from_millis(2);
/// How long a worker lives that dies just after an answer: long enough to make of it what it will, too short for anything that it
/// sends then to arrive.
const LAST_MOMENT: Duration = Duration::from_millis(1);

/// One worker's line. Clones are the same line.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    worker: String,
    sfn: Front<StepFunctions>,
    kube: Front<Kubernetes>,
    journal: Journal,
    traffic: Arc<dyn Traffic>,
    crashed: CancellationToken,
    paused: watch::Sender<bool>,
    polls_given_up: CancellationToken,
}

/// There is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// There was no connection.
    #[error("there is no connection")]
    NoConnection,
    /// The connection was cut.
    #[error("the connection was cut")]
    Cut,
}

/// What the code of a client panics with on purpose. No panic hook hears of it.
#[derive(Debug, Clone, Copy)]
pub struct DeliberatePanic;

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("worker", &self.0.worker).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(
        worker: &str,
        (sfn, kube): (Front<StepFunctions>, Front<Kubernetes>),
        journal: Journal,
        traffic: Arc<dyn Traffic>,
    ) -> Self {
        let (worker, crashed, paused) = (worker.to_owned(), CancellationToken::new(), watch::Sender::new(false));
        let polls_given_up = CancellationToken::new();
        Self(Arc::new(Inner { worker, sfn, kube, journal, traffic, crashed, paused, polls_given_up }))
    }

    /// The worker is no more.
    pub fn crash(&self) {
        self.0.crashed.cancel();
    }

    /// Whether the worker is no more.
    pub fn has_crashed(&self) -> bool {
        self.0.crashed.is_cancelled()
    }

    /// Waits for the worker's death.
    pub async fn crashed(&self) {
        self.0.crashed.cancelled().await;
    }

    /// Lets nothing through, in either direction, until it is told to go on: a process that was stopped, a network that holds
    /// everything back.
    pub fn pause(&self, paused: bool) {
        self.0.paused.send_replace(paused);
    }

    pub(super) async fn step_functions(&self, request: Request<Bytes>) -> Result<Response<Body>, NoAnswer> {
        let kind = self.0.sfn.endpoint().kind(&request);
        let asked = Box::pin(async {
            let earlier = self.0.traffic.before(&self.outbound(Service::StepFunctions, &kind, &request));
            for earlier in earlier {
                let _unseen = self.carry(Service::Kubernetes, &self.0.kube, earlier).await;
            }
            self.carry(Service::StepFunctions, &self.0.sfn, request).await
        });
        let asked = self.alive(asked);
        if kind != "GetActivityTask" {
            return asked.await;
        }
        self.0.polls_given_up.run_until_cancelled(asked).await.unwrap_or(Err(NoAnswer::Cut))
    }

    /// Ends the polls in flight, as the client of a careless worker does.
    pub fn give_up_polls(&self) {
        self.0.polls_given_up.cancel();
    }

    pub(super) async fn kubernetes(&self, request: Request<Bytes>) -> Result<Response<Body>, NoAnswer> {
        self.alive(self.carry(Service::Kubernetes, &self.0.kube, request)).await
    }

    /// Waits for something, but not beyond the worker's death. Whoever is at the other end notices that.
    async fn alive<T>(&self, work: impl Future<Output = T>) -> T {
        match self.0.crashed.run_until_cancelled(work).await {
            Some(value) => value,
            None => pending().await,
        }
    }

    async fn carry<E: Endpoint>(
        &self,
        service: Service,
        front: &Front<E>,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, NoAnswer> {
        let kind = front.endpoint().kind(&request);
        let instead = self.0.traffic.instead(&self.outbound(service, &kind, &request));
        let request = instead.unwrap_or(request);
        let outbound = self.outbound(service, &kind, &request);
        let (number, fate) = (outbound.number, self.0.traffic.fate(&outbound));
        self.0.journal.sent(&outbound, fate.clone());
        let mut ends = None;
        match fate {
            Fate::NoConnection => return Err(NoAnswer::NoConnection),
            Fate::Panic => std::panic::resume_unwind(Box::new(DeliberatePanic)),
            Fate::CutAndArriveLate(after) => {
                arrive_late(front, request, after);
                sleep(LATENCY).await;
                return Err(NoAnswer::Cut);
            }
            Fate::CrashAndArriveLate(after) => {
                arrive_late(front, request, after);
                self.crash();
                return pending().await;
            }
            _ => {}
        }
        self.on_the_way().await;
        let response = match fate {
            Fate::Refuse => return Err(NoAnswer::Cut),
            Fate::CrashBefore => {
                self.crash();
                return pending().await;
            }
            Fate::CutAfterApply => {
                let _lost = front.call(request).await;
                return Err(NoAnswer::Cut);
            }
            Fate::CrashAfterApply => {
                let _lost = front.call(request).await;
                self.crash();
                return pending().await;
            }
            Fate::Answer { status, retry_after, body } => answer(status, retry_after, body),
            Fate::Delay(pause) => {
                sleep(pause).await;
                front.call(request).await.map_err(|Cut| NoAnswer::Cut)?
            }
            Fate::EndAfter(pause) => {
                ends = Some((Instant::now() + pause, End::Plain));
                front.call(request).await.map_err(|Cut| NoAnswer::Cut)?
            }
            Fate::BreakAfter(pause) => {
                ends = Some((Instant::now() + pause, End::Cut));
                front.call(request).await.map_err(|Cut| NoAnswer::Cut)?
            }
            _ => {
                let dies = fate == Fate::CrashAfterAnswer;
                let response = front.call(request).await.map_err(|Cut| NoAnswer::Cut)?;
                if dies {
                    let link = self.clone();
                    tokio::spawn(async move {
                        sleep(LATENCY + LAST_MOMENT).await;
                        link.crash();
                    });
                }
                response
            }
        };
        self.on_the_way().await;
        self.0.journal.answered(number, response.status());
        Ok(response.map(|body| self.stream(body, ends)))
    }

    fn outbound<'r>(&'r self, service: Service, kind: &'r str, request: &'r Request<Bytes>) -> Outbound<'r> {
        let number = self.0.journal.next_number();
        Outbound { number, worker: &self.0.worker, service, kind, request, kubernetes: self.0.kube.endpoint() }
    }

    /// A moment, and as long as the line is held.
    async fn on_the_way(&self) {
        sleep(LATENCY).await;
        // The sender lives in `self`.
        let _ = self.0.paused.subscribe().wait_for(|paused| !paused).await;
    }

    /// The body of an answer, as long as the worker lives.
    fn stream(&self, body: Body, ends: Option<(Instant, End)>) -> Body {
        let pieces = futures::stream::unfold(Some((self.clone(), body)), move |state| async move {
            let (link, mut body) = state?;
            let piece = link.alive(link.piece(&mut body, ends)).await?;
            let rest = piece.is_ok().then_some((link, body));
            Some((piece, rest))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    async fn piece(&self, body: &mut Body, ends: Option<(Instant, End)>) -> Option<Result<Frame<Bytes>, Cut>> {
        let piece = match ends {
            None => body.frame().await,
            Some((at, end)) => tokio::select! {
                biased;
                () = sleep_until(at) => match end {
                    End::Plain => None,
                    End::Cut => Some(Err(Cut)),
                },
                piece = body.frame() => piece,
            },
        };
        let _ = self.0.paused.subscribe().wait_for(|paused| !paused).await;
        piece
    }
}

/// How a body ends before its time.
#[derive(Debug, Clone, Copy)]
enum End {
    Plain,
    Cut,
}

fn arrive_late<E: Endpoint>(front: &Front<E>, request: Request<Bytes>, after: Duration) {
    let front = front.clone();
    tokio::spawn(async move {
        sleep(after).await;
        let _nobody_waits = front.call(request).await;
    });
}

fn answer(status: u16, retry_after: Option<u64>, body: String) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
