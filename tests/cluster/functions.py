"""Do functions run on LocalStack, and do machines get from them what they should?

usage: functions.py URL BOOTSTRAP     BOOTSTRAP: tests/sandbox/src/function_under_test.rs, built
"""

import io
import json
import sys
import time
import zipfile

import boto3

PATIENCE = 60


def main(url, bootstrap):
    session = boto3.Session("functions", "sandbox", region_name="us-east-1")
    functions, machines = (session.client(name, endpoint_url=url) for name in ("lambda", "stepfunctions"))
    name = f"functions-{time.time_ns()}"
    role = "arn:aws:iam::000000000000:role/functions"
    arn = functions.create_function(
        FunctionName=name, Role=role, Runtime="provided.al2023", Handler="bootstrap", Timeout=2,
        Environment={"Variables": {"OWN": "mine"}}, Code={"ZipFile": packed(bootstrap)},
    )["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def started(resource, payload):
        """Starts a machine of one state. Gives a function that asks how it is."""
        parameters = payload if resource == arn else {"FunctionName": name, "Payload": payload}
        state = {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True}
        definition = json.dumps({"StartAt": "Invoke", "States": {"Invoke": state}})
        machine = machines.create_state_machine(name=f"m-{time.time_ns()}", definition=definition, roleArn=role)
        execution = machines.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]
        return lambda: (machines.describe_execution(executionArn=execution),
                        machines.get_execution_history(executionArn=execution)["events"])

    def ended(look):
        return until(lambda: (lambda execution: execution if execution["status"] != "RUNNING" else None)(look()[0]))

    output = json.loads(ended(started("arn:aws:states:::lambda:invoke", {"n": 1}))["output"])
    same("the answer to lambda:invoke", output["Payload"]["payload"], {"n": 1})
    same("the environment", output["Payload"]["own"], "mine")
    output = json.loads(ended(started(arn, {"n": 1}))["output"])
    same("the answer to the ARN", output["payload"], {"n": 1})

    callback = started("arn:aws:states:::lambda:invoke.waitForTaskToken", {"token.$": "$$.Task.Token"})
    submitted = until(lambda: next((e for e in callback()[1] if e["type"] == "TaskSubmitted"), None))
    answer = json.loads(submitted["taskSubmittedEventDetails"]["output"])["Payload"]
    machines.send_task_success(taskToken=answer["payload"]["token"], output='"told"')
    same("the answer to the token", ended(callback)["output"], '"told"')

    for what, error in [("fail", "My.Error"), ("exit", "Runtime.ExitError"), ("sleep", "Sandbox.Timedout")]:
        same(what, ended(started("arn:aws:states:::lambda:invoke", {"do": what}))["error"], error)
    functions.delete_function(FunctionName=name)
    print("functions run")


def packed(bootstrap):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packing:
        packing.write(bootstrap, "bootstrap")
    return archive.getvalue()


def until(look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        time.sleep(0.1)
    sys.exit(f"nothing came in {PATIENCE} s")


def same(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, got {seen!r}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
