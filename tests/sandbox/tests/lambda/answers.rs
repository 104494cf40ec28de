//! What an invocation gives, in the words of AWS.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runjob_sandbox::lambda::{Bootstrap, EnvironmentState, InvokeError};
use serde_json::{Value, json};

use crate::{bootstrap, deployed, failed};

#[tokio::test]
async fn a_function_gets_its_event_its_context_and_its_environment() {
    let (lambda, function) = deployed(bootstrap().memory(256).env("OWN", "mine"));
    let answer = lambda.invoke("f", &json!({ "n": 1.50 })).await.unwrap();
    assert_eq!(answer["payload"].to_string(), r#"{"n":1.5}"#);
    assert_eq!(answer["function"], "arn:aws:lambda:eu-central-1:123456789012:function:f");
    assert_eq!(
        (&answer["memory"], &answer["region"], &answer["own"]),
        (&json!(256), &json!("eu-central-1"), &json!("mine"))
    );
    assert_eq!(answer["requestId"], lambda.calls()[0].invocation.request_id.as_str());
    assert_ne!(answer["home"], std::env::var("HOME").unwrap().as_str(), "nothing is inherited");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let left = Duration::from_millis(answer["deadline"].as_u64().unwrap()).checked_sub(now).unwrap();
    assert!(left > Duration::from_mins(1) && left < Duration::from_mins(2), "{left:?}");
    assert!(function.logs().contains("echoes"), "{}", function.logs());
    assert_eq!(lambda.violations(), [""; 0]);
}

#[tokio::test]
async fn an_error_of_the_function_is_what_it_says_of_it() {
    let (lambda, _) = deployed(bootstrap());
    let error = failed(lambda.invoke("f", &json!({ "do": "fail" })).await);
    assert_eq!((error.error_type(), error.error_message()), ("My.Error", "because"));
    assert_eq!(error.payload(), &json!({ "errorType": "My.Error", "errorMessage": "because" }));
    assert_eq!(lambda.calls()[0].outcome, Some(Err(error)));
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_process_lives_on() {
    let (lambda, function) = deployed(bootstrap());
    let error = failed(lambda.invoke("f", &json!({ "do": "panic" })).await);
    assert_eq!(error.error_message(), "Lambda panicked: on purpose");
    assert_eq!(lambda.invoke("f", &json!({})).await.unwrap()["invocation"], 1);
    assert!(function.logs().contains("on purpose"), "{}", function.logs());
    assert_eq!(function.environments().len(), 1);
}

#[tokio::test]
async fn in_process_a_panic_says_the_same() {
    let (lambda, _) = deployed(bootstrap());
    let process = failed(lambda.invoke("f", &json!({ "do": "panic" })).await);
    lambda.add("g", Duration::from_secs(3), |_| async { panic!("on purpose") });
    assert_eq!(failed(lambda.invoke("g", &json!({})).await), process);
}

#[tokio::test]
async fn at_its_deadline_a_process_is_killed() {
    let (lambda, function) = deployed(bootstrap().timeout(Duration::from_secs(1)));
    let error = failed(lambda.invoke("f", &json!({ "do": "sleep" })).await);
    let request = &lambda.calls()[0].invocation.request_id;
    assert_eq!(error.error_type(), "Sandbox.Timedout");
    assert_eq!(error.error_message(), format!("RequestId: {request} Error: Task timed out after 1.00 seconds"));
    assert!(function.logs().contains("sleeps"), "{}", function.logs());
    assert_eq!(lambda.invoke("f", &json!({})).await.unwrap()["invocation"], 0, "by another process");
}

#[tokio::test]
async fn a_process_that_exits_is_told_with_its_status() {
    let (lambda, _) = deployed(bootstrap());
    for (code, words) in
        [(3, "Runtime exited with error: exit status 3"), (0, "Runtime exited without providing a reason")]
    {
        let error = failed(lambda.invoke("f", &json!({ "do": "exit", "code": code })).await);
        let request = &lambda.calls().pop().unwrap().invocation.request_id;
        assert_eq!(error.error_type(), "Runtime.ExitError");
        assert_eq!(error.error_message(), format!("RequestId: {request} Error: {words}"));
    }
}

#[tokio::test]
async fn a_process_that_cannot_start_is_told_as_one_that_exits() {
    let (lambda, function) = deployed(bootstrap().env("FAIL_AT_START", "no settings"));
    let error = failed(lambda.invoke("f", &json!({})).await);
    assert_eq!(error.error_type(), "Runtime.ExitError");
    assert!(function.logs().contains("no settings"), "{}", function.logs());

    let (lambda, _) = deployed(Bootstrap::at("/nonexistent/bootstrap"));
    assert_eq!(failed(lambda.invoke("f", &json!({})).await).error_type(), "Runtime.InvalidEntrypoint");
}

#[tokio::test]
async fn a_process_that_says_why_it_cannot_start_is_told_with_that() {
    let report = r#"{"errorType":"My.Start","errorMessage":"no settings"}"#;
    let (lambda, function) = deployed(bootstrap().env("REPORT_AT_START", report));
    let error = failed(lambda.invoke("f", &json!({})).await);
    assert_eq!(error.payload().to_string(), report);
    let ended = EnvironmentState::Ended("it could not start".to_owned());
    assert_eq!(function.environments()[0].state, ended);
}

#[tokio::test]
async fn an_answer_has_six_megabytes_and_a_bit() {
    let (lambda, function) = deployed(bootstrap());
    let most = 6_291_556;
    let answer = lambda.invoke("f", &json!({ "do": "answer", "bytes": most })).await.unwrap();
    assert_eq!(answer.as_str().unwrap().len(), most - 2);
    let error = failed(lambda.invoke("f", &json!({ "do": "answer", "bytes": most + 1 })).await);
    assert_eq!(error.error_type(), "Function.ResponseSizeTooLarge");
    let words = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    assert_eq!(error.error_message(), words);
    assert_eq!((lambda.violations(), function.environments().len()), (Vec::new(), 1), "that is no one's crime");
}

#[tokio::test]
async fn what_lambda_does_not_take_reaches_no_function() {
    let (lambda, _) = deployed(bootstrap());
    let exception = async |function: &str, payload: Value| match lambda.invoke(function, &payload).await {
        Err(InvokeError::Service { exception, status, .. }) => (exception, status),
        other => panic!("{other:?}"),
    };
    assert_eq!(exception("g", json!({})).await, ("ResourceNotFoundException", 404));
    let large = json!("x".repeat(6_291_456));
    assert_eq!(exception("f", large).await, ("RequestTooLargeException", 413));
    assert!(lambda.calls().is_empty());
}
