//! For any Job and any logs: the answer is JSON, it is within its limit, what gives way gives way in its order, and nothing does that
//! need not.

use proptest::{collection::vec, option, prelude::*};
use runjob_core::{
    budget::{ByteBudget, CAUSE_BUDGET, OUTPUT_BUDGET},
    failure::{ErrorName, TaskFailure},
    log_options::LogFormat,
    logs::{ContainerLog, ContainerLogs, LogBuffer, LogText, Logs, PodLogs},
    output::{Reported, of_cause, of_failure, of_job},
};
use serde_json::{Value, json};

const ROOM: ByteBudget = ByteBudget(usize::MAX);
/// What the mark of a cut takes, its quotes, and a character on either side that did not fit.
const SLACK: usize = 2 * (64 + 2 + 12);

fn a_log() -> impl Strategy<Value = LogText> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..3000),
        "[a-zäö語\u{1f600}\n\"\\\\\u{0}]{0,600}".prop_map(String::into_bytes),
        "[0-9]{1,40}".prop_map(String::into_bytes),
        vec(any::<i64>(), 0..200).prop_map(|numbers| json!({ "n": numbers }).to_string().into_bytes()),
    ];
    (bytes, 0_usize..4000).prop_map(|(bytes, limit)| {
        let mut buffer = LogBuffer::new(limit);
        buffer.push(&bytes);
        buffer.finish()
    })
}

fn a_containers_log() -> impl Strategy<Value = ContainerLog> {
    let unreadable = "[ -~]{0,200}".prop_map(|cause| ContainerLog::Unreadable { error: "EKS.404".to_owned(), cause });
    prop_oneof![9 => a_log().prop_map(ContainerLog::Read), 1 => unreadable]
}

prop_compose! {
    fn any_logs()(
        pods in vec(vec((a_containers_log(), option::weighted(0.2, a_containers_log())), 0..4), 0..6),
        omitted in 0_usize..3,
        missing in 0_usize..3,
        unlisted in option::weighted(0.1, Just(("EKS.403".to_owned(), "forbidden".to_owned()))),
    ) -> Logs {
        let pods = pods.into_iter().enumerate().map(|(number, containers)| {
            let containers = containers.into_iter().enumerate().map(|(number, (log, previous))| {
                ContainerLogs { container: format!("c-{number}"), log, previous }
            });
            PodLogs { pod: format!("pod-{number}"), containers: containers.collect() }
        });
        Logs { pods: pods.collect(), omitted, missing, unlisted }
    }
}

prop_compose! {
    fn any_job()(template in 0_usize..5000, labels in 0_usize..2000, message in "[a-zä\n]{0,3000}") -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"namespace": "default", "name": "x", "uid": "u", "labels": {"l": "l".repeat(labels)}},
            "spec": {"parallelism": 1, "template": "t".repeat(template)},
            "status": {"failed": 1, "conditions": [{"type": "Failed", "message": message}]},
        })
    }
}

prop_compose! {
    fn any_diagnosis()(summary in "[a-zä\"\n]{0,2000}", events in vec("[ -~]{0,300}", 0..10)) -> Value {
        json!({"code": "Job.Failed", "summary": summary, "hint": "h", "retryable": false, "containers": [], "events": events})
    }
}

fn reported(logs: &Logs) -> Reported<'_> {
    Reported { logs: Some(logs), format: LogFormat::Parsed }
}

/// The same logs, each cut to nothing but the mark of its cut, where that is shorter.
fn least(logs: &Logs) -> Logs {
    let cut = |log: &ContainerLog| match log {
        ContainerLog::Read(text) if json!(text.text()).to_string().len() > 64 => ContainerLog::Read(text.within(0)),
        other => other.clone(),
    };
    let mut logs = logs.clone();
    for container in logs.pods.iter_mut().flat_map(|pod| &mut pod.containers) {
        container.log = cut(&container.log);
        container.previous = container.previous.as_ref().map(cut);
    }
    logs
}

fn without_logs(logs: &Logs) -> Logs {
    Logs { pods: Vec::new(), omitted: logs.omitted + logs.pods.len(), ..logs.clone() }
}

fn json_of(text: &str) -> Result<Value, TestCaseError> {
    serde_json::from_str(text).map_err(|error| TestCaseError::fail(format!("no JSON: {error}: {text}")))
}

/// How long each log in an output is, and whether it was cut.
fn shown(output: &Value) -> Vec<(usize, bool)> {
    let pods = output.pointer("/logs/pods").and_then(Value::as_object);
    let containers =
        pods.into_iter().flat_map(|pods| pods.values()).filter_map(|pod| pod.get("containers")?.as_object());
    let logs = containers.flat_map(|containers| containers.values()).flat_map(|log| [Some(log), log.get("previous")]);
    let length = |log: &Value| Some((log.get("log")?.to_string().len(), log.get("truncated").is_some()));
    logs.flatten().filter_map(length).collect()
}

fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_result_is_json_within_its_budget_and_gives_way_in_order(job in any_job(), logs in any_logs(), budget in 100_usize..12_000) {
        let budget = ByteBudget(budget);
        let size = |job: &Value, logs: &Logs| of_job(job, reported(logs), ROOM).map(|text| text.len());
        let text = match of_job(&job, reported(&logs), budget) {
            Ok(text) => text,
            Err(TaskFailure { error, .. }) => {
                prop_assert_eq!(error, ErrorName::OutputTooLarge);
                let bare = json!({"apiVersion": job["apiVersion"], "kind": job["kind"]});
                prop_assert!(size(&bare, &without_logs(&logs)).is_ok_and(|size| budget.0 < size + 3500));
                return Ok(());
            }
        };
        prop_assert!(text.len() <= budget.0);
        let output = json_of(&text)?;
        if size(&job, &logs).is_ok_and(|size| size <= budget.0) {
            prop_assert_eq!(text, of_job(&job, reported(&logs), ROOM).unwrap_or_default(), "nothing need be cut");
            return Ok(());
        }
        if !has(&output, "/spec/template") {
            prop_assert!(size(&job, &least(&logs)).is_ok_and(|size| size > budget.0), "the template gives way after the logs");
        }
        if !has(&output, "/metadata/labels") {
            let mut bare = job.clone();
            bare["spec"].as_object_mut().map(|spec| spec.shift_remove("template"));
            prop_assert!(size(&bare, &least(&logs)).is_ok_and(|size| size > budget.0), "the rest gives way after the template");
        }
        prop_assert!(has(&output, "/metadata/uid") && has(&output, "/status/conditions/0/type"));
    }

    #[test]
    fn a_cause_is_json_within_its_budget_and_gives_way_in_order(
        diagnosis in any_diagnosis(), job in any_job(), logs in any_logs(), budget in 8000_usize..20_000
    ) {
        let size = |diagnosis: &Value, job: &Value, logs: &Logs| of_failure(diagnosis, job, reported(logs), ROOM).len();
        let text = of_failure(&diagnosis, &job, reported(&logs), ByteBudget(budget));
        prop_assert!(text.len() <= budget);
        let cause = json_of(&text)?;
        prop_assert_eq!(&cause["diagnosis"]["code"], "Job.Failed");
        if size(&diagnosis, &job, &logs) <= budget {
            prop_assert_eq!(text, of_failure(&diagnosis, &job, reported(&logs), ROOM), "nothing need be cut");
            return Ok(());
        }
        let mut no_events = diagnosis.clone();
        no_events.as_object_mut().map(|map| map.shift_remove("events"));
        if !has(&cause, "/diagnosis/events") {
            prop_assert!(size(&diagnosis, &job, &least(&logs)) > budget, "Events give way after the logs");
        }
        if !has(&cause, "/job/spec/template") {
            prop_assert!(size(&no_events, &job, &least(&logs)) > budget, "the template gives way after the Events");
        }
    }

    #[test]
    fn no_log_is_cut_in_favour_of_a_longer_one(job in any_job(), logs in any_logs(), budget in 3000_usize..16_000) {
        let Ok(text) = of_job(&job, reported(&logs), ByteBudget(budget)) else { return Ok(()) };
        // Logs that were cut while they were read are as long as they can be.
        let cut_before = shown(&json_of(&of_job(&job, reported(&logs), ROOM).unwrap_or_default())?);
        let logs = shown(&json_of(&text)?);
        if logs.len() < cut_before.len() {
            return Ok(());
        }
        let longest = logs.iter().map(|(length, _)| *length).max().unwrap_or_default();
        for ((length, cut), (whole, _)) in logs.iter().zip(&cut_before) {
            prop_assert!(!cut || length == whole || length + SLACK >= longest, "{length} of {whole} beside {longest}");
        }
    }

    #[test]
    fn logs_use_the_room_that_there_is(logs in vec("[a-z]{3000}", 1..5), budget in 3000_usize..9000) {
        let pods = logs.iter().enumerate().map(|(number, log)| PodLogs {
            pod: format!("pod-{number}"),
            containers: vec![ContainerLogs { container: "c".into(), log: ContainerLog::Read(log.as_str().into()), previous: None }],
        });
        let logs = Logs { pods: pods.collect(), ..Logs::default() };
        let text = of_job(&json!({"metadata": {}}), reported(&logs), ByteBudget(budget)).unwrap_or_default();
        let whole = of_job(&json!({"metadata": {}}), reported(&logs), ROOM).unwrap_or_default();
        prop_assert!(text.len() + SLACK * logs.pods.len() >= budget.min(whole.len()), "{} of {budget}", text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn what_is_far_too_large_fits_the_limits_of_step_functions(
        logs in vec(vec(any::<u8>(), 10_000..30_000), 1..12), filling in 0_usize..400_000, letter in any::<char>()
    ) {
        let pods = logs.iter().enumerate().map(|(number, bytes)| {
            let mut buffer = LogBuffer::new(50_000);
            buffer.push(bytes);
            let log = ContainerLog::Read(buffer.finish());
            PodLogs { pod: format!("pod-{number}"), containers: vec![ContainerLogs { container: "c".into(), log, previous: None }] }
        });
        let logs = Logs { pods: pods.collect(), ..Logs::default() };
        let text: String = std::iter::repeat_n(letter, filling).collect();
        let job = json!({"kind": "Job", "metadata": {"uid": "u"}, "spec": {"template": text}, "status": {}});
        let output = of_job(&job, reported(&logs), OUTPUT_BUDGET).unwrap_or_default();
        prop_assert!(output.len() <= 240 * 1024 && has(&json_of(&output)?, "/metadata/uid"));
        let diagnosis = json!({"code": "c", "summary": text, "events": [text]});
        let cause = of_failure(&diagnosis, &job, reported(&logs), CAUSE_BUDGET);
        prop_assert!(cause.chars().count() <= 32_768 && has(&json_of(&cause)?, "/diagnosis/summary"));
        let other = of_cause(&json!({"message": text, "ResponseBody": {"message": text}}), CAUSE_BUDGET);
        prop_assert!(other.chars().count() <= 32_768 && has(&json_of(&other)?, "/message"));
    }
}
