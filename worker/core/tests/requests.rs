//! What a task's input may be, and what is said about one that cannot be taken: each refusal names the path, what was found, what was
//! expected and, where there is one, what was meant.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets an impossible value stops there")]

use std::time::{Duration, Instant};

use runjob_core::{
    failure::ErrorName,
    names::Naming,
    request::{Answer, Parsed, Request, RunJob, Strictness, parse},
};
use serde_json::{Value, json};

/// A request with a Job, to be changed part by part.
#[derive(Clone)]
struct Input(Value);

fn a_request() -> Input {
    Input(json!({
        "Job": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "x"},
            "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
        },
    }))
}

fn a_call(method: &str, path: &str) -> Input {
    Input(json!({"Method": method, "Path": path}))
}

impl Input {
    fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value.into());
        self
    }

    fn without(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        self
    }

    fn taken(&self) -> Request {
        parse(&self.0.to_string(), Strictness::Strict).unwrap().request
    }

    fn job(&self) -> RunJob {
        match self.taken() {
            Request::RunJob(run) => *run,
            Request::Call(_) => panic!("a call"),
        }
    }

    fn refused(&self) -> Refused {
        refused(&self.0.to_string())
    }
}

/// The cause of a refusal, part by part.
#[derive(Debug, PartialEq)]
struct Refused {
    path: String,
    found: String,
    expected: String,
    suggestion: String,
}

fn refused(input: &str) -> Refused {
    let failure = parse(input, Strictness::Strict).unwrap_err().failure();
    assert_eq!(failure.error, ErrorName::InvalidParameters);
    let text = |field: &str| failure.cause.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(text("message").contains(&text("path")) && text("message").contains(&text("expected")), "{failure:?}");
    Refused { path: text("path"), found: text("found"), expected: text("expected"), suggestion: text("suggestion") }
}

fn a_refusal(path: &str, found: &str, expected: &str, suggestion: &str) -> Refused {
    let [path, found, expected, suggestion] = [path, found, expected, suggestion].map(str::to_owned);
    Refused { path, found, expected, suggestion }
}

#[test]
fn an_input_is_a_json_object() {
    let table = [
        ("null", "null"),
        ("7", "the number 7"),
        ("1.50", "the number 1.50"),
        ("true", "the boolean true"),
        ("\"text\"", "the string \"text\""),
        ("[{}]", "a list of 1"),
    ];
    for (input, found) in table {
        assert_eq!(refused(input), a_refusal("$", found, "an object", ""));
    }
    for no_json in ["", "{", "{'Job': 1}", "{\"a\": 1,}", "\u{feff}{}", "NaN", "\"\\ud800\""] {
        let refused = refused(no_json);
        assert_eq!((refused.path.as_str(), refused.expected.as_str()), ("$", "a JSON object"));
        assert!(refused.found.starts_with("text that is no JSON ("), "{refused:?}");
    }
}

#[test]
fn an_input_that_asks_for_nothing_is_told_what_it_could_ask_for() {
    let expected = "a Job to run, or Method and Path of a call";
    assert_eq!(refused("{}"), a_refusal("$.Job", "nothing", expected, ""));
    assert_eq!(refused("{\"Namespace\": \"default\"}"), a_refusal("$.Job", "nothing", expected, ""));
}

#[test]
fn an_action_needs_what_it_acts_on() {
    let job = a_request().without("/Job").with("/Action", "runJob");
    assert_eq!(job.refused(), a_refusal("$.Job", "nothing", "a batch/v1 Job", ""));
    let call = a_request().without("/Job").with("/Action", "call");
    let methods = "one of GET, HEAD, POST, PUT, DELETE, PATCH";
    assert_eq!(call.refused(), a_refusal("$.Method", "nothing", methods, ""));
    assert_eq!(
        a_call("GET", "/api").without("/Path").refused(),
        a_refusal("$.Path", "nothing", "an absolute path of the Kubernetes API", "")
    );
    assert_eq!(
        a_request().with("/Action", "runJob.Sync").refused(),
        a_refusal("$.Action", "the string \"runJob.Sync\"", "one of \"runJob.sync\", \"runJob\", \"call\"", "")
    );
}

