"""The cases that `record` records: each a Job, what it needs beforehand, what happens meanwhile, and the sight to record.

A Job is recorded as a diagnosis sees it: a stuck one when its symptom shows, a failed one with its pods of the moment in which
it is about to fail (`FailureTarget`), since Kubernetes may delete them before it is `Failed`.
"""

import dataclasses
import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Callable


def nothing(_):
    pass


@dataclasses.dataclass
class Case:
    name: str
    job: dict
    happens: Callable  # what is seen -> whether that is to be recorded
    before: list = dataclasses.field(default_factory=list)  # (resource, object)
    prepare: Callable = nothing  # what else to do before the Job exists
    meanwhile: Callable = nothing  # what to do when it exists
    labels: dict = dataclasses.field(default_factory=dict)  # of the namespace
    alone: bool = False  # it takes away what others need


CASES = []


def case(*args, **others):
    CASES.append(Case(*args, **others))


# ---- Jobs ----

# The name of each.
JOB = "report"


def container(name, script, **more):
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


def job(script="sleep 600", *others, spec=None, pod=None, **more):
    """A Job of a container `main` and perhaps others. `more` goes into `main`, `pod` into the pod's spec, `spec` into the Job's."""
    # No token is mounted, which nothing here is about.
    template = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 3, "automountServiceAccountToken": False}
    template |= {"containers": [container("main", script, **more), *others], **(pod or {})}
    spec = {"backoffLimit": 0, "template": {"spec": template}, **(spec or {})}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": JOB}, "spec": spec}


def labelled(job, labels):
    return job | {"metadata": job["metadata"] | {"labels": labels}}


def indexed(script, **spec):
    return job(script, spec={"completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": None, **spec})


def asking_for(**resources):
    return {"requests": resources}


def limited_to(**resources):
    return {"limits": resources}


def on_failure(**more):
    return {"restartPolicy": "OnFailure", **more}


# ---- sights ----


def conditions_of(item):
    return {one["type"]: one for one in item.get("status", {}).get("conditions", []) if one["status"] == "True"}


def statuses(seen):
    for pod in seen["pods"]:
        for kind in ("initContainerStatuses", "containerStatuses"):
            yield from pod["status"].get(kind, [])


def fails(seen):
    return {"FailureTarget", "Failed"} & conditions_of(seen["job"]).keys()


def has_failed(seen):
    return "Failed" in conditions_of(seen["job"])


def is_complete(seen):
    return "Complete" in conditions_of(seen["job"])


def runs(seen):
    return any("running" in status["state"] for status in statuses(seen))


def is_ready(seen):
    return seen["job"].get("status", {}).get("ready") == 1


def exists(seen):
    return "metadata" in seen["job"]


def is_suspended(seen):
    return "Suspended" in conditions_of(seen["job"])


def one_retried(seen):
    status = seen["job"].get("status", {})
    return status.get("failed") == 1 and not status.get("active")


def waits_for(reason):
    def container_waits(seen):
        return any(status["state"].get("waiting", {}).get("reason") == reason for status in statuses(seen))

    return container_waits


def lacks_config(seen):
    """And the kubelet is sure: at first it may only say that it has not looked yet."""
    waiting = [status["state"].get("waiting", {}) for status in statuses(seen)]
    return any(one.get("reason") == "CreateContainerConfigError" and "timed out" not in one["message"] for one in waiting)


