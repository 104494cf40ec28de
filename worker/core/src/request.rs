//! A task's input, taken as a request: `runJob.sync`, `runJob` or `call`, with the native parameters and the extensions.
//!
//! Everything that can be refused without asking a cluster is refused here, before anything is created.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    call::{self, Call},
    fields::Fields,
    invalid::InvalidParameters,
    json::{self, Unreadable},
    log_options::{self, LogOptions},
    manifest::Manifest,
    names::is_dns_label,
    owner::IdempotencyKey,
    token::TaskToken,
};

/// What a task asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `eks:runJob` and `eks:runJob.sync`.
    RunJob(Box<RunJob>),
    /// `eks:call`.
    Call(Box<Call>),
}

/// A request to run a Job.
#[derive(Debug, Clone, PartialEq)]
pub struct RunJob {
    /// Where the Job is to live.
    pub namespace: String,
    /// The Job.
    pub manifest: Manifest,
    /// When the task is answered.
    pub answer: Answer,
    /// What to do with the logs.
    pub logs: LogOptions,
    /// What happens to an unfinished Job that nobody waits for any more.
    pub on_task_gone: OnTaskGone,
    /// What happens to a Job that does not get going.
    pub on_stuck: OnStuck,
    /// What the attempts of this task have in common, if they do.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// When a `runJob` task is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `runJob.sync`: when the Job has ended, with its result.
    WhenFinished,
    /// `runJob`: as soon as the Job exists.
    WhenCreated,
}

/// What happens to an unfinished Job when its task has ended without it: stopped, timed out, a failed sibling branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnTaskGone {
    /// It is deleted, with its pods.
    #[default]
    Delete,
    /// It is left running.
    Detach,
}

/// What happens to a Job that does not get going: no pod, no image, no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnStuck {
    /// Its task fails once the grace of what is wrong is over, and it is deleted, with its pods.
    #[default]
    Fail,
    /// It is told of, and waited for.
    Wait,
}

/// What becomes of fields that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// They are refused.
    #[default]
    Strict,
    /// Unknown fields at the top and in `LogOptions` are a warning.
    Lenient,
}

/// The cluster that a request names, as natively. Which of it is heeded is a matter of who serves the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `ClusterName`.
    pub name: Option<String>,
    /// `Endpoint`, a URL.
    pub endpoint: Option<String>,
    /// `CertificateAuthority`: PEM in base64.
    pub certificate_authority: Option<String>,
}

/// A request, and the warnings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What the task asks for.
    pub request: Request,
    /// The cluster that it is asked of.
    pub target: Target,
    /// The token of the task, if it stands in the request: a function's caller hands it over like that.
    pub token: Option<TaskToken>,
    /// What was passed over ([`Strictness::Lenient`]).
    pub warnings: Vec<InvalidParameters>,
}

const KNOWN: [&str; 16] = [
    "Action",
    "CertificateAuthority",
    "ClusterName",
    "ContentType",
    "Endpoint",
    "IdempotencyKey",
    "Job",
    "LogOptions",
    "Method",
    "Namespace",
    "OnStuck",
    "OnTaskGone",
    "Path",
    "QueryParameters",
    "RequestBody",
    "TaskToken",
];
const ONLY_RUN_JOB: [&str; 6] = ["IdempotencyKey", "Job", "LogOptions", "Namespace", "OnStuck", "OnTaskGone"];
const ONLY_CALL: [&str; 5] = ["ContentType", "Method", "Path", "QueryParameters", "RequestBody"];

