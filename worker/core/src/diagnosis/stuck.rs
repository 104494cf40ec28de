//! Why a Job does not get going, from its pods and their Events: what is wrong, and how long that may be.
//!
//! A Job is stuck only if each of its pods that has not ended is. One that is still on its way is given its time, and pods that have
//! ended say nothing about the next. What may pass by itself has a grace: a registry that hiccups, a ConfigMap that is applied after
//! the Job, a node that is still to be added.

use std::time::Duration;

use super::{
    Diagnosis, MAX_MESSAGE,
    reasons::{self, Wait},
    restarts,
};
use crate::{
    budget::shortened,
    event::EventView,
    failure::{JobError, reason_parts},
    job::JobView,
    pending::FIRST_LOOK,
    pod::{ContainerState, ContainerView, Placement, PodView, Remark},
};

/// The most pods whose Events are asked for.
const MAX_PODS: usize = 3;

/// Nothing will heal it.
const HOPELESS: Duration = FIRST_LOOK;
/// What is deployed beside the Job may come after it. Kubernetes tries again after ever longer pauses, images after 10, 20, 40 and 80
/// s and pods after 1 s to 1 min: a grace has to outlast the next try.
pub(super) const DEPLOYMENT: Duration = Duration::from_mins(3);
/// Registries, volumes and webhooks come back within that, or somebody has to look.
const INFRASTRUCTURE: Duration = Duration::from_mins(6);
/// The pods of a node that does not answer are evicted after five minutes (`tolerationSeconds` of the default tolerations), and the
/// Job makes new ones.
const LOST_NODE: Duration = Duration::from_mins(8);
/// Autoscalers take minutes to add a node, more if the machine is rare.
const NEW_NODE: Duration = Duration::from_mins(15);
/// A quota is freed when other work ends.
const QUOTA: Duration = Duration::from_mins(15);

/// Something that keeps a Job from getting going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// What it is.
    pub diagnosis: Diagnosis,
    /// How long it may last.
    pub grace: Duration,
    /// What follows.
    pub course: Course,
}

/// What follows when a symptom has outlasted its grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// The Job is failed, if its policy says so.
    Fail,
    /// It is told of: it may be meant that way.
    Tell,
}

/// The objects whose Events are needed to say what is wrong: their UIDs. Most pods say it themselves; of one that is restarted, an
/// Event has the words of its probe.
pub fn in_need_of_events(job: &JobView, pods: &[PodView]) -> Vec<String> {
    let silent =
        candidates(pods).into_iter().filter(|pod| is_silent(job, pod) || restarts::symptom(pod, &[]).is_some());
    let mut wanted: Vec<String> = silent.take(MAX_PODS).map(|pod| pod.uid.clone()).collect();
    if candidates(pods).is_empty() {
        wanted.push(job.uid.clone());
    }
    wanted
}

/// The pods that could still get going: those that have not ended and are not on their way out. The Job replaces the others.
fn candidates(pods: &[PodView]) -> Vec<&PodView> {
    pods.iter().filter(|pod| !pod.has_ended() && !pod.deleting).collect()
}

/// Whether only its Events could say what is wrong with a pod. They say nothing of one that has run, and whose kubelet says why it is
/// not ready.
fn is_silent(job: &JobView, pod: &PodView) -> bool {
    let explained = pod.has_run() && pod.unready.as_ref().is_some_and(|remark| !remark.reason.is_empty());
    pod.placement == Placement::Unseen || (of_pod(job, pod, &[]).is_none() && !explained)
}

/// What keeps a Job from getting going. `None`: nothing that is known.
pub fn symptom(job: &JobView, pods: &[PodView], events: &[EventView]) -> Option<Symptom> {
    let candidates = candidates(pods);
    let found = if candidates.is_empty() {
        refused_pods(job, pods, events)
    } else {
        // Silent pods of which nobody asked are taken to be like the others.
        let asked = in_need_of_events(job, pods);
        let known = candidates.into_iter().filter(|pod| !is_silent(job, pod) || asked.contains(&pod.uid));
        let each: Option<Vec<Symptom>> = known.map(|pod| of_pod(job, pod, events)).collect();
        // The one that is given the most time: all of them have to outlast it.
        each?.into_iter().max_by_key(|symptom| (symptom.course == Course::Tell, symptom.grace))
    };
    found.map(|symptom| Symptom { diagnosis: symptom.diagnosis.beside(pods, events), ..symptom })
}

