//! Faults: what is planned befalls the requests it is planned for, and no others.

use http::{Method, Request, StatusCode, header};
use runjob_sandbox::faults::Effect;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, JOBS, a_job, kinds, seconds};

/// Whether the request to create this Job was answered at all.
async fn is_answered(cluster: &Cluster, name: &str) -> bool {
    let request = Request::post(JOBS).header(header::CONTENT_TYPE, "application/json");
    cluster.front.call(request.body(a_job(name, "true").to_string().into()).unwrap()).await.is_ok()
}

fn is_there(cluster: &Cluster, name: &str) -> bool {
    cluster.kube.get("jobs", "default", name).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_takes_no_effect_and_has_no_answer() {
    let cluster = Cluster::idle();
    cluster.front.faults().plan("create jobs", Effect::Refuse, 1);
    assert!(!is_answered(&cluster, "x").await && !is_there(&cluster, "x"));
    assert!(is_answered(&cluster, "x").await && is_there(&cluster, "x"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cut_after_it_was_applied_has_taken_effect() {
    let cluster = Cluster::idle();
    cluster.front.faults().plan("create jobs", Effect::CutAfterApply, 1);
    assert!(!is_answered(&cluster, "x").await && is_there(&cluster, "x"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_delayed_takes_effect_later() {
    let cluster = Cluster::idle();
    cluster.front.faults().plan("create jobs", Effect::Delay(seconds(70)), 1);
    let begun = Instant::now();
    let created = async {
        assert!(is_answered(&cluster, "x").await);
        begun.elapsed()
    };
    let looked = async {
        tokio::time::sleep(seconds(69)).await;
        is_there(&cluster, "x")
    };
    assert_eq!(tokio::join!(created, looked), (seconds(70), false));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_planned_comes_instead_of_the_servers() {
    let cluster = Cluster::idle();
    for status in
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::UNAUTHORIZED, StatusCode::GONE]
    {
        let answer = Effect::Answer { status, retry_after: Some(7), body: "{}".to_owned() };
        cluster.front.faults().plan("create jobs", answer, 1);
        let told = cluster.post(JOBS, &a_job("x", "true")).await;
        assert_eq!(
            (told.status, told.text(), &told.headers[header::RETRY_AFTER]),
            (status, "{}".to_owned(), &"7".parse().unwrap())
        );
        assert!(!is_there(&cluster, "x"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_mutated_is_stored_so() {
    let cluster = Cluster::idle();
    let strip = |job: &mut serde_json::Value| {
        job["metadata"].as_object_mut().unwrap().remove("labels");
    };
    cluster.front.faults().plan("create jobs", Effect::Mutate(strip), 1);
    for (name, kept) in [("x", json!(null)), ("y", json!("b"))] {
        let mut job = a_job(name, "true");
        job["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(cluster.submit(&job).await["metadata"]["labels"]["a"], kept, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_prevails_befalls_every_request_until_it_is_cleared() {
    let cluster = Cluster::idle();
    let answer = |status| Effect::Answer { status, retry_after: None, body: "{}".to_owned() };
    cluster.front.faults().prevail(answer(StatusCode::INTERNAL_SERVER_ERROR));
    cluster.front.faults().plan("list jobs", answer(StatusCode::UNAUTHORIZED), 1);
    let ask = async |method: Method| cluster.send(method, JOBS, "application/json", "{}").await.status.as_u16();
    assert_eq!([ask(Method::GET).await, ask(Method::GET).await, ask(Method::POST).await], [401, 500, 500]);
    cluster.front.faults().clear();
    assert_eq!(ask(Method::GET).await, 200);
}

#[tokio::test(start_paused = true)]
async fn watches_that_may_last_a_second_end_plainly_after_one() {
    let cluster = Cluster::idle();
    let mut before = cluster.watch(&format!("{JOBS}?watch=true")).await;
    cluster.kube.limit_watches(Some(seconds(1)));
    let begun = Instant::now();
    cluster.submit(&a_job("a", "true")).await;
    assert_eq!(kinds(&[before.next().await.unwrap()]), [("ADDED", "a")]);
    // What the controllers make of it may be told as well.
    while before.next().await.is_some() {}
    assert_eq!(begun.elapsed(), seconds(1));
    let mut after = cluster.watch(&format!("{JOBS}?watch=true")).await;
    while after.next().await.is_some() {}
    assert_eq!(begun.elapsed(), seconds(2));
}
