//! One request, one answer: the way that every unary call takes.

use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runjob_core::{answer::ApiAnswer, warning};
use serde_json::Value;

use super::{Cluster, connection::is_connect, eks::NotSent};
use crate::error_chain::{chain, sources};

/// The longest that a request and the whole of its answer may take: the response header's time, and some for the body.
pub(super) const DEADLINE: Duration = Duration::from_secs(45);
/// How long to wait before an answer that is not to be believed is asked for again.
const UNSETTLED_PAUSE: Duration = Duration::from_secs(1);
/// The longest body that is read: far beyond what a result could carry, short of what hurts.
const MAX_BODY: usize = 16 * 1024 * 1024;

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
}

impl Ask {
    pub(super) fn new(operation: String, method: Method, uri: String) -> Self {
        Self { operation, method, uri, body: None }
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

impl Cluster {
    /// Sends a request. An answer is an answer, whatever its status; only a 403 of an API server that has just come back is not,
    /// and nothing was done then.
    pub(super) async fn exchange(&self, ask: &Ask) -> Result<Exchanged, Unreachable> {
        loop {
            let exchanged = self.exchange_once(ask).await?;
            if self.reachability().is_settled(exchanged.answer.status) {
                return Ok(exchanged);
            }
            tokio::time::sleep(UNSETTLED_PAUSE).await;
        }
    }

    async fn exchange_once(&self, ask: &Ask) -> Result<Exchanged, Unreachable> {
        let failed = |reason: String, delivery| Unreachable { operation: ask.operation.clone(), reason, delivery };
        let request = ask.request().map_err(|error| failed(error.to_string(), Delivery::NotSent))?;
        let exchange = async {
            let response = self.api.send(request).await;
            let response = response.map_err(|error| failed(chain(&error), delivery(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
                let too_long = error.downcast_ref::<LengthLimitError>().is_some();
                let delivery = if too_long { Delivery::AnswerTooLong(head.status.as_u16()) } else { Delivery::Unknown };
                failed(chain(&*error), delivery)
            })?;
            let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let warnings = head.headers.get_all(header::WARNING).iter();
            let warnings = warnings.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
            let reason = head.status.canonical_reason().unwrap_or_default();
            Ok(Exchanged {
                answer: ApiAnswer::new(head.status.as_u16(), reason, &body.to_bytes()),
                retry_after: retry_after.map(Duration::from_secs),
                warnings: warning::texts(warnings),
            })
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(failed(format!("no answer within {} s", DEADLINE.as_secs()), Delivery::Unknown)),
        }
    }
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