fn of_pod(job: &JobView, pod: &PodView, events: &[EventView]) -> Option<Symptom> {
    let about: Vec<&EventView> = events.iter().filter(|event| event.about == pod.uid).collect();
    if let Some(lost) = lost(pod, &about) {
        return Some(lost);
    }
    if pod.placement != Placement::Placed {
        return unplaced(pod, &about);
    }
    let waiting = pod.containers.iter().filter_map(|container| Some((container, container.waiting.as_ref()?)));
    let of_containers = waiting
        .filter_map(|(container, remark)| of_container(pod, container, remark))
        .max_by_key(|symptom| symptom.grace)
        // Work is being done beside it, and would be lost.
        .map(|symptom| if is_working(pod) { Symptom { course: Course::Tell, ..symptom } } else { symptom });
    of_containers
        .or_else(|| restarts::symptom(pod, &about))
        .or_else(|| not_mounted(pod, &about))
        .or_else(|| only_others_run(job, pod))
}

fn is_working(pod: &PodView) -> bool {
    pod.main_containers().any(|container| container.state == ContainerState::Running)
}

/// It has no node, in the scheduler's words. They come by an Event first, and are in the pod's status a moment later. What is gated
/// (`SchedulingGated`) waits for somebody to open the gate, and is not stuck.
fn unplaced(pod: &PodView, about: &[&EventView]) -> Option<Symptom> {
    let event = latest(about, |event| event.reason == "FailedScheduling");
    let message = match &pod.placement {
        Placement::Placed => return None,
        Placement::Refused(remark) if reason_parts(&remark.reason).0 == "SchedulingGated" => return None,
        Placement::Refused(remark) => &remark.message,
        Placement::Unseen => match event {
            Some(event) => &event.message,
            None => "no scheduler has looked at it: is spec.schedulerName right?",
        },
    };
    let summary = format!("pod {} fits on no node: {}", pod.name, shortened(message, MAX_MESSAGE));
    Some(fails(JobError::Unschedulable, summary, NEW_NODE))
}

/// The node does not answer any more. The pod looks as it did when it was heard of last, but that the node controller has called it
/// not ready, and gives no reason. (The Event alone may be an hour old, and the node long back.)
fn lost(pod: &PodView, about: &[&EventView]) -> Option<Symptom> {
    pod.unready.as_ref().filter(|remark| remark.reason.is_empty())?;
    let event = latest(about, |event| event.reason == "NodeNotReady")?;
    let summary = format!("the node of pod {} does not answer: {}", pod.name, shortened(&event.message, MAX_MESSAGE));
    Some(fails(JobError::NodeLost, summary, LOST_NODE))
}

/// Why a container waits, if it is not for its turn: a container that fails again and again is for the Job's own limit to end, or is
/// found by its [restarts].
fn of_container(pod: &PodView, container: &ContainerView, remark: &Remark) -> Option<Symptom> {
    let message = shortened(&remark.message, MAX_MESSAGE);
    let whose = format!("container {} of pod {}", container.name, pod.name);
    let image = &container.image;
    Some(match reasons::wait(&remark.reason) {
        Wait::Turn => return None,
        Wait::ImageName => {
            fails(JobError::InvalidImageName, format!("{whose} has an image that cannot be one: \"{image}\""), HOPELESS)
        }
        Wait::ImageNeverPulled => {
            let summary = format!("the image {image} of {whose} is not on the node, and imagePullPolicy is Never");
            fails(JobError::ImagePullFailed, summary, DEPLOYMENT)
        }
        Wait::Image => {
            let summary = format!("the image {image} of {whose} cannot be pulled: {message}");
            let symptom = fails(JobError::ImagePullFailed, summary, pull_grace(&remark.message));
            let retryable = symptom.grace > DEPLOYMENT;
            Symptom { diagnosis: Diagnosis { retryable, ..symptom.diagnosis }, ..symptom }
        }
        Wait::Configuration if names_config(&remark.message) => {
            fails(JobError::ConfigMissing, format!("{whose} cannot be configured: {message}"), DEPLOYMENT)
        }
        Wait::Configuration => {
            fails(JobError::ContainerNotStarted, format!("{whose} cannot be configured: {message}"), DEPLOYMENT)
        }
        Wait::Start => {
            let summary = format!("{whose} cannot be started: {message} ({})", remark.reason);
            fails(JobError::ContainerNotStarted, summary, DEPLOYMENT)
        }
        // It may be one that passes.
        Wait::Unknown => {
            let summary = format!("{whose} waits: {message} ({})", remark.reason);
            let symptom = fails(JobError::ContainerNotStarted, summary, INFRASTRUCTURE);
            Symptom { course: Course::Tell, ..symptom }
        }
    })
}

