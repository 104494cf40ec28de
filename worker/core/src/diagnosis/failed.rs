//! Why a Job failed, from its condition, its status, its pods and their Events.
//!
//! The condition decides that it failed, and names the reason; the pods say it better where they can.

use super::{
    Diagnosis, MAX_MESSAGE,
    ends::{End, ends, killed, newest_first},
    reasons::{self, Origin},
    stuck,
};
use crate::{
    budget::shortened,
    event::EventView,
    failure::{JobError, reason_parts},
    job::JobView,
    pod::PodView,
};

/// The most pods whose Events are asked for: of those that were killed, and of those that failed without having run.
const MAX_ASKED: usize = 2;
/// What to do where no program is known to have failed.
const NO_PROGRAM_FAILED: &str =
    "no program is known to have failed: look at what the pods and their Events say, and at who deletes pods";

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

/// The objects whose Events say more than the pods do: those of a Job that never got going, and of pods that somebody killed, or that
/// failed before anything of them ran.
pub fn in_need_of_events(job: &JobView, pods: &[PodView]) -> Vec<String> {
    let uid = |pod: &PodView| pod.uid.clone();
    let mut wanted: Vec<String> = if pods.iter().any(PodView::has_run) {
        killed(pods).take(MAX_ASKED).map(uid).collect()
    } else {
        stuck::in_need_of_events(job, pods)
    };
    let never_ran = newest_first(pods).into_iter().filter(|pod| pod.has_failed() && !pod.has_run());
    wanted.extend(never_ran.take(MAX_ASKED).map(uid));
    wanted
}

/// Why a Job that failed did so.
pub fn diagnose(job: &JobView, failure: Failure<'_>, pods: &[PodView], events: &[EventView]) -> Diagnosis {
    let better = better(job, failure, pods, events)
        .map(|better| Diagnosis { summary: format!("{}; {}", better.summary, sentence(failure)), ..better });
    let diagnosis = better.unwrap_or_else(|| by_condition(job, failure, pods, events)).beside(pods, events);
    let known = JobError::of_condition(failure.reason) != JobError::Failed;
    let suffix = reason_parts(failure.reason).1.filter(|_| known).map(ToOwned::to_owned);
    Diagnosis { suffix, ..diagnosis }
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
    if let Some(by_reason) = by_reason(pod) {
        return Some(by_reason);
    }
    let ends = ends(std::slice::from_ref(pod), &[]);
    let failures = || ends.iter().filter(|end| end.is_failure());
    if let Some(end) = failures().find(|end| end.is_out_of_memory()) {
        return Some(out_of_memory(end));
    }
    let end = failures().next()?;
    let code = match end.origin() {
        Origin::NotStarted => JobError::ContainerNotStarted,
        // The node's trouble: the run's end was not seen.
        Origin::Lost => JobError::NodeLost,
        Origin::Program | Origin::Restarted => return None,
    };
    Some(Diagnosis { hint: end.hint().to_owned(), ..Diagnosis::new(code, end.sentence()) })
}

fn out_of_memory(end: &End<'_>) -> Diagnosis {
    let limit = end.pod.memory_limit_of(end.container);
    let why = limit.map_or_else(
        || "while its node, or a limit above it, was out of memory".to_owned(),
        |limit| format!("for using more memory than its limit of {limit}"),
    );
    let summary = format!("container {} of pod {} was killed {why}", end.container.name, end.pod.name);
    // Without a limit of its own, it is the node that had no more.
    Diagnosis { retryable: limit.is_none(), ..Diagnosis::new(JobError::OutOfMemory, summary) }
}

