//! Why a Job failed, from its condition, its status, its pods and their Events.
//!
//! The condition decides that it failed, and names the reason; the pods say it better where they can.

use super::{
    Diagnosis, MAX_MESSAGE,
    ends::{End, ends, killed, newest_first},
    stuck,
};
use crate::{budget::shortened, event::EventView, failure::JobError, job::JobView, pod::PodView};

/// The most pods whose Events are asked for.
const MAX_KILLED: usize = 2;

/// What the Job's own status says of its failure.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The reason of the condition `Failed` (or `FailureTarget`).
    pub reason: &'a str,
    /// Its message.
    pub message: &'a str,
    /// `status.failedIndexes`, for example `1,3-5`.
    pub failed_indexes: Option<&'a str>,
}

/// The objects whose Events say more than the pods do: those of a Job that never got going, and of pods that somebody killed.
pub fn in_need_of_events(job: &JobView, pods: &[PodView]) -> Vec<String> {
    if pods.iter().any(PodView::has_run) {
        killed(pods).take(MAX_KILLED).map(|pod| pod.uid.clone()).collect()
    } else {
        stuck::in_need_of_events(job, pods)
    }
}

/// Why a Job that failed did so.
pub fn diagnose(job: &JobView, failure: Failure<'_>, pods: &[PodView], events: &[EventView]) -> Diagnosis {
    let better = better(job, failure, pods, events)
        .map(|better| Diagnosis { summary: format!("{}; {}", better.summary, sentence(failure)), ..better });
    better.unwrap_or_else(|| by_condition(failure, pods, events)).beside(pods, events)
}

/// What the pods say better than the condition does.
fn better(job: &JobView, failure: Failure<'_>, pods: &[PodView], events: &[EventView]) -> Option<Diagnosis> {
    let counted: Vec<&PodView> = newest_first(pods).into_iter().filter(|pod| has_failed(pod)).collect();
    match JobError::of_condition(failure.reason) {
        // Time ran out: that is so, whatever happened before. Unless nothing ever ran: then the question is why.
        JobError::DeadlineExceeded => {
            // Pods that have been deleted by now may have run.
            let all_known = !pods.is_empty() || job.ended_pods == 0;
            let never_ran = all_known && !pods.iter().any(PodView::has_run);
            let stuck = never_ran.then(|| stuck::symptom(job, pods, events)).flatten()?;
            Some(stuck.diagnosis)
        }
        // Of many indexes each may have failed for a reason of its own.
        JobError::FailedIndexes | JobError::MaxFailedIndexesExceeded => {
            let all: Option<Vec<Diagnosis>> = counted.iter().map(|pod| of_pod(pod)).collect();
            let all = all?;
            let first = all.first()?.clone();
            all.iter().all(|one| one.code == first.code).then_some(first)
        }
        // The last pod is the one that was one too many.
        _ => of_pod(counted.first()?),
    }
}

/// A pod that is lost counts as failed once its deletion is through.
fn has_failed(pod: &PodView) -> bool {
    pod.has_failed() || pod.disruption.is_some() || ends(std::slice::from_ref(pod), &[]).iter().any(End::is_failure)
}

/// What a pod itself says of its end, if it says more than an exit code.
fn of_pod(pod: &PodView) -> Option<Diagnosis> {
    if let Some(disrupted) = disrupted(pod) {
        return Some(disrupted);
    }
    let ends = ends(std::slice::from_ref(pod), &[]);
    let end = ends.iter().find(|end| end.is_out_of_memory())?;
    let limit = end.container.memory_limit.as_deref().map_or_else(
        || "while its node, or a limit above it, was out of memory".to_owned(),
        |limit| format!("for using more memory than its limit of {limit}"),
    );
    let summary = format!("container {} of pod {} was killed {limit}", end.container.name, pod.name);
    Some(Diagnosis::new(JobError::OutOfMemory, summary))
}

