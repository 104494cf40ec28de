//! Reading a container's log.

use bytes::Bytes;
use runjob_sandbox::kube::{Script, Step};
use serde_json::json;

use crate::cluster::{Cluster, PODS, a_job, name, phase, seconds, with};

/// A cluster whose only pod has printed three lines, five seconds apart, and still runs.
async fn talking() -> (Cluster, String) {
    let cluster = Cluster::scripted(|_| {
        Script::new([
            Step::print("one\n"),
            Step::seconds(5),
            Step::print("two\n"),
            Step::seconds(5),
            Step::print("three"),
            Step::seconds(60),
            Step::print(" and more\n"),
        ])
    });
    cluster.submit(&a_job("x", "")).await;
    let pod = cluster.pods(1, |pod| phase(pod) == "Running").await.pop().unwrap();
    cluster.printed(name(&pod), "main", "three").await;
    let path = format!("{PODS}/{}/log", name(&pod));
    (cluster, path)
}

#[tokio::test(start_paused = true)]
async fn each_parameter_selects_its_part() {
    let (cluster, path) = talking().await;
    let table = [
        ("", "one\ntwo\nthree"),
        ("container=main", "one\ntwo\nthree"),
        ("tailLines=2", "two\nthree"),
        ("tailLines=0", ""),
        ("tailLines=9", "one\ntwo\nthree"),
        ("limitBytes=6", "one\ntw"),
        ("tailLines=2&limitBytes=3", "two"),
        ("sinceSeconds=6", "two\nthree"),
        ("sinceSeconds=6&tailLines=1", "three"),
        ("sinceTime=2026-01-01T00:00:05Z", "two\nthree"),
        ("timestamps=true&tailLines=2", "2026-01-01T00:00:06.000000000Z two\n2026-01-01T00:00:11.000000000Z three"),
    ];
    for (query, expected) in table {
        let log = cluster.get(&format!("{path}?{query}")).await;
        assert_eq!(log.text(), expected, "{query}");
        assert_eq!(log.headers["content-type"], "text/plain");
    }
}

#[tokio::test(start_paused = true)]
async fn following_ends_with_the_container() {
    let (cluster, path) = talking().await;
    let start = tokio::time::Instant::now();
    let log = cluster.get(&format!("{path}?follow=true&tailLines=1")).await;
    assert_eq!((log.text().as_str(), start.elapsed().as_secs()), ("three and more\n", 60));
    let log = cluster.get(&format!("{path}?follow=true&limitBytes=5")).await;
    assert_eq!(log.text(), "one\nt");
}

#[tokio::test(start_paused = true)]
async fn parameters_that_make_no_sense_are_refused() {
    let (cluster, path) = talking().await;
    let table = [
        ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("container=nope", 400, "container nope is not valid for pod"),
        ("previous=true", 400, "previous terminated container \"main\" in pod"),
    ];
    for (query, code, why) in table {
        let (status, _, message) = cluster.get(&format!("{path}?{query}")).await.error();
        assert_eq!(status, code, "{query}");
        assert!(message.contains(why), "{message}");
    }
    let gone = cluster.get(&format!("{PODS}/nope/log")).await;
    assert_eq!(gone.error().2, "pods \"nope\" not found");
}

#[tokio::test(start_paused = true)]
async fn with_several_containers_one_has_to_be_named() {
    let cluster = Cluster::scripted(|container| Script::new([Step::print(container.name.clone()), Step::Forever]));
    let containers = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    cluster.submit(&with(a_job("x", ""), "/spec/template/spec/containers", containers)).await;
    let ready = |pod: &serde_json::Value| {
        pod["status"]["containerStatuses"].as_array().is_some_and(|all| all.iter().all(|one| one["ready"] == true))
    };
    let pod = cluster.pods(1, ready).await.pop().unwrap();
    let path = format!("{PODS}/{}/log", name(&pod));
    let (code, _, message) = cluster.get(&path).await.error();
    let expected = format!("a container name must be specified for pod {}, choose one of: [a b]", name(&pod));
    assert_eq!((code, message), (400, expected));
    for container in ["a", "b"] {
        cluster.printed(name(&pod), container, container).await;
        assert_eq!(cluster.get(&format!("{path}?container={container}")).await.text(), container);
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_waits_has_no_log_yet() {
    let cluster = Cluster::idle();
    cluster.submit(&a_job("x", "")).await;
    let pod = cluster.pods(1, |pod| pod["status"]["containerStatuses"].is_array()).await.pop().unwrap();
    let (code, reason, message) = cluster.get(&format!("{PODS}/{}/log", name(&pod))).await.error();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert_eq!(message, format!("container \"main\" in pod \"{}\" is waiting to start: ContainerCreating", name(&pod)));
}

#[tokio::test(start_paused = true)]
async fn the_run_before_is_kept_across_one_restart() {
    let cluster = Cluster::scripted(|container| match container.restarts {
        0 => Script::new([Step::print("first"), Step::Exit(1)]),
        _ => Script::new([Step::print("second"), Step::Forever]),
    });
    let job = with(a_job("x", ""), "/spec/template/spec/restartPolicy", json!("OnFailure"));
    cluster.submit(&with(job, "/spec/backoffLimit", json!(6))).await;
    let again = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    let pod = cluster.pods(1, again).await.pop().unwrap();
    cluster.printed(name(&pod), "main", "second").await;
    let path = format!("{PODS}/{}/log", name(&pod));
    assert_eq!(cluster.get(&path).await.text(), "second");
    assert_eq!(cluster.get(&format!("{path}?previous=true")).await.text(), "first");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_come_through_as_they_are() {
    let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
    let printed = bytes.clone();
    let cluster = Cluster::scripted(move |_| Script::new([Step::print(printed.clone())]));
    cluster.submit(&a_job("x", "")).await;
    cluster.finished("x").await;
    let pod = cluster.kube.list("pods", None).pop().unwrap();
    assert_eq!(cluster.get(&format!("{PODS}/{}/log", name(&pod))).await.bytes, bytes);
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_the_last_bytes_of_a_pod_that_is_deleted_meanwhile() {
    use runjob_sandbox::kube::OnTerm;
    let cluster = Cluster::scripted(|_| {
        let last = vec![Step::print("term\n"), Step::seconds(2), Step::print("last")];
        Script::new([Step::print("hello\n"), Step::Forever]).on_term(OnTerm::Run(last))
    });
    cluster.submit(&a_job("x", "")).await;
    let pod = cluster.pods(1, |pod| phase(pod) == "Running").await.pop().unwrap();
    let path = format!("{PODS}/{}", name(&pod));
    let follow = format!("{path}/log?follow=true");
    let (log, ()) = tokio::join!(cluster.get(&follow), async {
        tokio::time::sleep(seconds(1)).await;
        cluster.delete("/apis/batch/v1/namespaces/default/jobs/x", &json!({"propagationPolicy": "Background"})).await;
    });
    assert_eq!(log.text(), "hello\nterm\nlast");
    cluster.gone("pods").await;
    assert_eq!(cluster.get(&follow).await.status, 404);
}
