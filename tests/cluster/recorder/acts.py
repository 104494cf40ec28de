"""What is done to the cluster for a case, before its Job exists or while it runs: each a function of the stage.

What is done outside of the stage's namespace is taken back by the stage, last things first.
"""

import base64
import datetime
import http.server
import json
import ssl
import threading

from recorder.sights import is_ready, node_is_lost, runs

NODES = "/api/v1/nodes"
NODE = f"{NODES}/localhost"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
NEW_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}


def nothing(_):
    pass


# ---- pods are taken away ----


def delete_pod(stage):
    [pod] = stage.until(runs)["pods"]
    stage.delete(stage.own("pods"), pod["metadata"]["name"])


def evict_pod(stage):
    [pod] = stage.until(runs)["pods"]
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    stage.api.ask("POST", f"{stage.own('pods')}/{name}/eviction", eviction)


def make_priorities(stage):
    for name, value in (("record-low", -1000), ("record-high", 1000)):
        priority = {"metadata": {"name": name}, "value": value}
        stage.create_beside("/apis/scheduling.k8s.io/v1/priorityclasses", priority)


def preempt(stage):
    """Somebody more important wants a processor. The node has two."""
    stage.until(runs)
    main = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "1100m"}}}
    pod = {"metadata": {"name": "winner"}, "spec": {"containers": [main], "priorityClassName": "record-high"}}
    stage.create("pods", pod)


# ---- pods are refused ----


def until_quota_counts(stage):
    quota = stage.own("resourcequotas") + "/few"
    stage.wait("the quota counts", lambda: "hard" in stage.api.ask("GET", quota).get("status", {}))


def only_in(stage):
    return {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}


def webhook_at(port):
    """Pods are shown to a webhook at that port of this machine."""

    def webhook(stage):
        authority = (stage.directory / "certs/apiserver.crt").read_bytes()
        client = {"url": f"https://127.0.0.1:{port}/pods", "caBundle": base64.b64encode(authority).decode()}
        hook = {"name": "pods.example.com", "clientConfig": client, "rules": [NEW_PODS], "namespaceSelector": only_in(stage)}
        hook |= {"failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 3}
        hooks = {"metadata": {"name": f"record-{stage.namespace}"}, "webhooks": [hook]}
        stage.create_beside(f"{ADMISSION}/validatingwebhookconfigurations", hooks)

    return webhook


class Refusal(http.server.BaseHTTPRequestHandler):
    """A webhook that refuses everything."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response = {"uid": asked["request"]["uid"], "allowed": False, "status": {"message": "the label team is missing"}}
        content = json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": response}).encode()
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
    # The API server's own certificate is one for this address.
    tls.load_cert_chain(stage.directory / "certs/apiserver.crt", stage.directory / "certs/apiserver.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stage.taken_back.append(server.shutdown)
    webhook_at(server.server_address[1])(stage)


def refusing_policy(stage):
    name = f"record-{stage.namespace}"
    label = "has(object.metadata.labels) && 'team' in object.metadata.labels"
    rule = {"expression": label, "message": "the label team is missing"}
    pods = {"resourceRules": [NEW_PODS], "namespaceSelector": only_in(stage)}
    policy = {"metadata": {"name": name}, "spec": {"matchConstraints": pods, "validations": [rule]}}
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    stage.create_beside(f"{ADMISSION}/validatingadmissionpolicies", policy)
    stage.create_beside(f"{ADMISSION}/validatingadmissionpolicybindings", binding)
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    stage.wait("the policy is heeded", lambda: stage.is_refused("POST", stage.own("pods") + "?dryRun=All", pod))


# ---- the node ----


def taint(stage):
    stage.taken_back.append(lambda: stage.change(NODE, {"spec": {"taints": None}}))
    stage.change(NODE, {"spec": {"taints": [{"key": "dedicated", "value": "database", "effect": "NoSchedule"}]}})


def cordon(stage):
    stage.taken_back.append(lambda: stage.change(NODE, {"spec": {"unschedulable": None}}))
    stage.change(NODE, {"spec": {"unschedulable": True}})


def lose_node(stage):
    stage.until(is_ready)
    stage.taken_back.append(lambda: stage.cluster("up"))
    stage.cluster("kill", "kubelet")


def delete_node(stage):
    lose_node(stage)
    stage.until(node_is_lost)
    stage.delete(NODES, "localhost")


def keep_another_node(stage):
    """While no node at all is alive, Kubernetes takes no pods from any: it would rather believe that the network is broken."""
    stage.create_beside(NODES, {"metadata": {"name": "another"}, "spec": {"unschedulable": True}})
    ended = threading.Event()

    def beat():
        while not ended.wait(3):
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True", "reason": "Alive", "message": "", "lastHeartbeatTime": now}
            stage.change(f"{NODES}/another/status", {"status": {"conditions": [ready]}})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    stage.taken_back.append(lambda: (ended.set(), thread.join()))
