//! The function of the tests of Lambda: does what its event asks for.
#![expect(clippy::print_stdout, clippy::print_stderr, clippy::panic, reason = "what it prints is its log")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Invocations of this process so far.
static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

#[tokio::main]
async fn main() -> Result<(), Error> {
    if let Ok(words) = std::env::var("FAIL_AT_START") {
        return Err(words.into());
    }
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let invocation = INVOCATIONS.fetch_add(1, Ordering::SeqCst);
    let (payload, context) = (event.payload, event.context);
    match payload.get("do").and_then(Value::as_str).unwrap_or_default() {
        "fail" => Err(Diagnostic { error_type: "My.Error".to_owned(), error_message: "because".to_owned() }),
        "panic" => panic!("on purpose"),
        "sleep" => {
            println!("sleeps");
            tokio::time::sleep(Duration::from_hours(1)).await;
            Ok(Value::Null)
        }
        "exit" => {
            let code = payload.get("code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
            std::process::exit(code.unwrap_or_default())
        }
        "answer" => {
            let bytes = payload.get("bytes").and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
            Ok("x".repeat(bytes.unwrap_or_default().saturating_sub(2)).into())
        }
        _ => {
            eprintln!("echoes");
            Ok(json!({
                "payload": payload,
                "process": std::process::id(),
                "invocation": invocation,
                "requestId": context.request_id,
                "function": context.invoked_function_arn,
                "deadline": context.deadline,
                "memory": context.env_config.memory,
                "region": std::env::var("AWS_REGION").unwrap_or_default(),
                "own": std::env::var("OWN").unwrap_or_default(),
                "home": std::env::var("HOME").unwrap_or_default(),
            }))
        }
    }
}
