//! `eks:call`: any request to the Kubernetes API, and the API's own answer.

use runjob_scenarios::{
    backend::Backend,
    check::{Check, absent, at, contains, counts, lacks},
    jobs::a_job,
    scenario::{Afterwards, Rights, Scenario, workflow},
    step::{Act, Sight, Step},
};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/{namespace}/configmaps";
/// Not the whole of what a result may take, but two of them are too much.
const LARGE: usize = 130_000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = answers();
    all.extend(refusals());
    all.extend(secrets());
    all
}

fn answers() -> Vec<Scenario> {
    vec![
        calls("each method does what it does", &every_method()).succeeds([
            at("/post/StatusCode", 201),
            at("/post/StatusText", "Created"),
            at("/put/ResponseBody/data", json!({"a": "2"})),
            at("/merge/ResponseBody/data", json!({"a": "2", "b": "3"})),
            at("/json/ResponseBody/data", json!({"a": "4", "b": "3"})),
            at("/get/ResponseBody/data", json!({"a": "4", "b": "3"})),
            counts("/list/ResponseBody/items", 1),
            at("/none/ResponseBody/items", json!([])),
            at("/delete/ResponseBody/status", "Success"),
        ]),
        calls("a patch may be of the types that only a real server knows", &every_patch())
            .not_on(Backend::Sandbox, "the sandbox knows neither strategic merge nor server-side apply")
            .succeeds([
                at("/strategic/ResponseBody/data", json!({"a": "1", "b": "2"})),
                at("/apply/StatusCode", 201),
                at("/apply/ResponseBody/data", json!({"c": "3"})),
                at("/yaml/ResponseBody/data", json!({"d": "4"})),
            ]),
        calls("an answer that is no JSON is a string, and one without a body is empty", &no_json())
            .rights(Rights::Everywhere)
            .succeeds([
                at("/health", json!({"ResponseBody": "ok", "StatusCode": 200, "StatusText": "OK"})),
                at("/head", json!({"ResponseBody": "", "StatusCode": 200, "StatusText": "OK"})),
            ]),
        calls("a worker of one namespace reaches no further", &no_json())
            .fails("RunJob.NamespaceNotAllowed", [contains("/message", "names no namespace")]),
        calls("an answer that is too large says so, and how to ask for less", &too_large())
            .fails("RunJob.OutputTooLarge", [at("/StatusCode", 200), contains("/hint", "limit"), absent("/applied")]),
        calls("a write whose answer is too large says that it took effect", &too_large_a_write())
            .fails("RunJob.OutputTooLarge", [at("/StatusCode", 200), at("/applied", true)]),
    ]
}

fn refusals() -> Vec<Scenario> {
    let status = |message: &str, reason: &str, details: &str, code: u16, text: &str| {
        // As the API server has it, byte for byte.
        let body = format!(
            "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\"message\":\"{message}\",\
             \"reason\":\"{reason}\",\"details\":{details},\"code\":{code}}}"
        );
        format!("{{\"ResponseBody\":{body},\"StatusCode\":{code},\"StatusText\":\"{text}\"}}")
    };
    let named = "{\"name\":\"c\",\"kind\":\"configmaps\"}";
    let not_found = status("configmaps \\\"c\\\" not found", "NotFound", named, 404, "Not Found");
    let conflict = status("configmaps \\\"c\\\" already exists", "AlreadyExists", named, 409, "Conflict");
    vec![
        calls("a call that meets nothing is EKS.404, byte for byte", &[("get", get(&a_map("/c")))])
            .fails("EKS.404", whole(&not_found)),
        calls("a call that meets a conflict is EKS.409, byte for byte", &[("post", post()), ("again", post())])
            .fails("EKS.409", whole(&conflict)),
        calls("a call with an invalid body is EKS.422", &[("post", invalid())]).fails(
            "EKS.422",
            [
                at("/StatusText", "Unprocessable Entity"),
                at("/ResponseBody/reason", "Invalid"),
                at("/ResponseBody/details/name", "No_Name"),
            ],
        ),
        calls("a call that RBAC forbids is EKS.403", &[("get", get("/api/v1/namespaces/{namespace}/secrets"))])
            .not_on(Backend::Sandbox, "the sandbox knows no RBAC")
            .fails(
                "EKS.403",
                [
                    at("/StatusText", "Forbidden"),
                    at("/ResponseBody/reason", "Forbidden"),
                    contains("/ResponseBody/message", "cannot list resource \"secrets\""),
                ],
            ),
    ]
}

