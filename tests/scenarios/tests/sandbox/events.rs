//! Events on Jobs.

use std::time::Duration;

use http::StatusCode;
use runjob::cluster::{Cluster, EventKind, MAX_UNTOLD, keep_telling};
use runjob_core::job::JobView;
use runjob_sandbox::faults::Effect;
use runjob_scenarios::{jobs::a_job, world::World};
use serde_json::{Value, json};

fn cluster(world: &World) -> Cluster {
    Cluster::of(kube::Config::new(world.sandbox.kube_url().parse().unwrap())).unwrap()
}

fn a_view(uid: &str) -> JobView {
    JobView::of(&json!({"metadata": {"namespace": "default", "name": "x", "uid": uid, "resourceVersion": "7"}}))
        .unwrap()
}

fn events(world: &World) -> Vec<Value> {
    world.sandbox.kubernetes().list("events", None)
}

#[tokio::test]
async fn an_event_is_written_once_and_counted_again() {
    let world = World::empty().await.unwrap();
    let (cluster, job) = (cluster(&world), a_view("u"));
    for _ in 0..3 {
        cluster.record_event(&job, EventKind::Warning, "Stuck", "no pod").await;
    }
    cluster.record_event(&job, EventKind::Normal, "Stuck", "another thing").await;
    let told: Vec<Value> =
        events(&world).iter().map(|event| json!([event["type"], event["message"], event["count"]])).collect();
    assert_eq!(json!(told), json!([["Warning", "no pod", 3], ["Normal", "another thing", 1]]));
    let about = json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": "default", "name": "x", "uid": "u",
        "resourceVersion": "7"});
    assert_eq!(events(&world)[0]["involvedObject"], about);
    assert_eq!(cluster.lost_events().get(), 0);
}

#[tokio::test]
async fn a_warning_of_the_api_server_becomes_an_event_on_the_job() {
    let world = World::new().await.unwrap();
    let restricted = "299 - \"would violate PodSecurity \\\"restricted:latest\\\"\"";
    world.sandbox.kube.faults().plan("create jobs", Effect::Warn(restricted), 1);
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    let event = told_by_runjob(&world).await;
    assert_eq!(
        [&event["type"], &event["reason"], &event["message"], &event["involvedObject"]["name"]],
        ["Warning", "AdmissionWarning", "would violate PodSecurity \"restricted:latest\"", "x"]
    );
}

#[tokio::test]
async fn a_job_that_nobody_here_may_touch_is_told_so() {
    for (annotations, reason, message) in [
        (json!({"runjob/v": "9"}), "UnreadableStamp", "version 9, this runjob reads version 1"),
        (foreign_stamp(), "ForeignTask", "of the account 999999999999 in eu-west-1, which this worker does not serve"),
    ] {
        let world = World::new().await.unwrap();
        let mut job = a_job("x", "sleep 600").job();
        let group = "123456789012.us-east-1";
        job["metadata"] =
            json!({"namespace": "default", "name": "x", "labels": {"runjob/group": group}, "annotations": annotations});
        world.sandbox.kubernetes().create(job).unwrap();
        let event = told_by_runjob(&world).await;
        assert_eq!(event["reason"], reason);
        assert!(event["message"].as_str().unwrap().contains(message), "{event}");
        let touched = world.sandbox.kube.recorder().counts();
        assert!(!touched.contains_key("patch jobs") && !touched.contains_key("delete jobs"), "{touched:?}");
        assert!(!event.to_string().contains("secret"), "{event}");
    }
}

fn foreign_stamp() -> Value {
    json!({"runjob/v": "1", "runjob/form": "task", "runjob/task-token": "secret", "runjob/owner": "o", "runjob/spec-hash": "h",
        "runjob/source": "arn:aws:states:eu-west-1:999999999999:activity:jobs", "runjob/options": "{}"})
}

/// The first Event of the worker's.
async fn told_by_runjob(world: &World) -> Value {
    world.answered("create events").await.unwrap();
    let own = |event: &Value| event["source"]["component"] == "runjob";
    world.sandbox.kubernetes().list("events", None).into_iter().find(own).unwrap()
}

