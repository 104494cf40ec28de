//! Jobs go through the states that were recorded on a real cluster.

use runjob_sandbox::kube::{Config, OnTerm, Programs, Script, Step};
use serde_json::{Value, json};

use crate::cluster::{Cluster, JOBS, a_job, conditions, is_over, name, phase, seconds, with};

/// An event of a watch in one line: the counters that are there, and the conditions.
fn line(event: &Value) -> String {
    let (metadata, status) = (&event["object"]["metadata"], &event["object"]["status"]);
    let mut words = vec![event["type"].as_str().unwrap().to_owned()];
    for counter in ["active", "ready", "terminating", "succeeded", "failed"] {
        if let Some(number) = status[counter].as_u64() {
            words.push(format!("{counter}={number}"));
        }
    }
    for (list, uids) in status["uncountedTerminatedPods"].as_object().into_iter().flatten() {
        words.push(format!("uncounted-{list}={}", uids.as_array().unwrap().len()));
    }
    words.extend(conditions(&event["object"]));
    if status["completionTime"].is_string() {
        words.push("completionTime".into());
    }
    if metadata["deletionTimestamp"].is_string() {
        words.push(format!("deleting{}", metadata["finalizers"]));
    }
    words.join(" ")
}

async fn lines(cluster: &Cluster, job: &Value, last: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut events = cluster.watch(&format!("{JOBS}?watch=true")).await;
    cluster.submit(job).await;
    events.until(last).await.iter().map(line).collect()
}

fn over(event: &Value) -> bool {
    is_over(&event["object"])
}

