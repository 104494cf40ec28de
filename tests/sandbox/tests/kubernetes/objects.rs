//! Creating, reading, listing and writing objects.

use serde_json::{Value, json};

use crate::cluster::{Cluster, JOBS, PODS, a_job, name, with};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_a_409_and_so_is_one_that_is_still_going() {
    let cluster = Cluster::idle();
    let job = with(a_job("x", ""), "/metadata/finalizers", json!(["example.com/hold"]));
    cluster.submit(&job).await;
    let taken = cluster.post(JOBS, &job).await;
    assert_eq!(taken.error(), (409, "AlreadyExists".into(), "jobs.batch \"x\" already exists".into()));
    assert_eq!(taken.json()["details"], json!({"name": "x", "group": "batch", "kind": "jobs"}));
    cluster.delete(&format!("{JOBS}/x"), &json!({"propagationPolicy": "Background"})).await;
    let going = cluster.post(JOBS, &job).await.error();
    assert_eq!(going.2, "object is being deleted: jobs.batch \"x\" already exists");
    assert_eq!((going.0, going.1.as_str()), (409, "AlreadyExists"));
    cluster.merge(&format!("{JOBS}/x"), &json!({"metadata": {"finalizers": null}})).await;
    cluster.gone("jobs").await;
    cluster.submit(&job).await;
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_servers_order_of_keys() {
    let cluster = Cluster::idle();
    let missing = cluster.get(&format!("{JOBS}/x")).await;
    assert_eq!(
        missing.text(),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"jobs.batch \"x\" not found","reason":"NotFound","details":{"name":"x","group":"batch","kind":"jobs"},"code":404}"#
    );
    assert_eq!(missing.headers["content-type"], "application/json");
}