/// Who took the pod away, if somebody did.
fn disrupted(pod: &PodView) -> Option<Diagnosis> {
    // The pod's own reason is the kubelet's, which puts one condition on whatever it ends (`TerminationByKubelet`).
    let (code, remark) = match (pod.reason.reason.as_str(), &pod.disruption) {
        ("Evicted", _) => (JobError::Evicted, &pod.reason),
        ("Preempting", _) => (JobError::Preempted, &pod.reason),
        ("NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated", _) => (JobError::NodeLost, &pod.reason),
        (_, Some(disruption)) => {
            let code = match disruption.reason.as_str() {
                "PreemptionByScheduler" => JobError::Preempted,
                "DeletionByTaintManager" | "DeletionByPodGC" => JobError::NodeLost,
                // `EvictionByEvictionAPI`, and what may come.
                _ => JobError::Evicted,
            };
            (code, disruption)
        }
        (_, None) => return None,
    };
    let what = match code {
        JobError::Preempted => "had to make room for another pod",
        JobError::NodeLost => "was lost with its node",
        _ => "was evicted",
    };
    let summary = format!("pod {} {what}: {} ({})", pod.name, shortened(&remark.message, MAX_MESSAGE), remark.reason);
    Some(Diagnosis::new(code, summary))
}

/// What the condition says: `the Job failed with FailedIndexes (Job has failed indexes); failed indexes: 1,2`.
fn sentence(failure: Failure<'_>) -> String {
    let mut sentence = match JobError::of_condition(failure.reason) {
        JobError::Failed => format!("the Job failed: {}", failure.reason),
        _ => format!("the Job failed with {}", failure.reason),
    };
    if !failure.message.is_empty() {
        sentence.push_str(&format!(" ({})", shortened(failure.message, MAX_MESSAGE)));
    }
    if let Some(indexes) = failure.failed_indexes.filter(|indexes| !indexes.is_empty()) {
        sentence.push_str(&format!("; failed indexes: {}", shortened(indexes, MAX_MESSAGE)));
    }
    sentence
}

