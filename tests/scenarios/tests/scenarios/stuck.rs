//! Jobs that do not get going, and what somebody has to do about it.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::{at, contains, log},
    jobs::{JobRequest, SCRATCH, a_job},
    scenario::{Afterwards, Scenario, scenario},
    step::{Act, Sight, Step},
};
use serde_json::{Value, json};

/// Why the sandbox is spared some of it.
const NO_ADMISSION: &str = "the sandbox's Kubernetes refuses no pods";
const NO_VOLUMES: &str = "the sandbox mounts nothing";
const ANY_IMAGE: &str = "the sandbox has a program for an image or does not know it";
const ANY_SIZE: &str = "the sandbox's node has room for everything";
const NO_NODE: &str = "the sandbox's node is the test itself";

/// What is said when a Job is found stuck.
const STUCK: &str = "the Job is stuck";

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = images();
    all.extend(references());
    all.extend(pods_that_are_refused());
    all.extend(nodes());
    all.extend(sidecars());
    all.extend(patience());
    all
}

/// A Job that is failed within seconds, and deleted with its pods.
fn stuck(name: &'static str, job: JobRequest) -> Scenario {
    scenario(name, job).flags(&["--stuck-grace", "3s"]).leaves(Afterwards::Nothing)
}

fn images() -> Vec<Scenario> {
    vec![
        stuck("an image that is not there fails the task, and its Job goes", with_image("no-such-image:v1"))
            .essential()
            .until(Sight::Event("Stuck"))
            .fails(
                "Job.ImagePullFailed",
                [
                    contains("/diagnosis/summary", "container main"),
                    contains("/diagnosis/summary", "no-such-image:v1"),
                    contains("/diagnosis/summary", "not found"),
                    at("/diagnosis/code", "Job.ImagePullFailed"),
                    at("/diagnosis/retryable", false),
                    at("/job/metadata/name", "x"),
                ],
            ),
        stuck("an image that nobody may pull fails the task", with_image("private/app:v1"))
            .not_on(Backend::Sandbox, ANY_IMAGE)
            .fails(
                "Job.ImagePullFailed",
                [contains("/diagnosis/summary", "private/app:v1"), contains("/diagnosis/summary", "401")],
            ),
        stuck("a name that cannot be an image's fails the task", with_image("Company/Report:v1"))
            .not_on(Backend::Sandbox, ANY_IMAGE)
            .fails(
                "Job.InvalidImageName",
                [contains("/diagnosis/summary", "Company/Report:v1"), at("/diagnosis/retryable", false)],
            ),
    ]
}

fn with_image(image: &str) -> JobRequest {
    a_job("x", "true").with_main("image", image)
}

fn references() -> Vec<Scenario> {
    vec![
        stuck("a ConfigMap that is missing is named", wants_settings())
            .fails("Job.ConfigMissing", [contains("/diagnosis/summary", "configmap \"settings\" not found")]),
        stuck("a ConfigMap that a volume misses is named", with_volume("configMap", &json!({"name": "settings"})))
            .not_on(Backend::Sandbox, NO_VOLUMES)
            .fails("Job.ConfigMissing", [contains("/diagnosis/summary", "configmap \"settings\" not found")]),
        stuck("a Secret that is missing is named", wants_password())
            .fails("Job.ConfigMissing", [contains("/diagnosis/summary", "secret \"login\" not found")]),
        stuck("a key that a Secret lacks is named", wants_password())
            .before([Step::Do(Act::Create { resource: "secrets", object: login() })])
            .fails(
                "Job.ConfigMissing",
                [contains("/diagnosis/summary", "password"), contains("/diagnosis/summary", "login")],
            ),
        stuck(
            "a volume that cannot be mounted is told",
            with_volume("hostPath", &json!({"path": "/no/such/directory", "type": "Directory"})),
        )
        .not_on(Backend::Sandbox, NO_VOLUMES)
        .fails("Job.VolumeNotMounted", [contains("/diagnosis/summary", "/no/such/directory")]),
    ]
}

fn wants_settings() -> JobRequest {
    a_job("x", "echo $colour").with_main("envFrom", json!([{"configMapRef": {"name": "settings"}}]))
}

fn with_volume(kind: &str, source: &Value) -> JobRequest {
    a_job("x", "true")
        .with_pod("volumes", json!([{"name": "files", kind: source}]))
        .with_main("volumeMounts", json!([{"name": "files", "mountPath": "/files"}]))
}

fn settings() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "blue"}})
}

fn wants_password() -> JobRequest {
    let key = json!({"secretKeyRef": {"name": "login", "key": "password"}});
    a_job("x", "true").with_main("env", json!([{"name": "PASSWORD", "valueFrom": key}]))
}

fn login() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "data": {"user": "c29tZWJvZHk="}})
}

