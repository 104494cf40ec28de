"""The checks of infra/check-aws, which says how it is called."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

INFRA = os.path.normpath(f"{os.path.dirname(os.path.abspath(__file__))}/..")
ROOT = os.path.dirname(INFRA)
TEMPLATE = f"{INFRA}/sam/template.yaml"
# Which role of the template has which policies of infra/iam, and is trusted as which file there says.
ROLES = {
    "WorkerRole": (["worker"], None),
    "FunctionRole": (["function-handing-over", "function-vpc"], "function"),
    "ScheduleRole": (["schedule"], "schedule"),
    "MachineRole": (["machine-function"], "machine"),
}
# For these IAM knows no resource.
WITHOUT_RESOURCE = {"states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"} | {
    f"ec2:{action}" for action in ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface",
                                   "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses")}
# The runtime provided.al2023.
GLIBC = (2, 34)


class Template(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def _function(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Template.add_multi_constructor("!", _function)


def run(*command):
    """What is wrong: what the command prints, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return [(done.stdout + done.stderr).strip() or f"{command[0]} failed"] if done.returncode else []


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def policy(name):
    return json.loads(read(f"{INFRA}/iam/{name}.json"))


def listed(value):
    return value if isinstance(value, list) else [value]


def essence(statement):
    """What of a statement has to be the same, whatever its ARNs are."""
    resources = listed(statement.get("Resource", []))
    return json.dumps({
        "sid": statement.get("Sid"), "effect": statement["Effect"], "actions": sorted(listed(statement["Action"])),
        "everything": resources == ["*"], "principal": statement.get("Principal"),
        "conditions": sorted((kind, key) for kind, keys in statement.get("Condition", {}).items() for key in keys),
    }, sort_keys=True)


def chosen(value):
    """An If, as it is when its condition holds."""
    return value["Fn::If"][1] if isinstance(value, dict) and "Fn::If" in value else value


def the_template_is_linted():
    return run("cfn-lint", "--non-zero-exit-code", "informational", TEMPLATE)


def the_template_has_the_policies_of_iam():
    resources = yaml.load(read(TEMPLATE), Template)["Resources"]  # noqa: S506 (a SafeLoader)
    roles = {name for name, resource in resources.items() if resource["Type"] == "AWS::IAM::Role"}
    wrong = [f"nothing says what {name} should be" for name in roles - ROLES.keys()]
    for name, (policies, trust) in ROLES.items():
        role = resources[name]["Properties"]
        attached = [chosen(one)["PolicyDocument"] for one in role["Policies"]]
        has = sorted(essence(one) for document in attached for one in document["Statement"])
        should = sorted(essence(one) for policy_name in policies for one in policy(policy_name)["Statement"])
        if has != should:
            wrong.append(f"{name} has\n{has}, and infra/iam says\n{should}")
        if trust:
            trusted = [essence(one) for one in role["AssumeRolePolicyDocument"]["Statement"]]
            if trusted != [essence(one) for one in policy(f"trust/{trust}")["Statement"]]:
                wrong.append(f"{name} is trusted otherwise than infra/iam/trust/{trust}.json says")
    # One of these two is text in the template, for keys that are parameters.
    irsa, pod_identity = resources["WorkerRole"]["Properties"]["AssumeRolePolicyDocument"]["Fn::If"][1:]
    if [essence(one) for one in pod_identity["Statement"]] != [essence(one) for one in policy("trust/pod-identity")["Statement"]]:
        wrong.append("WorkerRole is trusted otherwise than infra/iam/trust/pod-identity.json says")
    filled = irsa["Fn::Sub"].replace("${OidcProvider}", "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF")
    for place, value in (("AWS::Partition", "aws"), ("AWS::AccountId", "123456789012"), ("AWS::URLSuffix", "amazonaws.com"),
                         ("WorkerNamespace", "runjob"), ("WorkerServiceAccount", "runjob")):
        filled = filled.replace(f"${{{place}}}", value)
    if json.loads(filled) != policy("trust/irsa"):
        wrong.append("WorkerRole is trusted otherwise than infra/iam/trust/irsa.json says")
    return wrong


def statements():
    """Of all policies: (file, statement)."""
    for path in sorted(glob.glob(f"{INFRA}/iam/**/*.json", recursive=True)):
        for statement in json.loads(read(path))["Statement"]:
            yield os.path.relpath(path, ROOT), statement


def no_action_is_a_wildcard():
    return [f"{path}: {action}" for path, statement in statements() for action in listed(statement["Action"]) if "*" in action]


def no_resource_is_everything_without_a_reason():
    return [f"{path}: {action} is allowed on everything" for path, statement in statements() if listed(statement.get("Resource", "")) == ["*"]
            for action in listed(statement["Action"]) if action not in WITHOUT_RESOURCE]


