//! What `docs/contract.md` shows is what the worker does: its examples are answers of the worker, its machines are run, its flags are the
//! command line's. `UPDATE_DOCS=1` writes them anew.

use std::sync::{Mutex, PoisonError};

use clap::Args;
use runjob::settings::Settings;
use runjob_core::clusters::{self, ClusterName};
use runjob_sandbox::sfn::ExecutionStatus;
use runjob_scenarios::world::World;
use serde_json::{Value, json};

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/contract.md");
const ERRORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
const CLUSTERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/clusters.md");
/// The activity that the document speaks of.
const ACTIVITY: &str = "arn:aws:states:eu-west-1:123456789012:activity:jobs";

/// Tests run side by side, and there is one document.
static WRITING: Mutex<()> = Mutex::new(());

/// What is between an example's mark and its end.
fn example<'d>(document: &'d str, name: &str) -> (&'d str, &'d str, &'d str) {
    let (before, rest) = document.split_once(&format!("<!-- example: {name} -->\n")).unwrap();
    let (example, after) = rest.split_once("<!-- end -->").unwrap();
    (before, example, after)
}

/// Compares an example with what it should be, or writes it.
fn hold(name: &str, should: &str) {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let document = std::fs::read_to_string(CONTRACT).unwrap();
    let (before, is, after) = example(&document, name);
    if is == should {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "the example \"{name}\" is stale (UPDATE_DOCS=1 rewrites it): {should}"
    );
    std::fs::write(CONTRACT, format!("{before}<!-- example: {name} -->\n{should}<!-- end -->{after}")).unwrap();
}

fn block(value: &Value) -> String {
    format!("```json\n{}\n```\n", serde_json::to_string_pretty(&settled(value)).unwrap())
}

/// The same with values that are the same each time.
fn settled(value: &Value) -> Value {
    let mut text = value.to_string();
    let pods = value.pointer("/logs/pods").and_then(Value::as_object);
    for pod in pods.into_iter().flat_map(|pods| pods.keys()) {
        text = text.replace(pod.as_str(), &format!("{}-7xk2p", pod.rsplit_once('-').unwrap().0));
    }
    let mut value = serde_json::from_str(&text).unwrap();
    settle(&mut value);
    value
}

fn settle(value: &mut Value) {
    match value {
        Value::String(text) if text.parse::<u64>().is_ok_and(|number| number > 9) => "1234".clone_into(text),
        Value::String(text) if is_time(text) => "2026-11-24T20:26:15Z".clone_into(text),
        Value::String(text) if is_uid(text) => "0f5ab3c1-9a57-4b0e-8a5e-2d1f0c9b7e64".clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(map) => {
            map.values_mut().for_each(settle);
            if let Some(version) = map.get_mut("resourceVersion") {
                *version = "1234".into();
            }
        }
        _ => {}
    }
}

fn is_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T')
}

fn is_uid(text: &str) -> bool {
    text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

fn a_report(script: &str) -> String {
    json!({
        "LogOptions": {"RetrieveLogs": true},
        "Job": {
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "report", "annotations": {"execution": "arn:aws:states:eu-west-1:123456789012:execution:m:e"}},
            "spec": {
                "backoffLimit": 0, "ttlSecondsAfterFinished": 3600,
                "template": {"spec": {"restartPolicy": "Never",
                    "containers": [{"name": "report", "image": "busybox", "command": ["sh", "-c", script]}]}},
            },
        },
    })
    .to_string()
}

async fn output(input: &str) -> Value {
    World::new().await.unwrap().ask(input).await.unwrap().output().unwrap()
}

async fn failure(input: &str) -> (String, Value) {
    World::new().await.unwrap().ask(input).await.unwrap().failure().unwrap()
}

#[tokio::test]
async fn examples_are_what_the_worker_answers() {
    let misspelt = a_report("true").replace("RetrieveLogs", "RetreiveLogs");
    let (error, cause) = failure(&misspelt).await;
    assert_eq!(error, "RunJob.InvalidParameters");
    hold("refused", &block(&cause));
    hold("result", &block(&output(&a_report("echo '{\"rows\": 7, \"share\": 0.10}'")).await));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "done"}, "data": {"rows": "7"}});
    let post = json!({"Method": "POST", "Path": "/api/v1/namespaces/default/configmaps", "RequestBody": map});
    hold("call", &block(&output(&post.to_string()).await));
    let (error, cause) = failure(&a_report("echo 'no such table: orders' >&2; exit 3")).await;
    assert_eq!(error, "Job.BackoffLimitExceeded");
    let mut cause = cause;
    cause["job"] = json!("… the Job, as above …");
    hold("failed", &block(&cause));
    let get = json!({"Method": "GET", "Path": "/apis/batch/v1/namespaces/default/jobs/report"});
    let (error, cause) = failure(&get.to_string()).await;
    assert_eq!(error, "EKS.404");
    hold("refusal", &block(&cause));
}