/// What became of a pod by its own reason, or by who took it away.
fn by_reason(pod: &PodView) -> Option<Diagnosis> {
    let (code, remark) = reasons::of_pod(pod)?;
    let what = match code {
        JobError::Preempted => "had to make room for another pod",
        JobError::NodeLost => "was lost with its node",
        JobError::PodRejected => "was rejected by its node",
        JobError::PodUnsupported => "asks for something that its node does not support",
        JobError::OutOfStorage => "was evicted for using more storage than its own limits allow",
        JobError::DeadlineExceeded => "ran longer than the activeDeadlineSeconds of its own spec",
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

fn by_condition(job: &JobView, failure: Failure<'_>, pods: &[PodView], events: &[EventView]) -> Diagnosis {
    let code = JobError::of_condition(failure.reason);
    let mut summary = sentence(failure);
    let ends = ends(pods, events);
    let failures = || ends.iter().filter(|end| end.is_failure());
    // What the request asked for says more than what was injected beside it.
    let own = failures().find(|end| job.asks_for(&end.container.name));
    let end = own.or_else(|| failures().next());
    let reasoned = newest_first(pods).into_iter().find(|pod| pod.has_failed() && !pod.reason.reason.is_empty());
    let deleted = newest_first(pods).into_iter().find(|pod| pod.deleting);
    match (end, reasoned, deleted) {
        (Some(end), ..) => {
            summary.push_str(&format!("; {}", end.sentence()));
            if own.is_none() {
                summary.push_str(" (the request has no such container: it was injected)");
            }
        }
        (None, Some(pod), _) => {
            let message = shortened(&pod.reason.message, MAX_MESSAGE);
            summary.push_str(&format!("; pod {} failed: {message} ({})", pod.name, pod.reason.reason));
        }
        (None, None, Some(pod)) if code == JobError::BackoffLimitExceeded => {
            summary.push_str(&format!("; somebody deleted pod {} before it had ended", pod.name));
        }
        _ => {}
    }
    let diagnosis = Diagnosis::new(code, summary);
    if code != JobError::BackoffLimitExceeded {
        return diagnosis;
    }
    Diagnosis { hint: end.map_or(NO_PROGRAM_FAILED, End::hint).to_owned(), ..diagnosis }
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
        assert!(diagnosis.hint.contains("does not find a command"), "{}", diagnosis.hint);
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

    #[test]
    fn nothing_is_said_of_a_program_that_never_ran() {
        let rejected = json!({
            "metadata": {"name": "x-1", "uid": "p-1"},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu"},
        });
        let rejected = PodView::of(&rejected);
        let diagnosis = told("BackoffLimitExceeded", std::slice::from_ref(&rejected));
        assert!(diagnosis.summary.contains("OutOfcpu") && diagnosis.retryable, "{diagnosis:?}");
        assert!(in_need_of_events(&a_job().view(), &[rejected]).contains(&"p-1".to_owned()));
        let unknown = PodView::of(&json!({
            "metadata": {"name": "x-1"},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Failed", "reason": "SomethingNew", "message": "because"},
        }));
        let unknown = told("BackoffLimitExceeded", &[unknown]);
        assert!(unknown.summary.ends_with("pod x-1 failed: because (SomethingNew)"), "{}", unknown.summary);
        let lost = pod("x-1", &ended(255, "Unknown"));
        let not_started = pod("x-1", &ended(128, "StartError"));
        let gone = told("BackoffLimitExceeded", &[]);
        let others = [told("BackoffLimitExceeded", &[lost]), told("BackoffLimitExceeded", &[not_started])];
        for diagnosis in [diagnosis, unknown, gone].iter().chain(&others) {
            assert!(!diagnosis.hint.contains("the program failed"), "{diagnosis:?}");
            assert!(!diagnosis.summary.contains("exit code"), "{diagnosis:?}");
        }
        assert_eq!(
            others.map(|one| (one.code, one.retryable)),
            [(JobError::NodeLost, true), (JobError::ContainerNotStarted, false)]
        );
    }

    #[test]
    fn the_programs_own_exit_codes_are_its_own() {
        for code in [1, 126, 127, 128, 255] {
            let diagnosis = told("BackoffLimitExceeded", &[pod("x-1", &ended(code, "Error"))]);
            assert_eq!(diagnosis.code, JobError::BackoffLimitExceeded, "{code}");
            assert!(diagnosis.hint.starts_with("the program "), "{code}: {}", diagnosis.hint);
            assert!(diagnosis.summary.ends_with(&format!("ended with exit code {code}")), "{}", diagnosis.summary);
        }
    }

    /// A pod of `restartPolicy: Never` with a native sidecar that has ended so, and a container `main`.
    fn beside_a_sidecar(phase: &str, sidecar: &Value, main: &Value) -> PodView {
        let mut pod = a_pod("x-1", main);
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["initContainers"] = json!([{"name": "proxy", "restartPolicy": "Always"}]);
        let mut sidecar = sidecar.clone();
        sidecar["name"] = json!("proxy");
        pod["status"]["initContainerStatuses"] = json!([sidecar]);
        pod["status"]["phase"] = json!(phase);
        PodView::of(&pod)
    }

    #[test]
    fn a_sidecar_that_is_terminated_after_the_others_is_not_what_failed() {
        for sidecar in [ended(143, "Error"), ended(137, "OOMKilled")] {
            let diagnosis = told("BackoffLimitExceeded", &[beside_a_sidecar("Failed", &sidecar, &ended(3, "Error"))]);
            assert_eq!(diagnosis.code, JobError::BackoffLimitExceeded);
            assert!(diagnosis.summary.contains("container main of pod x-1 ended with exit code 3"), "{diagnosis:?}");
            assert_eq!(diagnosis.to_json()["containers"][0]["container"], json!("main"));
        }
        let well = beside_a_sidecar("Succeeded", &ended(143, "Error"), &ended(0, "Completed"));
        let failed = PodView { name: "x-2".into(), ..pod("x-2", &ended(137, "OOMKilled")) };
        assert_eq!(told("FailedIndexes", &[well, failed]).code, JobError::OutOfMemory);
    }

    #[test]
    fn a_restart_of_all_containers_is_no_failure() {
        let restarted = json!({"state": {"running": {}}, "restartCount": 1,
                               "lastState": {"terminated": {"exitCode": 137, "reason": "RestartingAllContainers"}}});
        let mut both = a_pod("x-1", &restarted);
        both["spec"]["containers"] = json!([{"name": "main"}, {"name": "second"}]);
        let mut second = ended(5, "Error");
        second["name"] = json!("second");
        both["status"]["containerStatuses"].as_array_mut().unwrap().push(second);
        let diagnosis = told("BackoffLimitExceeded", &[PodView::of(&both)]);
        assert!(diagnosis.summary.contains("container second of pod x-1 ended with exit code 5"), "{diagnosis:?}");
    }

    #[test]
    fn a_container_that_restarts_by_its_own_rule_is_told_by_its_last_run() {
        let mut restarted = a_pod(
            "x-1",
            &json!({"state": {"running": {}}, "restartCount": 1,
            "lastState": {"terminated": {"exitCode": 42, "reason": "Error"}}}),
        );
        restarted["spec"]["restartPolicy"] = json!("Never");
        assert!(told("DeadlineExceeded", &[PodView::of(&restarted)]).summary.ends_with("exit code 42"));
    }

    #[test]
    fn memory_that_only_the_node_lacks_may_be_there_later() {
        let killed = |limits: Value, of_pod: Value| {
            let mut pod = a_pod("x-1", &ended(137, "OOMKilled"));
            pod["spec"]["containers"][0]["resources"] = json!({"limits": limits});
            pod["spec"]["resources"] = json!({"limits": of_pod});
            told("BackoffLimitExceeded", &[PodView::of(&pod)])
        };
        assert!(!killed(json!({"memory": "8Mi"}), json!({})).retryable);
        let of_pod = killed(json!({}), json!({"memory": "9Mi"}));
        assert!(!of_pod.retryable && of_pod.summary.contains("9Mi"), "{of_pod:?}");
        assert!(killed(json!({}), json!({})).retryable);
    }

    #[test]
    fn the_rule_of_a_pod_failure_policy_may_be_in_the_reason() {
        let diagnosis = told("PodFailurePolicy_ran-out", &[pod("x-1", &ended(42, "Error"))]);
        assert_eq!(diagnosis.code, JobError::PodFailurePolicy);
        assert_eq!(diagnosis.to_json()["reasonSuffix"], json!("ran-out"));
        assert!(diagnosis.summary.contains("PodFailurePolicy_ran-out"), "{}", diagnosis.summary);
        let plain = told("PodFailurePolicy", &[]).to_json();
        assert_eq!(plain.get("reasonSuffix"), None);
        assert_eq!(told("Some_thing", &[]).to_json().get("reasonSuffix"), None);
    }

    #[test]
    fn a_hook_or_a_probe_that_ends_a_container_is_named() {
        let killed = PodView { uid: "p-1".into(), ..pod("x-1", &ended(137, "Error")) };
        let by = |reason: &str, message: &str| {
            let event =
                json!({"involvedObject": {"uid": "p-1"}, "reason": reason, "message": message, "type": "Warning"});
            let failure = Failure { reason: "BackoffLimitExceeded", message: "", failed_indexes: None };
            diagnose(&a_job().view(), failure, std::slice::from_ref(&killed), &[EventView::of(&event)]).summary
        };
        assert!(by("FailedPostStartHook", "").contains("ordered by its failing postStart hook"));
        let startup = by("Killing", "Container main failed startup probe, will be restarted");
        assert!(startup.contains("ordered by its failing startup probe"), "{startup}");
    }

    #[test]
    fn a_container_that_was_injected_is_not_blamed_before_the_requests_own() {
        let mut both = a_pod("x-1", &ended(3, "Error"));
        both["spec"]["containers"] = json!([{"name": "agent"}, {"name": "main"}]);
        let mut agent = ended(9, "Error");
        agent["name"] = json!("agent");
        both["status"]["containerStatuses"].as_array_mut().unwrap().push(agent.clone());
        let summary = told("BackoffLimitExceeded", &[PodView::of(&both)]).summary;
        assert!(summary.contains("container main of pod x-1 ended with exit code 3"), "{summary}");
        both["status"]["containerStatuses"] = json!([agent]);
        let summary = told("BackoffLimitExceeded", &[PodView::of(&both)]).summary;
        assert!(summary.contains("container agent") && summary.contains("it was injected"), "{summary}");
    }
}
