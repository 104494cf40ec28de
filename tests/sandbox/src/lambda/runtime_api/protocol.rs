//! What a runtime may say when. Decides; knows neither HTTP nor processes.
//!
//! ```text
//!            next                    hand_out                 response | error
//!  Starting ──────► Waiting ────────────────────► Running(id) ─────────────────► Answered(id)
//!      │ init/error    ▲                                                            │ next
//!      ▼               └────────────────────────────────────────────────────────────┘
//!   Failed
//! ```

use serde_json::Value;

use crate::lambda::{FunctionError, RESPONSE_BYTES};

/// What came of an invocation.
pub(in crate::lambda) type Outcome = Result<Value, FunctionError>;

/// The state of one runtime.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// It has not asked for anything yet.
    #[default]
    Starting,
    /// It waits for an invocation.
    Waiting,
    /// It is at the invocation with this id.
    Running(String),
    /// It has answered the invocation with this id.
    Answered(String),
    /// It has said that it cannot start.
    Failed,
}

/// What a runtime says of an invocation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'r> {
    /// `…/response`
    Response(&'r [u8]),
    /// `…/error`
    Error { error_type: Option<&'r str>, body: &'r [u8] },
}

/// An error status of the Runtime API, with the words of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) error_type: &'static str,
    pub(super) message: String,
    pub(super) blame: Blame,
}

/// Whether a refusal is the runtime's own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The Runtime API forbids it: no runtime may do it.
    Runtime,
    /// The function has answered too much, which Invoke reports.
    Function,
}

impl Phase {
    /// The runtime asks for the next invocation.
    pub(super) fn next(&mut self) -> Result<(), Refusal> {
        match self {
            Self::Starting | Self::Waiting | Self::Answered(_) => {
                *self = Self::Waiting;
                Ok(())
            }
            Self::Running(_) | Self::Failed => Err(self.not_now("Ready")),
        }
    }

    /// It gets one. Whoever hands it out knows that the runtime waits.
    pub(super) fn hand_out(&mut self, request_id: &str) {
        *self = Self::Running(request_id.to_owned());
    }

    /// It answers one. The outcome is that of the invocation; there may be one even though the answer is refused.
    pub(super) fn answer(&mut self, request_id: &str, answer: Answer<'_>) -> (Option<Outcome>, Result<(), Refusal>) {
        let open = match self {
            Self::Running(open) => open.clone(),
            Self::Answered(answered) if answered == request_id => return (None, Err(self.not_now("ResponseSent"))),
            _ => return (None, Err(Refusal::request_id())),
        };
        if open != request_id {
            return (None, Err(Refusal::request_id()));
        }
        *self = Self::Answered(open);
        let (outcome, taken) = read(answer);
        (Some(outcome), taken)
    }

    /// It says that it cannot start.
    pub(super) fn init_error(
        &mut self,
        error_type: Option<&str>,
        body: &[u8],
    ) -> (Option<FunctionError>, Result<(), Refusal>) {
        if !matches!(self, Self::Starting) {
            return (None, Err(self.not_now("InitError")));
        }
        *self = Self::Failed;
        let (outcome, taken) = read(Answer::Error { error_type, body });
        (outcome.err(), taken)
    }

    fn not_now(&self, to: &str) -> Refusal {
        let from = match self {
            Self::Starting => "Started",
            Self::Waiting => "Ready",
            Self::Running(_) => "Running",
            Self::Answered(_) => "ResponseSent",
            Self::Failed => "InitError",
        };
        Refusal {
            status: 403,
            error_type: "InvalidStateTransition",
            message: format!("Transition from {from} to {to} is not allowed"),
            blame: Blame::Runtime,
        }
    }
}

fn read(answer: Answer<'_>) -> (Outcome, Result<(), Refusal>) {
    match answer {
        Answer::Response(body) if body.len() > RESPONSE_BYTES => {
            (Err(FunctionError::response_too_large(RESPONSE_BYTES)), Err(Refusal::too_large()))
        }
        Answer::Response(body) => match serde_json::from_slice(body) {
            Ok(answer) => (Ok(answer), Ok(())),
            Err(error) => (Err(FunctionError::no_json()), Err(Refusal::malformed(format!("no JSON: {error}")))),
        },
        Answer::Error { body, .. } if body.len() > RESPONSE_BYTES => {
            (Err(FunctionError::response_too_large(RESPONSE_BYTES)), Err(Refusal::too_large()))
        }
        Answer::Error { error_type, body } => {
            let Some(error) = FunctionError::reported(body) else {
                let refusal = Refusal::malformed("no object with errorType and errorMessage, both text".to_owned());
                return (Err(FunctionError::no_json()), Err(refusal));
            };
            let header = "the header Lambda-Runtime-Function-Error-Type is missing";
            let taken = error_type.map(|_| ()).ok_or_else(|| Refusal::malformed(header.to_owned()));
            (Err(error), taken)
        }
    }
}

