//! A pod's status, as the node sees the pod.

use serde_json::{Map, Value, json};

use super::fields;

/// Where a container stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    Waiting { reason: String, message: Option<String> },
    Running { since: String },
    Terminated(Ending),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started: String,
    pub(crate) finished: String,
    pub(crate) id: String,
}

/// One container of a pod.
#[derive(Debug, Clone)]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) stage: Stage,
    pub(crate) last: Option<Ending>,
    pub(crate) restarts: u32,
    pub(crate) id: String,
    /// Whether its startup probe has passed in this run, or it has none.
    pub(crate) started: bool,
    /// An init container that runs on beside the others.
    pub(crate) sidecar: bool,
}

/// A pod on the node.
#[derive(Debug, Clone)]
pub(crate) struct PodView {
    pub(crate) phase: &'static str,
    pub(crate) started: String,
    pub(crate) init: Vec<ContainerView>,
    pub(crate) main: Vec<ContainerView>,
    pub(crate) ip: String,
}

/// Which list a container is in, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Init(usize),
    Main(usize),
}

impl PodView {
    /// The view of a pod that the node has just taken.
    pub(crate) fn new(pod: &Value, started: String, ip: String) -> Self {
        let init: Vec<_> = containers(pod, "initContainers", "PodInitializing");
        let reason = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        Self { phase: "Pending", started, main: containers(pod, "containers", reason), init, ip }
    }

    pub(crate) fn container(&self, slot: Slot) -> Option<&ContainerView> {
        match slot {
            Slot::Init(place) => self.init.get(place),
            Slot::Main(place) => self.main.get(place),
        }
    }

    pub(crate) fn container_mut(&mut self, slot: Slot) -> Option<&mut ContainerView> {
        match slot {
            Slot::Init(place) => self.init.get_mut(place),
            Slot::Main(place) => self.main.get_mut(place),
        }
    }

    /// The phase that a pod ends in once nothing of it runs any more.
    pub(crate) fn verdict(&self) -> &'static str {
        let succeeded =
            |container: &ContainerView| matches!(&container.stage, Stage::Terminated(ending) if ending.code == 0);
        if self.main.iter().all(succeeded) { "Succeeded" } else { "Failed" }
    }

    /// The status to publish; `before` is the one that was published last.
    pub(crate) fn status(&self, before: &Value, now: &str) -> Value {
        let over = matches!(self.phase, "Succeeded" | "Failed");
        let initialized = self.init.iter().all(|container| match &container.stage {
            Stage::Terminated(ending) => ending.code == 0,
            Stage::Running { .. } => container.sidecar && container.has_started(),
            Stage::Waiting { .. } => false,
        });
        let unready: Vec<&str> = self
            .init
            .iter()
            .filter(|container| container.sidecar)
            .chain(&self.main)
            .filter(|container| !container.has_started())
            .map(|one| one.name.as_str())
            .collect();
        let ready = !over && initialized && unready.is_empty();
        let why = if self.phase == "Succeeded" {
            ("PodCompleted", String::new())
        } else if self.phase == "Failed" {
            ("PodFailed", String::new())
        } else {
            ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
        };
        let conditions: Vec<Value> = [
            ("PodReadyToStartContainers", !over, ("", String::new())),
            ("Initialized", initialized, ("ContainersNotInitialized", String::new())),
            ("Ready", ready, why.clone()),
            ("ContainersReady", ready, why),
            ("PodScheduled", true, ("", String::new())),
        ]
        .into_iter()
        .map(|(kind, holds, (reason, message))| {
            let mut condition = transition(before, kind, holds, now);
            if !holds && !reason.is_empty() {
                fields::put(&mut condition, &["reason"], reason);
            }
            if !holds && !message.is_empty() {
                fields::put(&mut condition, &["message"], message);
            }
            condition
        })
        .collect();
        let mut status = Map::new();
        status.insert("phase".into(), self.phase.into());
        status.insert("conditions".into(), conditions.into());
        status.insert("hostIP".into(), "127.0.0.1".into());
        status.insert("podIP".into(), self.ip.as_str().into());
        status.insert("startTime".into(), self.started.as_str().into());
        if !self.init.is_empty() {
            let init = self.init.iter().map(|container| container.status(true)).collect::<Vec<_>>();
            status.insert("initContainerStatuses".into(), init.into());
        }
        let main = self.main.iter().map(|container| container.status(false)).collect::<Vec<_>>();
        status.insert("containerStatuses".into(), main.into());
        status.insert("qosClass".into(), "BestEffort".into());
        Value::Object(status)
    }
}

impl ContainerView {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// Whether it runs, and its startup probe has passed.
    pub(crate) fn has_started(&self) -> bool {
        self.is_running() && self.started
    }

    fn status(&self, init: bool) -> Value {
        let done = matches!(&self.stage, Stage::Terminated(ending) if ending.code == 0);
        let mut status = json!({
            "name": self.name, "state": self.stage.to_value(), "lastState": {},
            "ready": self.has_started() || (init && done), "restartCount": self.restarts, "image": self.image,
            "imageID": "", "started": self.has_started(),
        });
        if let Some(last) = &self.last {
            fields::put(&mut status, &["lastState", "terminated"], last.to_value());
        }
        if !self.id.is_empty() {
            fields::put(&mut status, &["imageID"], self.image.as_str());
            fields::put(&mut status, &["containerID"], self.id.as_str());
        }
        status
    }
}

impl Stage {
    pub(crate) fn waiting(reason: &str, message: impl Into<Option<String>>) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: message.into() }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Waiting { reason, message: Some(message) } => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            Self::Waiting { reason, message: None } => json!({"waiting": {"reason": reason}}),
            Self::Running { since } => json!({"running": {"startedAt": since}}),
            Self::Terminated(ending) => json!({"terminated": ending.to_value()}),
        }
    }
}

impl Ending {
    fn to_value(&self) -> Value {
        let mut value = json!({"exitCode": self.code, "reason": self.reason});
        if let Some(message) = &self.message {
            fields::put(&mut value, &["message"], message.as_str());
        }
        fields::put(&mut value, &["startedAt"], self.started.as_str());
        fields::put(&mut value, &["finishedAt"], self.finished.as_str());
        fields::put(&mut value, &["containerID"], self.id.as_str());
        value
    }
}

fn containers(pod: &Value, list: &str, reason: &str) -> Vec<ContainerView> {
    fields::list(pod, &format!("/spec/{list}"))
        .iter()
        .map(|container| ContainerView {
            name: fields::text(container, "/name").to_owned(),
            image: fields::text(container, "/image").to_owned(),
            stage: Stage::waiting(reason, None),
            last: None,
            restarts: 0,
            id: String::new(),
            started: false,
            sidecar: list == "initContainers" && fields::text(container, "/restartPolicy") == "Always",
        })
        .collect()
}

/// A condition; its time is that of its last change.
fn transition(before: &Value, kind: &str, holds: bool, now: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    let known = fields::list(before, "/conditions")
        .iter()
        .find(|condition| condition["type"] == kind && condition["status"] == status)
        .map_or(now, |condition| fields::text(condition, "/lastTransitionTime"));
    json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": known})
}
