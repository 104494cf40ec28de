"""Checks the Helm chart and the Kustomize overlays as far as that goes without a cluster."""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

import render

KUBERNETES = "1.34"
RELEASE, NAMESPACE = "runjob", "runjob"
TESTS = render.INFRA / "helm/tests"
OVERLAYS = render.INFRA / "kustomize"
DOCS = render.INFRA.parent / "docs"
ALERTS = render.CHART / "files/alerts.yaml"
# The settings that are no flags: they are described where they are read.
NO_FLAGS = {"RUNJOB_LOG": "worker/src/telemetry.rs"}

results = {True: 0, False: 0}


class Wrong(Exception):
    """What a check is about does not hold."""


def check(name, function, *arguments):
    """Runs a check, and prints what came of it. The others still run."""
    try:
        function(*arguments)
    except Wrong as wrong:
        results[False] += 1
        print(f"FAILED  {name}\n        " + str(wrong).strip().replace("\n", "\n        "))
        return
    results[True] += 1
    print(f"ok      {name}")


def equal(found, expected, what):
    if found != expected:
        raise Wrong(f"{what}: found {found}, expected {expected}")


def run(*command):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Wrong(f"{' '.join(map(str, command))}:\n{done.stdout}")
    return done.stdout


def template(values):
    try:
        return render.template(RELEASE, NAMESPACE, "--values", str(values))
    except subprocess.CalledProcessError as error:
        raise Wrong(error.stderr) from error


def objects(text):
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(found, *kinds):
    return [one for one in found if one["kind"] in kinds]


def the(found, kind):
    ones = of_kind(found, kind)
    equal(len(ones), 1, f"objects of kind {kind}")
    return ones[0]


# What is rendered, whatever it is rendered from.

