//! How containers ended.

use serde_json::{Value, json};

use super::MAX_MESSAGE;
use crate::{
    budget::shortened,
    event::EventView,
    pod::{ContainerState, ContainerView, PodView, Termination},
};

/// How a container ended, and whose it was.
pub(super) struct End<'a> {
    pub(super) pod: &'a PodView,
    pub(super) container: &'a ContainerView,
    pub(super) termination: &'a Termination,
    /// Who in Kubernetes had reason to end the container, if somebody had.
    orderer: Option<&'a str>,
}

impl End<'_> {
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.termination.reason == "OOMKilled"
    }

    pub(super) fn is_failure(&self) -> bool {
        self.termination.exit_code != 0
    }

    fn signal(&self) -> Option<i64> {
        let code = self.termination.exit_code;
        (129..=192).contains(&code).then_some(code - 128)
    }

    /// What shells and container runtimes mean by an exit code.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match (self.termination.exit_code, self.termination.reason.as_str()) {
            (_, "StartError" | "ContainerCannotRun") => {
                Some("the container's command could not be started: is it in the image?")
            }
            (126, _) => Some("the command is not executable: look at its mode and its architecture"),
            (127, _) => Some("the command was not found: is it in the image, and on its PATH?"),
            (137, reason) if reason != "OOMKilled" && self.orderer.is_none() => Some(
                "nobody in Kubernetes ordered that SIGKILL: the program did it itself, a process of it ran out of memory, or somebody on \
                 the node did",
            ),
            _ => None,
        }
    }

    /// `container main of pod x-1 ended with exit code 137 (SIGKILL, ordered by PreemptionByScheduler)`.
    pub(super) fn sentence(&self) -> String {
        let Self { pod, container, termination, .. } = self;
        let mut sentence =
            format!("container {} of pod {} ended with exit code {}", container.name, pod.name, termination.exit_code);
        match (self.signal().map(signal_name), self.orderer) {
            (Some(signal), Some(orderer)) if termination.was_ordered() => {
                sentence.push_str(&format!(" ({signal}, ordered by {orderer})"));
            }
            (Some(signal), _) => sentence.push_str(&format!(" ({signal})")),
            (None, _) if matches!(termination.reason.as_str(), "StartError" | "ContainerCannotRun") => {
                sentence
                    .push_str(&format!(": it could not be started: {}", shortened(&termination.message, MAX_MESSAGE)));
            }
            (None, _) => {}
        }
        sentence
    }

    pub(super) fn to_json(&self) -> Value {
        let mut end = json!({
            "pod": self.pod.name,
            "container": self.container.name,
            "exitCode": self.termination.exit_code,
            "reason": self.termination.reason,
        });
        if let Some(map) = end.as_object_mut() {
            if let Some(signal) = self.signal() {
                map.insert("signal".into(), signal_name(signal).into());
            }
            if !self.termination.message.is_empty() {
                map.insert("message".into(), shortened(&self.termination.message, MAX_MESSAGE).into());
            }
        }
        end
    }
}

/// Who in Kubernetes had reason to end a pod's containers, if somebody had.
fn orderer<'a>(pod: &'a PodView, events: &[EventView]) -> Option<&'a str> {
    let about = |event: &&EventView| event.about == pod.uid;
    let probe = |event: &EventView| event.reason == "Unhealthy" && event.message.starts_with("Liveness probe failed");
    match (&pod.disruption, pod.deleting, pod.reason.reason.as_str()) {
        (Some(disruption), ..) => Some(&disruption.reason),
        (None, true, _) => Some("the deletion of its pod"),
        (None, false, "") if events.iter().filter(about).any(probe) => Some("its failing liveness probe"),
        (None, false, "") if events.iter().filter(about).any(|event| event.reason == "Killing") => Some("its kubelet"),
        (None, false, "") => None,
        (None, false, reason) => Some(reason),
    }
}

/// The pods whose Events say who has killed their containers: those that were killed, and nobody knows by whom.
pub(super) fn killed(pods: &[PodView]) -> impl Iterator<Item = &PodView> {
    let killed = |pod: &&PodView| {
        let ends = ends(std::slice::from_ref(pod), &[]);
        ends.iter().any(|end| end.termination.was_ordered() && end.orderer.is_none())
    };
    newest_first(pods).into_iter().filter(killed)
}

/// The ends of all containers, those that failed first, later pods before earlier ones.
pub(super) fn ends<'a>(pods: &'a [PodView], events: &[EventView]) -> Vec<End<'a>> {
    let mut ends: Vec<End<'_>> = newest_first(pods)
        .into_iter()
        .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
        .filter_map(|(pod, container)| {
            Some(End { pod, container, termination: end(container)?, orderer: orderer(pod, events) })
        })
        .collect();
    ends.sort_by_key(|end| !end.is_failure());
    ends
}

pub(super) fn newest_first(pods: &[PodView]) -> Vec<&PodView> {
    let mut pods: Vec<&PodView> = pods.iter().collect();
    pods.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    pods
}

/// How a container ended by itself. With `restartPolicy: OnFailure` the Job has failed as soon as the container is restarted once
/// more, and Kubernetes ends that last run, whatever it was about to do: the run before is the one that failed.
fn end(container: &ContainerView) -> Option<&Termination> {
    match (&container.state, &container.previous) {
        (ContainerState::Terminated(own), None) => Some(own),
        (ContainerState::Terminated(own), Some(previous)) => Some(if own.was_ordered() { previous } else { own }),
        (ContainerState::Running, previous) => previous.as_ref(),
        (ContainerState::Waiting(_), _) => None,
    }
}

fn signal_name(signal: i64) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
