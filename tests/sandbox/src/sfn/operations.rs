//! The operations of the wire protocol: their requests, their checks, their answers.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    StepFunctions,
    clock::epoch_seconds,
    config::EmptyPoll,
    errors::ServiceError,
    execution::Execution,
    history::{HistoryEvent, without_nulls},
    limits::{self, required},
    records::Answer,
    token::TaskId,
};

/// Events of one page when the request does not say how many.
const PAGE_EVENTS: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActivityRequest {
    name: Option<String>,
    activity_arn: Option<String>,
    worker_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskRequest {
    task_token: Option<String>,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MachineRequest {
    name: Option<String>,
    definition: Option<String>,
    role_arn: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionRequest {
    state_machine_arn: Option<String>,
    execution_arn: Option<String>,
    name: Option<String>,
    input: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    reverse_order: bool,
}

/// Performs one operation. The answer is the body of a response with status 200.
pub(super) async fn perform(service: &StepFunctions, operation: &str, body: &[u8]) -> Result<Value, ServiceError> {
    match operation {
        "CreateActivity" => create_activity(service, read(body)?),
        "DescribeActivity" => describe_activity(service, read(body)?),
        "GetActivityTask" => get_activity_task(service, read(body)?).await,
        "SendTaskSuccess" => send_task_success(service, read(body)?),
        "SendTaskFailure" => send_task_failure(service, read(body)?),
        "SendTaskHeartbeat" => send_task_heartbeat(service, read(body)?),
        "CreateStateMachine" => create_state_machine(service, read(body)?),
        "StartExecution" => start_execution(service, read(body)?),
        "DescribeExecution" => describe_execution(service, read(body)?),
        "StopExecution" => stop_execution(service, read(body)?),
        "GetExecutionHistory" => get_execution_history(service, read(body)?),
        other => Err(ServiceError::UnknownOperation(other.to_owned())),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|error| ServiceError::Serialization(error.to_string()))
}

fn create_activity(service: &StepFunctions, request: ActivityRequest) -> Result<Value, ServiceError> {
    let name = required("name", request.name)?;
    let (arn, created) = service.core.create_activity(&name)?;
    Ok(json!({ "activityArn": arn, "creationDate": epoch_seconds(created) }))
}

fn describe_activity(service: &StepFunctions, request: ActivityRequest) -> Result<Value, ServiceError> {
    let arn = required("activityArn", request.activity_arn)?;
    limits::arn("activityArn", &arn)?;
    let created = service.core.state().activities.get(&arn).map(|activity| activity.created);
    let created = created.ok_or_else(|| ServiceError::ActivityDoesNotExist(arn.clone()))?;
    let name = arn.rsplit(':').next();
    Ok(json!({ "activityArn": arn, "name": name, "creationDate": epoch_seconds(created) }))
}

async fn get_activity_task(service: &StepFunctions, request: ActivityRequest) -> Result<Value, ServiceError> {
    let arn = required("activityArn", request.activity_arn)?;
    limits::arn("activityArn", &arn)?;
    request.worker_name.as_deref().map_or(Ok(()), limits::worker_name)?;
    let assignment = service.core.poll(&arn, request.worker_name).await?;
    Ok(match (assignment, service.core.config.empty_poll) {
        (Some(task), _) => json!({ "taskToken": task.token.into_text(), "input": task.input }),
        (None, EmptyPoll::Absent) => json!({}),
        (None, EmptyPoll::Null) => json!({ "taskToken": null }),
        (None, EmptyPoll::EmptyString) => json!({ "taskToken": "" }),
    })
}

fn send_task_success(service: &StepFunctions, request: TaskRequest) -> Result<Value, ServiceError> {
    let output = required("output", request.output)?;
    let token = checked_token(request.task_token)?;
    limits::data("output", &output)?;
    let task = recognised(service, &token)?;
    serde_json::from_str::<Value>(&output).map_err(|error| ServiceError::InvalidOutput(error.to_string()))?;
    service.core.answer(task, Answer::Success(output))?;
    Ok(json!({}))
}

fn send_task_failure(service: &StepFunctions, request: TaskRequest) -> Result<Value, ServiceError> {
    let token = checked_token(request.task_token)?;
    limits::error(request.error.as_deref())?;
    limits::cause(request.cause.as_deref())?;
    let task = recognised(service, &token)?;
    service.core.answer(task, Answer::Failure { error: request.error, cause: request.cause })?;
    Ok(json!({}))
}

fn send_task_heartbeat(service: &StepFunctions, request: TaskRequest) -> Result<Value, ServiceError> {
    let token = checked_token(request.task_token)?;
    service.core.heartbeat(recognised(service, &token)?)?;
    Ok(json!({}))
}

fn checked_token(token: Option<String>) -> Result<String, ServiceError> {
    let token = required("taskToken", token)?;
    limits::token(&token)?;
    Ok(token)
}

fn recognised(service: &StepFunctions, token: &str) -> Result<TaskId, ServiceError> {
    service.core.mint.recognise(token).ok_or(ServiceError::InvalidToken)
}

fn create_state_machine(service: &StepFunctions, request: MachineRequest) -> Result<Value, ServiceError> {
    let name = required("name", request.name)?;
    let definition = required("definition", request.definition)?;
    let role = required("roleArn", request.role_arn)?;
    limits::arn("roleArn", &role)?;
    if let Some(kind) = request.kind.filter(|kind| kind != "STANDARD") {
        return Err(ServiceError::StateMachineTypeNotSupported(kind));
    }
    let machine = service.core.create_machine(&name, &definition, Some(role))?;
    Ok(json!({ "stateMachineArn": machine.arn, "creationDate": epoch_seconds(machine.created) }))
}

fn start_execution(service: &StepFunctions, request: ExecutionRequest) -> Result<Value, ServiceError> {
    let machine = required("stateMachineArn", request.state_machine_arn)?;
    limits::arn("stateMachineArn", &machine)?;
    let input = request.input.unwrap_or_else(|| "{}".to_owned());
    let execution = service.start(&machine, request.name.as_deref(), &input)?;
    Ok(json!({ "executionArn": execution.arn, "startDate": epoch_seconds(execution.started) }))
}

fn describe_execution(service: &StepFunctions, request: ExecutionRequest) -> Result<Value, ServiceError> {
    let execution = found(service, request.execution_arn)?;
    Ok(without_nulls(json!({
        "executionArn": execution.arn,
        "stateMachineArn": execution.machine,
        "name": execution.name,
        "status": execution.status.name(),
        "startDate": epoch_seconds(execution.started),
        "stopDate": execution.stopped.map(epoch_seconds),
        "input": execution.input,
        "inputDetails": { "included": true },
        "output": execution.output,
        "error": execution.error,
        "cause": execution.cause,
    })))
}

fn stop_execution(service: &StepFunctions, request: ExecutionRequest) -> Result<Value, ServiceError> {
    let arn = required("executionArn", request.execution_arn)?;
    let stopped = service.stop_execution(&arn, request.error.as_deref(), request.cause.as_deref())?;
    Ok(json!({ "stopDate": epoch_seconds(stopped) }))
}

fn get_execution_history(service: &StepFunctions, request: ExecutionRequest) -> Result<Value, ServiceError> {
    let execution = found(service, request.execution_arn)?;
    let mut events = service.history(&execution.arn);
    if request.reverse_order {
        events.reverse();
    }
    let from = request.next_token.map_or(Ok(0), |page| page.parse::<usize>());
    let from = from.map_err(|_| ServiceError::InvalidPageToken)?;
    let size = request.max_results.filter(|size| *size > 0).unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
    let page: Vec<_> = events.iter().skip(from).take(size).map(HistoryEvent::on_the_wire).collect();
    let to = from.saturating_add(page.len());
    let next = (to < events.len()).then(|| to.to_string());
    Ok(without_nulls(json!({ "events": page, "nextToken": next })))
}

fn found(service: &StepFunctions, execution: Option<String>) -> Result<Execution, ServiceError> {
    let arn = required("executionArn", execution)?;
    limits::arn("executionArn", &arn)?;
    service.describe(&arn).ok_or(ServiceError::ExecutionDoesNotExist(arn))
}