impl Refusal {
    pub(super) fn unknown(what: &str) -> Self {
        let message = format!("the Runtime API has no {what}");
        Self { status: 404, error_type: "NotFound", message, blame: Blame::Runtime }
    }

    pub(super) fn second_poll() -> Self {
        let message = "Transition from Ready to Ready is not allowed: a poll is held already".to_owned();
        Self { status: 403, error_type: "InvalidStateTransition", message, blame: Blame::Runtime }
    }

    fn request_id() -> Self {
        let message = "Invalid request ID".to_owned();
        Self { status: 400, error_type: "InvalidRequestID", message, blame: Blame::Runtime }
    }

    fn malformed(message: String) -> Self {
        Self { status: 400, error_type: "InvalidRequest", message, blame: Blame::Runtime }
    }

    fn too_large() -> Self {
        Self {
            status: 413,
            error_type: "RequestEntityTooLarge",
            message: format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES} bytes)."),
            blame: Blame::Function,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REPORT: &[u8] = br#"{"errorType":"My.Error","errorMessage":"why"}"#;

    fn running(id: &str) -> Phase {
        let mut phase = Phase::default();
        phase.next().unwrap();
        phase.hand_out(id);
        phase
    }

    fn refused(taken: Result<(), Refusal>) -> (u16, &'static str, Blame) {
        let Refusal { status, error_type, blame, .. } = taken.unwrap_err();
        (status, error_type, blame)
    }

    #[test]
    fn an_invocation_is_answered_once() {
        let mut phase = running("a");
        let (outcome, taken) = phase.answer("a", Answer::Response(b"[1]"));
        assert_eq!((outcome, taken), (Some(Ok(json!([1]))), Ok(())));
        let (outcome, taken) = phase.answer("a", Answer::Response(b"[2]"));
        assert_eq!((outcome, refused(taken)), (None, (403, "InvalidStateTransition", Blame::Runtime)));
        phase.next().unwrap();
        let (outcome, taken) = phase.answer("a", Answer::Error { error_type: Some("x"), body: REPORT });
        assert_eq!((outcome, refused(taken)), (None, (400, "InvalidRequestID", Blame::Runtime)));
    }

    #[test]
    fn an_answer_to_another_invocation_leaves_this_one_open() {
        let mut phase = running("a");
        let (outcome, taken) = phase.answer("b", Answer::Response(b"1"));
        assert_eq!((outcome, refused(taken).1), (None, "InvalidRequestID"));
        assert_eq!(phase.answer("a", Answer::Response(b"1")).0, Some(Ok(json!(1))));
        let (outcome, taken) = Phase::default().answer("a", Answer::Response(b"1"));
        assert_eq!((outcome, refused(taken).1), (None, "InvalidRequestID"), "there is no invocation yet");
    }

    #[test]
    fn nobody_asks_for_more_before_he_has_answered() {
        assert_eq!(refused(running("a").next()), (403, "InvalidStateTransition", Blame::Runtime));
    }

    #[test]
    fn an_error_has_a_type_and_a_message_and_a_header() {
        let error = |error_type, body| running("a").answer("a", Answer::Error { error_type, body });
        let (outcome, taken) = error(Some("unhandled"), REPORT);
        assert_eq!((outcome, taken), (Some(Err(FunctionError::new("My.Error", "why"))), Ok(())));
        for body in [b"".as_slice(), b"[]", br#"{"errorType":"a"}"#, br#"{"errorType":1,"errorMessage":"b"}"#] {
            let (outcome, taken) = error(Some("unhandled"), body);
            assert!(matches!(outcome, Some(Err(_))), "{outcome:?}");
            assert_eq!(refused(taken), (400, "InvalidRequest", Blame::Runtime));
        }
        assert_eq!(refused(error(None, REPORT).1), (400, "InvalidRequest", Blame::Runtime));
    }

    #[test]
    fn an_answer_of_more_than_six_megabytes_is_the_functions_fault() {
        let body = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        let (outcome, taken) = running("a").answer("a", Answer::Response(body(RESPONSE_BYTES).as_bytes()));
        assert!(matches!(outcome, Some(Ok(_))) && taken.is_ok());
        let (outcome, taken) = running("a").answer("a", Answer::Response(body(RESPONSE_BYTES + 1).as_bytes()));
        let Some(Err(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.error_type(), "Function.ResponseSizeTooLarge");
        assert_eq!(refused(taken), (413, "RequestEntityTooLarge", Blame::Function));
    }

    #[test]
    fn only_who_starts_can_fail_to_start() {
        let (error, taken) = Phase::default().init_error(Some("x"), REPORT);
        assert_eq!((error, taken), (Some(FunctionError::new("My.Error", "why")), Ok(())));
        let (error, taken) = running("a").init_error(Some("x"), REPORT);
        assert_eq!((error, refused(taken).0), (None, 403));
    }
}