def valid(found):
    """Each object is one that Kubernetes takes, unknown fields and all. What has no schema is an error."""
    if not found:
        raise Wrong("nothing was rendered")
    for one in found:
        name = f"{one['kind']} {one['metadata']['name']}"
        own = render.INFRA / f"manifests/crds/{one['kind']}.json"
        try:
            if own.exists():
                jsonschema.validate(one, json.loads(own.read_text()))
            else:
                kubernetes_validate.validate(one, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            where = "/".join(map(str, getattr(error, "path", ())))
            raise Wrong(f"{name}: {where}: {getattr(error, 'message', error)}") from error


def restricted(found):
    """The pods pass Pod Security "restricted": https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    spec = the(found, "Deployment")["spec"]["template"]["spec"]
    pod = spec["securityContext"]
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        equal(spec.get(field, False), False, field)
    kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
    unknown = kinds - {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    equal(unknown, set(), "kinds of volumes that are not allowed")
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        name = container["name"]
        equal(own.get("privileged", False), False, f"{name}: privileged")
        equal(own.get("allowPrivilegeEscalation"), False, f"{name}: allowPrivilegeEscalation")
        equal(own.get("runAsNonRoot", pod.get("runAsNonRoot")), True, f"{name}: runAsNonRoot")
        equal(own.get("runAsUser", pod.get("runAsUser", 1)) != 0, True, f"{name}: another user than root")
        equal(own.get("seccompProfile", pod.get("seccompProfile", {})).get("type"), "RuntimeDefault", f"{name}: seccompProfile")
        equal(own.get("capabilities", {}).get("drop"), ["ALL"], f"{name}: capabilities.drop")
        equal(own["capabilities"].get("add", []), [], f"{name}: capabilities.add")
    worker = next(container for container in spec["containers"] if container["name"] == "worker")
    equal(worker["securityContext"].get("readOnlyRootFilesystem"), True, "readOnlyRootFilesystem")
    equal("cpu" in worker["resources"].get("limits", {}), False, "a limit of CPU")


def hangs_together(found):
    """Selectors select the pods, accounts and Roles are those that there are, and names of ConfigMaps of ours exist."""
    deployment = the(found, "Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in of_kind(found, "PodDisruptionBudget", "PodMonitor")]
    selectors += [one["spec"]["podSelector"]["matchLabels"] for one in of_kind(found, "NetworkPolicy")]
    selectors += [one["labelSelector"]["matchLabels"] for one in pod["spec"]["topologySpreadConstraints"]]
    for selector in selectors:
        equal(selector.items() <= labels, True, f"{selector} selects the pods")
        equal(selector.get("app.kubernetes.io/instance"), RELEASE, f"{selector}: what tells releases apart")
    account = pod["spec"]["serviceAccountName"]
    for one in of_kind(found, "ServiceAccount"):
        equal(one["metadata"]["name"], account, "the ServiceAccount")
    roles = {(one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")) for one in of_kind(found, "Role", "ClusterRole")}
    bound = set()
    for one in of_kind(found, "RoleBinding", "ClusterRoleBinding"):
        expected = [{"kind": "ServiceAccount", "name": account, "namespace": deployment["metadata"]["namespace"]}]
        equal(one["subjects"], expected, f"subjects of {one['metadata']['name']}")
        bound.add((one["roleRef"]["kind"], one["roleRef"]["name"], one["metadata"].get("namespace")))
    equal(bound, roles, "Roles that are bound")
    made = {one["metadata"]["name"] for one in of_kind(found, "ConfigMap")}
    for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
        for source in container.get("envFrom", ()):
            name = source["configMapRef"]["name"]
            # `runjob-HASH` comes from an overlay, any other name is somebody else's.
            if name.startswith("runjob") and name not in made:
                raise Wrong(f"envFrom of {container['name']}: there is no ConfigMap {name}")


def environment(found):
    containers = the(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == "worker")["env"]


def rights_fit(found, values):
    """The worker is told of the namespaces that it has rights in, and of no others; its Leases are those that it will look for."""
    told = {one["name"]: one.get("value", NAMESPACE) for one in environment(found)}
    if "valueFrom" in next((one for one in environment(found) if one["name"] == "RUNJOB_NAMESPACE"), {}):
        told["RUNJOB_NAMESPACE"] = NAMESPACE
    if "RUNJOB_CLUSTERS" in told:
        file = yaml.safe_load(the(found, "ConfigMap")["data"]["clusters.yaml"])
        for one in file.values():
            if one.get("inCluster"):
                accounts_fit(one.get("serviceAccounts"), one.get("namespaces"))
        given = {name: {**file[name], **one} for name, one in values["clusters"].items()}
        equal(file, given, "the file of clusters")
        scopes = [one.get("namespaces", []) for one in file.values() if one.get("inCluster")]
    else:
        scopes = [told["RUNJOB_NAMESPACE"].split(",") if "RUNJOB_NAMESPACE" in told else []]
        accounts_fit(told.get("RUNJOB_ALLOW_SERVICE_ACCOUNT"), scopes[0])
    everywhere = [] in scopes
    pod = the(found, "Deployment")["spec"]["template"]["spec"]
    equal(pod["automountServiceAccountToken"], bool(scopes), "automountServiceAccountToken")
    if values.get("rbac", {}).get("create", True):
        jobs = [one for one in of_kind(found, "Role", "ClusterRole") if any("jobs" in rule["resources"] for rule in one["rules"])]
        equal(any(one["kind"] == "ClusterRole" for one in jobs), everywhere, "a ClusterRole")
        namespaces = {one["metadata"]["namespace"] for one in jobs if one["kind"] == "Role"}
        equal(namespaces, set() if everywhere else {name for scope in scopes for name in scope}, "namespaces with a Role")
    if values.get("lease", {}).get("create", True):
        arn = values["activityArns"][0].split(":")
        group = values.get("group") or f"{arn[4]}.{arn[3]}"
        expected = {lease_name(group, scope) for scope in scopes}
        equal({one["metadata"]["name"] for one in of_kind(found, "Lease")}, expected, "Leases")
        allowed = {
            name
            for one in of_kind(found, "Role")
            for rule in one["rules"] if "leases" in rule["resources"] and "update" in rule["verbs"]
            for name in rule["resourceNames"]
        }
        equal(allowed, expected, "Leases that may be updated")


def accounts_fit(accounts, namespaces):
    """Where Jobs run beside the worker, they do not run as any service account, so not as the worker's own."""
    if not namespaces or NAMESPACE in namespaces:
        equal(bool(accounts), True, "service accounts are limited")


def lease_name(group, namespaces):
    """As worker/core/src/names.rs has it."""
    label = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    if not namespaces and re.fullmatch(rf"{label}(\.{label})*", f"runjob-{group}"):
        return f"runjob-{group}"
    digest = hashlib.sha256("/".join([group, *sorted(set(namespaces))]).encode()).digest()
    suffix = base64.b32hexencode(digest).decode().lower()[:10]
    return f"runjob-{re.sub('[^a-z0-9]', '-', group.lower())}-{suffix}"


# The chart, and what is said of it.

def beside_defaults(values):
    """What the chart makes of these values beside those of values/defaults.yaml."""
    merged = yaml.safe_load((TESTS / "values/defaults.yaml").read_text())
    if values.get("clusters") or values.get("clusterWide"):
        del merged["namespaces"]
    for key, value in values.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(merged, file)
        file.flush()
        return objects(template(file.name))


def refused(case):
    try:
        beside_defaults(case["values"])
    except Wrong as wrong:
        equal(case["message"] in str(wrong), True, f"\"{case['message']}\" in the message: {wrong}")
        return
    raise Wrong("it was taken")


def examples_are_taken():
    """What docs/helm.md shows as values are such ones."""
    examples = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "helm.md").read_text(), re.M | re.S)
    if len(examples) < 5:
        raise Wrong("docs/helm.md has no examples that could be read")
    for example in examples:
        valid(beside_defaults(yaml.safe_load(example)))


