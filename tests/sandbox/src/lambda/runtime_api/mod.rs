//! The Runtime API of one execution environment: HTTP on loopback, for one process.
//!
//! It is strict: what AWS answers with an error status is a violation besides, for no runtime has a reason to do it.

mod protocol;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

pub(super) use self::protocol::Outcome;
use self::protocol::{Answer, Blame, Phase, Refusal};
use super::{FunctionError, locked};
use crate::front::{Body, Endpoint, whole};

const VERSION: &str = "/2018-06-01/runtime/";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

/// What the environment learns of its runtime.
#[derive(Debug)]
pub(super) enum Said {
    /// It waits for an invocation.
    Ready,
    /// It has answered.
    Answered(Outcome),
    /// It cannot start.
    InitFailed(FunctionError),
}

/// An invocation on the wire.
#[derive(Debug)]
pub(super) struct Handout {
    pub(super) request_id: String,
    pub(super) function: String,
    pub(super) deadline_ms: u128,
    pub(super) trace_id: String,
    pub(super) payload: Bytes,
}

#[derive(Debug)]
pub(super) struct RuntimeApi {
    state: Mutex<State>,
    said: mpsc::UnboundedSender<Said>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// The poll that is held.
    poll: Option<oneshot::Sender<Box<Handout>>>,
    violations: Vec<String>,
}

/// A request, read.
enum Asked<'r> {
    Next,
    Answer(&'r str, Answer<'r>),
    InitError(Option<&'r str>),
    Unknown,
}

impl RuntimeApi {
    pub(super) fn new(said: mpsc::UnboundedSender<Said>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), said })
    }

    /// Gives the runtime that waits its next invocation, or gives it back: the poll has gone away.
    pub(super) fn hand_out(&self, handout: Box<Handout>) -> Result<(), Box<Handout>> {
        let mut state = locked(&self.state);
        let request_id = handout.request_id.clone();
        match state.poll.take() {
            Some(poll) => poll.send(handout)?,
            None => return Err(handout),
        }
        state.phase.hand_out(&request_id);
        Ok(())
    }

    pub(super) fn violations(&self) -> Vec<String> {
        locked(&self.state).violations.clone()
    }

    fn next(&self) -> Result<oneshot::Receiver<Box<Handout>>, Refusal> {
        let mut state = locked(&self.state);
        // A poll whose connection was lost may be replaced.
        if state.poll.as_ref().is_some_and(|poll| !poll.is_closed()) {
            return Err(Refusal::second_poll());
        }
        state.phase.next()?;
        let (give, poll) = oneshot::channel();
        state.poll = Some(give);
        self.tell(Said::Ready);
        Ok(poll)
    }

    fn answer_to(&self, request_id: &str, answer: Answer<'_>) -> Result<(), Refusal> {
        let (outcome, taken) = locked(&self.state).phase.answer(request_id, answer);
        if let Some(outcome) = outcome {
            self.tell(Said::Answered(outcome));
        }
        taken
    }

    fn init_error(&self, error_type: Option<&str>, body: &[u8]) -> Result<(), Refusal> {
        let (error, taken) = locked(&self.state).phase.init_error(error_type, body);
        if let Some(error) = error {
            self.tell(Said::InitFailed(error));
        }
        taken
    }

    fn tell(&self, said: Said) {
        // An environment that has ended listens no more.
        let _ = self.said.send(said);
    }

    fn refuse(&self, what: &str, refusal: &Refusal) -> Response<Body> {
        let Refusal { status, error_type, message, blame } = refusal;
        if *blame == Blame::Runtime {
            locked(&self.state).violations.push(format!("{what}: {status} {error_type}: {message}"));
        }
        let body = json!({ "errorType": error_type, "errorMessage": message });
        answer(*status, body.to_string())
    }
}

impl Endpoint for RuntimeApi {
    fn kind(&self, request: &Request<Bytes>) -> String {
        let kind = match asked(request) {
            Asked::Next => "next",
            Asked::Answer(_, Answer::Response(_)) => "response",
            Asked::Answer(_, Answer::Error { .. }) => "error",
            Asked::InitError(_) => "init/error",
            Asked::Unknown => "unknown",
        };
        kind.to_owned()
    }

    async fn answer(self: Arc<Self>, request: Request<Bytes>) -> Response<Body> {
        let what = format!("{} {}", request.method(), request.uri().path());
        let taken = match asked(&request) {
            Asked::Next => match self.next() {
                Ok(poll) => match poll.await {
                    Ok(handout) => return invocation(*handout),
                    // Another poll has taken its place: nobody reads this.
                    Err(_) => return answer(StatusCode::GONE.as_u16(), String::new()),
                },
                Err(refusal) => Err(refusal),
            },
            Asked::Answer(request_id, answer) => self.answer_to(request_id, answer),
            Asked::InitError(error_type) => self.init_error(error_type, request.body()),
            Asked::Unknown => Err(Refusal::unknown(&what)),
        };
        match taken {
            Ok(()) => answer(StatusCode::ACCEPTED.as_u16(), json!({ "status": "OK" }).to_string()),
            Err(refusal) => self.refuse(&what, &refusal),
        }
    }
}

fn asked(request: &Request<Bytes>) -> Asked<'_> {
    let Some(path) = request.uri().path().strip_prefix(VERSION) else { return Asked::Unknown };
    let error_type = request.headers().get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    match (request.method(), path.split('/').collect::<Vec<_>>().as_slice()) {
        (&Method::GET, ["invocation", "next"]) => Asked::Next,
        (&Method::POST, ["invocation", id, "response"]) => Asked::Answer(id, Answer::Response(request.body())),
        (&Method::POST, ["invocation", id, "error"]) => {
            Asked::Answer(id, Answer::Error { error_type, body: request.body() })
        }
        (&Method::POST, ["init", "error"]) => Asked::InitError(error_type),
        _ => Asked::Unknown,
    }
}

fn invocation(handout: Handout) -> Response<Body> {
    let headers = [
        ("lambda-runtime-aws-request-id", handout.request_id),
        ("lambda-runtime-deadline-ms", handout.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", handout.function),
        ("lambda-runtime-trace-id", handout.trace_id),
    ];
    let mut response = Response::new(whole(handout.payload));
    for (name, value) in headers {
        // All of them are of our own making.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    json_content(response)
}

fn answer(status: u16, body: String) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_content(response)
}

fn json_content(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
