//! The worker as `docs/install.md` installs it: its image, its chart, its pods in the cluster of `tests/cluster/cluster up`, under the rights
//! that the chart gives them. The document's own commands are run. Step Functions is the sandbox's.
//!
//! It needs the cluster, so it is ignored unless asked for.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets an impossible value stops there"
)]

mod audit;
mod bed;
mod guide;
mod objects;
mod prometheus;
mod rights;

use std::{collections::BTreeSet, time::Duration};

use runjob_scenarios::{article, jobs::a_job};
use serde_json::{Value, json};

use crate::{audit::Audit, bed::Bed, guide::Guide, objects::Objects};

/// The rules that Prometheus is to know.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/helm/runjob/files/alerts.yaml");
/// How often a Job of the load begins.
const PACE: Duration = Duration::from_secs(1);

// Commands block a thread each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs tests/cluster/cluster up"]
async fn a_worker_is_installed_changed_and_removed_as_the_document_says() {
    let bed = Bed::new().await;
    let (before, audit) = (Objects::present(&bed), Audit::begin());
    let guide = Guide::new(&bed, "docs/install.md");

    guide.follow("image");
    bed.load_image();
    documents_for_an_account(&bed);
    guide.follow("install");
    let seen = guide.follow("look");
    assert_eq!(seen.matches("1/1").count(), 2, "two pods are ready: {seen}");
    assert!(seen.lines().any(|line| line == "yes"), "it may create Jobs: {seen}");
    bed.one_leads().await;
    prometheus::scrapes(&bed, RULES).await;

    the_article_succeeds(&bed).await;
    guide.follow("first");
    a_machine_of_the_cluster_succeeds(&bed).await;
    a_user_gets_rights(&bed);
    rights::are_used(&bed).await;
    bed.clear();
    nothing_is_lost(&bed, &guide).await;
    policy_is_kept(&bed).await;
    bed.clear();
    rights::are_all(&bed, &audit);

    guide.follow("remove");
    guide.follow("kustomize");
    bed.kubectl("delete namespace runjob batch");
    audit.assert_explained();
    guide.assert_followed();
    before.assert_same(&Objects::present(&bed));
}

/// Nearly all of their commands need an AWS account, and say so.
fn documents_for_an_account(bed: &Bed) {
    let of_sam = Guide::new(bed, "docs/sam.md");
    of_sam.follow("code");
    of_sam.assert_followed();
    Guide::new(bed, "docs/onprem.md").assert_followed();
}

/// The workflow of the article as it is printed: in the namespace `default`.
async fn the_article_succeeds(bed: &Bed) {
    let output = bed.machines.output(&bed.machines.start(article::WORKFLOW, article::INPUT).unwrap()).await.unwrap();
    assert_eq!(output["StatusCode"], json!(200), "{output}");
    assert!(bed.logs().contains("the task is answered"), "a pod has answered it: {}", bed.logs());
}

/// The cluster has the workflow itself, as an object of ACK's: its definition is run. ACK's controller is not here.
async fn a_machine_of_the_cluster_succeeds(bed: &Bed) {
    let guide = Guide::new(bed, "infra/ack/README.md");
    bed.kubectl("apply --filename infra/ack/tests/crds.yaml");
    bed.kubectl("wait --for condition=Established --filename infra/ack/tests/crds.yaml");
    guide.follow("ack");
    let definition = bed.get("statemachines.sfn.services.k8s.aws pi")["spec"]["definition"].clone();
    let execution = bed.machines.start(definition.as_str().unwrap(), article::INPUT).unwrap();
    assert_eq!(bed.machines.output(&execution).await.unwrap()["StatusCode"], json!(200));
    guide.follow("ack, away");
    guide.assert_followed();
    bed.kubectl("delete --filename infra/ack/tests/crds.yaml");
}

/// The article's `Role` and `RoleBinding`.
fn a_user_gets_rights(bed: &Bed) {
    let guide = Guide::new(bed, "docs/rbac.md");
    assert_eq!(guide.follow("may not").trim(), "no");
    assert_eq!(guide.follow("grant").lines().filter(|line| *line == "yes").count(), 2);
    guide.follow("take back");
    guide.assert_followed();
}

/// Pods are replaced, and replaced again, while Jobs begin and end all the time: each task succeeds at the first attempt, each Job is made
/// once.
async fn nothing_is_lost(bed: &Bed, guide: &Guide<'_>) {
    let names =
        |pods: &[Value]| -> BTreeSet<_> { pods.iter().map(|pod| pod["metadata"]["name"].to_string()).collect() };
    let before = names(&bed.pods());
    let mut executions = Vec::new();
    let replaced = async {
        guide.follow_meanwhile("change").await;
        let changed = names(&bed.pods());
        assert!(changed.is_disjoint(&before), "all pods are new: {changed:?}");
        guide.follow_meanwhile("back").await;
    };
    let load = async {
        for number in 0.. {
            executions.push(bed.run(&a_job(&format!("load-{number}"), "sleep 3; echo finished")));
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::select! {
        () = replaced => {},
        () = load => {},
    }
    assert!(executions.len() > 20, "that was no load: {}", executions.len());
    for execution in &executions {
        let output = bed.machines.output(execution).await.unwrap();
        assert!(output["logs"].to_string().contains("finished"), "{output}");
    }
    assert_eq!(bed.jobs().len(), executions.len());
    println!("{} Jobs while the pods were replaced, none lost", executions.len());
}

/// What the chart's admission policy refuses fails its task, and says why; what it allows goes on.
async fn policy_is_kept(bed: &Bed) {
    bed.upgrade("--set admissionPolicy.enabled=true");
    let privileged = |name: &str| a_job(name, "true").with_main("securityContext", json!({"privileged": true}));
    // The API server begins to keep to it a moment after it has it.
    let mut number = 0;
    bed.comes_about("the policy is kept", async || {
        number += 1;
        let execution = bed.run(&privileged(&format!("early-{number}")));
        bed.machines.ended(&execution).await.unwrap().status.name() == "FAILED"
    })
    .await;
    let host_path = json!([{"name": "host", "hostPath": {"path": "/"}}]);
    for (job, word) in [
        (privileged("privileged"), "privileged"),
        (a_job("on-the-host", "true").with_pod("hostNetwork", true), "hostNetwork"),
        (a_job("with-a-path", "true").with_pod("volumes", host_path), "hostPath"),
        (a_job("as-another", "true").with_pod("serviceAccountName", "another"), "service account"),
    ] {
        let (error, cause) = bed.machines.failure(&bed.run(&job)).await.unwrap();
        assert!(error == "EKS.422", "{error}: {cause}");
        assert!(cause["ResponseBody"]["message"].as_str().unwrap().contains(word), "{cause}");
    }
    let output = bed.machines.output(&bed.run(&a_job("allowed", "echo finished"))).await.unwrap();
    assert!(output["logs"].to_string().contains("finished"), "{output}");
}
