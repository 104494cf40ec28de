//! Lists, page by page.

use serde_json::Value;

use super::{
    Cluster, Exchanged, Unreachable,
    exchange::{Ask, escape},
    unauthenticated::Unauthenticated,
};
use crate::retry::CALLS;

/// How many objects one page has. Most lists are shorter, and cost one request.
const PAGE: usize = 500;

/// A list could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The API server would not.
    #[error("unable to {operation}: the server answered {}", refused.answer.status)]
    Refused {
        /// What was asked for: "list the pods of the Job default/x".
        operation: String,
        /// The answer.
        refused: Exchanged,
    },
    /// There was no answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Cluster {
    /// Asks for a list, and gives each of its objects to `take` as the pages arrive: a list may be longer than what should be
    /// held of it. The URI of the question has a query already.
    pub(super) async fn list(&self, mut ask: Ask, mut take: impl FnMut(&Value) + Send) -> Result<(), ListError> {
        let first = format!("{}&limit={PAGE}", ask.uri);
        ask.uri.clone_from(&first);
        loop {
            let exchanged = self.page(&ask).await?;
            if !exchanged.answer.is_success() {
                return Err(ListError::Refused { operation: ask.operation, refused: exchanged });
            }
            let list = &exchanged.answer.body;
            list.get("items").and_then(Value::as_array).into_iter().flatten().for_each(&mut take);
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => ask.uri = format!("{first}&continue={}", escape(more)),
                _ => return Ok(()),
            }
        }
    }

    /// One page. Whoever asks for a list gives up soon when it is refused, so a 401 is waited out here.
    async fn page(&self, ask: &Ask) -> Result<Exchanged, Unreachable> {
        let (mut unauthenticated, mut pauses) = (Unauthenticated::default(), CALLS.pauses());
        loop {
            let exchanged = self.exchange(ask).await?;
            if !unauthenticated.may_pass(exchanged.answer.status) {
                return Ok(exchanged);
            }
            tokio::time::sleep(pauses.next(exchanged.retry_after)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, Request, Response};
    use kube::client::Body;
    use runjob_core::refusal::AUTHENTICATION_PATIENCE;
    use serde_json::json;
    use tokio::time::Instant;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::clock::Clock;

    /// A cluster that knows nobody for so long, then has one object.
    fn a_cluster(unknown: Duration) -> Cluster {
        let begun = Instant::now();
        let service = service_fn(move |_: Request<Body>| async move {
            let (status, body) = if begun.elapsed() < unknown {
                (401, json!({"message": "Unauthorized"}))
            } else {
                (200, json!({"items": [{"kind": "Pod"}]}))
            };
            Ok::<_, BoxError>(Response::builder().status(status).body(Body::from(body.to_string().into_bytes()))?)
        });
        Cluster::over(service, "", Clock::start())
    }

    async fn listed(unknown: Duration) -> Result<usize, ListError> {
        let mut objects = 0;
        let ask = Ask::new("list pods".to_owned(), Method::GET, "/api/v1/pods?labelSelector=a".to_owned());
        a_cluster(unknown).list(ask, |_| objects += 1).await?;
        Ok(objects)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_waits_until_the_api_knows_somebody() {
        assert_eq!(listed(Duration::from_mins(1)).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_does_not_wait_for_ever() {
        let begun = Instant::now();
        let error = listed(AUTHENTICATION_PATIENCE * 10).await.unwrap_err();
        assert!(matches!(&error, ListError::Refused { refused, .. } if refused.answer.status == 401), "{error}");
        assert!(begun.elapsed() < AUTHENTICATION_PATIENCE * 2);
    }
}
