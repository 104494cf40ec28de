//! The text that answers a task, within its limit: a result, or the cause of a failure.
//!
//! What does not fit gives way in this order: the logs (a fair share for each, beginning and end kept), the Events, the pod
//! template, the rest of the Job but identity and status, the logs of all but the first pods.

use serde_json::{Map, Value, json};

use crate::{
    answer::ApiAnswer,
    budget::{ByteBudget, CAUSE_BUDGET, escaped_len, fair_shares, shortened},
    failure::{ErrorName, TaskFailure},
    log_options::LogFormat,
    logs::{Logs, Rendering},
    token::TaskToken,
};

/// What the payload of a function's error takes beside the message: `{"errorType":"…","errorMessage":"…"}` with a name of 256 characters.
const ERROR_PAYLOAD: usize = 320;

/// The longest message that a reduced Job keeps: 1 KiB.
const SHORT_MESSAGE: usize = 1024;

/// What becomes of a finished Job's logs in an output.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    /// The logs. `None`: nobody asked for them.
    pub logs: Option<&'a Logs>,
    /// How they are rendered.
    pub format: LogFormat,
}

/// Whether a call changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "it does, or it does not")]
pub enum Write {
    Yes,
    No,
}

/// The result of a `runJob.sync`: the Job itself, and its logs beside `status`.
pub fn of_job(job: &Value, reported: Reported<'_>, budget: ByteBudget) -> Result<String, TaskFailure> {
    let ever_less = [job.clone(), without_template(job), reduced(job)];
    fit(&ever_less, reported, budget).ok_or_else(|| {
        let message = format!("the Job's identity and status alone take more than the {} bytes of a result", budget.0);
        TaskFailure::saying(ErrorName::OutputTooLarge, message)
    })
}

/// The cause of a Job's failure.
pub fn of_failure(diagnosis: &Value, job: &Value, reported: Reported<'_>, budget: ByteBudget) -> String {
    let mut no_events = diagnosis.clone();
    if let Some(diagnosis) = no_events.as_object_mut() {
        diagnosis.shift_remove("events");
    }
    let cause = |diagnosis: &Value, job: Value| json!({"diagnosis": diagnosis, "job": job});
    let ever_less = [
        cause(diagnosis, job.clone()),
        cause(&no_events, job.clone()),
        cause(&no_events, without_template(job)),
        cause(&no_events, reduced(job)),
    ];
    fit(&ever_less, reported, budget).unwrap_or_else(|| {
        let code = diagnosis.get("code").cloned().unwrap_or_default();
        let summary = diagnosis.get("summary").and_then(Value::as_str).unwrap_or_default();
        json!({"diagnosis": {"code": code, "summary": shortened(summary, SHORT_MESSAGE)}}).to_string()
    })
}

/// An answer to a `call`, as it has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Its HTTP status.
    pub status: u16,
    /// The status in words.
    pub status_text: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// The result of a `call`: the native envelope. What is too long even without its spaces is not parsed: as a tree it would take many
/// times as much.
pub fn of_call(
    arrived: Arrived<'_>,
    tokens: &[TaskToken],
    write: Write,
    budget: ByteBudget,
) -> Result<String, TaskFailure> {
    let Arrived { status, status_text, body } = arrived;
    let too_large = |bytes: usize| {
        let message = format!("the answer takes {bytes} bytes, a result has room for {}", budget.0);
        too_large_call(&message, status, write)
    };
    let least = least_len(body);
    // Task tokens are taken out, so that a list of Jobs may become somewhat shorter.
    if least > budget.0.saturating_mul(2) {
        return Err(too_large(least));
    }
    let text = ApiAnswer::new(status, status_text, body).without(tokens).into_envelope().to_string();
    if text.len() <= budget.0 { Ok(text) } else { Err(too_large(text.len())) }
}

