//! Requests that cannot be: each an error that names the path, before anything is created.

use http::StatusCode;
use runjob_sandbox::faults::Effect;
use runjob_scenarios::{jobs::a_job, world::World};
use serde_json::{Value, json};

async fn refused(world: &World, input: &str) -> Value {
    let (error, cause) = world.ask(input).await.unwrap().failure().unwrap();
    assert_eq!(error, "RunJob.InvalidParameters", "{cause}");
    cause
}

#[tokio::test]
async fn each_part_that_cannot_be_is_named_by_its_path() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "true");
    let cases = [
        ("[]".to_owned(), "$"),
        ("{}".to_owned(), "$.Job"),
        (job.clone().with("/Jobs", json!({})).input(), "$.Jobs"),
        (job.clone().with("/LogOptions/RetrieveLogs", "yes").input(), "$.LogOptions.RetrieveLogs"),
        (job.clone().with("/Job/kind", "CronJob").input(), "$.Job.kind"),
        (job.clone().with("/Job/metadata/name", "Not_A_Name").input(), "$.Job.metadata.name"),
        (job.clone().with("/Namespace", "a").with("/Job/metadata/namespace", "b").input(), "$.Job.metadata.namespace"),
        (
            job.with("/Job/metadata/labels", json!({"runjob/group": "g"})).input(),
            "$.Job.metadata.labels[\"runjob/group\"]",
        ),
        (json!({"Method": "GET", "Path": "/api/../x"}).to_string(), "$.Path"),
        (json!({"Method": "WATCH", "Path": "/api/v1/pods"}).to_string(), "$.Method"),
    ];
    for (input, path) in cases {
        let cause = refused(&world, &input).await;
        assert_eq!(cause["path"], json!(path), "{input}");
        assert!(cause["expected"].is_string() && cause["found"].is_string(), "{cause}");
    }
    let touched = world.sandbox.kube.recorder().counts();
    let touched = touched.keys().map(String::as_str).filter(|kind| !kind.ends_with(" leases"));
    assert_eq!(touched.collect::<Vec<_>>(), ["list jobs", "watch jobs"]);
}

#[tokio::test]
async fn a_cluster_or_namespace_that_is_not_served_is_refused() {
    let world = World::new_with(&["--cluster-name", "here", "--namespace", "default"]).await.unwrap();
    let elsewhere = a_job("x", "true").with("/ClusterName", "there");
    assert_eq!(world.run(&elsewhere).await.unwrap().failure().unwrap().0, "RunJob.ClusterNotAllowed");
    let outside = a_job("x", "true").with("/Namespace", "other");
    assert_eq!(world.run(&outside).await.unwrap().failure().unwrap().0, "RunJob.NamespaceNotAllowed");
    let wide = json!({"Method": "GET", "Path": "/api/v1/nodes"}).to_string();
    assert_eq!(world.ask(&wide).await.unwrap().failure().unwrap().0, "RunJob.NamespaceNotAllowed");
    world.run(&a_job("x", "true").with("/ClusterName", "here")).await.unwrap().output().unwrap();
}

#[tokio::test]
async fn a_call_shows_no_token() {
    let world = World::new().await.unwrap();
    let _task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    let call = json!({"Method": "GET", "Path": "/apis/batch/v1/namespaces/default/jobs"});
    let jobs = world.ask(&call.to_string()).await.unwrap().output().unwrap();
    let annotations = &jobs["ResponseBody"]["items"][0]["metadata"]["annotations"];
    assert!(
        annotations.get("runjob/owner").is_some() && annotations.get("runjob/task-token").is_none(),
        "{annotations}"
    );
}

#[tokio::test]
async fn an_answer_without_a_body_is_an_empty_string() {
    let world = World::new().await.unwrap();
    let nothing = Effect::Answer { status: StatusCode::NO_CONTENT, retry_after: None, body: String::new() };
    world.sandbox.kube.faults().plan("delete pods", nothing, 1);
    let call = json!({"Method": "DELETE", "Path": "/api/v1/namespaces/default/pods/x"});
    let answer = world.ask(&call.to_string()).await.unwrap().output().unwrap();
    assert_eq!(answer, json!({"ResponseBody": "", "StatusCode": 204, "StatusText": "No Content"}));
}

