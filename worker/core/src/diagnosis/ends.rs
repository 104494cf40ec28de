//! How containers ended.

use serde_json::{Value, json};

use super::{
    MAX_MESSAGE,
    reasons::{self, Origin},
};
use crate::{
    budget::shortened,
    event::EventView,
    pod::{ContainerState, ContainerView, PodView, Role, Termination},
};

/// How a container ended, and whose it was.
pub(super) struct End<'a> {
    pub(super) pod: &'a PodView,
    pub(super) container: &'a ContainerView,
    pub(super) termination: &'a Termination,
    /// Who in Kubernetes had reason to end the container, if somebody had.
    orderer: Option<&'a str>,
}

/// What is to be done where a program failed.
const PROGRAM_FAILED: &str = "the program failed: look at its exit code and logs";

impl End<'_> {
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.termination.reason == "OOMKilled"
    }

    /// Whether it ended badly, by its program or without one. The exit code of a container that is started again with all others is
    /// none of its own.
    fn is_bad(&self) -> bool {
        self.termination.exit_code != 0 && self.origin() != Origin::Restarted
    }

    /// Whether it may be what its pod failed by. The end of a native sidecar counts for nothing in its pod (KEP-753): it is terminated
    /// after the others, as a rule by SIGTERM. Its restarts count where those of all containers do.
    pub(super) fn is_failure(&self) -> bool {
        let of_sidecar = self.container.role == Role::Sidecar;
        self.is_bad() && (!of_sidecar || (!self.pod.never_restarts && !self.termination.was_ordered()))
    }

    pub(super) fn origin(&self) -> Origin {
        reasons::origin(self.termination)
    }

    /// The signal that ended it, if one did.
    fn signal(&self) -> Option<i64> {
        let code = self.termination.exit_code;
        (self.origin() == Origin::Program && (129..=192).contains(&code)).then_some(code - 128)
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match (self.origin(), self.termination.exit_code) {
            (Origin::NotStarted, _) => {
                "no program ran: the message is the container runtime's; is the command in the image?"
            }
            (Origin::Lost, _) => "nothing says how the program ended: look at the node, and run the Job again",
            (Origin::Restarted, _) => "look at the container whose rule restarts all others",
            (Origin::Program, 126) => {
                "the program ended with 126, as a shell does that may not execute a command: look at the command's mode and architecture"
            }
            (Origin::Program, 127) => {
                "the program ended with 127, as a shell does that does not find a command: is it in the image, and on the PATH?"
            }
            (Origin::Program, 137) if !self.is_out_of_memory() && self.orderer.is_none() => {
                "nobody in Kubernetes ordered that SIGKILL: the program did it itself, a process of it ran out of memory, or somebody on \
                 the node did"
            }
            (Origin::Program, _) => PROGRAM_FAILED,
        }
    }

    /// `container main of pod x-1 ended with exit code 137 (SIGKILL, ordered by PreemptionByScheduler)`.
    pub(super) fn sentence(&self) -> String {
        let Self { pod, container, termination, orderer } = self;
        let whose = format!("container {} of pod {}", container.name, pod.name);
        let message = shortened(&termination.message, MAX_MESSAGE);
        let (code, reason) = (termination.exit_code, &termination.reason);
        match self.origin() {
            Origin::NotStarted => format!("{whose} could not be started: {message} ({reason})"),
            Origin::Lost => format!("how {whose} ended is not known: {message} ({reason})"),
            Origin::Restarted => format!("{whose} was ended to be started again with all others of its pod ({reason})"),
            Origin::Program => match (self.signal().map(signal_name), orderer) {
                (Some(signal), Some(orderer)) if termination.was_ordered() => {
                    format!("{whose} ended with exit code {code} ({signal}, ordered by {orderer})")
                }
                (Some(signal), _) => format!("{whose} ended with exit code {code} ({signal})"),
                (None, _) => format!("{whose} ended with exit code {code}"),
            },
        }
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
    let startup = |event: &EventView| event.reason == "Killing" && event.message.contains("failed startup probe");
    match (&pod.disruption, pod.deleting, pod.reason.reason.as_str()) {
        (Some(disruption), ..) => Some(&disruption.reason),
        (None, true, _) => Some("the deletion of its pod"),
        (None, false, "") if events.iter().filter(about).any(probe) => Some("its failing liveness probe"),
        (None, false, "") if events.iter().filter(about).any(startup) => Some("its failing startup probe"),
        (None, false, "") if events.iter().filter(about).any(|event| event.reason == "FailedPostStartHook") => {
            Some("its failing postStart hook")
        }
        (None, false, "") if events.iter().filter(about).any(|event| event.reason == "Killing") => Some("its kubelet"),
        (None, false, "") => None,
        (None, false, reason) => Some(reason),
    }
}

/// The pods whose Events say who has killed their containers: those that were killed, and nobody knows by whom.
pub(super) fn killed(pods: &[PodView]) -> impl Iterator<Item = &PodView> {
    let killed = |pod: &&PodView| {
        let ends = ends(std::slice::from_ref(pod), &[]);
        let by_unknown = |end: &End<'_>| end.termination.was_ordered() && end.orderer.is_none();
        ends.iter().any(|end| end.origin() == Origin::Program && end.is_failure() && by_unknown(end))
    };
    newest_first(pods).into_iter().filter(killed)
}

/// The ends of all containers, those that failed first, native sidecars after others, later pods before earlier ones.
pub(super) fn ends<'a>(pods: &'a [PodView], events: &[EventView]) -> Vec<End<'a>> {
    let mut ends: Vec<End<'_>> = newest_first(pods)
        .into_iter()
        .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
        .filter_map(|(pod, container)| {
            Some(End { pod, container, termination: end(container)?, orderer: orderer(pod, events) })
        })
        .collect();
    ends.sort_by_key(|end| (!end.is_failure(), end.container.role == Role::Sidecar));
    ends
}

pub(super) fn newest_first(pods: &[PodView]) -> Vec<&PodView> {
    let mut pods: Vec<&PodView> = pods.iter().collect();
    pods.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    pods
}

/// How a container ended by itself. Where restarts count, the Job has failed as soon as the container is restarted once more, and
/// Kubernetes ends that last run, whatever it was about to do: the run before is the one that failed. That is so under
/// every policy of the pod: containers may have rules of their own.
pub(super) fn end(container: &ContainerView) -> Option<&Termination> {
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