/// What a JSON text takes without the spaces between its parts, and with each of its escapes as short as can be. Of a text that is no
/// JSON it is less than the text takes.
fn least_len(json: &[u8]) -> usize {
    let (mut least, mut in_string) = (0_usize, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                let digits = if bytes.next() == Some(&b'u') { 4 } else { 0 };
                bytes = bytes.as_slice().get(digits..).unwrap_or_default().iter();
            }
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => continue,
            _ => {}
        }
        least = least.saturating_add(1);
    }
    least
}

/// The failure of a call whose answer is too long, whether or not it could be read.
pub fn too_large_call(message: &str, status: u16, write: Write) -> TaskFailure {
    let mut cause = json!({
        "message": message,
        "hint": "ask for less: QueryParameters limit, labelSelector or fieldSelector",
        "StatusCode": status,
    });
    if let (Write::Yes, 200..=299, Some(cause)) = (write, status, cause.as_object_mut()) {
        cause.insert("applied".into(), true.into());
    }
    TaskFailure::new(ErrorName::OutputTooLarge, cause)
}

/// The text of a cause that is not a Job's: always JSON, always within the budget.
pub fn of_cause(cause: &Value, budget: ByteBudget) -> String {
    let text = cause.to_string();
    if text.len() <= budget.0 {
        return text;
    }
    let mut reduced = cause.clone();
    shorten_strings(&mut reduced);
    let text = reduced.to_string();
    if text.len() <= budget.0 {
        return text;
    }
    json!({"message": "the cause takes more room than a cause has"}).to_string()
}

/// The longest cause whose text still fits once it is put, escaped, into another JSON: what Lambda makes of a function's error is the
/// cause that Step Functions sees. `compose` gives a cause within a budget.
pub fn nested(compose: impl Fn(ByteBudget) -> String) -> String {
    let room = CAUSE_BUDGET.0.saturating_sub(ERROR_PAYLOAD);
    let mut budget = ByteBudget(room);
    loop {
        let text = compose(budget);
        let takes = escaped_len(&text);
        // What does not shrink any more is the least that there is to say.
        if takes <= room || budget.0 < SHORT_MESSAGE {
            return text;
        }
        budget = ByteBudget((budget.0 * room / takes).min(budget.0 - SHORT_MESSAGE));
    }
}

/// The first of these objects that fits together with its logs, each of them cut as far as need be. Objects and logs become text once:
/// what is tried is how much of it.
fn fit(ever_less: &[Value], reported: Reported<'_>, budget: ByteBudget) -> Option<String> {
    let ever_less: Vec<String> = ever_less.iter().map(Value::to_string).collect();
    let Some(logs) = reported.logs else {
        return ever_less.into_iter().find(|object| object.len() <= budget.0);
    };
    let logs = Rendering::of(logs, reported.format);
    let mut keep = logs.pods();
    loop {
        let sizes = logs.sizes(keep);
        let whole = logs.text(keep, &sizes);
        // What everything takes with each log cut to nothing but the mark of its cut.
        let least = logs.text(keep, &vec![0; sizes.len()]);
        for object in &ever_less {
            let takes = |logs: &str| object.len() + LOGS.len() + logs.len();
            if takes(&whole) <= budget.0 {
                return with_logs(object, &whole);
            }
            if let Some(room) = budget.0.checked_sub(takes(&least)) {
                let some = logs.text(keep, &fair_shares(&sizes, room));
                if takes(&some) <= budget.0 {
                    return with_logs(object, &some);
                }
            }
        }
        if keep == 0 {
            return None;
        }
        keep /= 2;
    }
}

/// What is between an object and its logs.
const LOGS: &str = ",\"logs\":";

/// The JSON text of an object with its logs as one more field.
fn with_logs(object: &str, logs: &str) -> Option<String> {
    let fields = object.strip_suffix('}')?;
    let field = if fields == "{" { LOGS.trim_start_matches(',') } else { LOGS };
    Some(format!("{fields}{field}{logs}}}"))
}

fn without_template(job: &Value) -> Value {
    let mut job = job.clone();
    if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
        spec.shift_remove("template");
    }
    job
}

