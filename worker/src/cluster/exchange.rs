//! One request, one answer: the way that every unary call takes.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use kube::client::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runjob_core::{answer::ApiAnswer, retry_after, warning};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Cluster,
    body::{Raw, ReadError, Reading},
    connection::is_connect,
    eks::NotSent,
};
use crate::error_chain::{chain, sources};

/// The longest that a request and the whole of its answer may take: the response header's time, and some for the body.
pub(super) const DEADLINE: Duration = Duration::from_secs(45);
/// How long to wait before an answer that is not to be believed is asked for again.
const UNSETTLED_PAUSE: Duration = Duration::from_secs(1);
/// How long that is done: an API that comes and goes may never have been back for long enough.
const UNSETTLED_PATIENCE: Duration = Duration::from_secs(30);
/// The longest body of one object that is read: far beyond what Kubernetes stores, short of what hurts.
pub(super) const MAX_BODY: usize = 16 * 1024 * 1024;
/// The longest body of a refusal that is read: twice what a cause has room for.
const MAX_REFUSAL: usize = 64 * 1024;

/// An answer of the Kubernetes API.
#[derive(Debug, Clone)]
pub struct Exchanged {
    /// The answer itself.
    pub answer: ApiAnswer,
    /// The server's wish, as `Retry-After` has it.
    pub retry_after: Option<Duration>,
    /// What the server had to say about it, as `Warning` has it.
    pub warnings: Vec<String>,
}

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("unable to {operation}: {reason}")]
pub struct Unreachable {
    operation: String,
    reason: String,
    /// Whether the request may have arrived.
    pub delivery: Delivery,
}

impl Unreachable {
    /// The request was carried out, as the status of its answer says, but the answer is not one of the API server.
    pub(super) fn garbled(ask: &Ask, reason: &str) -> Self {
        let reason = format!("the answer is not what was asked for: {reason}");
        Self { operation: ask.operation.clone(), reason, delivery: Delivery::Unknown }
    }
}

/// Whether a request without an answer may have arrived all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It did not: there was no connection.
    NotSent,
    /// It may have.
    Unknown,
    /// It has, and was answered with this status, but the answer is too long to be read.
    AnswerTooLong(u16),
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// What it does, for an error: "create the Job default/x".
    pub(super) operation: String,
    pub(super) method: Method,
    /// Path and query, escaped.
    pub(super) uri: String,
    /// The media type and the body.
    pub(super) body: Option<(String, String)>,
    /// How much of an answer is read.
    pub(super) most: usize,
}

impl Ask {
    pub(super) fn new(operation: String, method: Method, uri: String) -> Self {
        Self { operation, method, uri, body: None, most: MAX_BODY }
    }

    pub(super) fn with_body(self, media_type: &str, body: &Value) -> Self {
        Self { body: Some((media_type.to_owned(), body.to_string())), ..self }
    }

    pub(super) fn request(&self) -> Result<Request<Body>, http::Error> {
        // Without `Accept`, aggregated API servers are free to answer in another format.
        let request =
            Request::builder().method(&self.method).uri(&self.uri).header(header::ACCEPT, "application/json, */*");
        match &self.body {
            Some((media_type, body)) => {
                request.header(header::CONTENT_TYPE, media_type).body(Body::from(body.clone().into_bytes()))
            }
            None => request.body(Body::empty()),
        }
    }
}

/// An answer that is not looked into yet.
pub(super) struct Answered {
    status: StatusCode,
    retry_after: Option<Duration>,
    warnings: Vec<String>,
    raw: Raw,
}

/// What came of a call.
pub enum Called {
    /// It was carried out.
    Succeeded(Succeeded),
    /// It was not.
    Refused(Exchanged),
}

/// The answer to a call that was carried out.
pub struct Succeeded {
    answered: Answered,
    reading: Reading,
}

impl Succeeded {
    /// What the server had to say about it.
    pub fn warnings(&self) -> &[String] {
        &self.answered.warnings
    }

    /// Makes something of status, its text and body. A long body is not held twice, nor parsed on a thread that others need.
    pub async fn compose<T, F>(self, compose: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(u16, &str, &[u8]) -> T + Send + 'static,
    {
        let Answered { status, raw, .. } = self.answered;
        raw.parse(&self.reading, move |body| compose(status.as_u16(), text_of(status), body)).await
    }
}

fn text_of(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or_default()
}

impl Answered {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    pub(super) fn into_raw(self) -> Raw {
        self.raw
    }

    pub(super) async fn parsed(self, reading: &Reading) -> Exchanged {
        let Self { status, retry_after, warnings, raw } = self;
        let answer = raw.parse(reading, move |body| ApiAnswer::new(status.as_u16(), text_of(status), body)).await;
        Exchanged { answer, retry_after, warnings }
    }
}

impl Cluster {
    /// Sends a request. An answer is an answer, whatever its status; only a 403 of an API server that has just come back is not,
    /// and nothing was done then.
    pub(super) async fn exchange(&self, ask: &Ask) -> Result<Exchanged, Unreachable> {
        Ok(self.send(ask).await?.parsed(&self.reading).await)
    }

    /// The same for a call: what was carried out may be answered at length.
    pub(super) async fn exchange_call(&self, ask: &Ask) -> Result<Called, Unreachable> {
        let answered = self.send(ask).await?;
        if answered.status.is_success() {
            return Ok(Called::Succeeded(Succeeded { answered, reading: self.reading.clone() }));
        }
        Ok(Called::Refused(answered.parsed(&self.reading).await))
    }

