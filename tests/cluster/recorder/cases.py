"""The cases that `record` records: each a Job, what is done about it, and the sight at which it is recorded.

A Job is recorded as a diagnosis sees it: a stuck one when its symptom shows; one that fails with its pods of the moment in which
it is about to fail (`FailureTarget`), since Kubernetes may delete them before it is `Failed`.
"""

import dataclasses
from collections.abc import Callable

from recorder import acts
from recorder.sights import (
    both, event, exists, fails, has_pod, is_between_retries, is_complete, is_looked_at, is_ready, is_suspended, is_taken_away,
    is_unschedulable, lacks_config, node_is_lost, proxy_runs_on, runs, runs_again, waits_for,
)


@dataclasses.dataclass
class Case:
    name: str
    job: dict
    sight: Callable
    before: list = dataclasses.field(default_factory=list)  # objects that are there: (resource, object)
    prepare: Callable = acts.nothing  # what else is done before the Job exists
    meanwhile: Callable = acts.nothing  # what is done when it exists
    labels: dict = dataclasses.field(default_factory=dict)  # of the namespace
    alone: bool = False  # it takes away what others need


CASES = []
# The name of each Job.
JOB = "report"


def case(*args, **others):
    CASES.append(Case(*args, **others))


def container(name, script, **more):
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


def job(script="sleep 600", *others, spec=None, pod=None, labels=None, **more):
    """A Job of a container `main` and perhaps others. `more` is of `main`, `pod` of the pod's spec, `spec` of the Job's."""
    # No token is mounted, which nothing here is about.
    template = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 3, "automountServiceAccountToken": False}
    template |= {"containers": [container("main", script, **more), *others], **(pod or {})}
    spec = {"backoffLimit": 0, "template": {"spec": template}, **(spec or {})}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": JOB, "labels": labels or {}}, "spec": spec}


def wants(**resources):
    return {"resources": {"requests": resources}}


def limit(**resources):
    return {"resources": {"limits": resources}}


def init(script, **more):
    return {"initContainers": [container("prepare", script, **more)]}


ON_FAILURE = {"restartPolicy": "OnFailure"}
RETRIES = {"backoffLimit": 6}

# ---- the program ends by itself ----


def dies_by(signal):
    """A child of the shell: the kernel keeps such signals from process 1. Of `$$` Kubernetes leaves one `$`."""
    return f"sh -c 'kill -{signal} $$$$'; exit $?"


case("exit-code", job("echo working; exit 3"), fails)
case("exit-code-with-message", job("echo 'no such table: sales' > /dev/termination-log; exit 3"), fails)
case("exit-code-on-failure", job("exit 3", pod=ON_FAILURE, spec={"backoffLimit": 1}), fails)
case("exit-code-after-retries", job("exit 3", spec={"backoffLimit": 1}), fails)
case("init-container-fails", job(pod=init("exit 4")), fails)
case("second-container-fails", job("true", container("second", "exit 5")), fails)
case("sigsegv", job(dies_by("SEGV")), fails)
case("sigkill-by-itself", job(dies_by("KILL")), fails)
case("sigterm-by-itself", job(dies_by("TERM")), fails)
case("out-of-memory", job("tail /dev/zero", **limit(memory="16Mi")), fails)
case("out-of-memory-on-failure", job("tail /dev/zero", pod=ON_FAILURE, **limit(memory="16Mi")), fails)
case("out-of-memory-of-a-child", job("tail /dev/zero; echo went on; exit 1", **limit(memory="16Mi")), fails)
case("shell-does-not-find-command", job("no-such-program"), fails)
case("shell-may-not-execute", job("/etc"), fails)
case("command-not-found", job(command=["no-such-program"]), fails)
looping = waits_for("CrashLoopBackOff")
case("command-not-found-on-failure", job(command=["no-such-program"], pod=ON_FAILURE, spec=RETRIES), looping)
case("working-directory-is-a-file", job("true", workingDir="/bin/sh"), fails)

# ---- Kubernetes ends it ----

slow_to_end = "trap 'echo got-term; sleep 1; exit 3' TERM; while :; do sleep 0.1; done"
case("deadline", job(slow_to_end, spec={"activeDeadlineSeconds": 5}), fails)
case("deadline-without-handler", job(spec={"activeDeadlineSeconds": 5}), fails)
case("deadline-of-the-pod", job(pod={"activeDeadlineSeconds": 5}), fails)
case("deadline-while-image-is-pulled", job(image="no-such-image", spec={"activeDeadlineSeconds": 5}), fails)
probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
case("liveness-probe-fails", job(livenessProbe=probe), fails)