#[test]
fn unknown_fields_are_refused_with_the_nearest_known_name() {
    let table = [
        (a_request().with("/job", 1), "$.job", "the number 1", "did you mean Job?"),
        (a_request().with("/Namespaces", "a"), "$.Namespaces", "the string \"a\"", "did you mean Namespace?"),
        (
            a_request().with("/logOptions", json!({})),
            "$.logOptions",
            "an object of 0 fields",
            "did you mean LogOptions?",
        ),
        (a_request().with("/Job Name", "x"), "$[\"Job Name\"]", "the string \"x\"", ""),
        (a_request().with("/", true), "$[\"\"]", "the boolean true", ""),
        (
            a_request().with("/LogOptions", json!({"RetreiveLogs": true})),
            "$.LogOptions.RetreiveLogs",
            "the boolean true",
            "did you mean RetrieveLogs?",
        ),
        (
            a_request().with("/LogOptions", json!({"LogParameters": {"taillines": ["1"]}})),
            "$.LogOptions.LogParameters.taillines",
            "a list of 1",
            "did you mean tailLines?",
        ),
    ];
    for (input, path, found, suggestion) in table {
        let refused = input.refused();
        assert_eq!((refused.path.as_str(), refused.found.as_str()), (path, found));
        assert_eq!(refused.expected, "no such field");
        assert!(
            refused.suggestion.starts_with(if suggestion.is_empty() { "known here: " } else { suggestion }),
            "{refused:?}"
        );
    }
}