def leaves(schema, path=()):
    """The paths of the values that a schema knows: down to what a template takes as a whole."""
    for name, part in schema.get("properties", {}).items():
        if part.get("properties") and name != "resources":
            yield from leaves(part, (*path, name))
        else:
            yield ".".join((*path, name))


def one_set_of_values():
    """Schema, defaults, comments and templates know the same values."""
    known = set(leaves(json.loads((render.CHART / "values.schema.json").read_text()))) - {"global"}
    values = yaml.safe_load((render.CHART / "values.yaml").read_text())
    templates = "".join(file.read_text() for file in (render.CHART / "templates").iterdir())
    used = set(re.findall(r"[$.][Vv]alues\.([A-Za-z]+(?:\.[A-Za-z]+)*)", templates))
    # By a list of names.
    used |= {name for names in re.findall(r"range \$field := list ([^-]*) -", templates) for name in re.findall(r'"(\w+)"', names)}
    equal(known - used, set(), "values that no template uses")
    prefixes = {path[: end.start()] for path in known for end in re.finditer(r"\.|$", path)}
    equal(used - prefixes, set(), "values that the schema does not know")
    commented = {path for path, _, _ in render.documented()}
    for path in sorted(known):
        part = values
        for name in path.split("."):
            if name not in part:
                raise Wrong(f"{path}: the schema knows it, values.yaml does not")
            part = part[name]
        if not any(path == one or one.startswith(path + ".") for one in commented):
            raise Wrong(f"{path}: no comment in values.yaml says what it is")


def contract():
    """{variable: (flag, default)} of docs/contract.md."""
    rows = re.findall(r"^\| `(--[a-z-]+)[^|]*\| `(RUNJOB_[A-Z_]+)` \| ([^|]*) \|", (DOCS / "contract.md").read_text(), re.M)
    if len(rows) < 10:
        raise Wrong("docs/contract.md has no table of flags that could be read")
    return {variable: (flag, default.strip("`")) for flag, variable, default in rows}


