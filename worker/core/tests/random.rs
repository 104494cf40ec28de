//! A randomised run of what reads other people's text: the request parser and the stamp reader.
//!
//! Valid requests and stamps are damaged, as JSON and as text. Each case is made from a number alone: `RUNJOB_RANDOM_SEED` is the first
//! one, and a failure names its own. `RUNJOB_RANDOM_SECONDS` says for how long it goes on: one second, or a minute in CI.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test that meets an impossible value says so"
)]

use std::{
    collections::BTreeMap,
    panic::{catch_unwind, resume_unwind},
    time::{Duration, Instant, SystemTime},
};

use runjob_core::{
    answer::ApiAnswer,
    budget::CAUSE_BUDGET,
    call::{Call, Method},
    job::JobView,
    ledger::{self, Entry},
    output, patch,
    plan::{Plan, Relation},
    request::{Parsed, Request, Strictness, parse},
    service_account::Allowed,
    token::TaskToken,
};
use serde_json::{Map, Value, json};

/// Field names, so that damage hits what is looked at.
const NAMES: [&str; 46] = [
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
    "RetrieveLogs",
    "RawLogs",
    "LogParameters",
    "MaxBytes",
    "tailLines",
    "follow",
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "spec",
    "template",
    "completions",
    "completionMode",
    "ttlSecondsAfterFinished",
    "serviceAccountName",
    "runjob/v",
    "runjob/task-token",
    "runjob/options",
    "$serde_json::private::Number",
    "$serde_json::private::RawValue",
    "$patch",
    "managedFields",
    "finalizers",
    "resourceVersion",
    "runjob/group",
    "",
];
/// Values that mean something somewhere.
const TEXTS: [&str; 36] = [
    "",
    "x",
    "batch/v1",
    "Job",
    "runJob",
    "runJob.sync",
    "call",
    "GET",
    "PATCH",
    "POST",
    "delete",
    "detach",
    "fail",
    "wait",
    "true",
    "1",
    "2",
    "Indexed",
    "default",
    "My_Name",
    "-",
    "/api/v1/namespaces/a/pods",
    "/apis/batch/v1/namespaces/a/jobs/x",
    "/api/../x",
    "/api/%2e%2e/x",
    "application/json-patch+json",
    "a: &a [*a, {b: 0644}]",
    "{\"apiVersion\": \"batch/v1\"}",
    "[1, 2",
    "\u{0}",
    "\u{feff}\u{2028}",
    "ä語\u{1f600}",
    "runjob/task-token",
    "a-token",
    "arn:aws:states:us-east-1:123456789012:activity:jobs",
    "{}",
];
const NUMBERS: [&str; 12] = [
    "0",
    "-0",
    "1.0",
    "1.10",
    "18446744073709551616",
    "-9223372036854775809",
    "3.14159265358979323846264338327950288419716939937510",
    "1e400",
    "2E-400",
    "1e5",
    "604800",
    "4294967296",
];

/// The token of every task here: nothing else says that.
const TOKEN: &str = "the-token-of-this-task";