#[tokio::test]
async fn a_query_parameter_is_sent_once_for_each_of_its_values() {
    let world = World::new().await.unwrap();
    let query = json!({"labelSelector": ["a in (b,c)"], "fieldManager": ["ä&b", "", "c=d"]});
    let call = json!({"Method": "GET", "Path": "/api/v1/namespaces/default/pods", "QueryParameters": query});
    world.ask(&call.to_string()).await.unwrap().output().unwrap();
    let asked = world.sandbox.kube.recorder().of("list pods");
    let sent = "/api/v1/namespaces/default/pods?labelSelector=a%20in%20(b,c)&fieldManager=%C3%A4%26b&fieldManager=&fieldManager=c%3Dd";
    assert_eq!(asked.iter().map(|request| request.uri.as_str()).collect::<Vec<_>>(), [sent]);
}

#[tokio::test]
async fn a_call_cannot_touch_what_runjob_wrote_on_a_job() {
    let world = World::new().await.unwrap();
    let _task = world.task(&a_job("x", "sleep 600").input());
    let before = world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    let path = "/apis/batch/v1/namespaces/default/jobs/x";
    let copy = json!([{"op": "copy", "from": "/metadata/annotations", "path": "/metadata/labels"}]);
    for body in
        [copy, json!([{"op": "remove", "path": "/metadata/annotations"}]), json!({"metadata": {"labels": null}})]
    {
        let call =
            json!({"Method": "PATCH", "Path": path, "QueryParameters": {"dryRun": ["All"]}, "RequestBody": body});
        assert_eq!(refused(&world, &call.to_string()).await["path"], "$.RequestBody");
    }
    let mut plain = before.clone();
    plain["metadata"]["annotations"] = json!({});
    plain["metadata"]["labels"] = json!({});
    let put = json!({"Method": "PUT", "Path": path, "RequestBody": plain}).to_string();
    let message = refused(&world, &put).await["message"].to_string();
    assert!(message.contains("a PUT would take from the Job what runjob wrote on it"), "{message}");
    let suspend = json!({"Method": "PATCH", "Path": path, "RequestBody": {"spec": {"suspend": true}}});
    world.ask(&suspend.to_string()).await.unwrap().output().unwrap();
    let after = world.job("x", |job| job["spec"]["suspend"] == json!(true)).await.unwrap();
    assert_eq!(before["metadata"]["annotations"], after["metadata"]["annotations"]);
    assert_eq!(before["metadata"]["labels"], after["metadata"]["labels"]);
    let delete = json!({"Method": "DELETE", "Path": path}).to_string();
    world.ask(&delete).await.unwrap().output().unwrap();
}

#[tokio::test]
async fn a_message_that_quotes_a_token_shows_none() {
    let world = World::new().await.unwrap();
    let _task = world.task(&a_job("x", "sleep 600").input());
    let job = world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    let token = job["metadata"]["annotations"]["runjob/task-token"].as_str().unwrap().to_owned();
    let body = json!({"kind": "Status", "code": 422, "message": format!("Invalid value: \"{token}\": must be"),
        "details": {"causes": [{"message": token}]}});
    let quoting =
        Effect::Answer { status: StatusCode::UNPROCESSABLE_ENTITY, retry_after: None, body: body.to_string() };
    world.sandbox.kube.faults().plan("get jobs", quoting, 1);
    let call = json!({"Method": "GET", "Path": "/apis/batch/v1/namespaces/default/jobs/x"});
    let (error, cause) = world.ask(&call.to_string()).await.unwrap().failure().unwrap();
    assert_eq!(error, "EKS.422");
    assert!(token.len() >= 16 && !cause.to_string().contains(&token), "{cause}");
}

#[tokio::test]
async fn an_eviction_that_a_budget_forbids_is_answered_at_once() {
    let world = World::new().await.unwrap();
    let body = json!({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "Cannot evict pod",
        "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 1 healthy pods"}]}});
    let forbidden =
        Effect::Answer { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some(10), body: body.to_string() };
    world.sandbox.kube.faults().plan("delete pods", forbidden, 1);
    // The sandbox knows no evictions: what counts is the answer.
    let call = json!({"Method": "DELETE", "Path": "/api/v1/namespaces/default/pods/x"});
    assert_eq!(world.ask(&call.to_string()).await.unwrap().failure().unwrap().0, "EKS.429");
}

#[tokio::test]
async fn documents_inside_of_documents_end_no_worker() {
    let world = World::new().await.unwrap();
    let (open, close) = ("[".repeat(125), "]".repeat(125));
    let nested = (0..30).fold("1".to_owned(), |inner, _| {
        let escaped = inner.replace('\\', "\\u005c").replace('"', "\\u0022");
        format!("{open}{{\"$serde_json::private::RawValue\":\"{escaped}\"}}{close}")
    });
    let cause = refused(&world, &format!("{{\"Job\": {nested}}}")).await;
    assert!(cause["path"].as_str().is_some_and(|path| path.starts_with("$.Job")), "{cause}");
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
}
