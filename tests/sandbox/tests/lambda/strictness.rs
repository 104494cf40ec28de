//! What no runtime may do is refused, and is a violation.

use serde_json::{Value, json};

use crate::{bootstrap, deployed, failed};

const REPORT: &str = r#"{"errorType":"My.Error","errorMessage":"why"}"#;
const WITH_TYPE: &str = "lambda-runtime-function-error-type: unhandled\r\n";

fn post(path: &str, headers: &str, body: &str) -> Value {
    json!({ "method": "POST", "path": path, "headers": headers, "body": body })
}

#[tokio::test]
async fn wrong_ids_and_paths_leave_the_invocation_open() {
    let (lambda, _) = deployed(bootstrap());
    let requests = [
        post("invocation/nonsense/response", "", "1"),
        post("invocation/nonsense/error", WITH_TYPE, REPORT),
        post("init/error", WITH_TYPE, REPORT),
        post("invocation/ID/nonsense", "", "1"),
        json!({ "method": "GET", "path": "invocation/next" }),
    ];
    let answer = lambda.invoke("f", &json!({ "do": "say", "requests": requests })).await.unwrap();
    assert_eq!(answer, json!([400, 400, 403, 404, 403]));
    let violations = lambda.violations();
    assert_eq!(violations.len(), 5, "{violations:#?}");
    let first = "environment 0 of f: POST /2018-06-01/runtime/invocation/nonsense/response: 400 InvalidRequestID: Invalid request ID";
    assert_eq!(violations[0], first);
}

#[tokio::test]
async fn the_first_answer_counts_and_the_second_is_refused() {
    let (lambda, _) = deployed(bootstrap());
    let requests = [post("invocation/ID/response", "", "\"first\""), post("invocation/ID/response", "", "\"second\"")];
    let answer = lambda.invoke("f", &json!({ "do": "say", "requests": requests })).await.unwrap();
    assert_eq!(answer, "first");
    let violations = lambda.violations();
    assert_eq!(violations.len(), 2, "the second, and what the runtime itself answers then: {violations:#?}");
    assert!(violations[0].contains("403 InvalidStateTransition"), "{violations:#?}");
}

#[tokio::test]
async fn an_error_that_is_none_fails_the_invocation_and_is_a_violation() {
    for (headers, body, error_type) in [
        (WITH_TYPE, "[]", "Runtime.NoJson"),
        (WITH_TYPE, r#"{"errorMessage":"why"}"#, "Runtime.NoJson"),
        ("", REPORT, "My.Error"),
    ] {
        let (lambda, _) = deployed(bootstrap());
        let requests = [post("invocation/ID/error", headers, body)];
        let outcome = lambda.invoke("f", &json!({ "do": "say", "requests": requests })).await;
        assert_eq!(failed(outcome).error_type(), error_type);
        assert!(lambda.violations()[0].contains("400 InvalidRequest"), "{:#?}", lambda.violations());
    }
}

#[tokio::test]
async fn violations_of_a_replaced_function_are_kept() {
    let (lambda, _) = deployed(bootstrap());
    let requests = [post("invocation/nonsense/response", "", "1")];
    lambda.invoke("f", &json!({ "do": "say", "requests": requests })).await.unwrap();
    lambda.deploy("f", bootstrap());
    assert_eq!(lambda.violations().len(), 1);
}