def variables_exist():
    known = contract()
    used = set()
    for values in (TESTS / "values").iterdir():
        used |= {one["name"] for one in environment(objects(template(values))) if one["name"].startswith("RUNJOB_")}
    for name in sorted(used - known.keys()):
        if name not in NO_FLAGS or name not in (render.INFRA.parent / NO_FLAGS[name]).read_text():
            raise Wrong(f"{name}: docs/contract.md has no such variable")
    templates = (render.CHART / "templates/_environment.tpl").read_text()
    never = {name for name in re.findall(r'"(RUNJOB_[A-Z_]+)"', templates)} - used
    equal(never, set(), "variables that no values of helm/tests/values bring about")
    for overlay in sorted((OVERLAYS / "overlays").iterdir()):
        for one in of_kind(kustomized(overlay), "ConfigMap"):
            unknown = {name for name in one["data"] if name.startswith("RUNJOB_")} - known.keys()
            equal(unknown, set(), f"variables of {overlay.name} that docs/contract.md does not have")


def defaults_agree():
    """The chart writes its defaults out: they are those of the worker."""
    told = {one["name"]: one.get("value") for one in environment(objects(template(TESTS / "values/defaults.yaml")))}
    for name, (_, default) in contract().items():
        if re.fullmatch(r"[0-9]+(/s|[smh])?", default) and name in told:
            equal(told[name], default.removesuffix("/s"), name)


def rbac_is_documented():
    """The Roles grant what docs/usage.md says, and nothing else."""
    verbs = "create|get|list|watch|patch|delete|update"
    text = (DOCS / "usage.md").read_text()
    said = {}
    for resource, listed in re.findall(rf"`([a-z/]+)`(?: of\s+`[a-z.0-9]+`)?[\s|]+((?:{verbs})(?:,\s+(?:{verbs}))*)\b", text):
        equal(resource in said, False, f"docs/usage.md names {resource} twice")
        said[resource] = set(re.split(r",\s+", listed))
    granted = {}
    for role in of_kind(objects(template(TESTS / "values/defaults.yaml")), "Role"):
        for rule in role["rules"]:
            for resource in rule["resources"]:
                granted.setdefault(resource, set()).update(rule["verbs"])
    equal(granted, said, "rights")


# Alerts.

def alerts():
    return {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}


def rules_are_rules(spec):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(spec, file)
        file.flush()
        run("promtool", "check", "rules", file.name)


def same_rules():
    """With default values the PrometheusRule is the file."""
    found = the(beside_defaults({"prometheusRule": {"enabled": True}}), "PrometheusRule")
    equal(found["spec"], yaml.safe_load(ALERTS.read_text()), "the rules")


def alerts_are_tested():
    fires, rests = set(), set()
    for test in yaml.safe_load((TESTS / "alerts_test.yaml").read_text())["tests"]:
        for one in test["alert_rule_test"]:
            (fires if one["exp_alerts"] else rests).add(one["alertname"])
    equal(fires, set(alerts()), "alerts that a test sees firing")
    equal(rests, set(alerts()), "alerts that a test sees not firing")


