//! States that invoke a Lambda function: what they ask it, what comes of its answer, and the events of both forms.
//!
//! A function that nobody waits for any more, because its state timed out or its execution was stopped, runs on; its answer is ignored.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    clock::rfc3339,
    core::{Core, Halt},
    definition::Wait,
    failure::StateError,
    history::Event,
    limits,
    tasks::{Clocks, Doer, TaskOutcome, Work},
    token::TaskId,
};
use crate::lambda::{InvokeError, Reply};

/// What a state asks of a function.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The ARN of the execution.
    pub(super) execution: &'a str,
    /// The state's name.
    pub(super) state: &'a str,
    pub(super) clocks: Clocks,
    /// The state's effective input.
    pub(super) input: Value,
}

/// The function to invoke, and with what.
struct Invoke {
    function: String,
    payload: Value,
}

/// Which events tell of an invocation.
#[derive(Debug, Clone, Copy)]
enum Telling<'a> {
    /// `LambdaFunction…`, of the function with this ARN.
    Function(&'a str),
    /// `Task…`, of `lambda:invoke`.
    Task,
}

impl Core {
    /// Invokes the function with this ARN. Its answer is the result.
    pub(super) async fn invoke_function(&self, arn: &str, request: Request<'_>) -> Result<Value, Halt> {
        let invoke = Invoke { function: arn.to_owned(), payload: request.input.clone() };
        self.answer_of(invoke, Telling::Function(arn), &request).await
    }

    /// `lambda:invoke`: what the SDK says of the answer is the result.
    pub(super) async fn invoke(&self, request: Request<'_>) -> Result<Value, Halt> {
        self.answer_of(Invoke::read(&request.input)?, Telling::Task, &request).await
    }

    /// `lambda:invoke.waitForTaskToken`: the result is what comes with the token, whatever the function answers; if it fails, so does
    /// the task.
    pub(super) async fn invoke_and_wait(&self, task: TaskId, request: Request<'_>) -> Result<TaskOutcome, Halt> {
        let Invoke { function, payload } = Invoke::read(&request.input)?;
        let work = Work {
            doer: Doer::Callback,
            input: request.input.to_string(),
            execution: Some(request.execution.to_owned()),
            clocks: request.clocks,
        };
        self.begin_callback(task, work)?;
        let outcome = tokio::select! {
            biased;
            outcome = self.outcome(task) => outcome,
            reply = self.lambda.request(&function, &payload) => {
                match reply {
                    Ok(reply) => self.submitted(&request, &reply)?,
                    Err(error) => self.fail_task(task, failure(&error)),
                }
                self.outcome(task).await
            }
        };
        outcome.ok_or(Halt::Ended)
    }

    async fn answer_of(
        &self,
        Invoke { function, payload }: Invoke,
        telling: Telling<'_>,
        request: &Request<'_>,
    ) -> Result<Value, Halt> {
        let tell = |event| self.record(&mut self.state(), request.execution, event);
        tell(telling.scheduled(&self.config.region, request))?;
        tell(telling.started())?;
        let reply = self.lambda.request(&function, &payload);
        let reply = match request.clocks.timeout {
            Some(limit) => timeout(limit, reply).await,
            None => Ok(reply.await),
        };
        let result = match (reply, telling) {
            (Err(_), _) => {
                tell(telling.timed_out())?;
                return Err(StateError::timeout().into());
            }
            (Ok(Ok(reply)), Telling::Function(_)) => Ok(reply.payload),
            (Ok(Ok(reply)), Telling::Task) => Ok(self.result(&reply)),
            (Ok(Err(error)), _) => Err(failure(&error)),
        };
        let result = result.and_then(|result| {
            let fits = result.to_string().len() <= limits::DATA_BYTES;
            if fits { Ok(result) } else { Err(StateError::too_much_data(request.state)) }
        });
        match result {
            Ok(result) => {
                tell(telling.succeeded(result.to_string()))?;
                Ok(result)
            }
            Err(error) => {
                tell(telling.failed(&error))?;
                Err(error.into())
            }
        }
    }