#[tokio::test(start_paused = true)]
async fn a_job_that_succeeds() {
    let cluster = Cluster::scripted(|_| Script::new([Step::seconds(5)]));
    let seen = lines(&cluster, &a_job("pi", ""), over).await;
    let reached = "SuccessCriteriaMet(CompletionsReached)";
    assert_eq!(
        seen,
        [
            "ADDED".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0".to_owned(),
            "MODIFIED active=1 ready=1 terminating=0".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0".to_owned(),
            format!("MODIFIED ready=0 terminating=0 uncounted-succeeded=1 {reached}"),
            format!("MODIFIED ready=0 terminating=0 succeeded=1 {reached} Complete(CompletionsReached) completionTime"),
        ]
    );
    let job = cluster.kube.get("jobs", "default", "pi").unwrap();
    assert_eq!(job["status"]["conditions"][1]["message"], "Reached expected number of succeeded pods");
    assert_eq!(job["status"]["startTime"], "2026-01-01T00:00:00Z");
    assert!(cluster.kube.final_event_sent(job["metadata"]["uid"].as_str().unwrap()).is_some());
    let mut told = cluster.reasons("Job");
    told.sort();
    assert_eq!(told, ["Completed", "SuccessfulCreate"]);
    assert!(cluster.reasons("Pod").contains(&"Pulled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_pods_fail_up_to_the_limit_keeps_them() {
    let cluster = Cluster::scripted(|_| Script::new([Step::print("no\n"), Step::seconds(5), Step::Exit(1)]));
    let start = tokio::time::Instant::now();
    let seen = lines(&cluster, &with(a_job("never", ""), "/spec/backoffLimit", json!(1)), over).await;
    let target = "FailureTarget(BackoffLimitExceeded)";
    assert_eq!(
        seen,
        [
            "ADDED".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0".to_owned(),
            "MODIFIED active=1 ready=1 terminating=0".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0".to_owned(),
            "MODIFIED ready=0 terminating=0 uncounted-failed=1".to_owned(),
            "MODIFIED ready=0 terminating=0 failed=1".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0 failed=1".to_owned(),
            "MODIFIED active=1 ready=1 terminating=0 failed=1".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0 failed=1".to_owned(),
            format!("MODIFIED ready=0 terminating=0 failed=1 uncounted-failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=0 failed=2 {target} Failed(BackoffLimitExceeded)"),
        ]
    );
    // Two runs, and the pause of ten seconds between them.
    assert!(start.elapsed() > seconds(10) + seconds(2 * 7));
    let pods = cluster.kube.list("pods", None);
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        assert_eq!(phase(pod), "Failed");
        assert_eq!(pod["metadata"].get("finalizers"), None);
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(1), &json!("Error")));
        assert_eq!(cluster.kube.log("default", name(pod), "main").unwrap(), "no\n");
    }
    assert!(cluster.reasons("Job").contains(&"BackoffLimitExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_container_restarts_up_to_the_limit_loses_its_pod_before_it_fails() {
    let cluster = Cluster::scripted(|_| {
        Script::new([Step::seconds(3), Step::Exit(1)]).on_term(OnTerm::Run(vec![Step::seconds(2)]))
    });
    let job = with(a_job("onfail", ""), "/spec/backoffLimit", json!(1));
    let job = with(job, "/spec/template/spec/restartPolicy", json!("OnFailure"));
    let mut pods = cluster.watch("/api/v1/pods?watch=true").await;
    let seen = lines(&cluster, &job, over).await;
    let target = "FailureTarget(BackoffLimitExceeded)";
    assert_eq!(
        seen,
        [
            "ADDED".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0".to_owned(),
            "MODIFIED active=1 ready=1 terminating=0".to_owned(),
            format!("MODIFIED ready=0 terminating=1 uncounted-failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=1 failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=0 failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=0 failed=1 {target} Failed(BackoffLimitExceeded)"),
        ]
    );
    let failed = cluster.kube.get("jobs", "default", "onfail").unwrap();
    let gone = pods.until(|event| event["type"] == "DELETED").await.pop().unwrap();
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(version(&gone["object"]) < version(&failed));
    assert_eq!(gone["object"]["status"]["containerStatuses"][0]["restartCount"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_past_its_deadline_fails_once_its_pod_is_gone_and_the_last_words_can_be_followed() {
    let cluster = Cluster::scripted(|_| {
        let last_words = vec![Step::print("got-term\n"), Step::seconds(3), Step::print("bye-now\n"), Step::Exit(3)];
        Script::new([Step::print("started\n"), Step::Forever]).on_term(OnTerm::Run(last_words))
    });
    let job = with(a_job("dl", ""), "/spec/activeDeadlineSeconds", json!(6));
    let mut events = cluster.watch(&format!("{JOBS}?watch=true")).await;
    cluster.submit(&job).await;
    let mut seen = events.until(|event| !conditions(&event["object"]).is_empty()).await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    let log = cluster.get(&format!("/api/v1/namespaces/default/pods/{}/log?follow=true", name(&pod))).await;
    assert_eq!(log.text(), "started\ngot-term\nbye-now\n");
    seen.extend(events.until(over).await);
    let target = "FailureTarget(DeadlineExceeded)";
    assert_eq!(
        seen.iter().map(line).collect::<Vec<_>>(),
        [
            "ADDED".to_owned(),
            "MODIFIED active=1 ready=0 terminating=0".to_owned(),
            "MODIFIED active=1 ready=1 terminating=0".to_owned(),
            format!("MODIFIED ready=0 terminating=1 uncounted-failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=1 failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=0 failed=1 {target}"),
            format!("MODIFIED ready=0 terminating=0 failed=1 {target} Failed(DeadlineExceeded)"),
        ]
    );
    assert_eq!(cluster.kube.list("pods", None).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_time_to_live_goes_at_once_with_its_pod() {
    let cluster = Cluster::scripted(|_| Script::new([Step::seconds(5)]));
    let job = with(a_job("ttl0", ""), "/spec/ttlSecondsAfterFinished", json!(0));
    let seen = lines(&cluster, &job, |event| event["type"] == "DELETED").await;
    let complete = "ready=0 terminating=0 succeeded=1 SuccessCriteriaMet(CompletionsReached) \
                    Complete(CompletionsReached) completionTime";
    assert_eq!(
        seen.get(5..).unwrap(),
        [
            format!("MODIFIED {complete}"),
            format!("MODIFIED {complete} deleting[\"foregroundDeletion\"]"),
            format!("DELETED {complete} deleting[\"foregroundDeletion\"]"),
        ]
    );
    assert_eq!(cluster.kube.list("pods", None).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_that_is_changed_after_the_end_counts() {
    let cluster = Cluster::scripted(|_| Script::default());
    cluster.submit(&with(a_job("kept", ""), "/spec/ttlSecondsAfterFinished", json!(604_800))).await;
    cluster.finished("kept").await;
    tokio::time::sleep(seconds(3600)).await;
    let start = tokio::time::Instant::now();
    cluster.merge(&format!("{JOBS}/kept"), &json!({"spec": {"ttlSecondsAfterFinished": 3660}})).await;
    cluster.gone("jobs").await;
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_runs_each_index_side_by_side() {
    let cluster = Cluster::scripted(|container| {
        let index = container.env.iter().find(|(key, _)| key == "JOB_COMPLETION_INDEX").unwrap().1.clone();
        Script::new([Step::seconds(5), Step::print(index)])
    });
    let mut job = a_job("many", "");
    job["spec"]["completionMode"] = json!("Indexed");
    job["spec"]["completions"] = json!(5);
    job["spec"]["parallelism"] = json!(2);
    cluster.submit(&job).await;
    let job = cluster.finished("many").await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["completedIndexes"]), (&json!(5), &json!("0-4")));
    let mut logs: Vec<_> = Vec::new();
    for pod in cluster.kube.list("pods", None) {
        let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap();
        assert!(name(&pod).starts_with(&format!("many-{index}-")), "{}", name(&pod));
        assert_eq!(name(&pod).len(), "many-0-12345".len());
        logs.push(cluster.kube.log("default", name(&pod), "main").unwrap());
    }
    logs.sort();
    assert_eq!(logs, ["0", "1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn parallel_pods_fill_up_to_the_completions() {
    let cluster = Cluster::scripted(|_| Script::new([Step::seconds(5)]));
    let mut job = a_job("three", "");
    job["spec"]["completions"] = json!(3);
    job["spec"]["parallelism"] = json!(2);
    let seen = lines(&cluster, &job, over).await;
    assert!(seen.contains(&"MODIFIED active=2 ready=0 terminating=0".to_owned()));
    assert!(!seen.iter().any(|line| line.contains("active=3")));
    assert!(seen.last().unwrap().contains("succeeded=3"));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_job_starts_when_it_is_resumed() {
    let cluster = Cluster::scripted(|_| Script::new([Step::seconds(5)]));
    cluster.submit(&with(a_job("later", ""), "/spec/suspend", json!(true))).await;
    let suspended = |job: &Value| conditions(job) == ["Suspended(JobSuspended)"];
    cluster.kube.wait_for(|kube| kube.get("jobs", "default", "later").filter(&suspended)).await;
    assert_eq!(cluster.kube.list("pods", None).len(), 0);
    cluster.merge(&format!("{JOBS}/later"), &json!({"spec": {"suspend": false}})).await;
    let job = cluster.finished("later").await;
    assert_eq!(job["status"]["conditions"][0]["status"], "False");
    assert_eq!(job["status"]["succeeded"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_running_job_that_is_suspended_stops_without_a_failure() {
    let cluster = Cluster::idle();
    cluster.submit(&a_job("stopped", "")).await;
    cluster.pods(1, |pod| phase(pod) == "Running").await;
    cluster.merge(&format!("{JOBS}/stopped"), &json!({"spec": {"suspend": true}})).await;
    cluster.gone("pods").await;
    tokio::time::sleep(seconds(5)).await;
    let job = cluster.kube.get("jobs", "default", "stopped").unwrap();
    assert_eq!(job["status"].get("failed"), None);
    assert_eq!(conditions(&job), ["Suspended(JobSuspended)"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_somebody_else_manages_is_left_alone() {
    let cluster = Cluster::idle();
    cluster.submit(&with(a_job("theirs", ""), "/spec/managedBy", json!("example.com/x"))).await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(cluster.kube.get("jobs", "default", "theirs").unwrap()["status"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_keeps_its_pod_pending() {
    let cluster = Cluster::new(Config { programs: Programs::scripted(|_| None), ..Config::default() });
    cluster.submit(&a_job("nope", "")).await;
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        let waits = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason;
        let pod = cluster.pods(1, waits).await.pop().unwrap();
        assert_eq!(phase(&pod), "Pending");
        let log = cluster.get(&format!("/api/v1/namespaces/default/pods/{}/log", name(&pod))).await;
        let why = "is waiting to start: trying and failing to pull image";
        assert_eq!(log.error().2, format!("container \"main\" in pod \"{}\" {why}", name(&pod)));
    }
    for reason in ["Pulling", "Failed", "BackOff"] {
        assert!(cluster.reasons("Pod").contains(&reason.to_owned()), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_does_not_exist_keeps_its_container_waiting_until_it_does() {
    let cluster = Cluster::scripted(|container| Script::new([Step::print(container.env[0].1.clone())]));
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
    cluster.submit(&with(a_job("env", ""), "/spec/template/spec/containers/0/env", env)).await;
    let waiting = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    let pod = cluster.pods(1, |pod| waiting(pod)["reason"] == "CreateContainerConfigError").await.pop().unwrap();
    assert_eq!(waiting(&pod)["message"], "configmap \"c\" not found");
    cluster
        .kube
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}))
        .unwrap();
    cluster.finished("env").await;
    assert_eq!(cluster.kube.log("default", name(&pod), "main").unwrap(), "v");
}

#[tokio::test(start_paused = true)]
async fn init_containers_come_one_after_another_and_sidecars_stay() {
    let cluster = Cluster::scripted(|container| match container.name.as_str() {
        "side" => Script::new([Step::Forever]).on_term(OnTerm::Run(vec![Step::print("done")])),
        _ => Script::new([Step::seconds(2), Step::print(container.name.clone())]),
    });
    let mut job = a_job("init", "");
    job["spec"]["template"]["spec"]["initContainers"] = json!([
        {"name": "one", "image": "x"},
        {"name": "side", "image": "x", "restartPolicy": "Always"},
        {"name": "two", "image": "x"},
    ]);
    cluster.submit(&job).await;
    let job = cluster.finished("init").await;
    assert_eq!(conditions(&job)[1], "Complete(CompletionsReached)");
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    let at = |pointer: &str| pod["status"].pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let times = [
        at("/initContainerStatuses/0/state/terminated/finishedAt"),
        at("/initContainerStatuses/2/state/terminated/startedAt"),
        at("/initContainerStatuses/2/state/terminated/finishedAt"),
        at("/containerStatuses/0/state/terminated/startedAt"),
        at("/containerStatuses/0/state/terminated/finishedAt"),
        at("/initContainerStatuses/1/state/terminated/finishedAt"),
    ];
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(cluster.kube.log("default", name(&pod), "side").unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_fails_fails_the_pod() {
    let cluster = Cluster::scripted(|container| Script::new([Step::Exit(i32::from(container.name == "init"))]));
    let mut job = a_job("bad", "");
    job["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "init", "image": "x"}]);
    cluster.submit(&job).await;
    cluster.finished("bad").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    assert_eq!(phase(&pod), "Failed");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
}

#[tokio::test(start_paused = true)]
async fn a_script_can_end_for_a_reason_of_its_own() {
    let cluster = Cluster::scripted(|_| Script::new([Step::Die { code: 137, reason: "OOMKilled".into() }]));
    cluster.submit(&a_job("fat", "")).await;
    cluster.finished("fat").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "OOMKilled");
}

#[tokio::test(start_paused = true)]
async fn restarts_come_at_ever_longer_intervals() {
    let cluster = Cluster::scripted(|container| match container.restarts {
        3 => Script::default(),
        _ => Script::new([Step::Exit(1)]),
    });
    let job = with(a_job("again", ""), "/spec/template/spec/restartPolicy", json!("OnFailure"));
    let start = tokio::time::Instant::now();
    cluster.submit(&with(job, "/spec/backoffLimit", json!(6))).await;
    cluster.finished("again").await;
    // At once, after 10 s, after 20 s.
    assert!(start.elapsed() > seconds(30));
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!((&status["restartCount"], &status["lastState"]["terminated"]["exitCode"]), (&json!(3), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    async fn history() -> Vec<String> {
        let cluster = Cluster::scripted(|_| Script::new([Step::print("x"), Step::seconds(5), Step::Exit(1)]));
        let mut changes = cluster.kube.changes();
        for place in 0..5 {
            cluster.submit(&with(a_job(&format!("job-{place}"), ""), "/spec/backoffLimit", json!(2))).await;
        }
        for place in 0..5 {
            cluster.finished(&format!("job-{place}")).await;
        }
        let mut all = Vec::new();
        while let Ok(change) = changes.try_recv() {
            all.push(format!("{:?} {}", change.kind, change.object));
        }
        all
    }
    let first = history().await;
    assert!(first.len() > 100);
    assert_eq!(first, history().await);
}