/// `SplitMix64`: enough chance for a test, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts.get(self.below(texts.len())).unwrap()
    }

    fn text(&mut self) -> String {
        match self.below(8) {
            0 => (0..self.below(20))
                .filter_map(|_| char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap()))
                .collect(),
            1 => self.of(&TEXTS).repeat(1 + self.below(60)),
            _ => self.of(&TEXTS).to_owned(),
        }
    }

    fn name(&mut self) -> String {
        if self.one_in(6) { self.text() } else { self.of(&NAMES).to_owned() }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => self.one_in(2).into(),
            2 => serde_json::from_str(self.of(&NUMBERS)).unwrap(),
            3..=5 => self.text().into(),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.below(5)).map(|_| (self.name(), self.value(depth - 1))).collect::<Map<_, _>>().into(),
        }
    }

    /// Damages a part of it.
    fn damage(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) if !map.is_empty() && !self.one_in(8) => {
                let at = self.below(map.len());
                match self.below(8) {
                    0 => drop(map.shift_remove_index_at(at)),
                    1 => drop(map.insert(self.name(), self.value(2))),
                    2 => {
                        let (name, taken) = map.shift_remove_index_at(at).unwrap();
                        let name = if self.one_in(2) { name.to_lowercase() } else { self.name() };
                        map.insert(name, taken);
                    }
                    // Text that holds what an object was.
                    3 => map.values_mut().nth(at).into_iter().for_each(|value| *value = value.to_string().into()),
                    _ => map.values_mut().nth(at).into_iter().for_each(|value| self.damage(value)),
                }
            }
            Value::Array(items) if !items.is_empty() && !self.one_in(4) => {
                let at = self.below(items.len());
                items.get_mut(at).into_iter().for_each(|item| self.damage(item));
            }
            other => *other = self.value(3),
        }
    }

    /// Damages bytes, without care for what they are.
    fn scratch(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let (start, length) = (self.below(bytes.len()), self.below(6));
            let end = (start + length).min(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(end),
                1 => drop(bytes.drain(start..end)),
                2 => bytes.insert(start, u8::try_from(self.below(256)).unwrap()),
                3 => bytes.extend_from_within(start..end),
                _ => bytes
                    .splice(
                        start..start,
                        self.of(&["[", "{", "}", ",", "\"", "\\u", "e9", "---\n", "&a ", "*a"]).bytes(),
                    )
                    .for_each(drop),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

trait RemoveAt {
    fn shift_remove_index_at(&mut self, at: usize) -> Option<(String, Value)>;
}

impl RemoveAt for Map<String, Value> {
    fn shift_remove_index_at(&mut self, at: usize) -> Option<(String, Value)> {
        let name = self.keys().nth(at)?.clone();
        self.shift_remove_entry(&name)
    }
}

fn a_request(chance: &mut Chance) -> Value {
    let number: Value = serde_json::from_str(chance.of(&NUMBERS)).unwrap();
    if chance.one_in(4) {
        return a_patch_of_a_job(chance);
    }
    if chance.one_in(3) {
        return json!({
            "Method": chance.of(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]), "Path": "/apis/apps/v1/namespaces/a/deployments/d",
            "QueryParameters": {"labelSelector": ["a=b", "c"]},
            "RequestBody": {"spec": {"template": {"spec": {"serviceAccountName": "a", "n": number}}}},
        });
    }
    json!({
        "Namespace": "default", "OnTaskGone": "detach", "IdempotencyKey": chance.text(),
        "LogOptions": {"RetrieveLogs": true, "RawLogs": false, "MaxBytes": 1000, "LogParameters": {"tailLines": ["5"]}},
        "Job": {
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "x", "namespace": "default", "labels": {"a": chance.text()}, "annotations": {"a": "b"}},
            "spec": {"ttlSecondsAfterFinished": 60, "completions": 3, "n": number, "template": {"spec": {"serviceAccountName": "a"}}},
        },
    })
}

/// Places that a patch of a Job may name.
const PLACES: [&str; 14] = [
    "",
    "/",
    "/metadata",
    "/metadata/annotations",
    "/metadata/labels",
    "/metadata/labels/mine",
    "/metadata/annotations/runjob~1task-token",
    "/metadata/annotations/runjob~01",
    "/metadata/managedFields",
    "/spec/suspend",
    "/spec/template/metadata",
    "/spec/template/metadata/annotations",
    "/spec/template/spec/nodeSelector",
    "metadata/annotations",
];

fn a_patch_of_a_job(chance: &mut Chance) -> Value {
    let body = if chance.one_in(2) {
        (0..=chance.below(3))
            .map(|_| {
                let op = chance.of(&["add", "remove", "replace", "copy", "move", "test"]);
                let mut operation = json!({"op": op, "path": chance.of(&PLACES)});
                match op {
                    "copy" | "move" => operation["from"] = chance.of(&PLACES).into(),
                    "remove" => {}
                    _ => operation["value"] = chance.value(2),
                }
                operation
            })
            .collect()
    } else {
        json!({"metadata": {"labels": {"mine": "1"}, "annotations": {"mine": chance.text()}}, "spec": {"suspend": true}})
    };
    json!({"Method": "PATCH", "Path": "/apis/batch/v1/namespaces/a/jobs/x", "RequestBody": body})
}