#[tokio::test]
async fn an_event_that_has_expired_is_written_anew() {
    let world = World::empty().await.unwrap();
    let (cluster, job) = (cluster(&world), a_view("u"));
    cluster.record_event(&job, EventKind::Warning, "Stuck", "no pod").await;
    let name = events(&world)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world
        .sandbox
        .kubernetes()
        .delete("events", "default", &name, runjob_sandbox::kube::Propagation::Background)
        .unwrap();
    cluster.record_event(&job, EventKind::Warning, "Stuck", "no pod").await;
    assert_eq!(events(&world)[0]["count"], 1);
}

#[tokio::test]
async fn an_event_that_is_refused_is_counted_and_nothing_more() {
    let world = World::empty().await.unwrap();
    let (cluster, job) = (cluster(&world), a_view("u"));
    let forbidden = Effect::Answer { status: StatusCode::FORBIDDEN, retry_after: None, body: "{}".to_owned() };
    world.sandbox.kube.faults().plan("create events", forbidden, 1);
    world.sandbox.kube.faults().plan("create events", Effect::Refuse, 1);
    cluster.record_event(&job, EventKind::Warning, "Stuck", "no pod").await;
    cluster.record_event(&job, EventKind::Warning, "Stuck", "no pod").await;
    assert_eq!((cluster.lost_events().get(), events(&world).len()), (2, 0));
}

#[tokio::test]
async fn the_events_of_a_job_are_not_those_of_its_namesake() {
    let world = World::empty().await.unwrap();
    let cluster = cluster(&world);
    cluster.record_event(&a_view("one"), EventKind::Normal, "First", "of the first").await;
    cluster.record_event(&a_view("two"), EventKind::Normal, "Second", "of the second").await;
    let found = cluster.events_of("default", "two").await.unwrap();
    let reasons: Vec<&Value> = found.iter().map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["Second"]);
}

#[tokio::test]
async fn what_there_is_to_tell_is_told_in_turn_and_what_is_too_much_is_lost() {
    let world = World::empty().await.unwrap();
    let cluster = cluster(&world);
    for number in 0..MAX_UNTOLD + 5 {
        cluster.tell(a_view("u"), EventKind::Normal, "Told", &number.to_string());
    }
    assert_eq!((cluster.untold(), cluster.lost_events().get()), (usize::from(MAX_UNTOLD), 5));
    let writer = tokio::spawn(keep_telling(cluster.clone()));
    tokio::time::timeout(Duration::from_mins(1), cluster.all_told()).await.unwrap();
    assert_eq!((cluster.untold(), events(&world).len()), (0, usize::from(MAX_UNTOLD)));
    let again = MAX_UNTOLD + 4;
    cluster.tell(a_view("u"), EventKind::Normal, "Told", &again.to_string());
    cluster.all_told().await;
    assert_eq!((events(&world).len(), cluster.lost_events().get()), (usize::from(MAX_UNTOLD) + 1, 5));
    writer.abort();
}

#[tokio::test]
async fn few_events_are_written_at_a_time() {
    let world = World::empty().await.unwrap();
    let cluster = cluster(&world);
    world.sandbox.kube.faults().plan("create events", Effect::Delay(Duration::from_mins(10)), 8);
    for number in 0..20 {
        cluster.tell(a_view("u"), EventKind::Normal, "Told", &number.to_string());
    }
    let writer = tokio::spawn(keep_telling(cluster.clone()));
    let written =
        |requests: usize| world.sandbox.kube.recorder().wait_for(move |all| (all.len() >= requests).then_some(()));
    written(8).await;
    // A ninth would have been sent, and answered, before this one.
    cluster.record_event(&a_view("u"), EventKind::Normal, "Beside", "the queue").await;
    assert_eq!((cluster.untold(), world.sandbox.kube.recorder().of("create events").len()), (20, 9));
    writer.abort();
}
