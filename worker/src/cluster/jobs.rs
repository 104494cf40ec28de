//! What `runjob` does to Jobs: create, read, patch, delete. Every write to an existing Job names the very Job that it means.

use std::time::Duration;

use http::Method;
use runjob_core::{answer::ApiAnswer, call, job::JobView, names::JobKey, plan::Plan};
use serde_json::{Value, json};

use super::{
    Called, Cluster, Exchanged, Unreachable,
    exchange::{Ask, escape, message},
};

/// How much is read of the answer to a call: four times what a result can carry, since it may be written with many spaces.
const MAX_CALL: usize = 1024 * 1024;

/// A write to an existing Job did not happen, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The Job is not what the write was made for any more, or is gone: look again before deciding again.
    #[error("the Job has changed in the meantime")]
    Changed,
    /// It was refused, and will be again: by RBAC, by admission.
    #[error("it was refused with {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// It may work later: not authenticated, throttled, an error of the server.
    #[error("the server answered {}: {}", answer.status, message(&answer.body))]
    Passing {
        /// What the server says.
        answer: Box<ApiAnswer>,
        /// Not before this, as the server wishes.
        after: Option<Duration>,
    },
    /// There was no answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// What must not have changed for a deletion to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Which Job it is.
    Job,
    /// That, and the version that was looked at: what was decided from it still holds.
    Version,
}

impl Cluster {
    /// Sends the planned Job as it is: raw, since typed objects drop fields that they do not know.
    pub async fn create(&self, key: &JobKey, job: &Value) -> Result<Exchanged, Unreachable> {
        let uri = format!("/apis/batch/v1/namespaces/{}/jobs", escape(&key.namespace));
        let ask = Ask::new(format!("create the Job {key}"), Method::POST, uri);
        self.exchange(&ask.with_body("application/json", job)).await
    }

    /// Makes an existing Job the plan's own, if it is still as it was found.
    pub async fn take_over(&self, plan: &Plan, found: &JobView) -> Result<Exchanged, WriteError> {
        self.patched(&found.key, &plan.take_over(found)).await
    }

    /// Applies a JSON Patch that begins with its own preconditions.
    pub async fn patch(&self, key: &JobKey, patch: &Value) -> Result<(), WriteError> {
        self.patched(key, patch).await.map(drop)
    }

    /// Applies a JSON Patch that begins with its own preconditions, and gives the Job as it is then.
    pub async fn patched(&self, key: &JobKey, patch: &Value) -> Result<Exchanged, WriteError> {
        let ask = Ask::new(format!("patch the Job {key}"), Method::PATCH, uri_of(key));
        let exchanged = self.exchange(&ask.with_body("application/json-patch+json", patch)).await?;
        match exchanged.answer.status {
            404 => Err(WriteError::Changed),
            // What a real API server says when a `test` of the patch fails, or when there is nothing to remove.
            422 if message(&exchanged.answer.body)
                .contains("the server rejected our request due to an error in our request") =>
            {
                Err(WriteError::Changed)
            }
            _ => written(&exchanged).map(|()| exchanged),
        }
    }

    /// Deletes the very Job that was looked at, after its pods: it stays, with a `deletionTimestamp`, until they are gone. So
    /// where its name is free, nothing of it runs any more, and the next Job of that name cannot meet it. The propagation is
    /// always named: the server's default for Jobs leaves the pods behind.
    pub async fn delete(&self, view: &JobView, fence: Fence) -> Result<(), WriteError> {
        let preconditions = match fence {
            Fence::Job => json!({"uid": view.uid}),
            Fence::Version => json!({"uid": view.uid, "resourceVersion": view.resource_version}),
        };
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Foreground",
            "preconditions": preconditions,
        });
        let ask = Ask::new(format!("delete the Job {}", view.key), Method::DELETE, uri_of(&view.key));
        let exchanged = self.exchange(&ask.with_body("application/json", &options)).await?;
        if exchanged.answer.status == 404 { Ok(()) } else { written(&exchanged) }
    }

    /// Sends a user's request as it is.
    pub async fn call(&self, call: &call::Call) -> Result<Called, Unreachable> {
        let method = match call.method {
            call::Method::Get => Method::GET,
            call::Method::Head => Method::HEAD,
            call::Method::Post => Method::POST,
            call::Method::Put => Method::PUT,
            call::Method::Delete => Method::DELETE,
            call::Method::Patch => Method::PATCH,
        };
        let mut ask = Ask::new(format!("{method} {}", call.path_and_query), method, call.path_and_query.clone());
        ask.body = call.body.as_ref().map(|body| (call.content_type.clone().unwrap_or_default(), body.to_string()));
        ask.most = MAX_CALL;
        self.exchange_call(&ask).await
    }

    /// Asks for anything at all, to see whether the API answers.
    pub(super) async fn probe(&self) {
        // What comes of it is recorded on the way.
        let _answered =
            self.exchange(&Ask::new("reach the cluster".to_owned(), Method::GET, "/version".to_owned())).await;
    }
}

pub(super) fn written(exchanged: &Exchanged) -> Result<(), WriteError> {
    let (status, after) = (exchanged.answer.status, exchanged.retry_after);
    match status {
        200..=299 => Ok(()),
        409 => Err(WriteError::Changed),
        401 | 408 | 429 | 500..=599 => Err(WriteError::Passing { answer: Box::new(exchanged.answer.clone()), after }),
        status => Err(WriteError::Refused { status, message: message(&exchanged.answer.body) }),
    }
}

pub(super) fn uri_of(key: &JobKey) -> String {
    format!("/apis/batch/v1/namespaces/{}/jobs/{}", escape(&key.namespace), escape(&key.name))
}
