//! A task's input, taken as a request: `runJob.sync`, `runJob` or `call`, with the native parameters and the extensions.
//!
//! Everything that can be refused without asking a cluster is refused here, before anything is created.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    call::{self, Call},
    failure::{ErrorName, TaskFailure},
    fields::{Fields, describe},
    manifest::Manifest,
    names::is_dns_label,
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
    /// The cluster that the request names, if it does.
    pub cluster: Option<String>,
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

/// `LogOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogOptions {
    /// `RetrieveLogs`.
    pub retrieve: Retrieve,
    /// `RawLogs`: whether a log that is a JSON document stays text.
    pub format: LogFormat,
    /// `LogParameters`: passed on to the request that reads a pod's log.
    pub parameters: Vec<(String, Vec<String>)>,
    /// `MaxBytes`: the most that is kept of one container's log.
    pub max_bytes: Option<u64>,
}

/// `LogOptions.RetrieveLogs`. Absent is not the same as `false`: a failed Job's logs are worth having.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Retrieve {
    /// Absent: the logs of a Job that failed.
    #[default]
    OnFailure,
    /// `true`.
    Always,
    /// `false`.
    Never,
}

/// `LogOptions.RawLogs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// A whole log that is one JSON document becomes that JSON.
    #[default]
    Parsed,
    /// A log stays text.
    Raw,
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

/// A part of the input cannot be taken: `RunJob.InvalidParameters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidParameters {
    path: String,
    found: String,
    expected: String,
    suggestion: Option<String>,
}

/// A request, and the warnings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What the task asks for.
    pub request: Request,
    /// What was passed over ([`Strictness::Lenient`]).
    pub warnings: Vec<InvalidParameters>,
}

const KNOWN: [&str; 13] = [
    "Action",
    "CertificateAuthority",
    "ClusterName",
    "ContentType",
    "Endpoint",
    "Job",
    "LogOptions",
    "Method",
    "Namespace",
    "OnTaskGone",
    "Path",
    "QueryParameters",
    "RequestBody",
];
const ONLY_RUN_JOB: [&str; 4] = ["Job", "LogOptions", "Namespace", "OnTaskGone"];
const ONLY_CALL: [&str; 5] = ["ContentType", "Method", "Path", "QueryParameters", "RequestBody"];

/// The query parameters of the request that reads a pod's log. `follow` and `container` are `runjob`'s own to set.
const LOG_PARAMETERS: [(&str, LogParameter); 9] = [
    ("insecureSkipTLSVerifyBackend", LogParameter::Boolean),
    ("limitBytes", LogParameter::Natural),
    ("pretty", LogParameter::Text),
    ("previous", LogParameter::Boolean),
    ("sinceSeconds", LogParameter::Natural),
    ("sinceTime", LogParameter::Text),
    ("stream", LogParameter::Text),
    ("tailLines", LogParameter::Natural),
    ("timestamps", LogParameter::Boolean),
];

#[derive(Debug, Clone, Copy)]
enum LogParameter {
    Boolean,
    Natural,
    Text,
}