fn pods_that_are_refused() -> Vec<Scenario> {
    let refused = |name, job| stuck(name, job).not_on(Backend::Sandbox, NO_ADMISSION);
    vec![
        refused(
            "a service account that is missing is named",
            a_job("x", "true").with_pod("serviceAccountName", "reporter"),
        )
        .fails(
            "Job.NoPods",
            [contains("/diagnosis/summary", "\"reporter\" not found"), at("/diagnosis/retryable", false)],
        ),
        refused("a quota that lets no pod in is named", a_job("x", "true"))
            .before([
                Step::Do(Act::Create { resource: "resourcequotas", object: no_pods() }),
                Step::Until(Sight::QuotaCounts),
            ])
            .fails(
                "Job.NoPods",
                [contains("/diagnosis/summary", "exceeded quota: few"), at("/diagnosis/retryable", true)],
            ),
        refused("what Pod Security forbids is told", a_job("x", "true"))
            .before([Step::Do(Act::LabelNamespace("pod-security.kubernetes.io/enforce", "restricted"))])
            .fails(
                "Job.NoPods",
                [
                    contains("/diagnosis/summary", "PodSecurity \"restricted"),
                    contains("/diagnosis/summary", "allowPrivilegeEscalation"),
                ],
            ),
    ]
}

fn no_pods() -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}})
}

fn nodes() -> Vec<Scenario> {
    vec![
        stuck(
            "why no node suits a pod is told in the scheduler's words",
            a_job("x", "true").with_pod("nodeSelector", json!({"disk": "fast"})),
        )
        .fails(
            "Job.Unschedulable",
            [
                contains("/diagnosis/summary", "0/1 nodes are available"),
                contains("/diagnosis/summary", "didn't match Pod's node affinity/selector"),
                at("/diagnosis/retryable", true),
            ],
        ),
        stuck(
            "a pod that is too large for every node is told",
            a_job("x", "true").with_main("resources", json!({"requests": {"memory": "1Ti"}})),
        )
        .not_on(Backend::Sandbox, ANY_SIZE)
        .fails("Job.Unschedulable", [contains("/diagnosis/summary", "Insufficient memory")]),
        // The node is given up after 50 seconds. Until it is back nobody ends its containers, and so the Job stays.
        stuck("a Job whose node has stopped fails the task", a_job("x", "sleep 600"))
            .not_on(Backend::Sandbox, NO_NODE)
            .alone()
            .until(Sight::JobRuns)
            .then(Act::Cluster(&["kill", "kubelet"]))
            .until(Sight::WorkerSays(STUCK))
            .then(Act::Cluster(&["up"]))
            .fails("Job.NodeLost", [contains("/diagnosis/summary", "node"), at("/diagnosis/retryable", true)]),
    ]
}

fn sidecars() -> Vec<Scenario> {
    vec![
        // Nobody knows whether it is a sidecar: an injected one would be, and no cluster here injects any.
        stuck("a second container that runs longer is told of, and waited for", slow_second())
            .until(Sight::Event("Stuck"))
            .then(Act::OpenGate)
            .succeeds([log("main", "done\n"), log("second", "done, too\n")])
            .leaves(Afterwards::Settled(1)),
        stuck("a native sidecar ends with the work", with_native_sidecar())
            .succeeds([log("main", "done\n")])
            .leaves(Afterwards::Settled(1)),
        // It is restarted for ever, and no limit of the Job counts that.
        stuck("a native sidecar that never gets well fails the task", with_native_sidecar_that_never_starts())
            .until(Sight::Event("Stuck"))
            .fails(
                "Job.CrashLoop",
                [
                    contains("/diagnosis/summary", "native sidecar proxy"),
                    contains("/diagnosis/events", "Startup probe failed"),
                ],
            ),
    ]
}

fn slow_second() -> JobRequest {
    // Istio puts it on every pod, whatever the other containers are.
    let annotations = json!({"annotations": {"kubectl.kubernetes.io/default-container": "main"}});
    a_job("x", "echo done")
        .with("/Job/spec/template/metadata", annotations)
        .and_container("second", &format!("until [ -e {SCRATCH}/go ]; do sleep 0.1; done; echo done, too"))
        .with_scratch()
}

fn with_native_sidecar() -> JobRequest {
    a_job("x", "sleep 6; echo done")
        .and_init_container("proxy", "trap 'exit 0' TERM; sleep 600 & wait")
        .with_pod("initContainers/0/restartPolicy", "Always")
}

fn with_native_sidecar_that_never_starts() -> JobRequest {
    let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    with_native_sidecar().with_pod("initContainers/0/startupProbe", probe)
}

fn patience() -> Vec<Scenario> {
    vec![
        stuck("a Job that is to be waited for is only told of", wants_settings().with("/OnStuck", "wait"))
            .until(Sight::Event("Stuck"))
            .until(Sight::WorkerSays(STUCK))
            .then(Act::Create { resource: "configmaps", object: settings() })
            .succeeds([log("main", "blue\n")])
            .leaves(Afterwards::Settled(1)),
        scenario("what is missing may come within the grace", wants_settings())
            .until(Sight::Event("Failed"))
            .then(Act::Create { resource: "configmaps", object: settings() })
            .succeeds([log("main", "blue\n")]),
        // Twice the grace, and it is not stuck.
        stuck("a suspended Job is not stuck", a_job("x", "echo late").with("/Job/spec/suspend", true))
            .until(Sight::JobIs("Suspended"))
            .then(Act::Pass(Duration::from_secs(6)))
            .then(Act::Merge { resource: "batch/v1/jobs", name: "x", patch: json!({"spec": {"suspend": false}}) })
            .succeeds([log("main", "late\n")])
            .leaves(Afterwards::Settled(1)),
    ]
}