ignore_disruption = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
fail_at_42 = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}}
policy = {"podFailurePolicy": {"rules": [ignore_disruption, fail_at_42]}}
case("pod-failure-policy", job("exit 42", spec={"backoffLimit": 3, **policy}), fails)
indexed = {"completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": None}
three = {"completions": 3, "parallelism": 3}
case("failed-indexes", job("exit $JOB_COMPLETION_INDEX", spec={**indexed, **three}), fails)
case("max-failed-indexes", job("exit 7", spec={**indexed, "completions": 6, "parallelism": 2, "maxFailedIndexes": 1}), fails)

case("pod-deleted", job(), fails, meanwhile=acts.delete_pod)
case("evicted-by-api", job(), fails, meanwhile=acts.evict_pod)
unimportant = job(pod={"priorityClassName": "record-low"}, **wants(cpu="1100m"))
case("preempted", unimportant, fails, prepare=acts.make_priorities, meanwhile=acts.preempt, alone=True)

# ---- the image ----

for state, suffix in (("ErrImagePull", ""), ("ImagePullBackOff", "-back-off")):
    case(f"image-not-found{suffix}", job(image="no-such-image:v1"), waits_for(state))
    case(f"image-unauthorised{suffix}", job(image="private/app:v1"), waits_for(state))
    case(f"image-host-unknown{suffix}", job(image="nosuch.invalid/x:v1"), waits_for(state))
    case(f"image-registry-unreachable{suffix}", job(image="127.0.0.1:9/x:v1"), waits_for(state))
case("image-name-invalid", job(image="Company/Report:v1"), waits_for("InvalidImageName"))
case("image-never-pulled", job(image="no-such-image:v1", imagePullPolicy="Never"), waits_for("ErrImageNeverPull"))
back_off = waits_for("ImagePullBackOff")
case("image-of-init-container-not-found", job(pod=init("true", image="no-such-image")), back_off)
secrets = {"imagePullSecrets": [{"name": "registry-login"}]}
case("image-pull-secret-missing", job(image="private/app:v1", pod=secrets), back_off)

# ---- what the pod refers to ----


def job_with(**volume):
    mounts = [{"name": "files", "mountPath": "/files"}]
    return job(pod={"volumes": [{"name": "files", **volume}]}, volumeMounts=mounts)


def key(name):
    return {"items": [{"key": name, "path": name}]}


def variable(source, name, key):
    return {"env": [{"name": "VALUE", "valueFrom": {source: {"name": name, "key": key}}}]}


not_mounted = event("FailedMount")
settings = [("configmaps", {"metadata": {"name": "settings"}, "data": {"colour": "blue"}})]
size = variable("configMapKeyRef", "settings", "size")
case("configmap-volume-missing", job_with(configMap={"name": "settings"}), not_mounted)
case("configmap-volume-key-missing", job_with(configMap={"name": "settings", **key("size")}), not_mounted, settings)
case("configmap-env-from-missing", job(envFrom=[{"configMapRef": {"name": "settings"}}]), lacks_config)
case("configmap-env-missing", job(**size), lacks_config)
case("configmap-env-key-missing", job(**size), lacks_config, settings)
login = [("secrets", {"metadata": {"name": "login"}, "stringData": {"user": "somebody"}})]
password = variable("secretKeyRef", "login", "password")
case("secret-volume-missing", job_with(secret={"secretName": "login"}), not_mounted)
case("secret-volume-key-missing", job_with(secret={"secretName": "login", **key("password")}), not_mounted, login)
case("secret-env-from-missing", job(envFrom=[{"secretRef": {"name": "login"}}]), lacks_config)
case("secret-env-missing", job(**password), lacks_config)
case("secret-env-key-missing", job(**password), lacks_config, login)
case("host-path-missing", job_with(hostPath={"path": "/no/such/directory", "type": "Directory"}), not_mounted)
case("must-not-run-as-root", job(securityContext={"runAsNonRoot": True}), lacks_config)

# ---- no pod is made ----


def quota(**hard):
    return [("resourcequotas", {"metadata": {"name": "few"}, "spec": {"hard": hard}})]


def pod_security(level):
    return {"pod-security.kubernetes.io/enforce": level}


refused = event("FailedCreate")
half = quota(**{"limits.memory": "512Mi"})
case("service-account-missing", job(pod={"serviceAccountName": "reporter"}), refused)
case("quota-exceeded", job(), refused, quota(pods="0"), prepare=acts.until_quota_counts)
case("quota-of-memory-exceeded", job(**limit(memory="1Gi")), refused, half, prepare=acts.until_quota_counts)
case("quota-wants-limits", job(), refused, half, prepare=acts.until_quota_counts)
largest = {"metadata": {"name": "largest"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}}
case("limit-range-exceeded", job(**limit(memory="1Gi")), refused, [("limitranges", largest)])
case("pod-security-restricted", job(), refused, labels=pod_security("restricted"))
case("pod-security-baseline", job(securityContext={"privileged": True}), refused, labels=pod_security("baseline"))
case("priority-class-missing", job(pod={"priorityClassName": "urgent"}), refused)
case("runtime-class-missing", job(pod={"runtimeClassName": "gvisor"}), refused)
case("webhook-unreachable", job(), refused, prepare=acts.webhook_at(9))
case("webhook-refuses", job(), refused, prepare=acts.refusing_webhook)
case("policy-refuses", job(), refused, prepare=acts.refusing_policy)

