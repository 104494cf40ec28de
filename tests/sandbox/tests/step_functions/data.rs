//! What states do with their data: paths, templates, the context, limits.

use serde_json::{Value, json};

use crate::client::{Client, json_of, one_state, one_task};

fn one_pass(mut fields: Value) -> Value {
    fields["Type"] = json!("Pass");
    fields["End"] = json!(true);
    one_state("P", fields)
}

#[tokio::test(start_paused = true)]
async fn pass_states_shape_their_data() {
    let input = json!({ "a": { "b": [1, 2] }, "c": "x" });
    for (fields, output) in [
        (json!({}), input.clone()),
        (json!({ "InputPath": "$.a" }), json!({ "b": [1, 2] })),
        (json!({ "InputPath": null }), json!({})),
        (json!({ "InputPath": "$$.Execution.Name" }), json!("e")),
        (json!({ "OutputPath": "$.a.b[1]" }), json!(2)),
        (json!({ "OutputPath": null }), json!({})),
        (json!({ "OutputPath": "$.a.b[*]" }), json!([1, 2])),
        (json!({ "Result": null }), json!(null)),
        (json!({ "Result": { "k.$": "$.c" } }), json!({ "k.$": "$.c" })),
        (json!({ "Result": 1, "ResultPath": "$.a.n.m" }), json!({ "a": { "b": [1, 2], "n": { "m": 1 } }, "c": "x" })),
        (json!({ "Result": 1, "ResultPath": "$.a.b[0]" }), json!({ "a": { "b": [1, 2] }, "c": "x" })),
        (json!({ "Result": 1, "ResultPath": null }), input.clone()),
        (json!({ "InputPath": "$.a", "ResultPath": "$.c" }), json!({ "a": { "b": [1, 2] }, "c": { "b": [1, 2] } })),
        (
            json!({ "Parameters": { "t.$": "States.Format('{}/{}', $.c, $.a.b[0])", "deep": [{ "x.$": "$..b" }] } }),
            json!({ "t": "x/1", "deep": [{ "x": [[1, 2]] }] }),
        ),
        (json!({ "InputPath": "$.a", "Parameters": { "first.$": "$.b[0]" } }), json!({ "first": 1 })),
    ] {
        let execution = Client::new().run(&one_pass(fields.clone()), &input).await;
        assert_eq!(json_of(&execution.output.unwrap()), output, "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn paths_that_lead_nowhere_end_the_execution() {
    for (fields, error) in [
        (json!({ "InputPath": "$.none" }), "States.Runtime"),
        (json!({ "OutputPath": "$.none" }), "States.Runtime"),
        (json!({ "Parameters": { "a.$": "$.none" } }), "States.Runtime"),
        (json!({ "Parameters": { "a.$": "States.Format('{}', $.list)" } }), "States.IntrinsicFailure"),
        (json!({ "Result": 1, "ResultPath": "$.list.a" }), "States.ResultPathMatchFailure"),
        (json!({ "Result": 1, "ResultPath": "$.list[9]" }), "States.ResultPathMatchFailure"),
    ] {
        let execution = Client::new().run(&one_pass(fields.clone()), &json!({ "list": [] })).await;
        assert_eq!(execution.status.name(), "FAILED");
        assert_eq!(execution.error.as_deref(), Some(error), "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_machine_itself_names_the_state_and_is_not_caught() {
    let client = Client::new();
    let definition = json!({ "StartAt": "T", "States": {
        "T": {
            "Type": "Task",
            "Resource": crate::client::ACTIVITY,
            "Parameters": { "Name.$": "$.name" },
            "Retry": [{ "ErrorEquals": ["States.ALL"] }],
            "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "S" }],
            "Next": "S"
        },
        "S": { "Type": "Succeed" }
    }});
    let execution = client.run(&definition, &json!({})).await;
    assert_eq!(execution.error.unwrap(), "States.Runtime");
    assert_eq!(
        execution.cause.unwrap(),
        "An error occurred while executing the state 'T' (entered at the event id #2). The JSONPath '$.name' specified for the \
         field 'Name.$' could not be found in the input '{}'"
    );
}

#[tokio::test(start_paused = true)]
async fn the_context_tells_about_execution_state_and_machine() {
    let execution =
        Client::new().run(&one_pass(json!({ "Parameters": { "all.$": "$$" } })), &json!({ "n": 1.50 })).await;
    let expected = json!({
        "Execution": {
            "Id": "arn:aws:states:us-east-1:123456789012:execution:m:e",
            "Input": { "n": 1.50 },
            "Name": "e",
            "RoleArn": "arn:aws:iam::123456789012:role/sandbox",
            "StartTime": "2026-01-01T00:00:00.000Z"
        },
        "State": { "EnteredTime": "2026-01-01T00:00:00.000Z", "Name": "P", "RetryCount": 0 },
        "StateMachine": { "Id": "arn:aws:states:us-east-1:123456789012:stateMachine:m", "Name": "m" }
    });
    assert_eq!(json_of(&execution.output.unwrap()), json!({ "all": expected }));
}

#[tokio::test(start_paused = true)]
async fn numbers_keep_every_digit_and_objects_their_order() {
    let client = Client::new();
    let machine = one_pass(json!({ "Parameters": { "z.$": "$.z", "a.$": "$.a" } })).to_string();
    let machine = client.service().create_state_machine("m", &machine).unwrap();
    let input = r#"{"a":123456789012345678901234567890,"z":1.10}"#;
    let execution = client.service().start_execution(&machine, None, input).unwrap();
    let output = client.finished(&execution).await.output.unwrap();
    assert_eq!(output, r#"{"z":1.10,"a":123456789012345678901234567890}"#);
}

#[tokio::test(start_paused = true)]
async fn a_task_gets_its_parameters_and_its_result_is_selected_and_placed() {
    let client = Client::new();
    let definition = one_task(json!({
        "InputPath": "$.in",
        "Parameters": { "n.$": "$.n" },
        "ResultSelector": { "picked.$": "$.result", "by.$": "$$.Execution.Name" },
        "ResultPath": "$.out",
        "OutputPath": "$.out"
    }));
    let execution = client.start(&definition, &json!({ "in": { "n": 7 } }));
    let task = client.next_task().await;
    assert_eq!(task.input, r#"{"n":7}"#);
    client.succeed(&task.token, r#"{"result":[1],"rest":2}"#).await.unwrap();
    let output = client.finished(&execution).await.output.unwrap();
    assert_eq!(output, r#"{"picked":[1],"by":"e"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_text_is_a_result_too() {
    let client = Client::new();
    let execution = client.start(&one_task(json!({ "ResultPath": "$.said" })), &json!({}));
    let task = client.next_task().await;
    client.succeed(&task.token, r#""x""#).await.unwrap();
    assert_eq!(client.finished(&execution).await.output.unwrap(), r#"{"said":"x"}"#);
}

#[tokio::test(start_paused = true)]
async fn run_job_without_sync_is_marked_and_a_call_is_not() {
    for (resource, input) in [
        ("arn:aws:states:::eks:runJob", json!({ "Job": {}, "Action": "runJob" })),
        ("arn:aws:states:::eks:runJob.sync", json!({ "Job": {} })),
        ("arn:aws:states:::eks:call", json!({ "Job": {} })),
    ] {
        let client = Client::new();
        client.start(&one_task(json!({ "Resource": resource, "Parameters": { "Job": {} } })), &json!({}));
        assert_eq!(json_of(&client.next_task().await.input), input, "{resource}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_fit_into_the_state_is_too_much_data_and_can_be_caught() {
    let input = json!({ "kept": "x".repeat(200_000) });
    let output = format!("\"{}\"", "y".repeat(100_000));
    let client = Client::new();
    let execution = client.start(&one_task(json!({ "ResultPath": "$.new" })), &input);
    client.succeed(&client.next_task().await.token, &output).await.unwrap();
    let execution = client.finished(&execution).await;
    assert_eq!(execution.error.unwrap(), "States.DataLimitExceeded");
    assert_eq!(
        execution.cause.unwrap(),
        "The state/task 'Work' returned a result with a size exceeding the maximum number of bytes service limit."
    );

    let client = Client::new();
    let mut definition = one_task(json!({
        "ResultPath": "$.new",
        "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "After" }]
    }));
    definition["States"]["After"] = json!({ "Type": "Pass", "End": true });
    let execution = client.start(&definition, &input);
    client.succeed(&client.next_task().await.token, &output).await.unwrap();
    let output = client.finished(&execution).await.output.unwrap();
    assert_eq!(json_of(&output)["Error"], "States.DataLimitExceeded");
}