    fn submitted(&self, request: &Request<'_>, reply: &Reply) -> Result<(), Halt> {
        let output = self.result(reply).to_string();
        // The token may have been used before the function has answered: then there is nothing to tell any more.
        self.record(&mut self.state(), request.execution, Event::TaskSubmitted { output }).map(|_| ())
    }

    /// What the SDK of Step Functions makes of an answer.
    fn result(&self, Reply { request_id, payload }: &Reply) -> Value {
        let headers = json!({
            "X-Amz-Executed-Version": "$LATEST",
            "Connection": "keep-alive",
            "x-amzn-RequestId": request_id,
            "Content-Length": payload.to_string().len().to_string(),
            "Date": rfc3339(self.clock.now()),
            "Content-Type": "application/json",
        });
        let lists = headers.as_object().into_iter().flatten();
        let lists: serde_json::Map<_, _> = lists.map(|(name, value)| (name.clone(), json!([value]))).collect();
        json!({
            "ExecutedVersion": "$LATEST",
            "Payload": payload,
            "SdkHttpMetadata": { "AllHttpHeaders": lists, "HttpHeaders": headers, "HttpStatusCode": 200 },
            "SdkResponseMetadata": { "RequestId": request_id },
            "StatusCode": 200,
        })
    }
}

impl Invoke {
    /// Reads the parameters of `lambda:invoke`.
    fn read(parameters: &Value) -> Result<Self, StateError> {
        let function = parameters.get("FunctionName").and_then(Value::as_str);
        let function = function.ok_or_else(|| StateError::runtime("FunctionName is no text".to_owned()))?;
        let payload = parameters.get("Payload").cloned().unwrap_or_else(|| json!({}));
        Ok(Self { function: function.to_owned(), payload })
    }
}

impl Telling<'_> {
    fn scheduled(self, region: &str, Request { clocks, input, .. }: &Request<'_>) -> Event {
        let (timeout, input) = (clocks.timeout, input.to_string());
        match self {
            Self::Function(arn) => Event::LambdaFunctionScheduled { resource: arn.to_owned(), input, timeout },
            Self::Task => Event::TaskScheduled {
                wait: Wait::ForAnswer,
                region: region.to_owned(),
                parameters: input,
                timeout,
                heartbeat: None,
            },
        }
    }

    fn started(self) -> Event {
        match self {
            Self::Function(_) => Event::LambdaFunctionStarted,
            Self::Task => Event::TaskStarted { wait: Wait::ForAnswer },
        }
    }

    fn succeeded(self, output: String) -> Event {
        match self {
            Self::Function(_) => Event::LambdaFunctionSucceeded { output },
            Self::Task => Event::TaskSucceeded { wait: Wait::ForAnswer, output },
        }
    }

    fn failed(self, StateError { error, cause, .. }: &StateError) -> Event {
        let (error, cause) = (error.clone(), cause.clone());
        match self {
            Self::Function(_) => Event::LambdaFunctionFailed { error, cause },
            Self::Task => Event::TaskFailed { wait: Wait::ForAnswer, error, cause },
        }
    }

    fn timed_out(self) -> Event {
        match self {
            Self::Function(_) => Event::LambdaFunctionTimedOut,
            Self::Task => Event::TaskTimedOut { wait: Wait::ForAnswer },
        }
    }
}

/// What Retry and Catch see. The cause of a function's error is all that it reported, as JSON.
fn failure(error: &InvokeError) -> StateError {
    match error {
        InvokeError::Function(error) => StateError::named(error.error_type(), error.payload().to_string()),
        InvokeError::Service { exception, status, message } => StateError::named(
            &format!("Lambda.{exception}"),
            format!("{message} (Service: AWSLambda; Status Code: {status}; Error Code: {exception}; Proxy: null)"),
        ),
    }
}