#[test]
fn a_field_of_the_wrong_type_is_refused_wherever_it_is() {
    let options = |options: Value| a_request().with("/LogOptions", options);
    let table = [
        (a_request().with("/ClusterName", 7), "$.ClusterName", "a string"),
        (a_request().with("/CertificateAuthority", json!([])), "$.CertificateAuthority", "a string"),
        (a_request().with("/Endpoint", json!({})), "$.Endpoint", "a string"),
        (a_request().with("/Namespace", false), "$.Namespace", "a string"),
        (a_request().with("/Action", 1), "$.Action", "a string"),
        (a_request().with("/OnTaskGone", 1), "$.OnTaskGone", "a string"),
        (a_request().with("/Job", 7), "$.Job", "an object"),
        (a_request().with("/Job", json!([])), "$.Job", "an object"),
        (a_request().with("/Job/metadata", "x"), "$.Job.metadata", "an object"),
        (a_request().with("/Job/metadata/name", 7), "$.Job.metadata.name", "a string"),
        (a_request().with("/Job/metadata/labels", json!([])), "$.Job.metadata.labels", "an object"),
        (a_request().with("/Job/spec", "x"), "$.Job.spec", "an object"),
        (options(json!("x")), "$.LogOptions", "an object"),
        (options(json!({"RetrieveLogs": "true"})), "$.LogOptions.RetrieveLogs", "true or false"),
        (options(json!({"RawLogs": 1})), "$.LogOptions.RawLogs", "true or false"),
        (options(json!({"MaxBytes": "1"})), "$.LogOptions.MaxBytes", "a whole number, 0 or more"),
        (options(json!({"MaxBytes": -1})), "$.LogOptions.MaxBytes", "a whole number, 0 or more"),
        (options(json!({"MaxBytes": 1.5})), "$.LogOptions.MaxBytes", "a whole number, 0 or more"),
        (options(json!({"LogParameters": []})), "$.LogOptions.LogParameters", "an object"),
        (
            options(json!({"LogParameters": {"tailLines": "6"}})),
            "$.LogOptions.LogParameters.tailLines",
            "a list of strings",
        ),
        (
            options(json!({"LogParameters": {"tailLines": [6]}})),
            "$.LogOptions.LogParameters.tailLines",
            "a list of strings",
        ),
        (
            options(json!({"LogParameters": {"timestamps": ["yes"]}})),
            "$.LogOptions.LogParameters.timestamps",
            "a list of one string, \"true\" or \"false\"",
        ),
        (a_call("GET", "/api").with("/QueryParameters", "a=b"), "$.QueryParameters", "an object"),
        (a_call("GET", "/api").with("/QueryParameters", json!({"a": "b"})), "$.QueryParameters.a", "a list of strings"),
        (a_call("GET", "/api").with("/Method", 1), "$.Method", "a string"),
        (a_call("GET", "/api").with("/Path", json!([])), "$.Path", "a string"),
        (
            a_call("PATCH", "/api/v1/x").with("/RequestBody", json!({})).with("/ContentType", 1),
            "$.ContentType",
            "a string",
        ),
    ];
    for (input, path, expected) in table {
        let refused = input.refused();
        assert_eq!((refused.path.as_str(), refused.expected.as_str()), (path, expected), "{}", input.0);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let two = a_request().with("/Namespace", "a").with("/Job/metadata/namespace", "b");
    assert_eq!(
        two.refused(),
        a_refusal("$.Job.metadata.namespace", "the string \"b\"", "\"a\", as $.Namespace says, or nothing", "")
    );
    let both = a_request().with("/Method", "GET").with("/Path", "/api");
    assert_eq!(both.refused(), a_refusal("$.Method", "the string \"GET\"", "no such field beside Job", ""));
    for (name, value) in [("Path", json!("/api")), ("QueryParameters", json!({})), ("RequestBody", json!({}))] {
        assert_eq!(a_request().with(&format!("/{name}"), value).refused().path, format!("$.{name}"));
    }
    for (name, value) in [("LogOptions", json!({})), ("Namespace", json!("a")), ("OnTaskGone", json!("delete"))] {
        let refused = a_call("GET", "/api").with(&format!("/{name}"), value).refused();
        assert_eq!(
            (refused.path, refused.expected),
            (format!("$.{name}"), "no such field beside Method and Path".to_owned())
        );
    }
    let patch = a_call("POST", "/api/v1/x").with("/ContentType", "application/json");
    assert_eq!(patch.refused().expected, "no such field but with the method PATCH");
}

#[test]
fn the_namespace_may_be_said_twice_if_it_is_the_same() {
    let twice = a_request().with("/Namespace", "a").with("/Job/metadata/namespace", "a");
    assert_eq!(twice.job().namespace, "a");
    assert_eq!(a_request().with("/Job/metadata/namespace", "b").job().namespace, "b");
    assert_eq!(a_request().job().namespace, "default");
}

#[test]
fn only_a_batch_v1_job_is_a_job() {
    let table = [
        ("/Job/apiVersion", json!("batch/v1beta1"), "\"batch/v1\""),
        ("/Job/apiVersion", json!("v1"), "\"batch/v1\""),
        ("/Job/apiVersion", json!(1), "\"batch/v1\""),
        ("/Job/apiVersion", Value::Null, "\"batch/v1\""),
        ("/Job/kind", json!("CronJob"), "\"Job\""),
        ("/Job/kind", json!("job"), "\"Job\""),
        ("/Job/spec", Value::Null, "the Job's specification, an object"),
    ];
    for (pointer, value, expected) in table {
        let refused = a_request().with(pointer, value).refused();
        assert_eq!((refused.path, refused.expected.as_str()), (format!("${}", pointer.replace('/', ".")), expected));
        assert_eq!(a_request().without(pointer).refused().found, "nothing");
    }
}

#[test]
fn names_that_no_job_can_have_are_refused() {
    let fits = ["x", "a-b.c", "0", &"x".repeat(63)];
    for name in fits {
        assert_eq!(
            *a_request().with("/Job/metadata/name", name).job().manifest.naming(),
            Naming::Given(name.to_owned())
        );
    }
    for name in ["", "-a", "a-", "A", "a_b", "a..b", "ä", "a b", "a\u{0}b", &"x".repeat(64)] {
        let refused = a_request().with("/Job/metadata/name", name).refused();
        assert_eq!(refused.path, "$.Job.metadata.name", "{name}");
        assert!(refused.expected.starts_with("a name of at most 63 characters"), "{refused:?}");
    }
    for prefix in ["", "-a", "A-", "a_"] {
        let request = a_request().with("/Job/metadata", json!({"generateName": prefix}));
        let taken = parse(&request.0.to_string(), Strictness::Strict);
        assert_eq!(taken.is_ok(), prefix.is_empty(), "{prefix}");
    }
}

#[test]
fn an_indexed_job_leaves_room_for_its_pods_numbers() {
    let indexed = |length: usize, completions: u64| {
        let name = "x".repeat(length);
        a_request()
            .with("/Job/metadata/name", name)
            .with("/Job/spec/completionMode", "Indexed")
            .with("/Job/spec/completions", completions)
    };
    assert!(matches!(indexed(61, 10).taken(), Request::RunJob(_)), "the last index is 9");
    let refused = indexed(61, 11).refused();
    assert_eq!(refused.expected, "at most 60 characters: the pods of this Indexed Job put 3 more behind it");
    let dotted = indexed(1, 1).with("/Job/metadata/name", "a.b").refused();
    assert!(dotted.expected.starts_with("a DNS label, because the Job is Indexed"), "{dotted:?}");
}

#[test]
fn null_is_the_same_as_nothing_where_nothing_is_allowed() {
    let nulls =
        ["Action", "CertificateAuthority", "ClusterName", "Endpoint", "LogOptions", "Namespace", "OnTaskGone", "Path"];
    let request = nulls.iter().fold(a_request(), |request, name| request.with(&format!("/{name}"), Value::Null));
    assert_eq!(request.job(), a_request().job());
    let options =
        json!({"RetrieveLogs": null, "RawLogs": null, "MaxBytes": null, "LogParameters": {"tailLines": null}});
    assert_eq!(a_request().with("/LogOptions", options).job(), a_request().job());
    let bare = a_request().with("/Job/metadata", Value::Null);
    assert_eq!(*bare.job().manifest.naming(), Naming::Absent);
    let call = a_call("GET", "/api").with("/Job", Value::Null).with("/RequestBody", Value::Null);
    assert_eq!(call.taken(), a_call("GET", "/api").taken());
    assert_eq!(a_call("GET", "/api").with("/Path", Value::Null).refused().found, "null");
    assert_eq!(a_request().with("/Surprise", Value::Null).refused().found, "null");
}

#[test]
fn of_a_key_that_is_there_twice_the_last_one_counts_in_json_and_none_in_yaml() {
    let twice = r#"{"Action": "runJob", "Job": {"apiVersion": "batch/v1", "kind": "Job", "spec": {}}, "Action": "runJob.sync"}"#;
    let Parsed { request: Request::RunJob(run), .. } = parse(twice, Strictness::Strict).unwrap() else {
        panic!("a call")
    };
    assert_eq!(run.answer, Answer::WhenFinished);
    let yaml = a_request().with("/Job", "apiVersion: batch/v1\nkind: Job\nkind: Job\nspec: {}\n").refused();
    assert!(yaml.found.contains("line 3 column 1: duplicate mapping key: kind"), "{yaml:?}");
}

#[test]
fn a_job_as_text_is_one_document() {
    let expected = "a batch/v1 Job: an object, or a string that holds one as JSON or YAML";
    let table = [
        ("apiVersion: batch/v1\n---\nkind: Job\n", "multiple YAML documents"),
        ("a: [", "neither JSON nor YAML"),
        ("a: .nan", "non-finite float"),
    ];
    for (text, found) in table {
        let refused = a_request().with("/Job", text).refused();
        assert!(refused.found.contains(found) && refused.expected == expected, "{refused:?}");
    }
    for (text, found) in
        [("", "null"), ("~", "null"), ("just words", "the string \"just words\""), ("[1]", "a list of 1")]
    {
        assert_eq!(a_request().with("/Job", text).refused(), a_refusal("$.Job", found, "an object", ""));
    }
}

#[test]
fn octal_modes_of_yaml_are_what_kubectl_makes_of_them() {
    let yaml = "apiVersion: batch/v1\nkind: Job\nspec: {mode: 0644, plain: 644, quoted: \"0644\"}\n";
    let run = a_request().with("/Job", yaml).job();
    assert_eq!(run.manifest.value()["spec"].to_string(), r#"{"mode":420,"plain":644,"quoted":"0644"}"#);
}

#[test]
fn any_letter_is_kept() {
    let odd = "\u{0} \u{7f} \u{2028} \u{fffd} ä 語 \u{1f600} \u{10ffff} \" \\ /";
    let run = a_request().with("/Job/spec/odd", odd).job();
    assert_eq!(run.manifest.value()["spec"]["odd"], odd);
    let refused = a_request().with("/OnTaskGone", odd).refused();
    assert!(refused.found.starts_with("the string \"\\u0000 \u{7f}"), "{refused:?}");
}

#[test]
fn digits_are_kept_from_the_input_to_the_job() {
    let long = format!("3.{}", "14159".repeat(400));
    for number in ["1.0", "1.10", "18446744073709551616", "-0.0", "1e-400", &long] {
        let input = a_request().0.to_string().replace("\"busybox\"", &format!("[{number}]"));
        let Parsed { request: Request::RunJob(run), .. } = parse(&input, Strictness::Strict).unwrap() else {
            panic!("a call")
        };
        assert!(run.manifest.value().to_string().contains(&format!("[{number}]")), "{number}");
    }
}

#[test]
fn an_input_of_one_mebibyte_is_taken_or_refused_in_no_time() {
    let start = Instant::now();
    let filling = "ä".repeat(500_000);
    let large = a_request().with("/Job/spec/filling", filling.clone());
    assert_eq!(large.job().manifest.value()["spec"]["filling"], filling);
    let unknown = a_request().with(&format!("/{filling}"), filling.clone()).refused();
    assert!(unknown.found.contains("500002 characters"), "{}", unknown.found);
    let many = (0..60_000).fold(json!({}), |mut map, n| {
        map[format!("key-{n}")] = json!(n);
        map
    });
    assert!(
        a_request().with("/Job/spec/many", many.clone()).job().manifest.value()["spec"]["many"]["key-59999"] == 59_999
    );
    assert_eq!(a_request().with("/LogOptions", many).refused().path, "$.LogOptions[\"key-0\"]");
    let entries: String = (0..50_000).map(|n| format!("    k{n}: v{n}\n")).collect::<String>();
    let yaml = format!("apiVersion: batch/v1\nkind: Job\nspec:\n  a:\n{entries}");
    assert_eq!(a_request().with("/Job", yaml).job().manifest.value()["spec"]["a"]["k49999"], "v49999");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn nesting_without_end_is_refused_not_followed() {
    let expected = "a JSON object of at most 127 levels";
    for depth in [128, 1000, 500_000] {
        let refused = refused(&"[".repeat(depth));
        assert_eq!(
            refused,
            a_refusal("$", "something nested deeper than 127 levels at line 1 column 128", expected, "")
        );
    }
    let text = a_request().with("/Job", "{a: ".repeat(200_000)).refused();
    assert!(text.found.contains("nested deeper than 126 levels"), "{text:?}");
}

#[test]
fn a_cause_is_short_however_long_the_input() {
    let long = "x".repeat(1_000_000);
    for input in [
        long.clone(),
        format!("\"{long}\""),
        a_request().with("/Namespace", long.clone()).0.to_string(),
        a_request().with("/Job", long.clone()).0.to_string(),
        a_request().with("/Job", format!("a: [{long}")).0.to_string(),
        a_request().with("/Job/metadata/name", long.clone()).0.to_string(),
        a_call("GET", &format!("/{long}")).0.to_string(),
        a_call(&long, "/api").0.to_string(),
    ] {
        let cause = parse(&input, Strictness::Strict).unwrap_err().failure().cause.to_string();
        assert!(cause.len() < 2000, "{} bytes: {}", cause.len(), &cause[..200]);
    }
    let key = a_request().with(&format!("/{long}"), 1).0.to_string();
    let cause = parse(&key, Strictness::Strict).unwrap_err().failure().cause.to_string();
    assert!(cause.len() < 2000, "{} bytes", cause.len());
}