fn secrets() -> Vec<Scenario> {
    let jobs = "/apis/batch/v1/namespaces/{namespace}/jobs";
    vec![
        calls(
            "a call shows no task token, neither of an object nor in a list",
            &[
                ("object", get(&format!("{jobs}/x"))),
                ("list", get(jobs)),
                ("delete", call("DELETE", &format!("{jobs}/x"))),
            ],
        )
        .before([Step::Do(Act::Create { resource: "batch/v1/jobs", object: stamped() })])
        .succeeds([
            at("/object/ResponseBody/metadata/name", "x"),
            at("/object/ResponseBody/metadata/annotations", json!({"mine": "yes"})),
            counts("/list/ResponseBody/items", 1),
            lacks("", "a-secret"),
        ]),
        calls("a call cannot forge what runjob writes on a Job", &[("patch", forged())])
            .fails("RunJob.InvalidParameters", [at("/path", "$.RequestBody"), contains("/expected", "runjob/")]),
        calls("a call cannot copy what runjob writes on a Job, not even as a dry run", &[("patch", copied())])
            .before([Step::Do(Act::Create { resource: "batch/v1/jobs", object: stamped() })])
            .until(Sight::WorkerSays("a task's input was refused"))
            .then(Act::Delete("batch/v1/jobs", "x"))
            .fails("RunJob.InvalidParameters", [at("/path", "$.RequestBody"), lacks("", "a-secret")]),
        calls(
            "a call cannot replace a Job that a task waits for",
            &[("put", with(call("PUT", &format!("{jobs}/x")), "RequestBody", plain()))],
        )
        .before([Step::Do(Act::Create { resource: "batch/v1/jobs", object: stamped() })])
        .until(Sight::WorkerSays("the task is answered"))
        .then(Act::Delete("batch/v1/jobs", "x"))
        .fails("RunJob.InvalidParameters", [contains("/message", "what runjob wrote on it")]),
        calls(
            "a call does not reach the Lease of the workers",
            &[("list", get("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"))],
        )
        .fails("RunJob.InvalidParameters", [at("/path", "$.Path")]),
    ]
}

/// A machine that makes these calls one after the other and gives all their results, each under its name.
fn calls(name: &'static str, calls: &[(&str, Value)]) -> Scenario {
    let names: Vec<&str> = calls.iter().map(|(name, _)| *name).chain(["Done"]).collect();
    let states = calls.iter().zip(names.iter().skip(1)).map(|((name, parameters), next)| {
        let mut state = json!({"Type": "Task", "Resource": "arn:aws:states:::eks:call", "HeartbeatSeconds": 60,
            "Parameters": parameters, "Next": next});
        if let Some(state) = state.as_object_mut() {
            let kept = if *name == "unread" { Value::Null } else { format!("$.{name}").into() };
            state.insert("ResultPath".to_owned(), kept);
        }
        ((*name).to_owned(), state)
    });
    let states: serde_json::Map<String, Value> =
        states.chain([("Done".to_owned(), json!({"Type": "Succeed"}))]).collect();
    let machine = json!({"StartAt": names.first(), "States": states}).to_string();
    workflow(name, machine, "{}").rights(Rights::AndConfigMaps).leaves(Afterwards::Nothing)
}

/// The cause is this text and nothing else.
fn whole(text: &str) -> [Check; 2] {
    [contains("", text), at("", serde_json::from_str::<Value>(text).unwrap_or_default())]
}

fn call(method: &str, path: &str) -> Value {
    json!({"Method": method, "Path": path})
}