/// How long an image may be absent. A registry that says no has understood the question; anything else may be its own trouble, or
/// that of the network.
fn pull_grace(message: &str) -> Duration {
    let message = message.to_lowercase();
    // Words, not numbers alone: an image's digest has many digits.
    let says_no = [
        "not found",
        "manifest unknown",
        "401 unauthorized",
        "unauthorized:",
        "authorization failed",
        "403 forbidden",
        "denied",
    ];
    // Docker Hub words it so when there were too many requests.
    let busy = ["toomanyrequests", "too many requests"];
    if says_no.iter().any(|word| message.contains(word)) && !busy.iter().any(|word| message.contains(word)) {
        DEPLOYMENT
    } else {
        INFRASTRUCTURE
    }
}

/// The Events of a pod whose containers cannot even be made (`pkg/kubelet/events/event.go`).
const FAILED_SANDBOX: [&str; 5] = [
    "FailedCreatePodSandBox",
    "FailedCreatePodContainer",
    "FailedMakePodDataDirectories",
    "FailedPrepareDynamicResources",
    "NetworkNotReady",
];

/// What only Events tell: volumes, and the sandbox that the containers of a pod share.
fn not_mounted(pod: &PodView, about: &[&EventView]) -> Option<Symptom> {
    let last = latest(about, |event| {
        let of_sandbox = FAILED_SANDBOX.contains(&event.reason.as_str());
        let of_volumes = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"].contains(&event.reason.as_str());
        event.is_warning && (of_sandbox || of_volumes) && !is_premature(&event.message)
    });
    // Once the sandbox is there, the volumes are, too; and whoever pulls has them behind it. Events are kept for an hour.
    let progress = latest(about, |event| ["Pulling", "Pulled", "Created", "Started"].contains(&event.reason.as_str()));
    let last = last.filter(|last| {
        !pod.sandbox_ready && !pod.has_run() && progress.is_none_or(|progress| progress.last < last.last)
    })?;
    let message = shortened(&last.message, MAX_MESSAGE);
    let (code, what, grace) = match last.reason.as_str() {
        reason if FAILED_SANDBOX.contains(&reason) => {
            (JobError::ContainerNotStarted, "cannot be started", INFRASTRUCTURE)
        }
        _ if names_config(&last.message) => (JobError::ConfigMissing, "has a volume that cannot be filled", DEPLOYMENT),
        _ => (JobError::VolumeNotMounted, "has a volume that cannot be mounted", INFRASTRUCTURE),
    };
    Some(fails(code, format!("pod {} {what}: {message}", pod.name), grace))
}

/// Whether the kubelet only says that it has not looked yet: on a busy node every pod's first mount may, that of its own token even. It
/// tries again within a second, and says then what is wrong, if anything is.
fn is_premature(of_mount: &str) -> bool {
    of_mount.contains("failed to sync") && of_mount.contains("cache: timed out")
}

/// Whether it is about a ConfigMap, a Secret or a key of one, in the kubelet's words: `configmap "x" not found`, `couldn't find key k in
/// Secret ns/x`, `references non-existent secret key: k`, `failed to sync configmap cache: …`.
fn names_config(message: &str) -> bool {
    let objects = ["configmap \"", "secret \""];
    let missing = message.contains("not found") && objects.iter().any(|object| message.contains(object));
    let phrases = [
        "couldn't find key",
        "references non-existent config key",
        "references non-existent secret key",
        "failed to sync configmap cache",
        "failed to sync secret cache",
    ];
    missing || phrases.iter().any(|phrase| message.contains(phrase))
}

fn latest<'a>(events: &[&'a EventView], fits: impl Fn(&EventView) -> bool) -> Option<&'a EventView> {
    events.iter().copied().filter(|event| fits(event)).max_by(|a, b| a.last.cmp(&b.last))
}

