//! What `runjob` does to Jobs: create, read, patch, delete. Every write to an existing Job names the very Job that it means.

use http::{Method, Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use runjob_core::{call::Call, job::JobView, names::JobKey, plan::Plan};
use serde_json::{Value, json};

use super::{Cluster, Exchanged, Unreachable};

/// A write to an existing Job did not happen, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The Job is not what the write was made for any more, or is gone: look again before deciding again.
    #[error("the Job has changed in the meantime")]
    Changed,
    /// It was refused.
    #[error("it was refused with {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server says.
        message: String,
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
    pub async fn create(&self, plan: &Plan) -> Result<Exchanged, Unreachable> {
        let uri = format!("/apis/batch/v1/namespaces/{}/jobs", escape(&plan.key.namespace));
        let request = request(Method::POST, &uri, Some(("application/json", plan.job.to_string())));
        self.exchange(&format!("create the Job {}", plan.key), request).await
    }

    /// Reads a Job.
    pub async fn get(&self, key: &JobKey) -> Result<Exchanged, Unreachable> {
        self.exchange(&format!("read the Job {key}"), request(Method::GET, &uri_of(key), None)).await
    }

    /// Applies a JSON Patch that begins with its own preconditions. Gives the patched Job.
    pub async fn patch(&self, key: &JobKey, patch: &Value) -> Result<Value, WriteError> {
        let body = Some(("application/json-patch+json", patch.to_string()));
        let exchanged =
            self.exchange(&format!("patch the Job {key}"), request(Method::PATCH, &uri_of(key), body)).await?;
        let answer = exchanged.answer;
        let message = message(&answer.body);
        match answer.status {
            200..=299 => Ok(answer.body),
            // A failed `test` is answered with 422, like a patch that can never apply; the message tells them apart.
            404 | 409 => Err(WriteError::Changed),
            422 if message.contains("testing") || message.contains("server rejected our request") => {
                Err(WriteError::Changed)
            }
            status => Err(WriteError::Refused { status, message }),
        }
    }

    /// Deletes the very Job that was looked at; its pods go too. The propagation is always named: the server's default for
    /// Jobs leaves the pods behind.
    pub async fn delete(&self, view: &JobView, fence: Fence) -> Result<(), WriteError> {
        let preconditions = match fence {
            Fence::Job => json!({"uid": view.uid}),
            Fence::Version => json!({"uid": view.uid, "resourceVersion": view.resource_version}),
        };
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        });
        let body = Some(("application/json", options.to_string()));
        let request = request(Method::DELETE, &uri_of(&view.key), body);
        let answer = self.exchange(&format!("delete the Job {}", view.key), request).await?.answer;
        match answer.status {
            200..=299 | 404 => Ok(()),
            409 => Err(WriteError::Changed),
            status => Err(WriteError::Refused { status, message: message(&answer.body) }),
        }
    }

    /// Sends a user's request as it is.
    pub async fn call(&self, call: &Call) -> Result<Exchanged, Unreachable> {
        // The methods of a call are methods of HTTP.
        let method = Method::from_bytes(call.method.as_str().as_bytes()).unwrap_or(Method::GET);
        let body = call.body.clone().map(|body| (call.content_type.as_deref().unwrap_or("application/json"), body));
        let request = request(method, &call.path_and_query, body);
        self.exchange(&format!("{} {}", call.method.as_str(), call.path_and_query), request).await
    }
}

pub(super) fn request(method: Method, uri: &str, body: Option<(&str, String)>) -> Request<Vec<u8>> {
    let (content_type, body) = body.map_or((None, Vec::new()), |(kind, body)| (Some(kind), body.into_bytes()));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Every URI here is made of escaped parts.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    if let Some(value) = content_type.and_then(|kind| header::HeaderValue::from_str(kind).ok()) {
        request.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    request
}

fn uri_of(key: &JobKey) -> String {
    format!("/apis/batch/v1/namespaces/{}/jobs/{}", escape(&key.namespace), escape(&key.name))
}

pub(super) fn escape(text: &str) -> String {
    const PLAIN: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(text, PLAIN).to_string()
}

/// What a `Status` says, or whatever else the body is.
pub(super) fn message(body: &Value) -> String {
    let text = body.get("message").and_then(Value::as_str).or(body.as_str());
    text.map_or_else(|| body.to_string(), ToOwned::to_owned)
}