# ---- no node takes it ----

case("too-much-memory", job(**wants(memory="1Ti")), is_unschedulable)
case("too-much-cpu", job(**wants(cpu="1000")), is_unschedulable)
case("too-many-gpus", job(**limit(**{"nvidia.com/gpu": "1"})), is_unschedulable)
case("no-such-node", job(pod={"nodeSelector": {"disk": "fast"}}), is_unschedulable)
volume = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
claim = [("persistentvolumeclaims", {"metadata": {"name": "data"}, "spec": volume})]
case("claim-missing", job_with(persistentVolumeClaim={"claimName": "data"}), is_unschedulable)
case("claim-unbound", job_with(persistentVolumeClaim={"claimName": "data"}), is_unschedulable, claim)
case("scheduler-missing", job(pod={"schedulerName": "another"}), has_pod)
case("node-tainted", job(), is_unschedulable, prepare=acts.taint, alone=True)
case("node-cordoned", job(), is_unschedulable, prepare=acts.cordon, alone=True)

# ---- the node does not admit it ----

case("rejected-for-cpu", job(pod={"nodeName": "localhost"}, **wants(cpu="4k")), fails)
sysctl = {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}}
case("rejected-for-sysctl", job(pod=sysctl), fails)

# ---- the node is lost ----

states = ("unreachable", "not-ready")
rules = [{"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute"} for state in states]
soon = {"tolerations": [rule | {"tolerationSeconds": 3} for rule in rules]}
case("node-unreachable", job(), node_is_lost, meanwhile=acts.lose_node, alone=True)
# Nobody is there to end its pod: it is about to fail until the node is back, or given up.
lost = {"prepare": acts.keep_another_node, "meanwhile": acts.lose_node}
case("node-lost", job(pod=soon), is_taken_away, **lost, alone=True)
case("node-deleted", job(), fails, meanwhile=acts.delete_node, alone=True)

# ---- main has ended, another container has not ----

case("sidecar-running", job("true", container("proxy", "sleep 600")), proxy_runs_on)
case("sidecar-running-after-failure", job("exit 3", container("proxy", "sleep 600")), proxy_runs_on)
native = {"initContainers": [container("proxy", "trap 'exit 0' TERM; sleep 600 & wait", restartPolicy="Always")]}
case("native-sidecar-running", job(pod=native), is_ready)
case("native-sidecar-ended", job("true", pod=native), is_complete)


def sidecar(script, **probe):
    """A native one, and what its startup probe is."""
    return {"initContainers": [container("proxy", script, restartPolicy="Always", startupProbe=probe)]}


# It is gone before its probe is asked: otherwise the kubelet might see it run, and start the others.
case("sidecar-crashes", job(pod=sidecar("exit 1", exec={"command": ["true"]}, initialDelaySeconds=30)), looping)
never = {"exec": {"command": ["false"]}, "periodSeconds": 2, "failureThreshold": 2}
case("sidecar-never-starts", job(pod=sidecar("trap 'exit 0' TERM; sleep 600 & wait", **never)), runs_again)

# ---- nothing is wrong ----

case("running", job(), is_ready)
case("running-not-ready", job(readinessProbe=probe), both(runs, event("Unhealthy")))
case("container-creating", job(), waits_for("ContainerCreating"))
case("pod-initializing", job(pod=init("sleep 600")), both(runs, waits_for("PodInitializing")))
case("complete", job("echo done"), is_complete)
case("between-retries", job("exit 3", spec=RETRIES), is_between_retries)
case("crash-loop", job("exit 3", pod=ON_FAILURE, spec=RETRIES), looping)
case("init-crash-loop", job(pod={**ON_FAILURE, **init("exit 4")}, spec=RETRIES), looping)
case("suspended", job(spec={"suspend": True}), is_suspended)
# Kueue is not there, which would tell of itself in events: its mark on a Job is.
kueue = {"kueue.x-k8s.io/queue-name": "batch"}
case("suspended-by-kueue", job(spec={"suspend": True}, labels=kueue), is_suspended)
case("managed-by-another", job(spec={"managedBy": "kueue.x-k8s.io/multikueue"}), exists)
case("no-parallelism", job(spec={"parallelism": 0}), is_looked_at)