fn by_condition(failure: Failure<'_>, pods: &[PodView], events: &[EventView]) -> Diagnosis {
    let code = JobError::of_condition(failure.reason);
    let mut summary = sentence(failure);
    let ends = ends(pods, events);
    let end = ends.iter().find(|end| end.is_failure());
    let deleted = newest_first(pods).into_iter().find(|pod| pod.deleting);
    match (end, deleted) {
        (Some(end), _) => summary.push_str(&format!("; {}", end.sentence())),
        (None, Some(pod)) if code == JobError::BackoffLimitExceeded => {
            summary.push_str(&format!("; somebody deleted pod {} before it had ended", pod.name));
        }
        _ => {}
    }
    let diagnosis = Diagnosis::new(code, summary);
    match end.and_then(End::hint) {
        Some(hint) if code == JobError::BackoffLimitExceeded => Diagnosis { hint: hint.to_owned(), ..diagnosis },
        _ => diagnosis,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::a_job;

    /// A pod with one container, in that state.
    fn pod(name: &str, state: &Value) -> PodView {
        PodView::of(&a_pod(name, state))
    }

    fn a_pod(name: &str, status: &Value) -> Value {
        let mut status = status.clone();
        status["name"] = json!("main");
        json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-11-23T07:00:0{}Z", name.len())},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Failed", "containerStatuses": [status]},
        })
    }

    fn ended(code: i64, reason: &str) -> Value {
        json!({"state": {"terminated": {"exitCode": code, "reason": reason}}})
    }

    fn told(reason: &str, pods: &[PodView]) -> Diagnosis {
        diagnose(&a_job().view(), Failure { reason, message: "", failed_indexes: None }, pods, &[])
    }

    #[test]
    fn a_program_that_failed_is_named_with_its_exit_code() {
        let failure = Failure {
            reason: "BackoffLimitExceeded",
            message: "Job has reached the specified backoff limit",
            failed_indexes: None,
        };
        let diagnosis = diagnose(&a_job().view(), failure, &[pod("x-1", &ended(3, "Error"))], &[]);
        assert_eq!(diagnosis.code, JobError::BackoffLimitExceeded);
        assert_eq!(
            diagnosis.summary,
            "the Job failed with BackoffLimitExceeded (Job has reached the specified backoff limit); container main of \
             pod x-1 ended with exit code 3"
        );
    }

    #[test]
    fn of_a_container_that_is_restarted_and_killed_the_run_that_failed_is_told() {
        for state in [json!({"running": {}}), json!({"terminated": {"exitCode": 143, "reason": "Error"}})] {
            let status = json!({"state": state, "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}});
            let told = told("BackoffLimitExceeded", &[pod("x-1", &status)]).to_json();
            assert_eq!(told["containers"][0]["exitCode"], json!(3), "{status}");
        }
    }

    #[test]
    fn a_command_that_was_not_found_is_hinted_at() {
        let diagnosis = told("BackoffLimitExceeded", &[pod("x-1", &ended(127, "Error"))]);
        assert!(diagnosis.hint.starts_with("the command was not found"), "{}", diagnosis.hint);
    }

    #[test]
    fn a_signal_is_named_and_who_sent_it() {
        let told_of = |pod: &PodView| told("BackoffLimitExceeded", std::slice::from_ref(pod));
        let crashed = told_of(&pod("x-1", &ended(139, "Error")));
        assert_eq!(crashed.to_json()["containers"][0]["signal"], json!("SIGSEGV"));
        let killed = told_of(&pod("x-1", &ended(137, "Error")));
        assert!(killed.summary.ends_with("exit code 137 (SIGKILL)"), "{}", killed.summary);
        assert!(killed.hint.starts_with("nobody in Kubernetes ordered that SIGKILL"), "{}", killed.hint);
        let deleted = PodView { deleting: true, ..pod("x-1", &ended(137, "Error")) };
        let deleted = told_of(&deleted);
        assert!(deleted.summary.ends_with("(SIGKILL, ordered by the deletion of its pod)"), "{}", deleted.summary);
    }

    #[test]
    fn the_last_pod_says_why_and_not_one_before_it() {
        let (memory, error) = (ended(137, "OOMKilled"), ended(1, "Error"));
        let later = "x-22";
        let of =
            |first: &Value, last: &Value| told("BackoffLimitExceeded", &[pod("x-1", first), pod(later, last)]).code;
        assert_eq!(of(&error, &memory), JobError::OutOfMemory);
        assert_eq!(of(&memory, &error), JobError::BackoffLimitExceeded);
    }

    #[test]
    fn failed_indexes_have_one_name_only_if_all_their_pods_failed_alike() {
        let (memory, error) = (pod("x-1", &ended(137, "OOMKilled")), pod("x-2", &ended(1, "Error")));
        assert_eq!(told("FailedIndexes", &[memory.clone(), memory.clone()]).code, JobError::OutOfMemory);
        assert_eq!(told("FailedIndexes", &[memory, error]).code, JobError::FailedIndexes);
    }

    #[test]
    fn a_pod_that_was_taken_away_says_by_whom() {
        let disrupted = |reason: &str| {
            let mut pod = a_pod("x-1", &ended(143, "Error"));
            pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": reason}]);
            told("BackoffLimitExceeded", &[PodView::of(&pod)])
        };
        assert_eq!(disrupted("PreemptionByScheduler").code, JobError::Preempted);
        assert_eq!(disrupted("DeletionByTaintManager").code, JobError::NodeLost);
        assert_eq!(disrupted("EvictionByEvictionAPI").code, JobError::Evicted);
        assert!(disrupted("EvictionByEvictionAPI").retryable);
    }

    #[test]
    fn a_deadline_is_a_deadline_unless_nothing_ever_ran() {
        assert_eq!(told("DeadlineExceeded", &[pod("x-1", &ended(137, "OOMKilled"))]).code, JobError::DeadlineExceeded);
        let mut waiting =
            a_pod("x-1", &json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}));
        waiting["status"]["phase"] = json!("Pending");
        waiting["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
        let diagnosis = told("DeadlineExceeded", &[PodView::of(&waiting)]);
        assert_eq!(diagnosis.code, JobError::ImagePullFailed);
        assert!(diagnosis.summary.ends_with("the Job failed with DeadlineExceeded"), "{}", diagnosis.summary);
    }

    #[test]
    fn an_unknown_reason_is_quoted() {
        let diagnosis = told("SomethingNew", &[]);
        assert_eq!((diagnosis.code, diagnosis.summary.as_str()), (JobError::Failed, "the Job failed: SomethingNew"));
    }
}