/// What a patch that was let through would do to a Job with a stamp: nothing to the stamp.
fn assert_spares_the_stamp(call: &Call) {
    let stamped = || {
        json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "x", "labels": {"runjob/group": "g"}, "annotations": {"runjob/task-token": TOKEN, "mine": "0"}},
        "spec": {"suspend": false, "template": {"metadata": {"annotations": {}, "labels": {}}, "spec": {"nodeSelector": {}}}}})
    };
    let mut job = stamped();
    let body = call.body.clone().unwrap();
    match call.content_type.as_deref() {
        Some("application/json-patch+json") => {
            let Ok(patch) = serde_json::from_value::<json_patch::Patch>(body) else { return };
            // A patch that fails is thrown away as a whole: nothing has to be undone, which the library cannot always do.
            if json_patch::patch_unsafe(&mut job, &patch).is_err() {
                return;
            }
        }
        _ => json_patch::merge(&mut job, &body),
    }
    for map in ["labels", "annotations"] {
        let own = |job: &Value| -> Vec<(String, Value)> {
            let map = job["metadata"][map].as_object().cloned().unwrap_or_default();
            map.into_iter().filter(|(name, _)| name.starts_with("runjob/")).collect()
        };
        assert_eq!(own(&job), own(&stamped()), "{call:?}");
    }
    assert_eq!(job.to_string().matches(TOKEN).count(), stamped().to_string().matches(TOKEN).count(), "{call:?}");
    assert_eq!(stamp_keys(&job), 2, "{call:?}");
}

/// How many keys below `runjob/` there are, anywhere.
fn stamp_keys(value: &Value) -> usize {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| usize::from(key.starts_with("runjob/")) + stamp_keys(value)).sum()
        }
        Value::Array(items) => items.iter().map(stamp_keys).sum(),
        _ => 0,
    }
}

/// The numbers of a JSON text as they are spelt, but for the sign and case of an exponent.
fn numbers(json: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '"' {
            while let Some(inner) = letters.next() {
                match inner {
                    '\\' => drop(letters.next()),
                    '"' => break,
                    _ => {}
                }
            }
        } else if letter == '-' || letter.is_ascii_digit() {
            let mut number = letter.to_string();
            while let Some(more) = letters.next_if(|c| c.is_ascii_digit() || "+-.eE".contains(*c)) {
                number.push(more.to_ascii_lowercase());
            }
            *found.entry(number.replace("e+", "e")).or_default() += 1;
        }
    }
    found
}

/// Of a key that is there twice only one value is left; what is left is spelt as it was.
fn assert_no_digit_is_lost(from: &str, to: &str) {
    let given = numbers(from);
    for (number, times) in numbers(to) {
        assert!(given.get(&number).is_some_and(|given| *given >= times), "{number} was not spelt like that in {from}");
    }
}

