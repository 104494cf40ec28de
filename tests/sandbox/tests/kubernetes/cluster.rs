//! A cluster for one test, and the words to talk to it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use runjob_sandbox::{
    front::{Body, Front},
    kube::{Config, Container, Kubernetes, Programs, Script, Step},
};
use serde_json::{Value, json};

pub(crate) const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) struct Cluster {
    pub(crate) kube: Arc<Kubernetes>,
    pub(crate) front: Front<Kubernetes>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes.to_vec()).unwrap()
    }

    /// The status, reason and message of an error.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let status = self.json();
        assert_eq!(status["kind"], "Status", "{status}");
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), text("reason"), text("message"))
    }
}

impl Cluster {
    pub(crate) fn new(config: Config) -> Self {
        let kube = Kubernetes::start(config);
        Self { front: Front::new(kube.clone()), kube }
    }

    /// Real processes, short pauses.
    pub(crate) fn local() -> Self {
        Self::new(Config::quick())
    }

    /// Scripted containers with the times of a real cluster, for the paused clock.
    pub(crate) fn scripted(script: impl Fn(&Container) -> Script + Send + Sync + 'static) -> Self {
        Self::new(Config {
            programs: Programs::scripted(move |container| Some(script(container))),
            start: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ..Config::default()
        })
    }

    /// Containers that run for ever, for tests that are about other things.
    pub(crate) fn idle() -> Self {
        Self::scripted(|_| Script::new([Step::Forever]))
    }

    pub(crate) async fn open(&self, request: Request<Bytes>) -> http::Response<Body> {
        self.front.call(request).await.unwrap()
    }

    pub(crate) async fn send(&self, method: Method, uri: &str, content_type: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, content_type);
        let (head, body) = self.open(request.body(body.into()).unwrap()).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, bytes }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(Method::GET, uri, "", "").await
    }

    pub(crate) async fn post(&self, uri: &str, object: &Value) -> Answer {
        self.send(Method::POST, uri, "application/json", object.to_string()).await
    }

    pub(crate) async fn put(&self, uri: &str, object: &Value) -> Answer {
        self.send(Method::PUT, uri, "application/json", object.to_string()).await
    }

    pub(crate) async fn merge(&self, uri: &str, patch: &Value) -> Answer {
        self.send(Method::PATCH, uri, "application/merge-patch+json", patch.to_string()).await
    }

    pub(crate) async fn delete(&self, uri: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, uri, "application/json", options.to_string()).await
    }

    /// Creates a Job and returns it as it was stored.
    pub(crate) async fn submit(&self, job: &Value) -> Value {
        let answer = self.post(JOBS, job).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn watch(&self, uri: &str) -> Events {
        let request = Request::builder().uri(uri).body(Bytes::new()).unwrap();
        let response = self.open(request).await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), rest: Vec::new() }
    }

    pub(crate) async fn finished(&self, name: &str) -> Value {
        self.kube
            .wait_for(|kube| {
                kube.get("jobs", "default", name).filter(|job| !conditions(job).is_empty() && is_over(job))
            })
            .await
    }

    /// The pods of a Job, once there are `count` of them that satisfy `test`.
    pub(crate) async fn pods(&self, count: usize, test: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.kube
            .wait_for(|kube| {
                let pods: Vec<_> = kube.list("pods", None).into_iter().filter(&test).collect();
                (pods.len() == count).then_some(pods)
            })
            .await
    }

    pub(crate) async fn gone(&self, resource: &str) {
        self.kube.wait_for(|kube| kube.list(resource, None).is_empty().then_some(())).await;
    }

    /// Waits until a container has printed `text`.
    pub(crate) async fn printed(&self, pod: &str, container: &str, text: &str) {
        self.kube
            .wait_for(|kube| {
                let log = kube.log("default", pod, container)?;
                String::from_utf8_lossy(&log).contains(text).then_some(())
            })
            .await;
    }

    pub(crate) fn reasons(&self, kind: &str) -> Vec<String> {
        let events = self.kube.list("events", None);
        events
            .iter()
            .filter(|event| event["involvedObject"]["kind"] == kind)
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub(crate) struct Events {
    body: Body,
    rest: Vec<u8>,
}

impl Events {
    /// The next event. `None` is the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                assert!(line.starts_with(b"{\"type\":\""), "the type has to come first");
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// The next events, until one satisfies `last`.
    pub(crate) async fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("the stream ended before the awaited event");
            events.push(event);
            if last(&events[events.len() - 1]) {
                return events;
            }
        }
    }
}

pub(crate) fn is_over(job: &Value) -> bool {
    conditions(job).iter().any(|condition| condition.starts_with("Complete") || condition.starts_with("Failed("))
}

/// The conditions that hold, with their reasons.
pub(crate) fn conditions(job: &Value) -> Vec<String> {
    job["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|condition| condition["status"] == "True")
        .map(|condition| format!("{}({})", condition["type"].as_str().unwrap(), condition["reason"].as_str().unwrap()))
        .collect()
}

pub(crate) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap()
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// What events of a watch say: their types, and the names of their objects.
pub(crate) fn kinds(events: &[Value]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event["type"].as_str().unwrap(), name(&event["object"]))).collect()
}

/// A Job of one container that runs a line of shell.
pub(crate) fn a_job(name: &str, shell: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "busybox", "command": ["sh", "-c", shell]}]}}}})
}

/// The same manifest with another value at a JSON pointer; `null` removes.
pub(crate) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    if value.is_null() {
        parent.as_object_mut().unwrap().shift_remove(key);
    } else {
        parent[key] = value;
    }
    object
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