def each_action_has_its_reason():
    rows = [line for line in read(f"{INFRA}/iam/README.md").splitlines() if line.startswith("| `")]
    reasons = {action for row in rows for action in re.findall(r"`([a-z0-9]+:[A-Za-z]+)`", row.split("|")[1])}
    used = {action for _, statement in statements() for action in listed(statement["Action"])}
    return [f"infra/iam/README.md does not say why {action}" for action in sorted(used - reasons)] + [
        f"infra/iam/README.md has a reason for {action}, which nothing needs" for action in sorted(reasons - used)]


def each_policy_is_in_the_table():
    readme = read(f"{INFRA}/iam/README.md")
    files = {os.path.relpath(path, f"{INFRA}/iam") for path in glob.glob(f"{INFRA}/iam/**/*.json", recursive=True)}
    return [f"infra/iam/README.md does not name {name}" for name in sorted(files) if f"({name})" not in readme]


def each_parameter_is_documented():
    documented = read(f"{ROOT}/docs/sam.md")
    parameters = yaml.load(read(TEMPLATE), Template)["Parameters"]  # noqa: S506
    return [f"docs/sam.md does not say what {name} is" for name in parameters if f"`{name}`" not in documented]


def machines_are_those_of_the_examples():
    return run("infra/sam/render", "--check")


def each_machine_is_valid():
    machines = sorted(glob.glob(f"{ROOT}/examples/**/*.asl.json", recursive=True) + glob.glob(f"{INFRA}/**/*.asl.json", recursive=True))
    return [wrong for machine in machines for wrong in run("asl-validator", "--json-path", machine)] if machines else ["there are none"]


def rendered_for_ack(workflow):
    return subprocess.run(
        ["infra/ack/render", workflow, "--name", "pi", "--activity-arn", "arn:aws:states:eu-west-1:123456789012:activity:jobs",
         "--role-arn", "arn:aws:iam::123456789012:role/runjob-machines"], capture_output=True, text=True, check=False, cwd=ROOT)


def of_ack(state):
    with tempfile.NamedTemporaryFile("w", suffix=".asl.json") as workflow:
        json.dump({"StartAt": "Work", "States": {"Work": {"Type": "Task", "End": True, **state}}}, workflow)
        workflow.flush()
        return rendered_for_ack(workflow.name)


def machines_of_ack_are_valid():
    """Of native states in either query language. What Step Functions would refuse is refused."""
    wrong = []
    for language, field in (("JSONata", "Arguments"), ("JSONPath", "Parameters")):
        state = {"QueryLanguage": language, "Resource": "arn:aws:states:::eks:runJob", field: {"Job": {}}, "TimeoutSeconds": 600}
        _, machine = yaml.safe_load_all(of_ack(state).stdout)
        definition = machine["spec"]["definition"]
        with tempfile.NamedTemporaryFile("w", suffix=".asl.json") as file:
            file.write(definition)
            file.flush()
            wrong += run("asl-validator", "--json-path", file.name)
        given = json.loads(definition)["States"]["Work"]
        request = {name: given[name] for name in ("Arguments", "Parameters") if name in given}
        if request != {field: {"Action": "runJob", "Job": {}}}:
            wrong.append(f"{language}: the request is {request}")
    short = of_ack({"Resource": "arn:aws:states:::eks:call", "Parameters": {"Method": "GET", "Path": "/version"}, "TimeoutSeconds": 60})
    if short.returncode == 0 or "TimeoutSeconds" not in short.stderr:
        wrong.append(f"a TimeoutSeconds that is too short: taken, or without a reason: {short.stderr}")
    return wrong


def objects_of_ack_are_those_of_the_example():
    fresh = rendered_for_ack("examples/pi/workflow.asl.json").stdout
    return [] if fresh == read(f"{INFRA}/ack/pi.yaml") else ["infra/ack/pi.yaml is stale: run infra/ack/render as its README says"]


def the_binary_fits_its_runtime(bootstrap):
    symbols = subprocess.run(["objdump", "-T", bootstrap], capture_output=True, text=True, check=True).stdout
    needed = max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", symbols))
    return [] if needed <= GLIBC else [f"{bootstrap} needs glibc {needed}, and provided.al2023 has {GLIBC}"]


CHECKS = [
    the_template_is_linted, the_template_has_the_policies_of_iam, no_action_is_a_wildcard, no_resource_is_everything_without_a_reason,
    each_action_has_its_reason, each_policy_is_in_the_table, each_parameter_is_documented, machines_are_those_of_the_examples,
    each_machine_is_valid, machines_of_ack_are_valid, objects_of_ack_are_those_of_the_example,
]


def main():
    checks = [(check.__name__, check) for check in CHECKS]
    for bootstrap in sys.argv[1:]:
        checks.append(("the_binary_fits_its_runtime", lambda bootstrap=bootstrap: the_binary_fits_its_runtime(os.path.abspath(bootstrap))))
    failed = 0
    for name, check in checks:
        wrong = check()
        failed += bool(wrong)
        print(f"{'FAILED' if wrong else 'passed'}  {name.replace('_', ' ')}")
        for line in wrong:
            print(f"        {line}")
    print(f"\n{len(checks) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
