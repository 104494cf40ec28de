//! The function of the tests of Lambda: does what its event asks for.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its log")]
#![expect(clippy::panic, clippy::expect_used, reason = "an error of its own has to be seen")]

use std::{
    io::{Read, Write},
    net::TcpStream,
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
    if let Ok(report) = std::env::var("REPORT_AT_START") {
        let headers = "lambda-runtime-function-error-type: Runtime.InitError\r\n";
        say(&json!({ "method": "POST", "path": "init/error", "headers": headers, "body": report }), "");
    }
    lambda_runtime::run(service_fn(handle)).await
}

/// Sends the Runtime API what no runtime may send. Gives the status of the answer.
fn say(request: &Value, request_id: &str) -> u64 {
    let part = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let (method, path, headers, body) = (part("method"), part("path"), part("headers"), part("body"));
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("there is no Runtime API");
    let mut connection = TcpStream::connect(&api).expect("the Runtime API does not listen");
    let head = format!("{method} /2018-06-01/runtime/{path} HTTP/1.1").replace("ID", request_id);
    let length = body.len();
    write!(connection, "{head}\r\nhost: {api}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .expect("the Runtime API does not read");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the Runtime API does not answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let invocation = INVOCATIONS.fetch_add(1, Ordering::SeqCst);
    let (payload, context) = (event.payload, event.context);
    let text = |field: &str| payload.get(field).and_then(Value::as_str).unwrap_or_default();
    match text("do") {
        "fail" => Err(Diagnostic { error_type: "My.Error".to_owned(), error_message: "because".to_owned() }),
        "panic" => panic!("on purpose"),
        "sleep" => {
            println!("sleeps");
            tokio::time::sleep(Duration::from_hours(1)).await;
            Ok(Value::Null)
        }
        "wait" => {
            // Whoever listens there says when it goes on.
            let mut held = TcpStream::connect(text("at")).expect("nobody listens");
            held.read_to_end(&mut Vec::new()).expect("nobody holds it");
            Ok(std::process::id().into())
        }
        "say" => {
            let requests = payload.get("requests").and_then(Value::as_array).into_iter().flatten();
            Ok(requests.map(|request| say(request, &context.request_id)).collect())
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