def is_unschedulable(seen):
    conditions = [one for pod in seen["pods"] for one in pod["status"].get("conditions", [])]
    return any(one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable" for one in conditions)


def event(reason):
    def event_is_there(seen):
        return any(event["reason"] == reason for event in seen["events"])

    return event_is_there


def both(one, other):
    return lambda seen: one(seen) and other(seen)


def ended_but(name):
    """The container `main` has ended, that one runs on."""

    def main_has_ended(seen):
        states = {status["name"]: status["state"] for status in statuses(seen)}
        return "terminated" in states.get("main", {}) and "running" in states.get(name, {})

    return main_has_ended


def node_is_lost(seen):
    return not is_ready(seen) and any(pod["status"].get("phase") == "Running" and "Ready" not in conditions_of(pod) for pod in seen["pods"])


def taken_away(seen):
    return fails(seen) and any("DisruptionTarget" in conditions_of(pod) for pod in seen["pods"])


# ---- the program ends by itself ----

<<<<<<< HEAD
=======

def dies_by(signal):
    """A child of the shell: the kernel keeps signals of its own from process 1. Of `$$` Kubernetes leaves a single `$`."""
    return f"sh -c 'kill -{signal} $$$$'; exit $?"


>>>>>>> fixtures
case("exit-code", job("echo working; exit 3"), fails)
case("exit-code-with-message", job("echo 'no such table: sales' > /dev/termination-log; exit 3"), fails)
case("exit-code-on-failure", job("exit 3", pod=on_failure(), spec={"backoffLimit": 1}), fails)
case("exit-code-after-retries", job("exit 3", spec={"backoffLimit": 1}), fails)
case("init-container-fails", job(pod={"initContainers": [container("prepare", "exit 4")]}), fails)
case("second-container-fails", job("true", container("second", "exit 5")), fails)
<<<<<<< HEAD
case("sigsegv", job("sh -c 'kill -SEGV $$'; exit $?"), fails)
case("sigkill-by-itself", job("sh -c 'kill -KILL $$'; exit $?"), fails)
case("sigterm-by-itself", job("sh -c 'kill -TERM $$'; exit $?"), fails)
=======
case("sigsegv", job(dies_by("SEGV")), fails)
case("sigkill-by-itself", job(dies_by("KILL")), fails)
case("sigterm-by-itself", job(dies_by("TERM")), fails)
>>>>>>> fixtures
case("out-of-memory", job("tail /dev/zero", resources=limited_to(memory="16Mi")), fails)
case("out-of-memory-on-failure", job("tail /dev/zero", resources=limited_to(memory="16Mi"), pod=on_failure()), fails)
case("out-of-memory-of-a-child", job("tail /dev/zero; echo went on; exit 1", resources=limited_to(memory="16Mi")), fails)
case("shell-does-not-find-command", job("no-such-program"), fails)
case("shell-may-not-execute", job("/etc"), fails)
case("command-not-found", job(command=["no-such-program"]), fails)
case("command-not-found-on-failure", job(command=["no-such-program"], pod=on_failure(), spec={"backoffLimit": 6}), waits_for("CrashLoopBackOff"))
case("working-directory-is-a-file", job("true", workingDir="/bin/sh"), fails)

# ---- Kubernetes ends it ----

TERM = "trap 'echo got-term; sleep 1; exit 3' TERM; while :; do sleep 0.1; done"
case("deadline", job(TERM, spec={"activeDeadlineSeconds": 5}), fails)
case("deadline-without-handler", job("sleep 600", spec={"activeDeadlineSeconds": 5}), fails)
case("deadline-of-the-pod", job("sleep 600", pod={"activeDeadlineSeconds": 5}), fails)
case("deadline-while-image-is-pulled", job(image="no-such-image", spec={"activeDeadlineSeconds": 5}), fails)
PROBE = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
case("liveness-probe-fails", job("sleep 600", livenessProbe=PROBE), fails)


def rule(**match):
    return {"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}, {"action": "FailJob", **match}]}}


of_42 = rule(onExitCodes={"containerName": "main", "operator": "In", "values": [42]})
case("pod-failure-policy", job("exit 42", spec={"backoffLimit": 3, **of_42}), fails)
case("failed-indexes", indexed("exit $JOB_COMPLETION_INDEX", completions=3, parallelism=3), fails)
case("max-failed-indexes", indexed("exit 7", completions=6, parallelism=2, maxFailedIndexes=1), fails)


def delete_pod(stage):
    [pod] = stage.until(runs)["pods"]
    stage.delete(stage.own("pods"), pod["metadata"]["name"])


def evict_pod(stage):
    [pod] = stage.until(runs)["pods"]
    name = pod["metadata"]["name"]
<<<<<<< HEAD
    stage.create(f"pods/{name}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
=======
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    stage.api.ask("POST", f"{stage.own('pods')}/{name}/eviction", eviction)
>>>>>>> fixtures


case("pod-deleted", job(), fails, meanwhile=delete_pod)
case("evicted-by-api", job(), fails, meanwhile=evict_pod)


def priorities(stage):
    for name, value in (("record-low", -1000), ("record-high", 1000)):
        body = {"metadata": {"name": name}, "value": value}
        stage.create_beside("/apis/scheduling.k8s.io/v1/priorityclasses", body)


def preempt(stage):
    stage.until(runs)
    winner = {"containers": [container("main", "sleep 600", resources=asking_for(cpu="1100m"))], "priorityClassName": "record-high"}
    stage.create("pods", {"metadata": {"name": "more-important"}, "spec": winner})


low = {"priorityClassName": "record-low"}
case("preempted", job(resources=asking_for(cpu="1100m"), pod=low), fails, prepare=priorities, meanwhile=preempt, alone=True)

# ---- the image ----

for state in ("ErrImagePull", "ImagePullBackOff"):
    suffix = "" if state == "ErrImagePull" else "-back-off"
    case(f"image-not-found{suffix}", job(image="no-such-image:v1"), waits_for(state))
    case(f"image-unauthorised{suffix}", job(image="private/app:v1"), waits_for(state))
    case(f"image-host-unknown{suffix}", job(image="nosuch.invalid/x:v1"), waits_for(state))
    case(f"image-registry-unreachable{suffix}", job(image="127.0.0.1:9/x:v1"), waits_for(state))
case("image-name-invalid", job(image="Company/Report:v1"), waits_for("InvalidImageName"))
case("image-never-pulled", job(image="no-such-image:v1", imagePullPolicy="Never"), waits_for("ErrImageNeverPull"))
case("image-of-init-container-not-found", job(pod={"initContainers": [container("prepare", "true", image="no-such-image")]}), waits_for("ImagePullBackOff"))
case("image-pull-secret-missing", job(image="private/app:v1", pod={"imagePullSecrets": [{"name": "registry-login"}]}), waits_for("ImagePullBackOff"))

# ---- what the pod refers to ----

SETTINGS = [("configmaps", {"metadata": {"name": "settings"}, "data": {"colour": "blue"}})]
LOGIN = [("secrets", {"metadata": {"name": "login"}, "stringData": {"user": "somebody"}})]


def mounts(**volume):
    return {"volumes": [{"name": "files", **volume}]}


def job_with_volume(**volume):
    return job(pod=mounts(**volume), volumeMounts=[{"name": "files", "mountPath": "/files"}])


def one_key(source, name, key):
    return [{"name": "VALUE", "valueFrom": {source: {"name": name, "key": key}}}]


CONFIG_ERROR = lacks_config
items = [{"key": "size", "path": "size"}]
case("configmap-volume-missing", job_with_volume(configMap={"name": "settings"}), event("FailedMount"))
case("configmap-volume-key-missing", job_with_volume(configMap={"name": "settings", "items": items}), event("FailedMount"), SETTINGS)
case("configmap-env-from-missing", job(envFrom=[{"configMapRef": {"name": "settings"}}]), CONFIG_ERROR)
case("configmap-env-missing", job(env=one_key("configMapKeyRef", "settings", "size")), CONFIG_ERROR)
case("configmap-env-key-missing", job(env=one_key("configMapKeyRef", "settings", "size")), CONFIG_ERROR, SETTINGS)
case("secret-volume-missing", job_with_volume(secret={"secretName": "login"}), event("FailedMount"))
case("secret-volume-key-missing", job_with_volume(secret={"secretName": "login", "items": [{"key": "password", "path": "password"}]}), event("FailedMount"), LOGIN)
case("secret-env-from-missing", job(envFrom=[{"secretRef": {"name": "login"}}]), CONFIG_ERROR)
case("secret-env-missing", job(env=one_key("secretKeyRef", "login", "password")), CONFIG_ERROR)
case("secret-env-key-missing", job(env=one_key("secretKeyRef", "login", "password")), CONFIG_ERROR, LOGIN)
case("host-path-missing", job_with_volume(hostPath={"path": "/no/such/directory", "type": "Directory"}), event("FailedMount"))
case("must-not-run-as-root", job(securityContext={"runAsNonRoot": True}), CONFIG_ERROR)

# ---- no pod is made ----

NO_POD = event("FailedCreate")


def quota_counts(stage):
    path = stage.own("resourcequotas") + "/few"
    while "hard" not in stage.api.ask("GET", path).get("status", {}):
        pass


def quota(**hard):
    return [("resourcequotas", {"metadata": {"name": "few"}, "spec": {"hard": {name.replace("_", "."): value for name, value in hard.items()}}})]


HOOKS = "/apis/admissionregistration.k8s.io/v1"
PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}


def only_in(stage):
    return {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}


def webhook_at(stage, port):
    client = {"url": f"https://127.0.0.1:{port}/pods"}
    client["caBundle"] = b64((stage.directory / "certs/apiserver.crt").read_bytes())
    hook = {"name": "pods.example.com", "clientConfig": client, "rules": [PODS], "namespaceSelector": only_in(stage)}
    hook |= {"failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 3}
    body = {"metadata": {"name": f"record-{stage.namespace}"}, "webhooks": [hook]}
    stage.create_beside(f"{HOOKS}/validatingwebhookconfigurations", body)


def b64(data):
    import base64

    return base64.b64encode(data).decode()


class Refusal(http.server.BaseHTTPRequestHandler):
    """A webhook that refuses everything."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"uid": asked["request"]["uid"], "allowed": False, "status": {"message": "the label team is missing"}}
        content = json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def refusing_webhook(stage):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The API server's own certificate is for this address, too.
    tls.load_cert_chain(stage.directory / "certs/apiserver.crt", stage.directory / "certs/apiserver.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stage.taken_back.append(server.shutdown)
    webhook_at(stage, server.server_address[1])


def refusing_policy(stage):
    rule = {"expression": "has(object.metadata.labels) && 'team' in object.metadata.labels", "message": "the label team is missing"}
    resources = {"resourceRules": [PODS], "namespaceSelector": only_in(stage)}
    name = f"record-{stage.namespace}"
    policy = {"metadata": {"name": name}, "spec": {"matchConstraints": resources, "validations": [rule]}}
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    stage.create_beside(f"{HOOKS}/validatingadmissionpolicies", policy)
    stage.create_beside(f"{HOOKS}/validatingadmissionpolicybindings", binding)
    # It takes the API server a moment to heed a policy.
    probe = {"metadata": {"name": "probe"}, "spec": {"containers": [container("main", "true")]}}
    while True:
        try:
            stage.api.ask("POST", stage.own("pods") + "?dryRun=All", probe)
        except Exception:
            return


case("service-account-missing", job(pod={"serviceAccountName": "reporter"}), NO_POD)
case("quota-exceeded", job(), NO_POD, quota(pods="0"), prepare=quota_counts)
case("quota-of-memory-exceeded", job(resources=limited_to(memory="1Gi")), NO_POD, quota(limits_memory="512Mi"), prepare=quota_counts)
case("quota-wants-limits", job(), NO_POD, quota(limits_memory="512Mi"), prepare=quota_counts)
largest = {"metadata": {"name": "largest"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}}
case("limit-range-exceeded", job(resources=limited_to(memory="1Gi")), NO_POD, [("limitranges", largest)])
case("pod-security-restricted", job(), NO_POD, labels={"pod-security.kubernetes.io/enforce": "restricted"})
case("pod-security-baseline", job(securityContext={"privileged": True}), NO_POD, labels={"pod-security.kubernetes.io/enforce": "baseline"})
case("priority-class-missing", job(pod={"priorityClassName": "urgent"}), NO_POD)
case("runtime-class-missing", job(pod={"runtimeClassName": "gvisor"}), NO_POD)
case("webhook-unreachable", job(), NO_POD, prepare=lambda stage: webhook_at(stage, 9))
case("webhook-refuses", job(), NO_POD, prepare=refusing_webhook)
case("policy-refuses", job(), NO_POD, prepare=refusing_policy)

# ---- no node takes it ----

UNSCHEDULABLE = is_unschedulable
case("too-much-memory", job(resources=asking_for(memory="1Ti")), UNSCHEDULABLE)
case("too-much-cpu", job(resources=asking_for(cpu="1000")), UNSCHEDULABLE)
case("too-many-gpus", job(resources=limited_to(**{"nvidia.com/gpu": "1"})), UNSCHEDULABLE)
case("no-such-node", job(pod={"nodeSelector": {"disk": "fast"}}), UNSCHEDULABLE)
case("claim-missing", job_with_volume(persistentVolumeClaim={"claimName": "data"}), UNSCHEDULABLE)
claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
case("claim-unbound", job_with_volume(persistentVolumeClaim={"claimName": "data"}), UNSCHEDULABLE, [("persistentvolumeclaims", claim)])
case("scheduler-missing", job(pod={"schedulerName": "other-scheduler"}), lambda seen: seen["pods"])

NODE = "/api/v1/nodes/localhost"


def taint(stage):
    stage.taken_back.append(lambda: stage.change(NODE, {"spec": {"taints": None}}))
    stage.change(NODE, {"spec": {"taints": [{"key": "dedicated", "value": "database", "effect": "NoSchedule"}]}})


def cordon(stage):
    stage.taken_back.append(lambda: stage.change(NODE, {"spec": {"unschedulable": None}}))
    stage.change(NODE, {"spec": {"unschedulable": True}})


case("node-tainted", job(), UNSCHEDULABLE, prepare=taint, alone=True)
case("node-cordoned", job(), UNSCHEDULABLE, prepare=cordon, alone=True)

# ---- the node is lost ----


def lose_node(stage):
    stage.until(is_ready)
    stage.taken_back.append(lambda: stage.cluster("up"))
    stage.cluster("kill", "kubelet")


def keep_another_node(stage):
    """While no node is alive at all, Kubernetes takes no pods from any: it rather mistrusts its own network."""
    nodes, ended = "/api/v1/nodes", threading.Event()
    stage.create_beside(nodes, {"metadata": {"name": "another"}, "spec": {"unschedulable": True}})

    def beat():
        while not ended.wait(3):
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True", "reason": "Alive", "message": "", "lastHeartbeatTime": now}
            stage.change(f"{nodes}/another/status", {"status": {"conditions": [ready]}})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    stage.taken_back.append(lambda: (ended.set(), thread.join()))


def delete_node(stage):
    lose_node(stage)
    stage.until(node_is_lost)
    stage.delete("/api/v1/nodes", "localhost")


SOON = [{"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3} for state in ("unreachable", "not-ready")]
case("node-unreachable", job(), node_is_lost, meanwhile=lose_node, alone=True)
# Nobody ends its pod: it is about to fail until the node is back or given up.
case("node-lost", job(pod={"tolerations": SOON}), taken_away, prepare=keep_another_node, meanwhile=lose_node, alone=True)
case("node-deleted", job(), fails, meanwhile=delete_node, alone=True)

# ---- main has ended, another container has not ----

case("sidecar-running", job("true", container("proxy", "sleep 600")), ended_but("proxy"))
case("sidecar-running-after-failure", job("exit 3", container("proxy", "sleep 600")), ended_but("proxy"))
native = container("proxy", "trap 'exit 0' TERM; sleep 600 & wait", restartPolicy="Always")
case("native-sidecar-running", job(pod={"initContainers": [native]}), is_ready)
case("native-sidecar-ended", job("true", pod={"initContainers": [native]}), is_complete)

# ---- nothing is wrong ----

case("running", job(), is_ready)
case("running-not-ready", job(readinessProbe=PROBE), both(runs, event("Unhealthy")))
case("container-creating", job(), waits_for("ContainerCreating"))
case("pod-initializing", job(pod={"initContainers": [container("prepare", "sleep 600")]}), both(runs, waits_for("PodInitializing")))
case("complete", job("echo done"), is_complete)
case("between-retries", job("exit 3", spec={"backoffLimit": 3}), one_retried)
case("crash-loop", job("exit 3", pod=on_failure(), spec={"backoffLimit": 6}), waits_for("CrashLoopBackOff"))
case("init-crash-loop", job(pod=on_failure(initContainers=[container("prepare", "exit 4")]), spec={"backoffLimit": 6}), waits_for("CrashLoopBackOff"))
case("suspended", job(spec={"suspend": True}), is_suspended)
# Kueue is not there, which would tell of itself in events: its mark on a Job is.
case("suspended-by-kueue", labelled(job(spec={"suspend": True}), {"kueue.x-k8s.io/queue-name": "batch"}), is_suspended)
case("managed-by-another", job(spec={"managedBy": "kueue.x-k8s.io/multikueue"}), exists)
case("no-parallelism", job(spec={"parallelism": 0}), lambda seen: "status" in seen["job"] and exists(seen))