    pub(super) async fn send(&self, ask: &Ask) -> Result<Answered, Unreachable> {
        let begun = Instant::now();
        loop {
            let answered = self.send_once(ask).await?;
            let is_settled = self.reachability().is_settled(answered.status.as_u16());
            if is_settled || begun.elapsed() >= UNSETTLED_PATIENCE {
                return Ok(answered);
            }
            tokio::time::sleep(UNSETTLED_PAUSE).await;
        }
    }

    async fn send_once(&self, ask: &Ask) -> Result<Answered, Unreachable> {
        let failed = |reason: String, delivery| Unreachable { operation: ask.operation.clone(), reason, delivery };
        let request = ask.request().map_err(|error| failed(error.to_string(), Delivery::NotSent))?;
        let exchange = async {
            let response = self.api.send(request).await;
            let response = response.map_err(|error| failed(chain(&error), delivery(&error)))?;
            let (head, body) = response.into_parts();
            let is_success = head.status.is_success();
            let most = if is_success { ask.most } else { MAX_REFUSAL };
            let raw = match self.reading.read(body, most).await {
                Ok(raw) => raw,
                Err(ReadError::TooLong) if is_success => {
                    let reason = format!("the answer takes more than {most} bytes");
                    return Err(failed(reason, Delivery::AnswerTooLong(head.status.as_u16())));
                }
                Err(ReadError::TooLong) => Raw::from(too_long_refusal()),
                Err(ReadError::BrokeOff(error)) => return Err(failed(chain(&error), Delivery::Unknown)),
            };
            let retry_after = head.headers.get(header::RETRY_AFTER);
            let retry_after = retry_after.and_then(|value| retry_after::pause(value.to_str().ok()?));
            let warnings = head.headers.get_all(header::WARNING).iter();
            let warnings = warnings.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
            Ok(Answered { status: head.status, retry_after, warnings: warning::texts(warnings), raw })
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(failed(format!("no answer within {} s", DEADLINE.as_secs()), Delivery::Unknown)),
        }
    }
}

/// What stands for the body of a refusal that nobody could read anyway. Nothing of it is shown: a part does not tell what is secret.
fn too_long_refusal() -> Vec<u8> {
    let message = format!("[runjob: the server's answer takes more than {MAX_REFUSAL} bytes, and is left out]");
    json!({ "message": message }).to_string().into_bytes()
}

fn delivery(error: &kube::Error) -> Delivery {
    let not_sent = is_connect(error) || sources(error).any(NotSent::caused);
    if not_sent { Delivery::NotSent } else { Delivery::Unknown }
}

/// Escapes a part of a path or query.
pub(super) fn escape(text: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(text, PLAIN).to_string()
}

/// What a `Status` says, or whatever else the body is.
pub(super) fn message(body: &Value) -> String {
    let text = body.get("message").and_then(Value::as_str).or(body.as_str());
    text.map_or_else(|| body.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use http::Response;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::clock::Clock;

    /// What is made of an answer with that status, header and body.
    async fn answered(status: u16, retry_after: &'static str, body: Vec<u8>) -> Result<Exchanged, Unreachable> {
        let service = service_fn(move |_: Request<Body>| {
            let body = body.clone();
            async move {
                let response = Response::builder().status(status).header(header::RETRY_AFTER, retry_after);
                Ok::<_, BoxError>(response.body(Body::from(body))?)
            }
        });
        let ask = Ask::new("ask".to_owned(), Method::GET, "/x".to_owned());
        Cluster::over(service, "", Clock::start()).exchange(&Ask { most: 1000, ..ask }).await
    }

    #[tokio::test]
    async fn no_server_may_ask_for_more_than_a_minute() {
        for (wish, heeded) in [("7", Some(7)), ("3600", Some(60)), ("18446744073709551615", Some(60)), ("soon", None)] {
            let exchanged = answered(429, wish, b"{}".to_vec()).await.unwrap();
            assert_eq!(exchanged.retry_after, heeded.map(Duration::from_secs), "{wish}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_says_whether_the_request_was_carried_out() {
        let error = answered(201, "", vec![b'1'; 1001]).await.unwrap_err();
        assert_eq!(error.delivery, Delivery::AnswerTooLong(201));
        assert_eq!(answered(201, "", vec![b'1'; 1000]).await.unwrap().answer.status, 201);
    }

    #[tokio::test]
    async fn a_refusal_that_is_too_long_is_a_refusal() {
        let exchanged = answered(500, "", vec![b'1'; MAX_REFUSAL + 1]).await.unwrap();
        assert_eq!(exchanged.answer.status, 500);
        assert!(message(&exchanged.answer.body).contains("is left out"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_403_of_an_api_that_comes_and_goes_is_believed_in_the_end() {
        let service = service_fn(|_: Request<Body>| async {
            let response = Response::builder().status(403);
            Ok::<_, BoxError>(response.body(Body::from(b"{}".to_vec()))?)
        });
        let cluster = Cluster::over(service, "", Clock::start());
        let flapping = cluster.reachability().clone();
        let _flaps = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                flapping.record(false);
                flapping.record(true);
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }));
        let begun = Instant::now();
        tokio::task::yield_now().await;
        let ask = Ask::new("ask".to_owned(), Method::GET, "/x".to_owned());
        assert_eq!(cluster.exchange(&ask).await.unwrap().answer.status, 403);
        let waited = begun.elapsed();
        assert!((UNSETTLED_PATIENCE..UNSETTLED_PATIENCE * 2).contains(&waited), "{waited:?}");
    }
}
