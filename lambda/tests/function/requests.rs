//! Events that are no request that can be served.

use runjob_scenarios::jobs::a_job;
use serde_json::{Value, json};

use crate::world::{World, told};

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "Job": inner }))
}

#[tokio::test]
async fn whatever_is_no_request_is_refused_by_our_own_name() {
    let world = World::new().await;
    let cases = [
        (json!(7), "$: expected an object"),
        (json!(null), "$: expected an object"),
        (json!(["Job"]), "$: expected an object"),
        (json!({}), "$.Job: expected a Job to run"),
        (json!({"job": {}}), "did you mean Job?"),
        (nested(200), "at most 127 levels"),
        (json!({"TaskToken": 7}), "$.TaskToken"),
    ];
    for (payload, because) in cases {
        let (error, cause) = told(world.invoke(&payload).await);
        assert_eq!(error, "RunJob.InvalidParameters", "{cause}");
        assert!(cause["message"].as_str().unwrap().contains(because), "{cause}");
    }
    assert_eq!(world.sandbox.kube.recorder().all().len(), 0);
    assert_eq!(world.function.environments().len(), 1, "none of them has ended the process");
    world.assert_lawful();
}

#[tokio::test]
async fn a_namespace_or_cluster_that_is_not_served_is_refused() {
    let world = World::with(|bootstrap| {
        let bootstrap = bootstrap.timeout(std::time::Duration::from_mins(1));
        bootstrap.env("RUNJOB_NAMESPACE", "jobs,more").env("RUNJOB_CLUSTER_NAME", "this")
    })
    .await;
    assert_eq!(told(world.ask(&a_job("x", ":")).await).0, "RunJob.NamespaceNotAllowed");
    assert_eq!(told(world.ask(&a_job("x", ":").with("/ClusterName", "that")).await).0, "RunJob.ClusterNotAllowed");
    assert_eq!(world.created(), 0);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_told_of_before_the_function_ends() {
    let world = World::of_seconds(4).await;
    world.sandbox.kube.faults().prevail(runjob_sandbox::faults::Effect::Refuse);
    let (error, cause) = told(world.ask(&a_job("x", ":")).await);
    assert_eq!(error, "RunJob.ClusterUnreachable", "{cause}");
}