/// The Job's work is done, and its pod is not. A container that the request did not ask for is a sidecar, wherever it was injected. Of
/// two containers that it asked for, nobody knows: that is told, not ended.
fn only_others_run(job: &JobView, pod: &PodView) -> Option<Symptom> {
    let has_ended = |container: &ContainerView| match &container.state {
        ContainerState::Terminated(end) => {
            // Otherwise it is started again.
            container.waiting.is_none() && !container.restart.applies(end.exit_code)
        }
        _ => false,
    };
    let own = || pod.main_containers().filter(|container| job.asks_for(&container.name));
    let running: Vec<&str> = pod
        .main_containers()
        .filter(|container| container.state == ContainerState::Running)
        .map(|container| container.name.as_str())
        .collect();
    let (first, _) = (own().find(|container| has_ended(container))?, running.first()?);
    let summary = format!("container {} of pod {} has ended, and {} runs on", first.name, pod.name, running.join(", "));
    let (grace, course) =
        if own().all(has_ended) { (DEPLOYMENT, Course::Fail) } else { (INFRASTRUCTURE, Course::Tell) };
    Some(Symptom { diagnosis: Diagnosis::new(JobError::SidecarRunning, summary), grace, course })
}

/// There is no pod, or none that has not ended: does somebody refuse the next one?
fn refused_pods(job: &JobView, pods: &[PodView], events: &[EventView]) -> Option<Symptom> {
    let newest = pods.iter().map(|pod| pod.created.as_str()).max().unwrap_or_default();
    let events: Vec<&EventView> = events.iter().collect();
    let refusal = latest(&events, |event| event.about == job.uid && event.reason == "FailedCreate");
    // One from before the newest pod was overcome.
    match refusal.filter(|refusal| refusal.last.as_str() > newest) {
        Some(refusal) => {
            let summary = format!("no pod can be made: {}", shortened(&refusal.message, MAX_MESSAGE));
            let says = |words: &str| refusal.message.contains(words);
            let (grace, retryable) = if says("exceeded quota") {
                (QUOTA, true)
            } else if says("forbidden") || says("not found") || says("denied the request") || says("is invalid") {
                (DEPLOYMENT, false)
            } else {
                // The API server's own trouble, or that of a webhook that does not answer.
                (INFRASTRUCTURE, true)
            };
            let symptom = fails(JobError::NoPods, summary, grace);
            Some(Symptom { diagnosis: Diagnosis { retryable, ..symptom.diagnosis }, ..symptom })
        }
        None if pods.is_empty() => {
            let summary = "no pod was ever made, and nobody says why: does the job controller run?".to_owned();
            // It may be busy, or Events cannot be read.
            Some(Symptom { course: Course::Tell, ..fails(JobError::NoPods, summary, INFRASTRUCTURE) })
        }
        // Between two attempts.
        None => None,
    }
}

fn fails(code: JobError, summary: String, grace: Duration) -> Symptom {
    Symptom { diagnosis: Diagnosis::new(code, summary), grace, course: Course::Fail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graces_are_as_documented() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/contract.md");
        let contract = std::fs::read_to_string(file).unwrap();
        let documented = [
            ("the image's name cannot be one", HOPELESS),
            ("an image that the registry says no to", DEPLOYMENT),
            ("a registry that cannot be reached", INFRASTRUCTURE),
            ("a ConfigMap, a Secret or a key is missing", DEPLOYMENT),
            ("a container cannot be made or started", DEPLOYMENT),
            ("a volume that cannot be mounted", INFRASTRUCTURE),
            ("no node is fit", NEW_NODE),
            ("the node does not answer", LOST_NODE),
            ("a native sidecar crashes", restarts::SIDECAR),
            ("an injected one runs on", DEPLOYMENT),
            ("one of several containers of the request has ended", INFRASTRUCTURE),
            ("a container was restarted five times", DEPLOYMENT),
            ("a container waits for a reason that is not known", INFRASTRUCTURE),
            ("a quota is used up", QUOTA),
        ];
        for (what, grace) in documented {
            let row = contract.lines().find(|line| line.starts_with("| ") && line.contains(what)).unwrap();
            let grace = match grace.as_secs() {
                seconds if seconds < 60 => format!("{seconds} seconds"),
                seconds => format!("{} minutes", seconds / 60),
            };
            assert!(row.contains(&grace), "{grace} is not in {row}");
        }
    }
}