#[tokio::test]
async fn a_state_that_has_moved_over_gives_the_same_result() {
    let document = std::fs::read_to_string(CONTRACT).unwrap();
    let (_, diff, _) = example(&document, "moved");
    let lines = || diff.lines().filter(|line| !line.starts_with("```"));
    let side = |other: char| -> String {
        lines().filter(|line| !line.starts_with(other)).map(|line| line.get(1..).unwrap_or_default()).collect()
    };
    let world = World::new().await.unwrap();
    let mut outputs = Vec::new();
    for machine in [side('+'), side('-').replace(ACTIVITY, world.sandbox.activity())] {
        let service = world.sandbox.step_functions();
        let name = format!("m{}", outputs.len());
        let machine = service.create_state_machine(&name, &machine).unwrap();
        let execution = service.start_execution(&machine, None, "{}").unwrap();
        let ended = service.finished(&execution).await.unwrap();
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
        outputs.push(ended.output);
    }
    assert_eq!(outputs, [Some("{\"rows\":[7]}".to_owned()), Some("{\"rows\":[7]}".to_owned())]);
}

#[test]
fn the_retry_has_the_errors_that_a_retry_helps_with() {
    let document = std::fs::read_to_string(CONTRACT).unwrap();
    let (_, text, _) = example(&document, "retry");
    let text = text.trim().trim_start_matches("```json").trim_end_matches("```");
    let state: Value = serde_json::from_str(text).unwrap();
    let named = state["Retry"][1]["ErrorEquals"].as_array().unwrap();
    let named: Vec<&str> = named.iter().map(|name| name.as_str().unwrap()).collect();
    let errors = std::fs::read_to_string(ERRORS).unwrap();
    let helped = errors.lines().filter(|line| line.contains(" | yes | "));
    let helped = helped.filter_map(|line| line.split('`').nth(1));
    // Of a function alone, whose states have a retrier of its own for it.
    let helped: Vec<&str> = helped.filter(|name| *name != "RunJob.StillRunning").collect();
    assert_eq!(named, helped);
}

#[test]
fn the_flags_are_those_of_the_command_line() {
    let command = Settings::augment_args(clap::Command::new("worker"));
    let mut table = "| flag | environment | default | |\n|---|---|---|---|\n".to_owned();
    for flag in command.get_arguments() {
        let text = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| format!("`{text}`"));
        let value = flag.get_value_names().filter(|_| flag.get_action().takes_values()).and_then(|names| names.first());
        let long =
            format!("`--{}{}`", flag.get_long().unwrap(), value.map(|name| format!(" {name}")).unwrap_or_default());
        let variable = text(flag.get_env().map(|name| name.to_string_lossy().into_owned())).unwrap();
        let help = flag.get_help().unwrap().to_string();
        // What is said there of a default that depends.
        let (help, said) = help.split_once("[default: ").unwrap_or((&help, ""));
        let default = flag.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let default = if flag.get_action().takes_values() { text(default) } else { Some("no".to_owned()) };
        let default = default.unwrap_or_else(|| said.trim_end_matches(']').to_owned());
        let default = if default.is_empty() && flag.is_required_set() { "required".to_owned() } else { default };
        table.push_str(&format!("| {long} | {variable} | {default} | {} |\n", help.trim().trim_end_matches('.')));
    }
    hold("flags", &table);
}

#[test]
fn the_file_of_clusters_is_one_that_the_worker_takes() {
    let document = std::fs::read_to_string(CLUSTERS).unwrap();
    let (_, example, _) = example(&document, "clusters");
    let file = example.trim().strip_prefix("```yaml\n").unwrap().strip_suffix("```").unwrap();
    let served = clusters::parse(file).unwrap();
    let names: Vec<_> = served.keys().map(ClusterName::as_str).collect();
    assert_eq!(names, ["far", "hall-7", "here", "prod"]);
    let misspelt = clusters::parse("hall-7: {context: x, namespace: [y]}").unwrap_err().to_string();
    let unwrapped = document.replace('\n', " ");
    assert!(unwrapped.contains(&format!("`{misspelt}`")), "{misspelt}");
}

#[test]
fn what_refers_to_a_document_finds_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let documents = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/clusters.md",
        "docs/contract.md",
        "docs/lambda.md",
        "docs/usage.md",
        "docs/operations.md",
        "docs/reliability.md",
        "docs/design.md",
        "docs/testing.md",
    ];
    for document in documents {
        let path = std::path::Path::new(root).join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for reference in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if reference.starts_with("http") {
                continue;
            }
            let (file, heading) = reference.split_once('#').unwrap_or((reference, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{document} refers to {reference}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let found = text.lines().filter_map(|line| line.strip_prefix('#')).any(|line| anchor(line) == heading);
                assert!(found, "{document} refers to {reference}");
            }
        }
    }
}

#[test]
fn the_tests_that_hold_the_guarantees_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = String::new();
    let mut directories = ["worker", "lambda", "tests"].map(|part| root.join(part)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let document = std::fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let between = |mark: char| document.split(mark).skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let tests: Vec<_> = between('`').into_iter().filter(|name| name.matches('_').count() > 3).collect();
    let scenarios: Vec<_> = between('*').into_iter().filter(|name| name.contains(' ')).collect();
    assert!(tests.len() > 30 && scenarios.len() > 3, "{tests:?}, {scenarios:?}");
    for test in tests {
        assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
    }
    for scenario in scenarios {
        assert!(sources.contains(&format!("\"{scenario}\"")), "there is no scenario {scenario:?}");
    }
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    letters
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
