//! Containers that are restarted again and again without any limit of the Job that would end it.
//!
//! The Job controller counts the restarts of containers only where the pods' policy is `OnFailure` (`pastBackoffLimitOnFailure` in
//! `pkg/controller/job/job_controller.go`), and then those of native sidecars too. With `Never` a native sidecar is restarted for
//! ever, and so is a container whose own rules say so.

use std::time::Duration;

use super::{
    Diagnosis, MAX_MESSAGE, ends,
    stuck::{Course, DEPLOYMENT, Symptom},
};
use crate::{
    budget::shortened,
    event::EventView,
    failure::JobError,
    pod::{ContainerState, ContainerView, PodView, Role},
};

/// A sidecar may wait for something that is deployed later. The kubelet waits for five minutes at most between two starts: this
/// outlasts the next one even then.
pub(super) const SIDECAR: Duration = Duration::from_mins(10);
/// A container that was restarted so often has been tried for five minutes, with pauses of 10, 20, 40, 80 and 160 s.
const MANY: u64 = 5;

/// A container of the pod that is restarted without an end. `about`: the Events of the pod, as far as they are known.
pub(super) fn symptom(pod: &PodView, about: &[&EventView]) -> Option<Symptom> {
    if !pod.never_restarts {
        return None;
    }
    let container = looping(pod)?;
    let what = if container.role == Role::Sidecar { "native sidecar" } else { "container" };
    let mut summary = format!(
        "{what} {} of pod {} does not get well, was restarted {} times so far, and no limit of the Job counts that",
        container.name, pod.name, container.restarts
    );
    let probe = about.iter().rev().find(|event| event.message.starts_with("Startup probe failed"));
    match (probe, ends::end(container)) {
        (Some(probe), _) => summary.push_str(&format!(": {}", shortened(probe.message.trim_end(), MAX_MESSAGE))),
        (None, Some(end)) => summary.push_str(&format!(": it ended with exit code {} ({})", end.exit_code, end.reason)),
        (None, None) => {}
    }
    let diagnosis = Diagnosis::new(JobError::CrashLoop, summary);
    Some(match container.role {
        Role::Sidecar if !works_beside(pod, container) => Symptom { diagnosis, grace: SIDECAR, course: Course::Fail },
        Role::Sidecar => Symptom { diagnosis, grace: SIDECAR, course: Course::Tell },
        // The request says when it is to be restarted, and that may be for as long as it takes.
        Role::Init | Role::Main => Symptom { diagnosis, grace: DEPLOYMENT, course: Course::Tell },
    })
}

fn looping(pod: &PodView) -> Option<&ContainerView> {
    // Once the others have ended, a sidecar is about to.
    let is_over =
        pod.main_containers().all(|main| matches!(main.state, ContainerState::Terminated(_)) && main.waiting.is_none());
    let mut containers = pod.containers.iter();
    containers.find(|container| match container.role {
        Role::Sidecar => !is_over && is_unwell(container),
        Role::Init | Role::Main => container.waiting.is_some() && container.restarts >= MANY,
    })
}

/// Whether a native sidecar has ended, or was restarted and its startup probe has not passed since. In its first run it has the time
/// that its probe allows.
fn is_unwell(sidecar: &ContainerView) -> bool {
    match sidecar.state {
        ContainerState::Terminated(_) => true,
        ContainerState::Running => !sidecar.started && sidecar.restarts > 0,
        ContainerState::Waiting(_) => sidecar.restarts > 0,
    }
}

/// Whether work is being done beside a container, which would be lost.
fn works_beside(pod: &PodView, container: &ContainerView) -> bool {
    let works = |other: &&ContainerView| other.role != Role::Sidecar && other.state == ContainerState::Running;
    pod.containers.iter().filter(|other| other.name != container.name).any(|other| works(&other))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod with a native sidecar in that state, and a container `main` in that one.
    fn pod(policy: &str, sidecar: &Value, main: &Value) -> PodView {
        let named = |name: &str, status: &Value| {
            let mut status = status.clone();
            status["name"] = json!(name);
            status
        };
        PodView::of(&json!({
            "metadata": {"name": "x-1"},
            "spec": {"restartPolicy": policy, "containers": [{"name": "main"}],
                     "initContainers": [{"name": "proxy", "restartPolicy": "Always"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [named("proxy", sidecar)],
                       "containerStatuses": [named("main", main)]},
        }))
    }

    fn starting(restarts: u64) -> Value {
        json!({"state": {"running": {}}, "started": false, "restartCount": restarts})
    }

    fn backing_off() -> Value {
        json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "started": false, "restartCount": 2,
               "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}})
    }

    fn initializing() -> Value {
        json!({"state": {"waiting": {"reason": "PodInitializing"}}})
    }

    fn running() -> Value {
        json!({"state": {"running": {}}, "started": true})
    }

    #[test]
    fn a_sidecar_is_unwell_while_it_waits_for_its_next_start_and_while_its_probe_fails_alike() {
        let seen =
            [backing_off(), starting(3)].map(|sidecar| symptom(&pod("Never", &sidecar, &initializing()), &[]).unwrap());
        let as_the_clock_sees_it = seen.each_ref().map(|one| (one.diagnosis.code, one.course, one.grace));
        assert_eq!(as_the_clock_sees_it[0], as_the_clock_sees_it[1]);
        assert_eq!(as_the_clock_sees_it[0], (JobError::CrashLoop, Course::Fail, SIDECAR));
        assert!(seen.iter().all(|one| one.diagnosis.summary.contains("native sidecar proxy of pod x-1")));
    }

    #[test]
    fn a_sidecar_has_the_time_that_its_probe_allows_and_one_that_has_recovered_is_well() {
        assert_eq!(symptom(&pod("Never", &starting(0), &initializing()), &[]), None);
        let recovered = json!({"state": {"running": {}}, "started": true, "restartCount": 7,
                               "lastState": {"terminated": {"exitCode": 1}}});
        assert_eq!(symptom(&pod("Never", &recovered, &initializing()), &[]), None);
    }

    #[test]
    fn work_beside_a_sidecar_that_crashes_is_not_ended() {
        assert_eq!(symptom(&pod("Never", &backing_off(), &running()), &[]).unwrap().course, Course::Tell);
    }

    #[test]
    fn what_the_jobs_own_limit_counts_is_left_to_it() {
        assert_eq!(symptom(&pod("OnFailure", &backing_off(), &initializing()), &[]), None);
    }

    #[test]
    fn a_sidecar_ends_with_the_others() {
        let ended = json!({"state": {"terminated": {"exitCode": 143, "reason": "Error"}}});
        let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        assert_eq!(symptom(&pod("Never", &ended, &done), &[]), None);
    }

    #[test]
    fn a_container_that_its_own_rule_restarts_for_ever_is_reported_and_not_ended() {
        let healthy = json!({"state": {"running": {}}, "started": true});
        let mut main = backing_off();
        assert_eq!(symptom(&pod("Never", &healthy, &main), &[]), None);
        main["restartCount"] = json!(MANY);
        let found = symptom(&pod("Never", &healthy, &main), &[]).unwrap();
        assert_eq!((found.diagnosis.code, found.course), (JobError::CrashLoop, Course::Tell));
        assert!(found.diagnosis.summary.contains("container main"), "{}", found.diagnosis.summary);
    }
}
