//! Containers as real processes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use http::StatusCode;
use runjob_sandbox::kube::{Config, Kubernetes};
use serde_json::{Value, json};

use crate::cluster::{Cluster, JOBS, PODS, a_job, conditions, name, phase, with};

async fn log_of(cluster: &Cluster, job: &str) -> String {
    cluster.finished(job).await;
    let pods = cluster.pods(1, |pod| phase(pod) == "Succeeded" || phase(pod) == "Failed").await;
    let log = cluster.get(&format!("{PODS}/{}/log?container=main", name(&pods[0]))).await;
    assert_eq!(log.status, StatusCode::OK);
    log.text()
}

/// Starts a Job whose shell has a child, and returns both process ids.
async fn a_family(cluster: &Cluster, shell: &str) -> (Value, Vec<u32>) {
    // Kubernetes makes one dollar of two.
    let shell = format!("{shell} sleep 1000 & echo $$$$ $! ready; wait; sleep 1000");
    cluster.submit(&with(a_job("x", &shell), "/spec/template/spec/terminationGracePeriodSeconds", json!(1))).await;
    let pod = cluster.pods(1, |pod| phase(pod) == "Running").await.pop().unwrap();
    cluster.printed(name(&pod), "main", "ready").await;
    let log = cluster.kube.log("default", name(&pod), "main").unwrap();
    let ids = String::from_utf8_lossy(&log).split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (pod, ids)
}

/// Whether a process runs; one that is dead but not yet waited for by its parent does not.
fn lives(id: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

/// Waits for the kernel to bury processes that were killed.
async fn all_dead(ids: &[u32]) {
    assert_eq!(ids.len(), 2, "{ids:?}");
    let start = Instant::now();
    while ids.iter().any(|id| lives(*id)) {
        assert!(start.elapsed() < Duration::from_secs(10), "{ids:?} still live");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_program_prints_to_one_log_in_the_order_of_its_output() {
    let cluster = Cluster::local();
    cluster.submit(&a_job("x", "echo out; echo err >&2; echo again; exit 3")).await;
    assert_eq!(log_of(&cluster, "x").await, "out\nerr\nagain\n");
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    assert_eq!(cluster.kube.running_processes(), 0);
}

#[tokio::test]
async fn a_program_sees_its_own_environment_and_directory_only() {
    let cluster = Cluster::local();
    let job =
        a_job("x", "echo $A $B $HOSTNAME; [ \"$HOME\" = \"$PWD\" ] && echo home; ls -A | wc -l; env | cut -d= -f1");
    let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]);
    cluster.submit(&with(job, "/spec/template/spec/containers/0/env", env)).await;
    let log = log_of(&cluster, "x").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    let mut lines = log.lines().map(str::trim);
    assert_eq!(lines.next(), Some(format!("1 12 {}", name(&pod)).as_str()));
    assert_eq!((lines.next(), lines.next()), (Some("home"), Some("0")));
    let mut variables: Vec<_> = lines.filter(|name| !matches!(*name, "_" | "SHLVL" | "OLDPWD")).collect();
    variables.sort_unstable();
    assert_eq!(variables, ["A", "B", "HOME", "HOSTNAME", "PATH", "PWD"]);
}

#[tokio::test]
async fn a_death_by_signal_is_128_and_the_signal() {
    let cluster = Cluster::local();
    cluster.submit(&a_job("x", "kill -USR1 $$$$")).await;
    cluster.finished("x").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 138);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_a_start_error() {
    let cluster = Cluster::local();
    cluster.submit(&with(a_job("x", ""), "/spec/template/spec/containers/0/command", json!(["nosuch"]))).await;
    cluster.finished("x").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(128), &json!("StartError")));
    assert!(ended["message"].as_str().unwrap().contains("exec: \"nosuch\": executable file not found in $PATH"));
}