/// Takes a task's input as a request.
pub fn parse(input: &str, strictness: Strictness) -> Result<Parsed, InvalidParameters> {
    let value = json::read(input).map_err(|error| unreadable(&error))?;
    let top = Fields::of("$", &value)?;
    let mut warnings = Vec::new();
    tolerate(top.unknown(&KNOWN), strictness, &mut warnings)?;
    let text = |name: &str| Ok(top.string(name)?.map(ToOwned::to_owned));
    let target = Target {
        name: text("ClusterName")?,
        endpoint: text("Endpoint")?,
        certificate_authority: text("CertificateAuthority")?,
    };
    let token = task_token(&top)?;
    let request = match action(&top)? {
        Action::Run(answer) => {
            refuse_fields_of_the_other(&top, &ONLY_CALL, "no such field beside Job")?;
            let (logs, passed_over) = log_options::parse(&top, strictness)?;
            warnings.extend(passed_over);
            let namespace = namespace(&top)?;
            let manifest = Manifest::parse(&top, namespace)?;
            Request::RunJob(Box::new(RunJob {
                namespace: manifest.namespace().to_owned(),
                manifest,
                answer,
                logs,
                on_task_gone: on_task_gone(&top)?,
                on_stuck: on_stuck(&top)?,
                idempotency_key: idempotency_key(&top)?,
            }))
        }
        Action::Call => {
            refuse_fields_of_the_other(&top, &ONLY_RUN_JOB, "no such field beside Method and Path")?;
            Request::Call(Box::new(call::parse(&top)?))
        }
    };
    Ok(Parsed { request, target, token, warnings })
}

/// The refusal of an input as a whole.
fn unreadable(error: &Unreadable) -> InvalidParameters {
    match error {
        Unreadable::Reserved { path, .. } => reserved(path, error),
        Unreadable::Syntax(reason) => {
            InvalidParameters::text("$", format!("text that is no JSON ({reason})"), "a JSON object")
        }
        Unreadable::TooDeep { .. } | Unreadable::LongNumber | Unreadable::TooLong(_) => {
            InvalidParameters::text("$", format!("something {error}"), "a JSON object of at most 127 levels")
        }
    }
}

/// The refusal of an object that would be read as something else.
pub(crate) fn reserved(path: &str, error: &Unreadable) -> InvalidParameters {
    InvalidParameters::text(path, error.to_string(), "no key that the reader of JSON keeps for itself")
}

enum Action {
    Run(Answer),
    Call,
}

fn action(top: &Fields<'_>) -> Result<Action, InvalidParameters> {
    match top.string("Action")? {
        Some("runJob.sync") => Ok(Action::Run(Answer::WhenFinished)),
        Some("runJob") => Ok(Action::Run(Answer::WhenCreated)),
        Some("call") => Ok(Action::Call),
        Some(_) => Err(top.refuse("Action", "one of \"runJob.sync\", \"runJob\", \"call\"")),
        None if top.get("Job").is_some() => Ok(Action::Run(Answer::WhenFinished)),
        None if top.get("Method").is_some() || top.get("Path").is_some() => Ok(Action::Call),
        None => Err(InvalidParameters::absent("$.Job", "a Job to run, or Method and Path of a call")),
    }
}

fn refuse_fields_of_the_other(top: &Fields<'_>, other: &[&str], expected: &str) -> Result<(), InvalidParameters> {
    match other.iter().find(|name| top.get(name).is_some()) {
        Some(name) => Err(top.refuse(name, expected)),
        None => Ok(()),
    }
}

/// The most fields of an object that are told of, having been passed over.
const MAX_WARNINGS: usize = 10;

/// Refuses what is not known, or notes it as a warning.
pub(crate) fn tolerate(
    mut unknown: impl Iterator<Item = InvalidParameters>,
    strictness: Strictness,
    warnings: &mut Vec<InvalidParameters>,
) -> Result<(), InvalidParameters> {
    match strictness {
        Strictness::Strict => unknown.next().map_or(Ok(()), Err),
        Strictness::Lenient => {
            warnings.extend(unknown.take(MAX_WARNINGS));
            Ok(())
        }
    }
}

fn namespace<'a>(top: &Fields<'a>) -> Result<Option<&'a str>, InvalidParameters> {
    match top.string("Namespace")? {
        Some(name) if !is_dns_label(name) => Err(top.refuse("Namespace", "a namespace's name: a DNS label")),
        other => Ok(other),
    }
}

fn on_task_gone(top: &Fields<'_>) -> Result<OnTaskGone, InvalidParameters> {
    match top.string("OnTaskGone")? {
        None | Some("delete") => Ok(OnTaskGone::Delete),
        Some("detach") => Ok(OnTaskGone::Detach),
        Some(_) => Err(top.refuse("OnTaskGone", "\"delete\" or \"detach\"")),
    }
}

