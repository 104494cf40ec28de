//! The closing summary: what came out, how long it took, what it cost.

use std::time::Duration;

use runjob_sandbox::{
    record::Recorded,
    sandbox::Sandbox,
    sfn::{Event, Execution},
};
use serde_json::Value;

use super::{STOPPED, screen::Screen, story::Story};

/// Prints the summary. Gives the number of invariants that were violated.
pub(crate) fn print(sandbox: &Sandbox, screen: &Screen, execution: &Execution, story: &Story) -> usize {
    let mut last = None;
    for event in sandbox.step_functions().history(&execution.arn) {
        // The output of a later state may replace that of an earlier one: the article's DELETE does.
        if let Event::StateExited { state_type: "Task", name, output } = event.event {
            screen.line(&format!("\noutput of the state {name}\n{}", pretty(&output)));
            last = Some(output);
        }
    }
    match (&execution.output, &execution.error) {
        (Some(output), _) if Some(output) == last.as_ref() => screen.line("\nthat is the output of the execution, too"),
        (Some(output), _) => screen.line(&format!("\noutput of the execution\n{}", pretty(output))),
        (None, Some(error)) => {
            let cause = execution.cause.as_deref().map_or_else(|| "none".to_owned(), pretty);
            screen.line(&if error == STOPPED {
                format!("\n{cause}")
            } else {
                format!("\nerror   {error}\ncause   {cause}")
            });
        }
        (None, None) => {}
    }
    screen.line(&format!("\nstatus  {}", execution.status.name()));
    for (job, time) in completion_to_reply(sandbox, story) {
        screen.line(&format!(
            "reply   {:.1} ms from the arrival of {job}'s final event to the accepted answer",
            time.as_secs_f64() * 1000.0
        ));
    }
    for (service, recorder) in [("Kubernetes", sandbox.kube.recorder()), ("Step Functions", sandbox.sfn.recorder())] {
        let counts = recorder.counts();
        let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        screen.line(&format!("asked   {service}: {}", counts.join(", ")));
    }
    screen.line(&format!("left    Jobs: {}; pods: {}", names(sandbox, "jobs"), names(sandbox, "pods")));
    let violations = sandbox.step_functions().invariant_violations();
    for violation in &violations {
        screen.line(&format!("wrong   {violation}"));
    }
    violations.len()
}

fn pretty(json: &str) -> String {
    let value = serde_json::from_str::<Value>(json);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
}

fn names(sandbox: &Sandbox, resource: &str) -> String {
    let objects = sandbox.kubernetes().list(resource, None);
    let name = |object: &Value| {
        let name = object.pointer("/metadata/name")?.as_str()?;
        // As a DELETE without a propagationPolicy leaves a Job's pods behind.
        let orphaned = resource == "pods" && object.pointer("/metadata/ownerReferences").is_none();
        Some(if orphaned { format!("{name} (orphaned by its Job's deletion)") } else { name.to_owned() })
    };
    let names: Vec<String> = objects.iter().filter_map(name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// For each Job: from the moment that a watch handed out its final event to the moment that its answer was accepted.
fn completion_to_reply(sandbox: &Sandbox, story: &Story) -> Vec<(String, Duration)> {
    let replies = sandbox.sfn.recorder().all();
    let answers = |reply: &Recorded, token: &str| {
        let is_reply = reply.kind == "SendTaskSuccess" || reply.kind == "SendTaskFailure";
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        is_reply && body.get("taskToken").and_then(Value::as_str) == Some(token)
    };
    let times = story.jobs().iter().filter_map(|(uid, job)| {
        let reply = replies.iter().find(|reply| answers(reply, &job.token))?;
        let ended = sandbox.kubernetes().final_event_sent(uid)?;
        Some((job.name.clone(), reply.answered?.duration_since(ended)))
    });
    times.collect()
}
