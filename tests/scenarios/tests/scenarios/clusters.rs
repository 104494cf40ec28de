//! One worker, several clusters.

use runjob_scenarios::{
    check::{contains, log},
    jobs::{JobRequest, a_gated_job, a_job},
    scenario::{Afterwards, Scenario, scenario},
    step::{Act, Sight},
};

fn in_cluster(name: &str, job: JobRequest) -> JobRequest {
    job.with("/ClusterName", name)
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario(
            "a cluster that was never reached disturbs no other, nor a restart",
            in_cluster("own", a_gated_job("x")),
        )
        .beside_a_cluster_that_is_gone()
        .until(Sight::JobRuns)
        .then(Act::KillWorker)
        .then(Act::StartWorker)
        .then(Act::OpenGate)
        .succeeds([log("main", "finished\n")]),
        scenario(
            "a cluster that is not served is refused with the names of those that are",
            in_cluster("x", a_job("x", "true")),
        )
        .beside_a_cluster_that_is_gone()
        .fails("RunJob.ClusterNotAllowed", [contains("/message", "\"gone\", \"own\"")])
        .leaves(Afterwards::Nothing),
        scenario(
            "what is allowed is a matter of the cluster",
            in_cluster("own", a_job("x", "true").with("/Namespace", "kube-system")),
        )
        .beside_a_cluster_that_is_gone()
        .fails("RunJob.NamespaceNotAllowed", [contains("/message", "\"kube-system\"")])
        .leaves(Afterwards::Nothing),
    ]
}