fn on_stuck(top: &Fields<'_>) -> Result<OnStuck, InvalidParameters> {
    match top.string("OnStuck")? {
        None | Some("fail") => Ok(OnStuck::Fail),
        Some("wait") => Ok(OnStuck::Wait),
        Some(_) => Err(top.refuse("OnStuck", "\"fail\" or \"wait\"")),
    }
}

/// The token in an input that may be no request: whoever hands one over is answered with it, a bad request, too.
pub fn token_in(input: &str) -> Option<TaskToken> {
    let input = json::read(input).ok()?;
    TaskToken::new(input.get("TaskToken")?.as_str()?).ok()
}

/// What was found is not shown: it is a credential, or next to one.
fn task_token(top: &Fields<'_>) -> Result<Option<TaskToken>, InvalidParameters> {
    let refused = |found: String| InvalidParameters::text("$.TaskToken", found, "a task token: $$.Task.Token");
    match top.get("TaskToken") {
        None => Ok(None),
        Some(Value::String(text)) => {
            TaskToken::new(text.as_str()).map(Some).map_err(|error| refused(error.to_string()))
        }
        Some(_) => Err(refused("something that is no string".to_owned())),
    }
}

fn idempotency_key(top: &Fields<'_>) -> Result<Option<IdempotencyKey>, InvalidParameters> {
    let Some(text) = top.string("IdempotencyKey")? else { return Ok(None) };
    let key = IdempotencyKey::new(text).ok_or_else(|| top.refuse("IdempotencyKey", "1 to 1024 characters"))?;
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::log_options::Retrieve;

    fn run_job(input: &Value) -> RunJob {
        match parse(&input.to_string(), Strictness::Strict).unwrap().request {
            Request::RunJob(run) => *run,
            Request::Call(_) => panic!("a call"),
        }
    }

    fn refused(input: &Value) -> String {
        parse(&input.to_string(), Strictness::Strict).unwrap_err().to_string()
    }

    fn job() -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"},
               "spec": {"template": {"spec": {"containers": []}}}})
    }

    #[test]
    fn a_job_alone_means_to_run_it_and_wait() {
        let run = run_job(&json!({"Job": job()}));
        assert_eq!(run.answer, Answer::WhenFinished);
        assert_eq!(run.namespace, "default");
        assert_eq!(run.logs.retrieve, Retrieve::OnFailure);
    }

    #[test]
    fn an_action_says_it_outright() {
        assert_eq!(run_job(&json!({"Action": "runJob", "Job": job()})).answer, Answer::WhenCreated);
    }

    #[test]
    fn logs_that_were_declined_are_told_apart_from_logs_nobody_spoke_of() {
        let run = run_job(&json!({"Job": job(), "LogOptions": {"RetrieveLogs": false}}));
        assert_eq!(run.logs.retrieve, Retrieve::Never);
    }

    #[test]
    fn errors_name_the_path_the_found_and_the_expected() {
        let cases = [
            (json!([]), "$: expected an object, found a list of 0"),
            (json!({}), "$.Job: expected a Job to run, or Method and Path of a call, found nothing"),
            (json!({"job": job()}), "$.job: expected no such field, found an object of 4 fields; did you mean Job?"),
            (json!({"Job": job(), "Namespace": 7}), "$.Namespace: expected a string, found the number 7"),
            (
                json!({"Job": job(), "Namespace": "My_Space"}),
                "$.Namespace: expected a namespace's name: a DNS label, found the string \"My_Space\"",
            ),
            (
                json!({"Job": job(), "LogOptions": {"RetrieveLogs": "yes"}}),
                "$.LogOptions.RetrieveLogs: expected true or false, found the string \"yes\"",
            ),
            (
                json!({"Job": job(), "LogOptions": {"Retrievelog": true}}),
                "$.LogOptions.Retrievelog: expected no such field, found the boolean true; did you mean RetrieveLogs?",
            ),
            (
                json!({"Job": job(), "LogOptions": {"LogParameters": {"tailLines": ["six"]}}}),
                "$.LogOptions.LogParameters.tailLines: expected a list of one string that is a whole number, 0 or more, \
                 found a list of 1",
            ),
            (
                json!({"Job": job(), "LogOptions": {"LogParameters": {"follow": ["true"]}}}),
                "$.LogOptions.LogParameters.follow: expected no such parameter: runjob reads every container, to its \
                 end, found a list of 1",
            ),
            (
                json!({"Job": job(), "Path": "/api"}),
                "$.Path: expected no such field beside Job, found the string \"/api\"",
            ),
            (
                json!({"Job": job(), "Action": "run"}),
                "$.Action: expected one of \"runJob.sync\", \"runJob\", \"call\", found the string \"run\"",
            ),
            (
                json!({"Job": job(), "OnTaskGone": "keep"}),
                "$.OnTaskGone: expected \"delete\" or \"detach\", found the string \"keep\"",
            ),
            (json!({"Job": job(), "OnStuck": true}), "$.OnStuck: expected a string, found the boolean true"),
            (
                json!({"Job": job(), "IdempotencyKey": ""}),
                "$.IdempotencyKey: expected 1 to 1024 characters, found the string \"\"",
            ),
            (
                json!({"Method": "GET", "Path": "/api", "IdempotencyKey": "k"}),
                "$.IdempotencyKey: expected no such field beside Method and Path, found the string \"k\"",
            ),
        ];
        for (input, message) in cases {
            assert_eq!(refused(&input), message, "{input}");
        }
    }

    #[test]
    fn text_that_is_no_json_is_refused() {
        let error = parse("{", Strictness::Strict).unwrap_err();
        assert!(error.to_string().starts_with("$: expected a JSON object, found text that is no JSON"), "{error}");
    }

    #[test]
    fn an_object_that_would_be_read_as_something_else_is_refused_with_its_path() {
        let number = r#"{"$serde_json::private::Number": "2"}"#;
        let escaped = r#"{"$serde_json\u003a:private::RawValue": "[[1]]"}"#;
        let call = |body: &str| format!(r#"{{"Method": "POST", "Path": "/api", "RequestBody": {{"a": [{body}]}}}}"#);
        let yaml = |field: &str, text: &str| json!({"Method": "POST", "Path": "/api", field: text}).to_string();
        let table = [
            (
                call(number),
                "$.RequestBody.a[0]: expected no key that the reader of JSON keeps for itself, found the key",
            ),
            (call(escaped), "$.RequestBody.a[0]: expected no key that"),
            (yaml("RequestBody", &format!(r#"{{"a": {escaped}}}"#)), "$.RequestBody: expected"),
            (yaml("RequestBody", "a: {\"\\x24serde_json::private::Number\": '2'}"), "$.RequestBody: expected"),
            (json!({"Job": format!("[{number}]")}).to_string(), "$.Job: expected"),
            (json!({"Job": "kind: {$serde_json::private::Number: '2'}"}).to_string(), "$.Job: expected"),
            (format!("{{\"Job\": {number}}}"), "$.Job: expected"),
        ];
        for (input, message) in table {
            let found = parse(&input, Strictness::Lenient).unwrap_err().to_string();
            assert!(found.starts_with(message) && found.contains("is reserved"), "{input}: {found}");
        }
    }

    #[test]
    fn documents_inside_of_strings_share_one_depth() {
        let job = |levels: usize| json!({"Job": format!("{}1{}", "[".repeat(levels), "]".repeat(levels))}).to_string();
        let found = |levels: usize| parse(&job(levels), Strictness::Strict).unwrap_err().to_string();
        assert!(found(126).starts_with("$.Job: expected an object, found a list of 1"), "{}", found(126));
        assert!(found(127).starts_with("$.Job: expected a batch/v1 Job"), "{}", found(127));
    }

    #[test]
    fn a_lenient_worker_warns_of_unknown_fields() {
        let input = json!({"Job": job(), "Extra": 1, "LogOptions": {"More": 2}});
        let parsed = parse(&input.to_string(), Strictness::Lenient).unwrap();
        let paths: Vec<_> = parsed.warnings.iter().map(InvalidParameters::path).collect();
        assert_eq!(paths, ["$.Extra", "$.LogOptions.More"]);
    }

    #[test]
    fn a_long_value_is_not_shown_whole() {
        let message = refused(&json!({"Job": job(), "OnTaskGone": "x".repeat(500)}));
        assert!(message.len() < 200 && message.contains("502 characters"), "{message}");
    }
}