/// Identity and status, long messages cut.
fn reduced(job: &Value) -> Value {
    let Some(job) = job.as_object() else { return job.clone() };
    let mut kept = Map::new();
    for field in ["apiVersion", "kind"] {
        if let Some(value) = job.get(field) {
            kept.insert(field.into(), value.clone());
        }
    }
    let mut metadata = Map::new();
    for field in ["namespace", "name", "uid", "creationTimestamp"] {
        if let Some(value) = job.get("metadata").and_then(|metadata| metadata.get(field)) {
            metadata.insert(field.into(), value.clone());
        }
    }
    kept.insert("metadata".into(), metadata.into());
    if let Some(status) = job.get("status") {
        let mut status = status.clone();
        shorten_strings(&mut status);
        kept.insert("status".into(), status);
    }
    kept.into()
}

fn shorten_strings(value: &mut Value) {
    match value {
        Value::String(text) => *text = shortened(text, SHORT_MESSAGE),
        Value::Array(items) => items.iter_mut().for_each(shorten_strings),
        Value::Object(map) => map.values_mut().for_each(shorten_strings),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        budget::{CAUSE_BUDGET, OUTPUT_BUDGET},
        logs::{ContainerLog, ContainerLogs, LogBuffer, LogText, PodLogs},
    };

    fn logs_of(texts: Vec<LogText>) -> Logs {
        let pods = texts.into_iter().enumerate().map(|(n, text)| PodLogs {
            pod: format!("pod-{n}"),
            containers: vec![ContainerLogs { container: "main".into(), log: ContainerLog::Read(text), previous: None }],
        });
        Logs { pods: pods.collect(), ..Logs::default() }
    }

    fn parsed(logs: &Logs) -> Reported<'_> {
        Reported { logs: Some(logs), format: LogFormat::Parsed }
    }

    fn a_job(filling: usize) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "uid": "u"},
               "spec": {"template": "t".repeat(filling)}, "status": {"succeeded": 1}})
    }

    #[test]
    fn the_result_is_the_job_with_its_logs() {
        let logs = logs_of(vec!["{\"pi\": 3.14159265358979323846264338327950288}\n".into()]);
        let text = of_job(&json!({"kind": "Job", "status": {}}), parsed(&logs), OUTPUT_BUDGET).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"Job","status":{},"logs":{"pods":{"pod-0":{"containers":{"main":{"log":{"pi":3.14159265358979323846264338327950288}}}}}}}"#
        );
    }

    #[test]
    fn logs_nobody_asked_for_are_absent() {
        let text = of_job(&json!({"kind": "Job"}), Reported { logs: None, format: LogFormat::Raw }, OUTPUT_BUDGET);
        assert_eq!(text.unwrap(), r#"{"kind":"Job"}"#);
    }

    #[test]
    fn logs_give_way_before_the_job_does() {
        let logs = logs_of(vec!["x".repeat(5000).as_str().into(), "short".into()]);
        let text = of_job(&a_job(1000), parsed(&logs), ByteBudget(3000)).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(result["spec"]["template"].as_str().unwrap().len(), 1000);
        assert_eq!(result["logs"]["pods"]["pod-1"]["containers"]["main"], json!({"log": "short"}));
        let cut = &result["logs"]["pods"]["pod-0"]["containers"]["main"];
        assert_eq!(cut["truncated"], json!(true));
        assert!(text.len() > 2800, "{} of 3000 bytes used", text.len());
    }

    #[test]
    fn the_template_gives_way_before_the_status() {
        let text = of_job(&a_job(5000), Reported { logs: None, format: LogFormat::Raw }, ByteBudget(3000)).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((result["spec"].clone(), result["status"].clone()), (json!({}), json!({"succeeded": 1})));
    }

    #[test]
    fn events_give_way_before_the_template_does() {
        let diagnosis = json!({"code": "c", "events": ["e".repeat(3000)]});
        let nothing = Reported { logs: None, format: LogFormat::Raw };
        let cause = of_failure(&diagnosis, &a_job(1000), nothing, ByteBudget(3000));
        let cause: Value = serde_json::from_str(&cause).unwrap();
        assert_eq!(cause["diagnosis"], json!({"code": "c"}));
        assert_eq!(cause["job"], a_job(1000));
    }

    #[test]
    fn an_answer_that_is_too_long_for_a_result_is_refused_with_what_it_takes() {
        let budget = ByteBudget(100);
        let called = |body: &str| {
            let arrived = Arrived { status: 201, status_text: "Created", body: body.as_bytes() };
            of_call(arrived, &[], Write::Yes, budget)
        };
        assert_eq!(
            called("{ \"a\": [ 1,  2 ] }").unwrap(),
            r#"{"ResponseBody":{"a":[1,2]},"StatusCode":201,"StatusText":"Created"}"#
        );
        assert!(called(&format!("[{}1]", " ".repeat(1000))).is_ok());
        // A little too long, far too long, and no JSON at all.
        for body in [format!("[{}1]", "1,".repeat(40)), format!("[{}1]", "1,".repeat(1000)), "x".repeat(1000)] {
            let failure = called(&body).unwrap_err();
            assert_eq!(failure.error, ErrorName::OutputTooLarge);
            assert_eq!((&failure.cause["StatusCode"], &failure.cause["applied"]), (&json!(201), &json!(true)));
        }
    }

    proptest! {
        #[test]
        fn no_json_takes_less_than_is_said(text in "[ -~äö]*", spaces in 0_usize..20) {
            let value = json!({"a": [text, 1], "b": {}});
            let compact = value.to_string();
            let spaced = compact.replacen(':', &format!(" :{}", " ".repeat(spaces)), 1);
            // As no server writes it.
            let escaped = compact.replace('a', "\\u0061");
            for body in [&compact, &spaced, &escaped] {
                prop_assert!(least_len(body.as_bytes()) <= compact.len(), "{body}");
            }
        }
    }

    #[test]
    fn what_cannot_be_made_to_fit_is_an_error_of_its_own() {
        let text = of_job(&a_job(0), Reported { logs: None, format: LogFormat::Raw }, ByteBudget(50));
        assert_eq!(text.unwrap_err().error, ErrorName::OutputTooLarge);
    }

    #[test]
    fn a_cause_always_fits() {
        let logs = logs_of((0..100).map(|_| "y".repeat(10_000).as_str().into()).collect());
        let diagnosis = json!({"code": "Job.Failed", "summary": "s".repeat(100_000)});
        let text = of_failure(&diagnosis, &a_job(100_000), parsed(&logs), CAUSE_BUDGET);
        assert!(text.len() <= CAUSE_BUDGET.0);
        let cause: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(cause["diagnosis"]["code"], json!("Job.Failed"));
    }

    /// What is left of each log in a result.
    fn lengths(result: &str) -> Vec<usize> {
        let result: Value = serde_json::from_str(result).unwrap();
        let pods = result["logs"]["pods"].as_object().unwrap();
        pods.values().map(|pod| pod["containers"]["main"]["log"].to_string().len()).collect()
    }

    #[test]
    fn logs_that_were_cut_to_the_budget_give_the_same_result() {
        let logs =
            logs_of(vec!["x".repeat(5000).as_str().into(), "{\"a\": 1}".into(), "yz".repeat(4000).as_str().into()]);
        let whole = of_job(&a_job(1000), parsed(&logs), ByteBudget(6000)).unwrap();
        let cut = logs.clone().within(LogFormat::Parsed, ByteBudget(6000));
        assert!(cut.held() <= 6000 && logs.held() > 12_000, "{} of {} bytes", cut.held(), logs.held());
        let of_cut = of_job(&a_job(1000), parsed(&cut), ByteBudget(6000)).unwrap();
        assert!(lengths(&whole).iter().zip(lengths(&of_cut)).all(|(one, other)| one.abs_diff(other) < 8));
        for text in [whole, of_cut] {
            let pods = serde_json::from_str::<Value>(&text).unwrap()["logs"]["pods"].clone();
            assert_eq!(pods["pod-1"]["containers"]["main"], json!({"log": {"a": 1}}));
            assert_eq!(pods["pod-2"]["containers"]["main"]["truncated"], json!(true));
        }
    }

    #[test]
    fn a_cut_says_how_much_was_cut_in_all() {
        let logs = logs_of(vec!["x".repeat(5000).as_str().into()]).within(LogFormat::Raw, ByteBudget(1000));
        let text = of_job(&json!({}), parsed(&logs), ByteBudget(700)).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        let log = result["logs"]["pods"]["pod-0"]["containers"]["main"]["log"].as_str().unwrap();
        let kept = log.matches('x').count();
        assert!(log.contains(&format!("[runjob: {} bytes cut here]", 5000 - kept)), "{log}");
    }

    prop_compose! {
        fn any_logs()(logs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..8)) -> Logs {
            logs_of(logs.iter().map(|bytes| {
                let mut buffer = LogBuffer::new(2000);
                buffer.push(bytes);
                buffer.finish()
            }).collect())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_result_is_json_within_its_budget(logs in any_logs(), filling in 0_usize..4000, budget in 200_usize..20_000) {
            if let Ok(text) = of_job(&a_job(filling), parsed(&logs), ByteBudget(budget)) {
                prop_assert!(text.len() <= budget);
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            } else {
                prop_assert!(budget < 300);
            }
        }

        #[test]
        fn nothing_is_cut_when_everything_fits(logs in any_logs()) {
            let whole = of_job(&a_job(10), parsed(&logs), ByteBudget(usize::MAX)).unwrap();
            let exactly = of_job(&a_job(10), parsed(&logs), ByteBudget(whole.len())).unwrap();
            prop_assert_eq!(whole, exactly);
        }

        #[test]
        fn logs_that_were_cut_before_are_no_longer_than_the_budget_and_lose_little(logs in any_logs(), budget in 500_usize..10_000) {
            let whole = of_job(&json!({}), parsed(&logs), ByteBudget(budget));
            let cut = logs.within(LogFormat::Parsed, ByteBudget(budget));
            prop_assert!(cut.held() <= budget + 8 * 64);
            let of_cut = of_job(&json!({}), parsed(&cut), ByteBudget(budget));
            let length = |text: &Result<String, TaskFailure>| text.as_ref().map_or(0, String::len);
            prop_assert!(length(&whole) <= length(&of_cut) + 8 * 64, "{} and {}", length(&whole), length(&of_cut));
        }

        #[test]
        fn any_nested_cause_fits_into_the_payload_of_an_error(
            logs in any_logs(),
            escapes in prop::collection::vec("[\"\\\\\n\u{1}a]{0,4000}", 0..4),
            filling in 0_usize..40_000,
        ) {
            let mut all = logs.clone();
            all.pods.extend(logs_of(escapes.iter().map(|text| text.as_str().into()).collect()).pods);
            for format in [LogFormat::Parsed, LogFormat::Raw] {
                let reported = Reported { logs: Some(&all), format };
                let cause = nested(|budget| of_failure(&json!({"code": "Job.Failed"}), &a_job(filling), reported, budget));
                prop_assert!(serde_json::from_str::<Value>(&cause).is_ok());
                let payload = json!({"errorType": "x".repeat(256), "errorMessage": cause}).to_string();
                prop_assert!(payload.len() <= CAUSE_BUDGET.0, "{}", payload.len());
            }
        }

        #[test]
        fn any_cause_is_json_within_its_budget(logs in any_logs(), filling in 0_usize..4000, budget in 1200_usize..20_000) {
            let text = of_failure(&json!({"code": "c"}), &a_job(filling), parsed(&logs), ByteBudget(budget));
            prop_assert!(text.len() <= budget);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