/// Takes a task's input as a request.
pub fn parse(input: &str, strictness: Strictness) -> Result<Parsed, InvalidParameters> {
    let value: Value = serde_json::from_str(input).map_err(|error| InvalidParameters {
        path: "$".into(),
        found: format!("text that is no JSON ({error})"),
        expected: "a JSON object".into(),
        suggestion: None,
    })?;
    let top = Fields::of("$", &value)?;
    let mut warnings = Vec::new();
    tolerate(top.unknown(&KNOWN), strictness, &mut warnings)?;
    let cluster = top.string("ClusterName")?.map(ToOwned::to_owned);
    top.string("CertificateAuthority")?;
    top.string("Endpoint")?;
    let request = match action(&top)? {
        Action::Run(answer) => {
            refuse_fields_of_the_other(&top, &ONLY_CALL, "no such field beside Job")?;
            let (logs, passed_over) = log_options(&top, strictness)?;
            warnings.extend(passed_over);
            let namespace = namespace(&top)?;
            let manifest = Manifest::parse(&top, namespace)?;
            Request::RunJob(Box::new(RunJob {
                cluster,
                namespace: manifest.namespace().to_owned(),
                manifest,
                answer,
                logs,
                on_task_gone: on_task_gone(&top)?,
            }))
        }
        Action::Call => {
            refuse_fields_of_the_other(&top, &ONLY_RUN_JOB, "no such field beside Method and Path")?;
            Request::Call(Box::new(call::parse(&top, cluster)?))
        }
    };
    Ok(Parsed { request, warnings })
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

fn tolerate(
    unknown: Vec<InvalidParameters>,
    strictness: Strictness,
    warnings: &mut Vec<InvalidParameters>,
) -> Result<(), InvalidParameters> {
    if let (Strictness::Strict, Some(first)) = (strictness, unknown.first()) {
        return Err(first.clone());
    }
    warnings.extend(unknown);
    Ok(())
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

fn log_options(
    top: &Fields<'_>,
    strictness: Strictness,
) -> Result<(LogOptions, Vec<InvalidParameters>), InvalidParameters> {
    let mut warnings = Vec::new();
    let Some(options) = top.object("LogOptions")? else { return Ok((LogOptions::default(), warnings)) };
    tolerate(options.unknown(&["LogParameters", "MaxBytes", "RawLogs", "RetrieveLogs"]), strictness, &mut warnings)?;
    let retrieve = match options.boolean("RetrieveLogs")? {
        None => Retrieve::OnFailure,
        Some(true) => Retrieve::Always,
        Some(false) => Retrieve::Never,
    };
    let format = match options.boolean("RawLogs")? {
        Some(true) => LogFormat::Raw,
        _ => LogFormat::Parsed,
    };
    let parameters = options.multi_map("LogParameters")?;
    if let Some(given) = options.object("LogParameters")? {
        check_log_parameters(&given, &parameters)?;
    }
    Ok((LogOptions { retrieve, format, parameters, max_bytes: options.natural("MaxBytes")? }, warnings))
}

fn check_log_parameters(given: &Fields<'_>, parameters: &[(String, Vec<String>)]) -> Result<(), InvalidParameters> {
    let names: Vec<&str> = LOG_PARAMETERS.iter().map(|(name, _)| *name).collect();
    for (name, values) in parameters {
        if name == "follow" || name == "container" {
            return Err(given.refuse(name, "no such parameter: runjob reads every container, to its end"));
        }
        let Some((_, kind)) = LOG_PARAMETERS.iter().find(|(known, _)| known == name) else {
            return Err(given.unknown(&names).into_iter().next().unwrap_or_else(|| given.refuse(name, "a parameter")));
        };
        let fits = |value: &String| match kind {
            LogParameter::Boolean => value == "true" || value == "false",
            LogParameter::Natural => value.parse::<u64>().is_ok(),
            LogParameter::Text => true,
        };
        let expected = match kind {
            LogParameter::Boolean => "a list of one string, \"true\" or \"false\"",
            LogParameter::Natural => "a list of one string that is a whole number, 0 or more",
            LogParameter::Text => "a list of one string",
        };
        if values.len() != 1 || !values.iter().all(fits) {
            return Err(given.refuse(name, expected));
        }
    }
    Ok(())
}

impl InvalidParameters {
    pub(crate) fn new(path: &str, found: &Value, expected: &str) -> Self {
        Self { path: path.to_owned(), found: describe(found), expected: expected.to_owned(), suggestion: None }
    }

    pub(crate) fn absent(path: &str, expected: &str) -> Self {
        Self { path: path.to_owned(), found: "nothing".to_owned(), expected: expected.to_owned(), suggestion: None }
    }

    pub(crate) fn text(path: &str, found: String, expected: &str) -> Self {
        Self { path: path.to_owned(), found, expected: expected.to_owned(), suggestion: None }
    }

    pub(crate) fn suggesting(self, suggestion: String) -> Self {
        Self { suggestion: Some(suggestion), ..self }
    }

    /// The failure that answers the task.
    pub fn failure(&self) -> TaskFailure {
        let mut cause = json!({
            "message": self.to_string(),
            "path": self.path,
            "found": self.found,
            "expected": self.expected,
        });
        if let (Some(suggestion), Some(cause)) = (&self.suggestion, cause.as_object_mut()) {
            cause.insert("suggestion".into(), suggestion.as_str().into());
        }
        TaskFailure::new(ErrorName::InvalidParameters, cause)
    }
}

impl fmt::Display for InvalidParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_lenient_worker_warns_of_unknown_fields() {
        let input = json!({"Job": job(), "Extra": 1, "LogOptions": {"More": 2}});
        let parsed = parse(&input.to_string(), Strictness::Lenient).unwrap();
        let paths: Vec<_> = parsed.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(paths, ["$.Extra", "$.LogOptions.More"]);
    }

    #[test]
    fn a_long_value_is_not_shown_whole() {
        let message = refused(&json!({"Job": job(), "OnTaskGone": "x".repeat(500)}));
        assert!(message.len() < 200 && message.contains("502 characters"), "{message}");
    }
}
