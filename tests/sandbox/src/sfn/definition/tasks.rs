//! Task states: their resource, their clocks, and what follows their errors.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Native, Resource, Task, Wait,
    fields::{Fields, object},
    parse::{result_path, template, then},
};
use crate::sfn::{
    retry::{Catcher, Retrier},
    template::Template,
};

const ALL: &str = "States.ALL";

pub(super) fn task(fields: &mut Fields<'_>) -> Option<Task> {
    let resource = resource(fields);
    let parameters = parameters(fields, resource.as_ref());
    let result_selector = template(fields, "ResultSelector");
    let result_path = result_path(fields);
    let timeout = fields.seconds("TimeoutSeconds", 1);
    let heartbeat = fields.seconds("HeartbeatSeconds", 1);
    if let (Some(timeout), Some(heartbeat)) = (timeout, heartbeat)
        && heartbeat >= timeout
    {
        fields.problem("HeartbeatSeconds has to be less than TimeoutSeconds");
    }
    if heartbeat.is_some() && matches!(resource, Some(Resource::Function(_) | Resource::Invoke(Wait::ForAnswer))) {
        fields.problem("HeartbeatSeconds: nobody could send one; it belongs to .waitForTaskToken");
    }
    let retry = retriers(fields);
    let catch = catchers(fields);
    let then = then(fields);
    Some(Task {
        resource: resource?,
        parameters,
        result_selector,
        result_path,
        timeout,
        heartbeat,
        retry,
        catch,
        then: then?,
    })
}

fn resource(fields: &mut Fields<'_>) -> Option<Resource> {
    let Some(text) = fields.text("Resource") else {
        fields.problem("Resource is missing");
        return None;
    };
    let resource = match text.as_str() {
        "arn:aws:states:::eks:runJob" => Some(Resource::Native(Native::RunJob)),
        "arn:aws:states:::eks:runJob.sync" => Some(Resource::Native(Native::RunJobSync)),
        "arn:aws:states:::eks:call" => Some(Resource::Native(Native::Call)),
        _ => [Wait::ForAnswer, Wait::ForToken]
            .into_iter()
            .find(|wait| wait.resource() == text)
            .map(Resource::Invoke)
            .or_else(|| named(&text)),
    };
    if resource.is_none() {
        fields.problem(format!(
            "Resource {text:?} is not supported here: the sandbox has activities, Lambda functions, \
             arn:aws:states:::lambda:{{invoke, invoke.waitForTaskToken}} and arn:aws:states:::eks:{{runJob, runJob.sync, \
             call}}; run this machine on LocalStack"
        ));
    }
    resource
}

/// `arn:aws:states:REGION:ACCOUNT:activity:NAME` or `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
fn named(arn: &str) -> Option<Resource> {
    match arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", "aws", "states", _, _, "activity", _] => Some(Resource::Activity(arn.to_owned())),
        ["arn", "aws", "lambda", _, _, "function", _] => Some(Resource::Function(arn.to_owned())),
        _ => None,
    }
}

fn parameters(fields: &mut Fields<'_>, resource: Option<&Resource>) -> Option<Template> {
    if !matches!(resource, Some(Resource::Invoke(_))) {
        return template(fields, "Parameters");
    }
    let parameters = fields.take("Parameters");
    let parameters = parameters.ok_or_else(|| "missing; lambda:invoke needs a FunctionName".to_owned());
    match parameters.and_then(object).and_then(invoke_parameters) {
        Ok(template) => Some(template),
        Err(problem) => {
            fields.problem(format!("Parameters: {problem}"));
            None
        }
    }
}

fn invoke_parameters(parameters: Map<String, Value>) -> Result<Template, String> {
    let named = |name: &str| parameters.keys().any(|key| key.strip_suffix(".$").unwrap_or(key) == name);
    if !named("FunctionName") {
        return Err("FunctionName is missing".to_owned());
    }
    for (key, value) in &parameters {
        match key.strip_suffix(".$").unwrap_or(key) {
            "FunctionName" | "Payload" => {}
            "InvocationType" if value == "RequestResponse" => {}
            "InvocationType" => return Err(format!("InvocationType {value} is not supported here; leave it out")),
            _ => return Err(format!("{key:?} is unknown or not supported here; leave it out")),
        }
    }
    Template::parse(&Value::Object(parameters))
}

fn retriers(fields: &mut Fields<'_>) -> Vec<Retrier> {
    let objects = fields.list("Retry");
    let last = objects.len().saturating_sub(1);
    let mut retriers = Vec::new();
    for (place, object) in objects.into_iter().enumerate() {
        let mut entry = fields.nested(format!("Retry[{place}]"), object);
        let error_equals = error_equals(&mut entry, place == last);
        let interval = entry.seconds("IntervalSeconds", 1).unwrap_or(Duration::from_secs(1));
        let max_attempts = entry.read("MaxAttempts", |value| {
            let attempts = value.as_u64().and_then(|attempts| u32::try_from(attempts).ok());
            attempts
                .filter(|attempts| *attempts <= 99_999_999)
                .ok_or_else(|| format!("{value} is no number of attempts"))
        });
        let backoff_rate = entry.read("BackoffRate", |value| {
            let rate = value.as_f64().filter(|rate| rate.is_finite() && *rate >= 1.0);
            rate.ok_or_else(|| format!("{value} is no number of at least 1.0"))
        });
        let max_delay = entry.seconds("MaxDelaySeconds", 1);
        if let Some(jitter) = entry.text("JitterStrategy")
            && jitter != "NONE"
        {
            entry.problem(format!(
                "JitterStrategy {jitter:?} is not supported here: retries are exact, so that tests can be"
            ));
        }
        entry.finish();
        retriers.push(Retrier {
            error_equals,
            interval,
            max_attempts: max_attempts.unwrap_or(3),
            backoff_rate: backoff_rate.unwrap_or(2.0),
            max_delay,
        });
    }
    retriers
}

fn catchers(fields: &mut Fields<'_>) -> Vec<Catcher> {
    let objects = fields.list("Catch");
    let last = objects.len().saturating_sub(1);
    let mut catchers = Vec::new();
    for (place, object) in objects.into_iter().enumerate() {
        let mut entry = fields.nested(format!("Catch[{place}]"), object);
        let error_equals = error_equals(&mut entry, place == last);
        let result_path = result_path(&mut entry);
        let next = entry.text("Next");
        if next.is_none() {
            entry.problem("Next is missing");
        }
        entry.finish();
        catchers.extend(next.map(|next| Catcher { error_equals, next, result_path }));
    }
    catchers
}

fn error_equals(entry: &mut Fields<'_>, is_last: bool) -> Vec<String> {
    let names = entry.texts("ErrorEquals").unwrap_or_default();
    if names.is_empty() {
        entry.problem("ErrorEquals is missing or empty");
    }
    if names.iter().any(|name| name == ALL) && (names.len() > 1 || !is_last) {
        entry.problem("States.ALL has to stand alone, in the last entry");
    }
    names
}