fn get(path: &str) -> Value {
    call("GET", path)
}

fn a_map(name: &str) -> String {
    format!("{CONFIG_MAPS}{name}")
}

fn with(mut call: Value, field: &str, value: Value) -> Value {
    if let Some(call) = call.as_object_mut() {
        call.insert(field.to_owned(), value);
    }
    call
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"of": "calls"}}, "data": data})
}

fn post() -> Value {
    with(call("POST", CONFIG_MAPS), "RequestBody", config_map("c", &json!({"a": "1"})))
}

fn invalid() -> Value {
    with(call("POST", CONFIG_MAPS), "RequestBody", config_map("No_Name", &json!({})))
}

fn patch(body: Value) -> Value {
    with(call("PATCH", &a_map("/c")), "RequestBody", body)
}

fn every_method() -> Vec<(&'static str, Value)> {
    // A body may be text, too.
    let replacement = config_map("c", &json!({"a": "2"})).to_string();
    let select =
        |label: &str| with(get(CONFIG_MAPS), "QueryParameters", json!({"labelSelector": [label], "limit": ["5"]}));
    vec![
        ("post", post()),
        ("put", with(call("PUT", &a_map("/c")), "RequestBody", replacement.into())),
        ("merge", patch(json!({"data": {"b": "3"}}))),
        ("json", patch(json!([{"op": "replace", "path": "/data/a", "value": "4"}]))),
        ("get", get(&a_map("/c"))),
        ("list", select("of=calls")),
        ("none", select("of in (others)")),
        ("delete", call("DELETE", &a_map("/c"))),
    ]
}

fn every_patch() -> Vec<(&'static str, Value)> {
    let typed = |call: Value, media_type: &str| with(call, "ContentType", json!(media_type));
    let apply = |name: &str, body: Value| {
        let call = with(call("PATCH", &a_map(name)), "QueryParameters", json!({"fieldManager": ["calls"]}));
        with(typed(call, "application/apply-patch+yaml"), "RequestBody", body)
    };
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: e\ndata:\n  d: \"4\"\n";
    vec![
        ("post", post()),
        ("strategic", typed(patch(json!({"data": {"b": "2"}})), "application/strategic-merge-patch+json")),
        ("apply", apply("/d", config_map("d", &json!({"c": "3"})))),
        ("yaml", apply("/e", json!(yaml))),
    ]
}

fn no_json() -> Vec<(&'static str, Value)> {
    vec![("health", get("/healthz")), ("head", call("HEAD", "/healthz"))]
}

fn large(name: &str) -> Value {
    with(call("POST", CONFIG_MAPS), "RequestBody", config_map(name, &json!({"a": "x".repeat(LARGE)})))
}

fn too_large() -> Vec<(&'static str, Value)> {
    vec![("one", large("one")), ("unread", large("two")), ("list", get(CONFIG_MAPS))]
}

fn too_large_a_write() -> Vec<(&'static str, Value)> {
    vec![("unread", large("c")), ("patch", patch(json!({"data": {"b": "y".repeat(LARGE)}})))]
}

/// As another worker's would look.
fn stamped() -> Value {
    let annotations = json!({"mine": "yes", "runjob/task-token": "a-secret"});
    a_job("x", "true").with("/Job/spec/suspend", true).with("/Job/metadata/annotations", annotations).job()
}

fn forged() -> Value {
    patch(json!({"metadata": {"annotations": {"runjob/owner": "me"}}}))
}

/// The API server would quote the token: it is too long for a label.
fn copied() -> Value {
    let copy = json!([{"op": "copy", "from": "/metadata/annotations", "path": "/metadata/labels"}]);
    let call = call("PATCH", "/apis/batch/v1/namespaces/{namespace}/jobs/x");
    with(with(call, "QueryParameters", json!({"dryRun": ["All"]})), "RequestBody", copy)
}

fn plain() -> Value {
    a_job("x", "true").with("/Job/spec/suspend", true).job()
}