def alerts_are_documented():
    """An alert is about metrics that there are, and each metric to alert on has one."""
    text = (DOCS / "operations.md").read_text()
    advice, metrics = text.split("## What to alert on")[1].split("## Metrics")
    exist = set(re.findall(r"^\| `(runjob_[a-z_]+)`", metrics.split("## Bounds")[0], re.M))
    advised = set(re.findall(r"`[^`]*?(runjob_[a-z_]+)[^`]*`", advice))
    used = set()
    for name, rule in alerts().items():
        of_rule = set(re.findall(r"runjob_[a-z_]+", rule["expr"]))
        equal(of_rule - exist, set(), f"{name}: metrics that docs/operations.md does not have")
        used |= of_rule
        equal(set(rule["annotations"]), {"summary", "description", "runbook_url"}, f"{name}: annotations")
        equal(rule["labels"]["severity"] in ("critical", "warning", "info"), True, f"{name}: a severity")
        file, anchor = rule["annotations"]["runbook_url"].split("#")
        headings = re.findall(r"^#+ (.*)$", (DOCS.parent / file).read_text(), re.M)
        equal(anchor in {re.sub("[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}, True, f"{name}: {anchor} in {file}")
    equal(advised - used, set(), "metrics to alert on without an alert")


# Kustomize.

def kustomized(directory):
    return objects(run(os.environ["KUBECTL"], "kustomize", directory))


def overlay_is_whole(directory):
    """Valid, restricted, and nothing of it is only a placeholder. With other namespaces as well."""
    found = kustomized(directory)
    valid(found)
    restricted(found)
    hangs_together(found)
    for container in the(found, "Deployment")["spec"]["template"]["spec"]["containers"]:
        equal("/" in container["image"], True, f"{container['image']} is an image of a registry")
    configured = the([one for one in found if one["kind"] == "ConfigMap" and "AWS_REGION" in one["data"]], "ConfigMap")["data"]
    own = {one["name"] for one in environment(found)}
    equal(own & configured.keys(), set(), "variables of the ConfigMap that those of the container hide")
    rights_fit(found, {"lease": {"create": False}})
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(OVERLAYS, copy, dirs_exist_ok=True)
        own = pathlib.Path(copy, "overlays", directory.name)
        changed = own / "kustomization.yaml"
        text = changed.read_text()
        for old, new in (("namespace: runjob\n", "namespace: other\n"), ("namespace=batch\n", "namespace=elsewhere\n")):
            equal(text.count(old), 1, old)
            text = text.replace(old, new)
        changed.write_text(text)
        moved = kustomized(own)
    hangs_together(moved)
    rights_fit(moved, {"lease": {"create": False}})
    of_jobs = {one["metadata"]["namespace"] for one in moved if any("jobs" in rule["resources"] for rule in one.get("rules", ()))}
    equal(of_jobs, {"elsewhere"}, "the namespace of Jobs")
    equal({one["metadata"]["namespace"] for one in moved}, {"other", "elsewhere"}, "namespaces")


def main():
    for values in sorted((TESTS / "values").iterdir()):
        name = values.stem
        check(f"helm lint --strict: {name}", run, "helm", "lint", "--strict", "--quiet", render.CHART, "--namespace", NAMESPACE, "--values", values)
        found, text = [], None
        try:
            text = template(values)
            found = objects(text)
        except Wrong:
            pass  # The next check says so.
        check(f"valid in Kubernetes {KUBERNETES}: {name}", valid, found)
        if not found:
            continue
        check(f"Pod Security restricted: {name}", restricted, found)
        check(f"names and selectors: {name}", hangs_together, found)
        check(f"rights, namespaces and Leases: {name}", rights_fit, found, yaml.safe_load(values.read_text()))
        for rule in of_kind(found, "PrometheusRule"):
            check(f"promtool check rules: {name}", rules_are_rules, rule["spec"])
    for case in yaml.safe_load((TESTS / "refused.yaml").read_text()):
        check(f"refused: {json.dumps(case['values'])}", refused, case)
    check("values: schema, defaults, comments, templates", one_set_of_values)
    check("examples of docs/helm.md", examples_are_taken)
    check("variables are those of docs/contract.md", variables_exist)
    check("defaults are those of docs/contract.md", defaults_agree)
    check("rights are those of docs/usage.md", rbac_is_documented)
    check("promtool check rules: files/alerts.yaml", run, "promtool", "check", "rules", ALERTS)
    check("promtool test rules", run, "promtool", "test", "rules", TESTS / "alerts_test.yaml")
    check("alerts: each is tested, both ways", alerts_are_tested)
    check("alerts: metrics and advice are those of docs/operations.md", alerts_are_documented)
    check("alerts: the PrometheusRule is the file", same_rules)
    check("infra/render --check", run, render.INFRA / "render", "--check")
    check(f"valid in Kubernetes {KUBERNETES}: the base", lambda: valid(kustomized(OVERLAYS / "base")))
    for overlay in sorted((OVERLAYS / "overlays").iterdir()):
        check(f"kubectl kustomize: {overlay.name}", overlay_is_whole, overlay)
    print(f"\n{results[True]} passed, {results[False]} failed")
    sys.exit(bool(results[False]))


if __name__ == "__main__":
    main()
