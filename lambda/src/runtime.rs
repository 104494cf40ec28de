//! The process: started by Lambda, asked for one invocation after the other, frozen in between.

use std::process::ExitCode;

use aws_config::BehaviorVersion;
use jiff::Timestamp;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use runjob::process;
use runjob_core::waiter::InvocationId;
use serde_json::value::RawValue;
use tracing::error;

use crate::{
    function::{Function, Invocation},
    outcome::Failed,
    settings::FunctionSettings,
};

/// Runs the function until Lambda ends it.
pub fn main() -> ExitCode {
    let settings = match FunctionSettings::from_environment() {
        Ok(settings) => settings,
        Err(error) => error.exit(),
    };
    process::prepare(settings.jobs.log_format);
    // An environment of Lambda has a fraction of a processor, as a rule, and one invocation at a time.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "unable to start the runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error, "the function could not go on");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: FunctionSettings) -> Result<(), String> {
    let sdk = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let function = &Function::new(settings, sdk);
    let handler = service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let answer = match invocation(&context) {
            Ok(invocation) => function.handle(payload.get(), invocation).await,
            Err(failed) => Err(failed),
        };
        answer.map_err(|Failed { error, cause }| Diagnostic { error_type: error, error_message: cause })
    });
    lambda_runtime::run(handler).await.map_err(|error| error.to_string())
}

/// What Lambda says of an invocation.
fn invocation(context: &Context) -> Result<Invocation, Failed> {
    let malformed = |what: &str| Failed::internal(&format!("Lambda's {what} cannot be read"));
    let id = InvocationId::new(&context.request_id).ok_or_else(|| malformed("request id"))?;
    let function = context.invoked_function_arn.parse().map_err(|_| malformed("ARN of the function"))?;
    let deadline = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(Invocation { id, function, deadline: deadline.ok_or_else(|| malformed("deadline"))? })
}
