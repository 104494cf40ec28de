//! What every request passes on its way into a service: it is recorded, and a fault may befall it.
//!
//! A front is mounted over TCP ([`crate::serve`]) or called in memory; both ways see the same recorder and faults.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::Value;

use crate::{
    faults::{Effect, Faults},
    record::Recorder,
};

/// The body of an answer: whole, or a stream (a watch, a followed log). An error cuts the connection.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// The connection ends without (the rest of) an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection was cut")]
pub struct Cut;

/// A body that is complete already.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// One of the services behind a [`Front`].
pub trait Endpoint: Send + Sync + 'static {
    /// What this request is, in a test's words: `SendTaskSuccess`, `create jobs`, `watch jobs`, `get pods/log`.
    fn kind(&self, request: &Request<Bytes>) -> String;

    /// Serves one request. Whatever the answer is, it is an answer: errors of the service are responses too.
    fn answer(self: Arc<Self>, request: Request<Bytes>) -> impl Future<Output = Response<Body>> + Send;
}

/// A service as its clients see it.
pub struct Front<E> {
    endpoint: Arc<E>,
    recorder: Recorder,
    faults: Faults,
}

impl<E> Clone for Front<E> {
    fn clone(&self) -> Self {
        Self { endpoint: self.endpoint.clone(), recorder: self.recorder.clone(), faults: self.faults.clone() }
    }
}

impl<E: Endpoint> Front<E> {
    /// Puts a recorder and (yet no) faults before `endpoint`.
    pub fn new(endpoint: Arc<E>) -> Self {
        Self { endpoint, recorder: Recorder::default(), faults: Faults::default() }
    }

    /// Every request that came in.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The faults to come.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The service itself, past recorder and faults.
    pub fn endpoint(&self) -> &Arc<E> {
        &self.endpoint
    }

    /// Serves one request. `Err` means that the connection ends without an answer.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Body>, Cut> {
        let kind = self.endpoint.kind(&request);
        let entry = self.recorder.arrived(&kind, &request);
        let outcome = match self.faults.next_for(&kind) {
            None => Ok(self.endpoint.clone().answer(request).await),
            Some(Effect::Refuse) => Err(Cut),
            Some(Effect::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                Ok(self.endpoint.clone().answer(request).await)
            }
            Some(Effect::CutAfterApply) => {
                drop(self.endpoint.clone().answer(request).await);
                Err(Cut)
            }
            Some(Effect::Mutate(change)) => Ok(self.endpoint.clone().answer(mutated(request, change)).await),
            Some(Effect::AnswerTwice) => self.answer_twice(&kind, request).await,
            Some(Effect::Repeat(answer)) => Ok(answer.map(whole)),
            Some(Effect::Warn(warning)) => {
                let mut response = self.endpoint.clone().answer(request).await;
                response.headers_mut().append(header::WARNING, header::HeaderValue::from_static(warning));
                Ok(response)
            }
            Some(Effect::Answer { status, retry_after, body }) => Ok(scripted(status, retry_after, body)),
        };
        self.recorder.answered(entry, outcome.as_ref().ok().map(Response::status));
        outcome
    }

    async fn answer_twice(&self, kind: &str, request: Request<Bytes>) -> Result<Response<Body>, Cut> {
        let (head, body) = self.endpoint.clone().answer(request).await.into_parts();
        let body = body.collect().await?.to_bytes();
        let answer = Response::from_parts(head, body);
        self.faults.plan(kind, Effect::Repeat(answer.clone()), 1);
        Ok(answer.map(whole))
    }
}

/// The same request with another body, if its body is JSON.
fn mutated(request: Request<Bytes>, change: fn(&mut Value)) -> Request<Bytes> {
    request.map(|body| match serde_json::from_slice(&body) {
        Ok(mut value) => {
            change(&mut value);
            value.to_string().into()
        }
        Err(_) => body,
    })
}

fn scripted(status: StatusCode, retry_after: Option<u64>, body: String) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
