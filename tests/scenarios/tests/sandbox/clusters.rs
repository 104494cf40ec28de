//! A worker that a file leads to two clusters, over real HTTP.

use std::path::PathBuf;

use runjob_sandbox::{access::KubernetesAccess, sandbox::Sandbox};
use runjob_scenarios::{
    jobs::{Gate, JobRequest, a_job},
    process::{File, Surroundings, WorkerProcess},
    world::{World, told},
};
use serde_json::json;

const WORKER: &str = env!("CARGO_BIN_EXE_runjob-under-test");

/// A kubeconfig on disk, gone when it is dropped.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn of(sandbox: &Sandbox, label: &str) -> Self {
        Self::with(&sandbox.kubeconfig(), label)
    }

    fn with(text: &str, label: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runjob-{label}-{}.kubeconfig", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    /// As a path that begins where the file of clusters is.
    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn worker(world: &World, clusters: String) -> WorkerProcess {
    let surroundings = Surroundings { kubernetes: File::Clusters(clusters), ..Surroundings::of(&world.sandbox) };
    WorkerProcess::start(WORKER, &surroundings, &[]).unwrap()
}

fn in_cluster(name: &str, job: JobRequest) -> String {
    job.with("/ClusterName", name).input()
}

#[tokio::test]
async fn a_file_of_two_clusters_is_served_and_a_restarted_worker_finds_the_jobs_of_both() {
    let (here, there) = (World::empty().await.unwrap(), World::empty().await.unwrap());
    let files = [Kubeconfig::of(&here.sandbox, "here"), Kubeconfig::of(&there.sandbox, "there")];
    let clusters = format!(
        "here: {{kubeconfig: {}, namespaces: [default]}}\nthere: {{kubeconfig: {}, context: sandbox, maxInFlight: 5}}\n",
        files[0].0.display(),
        files[1].name(),
    );
    let mut first = worker(&here, clusters.clone());
    let refused = here.ask(&in_cluster("here", a_job("x", "true").in_namespace("kube-system"))).await.unwrap();
    assert_eq!(refused.failure().unwrap().0, "RunJob.NamespaceNotAllowed");
    let gate = Gate::closed("clusters");
    let tasks = ["here", "there"].map(|name| here.task(&in_cluster(name, gate.job("x"))));
    for world in [&here, &there] {
        world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    }
    first.kill().await.unwrap();
    let _second = worker(&here, clusters);
    gate.open().unwrap();
    for task in &tasks {
        let result = told(task).await.unwrap().output().unwrap();
        assert!(result["logs"].to_string().contains("finished"), "{result}");
    }
    for world in [&here, &there] {
        world.settled("x").await.unwrap();
        assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1);
    }
    assert_eq!(here.violations(), [""; 0]);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_no_reason_not_to_start_and_a_wrong_configuration_is() {
    let world = World::empty().await.unwrap();
    let here = Kubeconfig::of(&world.sandbox, "alone");
    let nowhere = KubernetesAccess {
        server: "https://127.0.0.1:1".to_owned(),
        authority: None,
        token: None,
        namespace: "default".to_owned(),
    };
    let nowhere = Kubeconfig::with(&nowhere.kubeconfig(), "nowhere");
    let two = |second: &str| format!("here: {{kubeconfig: {}}}\nthere: {{kubeconfig: {second}}}\n", here.name());

    let _starts = worker(&world, two(nowhere.name()));
    let ran = world.ask(&in_cluster("here", a_job("x", "true"))).await.unwrap();
    ran.output().unwrap();

    for (file, words) in [
        (two("nobody-has-it"), "unable to use the cluster \\\"there\\\" of "),
        (two(here.name()), "the clusters \\\"here\\\" and \\\"there\\\" of "),
        ("here: {inCluster: no}".to_owned(), "$.here.inCluster: expected true"),
    ] {
        let mut ends = worker(&world, file);
        assert!(!ends.ended().await.unwrap().success());
        ends.says(words).await.unwrap();
    }
}