fn try_request(chance: &mut Chance) -> &'static str {
    let mut request = a_request(chance);
    for _ in 0..chance.below(4) {
        chance.damage(&mut request);
    }
    let mut input = request.to_string();
    if chance.one_in(3) {
        input = chance.scratch(&input);
    }
    let strictness = if chance.one_in(2) { Strictness::Strict } else { Strictness::Lenient };
    let Parsed { request, .. } = match parse(&input, strictness) {
        Ok(parsed) => parsed,
        Err(invalid) => {
            let failure = invalid.failure();
            assert!(failure.error.to_string() == "RunJob.InvalidParameters");
            let cause = output::of_cause(&failure.cause, CAUSE_BUDGET);
            assert!(cause.chars().count() <= 32_768);
            let cause: Value = serde_json::from_str(&cause).unwrap();
            assert!(["message", "path", "found", "expected"].iter().all(|field| cause[field].is_string()), "{cause}");
            return "refused";
        }
    };
    let allowed = ["a".to_owned(), "default".to_owned()];
    let allowed = Allowed::of(&allowed).unwrap();
    match request {
        Request::Call(call) => {
            if call.path_and_query.starts_with("/apis/batch/v1/namespaces/a/jobs/x") && call.method == Method::Patch {
                assert_spares_the_stamp(&call);
            }
            let _ = (allowed.check_call(&call), call.namespace());
            assert!(call.path_and_query.starts_with('/') && call.path_and_query.is_ascii(), "{}", call.path_and_query);
            assert!(!call.path_and_query.contains([' ', '#', '\\']) && !call.path_and_query.contains("/../"));
            if let (Some(body), None) = (&call.body, json_text_in(&input)) {
                assert_no_digit_is_lost(&input, &body.to_string());
            }
            "a call"
        }
        Request::RunJob(run) => {
            let _ = allowed.check_job(run.manifest.value());
            if json_text_in(&input).is_none() {
                assert_no_digit_is_lost(&input, &run.manifest.value().to_string());
            }
            let source = "arn:aws:states:us-east-1:123456789012:activity:jobs".parse().unwrap();
            let plan = Plan::new(&run, TaskToken::new(TOKEN).unwrap(), source, &"g".parse().unwrap());
            let mut job = plan.job.clone();
            job["metadata"]["uid"] = json!("u");
            job["metadata"]["resourceVersion"] = json!("1");
            let view = JobView::of(&job).unwrap();
            assert_eq!(view.entry, Entry::Open(Box::new(plan.stamp.clone())), "what was written is read back");
            assert_eq!(plan.check_stamp(&view), Ok(()));
            assert!(matches!(plan.relation(&view), Relation::Ours), "a repeated create finds its own Job");
            let seen = ledger::user_view(job.clone(), &plan.stamp);
            assert_eq!(seen["spec"], run.manifest.value()["spec"], "the user finds the spec as it was");
            assert!(!ApiAnswer::new(200, "OK", job.to_string().as_bytes()).envelope().to_string().contains(TOKEN));
            try_stamp(chance, job);
            "a Job"
        }
    }
}

/// Where a Job or a body is text inside of the input: its numbers are in a string there.
fn json_text_in(input: &str) -> Option<()> {
    let input: Value = serde_json::from_str(input).ok()?;
    ["Job", "RequestBody"].iter().any(|name| input[name].is_string()).then_some(())
}

fn try_stamp(chance: &mut Chance, mut job: Value) {
    for _ in 0..=chance.below(3) {
        match job.pointer_mut("/metadata/annotations") {
            Some(annotations) if !chance.one_in(4) => chance.damage(annotations),
            _ => chance.damage(&mut job),
        }
    }
    let Ok(view) = JobView::of(&job) else { return };
    match &view.entry {
        Entry::Open(stamp) => {
            assert!(patch::settle(&view, stamp, 0).is_array());
            let user = ledger::user_view(job.clone(), stamp);
            assert!(user.pointer("/metadata/annotations/runjob~1task-token").is_none());
        }
        Entry::Unreadable(error) => {
            let error = error.to_string();
            assert!(error.starts_with("unable to read the annotation runjob/") && !error.contains(TOKEN), "{error}");
        }
        _ => {}
    }
    assert!(patch::relabel(&view, &"g".parse().unwrap()).is_array());
}

#[test]
fn nothing_that_is_read_can_do_harm() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = setting("RUNJOB_RANDOM_SEED").unwrap_or(now.as_secs() << 24);
    let end = Instant::now() + Duration::from_secs(setting("RUNJOB_RANDOM_SECONDS").unwrap_or(1));
    let mut outcomes = BTreeMap::new();
    let mut case = seed;
    while case == seed || Instant::now() < end {
        match catch_unwind(|| try_request(&mut Chance(case))) {
            Ok(outcome) => *outcomes.entry(outcome).or_insert(0_u64) += 1,
            Err(panic) => {
                eprintln!("once more: RUNJOB_RANDOM_SEED={case} RUNJOB_RANDOM_SECONDS=0");
                resume_unwind(panic);
            }
        }
        case += 1;
    }
    eprintln!("seed {seed}, {} cases: {outcomes:?}", case - seed);
    // A run in which nothing is accepted, or nothing refused, shows nothing.
    let few = case - seed < 1000;
    assert!(few || ["a Job", "a call", "refused"].iter().all(|kind| outcomes.contains_key(kind)), "{outcomes:?}");
}
