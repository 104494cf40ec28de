//! A sandbox with the function in it, and no worker unless one is asked for.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::StatusCode;
use runjob_sandbox::{
    kube,
    lambda::{Bootstrap, Deployed, FunctionError, InvokeError},
    record::Recorded,
    sandbox::{Config, Sandbox},
    sfn::Execution,
};
use runjob_scenarios::jobs::JobRequest;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Longer than anything here takes: a test that hangs fails, and says where.
const PATIENCE: Duration = Duration::from_mins(2);
/// No log may contain it.
pub(crate) const SECRET: &str = "a-secret-access-key-of-nobody";

/// A sandbox with the function in it.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) function: Deployed,
    kubeconfig: PathBuf,
    machines: AtomicUsize,
}

impl World {
    /// A function with more time than any test takes.
    pub(crate) async fn new() -> Self {
        Self::with(|bootstrap| bootstrap.timeout(PATIENCE)).await
    }

    /// A function that has so many seconds, of which the last quarter is its margin.
    pub(crate) async fn of_seconds(seconds: u64) -> Self {
        Self::with(|bootstrap| bootstrap.timeout(Duration::from_secs(seconds))).await
    }

    /// A function that is configured like that.
    pub(crate) async fn with(configured: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        /// Each has a kubeconfig of its own, which goes with it.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let sandbox = Sandbox::start(Config { kube: kube::Config::quick(), ..Config::default() }).await.unwrap();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = std::env::temp_dir().join(format!("runjob-function-{}-{number}", std::process::id()));
        std::fs::write(&kubeconfig, sandbox.kubeconfig()).unwrap();
        let bootstrap = Bootstrap::at(env!("CARGO_BIN_EXE_bootstrap"))
            .envs(sandbox.aws_environment())
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("RUNJOB_KUBECONFIG", kubeconfig.to_str().unwrap());
        let function = sandbox.step_functions().lambda().deploy("runjob", configured(bootstrap));
        Self { sandbox, function, kubeconfig, machines: AtomicUsize::default() }
    }

    /// Lets the function find the cluster there: before its first invocation.
    pub(crate) fn lead_by(&self, url: &str) {
        let kubeconfig = self.sandbox.kubeconfig().replace(&self.sandbox.kube_url(), url);
        std::fs::write(&self.kubeconfig, kubeconfig).unwrap();
    }

    /// Invokes the function with a request.
    pub(crate) async fn ask(&self, job: &JobRequest) -> Result<Value, FunctionError> {
        self.invoke(&job.parameters()).await
    }

    /// Invokes the function with any payload.
    pub(crate) async fn invoke(&self, payload: &Value) -> Result<Value, FunctionError> {
        let lambda = self.sandbox.step_functions().lambda();
        match timeout(PATIENCE, lambda.invoke("runjob", payload)).await.unwrap() {
            Ok(answer) => Ok(answer),
            Err(InvokeError::Function(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts a machine with one state of these fields.
    pub(crate) fn start(&self, state: &Value) -> String {
        let mut state = state.clone();
        state.as_object_mut().unwrap().extend([("Type".to_owned(), json!("Task")), ("End".to_owned(), json!(true))]);
        self.start_machine(&json!({"StartAt": "Run", "States": {"Run": state}}), &json!({}))
    }

    pub(crate) fn start_machine(&self, definition: &Value, input: &Value) -> String {
        let service = self.sandbox.step_functions();
        let name = format!("machine-{}", self.machines.fetch_add(1, Ordering::Relaxed));
        let machine = service.create_state_machine(&name, &definition.to_string()).unwrap();
        service.start_execution(&machine, None, &input.to_string()).unwrap()
    }

    /// The end of an execution.
    pub(crate) async fn ended(&self, execution: &str) -> Execution {
        let ended = timeout(PATIENCE, self.sandbox.step_functions().finished(execution)).await;
        ended
            .unwrap_or_else(|_| panic!("{:#?}\n{}", self.sandbox.kube.recorder().counts(), self.function.logs()))
            .unwrap()
    }

    /// The output of an execution that succeeded.
    pub(crate) async fn output(&self, execution: &str) -> Value {
        let ended = self.ended(execution).await;
        assert_eq!(ended.status.name(), "SUCCEEDED", "{ended:?}");
        serde_json::from_str(&ended.output.unwrap()).unwrap()
    }

    /// Waits until the function was invoked so many times.
    pub(crate) async fn invoked(&self, times: usize) {
        let lambda = self.sandbox.step_functions().lambda();
        timeout(PATIENCE, lambda.wait_for_calls(|calls| (calls.len() >= times).then_some(()))).await.unwrap();
    }

    /// The Job of that name, once it is as it should be.
    pub(crate) async fn job(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let kube = self.sandbox.kubernetes();
        let found = kube.wait_for(|kube| kube.get("jobs", "default", name).filter(&is_so));
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{:?}", kube.get("jobs", "default", name)))
    }

    /// Waits until the Job of that name runs.
    pub(crate) async fn runs(&self, name: &str) -> Value {
        self.job(name, |job| job["status"]["ready"] == json!(1)).await
    }

    /// Waits until the Job of that name has come to that end: `Complete` or `Failed`.
    pub(crate) async fn came_to(&self, name: &str, end: &str) {
        let conditions = |job: &Value| job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        self.job(name, |job| conditions(job).iter().any(|condition| condition["type"] == json!(end))).await;
    }

    /// How many Jobs were made.
    pub(crate) fn created(&self) -> usize {
        let creates = self.sandbox.kube.recorder().of("create jobs");
        creates.iter().filter(|create: &&Recorded| create.status == Some(StatusCode::CREATED)).count()
    }

    /// One Job was made, and nothing was done that Step Functions or the Runtime API forbids.
    pub(crate) fn assert_one_job(&self) {
        assert_eq!(self.created(), 1);
        self.assert_lawful();
    }

    pub(crate) fn assert_lawful(&self) {
        assert_eq!(self.sandbox.step_functions().invariant_violations(), [""; 0]);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// The fields of a state that invokes the function with this request.
pub(crate) fn invoking(request: &Value) -> Value {
    json!({
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "runjob", "Payload": request},
        "OutputPath": "$.Payload",
    })
}

/// The same with a Retry on these errors, as often as need be.
pub(crate) fn retrying(request: &Value, errors: &[&str]) -> Value {
    let mut state = invoking(request);
    state["Retry"] = json!([{"ErrorEquals": errors, "IntervalSeconds": 1, "MaxAttempts": 1000, "BackoffRate": 1.0}]);
    state
}

/// The same request with a key.
pub(crate) fn keyed(job: &JobRequest) -> JobRequest {
    job.clone().with("/IdempotencyKey", "a key")
}

/// What an error says: its name, and its cause, which is JSON.
pub(crate) fn told(outcome: Result<Value, FunctionError>) -> (String, Value) {
    let error = outcome.unwrap_err();
    let cause = serde_json::from_str(error.error_message());
    (error.error_type().to_owned(), cause.unwrap_or_else(|_| panic!("{error}")))
}

/// The one pod's log.
pub(crate) fn log(result: &Value) -> &Value {
    let pods = result["logs"]["pods"].as_object().unwrap_or_else(|| panic!("{result}"));
    assert_eq!(pods.len(), 1, "{result}");
    &pods.values().next().unwrap()["containers"]["main"]["log"]
}

pub(crate) fn is_settled(job: &Value) -> bool {
    job.pointer("/metadata/annotations/runjob~1settled").is_some()
}
