"""Functions of LocalStack's Lambda as local processes, instead of Docker's containers: LAMBDA_RUNTIME_EXECUTOR=local.

LocalStack finds this by its entry point, in the folder beside it, once this folder is on PYTHONPATH. For each execution environment there
is a Runtime API, and the `bootstrap` of the function's code as a process. How strict a Runtime API can be is the sandbox's matter
(tests/sandbox/src/lambda/); this one believes what it is told, freezes nothing, and has no limit of 6 MB.
"""

import concurrent.futures
import http.server
import json
import os
import queue
import subprocess
import tempfile
import threading
import time

from localstack.services.lambda_.invocation.executor_endpoint import StatusErrorException
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

# LocalStack is ended by SIGKILL, and no function may outlive it. The signal of a parent's death is in truth that of the thread that
# started the process, so all are started by one that never ends.
SPAWNER = concurrent.futures.ThreadPoolExecutor(max_workers=1)


class LocalExecutorPlugin(RuntimeExecutorPlugin):
    name = "local"

    def load(self, *args, **kwargs):
        return LocalExecutor


class LocalExecutor(RuntimeExecutor):
    def start(self, env_vars):
        self.log = tempfile.NamedTemporaryFile(prefix="function-", suffix=".log")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (RuntimeApi,), {"executor": self}))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.env = {"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": self.get_address()}
        self.env |= {name: str(value) for name, value in env_vars.items()}
        self.spawn()

    def spawn(self):
        """Returns when the process asks for its first invocation."""
        code = self.function_version.config.code.get_unzipped_code_location()
        command = ["setpriv", "--pdeathsig", "KILL", str(code / "bootstrap")]
        options = {"cwd": code, "env": self.env, "stdin": subprocess.DEVNULL, "stdout": self.log, "stderr": self.log}
        # What an earlier process still polls for, nobody gets.
        self.polls, self.said = queue.Queue(), queue.Queue()
        self.process = process = SPAWNER.submit(subprocess.Popen, command, **options).result()
        said = self.said
        threading.Thread(target=lambda: said.put(("exited", process.wait())), daemon=True).start()
        what, body = said.get()
        if what != "ready":
            self.process.kill()
            raise StatusErrorException("the function does not start", body if what == "failed" else exited("init", body))

    def invoke(self, payload):
        request_id, timeout = payload["invoke-id"], self.function_version.config.timeout
        if self.process.poll() is not None:
            self.spawn()
        due = time.time() + timeout
        self.polls.put((payload, due))
        what = "ready"
        while what == "ready":
            try:
                what, body = self.said.get(timeout=max(due - time.time(), 0))
            except queue.Empty:
                self.process.kill()
                self.process.wait()
                what = "late"
                body = report("Sandbox.Timedout", request_id, f"Task timed out after {timeout:.2f} seconds")
        if what == "exited":
            body = exited(request_id, body)
        return InvocationResult(request_id, body, is_error=what != "response", logs=self.get_logs())

    def stop(self):
        self.process.kill()
        self.server.shutdown()
        self.server.server_close()

    def get_logs(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def get_address(self):
        return "127.0.0.1:%d" % self.server.server_address[1]

    def get_endpoint_from_executor(self):
        return "127.0.0.1"

    def get_runtime_endpoint(self):
        # For what runs inside of LocalStack's containers. It is asked for before anything listens.
        return ""

    @classmethod
    def prepare_version(cls, function_version):
        code = function_version.config.code
        code.prepare_for_execution()
        (code.get_unzipped_code_location() / "bootstrap").chmod(0o755)

    @classmethod
    def cleanup_version(cls, function_version):
        function_version.config.code.destroy_cached()


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.executor.said.put(("ready", None))
        payload, due = self.executor.polls.get()
        self.answer(200, payload["payload"].encode(), {
            "Lambda-Runtime-Aws-Request-Id": payload["invoke-id"],
            "Lambda-Runtime-Deadline-Ms": str(int(due * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": payload["invoked-function-arn"],
            "Lambda-Runtime-Trace-Id": payload["trace-id"],
        })

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        what = {"response": "response", "error": "failed"}[self.path.rsplit("/", 1)[1]]
        self.executor.said.put((what, body))
        self.answer(202, b'{"status":"OK"}', {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def report(error_type, request_id, message):
    return json.dumps({"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {message}"}).encode()


def exited(request_id, status):
    how = f"signal: {-status}" if status < 0 else f"exit status {status}"
    return report("Runtime.ExitError", request_id, f"Runtime exited with error: {how}")