#[tokio::test]
async fn an_unknown_image_cannot_be_pulled() {
    let cluster = Cluster::local();
    let image = json!("nosuch.invalid/x:v1");
    cluster.submit(&with(a_job("x", ""), "/spec/template/spec/containers/0/image", image)).await;
    let waits = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff";
    let pod = cluster.pods(1, waits).await.pop().unwrap();
    assert_eq!(phase(&pod), "Pending");
    cluster.kube.delete("pods", "default", name(&pod), runjob_sandbox::kube::Propagation::Background).unwrap();
    cluster.kube.wait_for(|kube| kube.get("pods", "default", name(&pod)).is_none().then_some(())).await;
}

#[tokio::test]
async fn ten_megabytes_of_output_are_all_there() {
    let cluster = Cluster::local();
    cluster.submit(&a_job("x", "yes 123456789 | head -n 1048576; echo end")).await;
    let log = log_of(&cluster, "x").await;
    assert_eq!(log.len(), 10 * 1_048_576 + 4);
    assert!(log.ends_with("123456789\nend\n"));
}

#[tokio::test]
async fn binary_output_comes_through_as_it_is() {
    let cluster = Cluster::local();
    cluster.submit(&a_job("x", r"printf '\000\377\n\200'")).await;
    cluster.finished("x").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    assert_eq!(cluster.kube.log("default", name(&pod), "main").unwrap(), &b"\x00\xff\n\x80"[..]);
}

#[tokio::test]
async fn a_child_that_holds_the_output_dies_with_its_container() {
    let cluster = Cluster::local();
    cluster.submit(&a_job("x", "sleep 1000 & echo $!")).await;
    let log = log_of(&cluster, "x").await;
    let child: u32 = log.trim().parse().unwrap();
    all_dead(&[child, child]).await;
}

#[tokio::test]
async fn a_deleted_job_takes_its_whole_process_group_along() {
    let cluster = Cluster::local();
    let (_, ids) = a_family(&cluster, "").await;
    assert!(ids.iter().all(|id| lives(*id)));
    assert_eq!(cluster.kube.running_processes(), 1);
    cluster.delete(&format!("{JOBS}/x?propagationPolicy=Foreground"), &json!(null)).await;
    cluster.gone("jobs").await;
    assert_eq!(cluster.kube.list("pods", None).len(), 0);
    assert_eq!(cluster.kube.running_processes(), 0);
    all_dead(&ids).await;
}

#[tokio::test]
async fn a_process_that_ignores_term_is_killed_after_its_grace() {
    let cluster = Cluster::local();
    let (pod, ids) = a_family(&cluster, "trap 'echo no' TERM;").await;
    let follow = format!("{PODS}/{}/log?follow=true&tailLines=0", name(&pod));
    let options = json!({"propagationPolicy": "Background"});
    let job = format!("{JOBS}/x");
    let (log, _) = tokio::join!(cluster.get(&follow), cluster.delete(&job, &options));
    assert_eq!(log.text().trim(), "no");
    cluster.gone("pods").await;
    all_dead(&ids).await;
}

#[tokio::test]
async fn the_term_handler_of_a_job_past_its_deadline_can_be_followed() {
    let cluster = Cluster::local();
    let shell =
        "trap 'echo got-term; sleep 0.3; echo bye-now; exit 3' TERM; echo started; while :; do sleep 0.05; done";
    cluster.submit(&with(a_job("dl", shell), "/spec/activeDeadlineSeconds", json!(1))).await;
    let pod = cluster.pods(1, |pod| phase(pod) == "Running").await.pop().unwrap();
    let target = |job: &Value| conditions(job) == ["FailureTarget(DeadlineExceeded)"];
    cluster.kube.wait_for(|kube| kube.get("jobs", "default", "dl").filter(target)).await;
    let log = cluster.get(&format!("{PODS}/{}/log?follow=true", name(&pod))).await;
    assert_eq!(log.text(), "started\ngot-term\nbye-now\n");
    cluster.finished("dl").await;
    cluster.gone("pods").await;
}

