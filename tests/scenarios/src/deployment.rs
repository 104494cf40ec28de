//! The production function on a stage: on the sandbox's Lambda, or on `LocalStack`'s. Its name is the stage's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use http::{
    Method, Request,
    header::{AUTHORIZATION, CONTENT_TYPE},
    request::Builder,
};
use runjob_sandbox::{
    lambda::{Bootstrap, Deployed},
    sfn::StepFunctions,
};
use serde_json::{Value, json};

use crate::{execution::role_of, patience::eventually};

/// Where Lambda has its functions.
const FUNCTIONS: &str = "/2015-03-31/functions";

/// What is deployed.
pub(crate) struct Code<'s> {
    /// The function's binary.
    pub(crate) program: &'s Path,
    pub(crate) name: &'s str,
    /// The time of an invocation.
    pub(crate) timeout: Duration,
    /// What it is told.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// A function that is there until it is removed.
pub(crate) enum Deployment {
    Sandbox(Deployed, Arc<StepFunctions>),
    LocalStack(Remote),
}

/// A function of `LocalStack`.
pub(crate) struct Remote {
    lambda: Lambda,
    name: String,
    /// The code: `LocalStack` takes it from there, and copies nothing.
    directory: PathBuf,
}

/// `LocalStack`'s Lambda, for one account.
struct Lambda {
    client: kube::Client,
    account: String,
}

impl Deployment {
    pub(crate) fn on_sandbox(
        code: &Code<'_>,
        services: &Arc<StepFunctions>,
        environment: &[(&'static str, String)],
    ) -> Self {
        let bootstrap = Bootstrap::at(code.program).envs(environment.to_vec()).envs(code.settings.clone());
        let deployed = services.lambda().deploy(code.name, bootstrap.timeout(code.timeout));
        Self::Sandbox(deployed, services.clone())
    }

    /// `directory`: where its code may be.
    pub(crate) async fn on_localstack(
        code: &Code<'_>,
        url: &str,
        account: &str,
        directory: PathBuf,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory).context("unable to make a directory")?;
        let program = code.program.canonicalize().context("unable to find the function's binary")?;
        std::os::unix::fs::symlink(program, directory.join("bootstrap")).context("unable to lay out the code")?;
        let config = kube::Config::new(url.parse()?);
        let lambda = Lambda { client: kube::Client::try_from(config)?, account: account.to_owned() };
        let settings: serde_json::Map<_, _> =
            code.settings.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let function = json!({
            "FunctionName": code.name,
            "Role": role_of(account),
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Timeout": code.timeout.as_secs(),
            "Environment": {"Variables": settings},
            "Code": {"S3Bucket": "hot-reload", "S3Key": directory},
        });
        lambda.ask(Method::POST, "", &function).await.context("unable to create the function")?;
        let remote = Remote { lambda, name: code.name.to_owned(), directory };
        eventually(patience, "the function is active", async || {
            let seen = remote.lambda.ask(Method::GET, &format!("/{}/configuration", remote.name), &Value::Null).await?;
            Ok((seen.get("State") == Some(&json!("Active"))).then_some(()))
        })
        .await?;
        Ok(Self::LocalStack(remote))
    }

    /// Invokes it, beside any machine, and gives its answer.
    pub(crate) async fn invoke(&self, payload: &Value) -> anyhow::Result<Value> {
        match self {
            Self::Sandbox(deployed, services) => Ok(services.lambda().invoke(deployed.arn(), payload).await?),
            Self::LocalStack(Remote { lambda, name, .. }) => {
                let answer = lambda.ask(Method::POST, &format!("/{name}/invocations"), payload).await?;
                ensure!(answer.get("errorType").is_none(), "the function failed: {answer}");
                Ok(answer)
            }
        }
    }

    /// What it has logged so far. `LocalStack` has it a moment after the answer.
    pub(crate) async fn log(&self) -> anyhow::Result<String> {
        match self {
            Self::Sandbox(deployed, _) => Ok(deployed.logs()),
            Self::LocalStack(Remote { lambda, name, .. }) => lambda.log(name).await,
        }
    }

    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        match self {
            Self::Sandbox(..) => Ok(()),
            Self::LocalStack(Remote { lambda, name, directory }) => {
                lambda.ask(Method::DELETE, &format!("/{name}"), &Value::Null).await?;
                std::fs::remove_dir_all(directory).context("unable to remove a directory")
            }
        }
    }
}

impl Lambda {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::builder().method(method).uri(format!("{FUNCTIONS}{path}"));
        self.send(request.header(CONTENT_TYPE, "application/json"), "lambda", body).await
    }

    async fn log(&self, function: &str) -> anyhow::Result<String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("X-Amz-Target", "Logs_20140328.FilterLogEvents");
        let of_function = json!({"logGroupName": format!("/aws/lambda/{function}")});
        let found = self.send(request, "logs", &of_function).await.context("unable to read the function's log")?;
        let events = found.get("events").and_then(Value::as_array).into_iter().flatten();
        Ok(events.filter_map(|event| event.get("message")?.as_str()).map(|line| format!("{line}\n")).collect())
    }

    async fn send(&self, request: Builder, service: &str, body: &Value) -> anyhow::Result<Value> {
        // LocalStack looks for the account and the service there, and at nothing else of it.
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none",
            self.account
        );
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.client.request_text(request.header(AUTHORIZATION, signature).body(body)?).await?;
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }
}
