//! One request, one answer: the way that every unary call takes.

use std::{error::Error, time::Duration};

use http::{Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;
use runjob_core::answer::ApiAnswer;

use super::Cluster;

/// The longest that a request and the whole of its answer may take: the response header's time, and some for the body.
const DEADLINE: Duration = Duration::from_secs(45);
/// The longest body that is read: far beyond what a result could carry, short of what hurts.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// An answer of the Kubernetes API.
#[derive(Debug, Clone)]
pub struct Exchanged {
    /// The answer itself.
    pub answer: ApiAnswer,
    /// The server's wish, as `Retry-After` has it.
    pub retry_after: Option<Duration>,
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
    /// It has, but the answer is too long to be read.
    AnswerTooLong,
}

impl Cluster {
    /// Sends a request. An answer is an answer, whatever its status. `operation` names it in an error: "create the Job x".
    pub async fn exchange(&self, operation: &str, mut request: Request<Vec<u8>>) -> Result<Exchanged, Unreachable> {
        // Without this, aggregated API servers are free to answer in another format.
        request.headers_mut().entry(header::ACCEPT).or_insert(header::HeaderValue::from_static("application/json"));
        let failed = |reason: String, delivery| Unreachable { operation: operation.to_owned(), reason, delivery };
        let exchange = async {
            let response = self.api.send(request.map(Body::from)).await;
            let response = response.map_err(|error| failed(chain(&error), delivery(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
                let too_long = error.downcast_ref::<LengthLimitError>().is_some();
                let delivery = if too_long { Delivery::AnswerTooLong } else { Delivery::Unknown };
                failed(chain(&*error), delivery)
            })?;
            let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let reason = head.status.canonical_reason().unwrap_or_default();
            Ok(Exchanged {
                answer: ApiAnswer::new(head.status.as_u16(), reason, &body.to_bytes()),
                retry_after: retry_after.map(Duration::from_secs),
            })
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(failed(format!("no answer within {} s", DEADLINE.as_secs()), Delivery::Unknown)),
        }
    }
}

fn delivery(error: &kube::Error) -> Delivery {
    use hyper_util::client::legacy::Error as ClientError;
    let is_connect = |error: &(dyn Error + 'static)| error.downcast_ref().is_some_and(ClientError::is_connect);
    if sources(error).any(is_connect) { Delivery::NotSent } else { Delivery::Unknown }
}

/// The error and its sources, each once: some of them show their source themselves.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in sources(error) {
        let one = error.to_string();
        if !text.contains(&one) {
            text = if text.is_empty() { one } else { format!("{text}: {one}") };
        }
    }
    text
}

/// The error, its source, the source of that, …
pub(crate) fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