#[tokio::test(start_paused = true)]
async fn a_generated_name_has_five_characters_of_its_own() {
    let cluster = Cluster::idle();
    let mut job = a_job("", "");
    job["metadata"] = json!({"generateName": "pi-"});
    let (one, other) = (cluster.submit(&job).await, cluster.submit(&job).await);
    assert!(name(&one).starts_with("pi-") && name(&one).len() == 8, "{}", name(&one));
    assert_ne!(name(&one), name(&other));
    assert_ne!(one["metadata"]["uid"], other["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_would_refuse_is_refused_in_its_words() {
    let cluster = Cluster::idle();
    let job = || a_job("x", "");
    let table = [
        (
            with(job(), "/spec/template/spec/restartPolicy", Value::Null),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (with(job(), "/spec/template/spec/containers", json!([])), "spec.template.spec.containers: Required value"),
        (
            with(job(), "/spec/template/spec/containers/0/image", Value::Null),
            "spec.template.spec.containers[0].image: Required value",
        ),
        (
            with(job(), "/spec/backoffLimit", json!(-1)),
            "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            with(job(), "/spec/completionMode", json!("Indexed")),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
    ];
    for (job, why) in table {
        let refused = cluster.post(JOBS, &job).await;
        let message = format!("Job.batch \"x\" is invalid: {why}");
        assert_eq!(refused.error(), (422, "Invalid".into(), message));
        let (field, message) = why.split_once(": ").unwrap();
        let cause = &refused.json()["details"]["causes"][0];
        assert_eq!((cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap()), (field, message));
    }
    let nameless = cluster.post(JOBS, &with(job(), "/metadata/name", Value::Null)).await.error();
    assert_eq!(
        nameless.2,
        "Job.batch \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let shouting = cluster.post(JOBS, &with(job(), "/metadata/name", json!("No_Name"))).await.error();
    assert!(
        shouting.2.starts_with("Job.batch \"No_Name\" is invalid: metadata.name: Invalid value: \"No_Name\": a low")
    );
    let two = with(with(job(), "/spec/completions", json!(-2)), "/spec/parallelism", json!(-1));
    assert!(cluster.post(JOBS, &two).await.error().2.contains("is invalid: [spec.parallelism: "));
    assert_eq!(cluster.kube.list("jobs", None).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_suit_the_path_is_a_400() {
    let cluster = Cluster::idle();
    let job = || a_job("x", "");
    let table = [
        (with(job(), "/apiVersion", json!("v1")), "the API version in the data (v1) does not match"),
        (with(job(), "/kind", json!("Pod")), "Pod in version \"v1\" cannot be handled as a Job"),
        (with(job(), "/metadata/namespace", json!("other")), "the namespace of the provided object does not match"),
        (with(job(), "/spec/backoffLimit", json!("1")), "cannot unmarshal string into Go struct field"),
        (with(job(), "/metadata/labels", json!({"a": 1})), "cannot unmarshal number into Go struct field"),
    ];
    for (job, why) in table {
        let (code, reason, message) = cluster.post(JOBS, &job).await.error();
        assert_eq!((code, reason.as_str()), (400, "BadRequest"));
        assert!(message.contains(why), "{message}");
    }
    let nowhere = cluster.post("/apis/batch/v1/namespaces/nowhere/jobs", &job()).await;
    assert_eq!(nowhere.error(), (404, "NotFound".into(), "namespaces \"nowhere\" not found".into()));
    assert_eq!(cluster.post(&format!("{JOBS}/x"), &job()).await.status, 405);
    assert_eq!(cluster.post("/apis/batch/v1/jobs", &job()).await.status, 405);
    assert_eq!(cluster.get("/nonsense").await.status, 404);
    assert_eq!(cluster.get(&format!("{JOBS}/x/exec")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn any_resource_is_served_and_keeps_what_it_holds() {
    let cluster = Cluster::idle();
    let path = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let body = r#"{"kind":"Widget","apiVersion":"example.com/v1beta1","metadata":{"name":"w"},"spec":{"exact":1.10,"big":123456789012345678901234567890}}"#;
    let created = cluster.send(http::Method::POST, path, "application/json", body).await;
    assert!(created.text().contains(r#""exact":1.10,"big":123456789012345678901234567890"#));
    let list = cluster.get(path).await.json();
    assert_eq!(list["kind"], "WidgetList");
    assert_eq!(cluster.kube.get("widgets.example.com", "default", "w").unwrap(), created.json());
}

#[tokio::test(start_paused = true)]
async fn namespaces_can_be_made() {
    let cluster = Cluster::idle();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    assert_eq!(cluster.post("/api/v1/namespaces", &namespace).await.status, 201);
    assert_eq!(cluster.post("/apis/batch/v1/namespaces/team/jobs", &a_job("x", "")).await.status, 201);
    assert_eq!(cluster.get("/api/v1/namespaces/team").await.json()["status"]["phase"], "Active");
    assert_eq!(cluster.kube.list("jobs", Some("default")).len(), 0);
    assert_eq!(cluster.kube.list("jobs", Some("team")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_items_of_a_list_carry_no_kind_and_come_in_chunks() {
    let cluster = Cluster::idle();
    for place in 0..5 {
        let job = with(a_job(&format!("job-{place}"), ""), "/metadata/labels", json!({"odd": (place % 2).to_string()}));
        cluster.submit(&job).await;
    }
    let all = cluster.get(&format!("{JOBS}?limit=500")).await;
    assert!(all.text().starts_with(r#"{"kind":"JobList","apiVersion":"batch/v1","metadata":{"resourceVersion":""#));
    let all = all.json();
    assert_eq!((all["items"][0].get("kind"), all["items"][0].get("apiVersion")), (None, None));
    let mut names = Vec::new();
    let mut query = "limit=2".to_owned();
    let mut versions = Vec::new();
    loop {
        let chunk = cluster.get(&format!("/apis/batch/v1/jobs?{query}")).await.json();
        names.extend(chunk["items"].as_array().unwrap().iter().map(|job| name(job).to_owned()));
        versions.push(chunk["metadata"]["resourceVersion"].clone());
        let Some(token) = chunk["metadata"]["continue"].as_str() else { break };
        query = format!("limit=2&continue={token}");
    }
    assert_eq!(names, ["job-0", "job-1", "job-2", "job-3", "job-4"]);
    assert!(versions.iter().all(|version| *version == versions[0]));
    let odd = cluster.get(&format!("{JOBS}?labelSelector=odd%20in%20(1)")).await.json();
    assert_eq!(odd["items"].as_array().unwrap().len(), 2);
    let one = cluster.get(&format!("{JOBS}?fieldSelector=metadata.name%3Djob-3")).await.json();
    assert_eq!(name(&one["items"][0]), "job-3");
    assert_eq!(cluster.get(&format!("{JOBS}?labelSelector=a%20b")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_continued_after_its_version_is_forgotten_begins_anew() {
    let cluster = Cluster::idle();
    cluster.submit(&a_job("a", "")).await;
    cluster.submit(&a_job("b", "")).await;
    let chunk = cluster.get(&format!("{JOBS}?limit=1")).await.json();
    cluster.submit(&a_job("c", "")).await;
    cluster.kube.forget_history();
    let token = chunk["metadata"]["continue"].as_str().unwrap();
    let (code, reason, _) = cluster.get(&format!("{JOBS}?limit=1&continue={token}")).await.error();
    assert_eq!((code, reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn an_update_from_an_old_version_is_a_conflict() {
    let cluster = Cluster::idle();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "runjob"},
        "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let old = cluster.post(LEASES, &lease).await.json();
    let path = format!("{LEASES}/runjob");
    let new = cluster.put(&path, &with(old.clone(), "/spec/holderIdentity", json!("b"))).await;
    assert_eq!(new.json()["spec"]["holderIdentity"], "b");
    let stale = cluster.put(&path, &with(old, "/spec/holderIdentity", json!("c"))).await;
    let message = "Operation cannot be fulfilled on leases.coordination.k8s.io \"runjob\": the object has been \
                   modified; please apply your changes to the latest version and try again";
    assert_eq!(stale.error(), (409, "Conflict".into(), message.into()));
    let same = cluster.put(&path, &new.json()).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], new.json()["metadata"]["resourceVersion"]);
}

#[tokio::test(start_paused = true)]
async fn events_of_users_are_ordinary_objects() {
    let cluster = Cluster::idle();
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "x."},
        "involvedObject": {"kind": "Job", "name": "x"}, "reason": "Odd", "message": "m"});
    assert_eq!(cluster.post("/api/v1/namespaces/default/events", &event).await.status, 201);
    let found = cluster.get("/api/v1/events?fieldSelector=involvedObject.name%3Dx,reason%3DOdd").await.json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_checks_and_stores_nothing() {
    let cluster = Cluster::idle();
    assert_eq!(cluster.post(&format!("{JOBS}?dryRun=All"), &a_job("x", "")).await.status, 201);
    assert_eq!(cluster.post(&format!("{JOBS}?dryRun=All"), &json!({"metadata": {"name": "x"}})).await.status, 422);
    assert_eq!(cluster.kube.list("jobs", None).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_paths_without_objects_answer() {
    let cluster = Cluster::idle();
    for path in ["/healthz", "/readyz", "/livez", "/livez/ping"] {
        assert_eq!(cluster.get(path).await.text(), "ok");
    }
    assert_eq!(cluster.get("/version").await.json()["major"], "1");
    assert_eq!(cluster.get("/api").await.json()["versions"], json!(["v1"]));
    assert_eq!(cluster.get("/apis").await.json()["kind"], "APIGroupList");
    let batch = cluster.get("/apis/batch/v1").await.json();
    assert_eq!(batch["resources"][0]["name"], "jobs");
    assert_eq!(cluster.send(http::Method::POST, "/version", "", "").await.status, 405);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_job_is_written_through_its_subresource_only() {
    let cluster = Cluster::idle();
    let job = cluster.submit(&with(a_job("x", ""), "/spec/managedBy", json!("example.com/x"))).await;
    let main = cluster.put(&format!("{JOBS}/x"), &with(job.clone(), "/status/failed", json!(3))).await.json();
    assert_eq!(main["status"], json!({}));
    let patch = json!({"status": {"failed": 3}, "spec": {"backoffLimit": 9}});
    let status = cluster.merge(&format!("{JOBS}/x/status"), &patch).await.json();
    assert_eq!((&status["status"], &status["spec"]["backoffLimit"]), (&json!({"failed": 3}), &json!(0)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_job_runs_too() {
    let cluster = Cluster::scripted(|_| runjob_sandbox::kube::Script::default());
    let pod = json!({"metadata": {"name": "alone"}, "spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "x"}]}});
    assert_eq!(cluster.post(PODS, &pod).await.status, 201);
    cluster.pods(1, |pod| pod["status"]["phase"] == "Succeeded").await;
}
