//! What cannot be created, and what is asked of the API as it is.

use runjob_scenarios::{
    backend::Backend,
    check::{at, contains, log},
    jobs::{JobRequest, a_job},
    scenario::{Afterwards, Rights, Scenario, scenario, workflow},
    step::{Act, Sight, Step},
};
use serde_json::{Value, json};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("a request that cannot be is refused before anything is created", misspelt())
            .fails(
                "RunJob.InvalidParameters",
                [at("/path", "$.LogOptions.RetriveLogs"), at("/suggestion", "did you mean RetrieveLogs?")],
            )
            .leaves(Afterwards::Nothing),
        scenario("a namespace that is missing is EKS.404", a_job("x", "true").with("/Namespace", "nowhere"))
            .rights(Rights::Everywhere)
            .flags(&["--namespace", "nowhere"])
            .fails("EKS.404", [at("/StatusCode", 404), contains("/ResponseBody/message", "\"nowhere\" not found")])
            .leaves(Afterwards::Nothing),
        scenario("what the API server warns of is told by an Event on the Job", a_job("x", "true"))
            .not_on(Backend::Sandbox, "the sandbox knows no Pod Security")
            .before([Step::Do(Act::LabelNamespace("pod-security.kubernetes.io/warn", "restricted"))])
            .until(Sight::Event("AdmissionWarning"))
            .succeeds([at("/status/succeeded", 1)]),
        scenario("a service account that is not allowed is refused", a_job("x", "true"))
            .flags(&["--allow-service-account", "jobs"])
            .fails(
                "RunJob.ServiceAccountNotAllowed",
                [contains("/message", "the service account \"default\""), contains("/message", "allows jobs")],
            )
            .leaves(Afterwards::Nothing),
        scenario("a service account that is allowed will do", as_account("default"))
            .flags(&["--allow-service-account", "jobs,default"])
            .succeeds([at("/spec/template/spec/serviceAccountName", "default")]),
        scenario("what RBAC forbids is EKS.403", a_job("x", "true"))
            .not_on(Backend::Sandbox, "the sandbox knows no RBAC")
            .rights(Rights::NoCreate)
            .fails(
                "EKS.403",
                [at("/ResponseBody/reason", "Forbidden"), contains("/ResponseBody/message", "cannot create")],
            )
            .leaves(Afterwards::Nothing),
        scenario(
            "a manifest that is invalid is EKS.422",
            a_job("x", "true").with("/Job/spec/template/spec/restartPolicy", "Always"),
        )
        .fails("EKS.422", [at("/ResponseBody/reason", "Invalid")])
        .leaves(Afterwards::Nothing),
        scenario("a name that somebody else has is EKS.409", a_job("x", "true"))
            .before([Step::Do(Act::Create { resource: "batch/v1/jobs", object: a_job("x", "sleep 600").job() })])
            .essential()
            .fails(
                "EKS.409",
                [
                    at("/StatusText", "Conflict"),
                    at("/ResponseBody/reason", "AlreadyExists"),
                    at("/ResponseBody/message", "jobs.batch \"x\" already exists"),
                ],
            )
            .leaves(Afterwards::Others(1)),
        scenario("a quota that is exceeded is waited for until it is freed", a_job("x", "echo at-last"))
            .not_on(Backend::Sandbox, "the sandbox keeps no quotas")
            .before([
                Step::Do(Act::Create { resource: "resourcequotas", object: no_jobs() }),
                Step::Until(Sight::QuotaCounts),
            ])
            .until(Sight::WorkerSays("exceeded quota"))
            .then(Act::Delete("resourcequotas", "none"))
            .succeeds([log("main", "at-last\n")]),
        workflow("a call gives the API's own answer", call("GET", "/api/v1/namespaces/{namespace}/pods"), "{}")
            .succeeds([at("/StatusCode", 200), at("/ResponseBody/kind", "PodList")])
            .leaves(Afterwards::Nothing),
        workflow(
            "a call that fails is told natively",
            call("DELETE", "/apis/batch/v1/namespaces/{namespace}/jobs/none"),
            "{}",
        )
        .fails("EKS.404", [at("/ResponseBody/message", "jobs.batch \"none\" not found")])
        .leaves(Afterwards::Nothing),
    ]
}

fn as_account(name: &str) -> JobRequest {
    a_job("x", "true").with("/Job/spec/template/spec/serviceAccountName", name)
}

fn misspelt() -> JobRequest {
    a_job("x", "true").with("/LogOptions/RetriveLogs", true)
}

fn no_jobs() -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}}})
}

fn call(method: &str, path: &str) -> String {
    let task = json!({"Type": "Task", "Resource": "arn:aws:states:::eks:call", "HeartbeatSeconds": 60, "End": true,
        "Parameters": {"Method": method, "Path": path}});
    json!({"StartAt": "Call", "States": {"Call": task}}).to_string()
}