#[tokio::test]
async fn a_shutdown_leaves_no_process_behind() {
    let cluster = Cluster::local();
    let (_, ids) = a_family(&cluster, "").await;
    cluster.kube.shutdown().await;
    assert_eq!(cluster.kube.running_processes(), 0);
    all_dead(&ids).await;
}

#[tokio::test]
async fn a_cluster_that_is_dropped_leaves_no_process_behind() {
    let cluster = Cluster::local();
    let (_, ids) = a_family(&cluster, "").await;
    drop(cluster);
    all_dead(&ids).await;
}

#[tokio::test]
async fn a_sandbox_that_is_killed_leaves_no_process_behind() {
    let folder = std::env::temp_dir().join(format!("runjob-kill-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (report, workflow, input) = (folder.join("report"), folder.join("workflow.json"), folder.join("input.json"));
    let script = format!("sleep 1000 & echo $$$$ $! > {0}.new; mv {0}.new {0}; wait; sleep 1000", report.display());
    let job = a_job("x", &script);
    let state = json!({"Type": "Task", "Resource": "arn:aws:states:::eks:runJob.sync", "End": true,
        "Parameters": {"Job": job}});
    std::fs::write(&workflow, json!({"StartAt": "Run", "States": {"Run": state}}).to_string()).unwrap();
    std::fs::write(&input, "{}").unwrap();
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_runjob-sandbox"))
        .arg("run")
        .args([&workflow, &input])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !report.exists() {
        assert!(sandbox.try_wait().unwrap().is_none(), "the sandbox ended by itself");
        tokio::task::yield_now().await;
    }
    let told = std::fs::read_to_string(&report).unwrap();
    let ids: Vec<u32> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(ids.iter().all(|id| lives(*id)), "{told}");
    // KILL: nothing of the sandbox runs afterwards.
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    all_dead(&ids).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn two_containers_run_side_by_side() {
    let cluster = Kubernetes::start(Config::quick());
    let container =
        |name: &str| json!({"name": name, "image": "busybox", "command": ["sh", "-c", format!("echo {name}")]});
    let mut job = a_job("x", "");
    job["spec"]["template"]["spec"]["containers"] = json!([container("a"), container("b")]);
    cluster.create(job).unwrap();
    let pod = cluster.wait_for(|kube| kube.list("pods", None).into_iter().find(|pod| phase(pod) == "Succeeded")).await;
    assert_eq!(cluster.log("default", name(&pod), "a").unwrap(), "a\n");
    assert_eq!(cluster.log("default", name(&pod), "b").unwrap(), "b\n");
}

#[tokio::test]
async fn a_sidecar_whose_startup_probe_never_passes_is_restarted_and_the_others_wait() {
    let cluster = Cluster::local();
    let mut job = a_job("x", "echo never");
    job["spec"]["template"]["spec"]["initContainers"] = json!([{
        "name": "proxy", "image": "busybox", "restartPolicy": "Always",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"],
        "startupProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1},
    }]);
    cluster.submit(&job).await;
    let pod =
        cluster.pods(1, |pod| pod["status"]["initContainerStatuses"][0]["restartCount"] == 1).await.pop().unwrap();
    let status = &pod["status"];
    assert_eq!(status["initContainerStatuses"][0]["started"], json!(false));
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert!(cluster.reasons("Pod").contains(&"Unhealthy".to_owned()));
}

#[tokio::test]
async fn a_pod_that_is_bound_to_the_node_may_be_too_large_for_it() {
    let cluster = Cluster::local();
    let mut job = a_job("x", "echo never");
    job["spec"]["template"]["spec"]["nodeName"] = json!("localhost");
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "4k"}});
    cluster.submit(&job).await;
    let job = cluster.finished("x").await;
    assert_eq!(conditions(&job)[1], "Failed(BackoffLimitExceeded)");
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    assert_eq!((&pod["status"]["reason"], &pod["status"]["phase"]), (&json!("OutOfcpu"), &json!("Failed")));
    assert_eq!(pod["status"].get("containerStatuses"), None);
}
